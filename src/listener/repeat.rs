//! Recognises a message that a peer hands over again because it never learnt that we had taken it.
//!
//! When the peer dies, or the connection breaks, between our 250 and the moment its queue notes it, RFC 5321 §4.5.5 leaves it no choice
//! but to send the message again, and the recipient would have it twice (RFC 1047). So each delivery has a key over everything that
//! identifies one item of the peer's queue: who the peer is, the reverse-path, the recipient, the `Message-ID`, and every byte of the
//! message before our own trace. The store keeps the keys of a while, in the transaction of the delivery, and refuses to use one twice.
//!
//! A person who sends the same message twice on purpose is not mistaken for a retry: each submission gets a `Received` field of its own
//! from the operator that took it, with its session and time, so the bytes differ. Only a retry of one queue item is the same to the last
//! byte. Hence a message without any `Received` field, which no operator can have queued, or without `Message-ID` has no key.

use aws_lc_rs::digest;

use crate::identity::Address;

/// What all recipients of one transaction share.
pub(super) struct Identified<'a> {
    /// The peer, as its certificate names it.
    pub(super) peer: &'a str,
    /// Reverse-path; `None` is `<>`.
    pub(super) sender: Option<&'a Address>,
    /// Value of the field.
    pub(super) message_id: &'a str,
    /// `Received` fields of the message as the peer sent it.
    pub(super) received_count: usize,
    /// SHA-256 of the message as the peer sent it.
    pub(super) content: [u8; KEY_BYTES],
}

impl Identified<'_> {
    /// The key of the delivery to `recipient`; `None` when a repetition could not be told from another message.
    pub(super) fn key(&self, recipient: &Address) -> Option<[u8; KEY_BYTES]> {
        if !is_recognisable(self.received_count, self.message_id) {
            return None;
        }
        let mut context = digest::Context::new(&digest::SHA256);
        let sender = self.sender.map_or("", Address::key);
        for part in [self.peer, sender, recipient.key(), self.message_id.trim()] {
            // Length first: no two lists of parts give the same bytes.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        context.update(&self.content);
        Some(finish(context))
    }
}

/// Whether a repetition of the message could be told from another message.
pub(super) fn is_recognisable(received_count: usize, message_id: &str) -> bool {
    received_count > 0 && !message_id.trim().is_empty()
}

/// The digest that a context comes to.
pub(super) fn finish(context: digest::Context) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key.copy_from_slice(context.finish().as_ref());
    key
}

/// Length of a SHA-256.
const KEY_BYTES: usize = digest::SHA256_OUTPUT_LEN;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SubjectDn;

    struct Sample {
        peer: SubjectDn,
        sender: Option<Address>,
        message_id: &'static str,
        received_count: usize,
        content: u8,
        recipient: Address,
    }

    fn sample() -> Sample {
        Sample {
            peer: "CN=mx.lilas.localhost,O=LILAS,C=FR".parse().unwrap(),
            sender: Some("dui@lilas.mssante.fr".parse().unwrap()),
            message_id: " <1@lilas.example>",
            received_count: 1,
            content: 7,
            recipient: "urgences@chu-demo.mssante.fr".parse().unwrap(),
        }
    }

    fn key(sample: &Sample) -> Option<[u8; KEY_BYTES]> {
        let peer = sample.peer.to_string();
        let identified = Identified {
            peer: &peer,
            sender: sample.sender.as_ref(),
            message_id: sample.message_id,
            received_count: sample.received_count,
            content: [sample.content; KEY_BYTES],
        };
        identified.key(&sample.recipient)
    }

    #[test]
    fn the_same_delivery_has_the_same_key_however_addresses_are_written() {
        let written = Sample {
            sender: Some("dui@LILAS.mssante.fr".parse().unwrap()),
            recipient: "Urgences@CHU-demo.mssante.fr".parse().unwrap(),
            ..sample()
        };
        assert_eq!(key(&sample()), key(&written));
        assert!(key(&sample()).is_some());
    }

    #[test]
    fn any_other_delivery_has_another_key() {
        let others = [
            Sample {
                peer: "CN=mx.ville.localhost,O=LILAS,C=FR".parse().unwrap(),
                ..sample()
            },
            Sample {
                sender: None,
                ..sample()
            },
            Sample {
                message_id: "<2@lilas.example>",
                ..sample()
            },
            Sample { content: 8, ..sample() },
            Sample {
                recipient: "pharmacie@chu-demo.mssante.fr".parse().unwrap(),
                ..sample()
            },
        ];
        for other in others {
            assert_ne!(key(&other), key(&sample()));
        }
    }

    #[test]
    fn what_no_queue_can_have_held_has_no_key() {
        for anonymous in [
            Sample {
                received_count: 0,
                ..sample()
            },
            Sample {
                message_id: " ",
                ..sample()
            },
        ] {
            assert_eq!(key(&anonymous), None);
        }
    }
}
