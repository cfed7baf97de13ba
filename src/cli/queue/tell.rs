//! How items and sums are shown.

use jiff::{Timestamp, Unit};
use serde_json::{Value, json};

use crate::identity::Address;
use crate::journal::MaskedAddress;
use crate::store::{Destination, QueueEntry, QueueGroup, QueueState};

/// One item, as it is to be shown.
pub(super) struct Shown<'a> {
    pub(super) entry: &'a QueueEntry,
    /// Its destination, if that could not be reached.
    pub(super) destination: Option<&'a Destination>,
    pub(super) now: Timestamp,
    /// Whether patients are named in full.
    pub(super) in_full: bool,
}

impl Shown<'_> {
    /// Above [`Self::line`].
    pub(super) const HEADER: &'static str =
        "   ITEM  STATE        AGE  TRIES  NEXT                  MESSAGE  FROM -> TO  [LAST ANSWER]";

    /// One line for a person.
    pub(super) fn line(&self) -> String {
        let item = &self.entry.item;
        let answer = item
            .last_reply
            .as_ref()
            .map_or_else(String::new, |reply| format!("  [{reply}]"));
        format!(
            "{:>7}  {:<8} {:>7}  {:>5}  {:<20}  {:>7}  {} -> {}{answer}",
            item.key.0,
            self.entry.state,
            age(item.created, self.now),
            item.attempts,
            self.next(),
            item.message.0,
            self.sender(),
            self.address(&item.recipient),
        )
    }

    /// One object for a program; fields that do not apply are null.
    pub(super) fn json(&self) -> Value {
        let QueueEntry {
            item,
            state,
            leased_until,
            held,
            verdict,
        } = self.entry;
        json!({
            "item": item.key.0,
            "message": item.message.0,
            "state": state.id(),
            "sender": self.sender(),
            "recipient": self.address(&item.recipient),
            "domain": item.recipient.domain().as_str(),
            "session": item.session,
            "size_bytes": item.size_bytes,
            "created": item.created,
            "age_seconds": self.now.duration_since(item.created).as_secs().max(0),
            "due": item.due,
            "expires": item.expires,
            "attempts": item.attempts,
            "last_reply": item.last_reply,
            "leased_until": leased_until,
            "held_by": held.as_ref().map(|(by, _)| by),
            "held_at": held.as_ref().map(|(_, at)| at),
            "given_up_with": verdict,
            "blocked_until": self.blocked_until(),
        })
    }

    /// Everything about it, a few lines.
    pub(super) fn text(&self) -> String {
        let item = &self.entry.item;
        let mut lines = vec![
            format!("item {} ({})", item.key.0, self.entry.state),
            format!("  from      {}", self.sender()),
            format!("  to        {}", self.address(&item.recipient)),
            format!("  message   {}, {} bytes", item.message.0, item.size_bytes),
            format!(
                "  queued    {} ({} ago), session {}",
                seconds(item.created),
                age(item.created, self.now),
                item.session
            ),
            format!("  attempts  {}", item.attempts),
        ];
        if let Some(reply) = &item.last_reply {
            lines.push(format!("  answer    {reply}"));
        }
        if let Some(closed) = self.destination {
            lines.push(format!(
                "  peer      {} was not reached {} times since {}: {}",
                closed.domain,
                closed.failures,
                seconds(closed.since),
                closed.last_reply
            ));
        }
        lines.push(format!("  next      {}", self.outlook()));
        lines.push(format!(
            "  given up  {}, if nothing took it until then",
            seconds(item.expires)
        ));
        lines.push(String::new());
        lines.join("\n")
    }

    /// What happens next, in a sentence.
    pub(super) fn outlook(&self) -> String {
        let item = &self.entry.item;
        let id = item.key.0;
        if self.entry.verdict.is_some() {
            return "its sender is told that it was given up, as soon as the operator runs".to_owned();
        }
        match self.entry.state {
            QueueState::Leased => "an attempt is under way".to_owned(),
            QueueState::Held => {
                let (by, at) = self.entry.held.clone().unwrap_or_default();
                format!(
                    "nothing, held by {by} since {}: `vaguemestre queue release {id}` lets it go",
                    seconds(at)
                )
            }
            QueueState::Blocked => format!(
                "tried when {} is reached again; the next visit there is at {}, `vaguemestre queue retry {id}` makes it now",
                item.recipient.domain(),
                self.blocked_until().map_or_else(String::new, seconds)
            ),
            QueueState::Due => "tried by the next free connection, as soon as the operator runs".to_owned(),
            QueueState::Waiting => format!(
                "attempt {} at {}; `vaguemestre queue retry {id}` makes it now",
                item.attempts.saturating_add(1),
                seconds(item.due)
            ),
        }
    }

    fn next(&self) -> String {
        match self.entry.state {
            QueueState::Leased => "under way".to_owned(),
            QueueState::Held => "-".to_owned(),
            QueueState::Due => "now".to_owned(),
            QueueState::Waiting => seconds(self.entry.item.due),
            QueueState::Blocked => self.blocked_until().map_or_else(String::new, seconds),
        }
    }

    fn blocked_until(&self) -> Option<Timestamp> {
        match self.entry.state {
            QueueState::Blocked => self.destination.map(|closed| closed.closed_until),
            _ => None,
        }
    }

    fn sender(&self) -> String {
        let sender = self.entry.item.sender.as_ref();
        sender.map_or_else(|| "<>".to_owned(), |sender| self.address(sender))
    }

    fn address(&self, address: &Address) -> String {
        if self.in_full {
            address.as_str().to_owned()
        } else {
            MaskedAddress::from(address).as_str().to_owned()
        }
    }
}

