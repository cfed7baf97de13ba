//! One file per family of commands. A command is a small machine of its own: it asks, is answered, writes, and is done.

mod append;
mod auth;
mod copy;
mod fetch;
mod folders;
mod idle;
mod search;
mod select;
mod store;

use std::borrow::Cow;
use std::fmt;

use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::flag::Flag;
use imap_codec::imap_types::mailbox::Mailbox;
use imap_codec::imap_types::sequence::SequenceSet;

use super::request::{Answer, Flags, Refused, Request};
use super::session::{Core, State};
use super::utf7;
use super::view::{Telling, View};

/// A command in progress.
pub(crate) trait Work: Send {
    /// Goes on; `answer` is the one to the question asked last.
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next;

    /// Takes a line, after [`Next::ReadLine`].
    fn line(&mut self, _core: &mut Core, _line: &[u8]) -> Next {
        Next::Done(Outcome::bad("unexpected line"))
    }
}

impl fmt::Debug for dyn Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Commands hold passwords and message text.
        f.write_str("Work")
    }
}

/// What a command wants next.
#[derive(Debug)]
pub(crate) enum Next {
    /// An answer.
    Ask(Request),
    /// To go on once what it wrote is on its way.
    Continue,
    /// A line from the client.
    ReadLine,
    /// To wait for DONE or news.
    Idle,
    /// TLS.
    StartTls,
    /// The end of the session.
    Logout,
    /// Nothing any more.
    Done(Outcome),
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: &'static str,
    /// Response code, without its brackets.
    pub(crate) code: Option<Cow<'static, [u8]>>,
    pub(crate) text: Cow<'static, str>,
    /// What may be told before the tagged response.
    pub(crate) telling: Telling,
    news: News,
}

/// Whether a command brings news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// When it is known that there are some.
    WhenStale,
    /// Always.
    Always,
}

impl Outcome {
    fn new(status: &'static str, code: Option<Cow<'static, [u8]>>, text: &'static str) -> Self {
        Self {
            status,
            code,
            text: Cow::Borrowed(text),
            telling: Telling::All,
            news: News::WhenStale,
        }
    }

    pub(crate) fn ok(text: &'static str) -> Self {
        Self::new("OK", None, text)
    }

    pub(crate) fn ok_with(code: impl Into<Cow<'static, [u8]>>, text: &'static str) -> Self {
        Self::new("OK", Some(code.into()), text)
    }

    pub(crate) fn no(code: &'static str, text: &'static str) -> Self {
        Self::new("NO", Some(Cow::Borrowed(code.as_bytes())), text)
    }

    pub(crate) fn bad(text: &'static str) -> Self {
        Self::new("BAD", None, text)
    }

    pub(crate) fn refused(refused: Refused) -> Self {
        let (code, text) = refused.describe();
        Self::no(code, text)
    }

    /// The same, in the driver's own words.
    pub(crate) fn explained(refused: Refused, text: String) -> Self {
        Self {
            text: Cow::Owned(text),
            ..Self::refused(refused)
        }
    }

    /// For an answer that is not the one asked for.
    pub(crate) fn unexpected(answer: Answer) -> Self {
        Self::refused(match answer {
            Answer::Refused(refused) => refused,
            _ => Refused::Defect,
        })
    }

    /// The same where the folder is a destination (RFC 3501 §6.3.11).
    pub(crate) fn no_destination(answer: Answer) -> Self {
        match answer {
            Answer::Refused(Refused::NoSuchFolder) => Self::no("TRYCREATE", "no such folder"),
            other => Self::unexpected(other),
        }
    }

    /// RFC 3501 §7.4.1: no EXPUNGE before this tagged response.
    pub(crate) fn keeping_numbers(mut self) -> Self {
        self.telling = Telling::KeepNumbers;
        self
    }

    /// RFC 3501 §6.1.2, §6.4.1: the command exists to bring news.
    pub(crate) fn with_news(mut self) -> Self {
        self.news = News::Always;
        self
    }

    pub(crate) fn asks_news(&self) -> bool {
        self.news == News::Always
    }

    /// Whether it counts against the client.
    pub(crate) fn is_error(&self) -> bool {
        let login_failed = matches!(
            self.code.as_deref(),
            Some(b"AUTHENTICATIONFAILED" | b"AUTHORIZATIONFAILED")
        );
        self.status == "BAD" || login_failed
    }
}

/// A command that is over at once.
struct Over(Option<Next>);

