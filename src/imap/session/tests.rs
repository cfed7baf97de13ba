//! Tests of whole sessions, as transcripts.

use std::sync::Arc;

use super::*;
use crate::imap::capability;
use crate::imap::request::{Credentials, FolderHandle, News, Password, Refused, Selected};

/// A client in front of a session whose driver knows one login with two boxes, and one certificate with one box.
struct Client {
    session: Session,
    asked: Vec<Credentials>,
    closed: bool,
    compressions: u32,
    /// What is answered to requests about folders, the next last.
    answers: Vec<Answer>,
    /// How often the driver was told that no folder is open any more.
    left: u32,
}

impl Client {
    fn new(security: Security) -> Self {
        let mut options = Options::new(security);
        options.errors_max = 4;
        let mut client = Self {
            session: Session::new(options),
            asked: Vec::new(),
            closed: false,
            compressions: 0,
            answers: Vec::new(),
            left: 0,
        };
        client.run();
        client
    }

    fn say(&mut self, line: &str) -> String {
        self.session.feed(line.as_bytes());
        self.session.feed(b"\r\n");
        self.run()
    }

    fn run(&mut self) -> String {
        let mut heard = Vec::new();
        for _ in 0..1000 {
            match self.session.step() {
                Step::Write(bytes) => heard.extend(bytes),
                Step::Refused(_) => {}
                Step::Read | Step::Idle => break,
                Step::Compress(read) => {
                    self.compressions += 1;
                    self.session.feed(&read);
                }
                Step::StartTls => self.session.tls_started(Certificate::Shown),
                Step::Close => {
                    self.closed = true;
                    break;
                }
                Step::Ask(Request::Authenticate(credentials)) => {
                    let answer = login(&credentials);
                    self.asked.push(credentials);
                    self.session.answer(answer);
                }
                Step::Ask(Request::Open { .. } | Request::Unauthenticate) => self.session.answer(Answer::Done),
                Step::Ask(Request::Leave) => {
                    self.left += 1;
                    self.session.answer(Answer::Done);
                }
                Step::Ask(_) => {
                    let refused = Answer::Refused(Refused::Unavailable);
                    self.session.answer(self.answers.pop().unwrap_or(refused));
                }
            }
        }
        String::from_utf8(heard).unwrap()
    }
}

fn login(credentials: &Credentials) -> Answer {
    let boxes = |names: &[&str]| Answer::Boxes(names.iter().map(|n| (*n).to_owned()).collect());
    match credentials {
        Credentials::Password { user, password, .. } if user == "jean@chu.fr" && password.reveal() == "s" => {
            boxes(&["jean@chu.fr", "urgences@chu.fr"])
        }
        Credentials::Certificate { authorize } if authorize == "other@lilas.fr" => Answer::LoginRefused {
            refused: Refused::NotYourBox,
            text: "not bound (certificate-not-bound, session K3F7Q2)".into(),
        },
        Credentials::Certificate { authorize } if authorize == "été@lilas.fr" => Answer::LoginRefused {
            refused: Refused::NotYourBox,
            text: "not bound to été@lilas.fr".into(),
        },
        Credentials::Token { token, .. } if token.reveal() == "good" => boxes(&["jean@chu.fr"]),
        Credentials::Token { .. } => Answer::LoginRefused {
            refused: Refused::Credentials,
            text: "expired".into(),
        },
        Credentials::Certificate { .. } => boxes(&["dui@lilas.fr"]),
        Credentials::Password { .. } => Answer::Refused(Refused::Credentials),
    }
}

const TLS: Security = Security::Tls(Certificate::None);

/// The tagged answer to a login.
fn logged_in() -> String {
    let mut capabilities = Vec::new();
    capability::write(&mut capabilities, true, &Options::new(TLS));
    format!(
        "OK [CAPABILITY {}] logged in\r\n",
        String::from_utf8(capabilities).unwrap()
    )
}

