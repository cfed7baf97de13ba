//! Verified OCSP answers, remembered: bounded, shared between snapshots, keyed by issuer *and* serial number.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use aws_lc_rs::digest;
use jiff::Timestamp;
use rustls_pki_types::TrustAnchor;

/// Which authority, by name and key: two with one name are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::pki) struct IssuerId([u8; 32]);

impl IssuerId {
    pub(in crate::pki) fn of(issuer: &TrustAnchor<'_>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&issuer.subject.len().to_be_bytes());
        context.update(&issuer.subject);
        context.update(&issuer.subject_public_key_info);
        let mut id = [0; 32];
        id.copy_from_slice(context.finish().as_ref());
        Self(id)
    }

    pub(in crate::pki) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a responder said of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pki) struct Known {
    /// Since when it is revoked; none when it is good.
    pub(in crate::pki) revoked: Option<Timestamp>,
    /// When the responder knew it.
    pub(in crate::pki) this_update: Timestamp,
    /// Until then nobody is asked again.
    pub(in crate::pki) fresh_until: Timestamp,
    /// Until then it counts when nobody answers.
    pub(in crate::pki) usable_until: Timestamp,
}

/// The answers held. Reads take a shared lock for one look-up.
#[derive(Debug, Default)]
pub(in crate::pki) struct Statuses {
    held: RwLock<Held>,
}

#[derive(Debug, Default)]
struct Held {
    by_issuer: HashMap<IssuerId, HashMap<Box<[u8]>, Known>>,
    count: usize,
    changes: u64,
}

impl Statuses {
    /// What is known of a certificate.
    pub(in crate::pki) fn find(&self, issuer: &IssuerId, serial: &[u8]) -> Option<Known> {
        self.read().by_issuer.get(issuer)?.get(serial).copied()
    }

    /// How often something was learnt, and perhaps forgotten: as long as this is the same, so is what [`Self::find`] says.
    pub(in crate::pki) fn changes(&self) -> u64 {
        self.read().changes
    }

    /// Remembers an answer; an older one never replaces a newer one.
    pub(in crate::pki) fn remember(&self, issuer: IssuerId, serial: &[u8], known: Known) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.changes += 1;
        if held.count >= STATUSES_MAX {
            held.make_room(known.this_update);
        }
        let Held { by_issuer, count, .. } = &mut *held;
        match by_issuer.entry(issuer).or_default().entry(serial.into()) {
            std::collections::hash_map::Entry::Occupied(mut entry) => {
                if entry.get().this_update <= known.this_update {
                    entry.insert(known);
                }
            }
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(known);
                *count += 1;
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        // An answer is put in whole, so a panic elsewhere leaves nothing half-made.
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// What no longer counts goes; if that is not enough, everything good goes and is asked again. What is revoked stays.
    fn make_room(&mut self, now: Timestamp) {
        let still_counts = |known: &Known| known.revoked.is_some() || known.usable_until >= now;
        self.retain(still_counts);
        if self.count >= STATUSES_MAX {
            self.retain(|known| known.revoked.is_some());
        }
        if self.count >= STATUSES_MAX {
            // So many revoked certificates were really shown: the CRL is the place for them.
            self.by_issuer.clear();
            self.count = 0;
        }
    }

    fn retain(&mut self, keep: impl Fn(&Known) -> bool) {
        for answers in self.by_issuer.values_mut() {
            answers.retain(|_, known| keep(known));
        }
        self.count = self.by_issuer.values().map(HashMap::len).sum();
    }
}

/// Answers remembered: a whole trust space has some four hundred operators, a large one thousands of application certificates.
const STATUSES_MAX: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn known(revoked: Option<Timestamp>, this_update: i64, usable_until: i64) -> Known {
        Known {
            revoked,
            this_update: at(this_update),
            fresh_until: at(usable_until),
            usable_until: at(usable_until),
        }
    }

    #[test]
    fn the_same_serial_of_another_issuer_is_another_certificate() {
        let statuses = Statuses::default();
        let (ours, theirs) = (IssuerId([1; 32]), IssuerId([2; 32]));
        statuses.remember(ours, b"77", known(None, 10, 20));
        assert_eq!(statuses.find(&ours, b"77").unwrap().revoked, None);
        assert_eq!(statuses.find(&theirs, b"77"), None);
        assert_eq!(statuses.find(&ours, b"78"), None);
        statuses.remember(theirs, b"77", known(Some(at(5)), 10, 20));
        assert_eq!(statuses.find(&ours, b"77").unwrap().revoked, None);
    }

    #[test]
    fn an_older_answer_replaces_nothing() {
        let statuses = Statuses::default();
        let issuer = IssuerId([1; 32]);
        statuses.remember(issuer, b"77", known(Some(at(5)), 10, 20));
        statuses.remember(issuer, b"77", known(None, 9, 20));
        assert_eq!(statuses.find(&issuer, b"77").unwrap().revoked, Some(at(5)));
        statuses.remember(issuer, b"77", known(None, 11, 20));
        assert_eq!(statuses.find(&issuer, b"77").unwrap().revoked, None);
    }

    #[test]
    fn memory_is_bounded_and_what_is_revoked_is_forgotten_last() {
        let statuses = Statuses::default();
        let issuer = IssuerId([1; 32]);
        statuses.remember(issuer, b"revoked", known(Some(at(5)), 10, 20));
        for serial in 0..STATUSES_MAX * 2 {
            statuses.remember(issuer, &serial.to_be_bytes(), known(None, 100, 1000));
            assert!(statuses.read().count <= STATUSES_MAX);
        }
        assert!(statuses.find(&issuer, b"revoked").is_some());
    }
}
