//! What SORT and THREAD compare (RFC 5256), and the SENT keys of SEARCH: read once from a header, kept beside the search index.

use jiff::civil::Date;
use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;
use serde::{Deserialize, Serialize};

use super::mime::address::{self, Mailbox};
use super::mime::header::{self, Block, Name};
use super::subject::base_subject;
use super::text::{decode, folded_text};

/// What sorting and threading compare of one message; texts are folded (`i;unicode-casemap`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The Date field in Unix seconds; `None`: missing or unreadable.
    pub(crate) sent: Option<i64>,
    /// The civil date of the Date field in its own zone.
    pub(crate) sent_day: Option<Date>,
    /// Mailbox of the first From address; empty when there is none.
    pub(crate) from: String,
    /// Of To.
    pub(crate) to: String,
    /// Of Cc.
    pub(crate) cc: String,
    /// What is shown of the first From address (RFC 5957 §3).
    pub(crate) display_from: String,
    /// Of To.
    pub(crate) display_to: String,
    /// Base subject.
    pub(crate) subject: String,
    /// Whether the subject is that of a reply or a forward.
    pub(crate) is_reply: bool,
    /// Message-ID, normalised; empty when there is none.
    pub(crate) id: String,
    /// The messages it refers to, the oldest first.
    pub(crate) references: Vec<String>,
}

