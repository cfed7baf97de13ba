//! From an id to the sessions it means, in the journals of several operators, and on to those that they speak of.

use std::collections::{BTreeSet, VecDeque};

use crate::cli::OpenOperator;
use crate::journal::{Event, Excerpt, Record};
use crate::listener::SessionId;
use crate::store::{JournalFilter, StoreError};

/// A session of one operator, with everything its journal says of it.
pub(super) struct Session<'a> {
    /// Name of the operator.
    pub(super) operator: &'a str,
    /// The session's own.
    pub(super) id: String,
    /// Oldest first.
    pub(super) records: Vec<Record>,
}

/// What an id led to.
pub(super) enum Found<'a> {
    /// The session asked for, then those it speaks of and those that speak of it.
    Sessions(Vec<Session<'a>>),
    /// Several sessions begin so: operator and id of each.
    Several(Vec<(&'a str, String)>),
    /// Nothing.
    Nothing,
}

/// Looks for a session by the beginning of its id, for a message by its Message-ID, or for an attempt that replies speak of.
pub(super) async fn find<'a>(operators: &'a [OpenOperator], asked: &str) -> Result<Found<'a>, StoreError> {
    let asked = asked.trim();
    let mut starts = Vec::new();
    if asked.contains('@') {
        starts = mentioning(operators, &OF_MESSAGES, &quoted(asked)).await?;
    } else if !asked.is_empty() {
        for prefix in [asked.to_owned(), asked.to_ascii_uppercase()] {
            starts = beginning(operators, &prefix).await?;
            if !starts.is_empty() {
                break;
            }
        }
        if starts.len() > 1 {
            return Ok(Found::Several(starts));
        }
        if starts.is_empty() {
            starts = mentioning(
                operators,
                &OF_REPLIES,
                &format!("session {}", asked.to_ascii_uppercase()),
            )
            .await?;
        }
    }
    let sessions = follow(operators, starts).await?;
    Ok(if sessions.is_empty() {
        Found::Nothing
    } else {
        Found::Sessions(sessions)
    })
}

/// The sessions whose names begin so; one that fits exactly is the one that is meant.
async fn beginning<'a>(operators: &'a [OpenOperator], prefix: &str) -> Result<Vec<(&'a str, String)>, StoreError> {
    let mut found = BTreeSet::new();
    for operator in operators {
        let filter = JournalFilter {
            session_prefix: prefix.to_owned(),
            limit: ROWS_MAX,
            ..JournalFilter::default()
        };
        for row in operator.journal.journal(filter).await? {
            found.insert((operator.name.as_str(), row.session));
        }
    }
    match found.iter().find(|(_, id)| id == prefix) {
        Some(exact) => Ok(vec![exact.clone()]),
        None => Ok(found.into_iter().collect()),
    }
}

/// Sessions with a record of these events whose detail holds a text.
async fn mentioning<'a>(
    operators: &'a [OpenOperator],
    events: &[&str],
    text: &str,
) -> Result<Vec<(&'a str, String)>, StoreError> {
    let mut found = Vec::new();
    for operator in operators {
        let filter = JournalFilter {
            events: events.iter().map(|name| (*name).to_owned()).collect(),
            mentions: text.to_owned(),
            limit: ROWS_MAX,
            ..JournalFilter::default()
        };
        for row in operator.journal.journal(filter).await? {
            let session = (operator.name.as_str(), row.session);
            if !session.1.is_empty() && !found.contains(&session) {
                found.push(session);
            }
        }
    }
    Ok(found)
}

