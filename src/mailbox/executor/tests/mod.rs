//! Tests of the executor, over a store in memory.

mod folders;
mod notify;
mod reading;
mod rev2;
mod search;
mod told;

use std::sync::atomic::Ordering;

use super::*;
use crate::imap::{Accessor, Certificate, Options, Rights, Security, Session, Step};
use crate::mailbox::memory::MemoryStore;

/// An IMAP client whose lines go through a session and an executor over a store in memory.
pub(super) struct Client {
    session: Session,
    pub(super) boxes: BoxSession,
    closed: bool,
}

const NOW: &str = "2026-11-21T10:00:00Z";

impl Client {
    pub(super) async fn new(mailboxes: &Mailboxes) -> Self {
        let mut options = Options::new(Security::Tls(Certificate::None));
        options.append_bytes_max = 5000;
        // Random work names messages that are not there.
        options.errors_max = 10_000;
        let mut client = Self {
            session: Session::new(options),
            boxes: mailboxes.session(),
            closed: false,
        };
        client.run().await;
        assert!(client.say("login LOGIN jean@chu.fr s").await.starts_with("login OK"));
        client
    }

    pub(super) async fn selected(mailboxes: &Mailboxes) -> Self {
        let mut client = Self::new(mailboxes).await;
        assert!(
            client
                .say("select SELECT INBOX")
                .await
                .ends_with("select OK [READ-WRITE] selected\r\n")
        );
        client
    }

    pub(super) async fn say(&mut self, line: &str) -> String {
        self.session.feed(line.as_bytes());
        self.session.feed(b"\r\n");
        self.run().await
    }

    /// The same where what happened comes to be known only with the command itself.
    pub(super) async fn say_unwoken(&mut self, line: &str) -> String {
        self.session.feed(line.as_bytes());
        self.session.feed(b"\r\n");
        String::from_utf8(self.drive(false).await).unwrap()
    }

    /// The same of any bytes.
    async fn say_bytes(&mut self, line: &[u8]) -> Vec<u8> {
        self.session.feed(line);
        self.session.feed(b"\r\n");
        self.drive(true).await
    }

    async fn run(&mut self) -> String {
        String::from_utf8(self.drive(true).await).unwrap()
    }

    /// What a driver does, see the doc of `imap`.
    async fn drive(&mut self, wakes: bool) -> Vec<u8> {
        let mut heard = Vec::new();
        for _ in 0..10_000 {
            if wakes && self.boxes.has_news() {
                self.session.changed();
            }
            match self.session.step() {
                Step::Write(bytes) => heard.extend(bytes),
                Step::Refused(_) => {}
                Step::Read | Step::Idle => break,
                Step::StartTls | Step::Compress(_) => panic!("not of this test"),
                Step::Close => {
                    self.closed = true;
                    break;
                }
                Step::Ask(Request::Authenticate(_)) => {
                    self.session.answer(Answer::Boxes(vec!["jean@chu.fr".into()]));
                }
                Step::Ask(Request::Access) => self.session.answer(who()),
                Step::Ask(request) => {
                    let answer = self.boxes.perform(request, NOW.parse().unwrap()).await;
                    self.session.answer(answer);
                }
            }
        }
        heard
    }

    pub(super) async fn append(&mut self, message: &str) {
        let line = format!("append APPEND INBOX {{{}+}}\r\n{message}", message.len());
        let heard = self.say(&line).await;
        assert!(heard.contains("append OK [APPENDUID "), "{heard}");
    }
}

/// The holder, and a delegate.
fn who() -> Answer {
    let accessor = |name: &str, rights| Accessor {
        identifier: name.into(),
        rights,
    };
    let holder = accessor("jean@chu.fr", Rights::Holder);
    Answer::Access {
        mine: holder.clone(),
        all: vec![holder, accessor("Anne Martin", Rights::Delegate)],
    }
}

pub(super) fn world() -> (Arc<MemoryStore>, Mailboxes) {
    let store = Arc::new(MemoryStore::default());
    let mailboxes = Mailboxes::new(Arc::clone(&store) as Arc<dyn Store>, Notify::default());
    (store, mailboxes)
}

pub(super) const ONE: &str = "From: a@b.fr\r\nSubject: one\r\nX-TUID: 123\r\n\r\nHello\r\n";
const TWO: &str =
    "From: c@d.fr\r\nSubject: =?utf-8?q?R=C3=A9sultat?=\r\nDate: Fri, 20 Nov 2026 23:30:00 -0500\r\n\r\nSecond\r\n";

