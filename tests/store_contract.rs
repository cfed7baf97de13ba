//! What every storage backend promises: one function per sentence of `src/store/mod.rs`, run against each backend.
//!
//! To add a backend, implement [`Backend`] and name it in one more `contract!` line.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[path = "store_contract/changes.rs"]
mod changes;
#[path = "store_contract/common.rs"]
mod common;
#[path = "store_contract/folders.rs"]
mod folders;
#[path = "store_contract/mailboxes.rs"]
mod mailboxes;
#[path = "store_contract/messages.rs"]
mod messages;
#[path = "store_contract/model.rs"]
mod model;
#[path = "store_contract/queue.rs"]
mod queue;
#[path = "store_contract/queue_and_journal.rs"]
mod queue_and_journal;
#[path = "store_contract/quota.rs"]
mod quota;

use vaguemestre::store::Store;
use vaguemestre::store::sqlite::{Options, SqliteStore};

/// One way to store, with something to store in that is removed at the end.
trait Backend: Sized {
    /// An empty store.
    async fn create() -> Self;
    /// The store.
    fn store(&self) -> &dyn Store;
    /// The same store, closed and opened again.
    async fn reopen(self) -> Self;
}

/// The embedded store.
struct Sqlite {
    folder: tempfile::TempDir,
    store: SqliteStore,
}

impl Backend for Sqlite {
    async fn create() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path(), Options::default()).unwrap();
        Self { folder, store }
    }

    fn store(&self) -> &dyn Store {
        &self.store
    }

    async fn reopen(self) -> Self {
        self.store.close().await.unwrap();
        let store = SqliteStore::open(self.folder.path(), Options::default()).unwrap();
        Self { store, ..self }
    }
}