#[test]
fn the_greeting_names_what_is_possible_now() {
    for (security, expected) in [
        (
            Security::Clear,
            "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE IDLE STARTTLS LOGINDISABLED",
        ),
        (TLS, "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE IDLE AUTH=PLAIN"),
        (
            Security::Tls(Certificate::Shown),
            "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE IDLE AUTH=PLAIN AUTH=EXTERNAL",
        ),
    ] {
        let mut session = Session::new(Options::new(security));
        let Step::Write(greeting) = session.step() else {
            panic!("no greeting");
        };
        let expected = format!("* OK [CAPABILITY {expected}] Vaguemestre ready\r\n");
        assert_eq!(String::from_utf8(greeting).unwrap(), expected);
    }
}

#[test]
fn nobody_logs_in_before_tls() {
    let mut client = Client::new(Security::Clear);
    assert_eq!(
        client.say("a LOGIN jean@chu.fr s"),
        "a NO [PRIVACYREQUIRED] STARTTLS first\r\n"
    );
    assert_eq!(
        client.say("b AUTHENTICATE PLAIN AGEAYg=="),
        "b NO [PRIVACYREQUIRED] STARTTLS first\r\n"
    );
    assert!(client.asked.is_empty());
    assert_eq!(client.say("c SELECT INBOX"), "c BAD log in first\r\n");
}

#[test]
fn what_was_sent_before_tls_does_not_count_after_it() {
    let mut client = Client::new(Security::Clear);
    client.session.feed(b"a STARTTLS\r\nb LOGIN jean@chu.fr s\r\n");
    assert_eq!(client.run(), "a OK begin TLS now\r\n");
    assert!(client.asked.is_empty());
    assert_eq!(
        client.say("c CAPABILITY"),
        "* CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE IDLE AUTH=PLAIN AUTH=EXTERNAL\r\nc OK done\r\n"
    );
    assert_eq!(client.say("d STARTTLS"), "d BAD TLS is on already\r\n");
}

#[test]
fn login_with_each_mechanism() {
    let mut client = Client::new(TLS);
    assert_eq!(client.say("a LOGIN jean@chu.fr s"), format!("a {}", logged_in()));
    assert_eq!(client.session.open_box(), Some("jean@chu.fr"));
    assert_eq!(client.say("b LOGIN jean@chu.fr s"), "b BAD already logged in\r\n");

    let mut client = Client::new(TLS);
    assert_eq!(client.say("a LOGIN {11}"), "+ go ahead\r\n");
    assert_eq!(client.say("jean@chu.fr {1+}\r\ns"), format!("a {}", logged_in()));

    // With SASL-IR, the box named by the authorisation identity: urgences@chu.fr NUL jean@chu.fr NUL s
    let mut client = Client::new(TLS);
    let response = "dXJnZW5jZXNAY2h1LmZyAGplYW5AY2h1LmZyAHM=";
    assert_eq!(
        client.say(&format!("a AUTHENTICATE PLAIN {response}")),
        format!("a {}", logged_in())
    );
    assert_eq!(client.session.open_box(), Some("urgences@chu.fr"));

    let mut client = Client::new(TLS);
    assert_eq!(client.say("a AUTHENTICATE plain"), "+ \r\n");
    assert_eq!(client.say(response), format!("a {}", logged_in()));

    let mut client = Client::new(Security::Tls(Certificate::Shown));
    assert_eq!(client.say("a AUTHENTICATE EXTERNAL ="), format!("a {}", logged_in()));
    assert_eq!(client.session.open_box(), Some("dui@lilas.fr"));

    let mut client = Client::new(Security::Tls(Certificate::Shown));
    assert_eq!(client.say("a AUTHENTICATE EXTERNAL"), "+ \r\n");
    assert_eq!(client.say(""), format!("a {}", logged_in()));
}

#[test]
fn a_refused_login_says_what_the_driver_says_even_where_external_is_not_offered() {
    for security in [TLS, Security::Tls(Certificate::Shown)] {
        let mut client = Client::new(security);
        // other@lilas.fr
        assert_eq!(
            client.say("a AUTHENTICATE EXTERNAL b3RoZXJAbGlsYXMuZnI="),
            "a NO [AUTHORIZATIONFAILED] not bound (certificate-not-bound, session K3F7Q2)\r\n"
        );
    }
}

