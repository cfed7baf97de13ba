//! In which order an attempt goes: hosts by preference and turn, items by message.

use crate::dns::MailHost;
use crate::store::{MessageKey, QueueItem};

/// Items that travel in one transaction: same message, same sender, same parameters.
pub(super) struct Group {
    pub(super) message: MessageKey,
    pub(super) items: Vec<QueueItem>,
}

/// By preference; hosts of the same preference take turns at being first, so that each gets its share (RFC 5321 §5.1).
pub(super) fn in_turn(mut hosts: Vec<MailHost>, turn: usize) -> Vec<MailHost> {
    hosts.sort_by_key(|host| host.preference);
    for equal in hosts.chunk_by_mut(|one, other| one.preference == other.preference) {
        equal.rotate_left(turn % equal.len());
    }
    hosts
}

/// Items of one message, sender and set of parameters share a transaction. The last group is sent first; order among messages of one
/// attempt carries no meaning.
pub(super) fn groups(items: Vec<QueueItem>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for item in items {
        let same = |group: &&mut Group| {
            group.message == item.message
                && group.items.len() < RECIPIENTS_MAX
                && group
                    .items
                    .first()
                    .is_some_and(|first| first.sender == item.sender && first.parameters == item.parameters)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.items.push(item),
            None => groups.push(Group {
                message: item.message,
                items: vec![item],
            }),
        }
    }
    groups.reverse();
    groups
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
