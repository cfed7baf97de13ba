//! What SEARCH keys mean for one message (RFC 3501 §6.4.4): pure, and lazy about bytes.

use std::cell::OnceCell;

use jiff::civil::Date;
use jiff::tz::Offset;
use mail_parser::parsers::MessageStream;
use mail_parser::{HeaderValue, Message, MessageParser, PartType};

use super::grammar::tree::{SearchKey, Set, When};
use super::mime::header;
use super::request::{Entry, Flags, What};
use super::view::{View, ranges};

/// Why a search cannot be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SearchError {
    /// A text is not UTF-8.
    NotUtf8,
    /// A key of an extension that is not offered.
    Unknown,
}

/// A search, ready to be asked of each message.
#[derive(Debug)]
pub(crate) struct Program {
    key: Key,
    needs: What,
}

/// What is known of a message after one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evaluated {
    Yes,
    No,
    /// Flags, dates and sizes do not decide.
    NeedsBytes,
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
    Sent(When, Date),
    Header(String, Needle),
    Body(Needle),
    Text(Needle),
}

impl When {
    /// Whether a date lies so to the limit.
    fn holds(self, date: Date, limit: Date) -> bool {
        match self {
            Self::Before => date < limit,
            Self::On => date == limit,
            Self::Since => date >= limit,
        }
    }
}

/// A text to be found without regard to case.
#[derive(Debug)]
struct Needle {
    folded: String,
}

impl Needle {
    fn new(text: &[u8]) -> Result<Self, SearchError> {
        let text = std::str::from_utf8(text).map_err(|_| SearchError::NotUtf8)?;
        Ok(Self {
            folded: text.to_lowercase(),
        })
    }

    fn is_in(&self, text: &str) -> bool {
        if self.folded.is_empty() {
            return true;
        }
        if self.folded.is_ascii() {
            let (wanted, text) = (self.folded.as_bytes(), text.as_bytes());
            let (low, high) = (wanted[0], wanted[0].to_ascii_uppercase());
            return text.len() >= wanted.len()
                && (0..=text.len() - wanted.len()).any(|at| {
                    (text[at] == low || text[at] == high) && text[at..at + wanted.len()].eq_ignore_ascii_case(wanted)
                });
        }
        text.to_lowercase().contains(&self.folded)
    }
}

/// A message under examination.
pub(crate) struct Subject<'a> {
    number: u32,
    entry: &'a Entry,
    is_recent: bool,
    bytes: Option<&'a [u8]>,
    parsed: OnceCell<Option<Message<'a>>>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(view: &'a View, at: usize, bytes: Option<&'a Vec<u8>>) -> Self {
        let entry = &view.entries()[at];
        Self {
            number: u32::try_from(at + 1).unwrap_or(u32::MAX),
            entry,
            is_recent: view.is_recent(entry.uid),
            bytes: bytes.map(Vec::as_slice),
            parsed: OnceCell::new(),
        }
    }

    fn parsed(&self) -> Option<&Message<'a>> {
        self.parsed
            .get_or_init(|| self.bytes.and_then(|bytes| MessageParser::default().parse(bytes)))
            .as_ref()
    }
}

impl Program {
    /// Prepares a search; `largest` are the number and the UID that `*` stands for.
    pub(crate) fn new(key: &SearchKey, largest: (u32, u32)) -> Result<Self, SearchError> {
        let key = Key::new(key, largest)?;
        let needs = key.needs();
        Ok(Self { key, needs })
    }

    /// What to load for messages that need bytes.
    pub(crate) fn needs(&self) -> What {
        self.needs
    }

    pub(crate) fn evaluate(&self, subject: &Subject<'_>) -> Evaluated {
        match self.key.holds(subject) {
            Some(true) => Evaluated::Yes,
            Some(false) => Evaluated::No,
            None => Evaluated::NeedsBytes,
        }
    }
}

