//! Tests of whole sessions, as transcripts.

use super::*;
use crate::smtp::extension::Extensions;
use crate::smtp::sasl::Credentials;
use crate::smtp::sasl::Dismissal;
use crate::smtp::sasl::Fault;
use crate::smtp::sasl::Manner;
use proptest::prelude::*;

/// A peer that talks to a session, and a driver that decides like a small operator.
pub(super) struct Play {
    pub(super) session: Session,
    /// What the driver saw, in words.
    seen: Vec<String>,
    body: Vec<u8>,
    pub(super) closed: bool,
}

pub(super) fn options(face: Face, tls: Tls) -> Options {
    Options {
        hostname: "mx.example".into(),
        session_id: "K3F7Q2".into(),
        face,
        tls,
        mechanisms: match face {
            Face::Peer => Vec::new(),
            Face::Submission => Mechanism::ALL.to_vec(),
        },
        extensions: Extensions::all().without(Extension::RequireTls),
        limits: Limits {
            size_bytes_max: 1000,
            line_bytes_max: 100,
            recipients_max: 3,
            errors_max: 5,
            commands_max: 50,
            session: SessionLimits::default(),
        },
    }
}

impl Play {
    pub(super) fn new(options: Options) -> (Self, String) {
        let mut play = Self {
            session: Session::new(options),
            seen: Vec::new(),
            body: Vec::new(),
            closed: false,
        };
        let greeting = play.run();
        (play, greeting)
    }

    /// In clear, before anything was said.
    fn clear(face: Face) -> Self {
        Self::new(options(face, Tls::Required)).0
    }

    /// A peer inside TLS that has said EHLO.
    fn peer() -> Self {
        Self::greeted(options(Face::Peer, Tls::Done))
    }

    /// A client inside TLS that has said EHLO.
    fn client() -> Self {
        Self::greeted(options(Face::Submission, Tls::Done))
    }

    fn greeted(options: Options) -> Self {
        let mut play = Self::new(options).0;
        play.send("EHLO a.example");
        play
    }

    /// A peer whose sender and recipient are accepted.
    fn ready() -> Self {
        let mut play = Self::peer();
        assert_eq!(play.send("MAIL FROM:<a@b.fr>"), "250 2.1.0 sender ok");
        assert_eq!(play.send("RCPT TO:<c@d.fr>"), "250 2.1.5 recipient ok");
        play
    }

