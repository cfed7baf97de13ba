//! NOTIFY, rule by rule (RFC 5465 §3.1, §4, §5, §6).

use super::{Client, ONE, world};
use crate::imap::Step;
use crate::mailbox::Mailboxes;

/// Somebody who changes things, and a client that asked to be told.
async fn pair(mailboxes: &Mailboxes, asked: &str) -> (Client, Client) {
    let mut a = Client::selected(mailboxes).await;
    a.append(ONE).await;
    let mut b = Client::new(mailboxes).await;
    assert_eq!(b.say(&format!("a NOTIFY SET {asked}")).await, "a OK set\r\n");
    (a, b)
}

#[tokio::test]
async fn groups_that_name_one_folder_add_up() {
    let (_, mailboxes) = world();
    let asked = "(mailboxes Sent (MessageNew MessageExpunge)) (personal (SubscriptionChange))";
    let (mut a, mut b) = pair(&mailboxes, asked).await;
    a.say("a COPY 1 Sent").await;
    assert_eq!(
        b.run().await,
        "* STATUS Sent (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 1002 UNSEEN 1)\r\n"
    );
    a.say("b COPY 1 Trash").await;
    assert_eq!(b.run().await, "", "nobody asked for messages of Trash");
    a.say("c UNSUBSCRIBE Sent").await;
    assert_eq!(b.run().await, "* LIST (\\HasNoChildren \\Sent) \"/\" Sent\r\n");
}

#[tokio::test]
async fn subscriptions_to_names_without_a_folder_are_told() {
    let (_, mailboxes) = world();
    let (mut a, mut b) = pair(&mailboxes, "(personal (SubscriptionChange))").await;
    a.say("a SUBSCRIBE futur").await;
    assert_eq!(
        b.run().await,
        "* LIST (\\NonExistent \\Subscribed \\HasNoChildren) \"/\" futur\r\n"
    );
    a.say("b CREATE futur").await;
    assert_eq!(b.run().await, "", "it was subscribed before");
    a.say("c DELETE futur").await;
    assert_eq!(b.run().await, "", "and still is");
    a.say("d UNSUBSCRIBE futur").await;
    assert_eq!(b.run().await, "* LIST (\\NonExistent \\HasNoChildren) \"/\" futur\r\n");
    // Who follows what is subscribed hears what comes and what leaves.
    b.say("e NOTIFY SET (subscribed (SubscriptionChange))").await;
    a.say("f UNSUBSCRIBE Sent").await;
    assert_eq!(b.run().await, "* LIST (\\HasNoChildren \\Sent) \"/\" Sent\r\n");
}

#[tokio::test]
async fn a_folder_comes_with_the_level_above_it_and_its_attributes() {
    let (_, mailboxes) = world();
    let (mut a, mut b) = pair(&mailboxes, "(personal (MailboxName))").await;
    a.say("a CREATE a").await;
    assert_eq!(b.run().await, "* LIST (\\HasNoChildren) \"/\" a\r\n");
    a.say("b CREATE a/b").await;
    assert_eq!(
        b.run().await,
        "* LIST (\\HasChildren) \"/\" a\r\n* LIST (\\HasNoChildren) \"/\" a/b\r\n"
    );
    a.say("c DELETE a").await;
    assert_eq!(b.run().await, "* LIST (\\NonExistent \\HasChildren) \"/\" a\r\n");
    a.say("d SUBSCRIBE a/b").await;
    assert_eq!(b.run().await, "", "SubscriptionChange was not asked");
    a.say("e DELETE a/b").await;
    assert_eq!(
        b.run().await,
        "* LIST (\\NonExistent \\HasNoChildren) \"/\" a\r\n\
         * LIST (\\NonExistent \\Subscribed \\HasNoChildren) \"/\" a/b\r\n"
    );
}

#[tokio::test]
async fn of_a_renamed_folder_those_below_are_not_told() {
    let (_, mailboxes) = world();
    let (mut a, mut b) = pair(&mailboxes, "(personal (MailboxName))").await;
    a.say("a CREATE a/b/c").await;
    b.run().await;
    a.say("b RENAME a z").await;
    assert_eq!(b.run().await, "* LIST (\\HasChildren) \"/\" z (\"OLDNAME\" (a))\r\n");
    a.say("c RENAME z/b z/y").await;
    assert_eq!(
        b.run().await,
        "* LIST (\\HasChildren) \"/\" z/y (\"OLDNAME\" (z/b))\r\n"
    );
}