#[test]
fn text_is_ascii_before_imap4rev2_is_enabled() {
    let mut client = Client::new(Security::Tls(Certificate::Shown));
    // été@lilas.fr
    assert_eq!(
        client.say("a AUTHENTICATE EXTERNAL w6l0w6lAbGlsYXMuZnI="),
        "a NO [AUTHORIZATIONFAILED] not bound to ?t?@lilas.fr\r\n"
    );
}

#[test]
fn login_is_refused_with_its_reason() {
    let mut client = Client::new(TLS);
    assert_eq!(
        client.say("a LOGIN jean@chu.fr x"),
        "a NO [AUTHENTICATIONFAILED] wrong credentials\r\n"
    );
    assert_eq!(
        client.say("b AUTHENTICATE GSSAPI ="),
        "b NO [CANNOT] mechanism not offered\r\n"
    );
    // other@chu.fr NUL jean@chu.fr NUL s
    assert_eq!(
        client.say("c AUTHENTICATE PLAIN b3RoZXJAY2h1LmZyAGplYW5AY2h1LmZyAHM="),
        "c NO [AUTHORIZATIONFAILED] this login does not open that box; name one that it opens\r\n"
    );
    assert_eq!(client.say("d AUTHENTICATE PLAIN"), "+ \r\n");
    assert_eq!(client.say("*"), "d BAD cancelled\r\n");
    assert_eq!(client.session.open_box(), None);
    assert_eq!(
        client.say("e AUTHENTICATE PLAIN eA=="),
        "e BAD not a response of that mechanism\r\n* BYE too many errors\r\n"
    );
    assert!(client.closed);
}

#[test]
fn garbage_gets_bad_then_bye() {
    let mut client = Client::new(TLS);
    assert_eq!(client.say("a NONSENSE"), "a BAD unknown command, at byte 2\r\n");
    assert_eq!(client.say("\u{1}\u{2}"), "* BAD this is not IMAP\r\n");
    assert_eq!(client.say("b FETCH 1 FLAGS"), "b BAD log in first\r\n");
    assert_eq!(client.say(""), "* BAD this is not IMAP\r\n* BYE too many errors\r\n");
    assert!(client.closed);

    let mut client = Client::new(TLS);
    assert_eq!(
        client.say("a LOGIN \"é\0\" x"),
        "a BAD a quoted string does not end, at byte 11\r\n"
    );
    assert_eq!(
        client.say(&format!("b LOGIN {}", "x".repeat(9000))),
        "b BAD [TOOBIG] command too long\r\n"
    );
    assert_eq!(client.say("c NOOP"), "c OK done\r\n");
}

#[test]
fn a_stranger_cannot_make_us_hold_a_large_message() {
    let mut client = Client::new(TLS);
    assert_eq!(client.say("a APPEND INBOX {1000000}"), "a BAD log in first\r\n");
    assert_eq!(
        client.say("b APPEND INBOX {1000000+}"),
        "* BYE [TOOBIG] more than this server reads\r\n"
    );
    assert!(client.closed);
}

#[test]
fn a_message_that_cannot_be_kept_is_refused_at_its_end_and_the_session_goes_on() {
    let text = b"z LOGOUT\r\n".repeat(50_000);
    // The driver keeps nothing; or the first piece, and no more; or every piece, but not the whole.
    for (length, answers) in [
        (text.len(), vec![]),
        (text.len(), vec![Answer::Done]),
        (300_000, vec![Answer::Done, Answer::Done]),
    ] {
        let mut client = Client::new(TLS);
        client.say("a LOGIN jean@chu.fr s");
        client.answers = answers;
        client
            .session
            .feed(format!("b APPEND INBOX {{{length}}}\r\n").as_bytes());
        assert_eq!(client.run(), "+ go ahead\r\n");
        for piece in text[..length].chunks(70_000) {
            client.session.feed(piece);
            assert_eq!(client.run(), "");
        }
        assert_eq!(
            client.say("\r\nc NOOP"),
            "b NO [UNAVAILABLE] try again later\r\nc OK done\r\n",
            "{length}"
        );
        assert!(client.answers.is_empty() && !client.closed);
    }
}

#[test]
fn pipelined_commands_are_answered_in_order_and_logout_closes() {
    let mut client = Client::new(TLS);
    assert_eq!(
        client.say("a NOOP\r\nb ID NIL\r\nc LOGOUT\r\nd NOOP"),
        "a OK done\r\n* ID (\"name\" \"Vaguemestre\")\r\nb OK done\r\n* BYE see you\r\nc OK logged out\r\n"
    );
    assert!(client.closed);
}

