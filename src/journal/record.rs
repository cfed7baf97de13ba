//! A record: an event with its moment and session, to a row of the store and back.

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::event::{Event, Unknown};
use crate::store::JournalRow;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Position in the journal; 0 before it is written.
    pub sequence: i64,
    /// When.
    pub at: Timestamp,
    /// Session it happened in; empty when none.
    pub session: String,
    /// What happened.
    pub event: Event,
}

impl Record {
    /// A record about to be written.
    pub fn new(at: Timestamp, session: &str, event: Event) -> Self {
        Self {
            sequence: 0,
            at,
            session: session.to_owned(),
            event,
        }
    }

    /// The row that the store keeps.
    pub fn to_row(&self) -> JournalRow {
        JournalRow {
            sequence: self.sequence,
            at: self.at,
            event: self.event.name().to_owned(),
            session: self.session.clone(),
            reason: self.event.reason().to_owned(),
            detail: detail(&self.event),
        }
    }

    /// Reads a row. Never fails: what cannot be read becomes [`Event::Unknown`] under the name it has.
    pub fn from_row(row: JournalRow) -> Self {
        let event = event(&row).unwrap_or_else(|| {
            Event::Unknown(Unknown {
                name: row.event.clone(),
                reason: row.reason.clone(),
                detail: row.detail.clone(),
            })
        });
        Self {
            sequence: row.sequence,
            at: row.at,
            session: row.session,
            event,
        }
    }

    /// Whether this program should have been able to read the row and could not: its name is one it writes.
    pub fn is_damaged(&self) -> bool {
        matches!(&self.event, Event::Unknown(unknown) if Event::NAMES.contains(&unknown.name.as_str()))
    }
}

fn detail(event: &Event) -> String {
    match event {
        Event::Submitted(fields) => json(fields),
        Event::Received(fields) => json(fields),
        Event::Repeated(fields) => json(fields),
        Event::Appended(fields) => json(fields),
        Event::Refused(fields) => json(fields),
        Event::Queued(fields) => json(fields),
        Event::Relayed(fields) => json(fields),
        Event::Deferred(fields) => json(fields),
        Event::Bounced(fields) => json(fields),
        Event::Managed(fields) => json(fields),
        Event::Reported(fields) => json(fields),
        Event::Noted(fields) => json(fields),
        Event::Login(fields) => json(fields),
        Event::LoginRefused(fields) => json(fields),
        Event::Examined(fields) => json(fields),
        Event::HandshakeFailed(fields) => json(fields),
        Event::Opened(fields) => json(fields),
        Event::Started(fields) => json(fields),
        Event::Stopped(fields) => json(fields),
        Event::Maintained(fields) => json(fields),
        Event::Unknown(unknown) => unknown.detail.clone(),
    }
}

/// Structs of texts, numbers and lists always serialise; an empty detail would show as damaged rather than vanish.
fn json<T: Serialize>(fields: &T) -> String {
    serde_json::to_string(fields).unwrap_or_default()
}

fn event(row: &JournalRow) -> Option<Event> {
    let detail = &row.detail;
    match row.event.as_str() {
        Event::SUBMITTED => read(detail).map(Event::Submitted),
        Event::RECEIVED => read(detail).map(Event::Received),
        Event::REPEATED => read(detail).map(Event::Repeated),
        Event::APPENDED => read(detail).map(Event::Appended),
        Event::REFUSED => read(detail).map(|mut refused: super::Refused| {
            refused.reason.clone_from(&row.reason);
            Event::Refused(refused)
        }),
        Event::QUEUED => read(detail).map(Event::Queued),
        Event::RELAYED => read(detail).map(Event::Relayed),
        Event::DEFERRED => read(detail).map(Event::Deferred),
        Event::BOUNCED => read(detail).map(Event::Bounced),
        Event::MANAGED => read(detail).map(Event::Managed),
        Event::REPORTED => read(detail).map(Event::Reported),
        Event::NOTED => read(detail).map(Event::Noted),
        Event::LOGIN => read(detail).map(Event::Login),
        Event::LOGIN_REFUSED => read(detail).map(|mut refused: super::LoginRefused| {
            refused.reason.clone_from(&row.reason);
            Event::LoginRefused(refused)
        }),
        Event::EXAMINED => read(detail).map(Event::Examined),
        Event::HANDSHAKE_FAILED => read(detail).map(Event::HandshakeFailed),
        Event::OPENED => read(detail).map(Event::Opened),
        Event::STARTED => read(detail).map(Event::Started),
        Event::STOPPED => read(detail).map(Event::Stopped),
        Event::MAINTAINED => read(detail).map(Event::Maintained),
        _ => None,
    }
}

fn read<T: DeserializeOwned>(detail: &str) -> Option<T> {
    serde_json::from_str(detail).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::sample;

    #[test]
    fn every_event_survives_the_way_to_its_row_and_back() {
        let mut names = Vec::new();
        for event in sample::every_event() {
            let record = Record {
                sequence: 7,
                ..Record::new(sample::moment(), "s-42", event)
            };
            let row = record.to_row();
            names.push(row.event.clone());
            assert_eq!(Record::from_row(row), record);
        }
        assert_eq!(names, Event::NAMES, "a sample for every name, and no other");
    }

    #[test]
    fn an_event_of_a_newer_program_is_kept_as_it_is() {
        let row = JournalRow {
            sequence: 3,
            at: sample::moment(),
            event: "quarantined".into(),
            session: "s-1".into(),
            reason: "virus".into(),
            detail: "{\"engine\": \"x\"}".into(),
        };
        let record = Record::from_row(row.clone());
        assert!(!record.is_damaged());
        assert_eq!(record.to_row(), row);
    }

    #[test]
    fn a_damaged_row_is_kept_and_told_apart() {
        for detail in ["", "{", "[]", "{\"recipients\": 3}"] {
            let row = JournalRow {
                sequence: 3,
                at: sample::moment(),
                event: "submitted".into(),
                session: String::new(),
                reason: String::new(),
                detail: detail.into(),
            };
            let record = Record::from_row(row.clone());
            assert!(record.is_damaged(), "{detail}");
            assert_eq!(record.to_row(), row);
        }
    }

    #[test]
    fn fields_of_a_newer_program_do_not_hide_the_event() {
        let row = JournalRow {
            sequence: 1,
            at: sample::moment(),
            event: "started".into(),
            session: String::new(),
            reason: String::new(),
            detail: "{\"version\": \"9.0\", \"node\": 4}".into(),
        };
        assert!(matches!(Record::from_row(row).event, Event::Started(_)));
    }

    proptest! {
        #[test]
        fn no_row_stops_a_reader_or_loses_its_name(
            name in prop_oneof![(0..Event::NAMES.len()).prop_map(|index| Event::NAMES[index].to_owned()), "[a-z-]{0,12}"],
            detail in prop_oneof![".{0,40}", Just("{}".to_owned()), Just("null".to_owned())],
        ) {
            let row = JournalRow {
                sequence: 1,
                at: sample::moment(),
                event: name.clone(),
                session: String::new(),
                reason: "mail-loop".into(),
                detail,
            };
            let record = Record::from_row(row);
            prop_assert_eq!(record.event.name(), name);
            prop_assert!(!crate::journal::line(&record).is_empty());
            prop_assert!(crate::journal::json_line(&record).len() > 2);
        }
    }

    #[test]
    fn no_row_holds_an_ins() {
        for event in sample::every_event() {
            let row = Record::new(sample::moment(), "s", event).to_row();
            assert!(!row.detail.contains(sample::INS), "{}", row.detail);
        }
    }
}
