//! What SEARCH keys mean for one message (RFC 9051 §6.4.4): pure, and decided by as little as possible: first what the view knows, then facts of
//! the header, then texts.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;

use super::facts::Facts;
use super::grammar::tree::{SearchKey, Set, When};
use super::request::{Entry, Flags, MessageHandle};
use super::text::TextKey;
use super::view::{View, ranges};

/// Why a search cannot be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SearchError {
    /// A text is not UTF-8.
    NotUtf8,
}

/// A search, ready to be asked of each message.
#[derive(Debug)]
pub(crate) struct Program {
    key: Key,
    texts: Vec<Arc<TextKey>>,
    needs: Needs,
}

/// What a search has to know beside the view and the texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs(u8);

impl Needs {
    /// When it is.
    pub(crate) const NOW: Self = Self(1);
    /// When messages were sent.
    pub(crate) const SENT: Self = Self(2);
    /// A modification sequence is asked for, so the client understands them (RFC 7162 §3.1.5).
    pub(crate) const MODSEQ: Self = Self(4);
    /// That a message does not have a text.
    const NO_TEXT: Self = Self(8);

    /// Whether that is needed.
    pub(crate) fn has(self, need: Self) -> bool {
        self.0 & need.0 != 0
    }

    fn add(&mut self, need: Self) {
        self.0 |= need.0;
    }
}

/// The civil date on which a message was sent, as far as it was looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SentOn {
    /// It was not looked up.
    #[default]
    Unknown,
    /// Its Date field says so; `None`: it has none.
    Known(Option<Date>),
}

/// What is known of a message beside its entry.
#[derive(Clone, Copy, Default)]
pub(crate) struct Known<'a> {
    /// When it is.
    pub(crate) now: Option<Timestamp>,
    /// When it was sent.
    pub(crate) sent: SentOn,
    /// Which of [`Program::texts`] it holds, once that was looked up.
    pub(crate) texts: Option<&'a [bool]>,
}

#[derive(Debug)]
enum Key {
    All(Vec<Self>),
    Any(Box<(Self, Self)>),
    Not(Box<Self>),
    Numbers(Vec<(u32, u32)>),
    Uids(Vec<(u32, u32)>),
    System(u8),
    Keyword(String),
    Recent,
    Larger(u64),
    Smaller(u64),
    Internal(When, Date),
    Saved(When, Date),
    Sent(When, Date),
    /// Came so many seconds ago or earlier.
    Older(u32),
    Modseq(u64),
    Email(String),
    Text(usize),
    Never,
}

impl When {
    fn holds(self, date: Date, limit: Date) -> bool {
        match self {
            Self::Before => date < limit,
            Self::On => date == limit,
            Self::Since => date >= limit,
        }
    }
}

impl Program {
    /// Prepares a search of the messages in a view.
    pub(crate) fn new(key: &SearchKey, view: &View) -> Result<Self, SearchError> {
        let mut builder = Builder {
            largest: (
                u32::try_from(view.entries().len()).unwrap_or(u32::MAX),
                view.entries().last().map_or(0, |entry| entry.uid),
            ),
            saved: &view.saved,
            texts: Vec::new(),
            needs: Needs::default(),
        };
        let key = builder.key(key)?;
        Ok(Self {
            key,
            texts: builder.texts,
            needs: builder.needs,
        })
    }

    /// The texts that it looks for.
    pub(crate) fn texts(&self) -> &[Arc<TextKey>] {
        &self.texts
    }

    /// What it has to know.
    pub(crate) fn needs(&self) -> Needs {
        self.needs
    }

    /// Whether the view alone may leave messages open.
    pub(crate) fn asks(&self) -> bool {
        !self.texts.is_empty() || self.needs.has(Needs::SENT)
    }

    /// Whether a message that has none of the texts may be found though the rest leaves it open: one of them stands below NOT.
    pub(crate) fn denies_texts(&self) -> bool {
        self.needs.has(Needs::NO_TEXT)
    }

    /// Whether it finds the message at a position of the view; `None`: that depends on what is not known.
    pub(crate) fn finds(&self, view: &View, at: usize, known: Known<'_>) -> Option<bool> {
        self.decides(view, (at, view.entries().get(at)?), known)
    }

    /// The same for an entry that is at hand.
    pub(crate) fn decides(&self, view: &View, (at, entry): (usize, &Entry), known: Known<'_>) -> Option<bool> {
        self.key.holds(&Subject { view, at, entry, known })
    }
}

/// A message under examination.
struct Subject<'a> {
    view: &'a View,
    at: usize,
    entry: &'a Entry,
    known: Known<'a>,
}

struct Builder<'a> {
    /// The number and the UID that `*` stands for.
    largest: (u32, u32),
    /// UIDs that `$` stands for.
    saved: &'a [u32],
    texts: Vec<Arc<TextKey>>,
    needs: Needs,
}