#[test]
fn tokens_are_taken_where_the_driver_can_verify_them() {
    let mut options = Options::new(TLS);
    options.tokens = Tokens::Taken;
    let session = || Client {
        session: Session::new(options.clone()),
        asked: Vec::new(),
        closed: false,
        compressions: 0,
        answers: Vec::new(),
        left: 0,
    };
    let token = |token: &str| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(format!("user=jean@chu.fr\x01auth=Bearer {token}\x01\x01"))
    };
    let mut client = session();
    assert!(client.run().contains(" AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER]"));
    let good = client.say(&format!("a AUTHENTICATE XOAUTH2 {}", token("good")));
    assert_eq!(good, format!("a {}", logged_in()));

    // RFC 7628 §3.2.3: the client is told why, answers, and then it fails.
    let mut client = session();
    client.run();
    let told = client.say(&format!("a AUTHENTICATE XOAUTH2 {}", token("old")));
    assert!(told.starts_with("+ eyJzdGF0dXMiOiI0MDEi"), "{told}");
    assert_eq!(client.say(""), "a NO [AUTHENTICATIONFAILED] expired\r\n");

    let mut client = Client::new(TLS);
    assert_eq!(
        client.say(&format!("a AUTHENTICATE XOAUTH2 {}", token("good"))),
        "a NO [CANNOT] mechanism not offered\r\n"
    );
    assert!(client.asked.is_empty());
}

#[test]
fn only_what_is_offered_is_enabled() {
    let mut client = Client::new(TLS);
    assert_eq!(client.say("a ENABLE X"), "a BAD log in first\r\n");
    client.say("b LOGIN jean@chu.fr s");
    assert_eq!(client.say("c ENABLE X Y"), "* ENABLED\r\nc OK done\r\n");
    assert_eq!(client.say("d ENABLE"), "d BAD expected a space, at byte 8\r\n");
}

#[test]
fn compression_begins_after_its_ok_and_once() {
    let mut client = Client::new(TLS);
    assert_eq!(client.say("a COMPRESS DEFLATE"), "a BAD log in first\r\n");
    client.say("b LOGIN jean@chu.fr s");
    assert_eq!(client.say("c COMPRESS LZW"), "c BAD expected DEFLATE\r\n");
    assert_eq!(client.compressions, 0);
    assert_eq!(client.say("d COMPRESS deflate"), "d OK compressed from here on\r\n");
    assert_eq!(
        client.say("e COMPRESS DEFLATE"),
        "e NO [COMPRESSIONACTIVE] compression is on already\r\n"
    );
    assert_eq!(client.compressions, 1);
}

#[test]
fn what_follows_compress_at_once_is_handed_to_the_driver_and_not_read_as_commands() {
    let mut client = Client::new(TLS);
    client.say("a LOGIN jean@chu.fr s");
    client.session.feed(b"b COMPRESS DEFLATE\r\n\x01\x02\x03");
    let mut steps = Vec::new();
    let read = loop {
        match client.session.step() {
            Step::Compress(read) => break read,
            step => steps.push(step),
        }
    };
    assert!(matches!(steps.as_slice(), [Step::Write(_)]), "the OK goes first");
    assert_eq!(read, [1, 2, 3]);
    assert!(matches!(client.session.step(), Step::Read));
}

#[test]
fn a_login_ends_and_another_begins_on_the_same_connection() {
    let mut client = Client::new(TLS);
    assert_eq!(client.say("a UNAUTHENTICATE"), "a BAD log in first\r\n");
    client.say("b LOGIN jean@chu.fr s");
    assert_eq!(
        client.say("c UNAUTHENTICATE"),
        "c OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE IDLE AUTH=PLAIN] nobody is logged in\r\n"
    );
    assert_eq!(client.session.open_box(), None);
    assert_eq!(client.say("d LIST \"\" *"), "d BAD log in first\r\n");
    assert_eq!(client.say("e LOGIN jean@chu.fr s"), format!("e {}", logged_in()));
}

