//! A whole SMTP session: whatever a client says, and however its bytes are cut, nothing is asked before TLS and login, a message is asked
//! about only with a sender and a recipient, its text holds no bare CR or LF, every reply is well formed, and cutting changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vaguemestre::policy::{Reason, Refusal};
use vaguemestre::smtp::reply::ReplyReader;
use vaguemestre::smtp::session::{Face, Limits, Options, SessionLimits, Tls};
use vaguemestre::smtp::{Answer, Extensions, Mechanism, Question, Session, Step};

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, bytes) = input;
    let whole = Play::run(kind, bytes, usize::MAX);
    let pieces = Play::run(kind, bytes, usize::from(kind >> 3) + 1);
    if !whole.handshake && !pieces.handshake {
        assert_eq!(whole.said, pieces.said);
        assert_eq!(whole.events, pieces.events);
    }
});

/// What a driver that decides like a small operator saw.
struct Play {
    face: Face,
    said: Vec<u8>,
    events: Vec<String>,
    body: Vec<u8>,
    handshake: bool,
    encrypted: bool,
    login: bool,
    sender: bool,
    recipients: usize,
}

impl Play {
    fn run(kind: u8, bytes: &[u8], piece: usize) -> Self {
        let face = if kind & 1 == 0 { Face::Peer } else { Face::Submission };
        let tls = if kind & 2 == 0 { Tls::Done } else { Tls::Required };
        let mut session = Session::new(options(face, tls));
        let mut play = Self {
            face,
            said: Vec::new(),
            events: Vec::new(),
            body: Vec::new(),
            handshake: false,
            encrypted: tls == Tls::Done,
            login: false,
            sender: false,
            recipients: 0,
        };
        let mut open = play.drive(&mut session);
        for bytes in bytes.chunks(piece.min(bytes.len().max(1))) {
            if !open {
                break;
            }
            session.feed(bytes);
            open = play.drive(&mut session);
        }
        play.check_replies();
        play
    }

    /// Until the session wants to read, or is over.
    fn drive(&mut self, session: &mut Session) -> bool {
        for _ in 0..STEPS_MAX {
            match session.step() {
                Step::Read => return true,
                Step::Close => return false,
                Step::Write(bytes) => self.said.extend(bytes),
                Step::Ask(question) => {
                    let answer = self.decide(&question, session);
                    session.answer(answer);
                }
                Step::Body(bytes) => self.body.extend(bytes),
                Step::StartTls => {
                    assert!(!self.encrypted, "TLS starts once");
                    (self.handshake, self.encrypted) = (true, true);
                    session.tls_started();
                    assert!(session.hello().is_none() && session.input().is_empty(), "nothing said in clear is left");
                }
                Step::Refused(refusal) => self.events.push(format!("refused {}", refusal.reason)),
                Step::Abandon => {
                    self.events.push("abandon".to_owned());
                    self.over();
                }
            }
        }
        panic!("a session that never waits");
    }

    fn decide(&mut self, question: &Question, session: &Session) -> Answer {
        assert!(self.encrypted, "nothing is asked in clear: {question:?}");
        self.events.push(format!("{question:?}"));
        let refuse = |reason| Answer::Refused(Refusal::new(reason, "no"));
        match question {
            Question::Authenticate(_) => {
                assert!(self.face == Face::Submission && !self.login && !self.sender);
                self.login = !self.events.len().is_multiple_of(3);
                if self.login { Answer::Accepted } else { refuse(Reason::CredentialsInvalid) }
            }
            Question::Sender(mail) => {
                assert!(self.login || self.face == Face::Peer, "a login comes first");
                assert!(!self.sender, "one transaction at a time");
                assert!(mail.utf8 || mail.path.as_ref().is_none_or(|path| path.as_str().is_ascii()));
                self.sender = mail.path.as_ref().is_none_or(|path| !path.as_str().starts_with('x'));
                if self.sender { Answer::Accepted } else { refuse(Reason::SenderDomainUnlisted) }
            }
            Question::Recipient(to) => {
                assert!(self.sender && self.recipients < LIMITS.recipients_max);
                if to.path.to_string().starts_with('x') {
                    return refuse(Reason::BoxUnknown);
                }
                self.recipients += 1;
                Answer::Accepted
            }
            Question::Message => {
                assert!(self.sender && self.recipients > 0, "a message has a sender and a recipient");
                assert!(session.mail_from().is_some() && session.hello().is_some());
                self.check_text();
                self.over();
                Answer::AcceptedAs("stored".to_owned())
            }
        }
    }

    fn check_text(&mut self) {
        assert!(self.body.len() as u64 <= LIMITS.size_bytes_max);
        self.events.push(String::from_utf8_lossy(&self.body).into_owned());
        let text = String::from_utf8_lossy(&self.body).replace("\r\n", "\u{1}");
        assert!(!text.contains(['\r', '\n']), "a bare CR or LF passed");
        assert!(text.split('\u{1}').all(|line| line.len() <= 3 * LIMITS.line_bytes_max));
    }

    fn over(&mut self) {
        (self.sender, self.recipients) = (false, 0);
        self.body.clear();
    }

    fn check_replies(&self) {
        let Some(text) = self.said.strip_suffix(b"\r\n") else {
            panic!("there is a greeting, and lines end");
        };
        let mut reader = ReplyReader::default();
        let mut complete = true;
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            assert!(line.len() <= 510 && line.is_ascii());
            complete = reader.push(line).expect("a reply").is_some();
        }
        assert!(complete, "replies are whole");
    }
}

fn options(face: Face, tls: Tls) -> Options {
    Options {
        hostname: "mx.example".to_owned(),
        session_id: "K3F7Q2".to_owned(),
        face,
        tls,
        mechanisms: if face == Face::Submission { Mechanism::ALL.to_vec() } else { Vec::new() },
        extensions: Extensions::all(),
        limits: LIMITS,
    }
}

const LIMITS: Limits = Limits {
    size_bytes_max: 400,
    line_bytes_max: 60,
    recipients_max: 3,
    errors_max: 15,
    commands_max: 60,
    session: SessionLimits {
        mails_max: Some(20),
        recipient_domains_max: Some(3),
    },
};
/// Between two reads there is one step per line, chunk or reply at most, and an input is at most 64 KiB.
const STEPS_MAX: usize = 400_000;