#[tokio::test]
async fn what_a_client_did_itself_is_not_told_to_it() {
    let (_, mailboxes) = world();
    let asked = "(selected (MessageNew (UID) MessageExpunge)) \
                 (personal (MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange))";
    let (mut a, mut b) = pair(&mailboxes, asked).await;
    b.say("b SELECT INBOX").await;
    for (said, heard) in [
        ("c CREATE x/y", "c OK [MAILBOXID (F1008)] created\r\n"),
        ("d RENAME x z", "d OK renamed\r\n"),
        ("e SUBSCRIBE z", "e OK done\r\n"),
        ("f SETMETADATA z (/private/comment \"x\")", "f OK done\r\n"),
        ("g SETMETADATA \"\" (/private/comment \"x\")", "g OK done\r\n"),
        ("h DELETE z/y", "h OK deleted\r\n"),
        // The subscription goes along with the name.
        ("h RENAME z w", "h OK renamed\r\n"),
        ("h RENAME w z", "h OK renamed\r\n"),
        (
            "i COPY 1 INBOX",
            "* 2 EXISTS\r\n* 1 RECENT\r\ni OK [COPYUID 1001 1 2] copied\r\n",
        ),
    ] {
        assert_eq!(b.say(said).await, heard, "{said}");
        assert_eq!(b.run().await, "", "{said}");
    }
    // What somebody else does is told as before.
    a.append(ONE).await;
    assert_eq!(b.run().await, "* 3 EXISTS\r\n* 1 RECENT\r\n* 3 FETCH (UID 3)\r\n");
    a.say("j RENAME z a").await;
    assert_eq!(
        b.run().await,
        "* LIST (\\Subscribed \\HasNoChildren) \"/\" a (\"OLDNAME\" (z))\r\n",
        "the subscription goes along without a word of its own"
    );
}

#[tokio::test]
async fn annotations_that_change_are_named() {
    let (_, mailboxes) = world();
    let (mut a, mut b) = pair(&mailboxes, "(mailboxes (INBOX Sent) (MailboxMetadataChange))").await;
    a.say("a SETMETADATA INBOX (/shared/comment \"un\" /private/comment \"deux\")")
        .await;
    assert_eq!(b.run().await, "* METADATA INBOX /private/comment /shared/comment\r\n");
    a.say("b SETMETADATA INBOX (/shared/comment \"un\")").await;
    assert_eq!(b.run().await, "", "it has the value it had");
    a.say("c SETMETADATA INBOX (/shared/comment NIL)").await;
    assert_eq!(b.run().await, "* METADATA INBOX /shared/comment\r\n");
    a.say("d SETMETADATA Trash (/shared/comment \"x\")").await;
    a.say("e SETMETADATA \"\" (/private/comment \"x\")").await;
    assert_eq!(b.run().await, "", "neither was asked");
    assert_eq!(
        b.say("f NOTIFY SET (inboxes (ServerMetadataChange))").await,
        "f OK set\r\n"
    );
    a.say("g SETMETADATA INBOX (/shared/comment \"x\")").await;
    assert_eq!(b.run().await, "");
    a.say("h SETMETADATA \"\" (/private/comment NIL)").await;
    assert_eq!(b.run().await, "* METADATA \"\" /private/comment\r\n");
}

#[tokio::test]
async fn figures_come_at_once_when_asked_with_status() {
    let (_, mailboxes) = world();
    let (_, mut b) = pair(&mailboxes, "(personal (SubscriptionChange))").await;
    // Where flags are watched with HIGHESTMODSEQ, CONDSTORE or not.
    assert_eq!(
        b.say("b NOTIFY SET STATUS (mailboxes Sent (MessageNew MessageExpunge FlagChange)) (mailboxes Trash (MailboxName)) \
               (mailboxes nowhere (MessageNew MessageExpunge))")
            .await,
        "* STATUS Sent (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 1002 UNSEEN 0 HIGHESTMODSEQ 1)\r\nb OK set\r\n"
    );
}