impl Facts {
    /// Reads them from a message, or from its header block.
    pub fn of(message: &[u8]) -> Self {
        let block = Block::of(&message[..header::block_length(message)]);
        let value = |name| block.value(name).unwrap_or_default();
        let [from, to, cc] = [Name::From, Name::To, Name::Cc].map(value);
        let [from, to, cc] = [&from, &to, &cc].map(|value| address::list(value).into_iter().next());
        let subject = base_subject(&decode::words(&value(Name::Subject)));
        let (sent, sent_day) = sent(&value(Name::Date));
        let mut references = ids(&value(Name::References));
        if references.is_empty() {
            // RFC 5256 §3: only its first one.
            references = ids(&value(Name::InReplyTo));
            references.truncate(1);
        }
        Self {
            sent,
            sent_day,
            from: mailbox(from.as_ref()),
            to: mailbox(to.as_ref()),
            cc: mailbox(cc.as_ref()),
            display_from: displayed(from.as_ref()),
            display_to: displayed(to.as_ref()),
            subject: folded_text(&subject.text),
            is_reply: subject.is_reply,
            id: ids(&value(Name::MessageId)).into_iter().next().unwrap_or_default(),
            references,
        }
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Nothing in it can fail to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The inverse of [`Self::to_bytes`]; `None`: another version wrote them.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// Unix seconds, and the civil date in the zone that is named. What is wrong with the time or the zone counts as zero (RFC 5256 §2.2).
fn sent(value: &[u8]) -> (Option<i64>, Option<Date>) {
    let mut line = value.to_vec();
    line.push(b'\n');
    let HeaderValue::DateTime(found) = MessageStream::new(&line).parse_date() else {
        return (None, None);
    };
    let year = i16::try_from(found.year).ok();
    let (month, day) = (i8::try_from(found.month).ok(), i8::try_from(found.day).ok());
    let (Some(year), Some(month), Some(day)) = (year, month, day) else {
        return (None, None);
    };
    let Ok(date) = Date::new(year, month, day) else {
        return (None, None);
    };
    let is_time = found.hour < 24 && found.minute < 60 && found.second < 61;
    let seconds = if is_time {
        i64::from(found.hour) * 3600 + i64::from(found.minute) * 60 + i64::from(found.second)
    } else {
        0
    };
    let is_zone = found.tz_hour < 24 && found.tz_minute < 60;
    let east = if is_zone {
        i64::from(found.tz_hour) * 3600 + i64::from(found.tz_minute) * 60
    } else {
        0
    };
    let east = if found.tz_before_gmt { -east } else { east };
    let days = date.duration_since(Date::constant(1970, 1, 1)).as_secs();
    (Some(days + seconds - east), Some(date))
}

/// `addr-mailbox` of RFC 3501 §7.4.2: the local part, or the name of a group.
fn mailbox(address: Option<&Mailbox<'_>>) -> String {
    address
        .and_then(|address| address.local.as_deref())
        .map(|local| folded_text(&decode::charset(local, b"")))
        .unwrap_or_default()
}

/// RFC 5957 §3: the name of a group, else the display name, else the address.
fn displayed(address: Option<&Mailbox<'_>>) -> String {
    let Some(address) = address else {
        return String::new();
    };
    let name = address.name.as_deref().filter(|name| !name.trim_ascii().is_empty());
    match (&address.domain, name) {
        (Some(_), Some(name)) => folded_text(&decode::words(name)),
        (Some(domain), None) => {
            let mut shown = mailbox(Some(address));
            shown.push('@');
            shown.push_str(&folded_text(&decode::charset(domain, b"")));
            shown
        }
        (None, _) => mailbox(Some(address)),
    }
}

/// Message ids of a field, without brackets; quoting makes no difference (RFC 5256 §3).
fn ids(value: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some(start) = rest.iter().position(|&b| b == b'<') {
        rest = &rest[start + 1..];
        let Some(end) = rest.iter().position(|&b| matches!(b, b'>' | b'<')) else {
            break;
        };
        let (inside, after) = rest.split_at(end);
        rest = after;
        let id: Vec<u8> = inside
            .iter()
            .copied()
            .filter(|b| !b.is_ascii_whitespace() && !matches!(b, b'"' | b'\\'))
            .collect();
        let is_good = after.starts_with(b">") && id.contains(&b'@') && id.len() <= ID_BYTES_MAX;
        if is_good {
            found.push(String::from_utf8_lossy(&id).into_owned());
        }
        if found.len() > REFERENCES_MAX {
            // The oldest but one goes: the ends tell most.
            found.remove(1);
        }
    }
    found
}

/// RFC 5322 §2.1.1: no line, so no identifier, is longer.
const ID_BYTES_MAX: usize = 998;
/// References kept of one message.
const REFERENCES_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts(header: &str) -> Facts {
        Facts::of(header.as_bytes())
    }

    #[test]
    fn the_first_address_counts() {
        let found = facts(
            "From: =?utf-8?Q?Jos=C3=A9phine?= <Jo@CHU.fr>, b@c.fr\r\nTo: equipe: a@b.fr, c@d.fr;\r\nCc: zoe@x.fr\r\n\r\n",
        );
        assert_eq!([found.from, found.to, found.cc], ["JO", "EQUIPE", "ZOE"]);
        assert_eq!(found.display_from, folded_text("joséphine"));
        assert_eq!(found.display_to, "EQUIPE");
        assert_eq!(facts("From: a@b.fr\r\n\r\n").display_from, "A@B.FR");
        assert_eq!(facts("\r\n"), Facts::default());
    }

    #[test]
    fn the_date_counts_in_utc_for_sorting_and_in_its_zone_for_searching() {
        let found = facts("Date: Sat, 21 Nov 2026 00:30:00 +0200\r\n\r\n");
        assert_eq!(found.sent_day, Some(Date::constant(2026, 11, 21)));
        assert_eq!(
            found.sent,
            Some("2026-11-20T22:30:00Z".parse::<jiff::Timestamp>().unwrap().as_second())
        );
        assert_eq!(facts("Date: yesterday\r\n\r\n").sent, None);
        assert_eq!(facts("Date: 31 Feb 2026 00:00:00 +0000\r\n\r\n").sent, None);
        let no_time = facts("Date: 21 Nov 2026 99:99:99 +0000\r\n\r\n");
        assert_eq!(
            no_time.sent,
            Some("2026-11-21T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second())
        );
    }

    #[test]
    fn references_are_those_of_the_standard() {
        let found =
            facts("Message-ID: <\"a\\b\"@c>\r\nReferences: <1@x> junk <2@x>\r\n <3@x>\r\nIn-Reply-To: <9@x>\r\n\r\n");
        assert_eq!(found.id, "ab@c");
        assert_eq!(found.references, ["1@x", "2@x", "3@x"]);
        let found = facts("In-Reply-To: mail of <no id> and <9@x> <8@x>\r\nReferences: none\r\n\r\n");
        assert_eq!(found.references, ["9@x"]);
        assert_eq!(facts("References: <a@b <c@d>\r\n\r\n").references, ["c@d"]);
    }

    proptest! {
        #[test]
        fn facts_read_back(header in proptest::collection::vec(any::<u8>(), 0..200)) {
            let found = Facts::of(&header);
            prop_assert_eq!(Facts::from_bytes(&found.to_bytes()), Some(found));
        }
    }
}
