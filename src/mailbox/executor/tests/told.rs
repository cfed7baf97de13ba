//! What sessions are told with CONDSTORE, QRESYNC and NOTIFY, byte for byte.

use super::{Client, ONE, world};
use crate::mailbox::Mailboxes;

async fn with_messages(mailboxes: &Mailboxes, count: usize) -> Client {
    let mut client = Client::selected(mailboxes).await;
    for _ in 0..count {
        client.append(ONE).await;
    }
    client
}

#[tokio::test]
async fn changes_are_told_with_their_modification_sequence() {
    let (_, mailboxes) = world();
    let mut a = with_messages(&mailboxes, 2).await;
    let mut b = Client::new(&mailboxes).await;
    let selected = b.say("a SELECT INBOX (CONDSTORE)").await;
    assert!(selected.contains("* OK [HIGHESTMODSEQ 3] "), "{selected}");
    assert_eq!(
        a.say("x STORE 1 +FLAGS (\\Seen)").await,
        "* 1 FETCH (FLAGS (\\Seen \\Recent))\r\nx OK stored\r\n"
    );
    assert_eq!(
        b.say("b NOOP").await,
        "* 1 FETCH (FLAGS (\\Seen) UID 1 MODSEQ (4))\r\nb OK done\r\n"
    );
    assert_eq!(
        b.say("d FETCH 2 (FLAGS) (CHANGEDSINCE 3)").await,
        "d OK fetched\r\n",
        "it was not changed since"
    );
    assert_eq!(
        b.say("e UID FETCH 1:* (FLAGS) (CHANGEDSINCE 3)").await,
        "* 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (4))\r\ne OK fetched\r\n"
    );
    assert_eq!(
        b.say("f FETCH 1 (MODSEQ)").await,
        "* 1 FETCH (MODSEQ (4))\r\nf OK fetched\r\n"
    );
    assert_eq!(
        b.say("g UID FETCH 1 (FLAGS) (CHANGEDSINCE 1 VANISHED)").await,
        "g BAD VANISHED needs QRESYNC enabled, and UID FETCH\r\n"
    );
}

#[tokio::test]
async fn flags_are_stored_only_where_nobody_changed_them() {
    let (_, mailboxes) = world();
    let mut a = with_messages(&mailboxes, 2).await;
    let mut b = Client::new(&mailboxes).await;
    b.say("a SELECT INBOX (CONDSTORE)").await;
    a.say("x STORE 1 +FLAGS (\\Seen)").await;
    // The first was changed meanwhile: it stays, and is shown as it is.
    assert_eq!(
        b.say("b STORE 1:2 (UNCHANGEDSINCE 3) +FLAGS.SILENT (\\Flagged)").await,
        "* 1 FETCH (FLAGS (\\Seen) UID 1 MODSEQ (4))\r\n* 2 FETCH (UID 2 MODSEQ (5))\r\n\
         b OK [MODIFIED 1] some of the messages were changed meanwhile\r\n"
    );
    assert_eq!(
        b.say("c UID STORE 1:2 (UNCHANGEDSINCE 0) FLAGS (\\Seen)").await,
        "c OK [MODIFIED 1:2] some of the messages were changed meanwhile\r\n"
    );
    // Who uses it is told of modification sequences from then on.
    assert_eq!(
        a.say("y UID STORE 1 (UNCHANGEDSINCE 4) FLAGS (\\Deleted)").await,
        "* 1 FETCH (FLAGS (\\Deleted \\Recent) UID 1 MODSEQ (6))\r\n\
         * 2 FETCH (FLAGS (\\Flagged \\Recent) UID 2 MODSEQ (5))\r\ny OK stored\r\n"
    );
    assert_eq!(
        a.say("z EXPUNGE").await,
        "* 1 EXPUNGE\r\nz OK [HIGHESTMODSEQ 7] expunged\r\n"
    );
}