/// Runs every promise against one backend.
macro_rules! contract {
    ($name:ident, $backend:ty) => {
        mod $name {
            use super::*;
            contract!(@tests $backend; messages:
                an_acceptance_is_applied_whole
                an_acceptance_that_fails_changes_nothing
                reports_are_stored_with_the_message_they_are_about
                a_report_that_cannot_be_stored_undoes_the_whole
                what_a_message_replaces_goes_as_it_comes
                a_message_that_replaces_nothing_is_not_stored
                uids_are_given_in_delivery_order_and_only_grow
                content_has_no_lead_and_a_read_has_it
                content_of_any_size_reads_back
                a_message_is_gone_once_nothing_refers_to_it
                a_message_that_nothing_refers_to_is_not_kept
                message_keys_only_grow
                a_staged_message_reads_back_with_its_front_first
                a_staged_message_may_be_abandoned
                an_acceptance_may_have_no_message
                concurrent_acceptances_are_all_there_once
                a_delivery_is_not_made_twice
                a_delivery_may_be_made_again_once_it_is_forgotten
                of_concurrent_repetitions_one_is_accepted
            );
            contract!(@tests $backend; mailboxes:
                a_box_has_an_inbox_and_the_folders_asked_all_subscribed
                ensuring_a_box_again_changes_nothing
                a_box_is_found_without_regard_to_case_and_only_after_it_was_made
                a_folder_is_created_with_its_missing_parents
                a_folder_that_exists_is_not_created
                deleting_a_folder_removes_what_is_in_it_and_leaves_its_children
                a_folder_made_again_has_a_greater_uid_validity
                renaming_takes_the_children_along_and_keeps_uids
                renaming_onto_a_folder_changes_nothing
                subscription_is_what_was_set
                status_counts_what_entries_show
                entries_are_those_changed_after_a_modification_sequence
                expunged_uids_are_those_after_a_modification_sequence
                recent_is_claimed_once
                summaries_come_in_the_order_asked_without_those_that_are_gone
                messages_are_read_in_part_and_several_at_once
                previews_are_kept_with_their_messages
                flags_are_replaced_added_and_removed
                flags_that_stay_do_not_raise_the_modification_sequence
                a_copy_keeps_flags_and_date_and_ends_the_folder
                a_move_is_a_copy_that_leaves_nothing_behind
                expunge_removes_only_what_is_deleted
                calls_on_a_folder_that_is_gone_say_so
            );
            contract!(@tests $backend; folders:
                renaming_inbox_moves_its_messages_and_leaves_its_children
                a_level_without_a_folder_is_renamed_by_what_is_below_it
                a_name_stays_subscribed_without_its_folder
                subscriptions_to_nothing_are_bounded
                a_special_use_under_another_name_is_not_given_again
                deleted_messages_are_counted_as_they_come_and_go
                annotations_belong_to_a_person_or_to_all
                annotations_are_bounded_and_changed_whole
            );
            contract!(@tests $backend; changes:
                flags_change_only_where_nothing_changed_meanwhile
                changes_are_those_of_one_moment
                a_folder_is_looked_up_with_its_figures
                when_a_message_came_into_its_folder_is_kept
                of_the_removed_ones_the_newest_are_remembered
            );
            contract!(@tests $backend; queue_and_journal:
                due_items_are_leased_oldest_first
                leased_items_are_not_leased_again_until_the_lease_runs_out
                no_two_leases_have_the_same_number
                what_is_leased_from_birth_is_nobody_elses_until_that_lease_runs_out
                items_of_one_message_and_domain_come_together
                a_lease_takes_at_most_the_limit
                settling_done_takes_the_item_out_and_applies_the_rest
                settling_twice_has_the_effect_of_settling_once
                settling_changes_nothing_unless_every_lease_is_held
                a_retry_stays_in_the_queue_until_it_is_due
                next_due_is_the_next_item_or_the_next_end_of_a_lease
                every_item_is_listed_oldest_first
                release_all_ends_every_lease
                an_item_keeps_what_was_queued
                journal_rows_read_back_as_written
                the_journal_is_read_by_ascending_sequence_and_filter
                counters_add_up_and_come_by_ascending_key
            );
            contract!(@tests $backend; quota:
                mail_is_taken_until_the_box_is_full
                what_a_user_stores_has_to_fit
                what_is_removed_makes_room
                what_is_replaced_makes_room
                a_message_to_a_full_box_among_others_changes_nothing
            );
            contract!(@tests $backend; queue:
                a_crowd_for_one_destination_does_not_delay_another
                nothing_is_leased_for_a_busy_destination
                an_item_that_was_not_attempted_is_leased_again_as_it_was
                a_closed_destination_gets_nothing_until_its_time_comes
                what_expires_in_a_closed_destination_is_leased_to_be_given_up
                what_is_late_in_a_closed_destination_is_leased_once_to_be_told
                a_destination_that_opens_hastens_what_waits_for_it
                held_items_wait_for_their_release
                an_attempt_under_way_ends_as_it_would_and_a_hold_holds_after_it
                a_retry_by_hand_makes_items_due_and_visits_their_destination
                a_dropped_item_is_gone_with_its_message
                an_item_given_up_is_leased_with_its_verdict_wherever_it_goes
                a_page_holds_what_fits_and_the_next_one_goes_on
                sums_are_those_of_the_pages
            );
            contract!(@reopened $backend;
                quota: quotas_and_usage_survive_a_restart
                folders: annotations_follow_their_folder_and_go_with_it
                messages: uids_are_not_used_again_after_a_restart
                messages: everything_answered_is_there_after_a_restart
                messages: a_delivery_is_not_made_twice_after_a_restart
                queue_and_journal: leases_and_their_numbers_survive_a_restart
                queue: holds_and_failures_survive_a_restart_and_every_destination_is_visited_again
                mailboxes: uid_validity_grows_across_a_restart
            );
            #[test]
            fn figures_of_a_folder_follow_any_history() {
                super::model::figures_of_a_folder_follow_any_history::<$backend>();
            }
        }
    };
    (@tests $backend:ty; $group:ident: $($promise:ident)*) => {
        $(#[test]
        fn $promise() {
            common::block_on(async {
                let backend = <$backend>::create().await;
                $group::$promise(backend.store()).await;
            });
        })*
    };
    (@reopened $backend:ty; $($group:ident: $promise:ident)*) => {
        $(#[test]
        fn $promise() {
            common::block_on(async { $group::$promise(<$backend>::create().await).await });
        })*
    };
}

contract!(sqlite, Sqlite);
