//! A whole IMAP session: whatever a client says, and however its bytes are cut, nothing is asked before TLS and login, every command gets
//! one tagged answer at most, and cutting changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vaguemestre::imap::{Answer, Certificate, Options, Refused, Request, Security, Session, Step};

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, bytes) = input;
    let whole = Play::run(kind, bytes, usize::MAX);
    let pieces = Play::run(kind, bytes, usize::from(kind >> 2) + 1);
    if !whole.layered && !pieces.layered {
        assert_eq!(whole.said, pieces.said);
        assert_eq!(whole.events, pieces.events);
    }
});

/// What a driver saw whose store refuses everything but logins.
struct Play {
    said: Vec<u8>,
    events: Vec<String>,
    /// TLS or compression began: what is read then depends on how the input was cut.
    layered: bool,
    encrypted: bool,
    compressed: bool,
    login: bool,
}

impl Play {
    fn run(kind: u8, bytes: &[u8], piece: usize) -> Self {
        let encrypted = kind & 1 == 0;
        let security = if encrypted { Security::Tls(Certificate::Shown) } else { Security::Clear };
        let mut session = Session::new(Options {
            command_bytes_max: 4096,
            command_before_login_bytes_max: 1024,
            append_bytes_max: 2048,
            ..Options::new(security)
        });
        let mut play = Self {
            said: Vec::new(),
            events: Vec::new(),
            layered: false,
            encrypted,
            compressed: false,
            login: false,
        };
        let mut open = play.drive(&mut session);
        if encrypted && kind & 2 == 0 {
            session.feed(b"0 LOGIN a b\r\n");
            open = play.drive(&mut session);
        }
        for bytes in bytes.chunks(piece.min(bytes.len().max(1))) {
            if !open {
                break;
            }
            session.feed(bytes);
            open = play.drive(&mut session);
        }
        play
    }

    /// Until the session wants to read, or is over.
    fn drive(&mut self, session: &mut Session) -> bool {
        for _ in 0..STEPS_MAX {
            match session.step() {
                Step::Read | Step::Idle => return true,
                Step::Close => return false,
                Step::Write(bytes) => self.said.extend(bytes),
                Step::Refused(noted) => self.events.push(format!("{noted:?}")),
                Step::StartTls => {
                    assert!(!self.encrypted, "TLS starts once");
                    (self.layered, self.encrypted) = (true, true);
                    session.tls_started(Certificate::None);
                }
                Step::Compress(_) => {
                    assert!(self.login && !self.compressed, "compression starts once");
                    (self.layered, self.compressed) = (true, true);
                }
                Step::Ask(request) => {
                    let answer = self.decide(&request);
                    session.answer(answer);
                }
            }
        }
        panic!("a session that never waits");
    }

    fn decide(&mut self, request: &Request) -> Answer {
        assert!(self.encrypted, "nothing is asked in clear: {request:?}");
        self.events.push(format!("{request:?}"));
        match request {
            Request::Authenticate(_) => {
                assert!(!self.login, "one login at a time");
                Answer::Boxes(vec!["a@example.org".to_owned()])
            }
            Request::Open { .. } => {
                self.login = true;
                Answer::Done
            }
            Request::Unauthenticate => {
                self.login = false;
                Answer::Done
            }
            Request::Load { messages, .. } => Answer::Loaded(vec![None; messages.len()]),
            _ => {
                assert!(self.login, "a login comes first: {request:?}");
                Answer::Refused(Refused::NoSuchFolder)
            }
        }
    }
}

const STEPS_MAX: usize = 100_000;
