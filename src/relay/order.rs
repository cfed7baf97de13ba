//! In which order an attempt goes: hosts by preference and turn, items by message.

use crate::dns::MailHost;
use crate::queue::Parameters;
use crate::store::{MessageKey, QueueItem};

/// Items that travel in one transaction: same message, same sender, same parameters of MAIL.
pub(super) struct Group {
    pub(super) message: MessageKey,
    pub(super) size_bytes: u64,
    /// In the order of the recipients.
    pub(super) items: Vec<QueueItem>,
    /// Of each item.
    pub(super) parameters: Vec<Parameters>,
}

/// By preference; hosts of the same preference take turns at being first, so that each gets its share (RFC 5321 §5.1).
pub(super) fn in_turn(mut hosts: Vec<MailHost>, turn: usize) -> Vec<MailHost> {
    hosts.sort_by_key(|host| host.preference);
    for equal in hosts.chunk_by_mut(|one, other| one.preference == other.preference) {
        equal.rotate_left(turn % equal.len());
    }
    hosts
}

/// Items of one message, sender and MAIL share a transaction, each recipient with what was said of it. The last group is sent first;
/// order among messages of one attempt carries no meaning.
///
/// An item whose parameters cannot be read is left out: nobody knows what its sender asked for, and it could not be settled.
pub(super) fn groups(items: Vec<QueueItem>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for item in items {
        let parameters = match Parameters::from_json(&item.parameters) {
            Ok(parameters) => parameters,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    item = item.key.0,
                    error,
                    "a queued recipient is left alone: repair or remove it"
                );
                continue;
            }
        };
        match groups.iter_mut().find(|group| group.takes(&item, &parameters)) {
            Some(group) => {
                group.items.push(item);
                group.parameters.push(parameters);
            }
            None => groups.push(Group {
                message: item.message,
                size_bytes: item.size_bytes,
                items: vec![item],
                parameters: vec![parameters],
            }),
        }
    }
    groups.reverse();
    groups
}

impl Group {
    fn takes(&self, item: &QueueItem, parameters: &Parameters) -> bool {
        self.message == item.message
            && self.items.len() < RECIPIENTS_MAX
            && self.items.first().is_some_and(|first| first.sender == item.sender)
            && self
                .parameters
                .first()
                .is_some_and(|first| first.shares_mail(parameters))
    }

    /// Takes those out that `chosen` names: they travel in another transaction.
    pub(super) fn split(&mut self, chosen: &[bool]) -> Self {
        let mut rest = Self {
            message: self.message,
            size_bytes: self.size_bytes,
            items: Vec::new(),
            parameters: Vec::new(),
        };
        let mut flags = chosen.iter();
        let mut is_chosen = || flags.next().copied().unwrap_or(false);
        let pairs = self.items.drain(..).zip(self.parameters.drain(..));
        let (other, own): (Vec<_>, Vec<_>) = pairs.partition(|_| is_chosen());
        (rest.items, rest.parameters) = other.into_iter().unzip();
        (self.items, self.parameters) = own.into_iter().unzip();
        rest
    }
}

/// RFC 5321 §4.5.3.1.8: what every server must take in one transaction.
const RECIPIENTS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(preferences: &[(u16, &str)], turn: usize) -> Vec<String> {
        let hosts = preferences.iter().map(|(preference, name)| MailHost {
            preference: *preference,
            name: (*name).to_owned(),
            addresses: Vec::new(),
        });
        in_turn(hosts.collect(), turn)
            .into_iter()
            .map(|host| host.name)
            .collect()
    }

    #[test]
    fn hosts_of_one_preference_take_turns_and_never_pass_a_better_one() {
        let hosts = [(20, "c"), (10, "a"), (10, "b"), (20, "d"), (20, "e")];
        assert_eq!(names(&hosts, 0), ["a", "b", "c", "d", "e"]);
        assert_eq!(names(&hosts, 1), ["b", "a", "d", "e", "c"]);
        assert_eq!(names(&hosts, 2), ["a", "b", "e", "c", "d"]);
        assert_eq!(names(&[(10, "a")], 7), ["a"]);
        assert!(names(&[], 1).is_empty());
    }
}