#[tokio::test]
async fn a_client_that_was_away_is_told_what_it_missed() {
    let (_, mailboxes) = world();
    let mut a = with_messages(&mailboxes, 4).await;
    let mut b = Client::new(&mailboxes).await;
    assert_eq!(
        b.say("a SELECT INBOX (QRESYNC (1001 3))").await,
        "a BAD ENABLE QRESYNC first\r\n"
    );
    b.say("b ENABLE QRESYNC").await;
    a.say("u STORE 2 +FLAGS (\\Deleted)").await;
    a.say("v EXPUNGE").await;
    a.say("w STORE 1 +FLAGS (\\Seen)").await;
    let missed = "* VANISHED (EARLIER) 2\r\n* 1 FETCH (FLAGS (\\Seen) UID 1 MODSEQ (8))\r\n";
    let told = b.say("c SELECT INBOX (QRESYNC (1001 5))").await;
    assert!(
        told.ends_with(&format!("{missed}c OK [READ-WRITE] selected\r\n")),
        "{told}"
    );
    let told = b.say("d SELECT INBOX (QRESYNC (1001 5 3:4))").await;
    assert!(told.starts_with("* OK [CLOSED] "), "{told}");
    assert!(!told.contains("VANISHED") && !told.contains("FETCH"), "{told}");
    // Another UIDVALIDITY: nothing remembered holds.
    let told = b.say("e SELECT INBOX (QRESYNC (9 5))").await;
    assert!(!told.contains("VANISHED"), "{told}");
    a.say("x STORE 2 +FLAGS (\\Deleted)").await;
    a.say("y EXPUNGE").await;
    assert_eq!(b.say("f NOOP").await, "* VANISHED 3\r\nf OK done\r\n");
    assert_eq!(
        b.say("g UID FETCH 1:* (FLAGS) (CHANGEDSINCE 5 VANISHED)").await,
        "* VANISHED (EARLIER) 2:3\r\n* 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (8))\r\ng OK fetched\r\n"
    );
}

#[tokio::test]
async fn the_selected_folder_is_told_of_without_a_question() {
    let (_, mailboxes) = world();
    let mut a = with_messages(&mailboxes, 1).await;
    let mut b = Client::selected(&mailboxes).await;
    let items = "(UID BODY[HEADER.FIELDS (SUBJECT)])";
    let line = format!("a NOTIFY SET (selected (MessageNew {items} MessageExpunge))");
    assert_eq!(b.say(&line).await, "a OK set\r\n");
    a.append(ONE).await;
    assert_eq!(
        b.run().await,
        "* 2 EXISTS\r\n* 0 RECENT\r\n\
         * 2 FETCH (UID 2 BODY[HEADER.FIELDS (SUBJECT)] {16}\r\nSubject: one\r\n\r\n)\r\n"
    );
    a.say("b STORE 1 +FLAGS (\\Deleted)").await;
    assert_eq!(b.run().await, "", "FlagChange was not asked");
    a.say("c EXPUNGE").await;
    assert_eq!(b.run().await, "* 1 EXPUNGE\r\n");
    assert_eq!(
        b.say("d NOTIFY SET (selected-delayed (MessageNew MessageExpunge FlagChange))")
            .await,
        "d OK set\r\n"
    );
    a.say("e STORE 1 +FLAGS (\\Deleted)").await;
    assert_eq!(b.run().await, "* 1 FETCH (FLAGS (\\Deleted) UID 2)\r\n");
    a.say("f EXPUNGE").await;
    assert_eq!(b.run().await, "", "numbers hold until something is asked");
    assert_eq!(b.say("g NOOP").await, "* 1 EXPUNGE\r\ng OK done\r\n");
    assert_eq!(b.say("h NOTIFY NONE").await, "h OK nothing is told unasked\r\n");
    a.append(ONE).await;
    assert_eq!(b.run().await, "");
    assert_eq!(b.say("i NOOP").await, "* 1 EXISTS\r\n* 0 RECENT\r\ni OK done\r\n");
}

#[tokio::test]
async fn a_new_message_is_fetched_whichever_command_counts_it() {
    let (_, mailboxes) = world();
    let mut a = with_messages(&mailboxes, 1).await;
    let mut b = Client::selected(&mailboxes).await;
    b.say("a NOTIFY SET (selected-delayed (MessageNew (UID) MessageExpunge FlagChange))")
        .await;
    a.append(ONE).await;
    // It takes the message in before anybody says that there is one.
    assert_eq!(
        b.say_unwoken("b STORE 1 +FLAGS.SILENT (\\Seen)").await,
        "* 2 EXISTS\r\n* 0 RECENT\r\n* 2 FETCH (UID 2)\r\nb OK stored\r\n"
    );
    b.say("c NOTIFY SET (selected (MessageNew MessageExpunge))").await;
    a.append(ONE).await;
    assert_eq!(
        b.say_unwoken("d STORE 1 -FLAGS.SILENT (\\Seen)").await,
        "* 3 EXISTS\r\n* 0 RECENT\r\nd OK stored\r\n"
    );
}