#[tokio::test]
async fn without_selected_the_messages_of_the_selected_folder_rest_until_noop() {
    let (_, mailboxes) = world();
    let (mut a, mut b) = pair(&mailboxes, "(personal (MessageNew MessageExpunge FlagChange))").await;
    b.say("b SELECT INBOX").await;
    a.append(ONE).await;
    a.say("a STORE 1 +FLAGS (\\Deleted)").await;
    assert_eq!(b.run().await, "");
    assert_eq!(b.say("c FETCH 1 UID").await, "* 1 FETCH (UID 1)\r\nc OK fetched\r\n");
    assert_eq!(b.say("d IDLE").await, "+ idling\r\n");
    a.say("e EXPUNGE").await;
    assert_eq!(b.run().await, "", "IDLE tells what NOTIFY asks, and nothing else");
    assert_eq!(b.say("DONE").await, "d OK IDLE is over\r\n");
    assert_eq!(
        b.say("f NOOP").await,
        "* 1 EXPUNGE\r\n* 1 EXISTS\r\n* 0 RECENT\r\nf OK done\r\n"
    );
    // Another folder is another matter.
    a.say("g COPY 1 Sent").await;
    assert_eq!(
        b.run().await,
        "* STATUS Sent (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 1002 UNSEEN 1)\r\n"
    );
    // SELECTED NONE means the same.
    b.say("h NOTIFY SET (selected NONE)").await;
    a.append(ONE).await;
    assert_eq!(b.run().await, "");
    assert_eq!(
        b.say("i STATUS Trash (MESSAGES)").await,
        "* STATUS Trash (MESSAGES 0)\r\ni OK done\r\n"
    );
    // What it removes itself it is told, with what came before.
    b.say("j STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    let heard = b.say("k EXPUNGE").await;
    assert!(heard.starts_with("* 1 EXPUNGE\r\n"), "{heard}");
}

#[tokio::test]
async fn a_notify_that_fails_leaves_the_one_before() {
    let (_, mailboxes) = world();
    let (mut a, mut b) = pair(&mailboxes, "(personal (MailboxName))").await;
    assert!(
        b.say("b NOTIFY SET (personal (Nonsense))")
            .await
            .starts_with("b NO [BADEVENT (")
    );
    a.say("c CREATE x").await;
    assert_eq!(b.run().await, "* LIST (\\HasNoChildren) \"/\" x\r\n");
}

#[tokio::test]
async fn a_named_folder_is_itself_and_a_subtree_is_all_from_there() {
    let (_, mailboxes) = world();
    let asked = "(mailboxes a (MessageNew MessageExpunge)) (subtree b (MessageNew MessageExpunge))";
    let (mut a, mut b) = pair(&mailboxes, asked).await;
    for folder in ["a", "a/x", "b", "b/x", "b/x/y", "bb"] {
        a.say(&format!("a CREATE {folder}")).await;
    }
    b.run().await;
    for (folder, is_told) in [
        ("a", true),
        ("a/x", false),
        ("b", true),
        ("b/x", true),
        ("b/x/y", true),
        ("bb", false),
        ("INBOX", false),
    ] {
        a.say(&format!("b COPY 1 {folder}")).await;
        let heard = b.run().await;
        assert_eq!(
            heard.starts_with(&format!("* STATUS {folder} (MESSAGES 1 ")),
            is_told,
            "{heard}"
        );
        assert_eq!(heard.is_empty(), !is_told, "{heard}");
    }
}

#[tokio::test]
async fn figures_of_another_folder_come_when_what_was_asked_of_it_changed() {
    let status = |messages: u32, next: u32, unseen: u32| {
        format!("* STATUS Sent (MESSAGES {messages} UIDNEXT {next} UIDVALIDITY 1002 UNSEEN {unseen})\r\n")
    };
    for (events, flags_are_told) in [
        ("(MessageNew MessageExpunge)", false),
        ("(MessageNew MessageExpunge FlagChange)", true),
    ] {
        let (_, mailboxes) = world();
        let (mut a, mut b) = pair(&mailboxes, &format!("(personal {events})")).await;
        a.say("a COPY 1 Sent").await;
        a.say("b COPY 1 Sent").await;
        assert_eq!(b.run().await, status(2, 3, 2));
        a.say("c SELECT Sent").await;
        a.say("d STORE 1 +FLAGS (\\Seen \\Deleted)").await;
        let flags = if flags_are_told { status(2, 3, 1) } else { String::new() };
        assert_eq!(b.run().await, flags, "{events}");
        a.say("e EXPUNGE").await;
        assert_eq!(b.run().await, status(1, 3, 1), "one went");
        // One came, another went: there are as many as before.
        a.say("f COPY 1 Sent").await;
        a.say("g STORE 1 +FLAGS (\\Deleted)").await;
        a.say("h EXPUNGE").await;
        assert_eq!(b.run().await, status(1, 4, 1), "one came for another");
    }
}

#[tokio::test]
async fn the_folder_that_is_selected_has_no_figures() {
    let (_, mailboxes) = world();
    let (_, mut b) = pair(&mailboxes, "(personal (MailboxName))").await;
    b.say("b SELECT INBOX").await;
    assert_eq!(
        b.say("c NOTIFY SET STATUS (mailboxes (INBOX Sent) (MessageNew MessageExpunge))")
            .await,
        "* STATUS Sent (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 1002 UNSEEN 0)\r\nc OK set\r\n"
    );
}

#[tokio::test]
async fn what_one_puts_into_a_folder_counts_for_that_folder_alone() {
    let (_, mailboxes) = world();
    let (mut a, mut b) = pair(&mailboxes, "(selected (MessageNew (UID) MessageExpunge))").await;
    b.say("b SELECT INBOX").await;
    let put = b.say("c COPY 1 INBOX").await;
    assert!(
        put.ends_with("c OK [COPYUID 1001 1 2] copied\r\n") && !put.contains("FETCH"),
        "{put}"
    );
    b.say("d SELECT Sent").await;
    a.say("e COPY 1 Sent").await;
    assert_eq!(b.run().await, "* 1 EXISTS\r\n* 1 RECENT\r\n* 1 FETCH (UID 1)\r\n");
    // It has the UID that its own message has in the other folder.
    a.say("f COPY 1 Sent").await;
    assert_eq!(b.run().await, "* 2 EXISTS\r\n* 2 RECENT\r\n* 2 FETCH (UID 2)\r\n");
}

#[tokio::test]
async fn its_own_entry_of_one_folder_hides_nothing_of_another() {
    let (_, mailboxes) = world();
    let (mut a, mut b) = pair(&mailboxes, "(personal (MailboxMetadataChange))").await;
    b.run().await;
    a.say("a SETMETADATA INBOX (/private/comment \"un\")").await;
    assert_eq!(
        b.say_unwoken("b SETMETADATA Sent (/private/comment \"deux\")").await,
        "b OK done\r\n"
    );
    assert_eq!(b.run().await, "* METADATA INBOX /private/comment\r\n");
}

#[tokio::test]
async fn who_wants_to_hear_nothing_hears_it_all_once_that_ends() {
    for (asked, answer) in [
        ("NONE", "nothing is told unasked"),
        ("SET (selected (MessageNew MessageExpunge FlagChange))", "set"),
    ] {
        let (_, mailboxes) = world();
        let (mut a, mut b) = pair(&mailboxes, "(selected NONE)").await;
        a.append(ONE).await;
        b.say("b SELECT INBOX").await;
        a.say("c STORE 2 +FLAGS (\\Flagged)").await;
        a.say("d STORE 1 +FLAGS (\\Deleted)").await;
        a.say("e EXPUNGE").await;
        a.append(ONE).await;
        assert_eq!(b.run().await, "");
        assert_eq!(b.say("g CREATE x").await, "g OK [MAILBOXID (F1007)] created\r\n");
        assert_eq!(
            b.say(&format!("h NOTIFY {asked}")).await,
            format!(
                "* 2 FETCH (FLAGS (\\Flagged) UID 2)\r\n* 1 EXPUNGE\r\n* 2 EXISTS\r\n* 0 RECENT\r\nh OK {answer}\r\n"
            )
        );
        // Told once: nothing is asked again.
        b.session.feed(b"i CAPABILITY\r\n");
        assert!(matches!(b.session.step(), Step::Write(_)));
    }
}

/// STORE counts what it takes in, for its numbers hold for that; what went is not its matter.
#[tokio::test]
async fn what_went_waits_for_noop_where_nothing_is_told_unasked() {
    let (_, mailboxes) = world();
    let (mut a, mut b) = pair(&mailboxes, "(selected NONE)").await;
    a.append(ONE).await;
    b.say("b SELECT INBOX").await;
    a.say("c STORE 1 +FLAGS (\\Deleted)").await;
    a.say("d EXPUNGE").await;
    a.append(ONE).await;
    assert_eq!(
        b.say_unwoken("e STORE 2 +FLAGS.SILENT (\\Seen)").await,
        "* 3 EXISTS\r\n* 0 RECENT\r\ne OK stored\r\n"
    );
    assert_eq!(b.say("f CREATE x").await, "f OK [MAILBOXID (F1007)] created\r\n");
    assert_eq!(b.say("g NOOP").await, "* 1 EXPUNGE\r\ng OK done\r\n");
}

#[tokio::test]
async fn noop_tells_flags_too_where_nothing_is_told_unasked() {
    let (_, mailboxes) = world();
    let (mut a, mut b) = pair(&mailboxes, "(selected NONE)").await;
    b.say("b SELECT INBOX").await;
    a.say("c STORE 1 +FLAGS (\\Flagged)").await;
    assert_eq!(b.run().await, "");
    assert_eq!(
        b.say("d NOOP").await,
        "* 1 FETCH (FLAGS (\\Flagged) UID 1)\r\nd OK done\r\n"
    );
}