impl Work for Over {
    fn go(&mut self, _core: &mut Core, _answer: Option<Answer>) -> Next {
        self.0
            .take()
            .unwrap_or_else(|| Next::Done(Outcome::refused(Refused::Defect)))
    }
}

/// A command that ends at once.
fn over(outcome: Outcome) -> Box<dyn Work> {
    Box::new(Over(Some(Next::Done(outcome))))
}

/// A command of one question.
struct Once<F> {
    request: Option<Request>,
    finish: Option<F>,
}

impl<F: FnOnce(&mut Core, Answer) -> Outcome + Send> Work for Once<F> {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        match (answer, self.request.take(), self.finish.take()) {
            (None, Some(request), finish) => {
                self.finish = finish;
                Next::Ask(request)
            }
            (Some(answer), _, Some(finish)) => Next::Done(finish(core, answer)),
            _ => Next::Done(Outcome::refused(Refused::Defect)),
        }
    }
}

/// Asks once, then ends as `finish` says.
fn once<F: FnOnce(&mut Core, Answer) -> Outcome + Send + 'static>(request: Request, finish: F) -> Box<dyn Work> {
    Box::new(Once {
        request: Some(request),
        finish: Some(finish),
    })
}

/// Begins a command: which ones are possible depends on the state (RFC 3501 §6).
pub(crate) fn start(core: &Core, body: CommandBody<'_>, message: Option<Vec<u8>>) -> Box<dyn Work> {
    match body {
        CommandBody::Capability => Box::new(idle::Capability),
        CommandBody::Noop => over(Outcome::ok("done").with_news()),
        CommandBody::Logout => Box::new(Over(Some(Next::Logout))),
        CommandBody::Id { .. } => Box::new(idle::Id),
        body => match &core.state {
            State::NotAuthenticated => auth::start(core, body),
            State::Authenticated(_) => authenticated(core, body, message)
                .unwrap_or_else(|| over(Outcome::bad("unknown command, or not in this state"))),
            State::Selected(_, view) => selected(view, &body)
                .or_else(|| authenticated(core, body, message))
                .unwrap_or_else(|| over(Outcome::bad("unknown command, or not in this state"))),
        },
    }
}

fn authenticated(core: &Core, body: CommandBody<'_>, message: Option<Vec<u8>>) -> Option<Box<dyn Work>> {
    use imap_codec::imap_types::command::CommandBody as C;
    Some(match body {
        C::Select { mailbox, parameters } if parameters.is_empty() => {
            select::select(core, &mailbox, select::Access::ReadWrite)
        }
        C::Examine { mailbox, parameters } if parameters.is_empty() => {
            select::select(core, &mailbox, select::Access::ReadOnly)
        }
        C::Create { mailbox } => folders::create(&mailbox),
        C::Delete { mailbox } => folders::delete(&mailbox),
        C::Rename { from, to } => folders::rename(&from, &to),
        C::Subscribe { mailbox } => folders::subscribe(&mailbox, true),
        C::Unsubscribe { mailbox } => folders::subscribe(&mailbox, false),
        C::List {
            reference,
            mailbox_wildcard,
        } => folders::list(&reference, &mailbox_wildcard, folders::Which::All),
        C::Lsub {
            reference,
            mailbox_wildcard,
        } => folders::list(&reference, &mailbox_wildcard, folders::Which::Subscribed),
        C::Status { mailbox, item_names } => folders::status(&mailbox, &item_names),
        C::Append {
            mailbox, flags, date, ..
        } => append::append(&mailbox, &flags, date.as_ref(), message?),
        C::Namespace => Box::new(idle::Namespace),
        C::Idle => Box::new(idle::Idle),
        _ => return None,
    })
}

fn selected(view: &View, body: &CommandBody<'_>) -> Option<Box<dyn Work>> {
    use imap_codec::imap_types::command::CommandBody as C;
    Some(match body {
        C::Check => over(Outcome::ok("checked").with_news()),
        C::Close => select::close(view),
        C::Unselect => select::unselect(),
        C::Expunge => copy::expunge(view, None),
        C::ExpungeUid { sequence_set } => copy::expunge(view, Some(sequence_set)),
        C::Search { charset, criteria, uid } => {
            search::search(view, charset.as_ref(), criteria.as_ref(), numbering(*uid))
        }
        C::Fetch {
            sequence_set,
            macro_or_item_names,
            uid,
            modifiers,
        } if modifiers.is_empty() => fetch::fetch(view, sequence_set, macro_or_item_names, numbering(*uid)),
        C::Store {
            sequence_set,
            kind,
            response,
            flags,
            uid,
            modifiers,
        } if modifiers.is_empty() => {
            let change = store::Change::new(*kind, *response, flags);
            store::store(view, sequence_set, change, numbering(*uid))
        }
        C::Copy {
            sequence_set,
            mailbox,
            uid,
        } => copy::copy(view, sequence_set, mailbox, numbering(*uid)),
        C::Move {
            sequence_set,
            mailbox,
            uid,
        } => copy::move_to(view, sequence_set, mailbox, numbering(*uid)),
        _ => return None,
    })
}