#[tokio::test]
async fn an_empty_folder_can_be_selected_and_worked_on() {
    let (_, mailboxes) = world();
    let mut c = Client::new(&mailboxes).await;
    assert_eq!(
        c.say("a SELECT inbox").await,
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n\
         * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] flags that last\r\n\
         * 0 EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY 1001] UIDs valid\r\n* OK [UIDNEXT 1] next UID\r\n\
         * OK [HIGHESTMODSEQ 1] highest modification sequence\r\n\
         * OK [MAILBOXID (F1001)] of this folder\r\n\
         a OK [READ-WRITE] selected\r\n"
    );
    assert_eq!(c.say("b UID FETCH 1:* FLAGS").await, "b OK fetched\r\n");
    assert_eq!(
        c.say("c FETCH 1:* FLAGS").await,
        "c BAD there is no message of that number\r\n"
    );
    assert_eq!(c.say("d UID SEARCH ALL").await, "* SEARCH\r\nd OK searched\r\n");
    assert_eq!(c.say("e SEARCH 1:*").await, "* SEARCH\r\ne OK searched\r\n");
    assert_eq!(c.say("f EXPUNGE").await, "f OK expunged\r\n");
    assert_eq!(c.say("g UID COPY 1:* Sent").await, "g OK nothing to copy\r\n");
    assert_eq!(c.say("h CLOSE").await, "h OK closed\r\n");
    assert_eq!(c.say("i FETCH 1 FLAGS").await, "i BAD select a folder first\r\n");
    assert_eq!(c.say("j SELECT Nowhere").await, "j NO [NONEXISTENT] no such folder\r\n");
    let condstore = c.say("k SELECT INBOX (CONDSTORE)").await;
    assert!(condstore.ends_with("k OK [READ-WRITE] selected\r\n"), "{condstore}");
}

#[tokio::test]
async fn messages_are_appended_and_fetched() {
    let (_, mailboxes) = world();
    let mut c = Client::selected(&mailboxes).await;
    assert_eq!(
        c.say("a APPEND INBOX (\\Seen $Label) \"17-Jul-1996 02:44:25 -0700\" {49}")
            .await,
        "+ go ahead\r\n"
    );
    assert_eq!(
        c.say(&ONE[..49]).await,
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Label)\r\n\
         * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Label \\*)] flags that last\r\n\
         * 1 EXISTS\r\n* 1 RECENT\r\na OK [APPENDUID 1001 1] appended\r\n"
    );
    assert_eq!(
        c.say("b FETCH 1 FAST").await,
        "* 1 FETCH (FLAGS (\\Seen $Label \\Recent) INTERNALDATE \"17-Jul-1996 09:44:25 +0000\" RFC822.SIZE 49)\r\nb OK fetched\r\n"
    );
    c.append(TWO).await;
    assert_eq!(
        c.say("c UID FETCH 1:* (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (X-TUID)])")
            .await,
        "* 1 FETCH (UID 1 FLAGS (\\Seen $Label \\Recent) RFC822.SIZE 49 BODY[HEADER.FIELDS (X-TUID)] {15}\r\nX-TUID: 123\r\n\r\n)\r\n\
         * 2 FETCH (UID 2 FLAGS (\\Recent) RFC822.SIZE 99 BODY[HEADER.FIELDS (X-TUID)] {2}\r\n\r\n)\r\nc OK fetched\r\n"
    );
    assert_eq!(
        c.say("d FETCH 2 (BODY[TEXT] UID)").await,
        "* 2 FETCH (BODY[TEXT] {8}\r\nSecond\r\n UID 2 FLAGS (\\Seen \\Recent))\r\nd OK fetched\r\n"
    );
    assert_eq!(
        c.say("e UID FETCH 2 BODY[]<0.4>").await,
        "* 2 FETCH (UID 2 BODY[]<0> {4}\r\nFrom)\r\ne OK fetched\r\n"
    );
    assert_eq!(
        c.say("f FETCH 3 FLAGS").await,
        "f BAD there is no message of that number\r\n"
    );
    assert_eq!(
        c.say("g FETCH 1 BINARY[1]").await,
        "* 1 FETCH (BINARY[1] {6}\r\nHello\r)\r\ng OK fetched\r\n"
    );
    let envelope = c.say("h FETCH 2 (ENVELOPE BODYSTRUCTURE)").await;
    assert!(envelope.contains("\"=?utf-8?q?R=C3=A9sultat?=\""), "{envelope}");
    assert!(envelope.contains("BODYSTRUCTURE (\"TEXT\" \"PLAIN\""), "{envelope}");
}

#[tokio::test]
async fn several_messages_come_together_or_not_at_all() {
    let (_, mailboxes) = world();
    let mut c = Client::selected(&mailboxes).await;
    assert_eq!(
        c.say("a APPEND INBOX (\\Seen) {1+}\r\nx \"17-Jul-1996 02:44:25 -0700\" {2+}\r\nyy (\\Draft) ~{2+}\r\n\0z")
            .await,
        "* 3 EXISTS\r\n* 3 RECENT\r\na OK [APPENDUID 1001 1:3] appended\r\n"
    );
    assert_eq!(
        c.say("b FETCH 1:* (FLAGS RFC822.SIZE)").await,
        "* 1 FETCH (FLAGS (\\Seen \\Recent) RFC822.SIZE 1)\r\n* 2 FETCH (FLAGS (\\Recent) RFC822.SIZE 2)\r\n\
         * 3 FETCH (FLAGS (\\Draft \\Recent) RFC822.SIZE 2)\r\nb OK fetched\r\n"
    );
    for (what, refused) in [
        ("INBOX {1+}\r\nx (\\Odd) {1+}\r\ny", "BAD unknown system flag"),
        ("INBOX {1+}\r\nx {0+}\r\n", "NO [CANNOT] an empty message is not stored"),
        (
            "INBOX {1+}\r\nx {1+}\r\n\0",
            "BAD NUL in a message that did not come as a literal8",
        ),
        ("INBOX {1+}\r\nx {1+}\r\ny foo", "BAD expected a literal, at byte 29"),
        ("Nowhere {1+}\r\nx {1+}\r\ny", "NO [TRYCREATE] no such folder"),
        ("INBOX {1+}\r\nx UTF8 (~{1+}\r\ny)", "BAD ENABLE UTF8=ACCEPT first"),
    ] {
        assert_eq!(
            c.say(&format!("c APPEND {what}")).await,
            format!("c {refused}\r\n"),
            "{what}"
        );
    }
    assert_eq!(c.say("d NOOP").await, "d OK done\r\n");
}

