//! What sessions and the relay tell the [`Meter`](crate::metrics::Meter): the words of the journal become labels here, and only words that
//! the program knows.

use std::time::Duration;

use jiff::Timestamp;

use super::{Face, Handshake, Parts};
use crate::journal::{Event, Record};
use crate::metrics::Meter;
use crate::policy::Reason;

impl Parts {
    /// Counts what is being written into the journal.
    pub(super) fn observe(&self, event: &Event) {
        match event {
            Event::Refused(refused) => {
                let face = face(refused.face.as_str());
                let stage = known(refused.stage.as_str(), STAGES);
                self.meter.refused(face, stage, reason(&refused.reason));
            }
            Event::LoginRefused(refused) => {
                self.meter
                    .refused(face(refused.face.as_str()), "login", reason(&refused.reason));
            }
            _ => {}
        }
    }

    /// Counts the attempts that were settled: the first records are theirs, in the order of the items' ages.
    pub fn observe_settled(&self, records: &[Record], created: &[Timestamp]) {
        let now = self.clock.now();
        for (record, created) in records.iter().zip(created) {
            let age = Duration::try_from(now.duration_since(*created)).unwrap_or_default();
            match &record.event {
                Event::Relayed(_) => self.meter.relayed("delivered", Some(age)),
                Event::Bounced(_) => self.meter.relayed("bounced", Some(age)),
                Event::Deferred(_) => self.meter.relayed("deferred", None),
                _ => {}
            }
        }
    }
}

/// Counts a handshake that succeeded. `face` is the name of a [`Face`], or `relay`.
pub fn observe_handshake(meter: &Meter, face: &'static str, handshake: &Handshake, took: Duration) {
    let version = known(&handshake.protocol, &["TLSv1.2", "TLSv1.3"]);
    let suite = handshake.suite.and_then(|suite| suite.as_str()).unwrap_or("other");
    meter.handshake(face, (version, suite), took);
}

/// Counts one that did not.
pub fn observe_failed_handshake(meter: &Meter, face: &'static str, error: &std::io::Error) {
    let cause = match error.kind() {
        std::io::ErrorKind::TimedOut => "time",
        std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => "protocol",
        _ => "peer",
    };
    meter.handshake_failed(face, cause);
}

fn face(name: &str) -> &'static str {
    Face::ALL
        .iter()
        .map(|face| face.name())
        .find(|known| *known == name)
        .unwrap_or(OTHER)
}

fn reason(id: &str) -> &'static str {
    Reason::ALL
        .iter()
        .map(|reason| reason.id())
        .find(|known| *known == id)
        .unwrap_or(OTHER)
}

fn known(word: &str, words: &[&'static str]) -> &'static str {
    words.iter().copied().find(|known| *known == word).unwrap_or(OTHER)
}

/// Where in a session something may be refused.
const STAGES: &[&str] = &["connection", "session", "certificate", "auth", "mail", "rcpt", "data"];
/// A word that this program does not know.
const OTHER: &str = "other";