impl Key {
    fn new(key: &SearchKey, largest: (u32, u32)) -> Result<Self, SearchError> {
        use SearchKey as S;
        let not = |key: Self| Self::Not(Box::new(key));
        Ok(match key {
            S::And(keys) => Self::All(keys.iter().map(|k| Self::new(k, largest)).collect::<Result<_, _>>()?),
            S::Or(a, b) => Self::Any(Box::new((Self::new(a, largest)?, Self::new(b, largest)?))),
            S::Not(key) => not(Self::new(key, largest)?),
            S::Numbers(Set::Ranges(set)) => Self::Numbers(ranges(set, largest.0)),
            S::Uids(Set::Ranges(set)) => Self::Uids(ranges(set, largest.1)),
            S::System(bit) => Self::System(*bit),
            S::Keyword(keyword) => Self::Keyword(keyword.clone()),
            S::New => Self::All(vec![Self::Recent, not(Self::System(Flags::SEEN))]),
            S::Old => not(Self::Recent),
            S::Recent => Self::Recent,
            S::Larger(bytes) => Self::Larger(*bytes),
            S::Smaller(bytes) => Self::Smaller(*bytes),
            S::Internal(when, date) => Self::Internal(*when, *date),
            S::Sent(when, date) => Self::Sent(*when, *date),
            S::Header(name, text) => {
                let name = std::str::from_utf8(name).map_err(|_| SearchError::NotUtf8)?;
                Self::Header(name.to_owned(), Needle::new(text)?)
            }
            S::Body(text) => Self::Body(Needle::new(text)?),
            S::Text(text) => Self::Text(Needle::new(text)?),
            S::Numbers(Set::Saved)
            | S::Uids(Set::Saved)
            | S::Saved(..)
            | S::SaveDateSupported
            | S::Older(_)
            | S::Younger(_)
            | S::Modseq(_)
            | S::EmailId(_)
            | S::ThreadId(_) => return Err(SearchError::Unknown),
        })
    }

    fn needs(&self) -> What {
        match self {
            Self::All(keys) => keys.iter().map(Self::needs).max().unwrap_or(What::Header),
            Self::Any(keys) => keys.0.needs().max(keys.1.needs()),
            Self::Not(key) => key.needs(),
            Self::Body(_) | Self::Text(_) => What::Content,
            _ => What::Header,
        }
    }

    /// Whether it holds; `None`: that depends on bytes that are not there.
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
            Self::Numbers(ranges) => in_ranges(ranges, subject.number),
            Self::Uids(ranges) => in_ranges(ranges, entry.uid),
            Self::System(bit) => entry.flags.system & bit != 0,
            Self::Keyword(keyword) => entry.flags.has_keyword(keyword),
            Self::Recent => subject.is_recent,
            Self::Larger(bytes) => entry.size_bytes > *bytes,
            Self::Smaller(bytes) => entry.size_bytes < *bytes,
            // RFC 3501 §6.4.4: dates are compared without regard to time and zone.
            Self::Internal(when, date) => when.holds(Offset::UTC.to_datetime(entry.internal_date).date(), *date),
            Self::Sent(when, date) => sent_date(subject.bytes?).is_some_and(|sent| when.holds(sent, *date)),
            Self::Header(name, needle) => header_holds(subject.bytes?, name, needle),
            Self::Body(needle) => {
                subject.bytes?;
                body_holds(subject.parsed(), needle)
            }
            Self::Text(needle) => {
                let bytes = subject.bytes?;
                any_header_holds(bytes, needle) || body_holds(subject.parsed(), needle)
            }
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

/// The civil date of the Date field, in the zone it names.
fn sent_date(bytes: &[u8]) -> Option<Date> {
    let mut value = header::value_of(bytes, "Date")?.into_owned();
    value.push(b'\n');
    match MessageStream::new(&value).parse_date() {
        HeaderValue::DateTime(found) => {
            let year = i16::try_from(found.year).ok()?;
            Date::new(year, i8::try_from(found.month).ok()?, i8::try_from(found.day).ok()?).ok()
        }
        _ => None,
    }
}

/// RFC 3501 §6.4.4: an empty text asks whether the field is there.
fn header_holds(bytes: &[u8], name: &str, needle: &Needle) -> bool {
    header::fields(bytes)
        .filter(|f| f.name.eq_ignore_ascii_case(name.as_bytes()))
        .any(|f| needle.is_in(&decoded(f.value)))
}

fn any_header_holds(bytes: &[u8], needle: &Needle) -> bool {
    header::fields(bytes).any(|f| {
        let name = String::from_utf8_lossy(f.name);
        needle.is_in(&format!("{name}: {}", decoded(f.value)))
    })
}

/// A field's value as people read it: unfolded, encoded words decoded.
fn decoded(value: &[u8]) -> String {
    let line = header::unfold(value);
    let plain = !line.windows(2).any(|w| w == b"=?");
    if plain {
        return String::from_utf8_lossy(&line).into_owned();
    }
    let mut line = line.into_owned();
    line.push(b'\n');
    match MessageStream::new(&line).parse_unstructured() {
        HeaderValue::Text(text) => text.into_owned(),
        _ => String::new(),
    }
}

fn body_holds(message: Option<&Message<'_>>, needle: &Needle) -> bool {
    message.is_some_and(|message| {
        message.parts.iter().any(|part| match &part.body {
            PartType::Text(text) | PartType::Html(text) => needle.is_in(text),
            PartType::Message(inner) => any_header_holds(&inner.raw_message, needle) || body_holds(Some(inner), needle),
            PartType::Binary(_) | PartType::InlineBinary(_) | PartType::Multipart(_) => false,
        })
    })
}