#[tokio::test]
async fn names_and_messages_are_utf8_once_that_is_enabled() {
    let (_, mailboxes) = world();
    let mut c = Client::new(&mailboxes).await;
    assert!(c.say("a CREATE Caf&AOk-").await.starts_with("a OK "));
    assert!(c.say("b LIST \"\" C%").await.contains(" Caf&AOk-\r\n"));
    assert_eq!(
        c.say("c ENABLE UTF8=ACCEPT X").await,
        "* ENABLED UTF8=ACCEPT\r\nc OK done\r\n"
    );
    assert!(c.say("d LIST \"\" \"Caf\u{e9}\"").await.contains(" \"Caf\u{e9}\"\r\n"));
    let message = "Subject: \u{e9}t\u{e9}\r\n\r\n";
    let append = format!(
        "e APPEND \"Caf\u{e9}\" (\\Seen) UTF8 (~{{{}+}}\r\n{message})",
        message.len()
    );
    let appended = c.say(&append).await;
    assert!(appended.starts_with("e OK [APPENDUID "), "{appended}");
    c.say("f SELECT \"Caf\u{e9}\"").await;
    assert_eq!(
        c.say("g SEARCH SUBJECT \"\u{e9}t\u{e9}\"").await,
        "* SEARCH 1\r\ng OK searched\r\n"
    );
    assert_eq!(
        c.say("h SEARCH CHARSET UTF-8 ALL").await,
        "h BAD no CHARSET after ENABLE UTF8=ACCEPT\r\n"
    );
    // RFC 5256 §3: there the charset must be named, so it may.
    assert_eq!(
        c.say("i SORT (SUBJECT) UTF-8 SUBJECT \"\u{e9}t\u{e9}\"").await,
        "* SORT 1\r\ni OK searched\r\n"
    );
    // What was enabled ends with the login.
    c.say("i UNAUTHENTICATE").await;
    c.say("j LOGIN jean@chu.fr s").await;
    assert!(c.say("k LIST \"\" C%").await.contains(" Caf&AOk-\r\n"));
}

#[tokio::test]
async fn a_message_is_replaced_by_another_at_once() {
    let (_, mailboxes) = world();
    let mut c = Client::selected(&mailboxes).await;
    let mut other = Client::selected(&mailboxes).await;
    c.append("1").await;
    c.append("2").await;
    other.say("a NOOP").await;
    assert_eq!(
        c.say("a REPLACE 1 INBOX (\\Draft) {2+}\r\n11").await,
        "* OK [APPENDUID 1001 3] here is the replacement\r\n* 1 EXPUNGE\r\n* 2 EXISTS\r\n* 2 RECENT\r\na OK replaced\r\n"
    );
    assert_eq!(
        c.say("b UID FETCH 1:* (FLAGS BODY.PEEK[])").await,
        "* 1 FETCH (UID 2 FLAGS (\\Recent) BODY[] {1}\r\n2)\r\n* 2 FETCH (UID 3 FLAGS (\\Draft \\Recent) BODY[] {2}\r\n11)\r\nb OK fetched\r\n"
    );
    // The other session still numbers the message that is gone: nothing is stored in its place.
    let refused = other.say("b UID REPLACE 1 INBOX {2+}\r\n22").await;
    assert!(
        refused.ends_with("b NO [EXPUNGEISSUED] the message is gone\r\n"),
        "{refused}"
    );
    assert_eq!(
        other.say("c UID REPLACE 99 INBOX {1+}\r\nx").await,
        "c NO [NONEXISTENT] no such message\r\n"
    );
    assert_eq!(
        other.say("d REPLACE 9 INBOX {1+}\r\nx").await,
        "d BAD there is no message of that number\r\n"
    );
    assert_eq!(
        other.say("e REPLACE 1 Nowhere {1+}\r\nx").await,
        "e NO [TRYCREATE] no such folder\r\n"
    );
    assert_eq!(other.say("f UID SEARCH ALL").await, "* SEARCH 2 3\r\nf OK searched\r\n");
    other.say("g EXAMINE INBOX").await;
    assert_eq!(
        other.say("h REPLACE 1 INBOX {1+}\r\nx").await,
        "h NO [CANNOT] the folder was opened read-only\r\n"
    );
    // To another folder: the message goes there, its replacement in this one does not come.
    assert_eq!(
        c.say("c UID REPLACE * Drafts {1+}\r\nd").await,
        "* OK [APPENDUID 1003 1] here is the replacement\r\n* 2 EXPUNGE\r\nc OK replaced\r\n"
    );
}

