//! The state machine of one connection.

mod core;
mod enabled;
mod news;
mod options;

use super::command::{self, Next, Outcome, Work};
use super::frame::{Bounds, Frame, Framer, TooMuch};
use super::grammar;
use super::request::{Answer, Bytes, Refused, Request};
use super::wire;
pub(crate) use core::{Compression, Core, Login, State};
pub(crate) use enabled::{Enabled, Extension};
use news::{AfterNews, Held};
pub use options::{Certificate, Options, Security, Tokens};

/// What the driver must do next.
#[derive(Debug)]
pub enum Step {
    /// Read, then [`Session::feed`].
    Read,
    /// The client waits for news (IDLE): read and feed, or call [`Session::changed`], whichever comes first.
    Idle,
    /// Write all of it.
    Write(Vec<u8>),
    /// Find the answer, then [`Session::answer`].
    Ask(Request),
    /// Journal what the session refused on its own.
    Refused(Noted),
    /// Begin TLS, then [`Session::tls_started`].
    StartTls,
    /// From now on all that is read and written is compressed (RFC 4978); this was read already.
    Compress(Vec<u8>),
    /// Close the connection.
    Close,
}

/// A refusal of the session itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// A login was tried in clear; noted once.
    TlsRequired,
    /// The session is ended for its errors.
    TooManyErrors,
}

/// Why the driver ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing came from the client for too long (RFC 3501 §5.4).
    Idle,
    /// The box has just moved to another operator.
    BoxMoved,
    /// The session outlived what it was judged by.
    TooLong,
    /// The server stops.
    Shutdown,
    /// Too many connections of this person or from this place.
    TooManyConnections,
    /// The box was closed.
    BoxClosed,
    /// A literal drips.
    TooSlow,
    /// The box was suspended: the next session reads it.
    BoxSuspended,
    /// The box was suspended and is in use again: the next session may change it.
    BoxResumed,
    /// The login may open the box no more, or with other rights.
    AccessChanged,
}

/// One IMAP connection. See the module's doc for how it is driven.
#[derive(Debug)]
pub struct Session {
    input: Framer,
    core: Core,
    activity: Activity,
    errors: u32,
    /// To be told at the next step.
    noted: Option<Noted>,
    tls_noted: bool,
    /// News of the selected folder wait for a command, because NOTIFY does not want them before.
    held: Held,
    /// What comes after what is told at present.
    after: Option<AfterNews>,
}

#[derive(Debug)]
enum Activity {
    /// Between commands.
    Ready,
    /// A SASL response is due.
    Sasl { tag: String, work: Box<dyn Work> },
    /// IDLE; DONE or news are due.
    Idling { tag: String },
    /// A command goes on.
    Working { tag: String, work: Box<dyn Work> },
    /// A question is open.
    Asked {
        tag: String,
        work: Box<dyn Work>,
        question: Option<Request>,
    },
    /// A piece of a message is being kept.
    AskedSpool { question: Option<Request> },
    /// News were asked for; then the command, if any, is over.
    AskedNews { then: AfterNews, question: Option<Request> },
    /// The tagged OK of STARTTLS is on its way.
    StartTls,
    /// The tagged OK of COMPRESS is on its way.
    Compress,
    /// Everything is said.
    Closing,
}

impl Session {
    /// A new session; its first step writes the greeting.
    pub fn new(options: Options) -> Self {
        let mut core = Core::new(options);
        core.out.extend_from_slice(b"* OK [CAPABILITY ");
        core.write_capabilities();
        core.out.extend_from_slice(b"] Vaguemestre ready\r\n");
        Self {
            input: Framer::default(),
            core,
            activity: Activity::Ready,
            errors: 0,
            noted: None,
            tls_noted: false,
            held: Held::Nothing,
            after: None,
        }
    }

    /// Address of the open box, once there is one.
    pub fn open_box(&self) -> Option<&str> {
        self.core.login().map(|l| l.address.as_str())
    }

    /// Takes what was read.
    pub fn feed(&mut self, input: &[u8]) {
        self.input.feed(input);
    }

    /// Whether the client is in the middle of a literal, which has to come at a rate.
    pub fn is_in_literal(&self) -> bool {
        self.input.is_in_literal()
    }

