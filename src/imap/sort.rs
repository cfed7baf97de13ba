//! The order of SORT (RFC 5256 §3, RFC 5957): pure, over facts read beforehand.

use std::cmp::Ordering;

use jiff::Timestamp;

use super::facts::Facts;
use super::grammar::tree::{SortCriterion, SortKey};

/// A message to be put in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sortable<'a> {
    /// Sequence number: what decides in the end.
    pub(crate) number: u32,
    pub(crate) internal_date: Timestamp,
    pub(crate) size_bytes: u64,
    pub(crate) facts: &'a Facts,
}

/// Whether facts are needed at all.
pub(crate) fn needs_facts(criteria: &[SortCriterion]) -> bool {
    criteria
        .iter()
        .any(|criterion| !matches!(criterion.key, SortKey::Arrival | SortKey::Size))
}

/// Puts messages in order.
pub(crate) fn sort(messages: &mut [Sortable<'_>], criteria: &[SortCriterion]) {
    messages.sort_unstable_by(|a, b| {
        criteria
            .iter()
            .map(|criterion| {
                let order = compare(a, b, criterion.key);
                // RFC 5256 §3: only this one criterion is reversed.
                if criterion.reverse { order.reverse() } else { order }
            })
            .find(|order| order.is_ne())
            .unwrap_or_else(|| a.number.cmp(&b.number))
    });
}

fn compare(a: &Sortable<'_>, b: &Sortable<'_>, key: SortKey) -> Ordering {
    match key {
        SortKey::Arrival => a.internal_date.cmp(&b.internal_date),
        SortKey::Size => a.size_bytes.cmp(&b.size_bytes),
        SortKey::Date => a.sent().cmp(&b.sent()),
        SortKey::Cc => a.facts.cc.cmp(&b.facts.cc),
        SortKey::From => a.facts.from.cmp(&b.facts.from),
        SortKey::To => a.facts.to.cmp(&b.facts.to),
        SortKey::Subject => a.facts.subject.cmp(&b.facts.subject),
        SortKey::DisplayFrom => a.facts.display_from.cmp(&b.facts.display_from),
        SortKey::DisplayTo => a.facts.display_to.cmp(&b.facts.display_to),
    }
}

impl Sortable<'_> {
    /// RFC 5256 §2.2: without a Date that can be read, INTERNALDATE.
    pub(crate) fn sent(&self) -> i64 {
        self.facts.sent.unwrap_or_else(|| self.internal_date.as_second())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(headers: &[&str], criteria: &[(SortKey, bool)]) -> Vec<u32> {
        let facts: Vec<Facts> = headers.iter().map(|header| Facts::of(header.as_bytes())).collect();
        let mut messages: Vec<Sortable<'_>> = (1_u32..)
            .zip(&facts)
            .map(|(number, facts)| Sortable {
                number,
                internal_date: Timestamp::from_second(1000 - i64::from(number)).unwrap(),
                size_bytes: u64::from(number % 2),
                facts,
            })
            .collect();
        let criteria: Vec<SortCriterion> = criteria
            .iter()
            .map(|&(key, reverse)| SortCriterion { key, reverse })
            .collect();
        sort(&mut messages, &criteria);
        messages.iter().map(|message| message.number).collect()
    }

    #[test]
    fn subjects_are_compared_by_their_base_and_ties_by_number() {
        let headers = [
            "Subject: b\r\n\r\n",
            "Subject: Re: a\r\n\r\n",
            "Subject: A\r\n\r\n",
            "\r\n",
        ];
        assert_eq!(sorted(&headers, &[(SortKey::Subject, false)]), [4, 2, 3, 1]);
        assert_eq!(
            sorted(&headers, &[(SortKey::Subject, true)]),
            [1, 2, 3, 4],
            "ties keep their order"
        );
    }

    #[test]
    fn later_criteria_decide_what_earlier_ones_leave_open() {
        let headers = ["\r\n"; 4];
        assert_eq!(
            sorted(&headers, &[(SortKey::Size, false), (SortKey::Arrival, false)]),
            [4, 2, 3, 1]
        );
        assert_eq!(
            sorted(&headers, &[(SortKey::Size, true), (SortKey::Arrival, true)]),
            [1, 3, 2, 4]
        );
    }

    #[test]
    fn a_message_without_a_date_has_that_of_its_arrival() {
        let headers = [
            "Date: 1 Jan 1970 00:16:38 +0000\r\n\r\n",
            "\r\n",
            "Date: 1 Jan 1970 00:20:00 +0000\r\n\r\n",
        ];
        assert_eq!(sorted(&headers, &[(SortKey::Date, false)]), [1, 2, 3]);
    }

    #[test]
    fn addresses_are_compared_by_mailbox_or_as_they_are_shown() {
        let headers = [
            "From: Zoé <a@x.fr>\r\nTo: b@x.fr\r\n\r\n",
            "From: alice <z@x.fr>\r\nTo: a@x.fr\r\n\r\n",
        ];
        assert_eq!(sorted(&headers, &[(SortKey::From, false)]), [1, 2]);
        assert_eq!(sorted(&headers, &[(SortKey::DisplayFrom, false)]), [2, 1]);
        assert_eq!(sorted(&headers, &[(SortKey::To, false)]), [2, 1]);
        assert_eq!(sorted(&headers, &[(SortKey::DisplayTo, false)]), [2, 1]);
        assert_eq!(sorted(&headers, &[(SortKey::Cc, false)]), [1, 2]);
    }
}