/// Whether a command names messages by sequence number or by UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbering {
    Sequence,
    Uid,
}

fn numbering(uid: bool) -> Numbering {
    if uid { Numbering::Uid } else { Numbering::Sequence }
}

/// Positions in the view that a set names.
fn positions(view: &View, set: &SequenceSet, numbering: Numbering) -> Result<Vec<usize>, Outcome> {
    match numbering {
        Numbering::Uid => Ok(view.by_uid(set)),
        Numbering::Sequence => view
            .by_number(set)
            .map_err(|_| Outcome::bad("there is no message of that number").keeping_numbers()),
    }
}

/// UIDs at these positions.
fn uids(view: &View, positions: &[usize]) -> Vec<u32> {
    positions
        .iter()
        .filter_map(|&at| view.entries().get(at))
        .map(|e| e.uid)
        .collect()
}

/// The outcome that suits the way of numbering: only UID commands may tell EXPUNGE (RFC 3501 §7.4.1).
fn told(outcome: Outcome, numbering: Numbering) -> Outcome {
    match numbering {
        Numbering::Uid => outcome,
        Numbering::Sequence => outcome.keeping_numbers(),
    }
}

/// The name of a folder; a trailing separator is dropped (RFC 3501 §6.3.3).
fn folder_name(mailbox: &Mailbox<'_>) -> Result<String, Outcome> {
    let wire = match mailbox {
        Mailbox::Inbox => return Ok(INBOX.into()),
        Mailbox::Other(other) => other.as_ref(),
    };
    let name = utf7::decode(wire).map_err(|_| Outcome::no("CANNOT", "not a folder name"))?;
    let name = name.strip_suffix('/').unwrap_or(&name);
    let levels_good = name.split('/').all(|level| !level.is_empty());
    if name.is_empty() || !levels_good || name.len() > NAME_BYTES_MAX || name.contains(['*', '%']) {
        return Err(Outcome::no("CANNOT", "not a folder name"));
    }
    Ok(canonical(name))
}

/// `INBOX` in capitals, as the first level too.
fn canonical(name: &str) -> String {
    match name.split_once('/') {
        None if name.eq_ignore_ascii_case(INBOX) => INBOX.into(),
        Some((first, rest)) if first.eq_ignore_ascii_case(INBOX) => format!("{INBOX}/{rest}"),
        _ => name.to_owned(),
    }
}

/// Flags of a command; unknown system flags cannot be kept (RFC 3501 §2.3.2).
fn flags_of(flags: &[Flag<'_>]) -> Result<Flags, Outcome> {
    let mut found = Flags::default();
    for flag in flags {
        match flag {
            Flag::Answered => found.system |= Flags::ANSWERED,
            Flag::Deleted => found.system |= Flags::DELETED,
            Flag::Draft => found.system |= Flags::DRAFT,
            Flag::Flagged => found.system |= Flags::FLAGGED,
            Flag::Seen => found.system |= Flags::SEEN,
            Flag::Extension(_) => return Err(Outcome::bad("unknown system flag")),
            Flag::Keyword(atom) if atom.inner().len() > KEYWORD_BYTES_MAX || found.keywords.len() >= KEYWORDS_MAX => {
                return Err(Outcome::no("LIMIT", "keyword too long, or too many of them"));
            }
            Flag::Keyword(atom) => {
                if !found.has_keyword(atom.inner()) {
                    found.keywords.insert(atom.inner().to_owned());
                }
            }
        }
    }
    Ok(found)
}

/// The folder that always exists.
const INBOX: &str = "INBOX";

/// Longest folder name.
const NAME_BYTES_MAX: usize = 1000;

/// Longest keyword.
const KEYWORD_BYTES_MAX: usize = 100;

/// Most keywords in one command.
const KEYWORDS_MAX: usize = 64;