#[tokio::test]
async fn an_append_that_cannot_be_is_refused() {
    let (_, mailboxes) = world();
    let mut c = Client::new(&mailboxes).await;
    assert_eq!(
        c.say("a APPEND INBOX {5001}").await,
        "a NO [TOOBIG] the message is too large\r\n"
    );
    assert_eq!(
        c.say("b APPEND Nowhere {1+}\r\nx").await,
        "b NO [TRYCREATE] no such folder\r\n"
    );
    assert_eq!(
        c.say("c APPEND INBOX {1+}\r\n\0").await,
        "c BAD NUL in a message that did not come as a literal8\r\n"
    );
    assert_eq!(
        c.say("d APPEND INBOX (\\Odd) {1+}\r\nx").await,
        "d BAD unknown system flag\r\n"
    );
    assert_eq!(
        c.say("e STATUS INBOX (MESSAGES)").await,
        "* STATUS INBOX (MESSAGES 0)\r\ne OK done\r\n"
    );
}

#[tokio::test]
async fn nul_comes_in_a_literal8_and_is_kept() {
    let (_, mailboxes) = world();
    let mut c = Client::selected(&mailboxes).await;
    let message = "Content-Transfer-Encoding: binary\r\n\r\na\0b";
    let length = message.len();
    let appended = c.say(&format!("a APPEND INBOX ~{{{length}+}}\r\n{message}")).await;
    assert!(appended.ends_with("a OK [APPENDUID 1001 1] appended\r\n"), "{appended}");
    // RFC 9051 §4.3: an ordinary literal holds no NUL; lengths are those of the message.
    c.session
        .feed(b"b FETCH 1 (RFC822.SIZE BINARY.SIZE[1] BINARY.PEEK[1] BODY.PEEK[1])\r\n");
    assert_eq!(
        c.drive(true).await,
        format!("* 1 FETCH (RFC822.SIZE {length} BINARY.SIZE[1] 3 BINARY[1] ~{{3}}\r\na\0b BODY[1] {{3}}\r\na")
            .as_bytes()
            .iter()
            .chain(b"\x80b)\r\nb OK fetched\r\n")
            .copied()
            .collect::<Vec<u8>>()
    );
    // The same bytes as a literal are refused, whole or in a second message.
    assert_eq!(
        c.say(&format!("c APPEND INBOX {{1+}}\r\nx {{{length}+}}\r\n{message}"))
            .await,
        "c BAD NUL in a message that did not come as a literal8\r\n"
    );
    assert_eq!(
        c.say("d STATUS INBOX (MESSAGES)").await,
        "* STATUS INBOX (MESSAGES 1)\r\nd OK done\r\n"
    );
}

#[tokio::test]
async fn a_store_that_changes_nothing_wakes_nobody() {
    let (_, mailboxes) = world();
    let mut a = Client::selected(&mailboxes).await;
    a.append(ONE).await;
    a.say("a STORE 1 +FLAGS (\\Seen)").await;
    let mut b = Client::selected(&mailboxes).await;
    b.boxes.has_news();
    assert_eq!(
        a.say("b STORE 1 +FLAGS (\\Seen)").await,
        "* 1 FETCH (FLAGS (\\Seen \\Recent))\r\nb OK stored\r\n"
    );
    assert!(!b.boxes.has_news(), "there is nothing to tell");
    assert_eq!(
        b.say("c STATUS INBOX (HIGHESTMODSEQ)").await,
        "* STATUS INBOX (HIGHESTMODSEQ 3)\r\nc OK done\r\n"
    );
    a.say("d STORE 1 -FLAGS (\\Seen)").await;
    assert!(b.boxes.has_news());
}

#[tokio::test]
async fn news_behind_a_change_that_cannot_be_read_stay_news() {
    let (_, mailboxes) = world();
    let mut a = Client::new(&mailboxes).await;
    let mut b = Client::new(&mailboxes).await;
    a.say("a CREATE Projet").await;
    b.say("b SELECT Projet").await;
    let folder = b.boxes.selected.as_ref().unwrap().folder;
    a.say("c DELETE Projet").await;
    // As STORE does, when its folder is deleted behind the change.
    assert!(b.boxes.news_with_change(folder).await.is_err());
    assert!(b.boxes.has_news(), "the session was not told");
}

#[tokio::test]
async fn flags_are_stored_told_and_kept_silent() {
    let (_, mailboxes) = world();
    let mut c = Client::selected(&mailboxes).await;
    c.append(ONE).await;
    assert_eq!(
        c.say("a STORE 1 +FLAGS (\\Flagged)").await,
        "* 1 FETCH (FLAGS (\\Flagged \\Recent))\r\na OK stored\r\n"
    );
    assert_eq!(c.say("b STORE 1 +FLAGS.SILENT (\\Answered)").await, "b OK stored\r\n");
    assert_eq!(
        c.say("c UID STORE 1 -FLAGS \\Flagged").await,
        "* 1 FETCH (FLAGS (\\Answered \\Recent) UID 1)\r\nc OK stored\r\n"
    );
    assert_eq!(c.say("d UID STORE 77 FLAGS ()").await, "d OK no such message\r\n");
    assert_eq!(
        c.say("e STORE 2 FLAGS ()").await,
        "e BAD there is no message of that number\r\n"
    );
    assert!(
        c.say("f EXAMINE INBOX")
            .await
            .ends_with("f OK [READ-ONLY] selected\r\n")
    );
    assert_eq!(
        c.say("g STORE 1 FLAGS ()").await,
        "g NO [CANNOT] the folder was opened read-only\r\n"
    );
    assert_eq!(
        c.say("h EXPUNGE").await,
        "h NO [CANNOT] the folder was opened read-only\r\n"
    );
    assert_eq!(
        c.say("i FETCH 1 BODY[TEXT]").await,
        "* 1 FETCH (BODY[TEXT] {7}\r\nHello\r\n)\r\ni OK fetched\r\n"
    );
}

