//! One conversation in the words of RFC 3501 and in those of RFC 9051, byte for byte.

use super::{Client, ONE, world};
use crate::mailbox::Mailboxes;

/// What is said, and the answers to a client of `IMAP4rev1` and of `IMAP4rev2`.
type Line = (&'static str, &'static str, &'static str);

const FLAGS: &str = "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n\
     * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] flags that last\r\n";
const VALID: &str = "* OK [UIDVALIDITY 1001] UIDs valid\r\n* OK [UIDNEXT 2] next UID\r\n\
     * OK [HIGHESTMODSEQ 2] highest modification sequence\r\n* OK [MAILBOXID (F1001)] of this folder\r\n\
     b OK [READ-WRITE] selected\r\n";

async fn with_a_message(mailboxes: &Mailboxes) -> Client {
    let mut other = Client::new(mailboxes).await;
    other.append(ONE).await;
    other
}

async fn talk(c: &mut Client, lines: &[Line], is_rev2: bool) {
    for (said, rev1, rev2) in lines {
        let expected = if is_rev2 { rev2 } else { rev1 };
        assert_eq!(c.say(said).await, *expected, "{said}");
    }
}

#[tokio::test]
async fn one_conversation_in_the_words_of_either_standard() {
    for is_rev2 in [false, true] {
        let (_, mailboxes) = world();
        let mut other = with_a_message(&mailboxes).await;
        let mut c = Client::new(&mailboxes).await;
        if is_rev2 {
            assert_eq!(
                c.say("a ENABLE IMAP4rev2").await,
                "* ENABLED IMAP4rev2\r\na OK done\r\n"
            );
        }
        let counts = if is_rev2 {
            "* 1 EXISTS\r\n* LIST (\\HasNoChildren) \"/\" INBOX\r\n"
        } else {
            "* 1 EXISTS\r\n* 1 RECENT\r\n* OK [UNSEEN 1] first unseen message\r\n"
        };
        assert_eq!(c.say("b SELECT inbox").await, format!("{FLAGS}{counts}{VALID}"));
        talk(&mut c, MESSAGES, is_rev2).await;
        other.append(ONE).await;
        talk(&mut c, FOLDERS, is_rev2).await;
    }
}

const MESSAGES: &[Line] = &[
    (
        "c FETCH 1 (FLAGS RFC822.SIZE)",
        "* 1 FETCH (FLAGS (\\Recent) RFC822.SIZE 50)\r\nc OK fetched\r\n",
        "* 1 FETCH (FLAGS () RFC822.SIZE 50)\r\nc OK fetched\r\n",
    ),
    (
        "d SEARCH ALL",
        "* SEARCH 1\r\nd OK searched\r\n",
        "* ESEARCH (TAG \"d\") ALL 1\r\nd OK searched\r\n",
    ),
    (
        "e UID SEARCH SEEN",
        "* SEARCH\r\ne OK searched\r\n",
        "* ESEARCH (TAG \"e\") UID\r\ne OK searched\r\n",
    ),
    // RFC 5256 §3: SORT has no other answer.
    (
        "f SORT (SUBJECT) UTF-8 ALL",
        "* SORT 1\r\nf OK searched\r\n",
        "* SORT 1\r\nf OK searched\r\n",
    ),
    ("f SEARCH RETURN (SAVE) ALL", "f OK searched\r\n", "f OK searched\r\n"),
    (
        "g STORE $ +FLAGS (\\Flagged)",
        "* 1 FETCH (FLAGS (\\Flagged \\Recent))\r\ng OK stored\r\n",
        "* 1 FETCH (FLAGS (\\Flagged) UID 1)\r\ng OK stored\r\n",
    ),
    (
        "h FETCH 1 BODY[TEXT]",
        "* 1 FETCH (BODY[TEXT] {7}\r\nHello\r\n FLAGS (\\Flagged \\Seen \\Recent))\r\nh OK fetched\r\n",
        "* 1 FETCH (BODY[TEXT] {7}\r\nHello\r\n FLAGS (\\Flagged \\Seen))\r\nh OK fetched\r\n",
    ),
];

const FOLDERS: &[Line] = &[
    (
        "i NOOP",
        "* 2 EXISTS\r\n* 2 RECENT\r\ni OK done\r\n",
        "* 2 EXISTS\r\ni OK done\r\n",
    ),
    (
        "j STATUS Sent (MESSAGES UIDNEXT UNSEEN DELETED SIZE)",
        "* STATUS Sent (MESSAGES 0 UIDNEXT 1 UNSEEN 0 DELETED 0 SIZE 0)\r\nj OK done\r\n",
        "* STATUS Sent (MESSAGES 0 UIDNEXT 1 UNSEEN 0 DELETED 0 SIZE 0)\r\nj OK done\r\n",
    ),
    (
        "k COPY 1 \"d&AOk-j&AOA-\"",
        "k NO [TRYCREATE] no such folder\r\n",
        "k NO [TRYCREATE] no such folder\r\n",
    ),
    // The name as a client of each writes it, and once in another normal form.
    (
        "l CREATE \"d&AOk-j&AOA-\"",
        "l OK [MAILBOXID (F1007)] created\r\n",
        "l OK [MAILBOXID (F1007)] created\r\n",
    ),
    (
        "m CREATE \"e\u{301}te\u{301}\"",
        "m OK [MAILBOXID (F1008)] created\r\n",
        "* LIST () \"/\" \"été\" (\"OLDNAME\" (\"e\u{301}te\u{301}\"))\r\nm OK [MAILBOXID (F1008)] created\r\n",
    ),
    (
        "n LIST \"\" d*",
        "* LIST (\\HasNoChildren) \"/\" d&AOk-j&AOA-\r\nn OK done\r\n",
        "* LIST (\\HasNoChildren) \"/\" d&AOk-j&AOA-\r\nn OK done\r\n",
    ),
    (
        "o MOVE 1 Sent",
        "* OK [COPYUID 1002 1 1] moved\r\n* 1 EXPUNGE\r\no OK done\r\n",
        "* OK [COPYUID 1002 1 1] moved\r\n* 1 EXPUNGE\r\no OK done\r\n",
    ),
    (
        "p EXAMINE nowhere",
        "* OK [CLOSED] the folder before is closed\r\np NO [NONEXISTENT] no such folder\r\n",
        "* OK [CLOSED] the folder before is closed\r\np NO [NONEXISTENT] no such folder\r\n",
    ),
    (
        "q CLOSE",
        "q BAD select a folder first\r\n",
        "q BAD select a folder first\r\n",
    ),
    (
        "r LSUB \"\" S*",
        "* LSUB () \"/\" Sent\r\nr OK done\r\n",
        "* LSUB () \"/\" Sent\r\nr OK done\r\n",
    ),
    (
        "s LIST (SUBSCRIBED) \"\" S*",
        "* LIST (\\Subscribed \\HasNoChildren \\Sent) \"/\" Sent\r\ns OK done\r\n",
        "* LIST (\\Subscribed \\HasNoChildren \\Sent) \"/\" Sent\r\ns OK done\r\n",
    ),
];

#[tokio::test]
async fn names_sent_in_another_form_are_told_as_they_are_kept() {
    let (_, mailboxes) = world();
    let mut c = Client::new(&mailboxes).await;
    c.say("a ENABLE IMAP4rev2").await;
    c.say("b CREATE \"été/a\"").await;
    let selected = c.say("c SELECT \"e\u{301}te\u{301}\"").await;
    let line = "* LIST (\\HasChildren) \"/\" \"été\" (\"OLDNAME\" (\"e\u{301}te\u{301}\"))\r\n";
    assert!(selected.contains(line), "{selected}");
    let selected = c.say("d SELECT \"été\"").await;
    assert!(
        selected.contains("* LIST (\\HasChildren) \"/\" \"été\"\r\n"),
        "{selected}"
    );
    let selected = c.say("e EXAMINE Trash").await;
    assert!(
        selected.contains("* LIST (\\HasNoChildren \\Trash) \"/\" Trash\r\n"),
        "{selected}"
    );
    assert_eq!(
        c.say("f RENAME \"e\u{301}te\u{301}\" hiver").await,
        "* LIST () \"/\" hiver (\"OLDNAME\" (\"e\u{301}te\u{301}\"))\r\nf OK renamed\r\n"
    );
    assert_eq!(
        c.say("g RENAME hiver \"e\u{301}te\u{301}\"").await,
        "* LIST () \"/\" \"été\" (\"OLDNAME\" (hiver))\r\ng OK renamed\r\n"
    );
    assert_eq!(c.say("g RENAME \"été\" hiver").await, "g OK renamed\r\n");
    assert_eq!(c.say("g RENAME hiver \"été\"").await, "g OK renamed\r\n");
    let appended = c.say("h APPEND \"e\u{301}te\u{301}\" {1+}\r\nx").await;
    assert!(
        appended.starts_with("* LIST () \"/\" \"été\" (\"OLDNAME\" (\"e\u{301}te\u{301}\"))\r\nh OK [APPENDUID "),
        "{appended}"
    );
    assert_eq!(
        c.say("i DELETE \"e\u{301}te\u{301}\"").await,
        "* LIST (\\NonExistent) \"/\" \"été\" (\"OLDNAME\" (\"e\u{301}te\u{301}\"))\r\ni OK deleted\r\n"
    );
    // What fails tells no name.
    assert_eq!(
        c.say("j APPEND \"e\u{301}te\u{301}\" {1+}\r\nx").await,
        "j NO [TRYCREATE] no such folder\r\n"
    );
}

#[tokio::test]
async fn a_select_that_fails_closes_the_folder_before_whatever_it_names() {
    let (_, mailboxes) = world();
    let mut c = Client::selected(&mailboxes).await;
    assert_eq!(
        c.say("a SELECT \"a//b\"").await,
        "* OK [CLOSED] the folder before is closed\r\na NO [CANNOT] not a folder name\r\n"
    );
    assert_eq!(c.say("b SEARCH ALL").await, "b BAD select a folder first\r\n");
    assert_eq!(c.say("c SELECT \"a//b\"").await, "c NO [CANNOT] not a folder name\r\n");
}

/// RFC 9051 §9, `mbx-list-sflag`: only one of them, and the one that the client knows.
#[tokio::test]
async fn a_name_without_a_folder_is_marked_once() {
    for (enable, marked) in [
        ("a NOOP", "\\Noselect"),
        ("a ENABLE CONDSTORE", "\\Noselect"),
        ("a ENABLE IMAP4rev2", "\\NonExistent"),
    ] {
        let (_, mailboxes) = world();
        let mut c = Client::new(&mailboxes).await;
        assert!(c.say(enable).await.contains("a OK"));
        assert!(c.say("b CREATE a/b").await.contains("b OK"));
        assert!(c.say("b DELETE a").await.contains("b OK"));
        let plain = c.say("c LIST \"\" a").await;
        let line = format!("* LIST ({marked} \\HasChildren) \"/\" a\r\nc OK done\r\n");
        assert_eq!(plain, line, "{enable}");
        let extended = c.say("d LIST \"\" a RETURN (CHILDREN)").await;
        let line = "* LIST (\\NonExistent \\HasChildren) \"/\" a\r\nd OK done\r\n";
        assert_eq!(extended, line, "{enable}");
    }
}

/// RFC 9051 §7.5.2: its structure is known to `IMAP4rev2` alone.
#[tokio::test]
async fn what_is_in_a_global_message_is_told_to_who_knows_of_it() {
    for (enable, is_told) in [
        ("a NOOP", false),
        ("a ENABLE IMAP4rev2", true),
        ("a ENABLE UTF8=ACCEPT", true),
    ] {
        let (_, mailboxes) = world();
        let mut c = Client::selected(&mailboxes).await;
        c.append("Content-Type: message/global\r\n\r\nSubject: inner\r\n\r\nBonjour\r\n")
            .await;
        assert!(c.say(enable).await.ends_with("a OK done\r\n"));
        for item in ["BODY", "BODYSTRUCTURE"] {
            let structure = c.say(&format!("b FETCH 1 {item}")).await;
            assert!(structure.contains("\"MESSAGE\" \"GLOBAL\""), "{structure}");
            assert_eq!(structure.contains("\"inner\""), is_told, "{enable}: {structure}");
        }
    }
}