/// Reads the sessions, then those that their replies name and those whose replies name them.
async fn follow<'a>(
    operators: &'a [OpenOperator],
    starts: Vec<(&'a str, String)>,
) -> Result<Vec<Session<'a>>, StoreError> {
    let mut waiting: VecDeque<(&str, String)> = starts.into();
    let mut seen = BTreeSet::new();
    let mut sessions = Vec::new();
    while let Some((operator, id)) = waiting.pop_front() {
        if sessions.len() >= SESSIONS_MAX || !seen.insert((operator, id.clone())) {
            continue;
        }
        let Some(open) = operators.iter().find(|one| one.name == operator) else {
            continue;
        };
        let records = read(open, &id).await?;
        for named in records.iter().filter_map(reply).flat_map(sessions_named) {
            for other in operators {
                waiting.push_back((other.name.as_str(), named.clone()));
            }
        }
        waiting.extend(mentioning(operators, &OF_REPLIES, &format!("session {id}")).await?);
        if !records.is_empty() {
            sessions.push(Session { operator, id, records });
        }
    }
    Ok(sessions)
}

async fn read(operator: &OpenOperator, id: &str) -> Result<Vec<Record>, StoreError> {
    let filter = JournalFilter {
        session: Some(id.to_owned()),
        limit: ROWS_MAX,
        ..JournalFilter::default()
    };
    let rows = operator.journal.journal(filter).await?;
    Ok(rows.into_iter().map(Record::from_row).collect())
}

/// What the other operator, or an attempt of our own, answered.
pub(super) fn reply(record: &Record) -> Option<&str> {
    match &record.event {
        Event::Relayed(event) => Some(event.reply.as_str()),
        Event::Deferred(event) => Some(event.reply.as_str()),
        Event::Bounced(event) => Some(event.reply.as_str()),
        _ => None,
    }
}

/// Names of sessions in a reply: `… (box-unknown, session NG2TX0K3F7Q2)`.
pub(in crate::cli) fn sessions_named(reply: &str) -> Vec<String> {
    let after = reply
        .match_indices("session ")
        .map(|(at, word)| &reply[at + word.len()..]);
    let name = |rest: &str| -> String {
        let is_part = |c: &char| c.is_ascii_digit() || c.is_ascii_uppercase();
        rest.chars().take_while(is_part).take(SessionId::LENGTH + 1).collect()
    };
    let is_name = |name: &String| [SessionId::LENGTH, FORMER_LENGTH].contains(&name.len());
    after.map(name).filter(is_name).collect()
}

/// A Message-ID as it stands in the JSON of a record.
fn quoted(message_id: &str) -> String {
    let json = serde_json::to_string(Excerpt::new(message_id).as_str()).unwrap_or_default();
    json.trim_matches('"').to_owned()
}

/// Events that name a Message-ID.
const OF_MESSAGES: [&str; 3] = [Event::SUBMITTED, Event::RECEIVED, Event::REPEATED];
/// Events that keep what somebody answered.
const OF_REPLIES: [&str; 3] = [Event::RELAYED, Event::DEFERRED, Event::BOUNCED];
/// A session with more decisions than that is not read to the end by anybody.
const ROWS_MAX: usize = 1000;
/// A message that passed more sessions than that is a loop.
const SESSIONS_MAX: usize = 20;
/// Length of a session's name in journals of earlier versions.
const FORMER_LENGTH: usize = 10;

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn sessions_are_found_in_replies() {
        let reply = "550 5.1.1 no such box (box-unknown, session NG2TX0K3F7Q2)";
        assert_eq!(sessions_named(reply), ["NG2TX0K3F7Q2"]);
        let new = SessionId::new(Timestamp::UNIX_EPOCH);
        assert_eq!(sessions_named(&format!("session {new})")), [new.as_str()]);
        assert_eq!(
            sessions_named("250 2.0.0 message accepted, session 0123456789"),
            ["0123456789"],
            "as earlier versions named them"
        );
        for other in ["no session here", "session short", "session 0123456789XYZ", ""] {
            assert!(sessions_named(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn a_message_id_is_sought_as_the_journal_writes_it() {
        assert_eq!(quoted("<a\"b@x.fr>"), "<a\\\"b@x.fr>");
    }
}