#[tokio::test]
async fn messages_are_copied_moved_and_removed() {
    let (_, mailboxes) = world();
    let mut c = Client::selected(&mailboxes).await;
    for _ in 0..4 {
        c.append(ONE).await;
    }
    assert_eq!(c.say("a COPY 1:2 Sent").await, "a OK [COPYUID 1002 1:2 1:2] copied\r\n");
    assert_eq!(c.say("b COPY 1 Nowhere").await, "b NO [TRYCREATE] no such folder\r\n");
    assert_eq!(
        c.say("c UID MOVE 1,3 Trash").await,
        "* OK [COPYUID 1004 1,3 1:2] moved\r\n* 1 EXPUNGE\r\n* 2 EXPUNGE\r\nc OK done\r\n"
    );
    assert_eq!(c.say("d STORE 1:2 +FLAGS.SILENT (\\Deleted)").await, "d OK stored\r\n");
    assert_eq!(c.say("e UID EXPUNGE 4").await, "* 2 EXPUNGE\r\ne OK expunged\r\n");
    assert_eq!(c.say("f EXPUNGE").await, "* 1 EXPUNGE\r\nf OK expunged\r\n");
    assert_eq!(
        c.say("g STATUS Trash (MESSAGES UIDNEXT UNSEEN)").await,
        "* STATUS Trash (MESSAGES 2 UIDNEXT 3 UNSEEN 2)\r\ng OK done\r\n"
    );
}

#[tokio::test]
async fn close_removes_and_unselect_does_not() {
    let (_, mailboxes) = world();
    let mut c = Client::selected(&mailboxes).await;
    c.append(ONE).await;
    c.say("a STORE 1 +FLAGS (\\Deleted)").await;
    assert_eq!(c.say("b UNSELECT").await, "b OK closed, nothing removed\r\n");
    assert_eq!(
        c.say("c STATUS INBOX (MESSAGES)").await,
        "* STATUS INBOX (MESSAGES 1)\r\nc OK done\r\n"
    );
    c.say("d SELECT INBOX").await;
    assert_eq!(c.say("e CLOSE").await, "e OK closed\r\n");
    assert_eq!(
        c.say("f STATUS INBOX (MESSAGES)").await,
        "* STATUS INBOX (MESSAGES 0)\r\nf OK done\r\n"
    );
}

#[tokio::test]
async fn renaming_inbox_moves_its_messages() {
    let (_, mailboxes) = world();
    let mut c = Client::selected(&mailboxes).await;
    c.append(ONE).await;
    assert_eq!(c.say("a RENAME INBOX Old").await, "* 1 EXPUNGE\r\na OK renamed\r\n");
    assert_eq!(
        c.say("b STATUS Old (MESSAGES)").await,
        "* STATUS Old (MESSAGES 1)\r\nb OK done\r\n"
    );
}

#[tokio::test]
async fn search_finds_what_the_standard_says() {
    let (store, mailboxes) = world();
    let mut c = Client::selected(&mailboxes).await;
    c.append(ONE).await;
    c.append(TWO).await;
    c.say("x STORE 1 +FLAGS (\\Seen $Done)").await;
    for (keys, found) in [
        ("ALL", " 1 2"),
        ("SEEN", " 1"),
        ("UNSEEN", " 2"),
        ("NEW", " 2"),
        ("KEYWORD $done", " 1"),
        ("UNKEYWORD $Done", " 2"),
        ("LARGER 90", " 2"),
        ("SMALLER 90", " 1"),
        ("ON 21-Nov-2026", " 1 2"),
        ("BEFORE 21-Nov-2026", ""),
        ("SINCE 21-Nov-2026", " 1 2"),
        ("2:*", " 2"),
        ("UID 1", " 1"),
        ("NOT 1", " 2"),
        ("OR SEEN UNSEEN", " 1 2"),
        ("(SEEN UNSEEN)", ""),
    ] {
        assert_eq!(
            c.say(&format!("a SEARCH {keys}")).await,
            format!("* SEARCH{found}\r\na OK searched\r\n"),
            "{keys}"
        );
    }
    assert_eq!(
        store.reads.load(Ordering::Relaxed),
        0,
        "none of these needs a message's bytes"
    );
    for (keys, found) in [
        ("SUBJECT ONE", " 1"),
        ("CHARSET UTF-8 SUBJECT {9+}\r\nR\u{c9}sultat", " 2"),
        ("CHARSET UTF-8 SUBJECT {9+}\r\nR\u{c9}SULTAT", " 2"),
        ("FROM c@", " 2"),
        ("HEADER X-TUID \"\"", " 1"),
        ("SENTON 20-Nov-2026", " 2"),
        ("SENTSINCE 21-Nov-2026", ""),
        ("BODY second", " 2"),
        ("BODY one", ""),
        ("TEXT one", " 1"),
        ("TEXT \"subject: one\"", " 1"),
        ("NOT TEXT one", " 2"),
        ("UNSEEN TEXT o", " 2"),
    ] {
        assert_eq!(
            c.say(&format!("a SEARCH {keys}")).await,
            format!("* SEARCH{found}\r\na OK searched\r\n"),
            "{keys}"
        );
    }
    assert_eq!(
        c.say("b SEARCH CHARSET KOI8-R ALL").await,
        "b NO [BADCHARSET (US-ASCII UTF-8)] unknown charset\r\n"
    );
    assert_eq!(c.say("c UID SEARCH UID 2").await, "* SEARCH 2\r\nc OK searched\r\n");
}