    /// Whether more of a command is due that has begun to come.
    pub fn is_amid_command(&self) -> bool {
        self.input.is_amid_command()
    }

    /// The selected folder may have changed. Cheap and harmless at any time.
    pub fn changed(&mut self) {
        self.core.stale = true;
    }

    /// TLS is up; everything known before is forgotten (RFC 3501 §6.2.1).
    pub fn tls_started(&mut self, certificate: Certificate) {
        self.core.options.security = Security::Tls(certificate);
        self.input.clear();
        if matches!(self.activity, Activity::StartTls) {
            self.activity = Activity::Ready;
        }
    }

    /// Says BYE and closes.
    pub fn end(&mut self, why: Ending) {
        self.bye(match why {
            Ending::Idle => "idle for too long",
            Ending::TooLong => "[UNAVAILABLE] this session has lasted long enough, connect again",
            Ending::BoxMoved => "[UNAVAILABLE] this box has moved to another operator, connect there",
            Ending::Shutdown => "[UNAVAILABLE] the server stops, come back soon",
            Ending::TooManyConnections => "[LIMIT] too many connections",
            Ending::BoxClosed => "[UNAVAILABLE] the box was closed",
            Ending::TooSlow => "[LIMIT] this takes too long: the message comes too slowly (too-slow)",
            Ending::BoxSuspended => "[UNAVAILABLE] the box was suspended: connect again to read it",
            Ending::BoxResumed => "[UNAVAILABLE] the box is in use again: connect again to change it",
            Ending::AccessChanged => "[UNAVAILABLE] what this login may open has changed, connect again",
        });
    }

    /// What to do next.
    pub fn step(&mut self) -> Step {
        loop {
            if let Some(noted) = self.noted.take() {
                return Step::Refused(noted);
            }
            if self.core.out.len() >= WRITE_BYTES {
                return self.write();
            }
            if let Some(request) = self.question() {
                return Step::Ask(request);
            }
            match std::mem::replace(&mut self.activity, Activity::Closing) {
                Activity::Working { tag, mut work } => {
                    let next = work.go(&mut self.core, None);
                    self.advance(tag, work, next);
                }
                Activity::Idling { tag } if self.core.stale => self.ask_news(AfterNews::Idle { tag }),
                // RFC 5465 §3: told though nothing is asked.
                Activity::Ready if self.core.stale && self.core.notified.is_some() => self.ask_news(AfterNews::Unasked),
                Activity::StartTls if self.core.out.is_empty() => {
                    self.activity = Activity::StartTls;
                    return Step::StartTls;
                }
                Activity::Compress if self.core.out.is_empty() => {
                    self.activity = Activity::Ready;
                    self.core.compression = Compression::On;
                    return Step::Compress(self.input.take_rest());
                }
                Activity::Closing if self.core.out.is_empty() => return Step::Close,
                waiting @ (Activity::Ready | Activity::Sasl { .. } | Activity::Idling { .. }) => {
                    if let Some(step) = self.read(waiting) {
                        return step;
                    }
                }
                other => {
                    self.activity = other;
                    return if self.core.out.is_empty() {
                        Step::Read
                    } else {
                        self.write()
                    };
                }
            }
        }
    }

    /// The answer to the open question.
    pub fn answer(&mut self, answer: Answer) {
        match std::mem::replace(&mut self.activity, Activity::Closing) {
            Activity::Asked { tag, mut work, .. } => {
                let next = work.go(&mut self.core, Some(answer));
                self.advance(tag, work, next);
            }
            Activity::AskedNews { then, .. } => self.take_news(then, answer),
            Activity::AskedSpool { .. } => self.take_spooled(answer),
            other => self.activity = other,
        }
    }

    fn write(&mut self) -> Step {
        Step::Write(std::mem::take(&mut self.core.out))
    }

    fn question(&mut self) -> Option<Request> {
        match &mut self.activity {
            Activity::Asked { question, .. }
            | Activity::AskedNews { question, .. }
            | Activity::AskedSpool { question } => question.take(),
            _ => None,
        }
    }

