//! The messages that are sent, what was answered, and how they are known again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ground::{BOXES, PEER, name};
use crate::selftest::dice::Dice;

/// What one recipient of a message was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing final: the connection broke, or 4xx.
    #[default]
    None,
    /// 250 after the last byte.
    Accepted,
    /// 5xx.
    Refused,
}

/// One message.
#[derive(Clone, Debug)]
pub(super) struct Mail {
    pub(super) number: u64,
    pub(super) from: String,
    pub(super) size: usize,
    pub(super) recipients: BTreeMap<String, Answer>,
    /// Whether the sender goes on with the same message until it has an answer, as a relay does.
    pub(super) is_retried: bool,
}

/// Every message offered.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    mails: Mutex<BTreeMap<u64, Mail>>,
}

impl Mail {
    /// Whether a recipient is nobody's box, behind another operator: the message bounces.
    pub(super) fn is_unknown(recipient: &str) -> bool {
        recipient.starts_with(UNKNOWN)
    }

    /// A message of the software of `operator`, or of the peer's relay to it.
    pub(super) fn new(number: u64, operator: usize, software: bool, dice: &mut Dice) -> Self {
        let from = if software {
            format!("dui@{}.mssante.fr", name(operator))
        } else {
            format!("medecin@{PEER}.mssante.fr")
        };
        // The peer writes to this operator only; its software to both.
        let mut recipients = BTreeMap::new();
        for _ in 0..[1, 1, 1, 2, 3].get(dice.below(5)).copied().unwrap_or(1) {
            let to = if software { dice.below(2) } else { operator };
            let local = match dice.below(20) {
                0 | 1 => UNKNOWN,
                _ => BOXES.get(dice.below(BOXES.len())).copied().unwrap_or("accueil"),
            };
            recipients.insert(format!("{local}@{}.mssante.fr", name(to)), Answer::None);
        }
        let size = match dice.below(LARGE_EVERY) {
            0 => dice.between(70_000, 500_000),
            _ => dice.between(600, 8_000),
        };
        Self {
            number,
            from,
            size,
            recipients,
            is_retried: !software,
        }
    }

    /// The bytes to send; they follow from the seed and what the message is.
    pub(super) fn content(&self, seed: u64) -> Vec<u8> {
        let Self { number, from, .. } = self;
        // What the peer's relay queued has its trace, so that a repetition can be told from another message.
        let trace = if self.is_retried {
            format!(
                "Received: from dui.{PEER}.localhost by mx.{PEER}.localhost with ESMTPSA id s-{number};\r\n \
                 Sat, 21 Nov 2026 10:00:00 +0100\r\n"
            )
        } else {
            String::new()
        };
        let to: Vec<&str> = self.recipients.keys().map(String::as_str).collect();
        let head = format!(
            "{trace}{MARK}{number}\r\nFrom: <{from}>\r\nTo: <{}>\r\nSubject: essai {number}\r\n\
             Date: Sat, 21 Nov 2026 10:00:00 +0100\r\nMessage-ID: <{seed}.{number}@selftest.example>\r\n\r\n",
            to.join(">,\r\n <")
        );
        let mut dice = Dice::part(seed, number.wrapping_add(0x5EED));
        let text = dice.text(self.size.saturating_sub(head.len()));
        [head.into_bytes(), text].concat()
    }
}

impl Ledger {
    pub(super) fn mails(&self) -> MutexGuard<'_, BTreeMap<u64, Mail>> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was answered for a recipient.
    pub(super) fn answer(&self, number: u64, recipient: &str, answer: Answer) {
        let mut mails = self.mails();
        let noted = mails
            .get_mut(&number)
            .and_then(|mail| mail.recipients.get_mut(recipient));
        if let Some(noted) = noted {
            *noted = answer;
        }
    }

    /// How many recipients were answered so.
    pub(super) fn count(&self, answer: Answer) -> u64 {
        let mails = self.mails();
        let answers = mails.values().flat_map(|mail| mail.recipients.values());
        let count = answers.filter(|one| **one == answer).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

/// The number of the message whose header is here: of a message itself, or of one that a report returns.
pub(super) fn number_of(content: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(content, MARK.as_bytes())?;
    let rest = content.get(at + MARK.len()..)?;
    let digits = rest.split(|byte| *byte == b'\r').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Local part of addresses that are nobody's.
const UNKNOWN: &str = "inconnu";
/// Begins the field that tells messages apart.
const MARK: &str = "X-Selftest: ";
/// One message of so many is too large to stay beside the rows.
const LARGE_EVERY: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_again_by_its_number() {
        for number in 0..200 {
            let mail = Mail::new(number, 1, number % 2 == 0, &mut Dice::part(1, number));
            let content = mail.content(1);
            assert_eq!(number_of(&content), Some(number));
            assert_eq!(content, mail.content(1));
            assert_eq!(content.len(), mail.size);
        }
        assert_eq!(number_of(b"Subject: 1\r\n"), None);
    }
}