#[tokio::test]
async fn another_session_is_told_at_the_right_moment() {
    let (_, mailboxes) = world();
    let mut a = Client::selected(&mailboxes).await;
    for _ in 0..3 {
        a.append(ONE).await;
    }
    let mut b = Client::selected(&mailboxes).await;
    a.say("x STORE 1:2 +FLAGS (\\Deleted)").await;
    assert_eq!(
        b.say("a NOOP").await,
        "* 1 FETCH (FLAGS (\\Deleted))\r\n* 2 FETCH (FLAGS (\\Deleted))\r\na OK done\r\n"
    );
    assert_eq!(
        a.say("y EXPUNGE").await,
        "* 1 EXPUNGE\r\n* 1 EXPUNGE\r\ny OK expunged\r\n"
    );
    // RFC 3501 §7.4.1: no EXPUNGE while FETCH, STORE or SEARCH is answered; numbers mean what they meant.
    assert_eq!(b.say("b FETCH 3 UID").await, "* 3 FETCH (UID 3)\r\nb OK fetched\r\n");
    assert_eq!(b.say("c FETCH 3 UID").await, "* 3 FETCH (UID 3)\r\nc OK fetched\r\n");
    assert_eq!(b.say("d SEARCH ALL").await, "* SEARCH 3\r\nd OK searched\r\n");
    assert_eq!(
        b.say("e STORE 1 +FLAGS (\\Seen)").await,
        "e NO [EXPUNGEISSUED] some of the messages are gone\r\n"
    );
    a.append(TWO).await;
    assert_eq!(
        b.say("f FETCH 3 UID").await,
        "* 3 FETCH (UID 3)\r\n* 4 EXISTS\r\n* 0 RECENT\r\nf OK fetched\r\n"
    );
    assert_eq!(
        b.say("g UID FETCH 4 UID").await,
        "* 4 FETCH (UID 4)\r\n* 1 EXPUNGE\r\n* 1 EXPUNGE\r\ng OK fetched\r\n"
    );
    assert_eq!(
        b.say("h FETCH 1:* UID").await,
        "* 1 FETCH (UID 3)\r\n* 2 FETCH (UID 4)\r\nh OK fetched\r\n"
    );
    assert_eq!(b.say("i NOOP").await, "i OK done\r\n");
}

#[tokio::test]
async fn silence_does_not_hide_what_someone_else_did() {
    let (_, mailboxes) = world();
    let mut a = Client::selected(&mailboxes).await;
    a.append(ONE).await;
    let mut b = Client::selected(&mailboxes).await;
    a.say("x STORE 1 +FLAGS (\\Flagged)").await;
    assert_eq!(
        b.say("a STORE 1 +FLAGS.SILENT (\\Seen)").await,
        "* 1 FETCH (FLAGS (\\Flagged \\Seen))\r\na OK stored\r\n"
    );
}

#[tokio::test]
async fn idle_is_woken_by_another_session() {
    let (_, mailboxes) = world();
    let mut a = Client::selected(&mailboxes).await;
    let mut b = Client::selected(&mailboxes).await;
    assert_eq!(b.say("a IDLE").await, "+ idling\r\n");
    assert!(matches!(b.session.step(), Step::Idle));
    a.append(ONE).await;
    b.boxes.news().await;
    b.session.changed();
    assert_eq!(b.run().await, "* 1 EXISTS\r\n* 0 RECENT\r\n");
    a.say("x UID MOVE 1 Trash").await;
    b.boxes.news().await;
    b.session.changed();
    assert_eq!(b.run().await, "* 1 EXPUNGE\r\n");
    assert_eq!(b.say("DONE").await, "a OK IDLE is over\r\n");
    assert_eq!(b.say("b IDLE").await, "+ idling\r\n");
    assert_eq!(b.say("b2 NOOP").await, "b BAD expected DONE\r\n");
}

#[tokio::test]
async fn a_folder_deleted_under_a_session_ends_it_and_ones_own_does_not() {
    let (_, mailboxes) = world();
    let mut a = Client::new(&mailboxes).await;
    a.say("x CREATE Here").await;
    let mut b = Client::new(&mailboxes).await;
    b.say("a SELECT Here").await;
    assert_eq!(a.say("y SELECT Here").await.matches("y OK").count(), 1);
    assert_eq!(
        a.say("z DELETE Here").await,
        "* OK [CLOSED] the selected folder is deleted\r\nz OK deleted\r\n"
    );
    assert_eq!(
        b.say("b NOOP").await,
        "* BYE [UNAVAILABLE] the selected folder was deleted\r\n"
    );
    assert!(b.closed);
}