#[test]
fn a_literal_that_is_too_large_is_refused_before_it_comes() {
    let mut client = Client::new(TLS);
    assert_eq!(client.say("a LOGIN {8193}"), "a BAD [TOOBIG] command too long\r\n");
    client.say("b LOGIN jean@chu.fr s");
    assert_eq!(client.say("c LIST \"\" {9000}"), "+ go ahead\r\n");
    client.say(&"x".repeat(9000));
    assert_eq!(client.say("d LIST \"\" {70000}"), "d BAD [TOOBIG] command too long\r\n");
    assert_eq!(
        client.say("e APPEND INBOX {36700161}"),
        "e NO [TOOBIG] the message is too large\r\n"
    );
    assert_eq!(client.say("f NOOP"), "f OK done\r\n");
}

#[test]
fn the_driver_may_end_a_session() {
    let mut client = Client::new(TLS);
    client.session.end(Ending::Idle);
    assert_eq!(client.run(), "* BYE idle for too long\r\n");
    assert!(client.closed);
}

#[test]
fn passwords_are_not_shown() {
    let shown = format!("{:?}", Password::new("s3cret".into()));
    assert!(!shown.contains("s3cret"));
}

fn selected() -> Answer {
    Answer::Selected(Selected {
        folder: FolderHandle(7),
        uid_validity: 3,
        uid_next: 1,
        contents: Arc::default(),
        recent: Vec::new(),
        object_id: "F3".into(),
        read_only: false,
    })
}

#[test]
fn news_that_could_not_be_had_are_asked_for_again_with_the_next_command() {
    for (had, is_asked_again) in [
        (Answer::Refused(Refused::Unavailable), true),
        (Answer::News(News::default()), false),
    ] {
        let mut client = Client::new(TLS);
        client.say("a LOGIN jean@chu.fr s");
        client.answers = vec![selected()];
        client.say("b SELECT Projet");
        client.session.changed();
        client.answers = vec![Answer::Refused(Refused::NoSuchFolder), had];
        assert!(client.say("c CAPABILITY").contains("c OK"));
        let heard = client.say("d CAPABILITY");
        assert_eq!(
            heard.contains("* BYE [UNAVAILABLE] the selected folder was deleted"),
            is_asked_again,
            "{heard}"
        );
        assert_eq!(client.answers.is_empty(), is_asked_again);
    }
}

#[test]
fn what_is_encrypted_may_be_compressed() {
    let mut client = Client::new(Security::Clear);
    assert!(client.say("a STARTTLS").starts_with("a OK"));
    client.say("b LOGIN jean@chu.fr s");
    assert_eq!(client.say("c COMPRESS DEFLATE"), "c OK compressed from here on\r\n");
    assert_eq!(client.compressions, 1);
}

#[test]
fn a_folder_that_goes_while_it_is_selected_is_not_selected() {
    let gone = || Answer::Refused(Refused::NoSuchFolder);
    for (enable, select) in [
        ("ENABLE QRESYNC", "SELECT Projet (QRESYNC (3 1))"),
        ("ENABLE IMAP4rev2", "SELECT Projet"),
    ] {
        let mut client = Client::new(TLS);
        client.say("a LOGIN jean@chu.fr s");
        client.say(&format!("b {enable}"));
        client.answers = vec![gone(), selected()];
        let heard = client.say(&format!("c {select}"));
        assert!(heard.ends_with("c NO [NONEXISTENT] no such folder\r\n"), "{heard}");
        assert_eq!(client.left, 1, "{select}");
        assert_eq!(client.say("d SEARCH ALL"), "d BAD select a folder first\r\n");
        client.answers = vec![gone()];
        assert_eq!(
            client.say("e SELECT Projet"),
            "e NO [NONEXISTENT] no such folder\r\n",
            "no other folder is closed by it"
        );
    }
}

proptest::proptest! {
    #[test]
    fn any_input_is_survived(input in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let mut client = Client::new(TLS);
        client.session.feed(&input);
        for _ in 0..1000 {
            match client.session.step() {
                Step::Read | Step::Close => break,
                Step::Ask(_) => client.session.answer(Answer::Refused(Refused::Credentials)),
                _ => {}
            }
        }
    }
}
