//! What an event counts: the one function behind every counter.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::clock::month_of;
use crate::journal::{Event, Owner, Record};
use crate::message::Class;
use crate::store::{Acceptance, Count, CountKey};

/// Direction of what a structure's boxes sent.
pub const SENT: &str = "sent";
/// Direction of what they received.
pub const RECEIVED: &str = "received";

/// The counter increments that follow from an event, by ascending key; empty for events that count for nothing.
///
/// * `submitted`: one message and its recipients, for one establishment, once (Kit: every message counts, whoever the person
///   concerned). The operator's own bounces are not submitted, so nobody sends them.
/// * `received`: for each establishment and box type among its boxes, one message and as many recipients as such boxes.
pub fn increments(event: &Event, at: Timestamp) -> Vec<Count> {
    match event {
        Event::Submitted(submitted) => vec![Count {
            key: key(SENT, &submitted.owner, submitted.class, at),
            messages: 1,
            recipients: submitted.recipient_count,
        }],
        Event::Received(received) => {
            let mut boxes: BTreeMap<CountKey, u64> = BTreeMap::new();
            for one in &received.boxes {
                *boxes.entry(key(RECEIVED, &one.owner, received.class, at)).or_default() += 1;
            }
            let count = |(key, recipients)| Count {
                key,
                messages: 1,
                recipients,
            };
            boxes.into_iter().map(count).collect()
        }
        _ => Vec::new(),
    }
}

/// Adds records and exactly the counts that follow from them to an acceptance: what is journalled is counted, in one transaction
/// (invariant 1). The way for every caller that accepts or settles something.
pub fn enter(acceptance: &mut Acceptance, records: &[Record]) {
    for record in records {
        acceptance.counts.extend(increments(&record.event, record.at));
        acceptance.records.push(record.to_row());
    }
}

fn key(direction: &str, owner: &Owner, class: Class, at: Timestamp) -> CountKey {
    CountKey {
        month: month_of(at),
        direction: direction.to_owned(),
        establishment: owner.establishment.clone().unwrap_or_default(),
        entity: owner.entity.clone().unwrap_or_default(),
        box_type: owner.box_type.clone(),
        class: class.id().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sample;

    fn shown(counts: &[Count]) -> Vec<String> {
        let show = |c: &Count| {
            let k = &c.key;
            format!(
                "{} {} eg={} ej={} {} {}: {}/{}",
                k.month, k.direction, k.establishment, k.entity, k.box_type, k.class, c.messages, c.recipients
            )
        };
        counts.iter().map(show).collect()
    }

    #[test]
    fn a_submission_counts_once_with_all_its_recipients() {
        let event = sample::submitted(sample::owner("APP", "990000010", "990000002"), Class::Message, 3);
        assert_eq!(
            shown(&increments(&event, sample::moment())),
            ["2026-11 sent eg=990000010 ej=990000002 APP message: 1/3"]
        );
    }

    #[test]
    fn an_unknown_establishment_and_a_box_without_structure_are_counted_too() {
        let unknown = sample::submitted(sample::owner("APP", "", "990000002"), Class::Auto, 1);
        let without = sample::submitted(sample::owner("", "", ""), Class::Mdn, 1);
        assert_eq!(
            shown(&increments(&unknown, sample::moment())),
            ["2026-11 sent eg= ej=990000002 APP auto: 1/1"]
        );
        assert_eq!(
            shown(&increments(&without, sample::moment())),
            ["2026-11 sent eg= ej=  mdn: 1/1"]
        );
    }

    #[test]
    fn a_message_for_several_boxes_is_received_once_per_establishment_and_box_type() {
        let org = || sample::owner("ORG", "990000010", "990000002");
        let event = sample::received(
            vec![org(), sample::owner("PER", "990000010", "990000002"), org()],
            Class::Dsn,
        );
        assert_eq!(
            shown(&increments(&event, sample::moment())),
            [
                "2026-11 received eg=990000010 ej=990000002 ORG dsn: 1/2",
                "2026-11 received eg=990000010 ej=990000002 PER dsn: 1/1",
            ]
        );
    }

    #[test]
    fn the_month_is_that_of_paris() {
        let event = sample::submitted(sample::owner("PER", "990000010", "990000002"), Class::Message, 1);
        let last_night = increments(&event, "2026-10-31T23:30:00Z".parse().unwrap());
        assert_eq!(last_night[0].key.month, "2026-11");
    }

    #[test]
    fn no_other_event_counts() {
        for event in sample::every_event() {
            let counts = matches!(event, Event::Submitted(_) | Event::Received(_));
            assert_eq!(
                !increments(&event, sample::moment()).is_empty(),
                counts,
                "{}",
                event.name()
            );
        }
    }

    #[test]
    fn what_is_entered_is_both_journalled_and_counted() {
        let records: Vec<Record> = sample::every_event()
            .into_iter()
            .map(|event| Record::new(sample::moment(), "s", event))
            .collect();
        let mut acceptance = Acceptance::default();
        enter(&mut acceptance, &records);
        assert_eq!(acceptance.records.len(), records.len());
        assert_eq!(acceptance.counts.len(), 3);
    }
}