#[tokio::test]
async fn a_message_gone_meanwhile_is_missing_from_a_fetch() {
    let (_, mailboxes) = world();
    let mut a = Client::selected(&mailboxes).await;
    a.append(ONE).await;
    a.append(TWO).await;
    assert_eq!(
        a.say("a FETCH 1 BODY.PEEK[TEXT]").await,
        "* 1 FETCH (BODY[TEXT] {7}\r\nHello\r\n)\r\na OK fetched\r\n"
    );
    a.session.feed(b"b FETCH 1:2 BODY.PEEK[TEXT]\r\n");
    let Step::Ask(Request::Load { messages, .. }) = a.session.step() else {
        panic!("no question");
    };
    assert_eq!(messages.len(), 2);
    let kept = Loaded {
        summary: None,
        bytes: Some(Arc::new(TWO.as_bytes().to_vec())),
    };
    a.session.answer(Answer::Loaded(vec![None, Some(kept)]));
    assert_eq!(
        a.run().await,
        "* 2 FETCH (BODY[TEXT] {8}\r\nSecond\r\n)\r\nb NO [EXPUNGEISSUED] some of the messages are gone\r\n"
    );
}

#[tokio::test]
async fn a_long_fetch_asks_and_writes_in_bounded_pieces() {
    let (_, mailboxes) = world();
    let mut c = Client::selected(&mailboxes).await;
    for _ in 0..450 {
        c.append(ONE).await;
    }
    c.session.feed(b"a FETCH 1:* (FLAGS ENVELOPE)\r\n");
    let (mut asked, mut lines) = (Vec::new(), 0);
    loop {
        match c.session.step() {
            Step::Ask(request) => {
                if let Request::Load { messages, .. } = &request {
                    asked.push(messages.len());
                }
                let answer = c.boxes.perform(request, NOW.parse().unwrap()).await;
                c.session.answer(answer);
            }
            Step::Write(bytes) => {
                assert!(bytes.len() < 80 * 1024);
                lines += bytes.split(|b| *b == b'\n').count() - 1;
            }
            _ => break,
        }
    }
    assert_eq!(asked, [200, 200, 50]);
    assert_eq!(lines, 451);
}

#[tokio::test]
async fn an_imapc_like_session() {
    let (_, mailboxes) = world();
    let mut c = Client::selected(&mailboxes).await;
    c.append(ONE).await;
    assert_eq!(
        c.say("2 STATUS INBOX (MESSAGES UNSEEN RECENT UIDNEXT UIDVALIDITY)")
            .await,
        "* STATUS INBOX (MESSAGES 1 UNSEEN 1 RECENT 1 UIDNEXT 2 UIDVALIDITY 1001)\r\n2 OK done\r\n"
    );
    assert_eq!(
        c.say("3 UID FETCH 1 BODY.PEEK[]").await,
        format!(
            "* 1 FETCH (UID 1 BODY[] {{{}}}\r\n{ONE})\r\n3 OK fetched\r\n",
            ONE.len()
        )
    );
    assert_eq!(c.say("4 NOOP").await, "4 OK done\r\n");
    assert_eq!(c.say("5 CHECK").await, "5 OK checked\r\n");
    assert_eq!(
        c.say("6 UID STORE 1 +FLAGS.SILENT (\\Deleted)\r\n7 UID EXPUNGE 1\r\n8 LOGOUT")
            .await,
        "6 OK stored\r\n* 1 EXPUNGE\r\n7 OK expunged\r\n* BYE see you\r\n8 OK logged out\r\n"
    );
    assert!(c.closed);
}

#[tokio::test]
async fn a_thunderbird_like_session() {
    let (_, mailboxes) = world();
    let mut c = Client::new(&mailboxes).await;
    assert!(
        c.say("2 ID (\"name\" \"Thunderbird\" \"version\" \"140\")")
            .await
            .ends_with("2 OK done\r\n")
    );
    assert!(c.say("3 LSUB \"\" \"*\"").await.contains("* LSUB () \"/\" Trash\r\n"));
    assert!(
        c.say("4 LIST \"\" \"INBOX\"")
            .await
            .contains("* LIST (\\HasNoChildren) \"/\" INBOX\r\n")
    );
    c.say("5 SELECT \"INBOX\"").await;
    c.append(ONE).await;
    assert_eq!(
        c.say("6 UID FETCH 1:* (FLAGS)").await,
        "* 1 FETCH (UID 1 FLAGS (\\Recent))\r\n6 OK fetched\r\n"
    );
    let heard = c.say("7 UID FETCH 1 (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)])").await;
    assert!(
        heard.contains("From: a@b.fr\r\nSubject: one\r\n\r\n)\r\n7 OK fetched\r\n"),
        "{heard}"
    );
    assert_eq!(c.say("8 IDLE").await, "+ idling\r\n");
    assert_eq!(c.say("DONE").await, "8 OK IDLE is over\r\n");
    assert_eq!(
        c.say("9 UID STORE 1 +FLAGS (\\Seen)").await,
        "* 1 FETCH (FLAGS (\\Seen \\Recent) UID 1)\r\n9 OK stored\r\n"
    );
}