#[tokio::test]
async fn what_was_asked_for_comes_before_what_others_changed() {
    let (_, mailboxes) = world();
    let mut a = with_messages(&mailboxes, 2).await;
    let mut b = Client::selected(&mailboxes).await;
    a.say("a STORE 1 +FLAGS.SILENT (\\Flagged)").await;
    // Setting \Seen brings the change along. Some clients take the first FETCH response for the one they asked for.
    let heard = b.say_unwoken("b UID FETCH 2 BODY[]").await;
    let place = |what: &str| heard.find(what).unwrap_or_else(|| panic!("{what} in {heard}"));
    assert!(
        place("* 2 FETCH (UID 2 BODY[] {") < place("* 1 FETCH (FLAGS (\\Flagged"),
        "{heard}"
    );
}

#[tokio::test]
async fn other_folders_are_told_of_by_their_figures_and_names() {
    let (_, mailboxes) = world();
    let mut a = with_messages(&mailboxes, 1).await;
    let mut b = Client::new(&mailboxes).await;
    let events = "(MessageNew MessageExpunge MailboxName SubscriptionChange)";
    assert_eq!(
        b.say(&format!("a NOTIFY SET (personal {events})")).await,
        "a OK set\r\n"
    );
    a.say("b COPY 1 Sent").await;
    assert_eq!(
        b.run().await,
        "* STATUS Sent (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 1002 UNSEEN 1)\r\n"
    );
    a.say("c STORE 1 +FLAGS (\\Seen)").await;
    assert_eq!(b.run().await, "", "FlagChange was not asked");
    a.say("d CREATE Dossiers").await;
    let created = b.run().await;
    assert!(
        created.starts_with("* LIST (") && created.ends_with(") \"/\" Dossiers\r\n"),
        "{created}"
    );
    a.say("e RENAME Dossiers Actes").await;
    let renamed = b.run().await;
    assert!(
        renamed.ends_with("\"/\" Actes (\"OLDNAME\" (Dossiers))\r\n"),
        "{renamed}"
    );
    a.say("f UNSUBSCRIBE Sent").await;
    assert_eq!(b.run().await, "* LIST (\\HasNoChildren \\Sent) \"/\" Sent\r\n");
    a.say("g DELETE Actes").await;
    assert_eq!(b.run().await, "* LIST (\\NonExistent \\HasNoChildren) \"/\" Actes\r\n");
    assert_eq!(
        b.say("h NOTIFY SET STATUS (mailboxes (Sent Trash) (MessageNew MessageExpunge))")
            .await,
        "* STATUS Sent (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 1002 UNSEEN 1)\r\n\
         * STATUS Trash (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 1004 UNSEEN 0)\r\nh OK set\r\n"
    );
    a.say("i COPY 1 Archive").await;
    assert_eq!(b.run().await, "", "only what is named");
}

#[tokio::test]
async fn events_that_cannot_be_told_are_refused() {
    let (_, mailboxes) = world();
    let mut c = Client::new(&mailboxes).await;
    for (asked, answer) in [
        (
            "(selected (MessageNew))",
            "BAD MessageNew and MessageExpunge go together, FlagChange with both",
        ),
        (
            "(personal (FlagChange))",
            "BAD MessageNew and MessageExpunge go together, FlagChange with both",
        ),
        ("(selected (MailboxName))", "BAD not an event of the selected folder"),
        (
            "(personal (MessageNew (UID) MessageExpunge))",
            "BAD items are fetched only of the selected folder",
        ),
        (
            "(personal (AnnotationChange))",
            "NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange \
             ServerMetadataChange)] this event is not told",
        ),
        (
            "(selected (MessageNew MessageExpunge MailboxMetadataChange))",
            "BAD not an event of the selected folder",
        ),
        (
            "(selected (MessageNew MessageExpunge)) (selected-delayed (MessageNew MessageExpunge))",
            "BAD the selected folder is named twice",
        ),
    ] {
        assert_eq!(
            c.say(&format!("a NOTIFY SET {asked}")).await,
            format!("a {answer}\r\n"),
            "{asked}"
        );
    }
}