    pub(super) fn send(&mut self, line: &str) -> String {
        self.bytes(format!("{line}\r\n").as_bytes())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> String {
        self.session.feed(bytes);
        self.run()
    }

    /// Drives until the session waits for input; what was written, without the last CR LF.
    fn run(&mut self) -> String {
        let mut written = Vec::new();
        for _ in 0..10_000 {
            match self.session.step() {
                Step::Read => break,
                Step::Close => {
                    self.closed = true;
                    break;
                }
                Step::Write(bytes) => written.extend(bytes),
                Step::Ask(question) => {
                    let answer = self.decide(question);
                    self.session.answer(answer);
                }
                Step::Body(bytes) => self.body.extend(bytes),
                Step::StartTls => {
                    self.seen.push("handshake".into());
                    self.session.tls_started();
                }
                Step::Refused(refusal) => self.seen.push(format!("refused {}", refusal.reason)),
                Step::Abandon => {
                    self.body.clear();
                    self.seen.push("abandon".into());
                }
            }
        }
        String::from_utf8(written).unwrap().trim_end().replace("\r\n", "\n")
    }

    fn decide(&mut self, question: Question) -> Answer {
        let refuse = |reason, text: &str| Answer::Refused(Refusal::new(reason, text));
        match question {
            Question::Authenticate(credentials) => decide_login(&credentials),
            Question::Sender(mail) if mail.path.as_ref().is_some_and(|path| path.domain().as_str() == "x.fr") => {
                refuse(Reason::SenderDomainUnlisted, "domain x.fr is not on the allow list")
            }
            Question::Recipient(rcpt) if rcpt.path.to_string().starts_with("nobody") => {
                refuse(Reason::BoxUnknown, "no such box")
            }
            Question::Message => {
                let text = String::from_utf8_lossy(&std::mem::take(&mut self.body)).into_owned();
                self.seen.push(format!("message {text:?} {}", self.session.protocol()));
                if text.contains("LOOP") {
                    return refuse(Reason::MailLoop, "seen here before");
                }
                Answer::AcceptedAs("stored as 1".into())
            }
            Question::Sender(_) | Question::Recipient(_) => Answer::Accepted,
        }
    }
}

fn decide_login(credentials: &Credentials) -> Answer {
    if let Credentials::External { authzid: Some(asked) } = credentials
        && let Some(reason) = Reason::ALL.into_iter().find(|reason| reason.id() == asked)
    {
        return Answer::Refused(Refusal::new(reason, "asked for"));
    }
    let good = match credentials {
        Credentials::External { authzid } => authzid.as_deref() != Some("other@b.fr"),
        Credentials::Plain { user, password, .. } => user == "user" && password.reveal() == "secret",
        Credentials::Bearer { token, .. } => token.reveal() == "token",
    };
    if good {
        Answer::Accepted
    } else {
        Answer::Refused(Refusal::new(Reason::CredentialsInvalid, "wrong user name or password"))
    }
}

pub(super) fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

// ---- greeting, sequence

#[test]
fn a_message_is_received() {
    let (mut play, greeting) = Play::new(options(Face::Peer, Tls::Done));
    assert_eq!(greeting, "220 mx.example ESMTP");
    assert_eq!(
        play.send("EHLO a.example"),
        "250-mx.example greets a.example\n250-PIPELINING\n250-SIZE 1000\n250-8BITMIME\n250-ENHANCEDSTATUSCODES\n\
         250-CHUNKING\n250-SMTPUTF8\n250-DSN\n250 LIMITS RCPTMAX=3"
    );
    assert_eq!(play.send("MAIL FROM:<a@b.fr> SIZE=10"), "250 2.1.0 sender ok");
    assert_eq!(play.send("RCPT TO:<c@d.fr>"), "250 2.1.5 recipient ok");
    assert!(play.send("DATA").starts_with("354 "));
    assert_eq!(play.send("..dot\r\nline\r\n."), "250 2.0.0 stored as 1");
    assert_eq!(play.seen, ["message \".dot\\r\\nline\\r\\n\" ESMTPS"]);
    assert_eq!(play.send("QUIT"), "221 2.0.0 bye");
    assert!(play.closed);
}

#[test]
fn a_flight_of_pipelined_commands_is_answered_in_one_write() {
    let mut play = Play::peer();
    play.session
        .feed(b"MAIL FROM:<a@b.fr>\r\nRCPT TO:<nobody@d.fr>\r\nRCPT TO:<c@d.fr>\r\nDATA\r\n");
    let mut writes = Vec::new();
    loop {
        match play.session.step() {
            Step::Read => break,
            Step::Write(bytes) => writes.push(String::from_utf8(bytes).unwrap()),
            Step::Ask(question) => {
                let answer = play.decide(question);
                play.session.answer(answer);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(writes.len(), 1);
    let codes: Vec<&str> = writes[0].lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "550", "250", "354"]);
}

#[test]
fn commands_out_of_sequence_change_nothing() {
    let mut play = Play::new(options(Face::Peer, Tls::Done)).0;
    assert_eq!(play.send("MAIL FROM:<a@b.fr>"), "503 5.5.1 EHLO first");
    play.send("EHLO a.example");
    assert_eq!(play.send("RCPT TO:<c@d.fr>"), "503 5.5.1 MAIL first");
    assert_eq!(play.send("DATA"), "503 5.5.1 MAIL first");
    play.send("MAIL FROM:<a@b.fr>");
    assert_eq!(play.send("DATA"), "503 5.5.1 RCPT first");
    assert_eq!(play.send("MAIL FROM:<a@b.fr>"), "503 5.5.1 bad sequence of commands");
    assert_eq!(play.send("RCPT TO:<c@d.fr>"), "250 2.1.5 recipient ok");
}

#[test]
fn harmless_commands_are_answered_inside_a_transaction_and_do_not_end_it() {
    let mut play = Play::ready();
    assert_eq!(play.send("NOOP hello"), "250 2.0.0 ok");
    assert!(play.send("HELP").starts_with("214 "));
    assert!(play.send("VRFY c").starts_with("252 "));
    assert!(play.send("EXPN c").starts_with("502 5.5.1"));
    assert!(play.send("NONSENSE").starts_with("500 5.5.1"));
    assert!(play.send("DATA").starts_with("354 "));
}

#[test]
fn rset_and_ehlo_end_a_transaction() {
    for line in ["RSET", "EHLO b.example", "HELO b.example"] {
        let mut play = Play::ready();
        assert!(play.send(line).starts_with("250"), "{line}");
        assert_eq!(play.seen, ["abandon"], "{line}");
        assert_eq!(play.send("DATA"), "503 5.5.1 MAIL first");
    }
    assert_eq!(Play::peer().send("RSET"), "250 2.0.0 ok");
}

#[test]
fn a_refused_sender_leaves_no_transaction_and_another_may_follow() {
    let mut play = Play::peer();
    assert_eq!(
        play.send("MAIL FROM:<a@x.fr>"),
        "550 5.7.1 domain x.fr is not on the allow list (sender-domain-unlisted, session K3F7Q2)"
    );
    assert_eq!(play.send("RCPT TO:<c@d.fr>"), "503 5.5.1 MAIL first");
    assert_eq!(play.send("MAIL FROM:<>"), "250 2.1.0 sender ok");
}

#[test]
fn a_refused_recipient_leaves_the_others() {
    let mut play = Play::peer();
    play.send("MAIL FROM:<a@b.fr>");
    assert!(
        play.send("RCPT TO:<nobody@d.fr>")
            .starts_with("550 5.1.1 no such box (box-unknown")
    );
    assert_eq!(play.send("DATA"), "554 5.5.1 no valid recipients");
    assert_eq!(play.send("RCPT TO:<postmaster>"), "250 2.1.5 recipient ok");
    assert!(play.send("RCPT TO:<nobody@d.fr>").starts_with("550"));
    assert!(play.send("DATA").starts_with("354"));
}

#[test]
fn a_refused_message_ends_the_transaction_and_the_session_goes_on() {
    let mut play = Play::ready();
    play.send("DATA");
    assert!(
        play.send("LOOP\r\n.")
            .starts_with("554 5.4.6 seen here before (mail-loop")
    );
    assert_eq!(play.send("DATA"), "503 5.5.1 MAIL first");
    assert_eq!(play.send("MAIL FROM:<a@b.fr>"), "250 2.1.0 sender ok");
}

// ---- TLS

#[test]
fn before_tls_nothing_about_mail_is_answered() {
    for face in [Face::Peer, Face::Submission] {
        let mut play = Play::clear(face);
        let offer = play.send("EHLO a.example");
        assert!(offer.contains("STARTTLS") && !offer.contains("AUTH"), "{offer}");
        for line in [
            "MAIL FROM:<a@b.fr>",
            "RCPT TO:<c@d.fr>",
            "DATA",
            "AUTH PLAIN AHVzZXIAc2VjcmV0",
            "VRFY a",
        ] {
            let reply = play.send(line);
            assert_eq!(
                reply, "530 5.7.0 use STARTTLS first (tls-required, session K3F7Q2)",
                "{line}"
            );
        }
        assert_eq!(play.seen, ["refused tls-required"; 5]);
        for line in ["NOOP", "RSET", "HELP", "HELO a.example"] {
            assert!(play.send(line).starts_with('2'), "{line}");
        }
        assert_eq!(play.send("QUIT"), "221 2.0.0 bye");
    }
}

#[test]
fn starttls_forgets_what_was_said_before_and_what_was_sent_along() {
    let mut play = Play::clear(Face::Peer);
    play.send("EHLO a.example");
    assert_eq!(
        play.bytes(b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<a@b.fr>\r\n"),
        "220 2.0.0 start TLS"
    );
    assert_eq!(play.seen, ["handshake"]);
    assert_eq!(play.session.hello(), None);
    assert_eq!(play.send("MAIL FROM:<a@b.fr>"), "503 5.5.1 EHLO first");
    assert!(!play.send("EHLO a.example").contains("STARTTLS"));
    assert_eq!(play.send("STARTTLS"), "503 5.5.1 TLS is already in use");
    assert_eq!(play.send("STARTTLS now"), "501 5.5.2 syntax: STARTTLS");
    assert_eq!(play.send("MAIL FROM:<a@b.fr>"), "250 2.1.0 sender ok");
}

#[test]
fn a_bad_certificate_refuses_everything_but_quit() {
    let mut play = Play::peer();
    play.session
        .refuse_all(Refusal::new(Reason::CertificateRevoked, "your certificate is revoked"));
    for line in ["EHLO a.example", "NOOP", "MAIL FROM:<a@b.fr>", "garbage"] {
        let reply = play.send(line);
        assert_eq!(
            reply, "554 5.7.0 your certificate is revoked (certificate-revoked, session K3F7Q2)",
            "{line}"
        );
    }
    assert_eq!(play.bytes(b"BDAT 6 LAST\r\nQUIT\r\n").lines().count(), 1);
    assert!(!play.closed);
    assert_eq!(play.send("QUIT"), "221 2.0.0 bye");
}

#[test]
fn a_peer_turned_away_reads_it_in_the_greeting() {
    let mut session = Session::new(options(Face::Peer, Tls::Required));
    session.refuse_all(Refusal::new(
        Reason::TooManyConnections,
        "too many connections from you",
    ));
    let Step::Write(greeting) = session.step() else {
        panic!()
    };
    assert!(greeting.starts_with(b"421 4.7.0 too many connections from you"));
    assert_eq!(session.step(), Step::Close);
}

// ---- AUTH

#[test]
fn submission_begins_with_a_login() {
    let mut play = Play::client();
    let reply = play.send("MAIL FROM:<a@b.fr>");
    assert_eq!(
        reply,
        "530 5.7.0 log in with AUTH first (authentication-required, session K3F7Q2)"
    );
    let offer = play.send("EHLO a.example");
    assert!(
        offer.ends_with("250 AUTH EXTERNAL PLAIN LOGIN XOAUTH2 OAUTHBEARER"),
        "{offer}"
    );
    assert_eq!(play.send("AUTH PLAIN AHVzZXIAc2VjcmV0"), "235 2.7.0 authenticated");
    assert_eq!(
        play.send("AUTH PLAIN AHVzZXIAc2VjcmV0"),
        "503 5.5.1 already authenticated"
    );
    assert!(!play.send("EHLO a.example").contains("AUTH"));
    assert_eq!(play.send("MAIL FROM:<a@b.fr> SMTPUTF8"), "250 2.1.0 sender ok");
    assert_eq!(play.session.protocol(), "UTF8SMTPSA");
}

#[test]
fn each_mechanism_works_with_and_without_initial_response() {
    let plain = base64("\0user\0secret");
    let xoauth2 = base64("user=a@b.fr\x01auth=Bearer token\x01\x01");
    let bearer = base64("n,a=a@b.fr,\x01host=mx\x01auth=Bearer token\x01\x01");
    let (user, password, zid) = (base64("user"), base64("secret"), base64("a@b.fr"));
    let scripts: [&[&str]; 11] = [
        &["AUTH EXTERNAL ="],
        &["AUTH EXTERNAL", ""],
        &["auth external", &zid],
        &[&format!("AUTH EXTERNAL {zid}")],
        &[&format!("AUTH PLAIN {plain}")],
        &["AUTH PLAIN", &plain],
        &["AUTH LOGIN", &user, &password],
        &[&format!("AUTH LOGIN {user}"), &password],
        &[&format!("AUTH XOAUTH2 {xoauth2}")],
        &["AUTH XOAUTH2", &xoauth2],
        &[&format!("AUTH OAUTHBEARER {bearer}")],
    ];
    for script in scripts {
        let mut play = Play::client();
        let replies: Vec<String> = script.iter().map(|line| play.send(line)).collect();
        let (last, challenges) = replies.split_last().unwrap();
        assert_eq!(last, "235 2.7.0 authenticated", "{script:?}");
        assert!(challenges.iter().all(|reply| reply.starts_with("334")), "{script:?}");
    }
}

#[test]
fn a_failed_login_may_be_tried_again() {
    let wrong = base64("\0user\0wrong");
    let mut play = Play::client();
    assert!(play.send(&format!("AUTH PLAIN {wrong}")).starts_with("535 5.7.8 "));
    assert_eq!(play.send("AUTH LOGIN"), "334 VXNlcm5hbWU6");
    assert_eq!(play.send("*"), "501 5.7.0 authentication cancelled");
    assert!(play.send("AUTH PLAIN !!!").starts_with("501 5.5.2"));
    assert!(play.send("AUTH PLAIN =").starts_with("501 5.5.2"));
    assert_eq!(play.send("AUTH PLAIN AHVzZXIAc2VjcmV0"), "235 2.7.0 authenticated");
}

#[test]
fn external_is_judged_by_the_driver_even_where_it_is_not_offered() {
    let mut settings = options(Face::Submission, Tls::Done);
    settings.mechanisms = vec![Mechanism::Plain];
    let mut play = Play::new(settings).0;
    assert!(!play.send("EHLO a.example").contains("EXTERNAL"));
    let other = base64("other@b.fr");
    assert!(play.send(&format!("AUTH EXTERNAL {other}")).starts_with("535 5.7.8 "));
    assert!(play.send("AUTH LOGIN").starts_with("504 5.5.4"));
}

#[test]
fn every_reason_against_a_login_is_told_by_a_code_that_clients_take_for_one() {
    for reason in Reason::ALL {
        let mut play = Play::client();
        let reply = play.send(&format!("AUTH EXTERNAL {}", base64(reason.id())));
        let code = match reason {
            Reason::TooManyConnections | Reason::TooManyErrors | Reason::TooManyTransactions | Reason::TooSlow => {
                "421 4."
            }
            Reason::RevocationUnknown
            | Reason::StorageFailed
            | Reason::StorageFull
            | Reason::BoxSuspended
            | Reason::DomainLeaving
            | Reason::OverQuota
            | Reason::TooManyRecipients => "454 4.7.0 asked for",
            _ => "535 5.7.8 asked for",
        };
        assert!(reply.starts_with(code), "{reply}");
        assert!(reply.ends_with(&format!("({reason}, session K3F7Q2)")), "{reply}");
        assert_eq!(play.closed, code.starts_with("421"), "{reply}");
    }
}

#[test]
fn a_reason_keeps_its_own_code_where_no_login_is_answered() {
    let mut play = Play::peer();
    play.session
        .refuse_all(Refusal::new(Reason::CertificateMissing, "no certificate was shown"));
    assert!(
        play.send("EHLO a.example")
            .starts_with("554 5.7.0 no certificate was shown (certificate-missing, ")
    );
}

#[test]
fn a_refused_token_is_told_why_before_the_exchange_fails() {
    for line in ["XOAUTH2 ", "OAUTHBEARER "] {
        let text = if line.starts_with('X') {
            "user=a@b.fr\x01auth=Bearer old\x01\x01"
        } else {
            "n,,\x01auth=Bearer old\x01\x01"
        };
        let mut play = Play::client();
        let challenge = play.send(&format!("AUTH {line}{}", base64(text)));
        assert!(challenge.starts_with("334 ey"), "{challenge}");
        assert!(play.send("AQ==").starts_with("535 5.7.8 "));
        assert_eq!(play.send("AUTH PLAIN AHVzZXIAc2VjcmV0"), "235 2.7.0 authenticated");
    }
}

#[test]
fn the_driver_chooses_what_a_refused_token_reads_and_how_it_ends() {
    let line = format!(
        "AUTH XOAUTH2 {}\r\nNOOP\r\n",
        base64("user=a@b.fr\x01auth=Bearer old\x01\x01")
    );
    for (manner, closed) in [(Manner::Failure, false), (Manner::Hangup, true)] {
        let mut play = Play::client();
        play.session.feed(line.as_bytes());
        assert!(matches!(play.session.step(), Step::Ask(Question::Authenticate(_))));
        let refusal = Refusal::new(Reason::CredentialsInvalid, "the token is for another service");
        let dismissal = Dismissal::new(Mechanism::XOAuth2, Fault::InsufficientScope, manner);
        play.session.answer(Answer::Dismissed(refusal, dismissal));
        let said = play.run();
        let told = base64(r#"{"status":"403","schemes":"bearer","scope":"mail"}"#);
        assert!(said.starts_with(&format!("334 {told}")), "{said}");
        assert_eq!(
            said.contains("535 5.7.8 the token is for another service"),
            !closed,
            "{said}"
        );
        assert_eq!(play.closed, closed);
    }
}

#[test]
fn a_login_is_refused_where_it_does_not_belong() {
    assert_eq!(Play::peer().send("AUTH PLAIN ="), "502 5.5.1 command not offered here");
    assert!(Play::client().send("AUTH CRAM-MD5").starts_with("504 5.5.4"));
    let mut unasked = Play::new(options(Face::Submission, Tls::Done)).0;
    assert_eq!(unasked.send("AUTH EXTERNAL ="), "503 5.5.1 EHLO first");
    let mut settings = options(Face::Peer, Tls::Done);
    settings.mechanisms = vec![Mechanism::Plain];
    let mut play = Play::greeted(settings);
    play.send("MAIL FROM:<a@b.fr>");
    assert_eq!(
        play.send("AUTH PLAIN AHVzZXIAc2VjcmV0"),
        "503 5.5.1 bad sequence of commands"
    );
}

#[test]
fn a_response_that_is_too_long_is_refused() {
    let mut play = Play::client();
    play.send("AUTH PLAIN");
    assert!(play.send(&"A".repeat(12_288)).starts_with("500 5.5.6"));
    assert!(
        play.send(&format!("AUTH PLAIN {}", "A".repeat(12_288)))
            .starts_with("500 5.5.2")
    );
    let long_but_fine = format!("AUTH PLAIN {}", base64(&format!("\0user\0{}", "x".repeat(5000))));
    assert!(play.send(&long_but_fine).starts_with("535"));
}

#[test]
fn debug_output_shows_neither_secrets_nor_text() {
    let mut play = Play::client();
    play.session
        .feed(format!("AUTH PLAIN {}\r\n", base64("\0user\0secret")).as_bytes());
    assert_eq!(format!("{:?}", play.session), "Session { session_id: \"K3F7Q2\", .. }");
    let step = play.session.step();
    assert!(format!("{step:?}").starts_with("Ask(Authenticate(Plain"));
    assert!(!format!("{step:?}").contains("secret"));
    assert_eq!(format!("{:?}", Step::Body(b"private".to_vec())), "Body(7 bytes)");
}

#[test]
fn a_session_refused_in_the_middle_of_a_transaction_drops_it_and_its_chunk() {
    let mut play = Play::ready();
    play.session
        .refuse_all(Refusal::new(Reason::CertificateRevoked, "your certificate is revoked"));
    assert_eq!(play.bytes(b"BDAT 6 LAST\r\nQUIT\r\n").lines().count(), 1);
    assert_eq!(play.seen, ["abandon"]);
}

// ---- smuggling

#[test]
fn only_crlf_dot_crlf_ends_a_message() {
    for smuggled in [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r\n.\r",
        "\r.\r\n",
        "\n..\r\n",
        "\r\n\0.\n",
    ] {
        let mut play = Play::ready();
        play.send("DATA");
        let text = format!("hello{smuggled}MAIL FROM:<evil@b.fr>\r\nRCPT TO:<c@d.fr>\r\nDATA\r\nevil\r\n.\r\n");
        let reply = play.bytes(text.as_bytes());
        assert!(
            reply.starts_with("554 5.6.0 the message holds a"),
            "{smuggled:?}: {reply}"
        );
        assert_eq!(reply.lines().count(), 1, "{smuggled:?}");
        assert_eq!(play.seen, ["refused message-malformed", "abandon"], "{smuggled:?}");
        assert!(play.send("NOOP").starts_with("250"));
    }
}

#[test]
fn bare_line_ends_in_commands_are_refused() {
    for bytes in [
        &b"NOOP\n"[..],
        b"NO\rOP\r\n",
        b"NOOP\r\r\n",
        b"MAIL FROM:<a@b.fr>\rRCPT TO:<c@d.fr>\r\n",
    ] {
        assert!(Play::peer().bytes(bytes).starts_with("500 5.5.2"), "{bytes:?}");
    }
    let replies = Play::peer().bytes(b"MAIL FROM:<a@b.fr>\nRCPT TO:<c@d.fr>\nDATA\n");
    assert!(replies.lines().all(|line| line.starts_with("500 5.5.2")), "{replies}");
}

// ---- BDAT

#[test]
fn a_message_comes_in_chunks_that_keep_their_dots() {
    let mut play = Play::ready();
    assert_eq!(play.bytes(b"BDAT 5\r\n.a\r\n."), "250 2.0.0 5 octets received");
    assert_eq!(play.bytes(b"BDAT 3 LAST\r\n\r\nb"), "250 2.0.0 stored as 1");
    assert_eq!(play.seen, ["message \".a\\r\\n.\\r\\nb\" ESMTPS"]);
}

#[test]
fn an_empty_last_chunk_ends_a_message() {
    let mut play = Play::ready();
    assert_eq!(play.bytes(b"BDAT 3\r\na\r\n"), "250 2.0.0 3 octets received");
    assert_eq!(play.send("BDAT 0 LAST"), "250 2.0.0 stored as 1");
    assert_eq!(Play::ready().send("BDAT 0 LAST"), "250 2.0.0 stored as 1");
}

#[test]
fn between_chunks_only_chunks_may_come() {
    let mut play = Play::ready();
    play.bytes(b"BDAT 3\r\na\r\n");
    for line in ["DATA", "MAIL FROM:<a@b.fr>", "RCPT TO:<c@d.fr>"] {
        assert_eq!(play.send(line), "503 5.5.1 bad sequence of commands", "{line}");
    }
    assert_eq!(play.send("NOOP"), "250 2.0.0 ok");
    assert_eq!(play.send("RSET"), "250 2.0.0 ok");
    assert_eq!(play.seen, ["abandon"]);
}

#[test]
fn a_refused_chunk_is_never_taken_for_commands() {
    let chunk = b"BDAT 20 LAST\r\nMAIL FROM:<a@b.fr>\r\n";
    let mut play = Play::peer();
    assert_eq!(play.bytes(chunk), "503 5.5.1 MAIL first");
    play.send("MAIL FROM:<a@b.fr>");
    assert_eq!(play.bytes(chunk), "503 5.5.1 RCPT first");
    play.send("RCPT TO:<nobody@d.fr>");
    assert_eq!(play.bytes(chunk), "554 5.5.1 no valid recipients");
    let mut clear = Play::clear(Face::Peer);
    clear.send("EHLO a.example");
    assert_eq!(clear.bytes(chunk).lines().count(), 1);
    let mut settings = options(Face::Peer, Tls::Done);
    settings.extensions = Extensions::usual().without(Extension::Chunking);
    assert_eq!(
        Play::greeted(settings).bytes(chunk),
        "502 5.5.1 command not offered here"
    );
}

#[test]
fn after_a_failed_chunk_the_rest_is_refused_until_the_last_one_or_rset() {
    let mut play = Play::ready();
    assert!(
        play.bytes(b"BDAT 3\r\na\nb")
            .starts_with("554 5.6.0 the message holds an LF")
    );
    assert_eq!(play.seen, ["refused message-malformed", "abandon"]);
    assert_eq!(play.bytes(b"BDAT 4\r\nQUIT"), "503 5.5.1 bad sequence of commands");
    assert_eq!(play.send("MAIL FROM:<a@b.fr>"), "503 5.5.1 bad sequence of commands");
    assert_eq!(play.bytes(b"BDAT 4 LAST\r\nQUIT"), "503 5.5.1 bad sequence of commands");
    assert_eq!(play.send("MAIL FROM:<a@b.fr>"), "250 2.1.0 sender ok");
    assert!(!play.closed);
}

#[test]
fn a_bare_cr_at_the_very_end_of_a_chunked_message_is_refused() {
    let mut play = Play::ready();
    assert!(play.bytes(b"BDAT 2\r\na\r").starts_with("250"));
    assert!(play.send("BDAT 0 LAST").starts_with("554 5.6.0"));
}

#[test]
fn a_chunk_of_unknown_size_ends_the_session() {
    let mut play = Play::ready();
    assert!(
        play.bytes(b"BDAT many LAST\r\nMAIL FROM:<a@b.fr>\r\n")
            .starts_with("501 5.5.2 syntax: BDAT")
    );
    assert!(play.closed);
}

// ---- limits

#[test]
fn a_message_announced_too_large_is_refused_at_mail() {
    let mut play = Play::peer();
    let reply = play.send("MAIL FROM:<a@b.fr> SIZE=1001");
    assert!(
        reply.starts_with("552 5.3.4 the message is larger than the 1000 bytes"),
        "{reply}"
    );
    assert_eq!(play.seen, ["refused message-too-large"]);
    assert_eq!(play.send("MAIL FROM:<a@b.fr> SIZE=1000"), "250 2.1.0 sender ok");
}

#[test]
fn a_message_that_grows_too_large_is_read_to_its_end_and_refused() {
    let line = format!("{}\r\n", "x".repeat(98));
    for (lines, verdict) in [(10, "250 2.0.0"), (11, "552 5.3.4")] {
        let mut play = Play::ready();
        play.send("DATA");
        let mut reply = String::new();
        for _ in 0..lines {
            reply.push_str(&play.bytes(line.as_bytes()));
        }
        assert_eq!(reply, "");
        assert!(play.send(".").starts_with(verdict), "{lines} lines");
        let mut chunked = Play::ready();
        let bytes = format!("BDAT {} LAST\r\n{}", 100 * lines, line.repeat(lines));
        assert!(
            chunked.bytes(bytes.as_bytes()).starts_with(verdict),
            "{lines} lines in a chunk"
        );
    }
}

#[test]
fn what_is_dropped_is_not_held() {
    let mut play = Play::ready();
    play.send("DATA");
    for _ in 0..1000 {
        play.bytes(&b"0123456789abcdef\r\n".repeat(100));
    }
    assert_eq!(play.body, b"");
    assert!(play.session.input().capacity() <= 2 * TEXT_ROOM_BYTES);
}

#[test]
fn a_text_line_over_the_limit_is_refused() {
    for (length, verdict) in [
        (100, "250"),
        (101, "554 5.6.0 the message holds a line that is too long"),
    ] {
        let mut play = Play::ready();
        play.send("DATA");
        let reply = play.send(&format!("{}\r\n.", "x".repeat(length)));
        assert!(reply.starts_with(verdict), "{reply}");
    }
}

#[test]
fn a_command_line_over_the_limit_is_refused_and_its_rest_skipped() {
    let mut play = Play::peer();
    assert_eq!(play.bytes(&[b'x'; 3000]), "");
    assert_eq!(
        play.bytes(b" MAIL FROM:<a@b.fr>\r\nNOOP\r\n"),
        "500 5.5.2 line too long\n250 2.0.0 ok"
    );
}

#[test]
fn recipients_over_the_limit_are_for_another_transaction() {
    let mut play = Play::peer();
    play.send("MAIL FROM:<a@b.fr>");
    for _ in 0..3 {
        assert!(play.send("RCPT TO:<c@d.fr>").starts_with("250"));
    }
    assert!(play.send("RCPT TO:<c@d.fr>").starts_with("452 4.5.3"));
    assert_eq!(play.seen, ["refused too-many-recipients"]);
    assert!(play.send("DATA").starts_with("354"));
}

#[test]
fn too_many_errors_end_the_session() {
    let mut play = Play::ready();
    for _ in 0..5 {
        assert!(play.send("NONSENSE").starts_with("500"));
    }
    let reply = play.bytes(b"NONSENSE\r\nNOOP\r\n");
    assert!(
        reply.contains("\n421 4.7.0 too many errors in this session (too-many-errors"),
        "{reply}"
    );
    assert_eq!(reply.lines().count(), 2);
    assert!(play.closed);
    assert_eq!(play.seen, ["abandon", "refused too-many-errors"]);
}

#[test]
fn too_many_commands_end_the_session_unless_messages_are_accepted() {
    let mut play = Play::peer();
    // EHLO was one; three recipients have room of their own.
    for _ in 0..52 {
        assert!(play.send("NOOP").starts_with("250"));
    }
    assert!(
        play.send("NOOP")
            .starts_with("421 4.7.0 too many commands without a message (too-many-errors, ")
    );
    let mut busy = Play::peer();
    for _ in 0..100 {
        let reply = busy.bytes(b"MAIL FROM:<>\r\nRCPT TO:<c@d.fr>\r\nBDAT 0 LAST\r\n");
        assert!(reply.ends_with("stored as 1"), "{reply}");
    }
}

#[test]
fn as_many_recipients_as_are_taken_fit_into_the_limit_of_commands() {
    let mut settings = options(Face::Peer, Tls::Done);
    settings.limits.recipients_max = 500;
    let mut play = Play::greeted(settings);
    play.send("MAIL FROM:<a@b.fr>");
    for number in 0..500 {
        let reply = play.send(&format!("RCPT TO:<c{number}@d.fr>"));
        assert!(reply.starts_with("250"), "{number}: {reply}");
    }
    assert!(play.send("RCPT TO:<one@d.fr>").starts_with("452 4.5.3"));
}

// ---- extensions

#[test]
fn parameters_of_extensions_that_are_not_offered_are_refused() {
    let mut settings = options(Face::Peer, Tls::Done);
    settings.extensions = Extensions::NONE;
    let mut play = Play::new(settings).0;
    assert_eq!(play.send("EHLO a.example"), "250 mx.example greets a.example");
    for parameter in ["SIZE=1", "BODY=7BIT", "SMTPUTF8", "RET=FULL"] {
        let reply = play.send(&format!("MAIL FROM:<a@b.fr> {parameter}"));
        assert_eq!(
            reply, "555 parameter of an extension that is not offered here",
            "{parameter}"
        );
    }
    assert_eq!(play.send("MAIL FROM:<a@b.fr>"), "250 sender ok");
    assert!(play.send("RCPT TO:<c@d.fr> NOTIFY=NEVER").starts_with("555"));
}

#[test]
fn parameters_need_ehlo_and_binary_is_never_offered() {
    let mut play = Play::new(options(Face::Peer, Tls::Done)).0;
    assert_eq!(play.send("HELO a.example"), "250 mx.example greets a.example");
    assert!(play.send("MAIL FROM:<a@b.fr> SIZE=1").starts_with("555 5.5.4"));
    assert_eq!(play.session.protocol(), "SMTP");
    play.send("EHLO a.example");
    assert!(play.send("MAIL FROM:<a@b.fr> BODY=BINARYMIME").starts_with("555 5.5.4"));
    assert!(play.send("MAIL FROM:<a@b.fr> REQUIRETLS").starts_with("555 5.5.4"));
    assert!(
        play.send("MAIL FROM:<a@b.fr> FOO=1")
            .starts_with("555 5.5.4 unknown parameter FOO")
    );
}

#[test]
fn wishes_about_reports_reach_the_driver_and_need_ehlo() {
    let mut play = Play::peer();
    play.session
        .feed(b"MAIL FROM:<> RET=HDRS ENVID=QQ+2B1\r\nRCPT TO:<c@d.fr> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@d.fr\r\n");
    let mut asked = Vec::new();
    while let Step::Ask(question) = play.session.step() {
        asked.push(format!("{question:?}"));
        play.session.answer(Answer::Accepted);
    }
    assert!(
        asked[0].contains("ret: Some(Headers), envid: Some(Xtext(4 bytes))"),
        "{asked:?}"
    );
    assert!(
        asked[1].contains("orcpt: Some(OriginalRecipient(rfc822; 6 bytes))"),
        "{asked:?}"
    );
    let mut old = Play::new(options(Face::Peer, Tls::Done)).0;
    old.send("HELO a.example");
    assert!(old.send("MAIL FROM:<a@b.fr> RET=FULL").starts_with("555 5.5.4"));
    assert!(old.send("MAIL FROM:<a@b.fr>").starts_with("250"));
    assert!(old.send("RCPT TO:<c@d.fr> NOTIFY=NEVER").starts_with("555 5.5.4"));
    assert!(old.send("RCPT TO:<c@d.fr>").starts_with("250"));
}

#[test]
fn requiretls_is_offered_only_inside_tls() {
    let mut settings = options(Face::Peer, Tls::Required);
    settings.extensions = Extensions::all();
    let mut play = Play::new(settings).0;
    assert!(!play.send("EHLO a.example").contains("REQUIRETLS"));
    assert!(play.send("MAIL FROM:<a@b.fr> REQUIRETLS").starts_with("530 5.7.0"));
    play.send("STARTTLS");
    assert!(play.send("EHLO a.example").contains("\n250-REQUIRETLS\n"));
    assert!(play.send("MAIL FROM:<a@b.fr> REQUIRETLS").starts_with("250"));
}

#[test]
fn limits_of_a_session_are_announced_and_kept() {
    let mut settings = options(Face::Peer, Tls::Done);
    settings.limits.session = SessionLimits {
        mails_max: Some(4),
        recipient_domains_max: Some(2),
    };
    let mut play = Play::new(settings).0;
    let offer = play.send("EHLO a.example");
    assert!(
        offer.ends_with("\n250 LIMITS MAILMAX=4 RCPTMAX=3 RCPTDOMAINMAX=2"),
        "{offer}"
    );
    assert!(play.send("MAIL FROM:<a@x.fr>").starts_with("550"));
    play.send("MAIL FROM:<a@b.fr>");
    for (to, verdict) in [
        ("c@d.fr", "250"),
        ("nobody@refused.fr", "550"),
        ("c@e.fr", "250"),
        ("c@f.fr", "452 4.5.3 at most 2 domains"),
        ("d@D.FR", "250"),
    ] {
        let reply = play.send(&format!("RCPT TO:<{to}>"));
        assert!(reply.starts_with(verdict), "{to}: {reply}");
    }
    play.send("RSET");
    play.send("MAIL FROM:<a@b.fr>");
    assert!(
        play.send("RCPT TO:<c@f.fr>").starts_with("452 4.5.3"),
        "the session counts, not the transaction"
    );
    assert!(play.send("MAIL FROM:<a@b.fr>").starts_with("503"));
    assert!(
        play.send("MAIL FROM:<a@b.fr>").starts_with(
            "421 4.5.3 as many transactions as one session may hold, connect again (too-many-transactions, "
        )
    );
    assert!(play.closed);
    assert_eq!(play.seen.last().unwrap(), "refused too-many-transactions");
}

#[test]
fn a_chunk_that_cannot_fit_is_dropped_as_it_comes() {
    let mut play = Play::ready();
    assert_eq!(play.bytes(b"BDAT 500\r\n"), "");
    assert!(play.bytes(&b"line\r\n".repeat(83)).is_empty());
    assert!(play.bytes(b"\r\n").starts_with("250 2.0.0 500 octets"));
    play.bytes(b"BDAT 501 LAST\r\nmore");
    assert_eq!(play.seen, ["refused message-too-large", "abandon"]);
    assert_eq!(play.body, b"", "nothing of it is handed out");
    assert!(play.bytes(&[b'x'; 497]).starts_with("552 5.3.4"));
    assert!(play.send("MAIL FROM:<a@b.fr>").starts_with("250"));
}

#[test]
fn addresses_outside_ascii_need_smtputf8() {
    let mut play = Play::peer();
    assert!(play.send("MAIL FROM:<hélène@b.fr>").starts_with("553 5.6.7"));
    assert!(play.send("MAIL FROM:<a@b.fr>").starts_with("250"));
    assert!(play.send("RCPT TO:<hélène@b.fr>").starts_with("553 5.6.7"));
    play.send("RSET");
    assert!(play.send("MAIL FROM:<hélène@b.fr> SMTPUTF8").starts_with("250"));
    assert!(play.send("RCPT TO:<hélène@b.fr>").starts_with("250"));
}

#[test]
fn an_accepting_text_of_the_driver_cannot_forge_a_reply() {
    let mut play = Play::ready();
    play.session.state = State::Asked(Asked::Message(MailFrom::default()));
    play.session.answer(Answer::AcceptedAs("x\r\n250 y".into()));
    assert_eq!(play.run(), "250 2.0.0 x250 y");
}

// ---- however the bytes are cut

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn replies_do_not_depend_on_how_bytes_are_cut(cuts in proptest::collection::vec(1usize..40, 1..60)) {
        let script = b"EHLO a.example\r\nMAIL FROM:<a@b.fr> SIZE=40\r\nRCPT TO:<nobody@d.fr>\r\nRCPT TO:<c@d.fr>\r\n\
            BDAT 4\r\nab\r\nBDAT 3 LAST\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.fr>\r\nDATA\r\n..x\r\n.y\r\n\r\n.\r\n\
            NOOP\n\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.fr>\r\nDATA\r\nbad\n.\r\n\r\n.\r\nFOO\r\nQUIT\r\n";
        let mut whole = Play::new(options(Face::Peer, Tls::Done)).0;
        let expected = whole.bytes(script);
        let mut pieces = Play::new(options(Face::Peer, Tls::Done)).0;
        let (mut replies, mut rest) = (Vec::new(), &script[..]);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (head, tail) = rest.split_at(rest.len().min(*cut));
            let reply = pieces.bytes(head);
            if !reply.is_empty() {
                replies.push(reply);
            }
            rest = tail;
        }
        prop_assert_eq!(replies.join("\n"), expected);
        prop_assert_eq!(pieces.seen, whole.seen);
        prop_assert!(pieces.closed && whole.closed);
    }

    #[test]
    fn no_bytes_make_a_session_panic(
        lines in proptest::collection::vec(
            prop_oneof![
                Just("EHLO a".to_owned()), Just("MAIL FROM:<>".into()), Just("RCPT TO:<c@d.fr>".into()), Just("DATA".into()),
                Just("BDAT 5".into()), Just("BDAT 3 LAST".into()), Just("AUTH LOGIN".into()), Just("STARTTLS".into()),
                Just("RSET".into()), Just(".".into()), "\\PC{0,20}",
            ],
            0..40,
        ),
        face in prop_oneof![Just(Face::Peer), Just(Face::Submission)],
        tls in prop_oneof![Just(Tls::Required), Just(Tls::Done)],
    ) {
        let mut play = Play::new(options(face, tls)).0;
        for line in lines {
            if !play.closed {
                play.send(&line);
            }
        }
    }
}