    /// Takes input as the present activity wants it. `None`: something happened, step again.
    fn read(&mut self, activity: Activity) -> Option<Step> {
        let idle = matches!(activity, Activity::Idling { .. });
        let more = match activity {
            Activity::Sasl { tag, work } => self.read_sasl(tag, work),
            Activity::Idling { tag } => self.read_done(tag),
            _ => self.read_command(),
        };
        match more {
            Progress::Made => None,
            Progress::NeedsInput if !self.core.out.is_empty() => Some(self.write()),
            Progress::NeedsInput if idle => Some(Step::Idle),
            Progress::NeedsInput => Some(Step::Read),
        }
    }

    fn read_command(&mut self) -> Progress {
        self.activity = Activity::Ready;
        let options = &self.core.options;
        let bounds = match self.core.state {
            State::NotAuthenticated => Bounds {
                command_bytes_max: options.command_before_login_bytes_max,
                append_bytes_max: None,
            },
            _ => Bounds {
                command_bytes_max: options.command_bytes_max,
                append_bytes_max: Some(options.append_bytes_max),
            },
        };
        match self.input.next(bounds) {
            Frame::More => return Progress::NeedsInput,
            Frame::Continue => self.core.out.extend_from_slice(b"+ go ahead\r\n"),
            Frame::Command(bytes, messages) => self.start(&bytes, messages),
            Frame::Piece(bytes, begins) => self.spool(Request::Spool { bytes, begins }),
            Frame::PieceEnd => self.spool(Request::SpoolEnd),
            Frame::Refused { tag, why } => self.refuse_frame(tag, why),
            Frame::Hopeless => self.bye("[TOOBIG] more than this server reads"),
        }
        Progress::Made
    }

    /// Hands on what is too long to hold.
    fn spool(&mut self, request: Request) {
        self.activity = Activity::AskedSpool {
            question: Some(request),
        };
    }

    /// It was kept, or not.
    fn take_spooled(&mut self, answer: Answer) {
        self.activity = Activity::Ready;
        match answer {
            Answer::Done => {}
            Answer::Spooled(handle) => self.input.handed_on(handle),
            _ => self.input.not_kept(),
        }
    }

    fn refuse_frame(&mut self, tag: Option<String>, why: TooMuch) {
        let Some(tag) = tag else {
            self.untagged_bad();
            return;
        };
        self.finish(
            tag,
            match why {
                TooMuch::Command => Outcome::too_big("command too long"),
                TooMuch::Message if matches!(self.core.state, State::NotAuthenticated) => Outcome::bad("log in first"),
                TooMuch::Message => Outcome::no("TOOBIG", "the message is too large"),
                TooMuch::Messages => Outcome::no("LIMIT", "too many messages, or too large together"),
                TooMuch::NotKept => Outcome::refused(Refused::Unavailable),
                TooMuch::Nul => Outcome::bad("NUL in a message that did not come as a literal8"),
            },
        );
    }

    fn start(&mut self, bytes: &[u8], messages: Vec<Bytes>) {
        match grammar::parse(bytes) {
            Ok(command) => {
                self.core.begin(&command);
                let mut work = command::start(&self.core, command.body, messages);
                let next = work.go(&mut self.core, None);
                self.advance(command.tag, work, next);
            }
            Err(unread) => match unread.tag {
                Some(tag) => self.finish(tag, Outcome::unread(&unread.error)),
                None => self.untagged_bad(),
            },
        }
    }

    fn untagged_bad(&mut self) {
        self.core.out.extend_from_slice(b"* BAD this is not IMAP\r\n");
        self.count_error();
    }

    fn read_sasl(&mut self, tag: String, mut work: Box<dyn Work>) -> Progress {
        match self.input.line(self.core.options.command_before_login_bytes_max) {
            Ok(None) => {
                self.activity = Activity::Sasl { tag, work };
                Progress::NeedsInput
            }
            Ok(Some(line)) => {
                let next = work.line(&mut self.core, &line);
                self.advance(tag, work, next);
                Progress::Made
            }
            Err(_) => {
                self.bye("[TOOBIG] line too long");
                Progress::Made
            }
        }
    }