impl Builder<'_> {
    fn key(&mut self, key: &SearchKey) -> Result<Key, SearchError> {
        use SearchKey as S;
        let not = |key| Key::Not(Box::new(key));
        Ok(match key {
            S::And(keys) => Key::All(keys.iter().map(|key| self.key(key)).collect::<Result<_, _>>()?),
            S::Or(a, b) => Key::Any(Box::new((self.key(a)?, self.key(b)?))),
            S::Not(key) => {
                let before = self.texts.len();
                let key = self.key(key)?;
                if self.texts.len() > before {
                    self.needs.add(Needs::NO_TEXT);
                }
                not(key)
            }
            S::Numbers(Set::Ranges(set)) => Key::Numbers(ranges(set, self.largest.0)),
            S::Uids(Set::Ranges(set)) => Key::Uids(ranges(set, self.largest.1)),
            S::Numbers(Set::Saved) | S::Uids(Set::Saved) => {
                Key::Uids(self.saved.iter().map(|&uid| (uid, uid)).collect())
            }
            S::System(bit) => Key::System(*bit),
            S::Keyword(keyword) => Key::Keyword(keyword.clone()),
            S::New => Key::All(vec![Key::Recent, not(Key::System(Flags::SEEN))]),
            S::Old => not(Key::Recent),
            S::Recent => Key::Recent,
            S::Larger(bytes) => Key::Larger(*bytes),
            S::Smaller(bytes) => Key::Smaller(*bytes),
            S::Internal(when, date) => Key::Internal(*when, *date),
            S::Saved(when, date) => Key::Saved(*when, *date),
            S::SaveDateSupported => Key::All(Vec::new()),
            S::Sent(when, date) => {
                self.needs.add(Needs::SENT);
                Key::Sent(*when, *date)
            }
            S::Older(seconds) => {
                self.needs.add(Needs::NOW);
                Key::Older(*seconds)
            }
            S::Younger(seconds) => {
                self.needs.add(Needs::NOW);
                // RFC 5032 §3: a message of exactly that age is younger, and older too.
                not(Key::Older(seconds.saturating_add(1)))
            }
            S::Modseq(modseq) => {
                self.needs.add(Needs::MODSEQ);
                Key::Modseq(*modseq)
            }
            S::EmailId(id) => Key::Email(id.clone()),
            // RFC 8474 §5.2: THREADID is NIL here, so no message has one.
            S::ThreadId(_) => Key::Never,
            S::Header(name, text) => self.text(TextKey::header(name, text))?,
            S::Body(text) => self.text(TextKey::body(text))?,
            S::Text(text) => self.text(TextKey::text(text))?,
        })
    }

    fn text(&mut self, key: Option<TextKey>) -> Result<Key, SearchError> {
        let key = key.ok_or(SearchError::NotUtf8)?;
        if key.is_always() {
            return Ok(Key::All(Vec::new()));
        }
        self.texts.push(Arc::new(key));
        Ok(Key::Text(self.texts.len() - 1))
    }
}

impl Key {
    /// Whether it holds; `None`: that depends on what is not known.
    fn holds(&self, subject: &Subject<'_>) -> Option<bool> {
        let entry = subject.entry;
        Some(match self {
            Self::All(keys) => return all(keys, subject),
            Self::Any(keys) => match (keys.0.holds(subject), keys.1.holds(subject)) {
                (Some(true), _) | (_, Some(true)) => true,
                (Some(false), Some(false)) => false,
                _ => return None,
            },
            Self::Not(key) => !key.holds(subject)?,
            Self::Numbers(ranges) => in_ranges(ranges, u32::try_from(subject.at + 1).unwrap_or(u32::MAX)),
            Self::Uids(ranges) => in_ranges(ranges, entry.uid),
            Self::System(bit) => entry.flags.system & bit != 0,
            Self::Keyword(keyword) => entry.flags.has_keyword(keyword),
            Self::Recent => subject.view.is_recent(entry.uid),
            Self::Larger(bytes) => entry.size_bytes > *bytes,
            Self::Smaller(bytes) => entry.size_bytes < *bytes,
            // RFC 9051 §6.4.4: dates are compared without regard to time and zone.
            Self::Internal(when, date) => when.holds(Offset::UTC.to_datetime(entry.internal_date).date(), *date),
            // RFC 8514 §4.3
            Self::Saved(when, date) => when.holds(Offset::UTC.to_datetime(entry.saved).date(), *date),
            Self::Sent(when, date) => match subject.known.sent {
                SentOn::Unknown => return None,
                SentOn::Known(sent) => sent.is_some_and(|sent| when.holds(sent, *date)),
            },
            Self::Older(seconds) => {
                let age = subject.known.now?.as_second() - entry.internal_date.as_second();
                age >= i64::from(*seconds)
            }
            Self::Modseq(modseq) => entry.modseq >= *modseq,
            Self::Email(id) => email_id(entry.message) == *id,
            Self::Text(at) => *subject.known.texts?.get(*at)?,
            Self::Never => false,
        })
    }
}

fn all(keys: &[Key], subject: &Subject<'_>) -> Option<bool> {
    let mut sure = true;
    for key in keys {
        match key.holds(subject) {
            Some(false) => return Some(false),
            Some(true) => {}
            None => sure = false,
        }
    }
    sure.then_some(true)
}

fn in_ranges(ranges: &[(u32, u32)], number: u32) -> bool {
    let after = ranges.partition_point(|&(from, _)| from <= number);
    after > 0 && ranges[after - 1].1 >= number
}

/// EMAILID (RFC 8474 §5.1).
fn email_id(message: MessageHandle) -> String {
    format!("M{}", message.0)
}

/// The civil date of the Date field, as SENT keys compare it.
pub(crate) fn sent_day(facts: Option<&Facts>) -> Option<Date> {
    facts.and_then(|facts| facts.sent_day)
}