/// What a client must believe from what it was told: the UID at each number, 0 where it does not know yet.
#[derive(Default)]
struct Belief(Vec<u32>);

impl Belief {
    fn hear(&mut self, heard: &str, may_expunge: bool) {
        for line in heard.lines() {
            let words: Vec<&str> = line.split([' ', '(', ')']).filter(|w| !w.is_empty()).collect();
            let ["*", number, what, rest @ ..] = words.as_slice() else {
                continue;
            };
            let Ok(number) = number.parse::<usize>() else { continue };
            match *what {
                "EXISTS" => {
                    assert!(number >= self.0.len(), "EXISTS never shrinks");
                    self.0.resize(number, 0);
                }
                "EXPUNGE" => {
                    assert!(may_expunge, "EXPUNGE at a forbidden moment: {heard}");
                    self.0.remove(number - 1);
                }
                "FETCH" => {
                    let uid = rest
                        .iter()
                        .position(|w| *w == "UID")
                        .map(|at| rest[at + 1].parse::<u32>().unwrap());
                    let Some(uid) = uid else { continue };
                    let known = &mut self.0[number - 1];
                    assert!(
                        *known == 0 || *known == uid,
                        "number {number} was {known} and is {uid}: {heard}"
                    );
                    *known = uid;
                }
                _ => {}
            }
        }
    }
}

/// The line of a random command, and whether EXPUNGE may be told while it is answered.
fn command(choice: u8, believed: usize) -> (String, bool) {
    let number = usize::from(choice / 11) % believed.max(1) + 1;
    let (line, may_expunge) = match choice % 11 {
        0 => ("x NOOP".to_owned(), true),
        1 => (format!("x FETCH {number} (UID FLAGS)"), false),
        2 => ("x UID FETCH 1:* (FLAGS)".to_owned(), true),
        3 => (format!("x STORE {number} +FLAGS (\\Deleted)"), false),
        4 => (format!("x STORE {number} +FLAGS.SILENT (\\Seen)"), false),
        5 => ("x EXPUNGE".to_owned(), true),
        6 => (format!("x MOVE {number} Trash"), true),
        7 => (format!("x COPY {number} INBOX"), true),
        8 => ("x SEARCH UNDELETED".to_owned(), false),
        9 => (format!("x FETCH {number} (UID BODY[TEXT])"), false),
        _ => ("x APPEND INBOX {1+}\r\nx".to_owned(), true),
    };
    (line, may_expunge)
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(60))]
    #[test]
    fn a_message_is_fetched_as_it_was_appended(
        message in proptest::collection::vec(1..=u8::MAX, 1..3000), (from, length) in (0..3100_usize, 1..3100_usize)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (_, mailboxes) = world();
            let mut client = Client::selected(&mailboxes).await;
            let head = format!("a APPEND INBOX {{{}+}}\r\n", message.len());
            let heard = client.say_bytes(&[head.as_bytes(), &message].concat()).await;
            assert!(heard.ends_with(b"] appended\r\n"), "{}", String::from_utf8_lossy(&heard));
            let piece = &message[from.min(message.len())..(from + length).min(message.len())];
            for (item, told, content) in [
                ("BODY.PEEK[]".to_owned(), "BODY[]".to_owned(), message.as_slice()),
                (format!("BODY.PEEK[]<{from}.{length}>"), format!("BODY[]<{from}>"), piece),
            ] {
                let heard = client.say_bytes(format!("b UID FETCH 1 {item}").as_bytes()).await;
                let mut expected = format!("* 1 FETCH (UID 1 {told} ").into_bytes();
                expected.extend_from_slice(format!("{{{}}}\r\n", content.len()).as_bytes());
                expected.extend_from_slice(content);
                expected.extend_from_slice(b")\r\nb OK fetched\r\n");
                assert_eq!(String::from_utf8_lossy(&heard), String::from_utf8_lossy(&expected));
                assert_eq!(heard, expected);
            }
        });
    }

    #[test]
    fn numbers_mean_the_same_to_both_sides_whatever_others_do(
        script in proptest::collection::vec((0_usize..3, proptest::prelude::any::<u8>()), 1..80)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (_, mailboxes) = world();
            let mut clients = Vec::new();
            for _ in 0..3 {
                clients.push((Client::selected(&mailboxes).await, Belief::default()));
            }
            for (who, choice) in script {
                let (client, belief) = &mut clients[who];
                let (line, may_expunge) = command(choice, belief.0.len());
                let heard = client.say(&line).await;
                belief.hear(&heard, may_expunge);
            }
            let mut sides = Vec::new();
            for (client, belief) in &mut clients {
                let heard = client.say("y NOOP").await;
                belief.hear(&heard, true);
                let heard = client.say("z UID FETCH 1:* (FLAGS)").await;
                belief.hear(&heard, true);
                let told: Vec<String> = heard.lines().map(|l| l.replace(" \\Recent", "").replace("\\Recent", "")).collect();
                assert_eq!(told.len(), belief.0.len() + 1, "every message is fetched");
                sides.push((belief.0.clone(), told));
            }
            assert_eq!(sides[0], sides[1]);
            assert_eq!(sides[1], sides[2]);
        });
    }
}
