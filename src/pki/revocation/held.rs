//! The CRLs a trust store holds: one complete list per issuer and scope, and the delta that brings it up to date (RFC 5280 §5.2.4).

use std::sync::Arc;

use jiff::Timestamp;

use super::crl::{Crl, CrlError, Entry};
use super::{Link, RevocationPolicy, Status, later};

/// Complete lists and their deltas. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(in crate::pki) struct Crls {
    held: Vec<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    complete: Arc<Crl>,
    delta: Option<Arc<Crl>>,
}

impl Crls {
    /// Takes a list, instead of the older one of the same issuer and scope. On an error nothing changes.
    pub(in crate::pki) fn take(&mut self, crl: Arc<Crl>) -> Result<(), CrlError> {
        let place = self.held.iter().position(|held| crl.replaces(&held.complete));
        match (place, crl.is_delta()) {
            (None, false) => self.held.push(Held {
                complete: crl,
                delta: None,
            }),
            (None, true) => return Err(CrlError::NoBase(crl.issuer.clone())),
            (Some(place), false) => self.held[place].replace(crl)?,
            (Some(place), true) => self.held[place].apply(crl)?,
        }
        Ok(())
    }

    /// Takes every list of `others` that is newer than the one held and whose issuer is still known.
    pub(in crate::pki) fn take_newer(&mut self, others: &Self, is_ours: impl Fn(&Crl) -> bool) {
        for other in others.held.iter().filter(|other| is_ours(&other.complete)) {
            for crl in std::iter::once(&other.complete).chain(&other.delta) {
                let held = self.held.iter().find(|held| crl.replaces(&held.complete));
                let is_newer = held.is_none_or(|held| held.lacks(crl));
                // A list that does not fit is one that is not needed: what is held stays.
                if is_newer && let Err(error) = self.take(Arc::clone(crl)) {
                    tracing::debug!(%error, "a revocation list held before is not needed any more");
                }
            }
        }
    }

    /// When the first of the complete lists, brought up to date by its delta, expires.
    pub(in crate::pki) fn next_update(&self) -> Option<Timestamp> {
        self.held.iter().map(Held::next_update).min()
    }

    /// When the oldest was made; a delta renews its base.
    pub(in crate::pki) fn oldest(&self) -> Option<Timestamp> {
        let made = |held: &Held| {
            let delta = held.delta.as_ref().map(|delta| delta.this_update);
            delta.map_or(held.complete.this_update, |delta| delta.max(held.complete.this_update))
        };
        self.held.iter().map(made).min()
    }

    /// What the lists say of a certificate.
    pub(in crate::pki) fn status(&self, link: &Link<'_>, (policy, now): (&RevocationPolicy, Timestamp)) -> Status<'_> {
        let mut status = Status::Unknown(None);
        for held in self.held.iter().filter(|held| held.complete.covers(link)) {
            if let Some((since, crl)) = held.revoked(link.certificate.serial()) {
                return Status::Revoked(since, super::super::verify::shown(&crl.issuer));
            }
            let [begin, end] = held.dates(policy);
            status = match status {
                Status::Good(said) => Status::Good(said),
                _ if begin <= now && now <= end => Status::Good("not on the CRL"),
                _ => Status::Unknown(Some(&*held.complete)),
            };
        }
        status
    }

    /// The dates that [`Self::status`] compares the time with, all of them.
    pub(in crate::pki) fn dates(&self, policy: &RevocationPolicy) -> impl Iterator<Item = Timestamp> {
        self.held.iter().flat_map(|held| held.dates(policy))
    }
}

impl Held {
    /// From when until when it can say that a certificate is good.
    fn dates(&self, policy: &RevocationPolicy) -> [Timestamp; 2] {
        let begin = self.complete.this_update.saturating_sub(policy.clock_tolerance());
        let end = later(self.next_update(), policy.expired_max());
        [begin.unwrap_or(Timestamp::MIN), end]
    }

    /// Whether a list of the same scope is newer than what is held of its kind.
    fn lacks(&self, crl: &Crl) -> bool {
        let last = if crl.is_delta() {
            self.delta.as_ref()
        } else {
            Some(&self.complete)
        };
        last.is_none_or(|last| last.this_update < crl.this_update)
    }

    fn replace(&mut self, crl: Arc<Crl>) -> Result<(), CrlError> {
        if self.complete.this_update > crl.this_update {
            return Err(older(&crl, &self.complete));
        }
        self.complete = crl;
        // The delta goes on only with the list that it brings up to date.
        self.delta = self.delta.take().filter(|delta| delta.updates(&self.complete));
        Ok(())
    }

    fn apply(&mut self, delta: Arc<Crl>) -> Result<(), CrlError> {
        if delta.adds_nothing_to(&self.complete) {
            return Ok(());
        }
        if !delta.updates(&self.complete) {
            return Err(CrlError::OtherBase(delta.issuer.clone()));
        }
        match &self.delta {
            Some(held) if held.this_update > delta.this_update => Err(older(&delta, held)),
            _ => {
                self.delta = Some(delta);
                Ok(())
            }
        }
    }

    fn next_update(&self) -> Timestamp {
        let delta = self.delta.as_ref().map(|delta| delta.next_update);
        delta.map_or(self.complete.next_update, |delta| delta.max(self.complete.next_update))
    }

    /// The delta speaks first: it may take a certificate off the list again.
    fn revoked(&self, serial: &[u8]) -> Option<(Timestamp, &Crl)> {
        match self
            .delta
            .as_ref()
            .and_then(|delta| Some((delta.entry(serial)?, delta)))
        {
            Some((Entry::Removed, _)) => None,
            Some((Entry::Revoked(since), delta)) => Some((since, delta)),
            None => match self.complete.entry(serial)? {
                Entry::Revoked(since) => Some((since, &*self.complete)),
                Entry::Removed => None,
            },
        }
    }
}

fn older(offered: &Crl, held: &Crl) -> CrlError {
    CrlError::Older {
        offered: offered.this_update,
        held: held.this_update,
        issuer: offered.issuer.clone(),
    }
}