    /// RFC 2177: anything but DONE ends IDLE too, with BAD.
    fn read_done(&mut self, tag: String) -> Progress {
        match self.input.line(DONE_BYTES_MAX) {
            Ok(None) => {
                self.activity = Activity::Idling { tag };
                return Progress::NeedsInput;
            }
            Ok(Some(line)) if line.trim_ascii().eq_ignore_ascii_case(b"DONE") => {
                self.finish(tag, Outcome::ok("IDLE is over"));
            }
            Ok(Some(_)) => self.finish(tag, Outcome::bad("expected DONE")),
            Err(_) => self.bye("expected DONE"),
        }
        Progress::Made
    }

    /// Does what a command wants next.
    fn advance(&mut self, tag: String, work: Box<dyn Work>, next: Next) {
        match next {
            Next::Ask(request) => {
                self.activity = Activity::Asked {
                    tag,
                    work,
                    question: Some(request),
                };
            }
            Next::Continue => self.activity = Activity::Working { tag, work },
            Next::ReadLine => self.activity = Activity::Sasl { tag, work },
            Next::Idle => self.activity = Activity::Idling { tag },
            Next::StartTls => {
                self.write_tagged(&tag, &Outcome::ok("begin TLS now"));
                self.input.clear();
                self.activity = Activity::StartTls;
            }
            Next::Compress => {
                self.write_tagged(&tag, &Outcome::ok("compressed from here on"));
                self.activity = Activity::Compress;
            }
            Next::Logout => {
                self.core.out.extend_from_slice(b"* BYE see you\r\n");
                self.write_tagged(&tag, &Outcome::ok("logged out"));
                self.activity = Activity::Closing;
            }
            Next::Done(outcome) => match self.after.take() {
                Some(then) => self.after_news(then),
                None => self.conclude(tag, outcome),
            },
        }
    }

    fn finish(&mut self, tag: String, mut outcome: Outcome) {
        if outcome.code.as_deref() == Some(command::HIGHEST_MODSEQ) {
            outcome.code = self.highest_modseq();
        }
        if outcome.code.as_deref() == Some(b"PRIVACYREQUIRED") && !self.tls_noted {
            (self.noted, self.tls_noted) = (Some(Noted::TlsRequired), true);
        }
        self.write_tagged(&tag, &outcome);
        self.activity = Activity::Ready;
        if outcome.is_error() {
            self.count_error();
        }
    }

    fn count_error(&mut self) {
        self.errors += 1;
        if self.errors >= self.core.options.errors_max {
            self.noted = Some(Noted::TooManyErrors);
            self.bye("too many errors");
        }
    }

    fn write_tagged(&mut self, tag: &str, outcome: &Outcome) {
        let out = &mut self.core.out;
        out.extend_from_slice(tag.as_bytes());
        out.push(b' ');
        out.extend_from_slice(outcome.status.as_bytes());
        if let Some(code) = &outcome.code {
            out.extend_from_slice(b" [");
            out.extend_from_slice(code);
            out.push(b']');
        }
        out.push(b' ');
        wire::text(out, &outcome.text, self.core.enabled.has(Extension::Imap4rev2));
        let session = &self.core.options.session_id;
        // The driver's own words name it already.
        if outcome.status != "OK" && !outcome.text.contains(session.as_str()) {
            write_session(session, out);
        }
        out.extend_from_slice(b"\r\n");
    }

    fn bye(&mut self, text: &str) {
        self.core.out.extend_from_slice(b"* BYE ");
        self.core.out.extend_from_slice(text.as_bytes());
        write_session(&self.core.options.session_id, &mut self.core.out);
        self.core.out.extend_from_slice(b"\r\n");
        self.activity = Activity::Closing;
    }
}

/// The name by which `explain` and the journal find this session.
fn write_session(session_id: &str, out: &mut Vec<u8>) {
    if !session_id.is_empty() {
        out.extend_from_slice(b" (session ");
        out.extend_from_slice(session_id.as_bytes());
        out.push(b')');
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Made,
    NeedsInput,
}

/// Output is handed over from this size on.
pub(crate) const WRITE_BYTES: usize = 64 * 1024;

/// Longest line accepted where DONE is expected.
const DONE_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests;
