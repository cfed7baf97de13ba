//! One file per family of commands. A command is a small machine of its own: it asks, is answered, writes, and is done.

mod acl;
mod append;
mod auth;
mod connection;
mod copy;
mod enable;
mod fetch;
mod folders;
mod found;
mod idle;
mod list;
mod metadata;
mod normalised;
pub(crate) mod notify;
mod quota;
mod resync;
mod search;
mod select;
mod since;
mod sort;
mod status;
mod store;

use std::borrow::Cow;
use std::fmt;

use super::grammar::SyntaxError;
use super::grammar::tree::{Body, Flag, Name, Numbering, Set};
use super::names;
use super::request::{Answer, Bytes, Flags, Refused, Request};
use super::session::{Core, State};
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
    /// Compression, from the byte on that follows the tagged OK.
    Compress,
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

    pub(crate) fn no_with(code: impl Into<Cow<'static, [u8]>>, text: &'static str) -> Self {
        Self::new("NO", Some(code.into()), text)
    }

    pub(crate) fn bad(text: &'static str) -> Self {
        Self::new("BAD", None, text)
    }

    /// For a command that is none; the text says what was expected and where.
    pub(crate) fn unread(error: &SyntaxError) -> Self {
        Self {
            text: Cow::Owned(error.to_string()),
            ..Self::bad("")
        }
    }

    /// For what is larger than this server reads (RFC 7888 §4).
    pub(crate) fn too_big(text: &'static str) -> Self {
        Self::new("BAD", Some(Cow::Borrowed(b"TOOBIG")), text)
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

    /// RFC 7162 §3.2.7: who removed messages is told up to where its knowledge of the folder now reaches.
    pub(crate) fn with_modseq(mut self) -> Self {
        self.code = Some(Cow::Borrowed(HIGHEST_MODSEQ));
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

/// Begins a command: which ones are possible depends on the state (RFC 9051 §6). `messages` are those of APPEND and REPLACE.
pub(crate) fn start(core: &Core, mut body: Body, messages: Vec<Bytes>) -> Box<dyn Work> {
    names::adopt(&mut body, core.spelling());
    let told = core.sent.clone().and_then(|sent| normalised::Told::of(&body, sent));
    let work = work_of(core, body, messages);
    match told {
        Some(told) => told.after(work),
        None => work,
    }
}

fn work_of(core: &Core, body: Body, mut messages: Vec<Bytes>) -> Box<dyn Work> {
    match body {
        Body::Capability => Box::new(idle::Capability),
        Body::Noop => over(Outcome::ok("done").with_news()),
        Body::Logout => Box::new(Over(Some(Next::Logout))),
        Body::Id(_) => Box::new(idle::Id),
        body => match &core.state {
            State::NotAuthenticated => auth::start(core, body),
            State::Authenticated(_) => authenticated(core, body, messages),
            State::Selected(_, view) => match selected((core, view), body, &mut messages) {
                Ok(work) => work,
                Err(body) => authenticated(core, *body, messages),
            },
        },
    }
}

/// Commands of somebody logged in, on the box and its folders.
fn authenticated(core: &Core, body: Body, messages: Vec<Bytes>) -> Box<dyn Work> {
    match body {
        Body::Select {
            folder,
            read_only,
            parameters,
        } => select::select(core, &folder, read_only, parameters),
        Body::Create { folder, special_uses } => folders::create(&folder, &special_uses),
        Body::Delete(folder) => folders::delete(&folder),
        Body::Rename { from, to } => folders::rename(&from, &to),
        Body::Subscribe(folder) => folders::subscribe(&folder, true),
        Body::Unsubscribe(folder) => folders::subscribe(&folder, false),
        Body::List(list) => list::list(list),
        Body::Lsub { reference, pattern } => list::lsub(&reference, &pattern),
        Body::Status { folder, items } => status::status(&folder, items),
        Body::Append {
            folder,
            messages: heads,
        } => append::append(core, &folder, heads, messages),
        Body::Namespace => Box::new(idle::Namespace),
        Body::Idle => Box::new(idle::Idle),
        Body::Enable(names) => Box::new(enable::Enable(names)),
        Body::Compress { mechanism } => connection::compress(core, &mechanism),
        Body::Unauthenticate => connection::unauthenticate(),
        // One arm for each extension: whoever offers it replaces its own.
        Body::GetQuota { root } => quota::get(&root),
        Body::GetQuotaRoot(folder) => quota::root(&folder),
        Body::SetQuota { root, .. } => quota::set(&root),
        Body::GetAcl(folder) => acl::acl(&folder, acl::Asked::All),
        Body::ListRights { folder, identifier } => acl::acl(&folder, acl::Asked::Grantable(identifier)),
        Body::MyRights(folder) => acl::acl(&folder, acl::Asked::Mine),
        Body::SetAcl { folder, .. } | Body::DeleteAcl { folder, .. } => acl::acl(&folder, acl::Asked::Change),
        Body::GetMetadata {
            folder,
            max_size,
            depth,
            entries,
        } => metadata::get(&folder, entries, (depth, max_size)),
        Body::SetMetadata { folder, entries } => metadata::set(&folder, entries),
        Body::Notify(asked) => notify::notify(asked),
        Body::Authenticate { .. } | Body::Login { .. } | Body::StartTls => over(Outcome::bad("already logged in")),
        _ => over(Outcome::bad("select a folder first")),
    }
}

/// Commands on the messages of the selected folder. `Err`: the command is none of them.
fn selected((core, view): (&Core, &View), body: Body, messages: &mut Vec<Bytes>) -> Result<Box<dyn Work>, Box<Body>> {
    Ok(match body {
        Body::Check => over(Outcome::ok("checked").with_news()),
        Body::Close => select::close(view),
        Body::Unselect => select::unselect(),
        Body::Expunge(set) => copy::expunge(view, set.as_ref()),
        Body::Search(asked) => search::search(core, view, asked),
        Body::Fetch(asked) => fetch::fetch(core, view, asked),
        Body::Store(asked) => store::store(view, &asked),
        Body::Copy { numbering, set, to } => copy::copy(view, &set, &to, numbering),
        Body::Move { numbering, set, to } => copy::move_to(view, &set, &to, numbering),
        Body::Replace {
            numbering,
            message,
            folder,
            head,
        } => append::replace(
            (core, view),
            (message, numbering),
            &folder,
            (head, std::mem::take(messages)),
        ),
        // One arm for each extension, as above.
        Body::Sort { criteria, search } => sort::sort(view, criteria, search),
        Body::Thread { algorithm, search } => sort::thread(view, &algorithm, search),
        other => return Err(Box::new(other)),
    })
}

fn read_only() -> Outcome {
    Outcome::no("CANNOT", "the folder was opened read-only")
}

/// Positions in the view that a set names.
fn positions(view: &View, set: &Set, numbering: Numbering) -> Result<Vec<usize>, Outcome> {
    let set = match set {
        Set::Ranges(set) => set,
        // RFC 5182 §2.1: those that are gone since are not in it any more.
        Set::Saved => return Ok(view.saved.iter().filter_map(|&uid| view.position(uid)).collect()),
    };
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

/// The name of a folder.
fn folder_name(name: &Name) -> Result<String, Outcome> {
    names::of(name).map_err(|_| Outcome::no("CANNOT", "not a folder name"))
}

/// Flags of a command; unknown system flags cannot be kept (RFC 3501 §2.3.2).
fn flags_of(flags: &[Flag]) -> Result<Flags, Outcome> {
    let mut found = Flags::default();
    for flag in flags {
        match flag {
            Flag::System(bit) => found.system |= bit,
            Flag::Recent | Flag::Unknown(_) => return Err(Outcome::bad("unknown system flag")),
            Flag::Keyword(keyword) if keyword.len() > KEYWORD_BYTES_MAX || found.keywords.len() >= KEYWORDS_MAX => {
                return Err(Outcome::no("LIMIT", "keyword too long, or too many of them"));
            }
            Flag::Keyword(keyword) => {
                if !found.has_keyword(keyword) {
                    found.keywords.insert(keyword.clone());
                }
            }
        }
    }
    Ok(found)
}

/// The response code that is given its number when the command is over.
pub(crate) const HIGHEST_MODSEQ: &[u8] = b"HIGHESTMODSEQ";

/// Longest keyword.
const KEYWORD_BYTES_MAX: usize = 100;

/// Most keywords in one command.
const KEYWORDS_MAX: usize = 64;