/// A sum for a program.
pub(super) fn group_json(name: &str, group: &QueueGroup, closed: Option<&Destination>, now: Timestamp) -> Value {
    let states = QueueState::ALL.iter().zip(&group.states);
    let states: serde_json::Map<String, Value> = states
        .map(|(state, count)| (state.id().to_owned(), json!(count)))
        .collect();
    json!({
        "name": name,
        "items": group.items,
        "states": states,
        "size_bytes": group.size_bytes,
        "oldest": group.oldest,
        "oldest_age_seconds": now.duration_since(group.oldest).as_secs().max(0),
        "next": group.next,
        "not_reached_times": closed.map(|closed| closed.failures),
        "not_reached_since": closed.map(|closed| closed.since),
        "closed_until": closed.map(|closed| closed.closed_until),
        "last_reply": closed.map(|closed| closed.last_reply.as_str()),
    })
}

/// A moment, to the second.
pub(super) fn seconds(at: Timestamp) -> String {
    at.round(Unit::Second).unwrap_or(at).to_string()
}

/// How long ago, in the two largest units: `45s`, `12m30s`, `5h12m`, `2d03h`.
pub(super) fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::store::{MessageKey, QueueItem, QueueKey};

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn entry(state: QueueState) -> QueueEntry {
        let ago = |minutes| now() - SignedDuration::from_mins(minutes);
        QueueEntry {
            item: QueueItem {
                key: QueueKey(5),
                message: MessageKey(2),
                size_bytes: 100,
                sender: Some("dui@lilas.mssante.fr".parse().unwrap()),
                recipient: "279035121518989@patient.mssante.fr".parse().unwrap(),
                created: ago(125),
                due: now() + SignedDuration::from_mins(10),
                expires: now() + SignedDuration::from_hours(48),
                attempts: 3,
                last_reply: Some("451 4.3.0 later".into()),
                parameters: String::new(),
                session: "K3F7Q2ABCD".into(),
                delay_told: None,
                lease: 0,
                instead: None,
            },
            state,
            leased_until: None,
            held: (state == QueueState::Held).then(|| ("root".to_owned(), ago(5))),
            verdict: None,
        }
    }

    fn shown(entry: &QueueEntry, in_full: bool) -> Shown<'_> {
        Shown {
            entry,
            destination: None,
            now: now(),
            in_full,
        }
    }

    #[test]
    fn an_item_is_one_line_and_its_patient_is_masked() {
        insta::assert_snapshot!(shown(&entry(QueueState::Waiting), false).line(), @"      5  waiting    2h05m      3  2026-11-21T12:10:00Z        2  dui@lilas.mssante.fr -> 2790…989@patient.mssante.fr  [451 4.3.0 later]");
        assert!(shown(&entry(QueueState::Due), true).line().contains("279035121518989@"));
        let json = shown(&entry(QueueState::Held), false).json();
        assert_eq!(json["recipient"], "2790…989@patient.mssante.fr");
        assert_eq!((&json["state"], &json["held_by"]), (&"held".into(), &"root".into()));
    }

    #[test]
    fn what_happens_next_names_the_command_that_changes_it() {
        for (state, says) in [
            (QueueState::Held, "queue release 5"),
            (QueueState::Waiting, "attempt 4 at 2026-11-21T12:10:00Z"),
            (QueueState::Blocked, "queue retry 5"),
            (QueueState::Leased, "under way"),
            (QueueState::Due, "next free connection"),
        ] {
            let text = shown(&entry(state), false).text();
            assert!(text.contains(says), "{text}");
            assert!(!text.contains("279035121518989"));
        }
    }

    #[test]
    fn ages_show_their_two_largest_units() {
        for (minutes, text) in [(0, "0s"), (1, "1m00s"), (125, "2h05m"), (51 * 60, "2d03h"), (-5, "0s")] {
            assert_eq!(age(now() - SignedDuration::from_mins(minutes), now()), text);
        }
    }
}
