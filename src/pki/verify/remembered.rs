//! A good verdict, remembered: whoever keeps a connection asks before each further use of it, and mostly nothing but the time has changed.

use std::cell::Cell;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;

use super::revoked::Question;
use super::{Demand, TrustStore, Usage, certificate};
use crate::pki::PeerCertificate;
use crate::pki::revocation::{IssuerId, Link};
use crate::policy::Refusal;

/// Judges as [`TrustStore::verify_with`] does without an answer from the handshake, and remembers its last good verdict for as long as
/// that is certainly what it would say again. A refusal is never remembered.
///
/// A verdict depends on five things and on nothing else. It is used again only if none of them can have changed it:
/// - what is asked: the chain, the usage and the demand are compared, byte for byte.
/// - authorities, CRLs and policy: none of them changes within a store, so it must be the same store; an equal one is judged by anew.
/// - what OCSP responders said: stores share it and learn more at any time, so nothing may have been learnt or forgotten since.
/// - the signatures known to be good: whether one is known changes what a verdict costs, not what it is.
/// - the time: it is compared with dates and used for nothing else. These are the dates of the certificates that may be part of a path,
///   those of the CRLs, and those of the OCSP answers that were looked at. As long as none of them has been reached since, each
///   comparison comes out as it did then, so the same paths are found, the same answers looked at, and the same is said. A clock that
///   was set back has the chain judged anew.
#[derive(Debug, Default)]
pub struct Remembered(Option<Good>);

/// A chain that was found good.
#[derive(Debug)]
struct Good {
    peer: PeerCertificate,
    trust: Arc<TrustStore>,
    chain: Vec<CertificateDer<'static>>,
    asked: (Usage, Demand),
    /// How often OCSP answers had been learnt before it was judged.
    learnt: u64,
    /// When it was judged.
    since: Timestamp,
    /// The first date from then on that the time is compared with. From then on it is judged anew.
    until: Timestamp,
}

impl Remembered {
    /// Judges the chain a peer presented, leaf first, or says again what was found before.
    ///
    /// # Errors
    /// The refusal.
    pub fn verify(
        &mut self,
        trust: &Arc<TrustStore>,
        chain: &[CertificateDer<'static>],
        (usage, now): (Usage, Timestamp),
        demand: Demand,
    ) -> Result<&PeerCertificate, Refusal> {
        let asked = (usage, demand);
        let good = match self.0.take() {
            Some(good) if good.holds(trust, chain, asked, now) => good,
            _ => Good::judge(trust, chain, asked, now)?,
        };
        Ok(&self.0.insert(good).peer)
    }
}

impl Good {
    fn judge(
        trust: &Arc<TrustStore>,
        chain: &[CertificateDer<'static>],
        (usage, demand): (Usage, Demand),
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        // First, so that what another session learns meanwhile counts as learnt since.
        let learnt = trust.statuses.changes();
        let (peer, until) = trust.verify_until(chain, (usage, now), demand)?;
        Ok(Self {
            peer,
            trust: Arc::clone(trust),
            chain: chain.to_vec(),
            asked: (usage, demand),
            learnt,
            since: now,
            until,
        })
    }

    fn holds(
        &self,
        trust: &Arc<TrustStore>,
        chain: &[CertificateDer<'static>],
        asked: (Usage, Demand),
        now: Timestamp,
    ) -> bool {
        (self.since..self.until).contains(&now)
            && Arc::ptr_eq(&self.trust, trust)
            && self.learnt == trust.statuses.changes()
            && self.asked == asked
            && self.chain == chain
    }
}

impl TrustStore {
    /// The verdict, and the first date from `now` on that it compares the time with.
    fn verify_until(
        &self,
        chain: &[CertificateDer<'_>],
        (usage, now): (Usage, Timestamp),
        demand: Demand,
    ) -> Result<(PeerCertificate, Timestamp), Refusal> {
        // A certificate whose dates cannot be read here might have any: nothing is remembered then.
        let until = Cell::new(self.next_date(chain, now).unwrap_or(now));
        let question = Question {
            now,
            demand,
            staple: &[],
        };
        let peer = self.verify_path(chain, (usage, now), &|link, peer| {
            for date in self.answer_dates(link).filter(|date| *date >= now) {
                until.set(until.get().min(date));
            }
            self.judge_revocation(link, peer, &question).map(|_| ())
        })?;
        Ok((peer, until.get()))
    }

    /// The first date from `now` on of any certificate that may be part of a path, whether it will be or not, and of any CRL. `None`:
    /// one of them cannot be read.
    fn next_date(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Option<Timestamp> {
        let authorities = &self.authorities;
        let mut dates = authorities.root_ends.clone();
        for der in chain.iter().chain(&authorities.intermediates) {
            let parsed = certificate::parse(der).ok()?;
            let validity = parsed.validity();
            let not_after = certificate::timestamp(validity.not_after).ok()?;
            dates.push(certificate::timestamp(validity.not_before).ok()?);
            // They are compared by the second: a certificate is good for the whole of its last one.
            dates.push(not_after.saturating_add(SECOND).unwrap_or(Timestamp::MAX));
        }
        dates.extend(self.crls.dates(&self.revocation));
        let ahead = dates.into_iter().filter(|date| *date >= now).min();
        Some(ahead.unwrap_or(Timestamp::MAX))
    }

    /// Dates of the OCSP answer about a link.
    fn answer_dates(&self, link: &Link<'_>) -> impl Iterator<Item = Timestamp> {
        let asks = self.asks_ocsp();
        let known = asks.then(|| {
            let id = IssuerId::of(link.issuer);
            self.statuses.find(&id, link.certificate.serial())
        });
        let known = known.flatten().into_iter();
        known.flat_map(|known| [known.fresh_until, known.usable_until])
    }
}

const SECOND: SignedDuration = SignedDuration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::ocsp::OcspReply;
    use crate::pki::testing::{Space, now, server};
    use crate::pki::{Issued, Issuer, RevocationMethod, RevocationPolicy, RevocationReason};
    use crate::policy::Reason;

    fn hours_later(hours: i64) -> Timestamp {
        now() + SignedDuration::from_hours(hours)
    }

    fn milliseconds(count: i64) -> SignedDuration {
        SignedDuration::from_millis(count)
    }

    /// When the verdict was reached that is given at this time.
    fn judged(
        remembered: &mut Remembered,
        trust: &Arc<TrustStore>,
        issued: &Issued,
        at: Timestamp,
    ) -> Result<Timestamp, Reason> {
        let verdict = remembered.verify(trust, &issued.chain, (Usage::Server, at), Demand::Usable);
        let verdict = verdict.map(|_| ()).map_err(|refusal| refusal.reason);
        verdict.map(|()| remembered.0.as_ref().unwrap().since)
    }

    fn by_ocsp(space: &Space) -> TrustStore {
        space.store().with_revocation(RevocationPolicy {
            method: RevocationMethod::Ocsp,
            ..RevocationPolicy::default()
        })
    }

    /// Asks about every certificate of the chain of which nothing recent is known.
    fn learn(space: &Space, store: &TrustStore, issued: &Issued, at: Timestamp) {
        for question in store.status_questions(&issued.chain, Usage::Server, at) {
            let OcspReply::Answer { der, .. } = space.authority.ocsp(&question.request, at, None) else {
                panic!("nobody answers");
            };
            store.learn(&question, &der, at).unwrap();
        }
    }

    #[test]
    fn a_good_verdict_holds_until_a_date_is_reached_and_a_refusal_never_does() {
        let space = Space::new();
        let issued = space.issue(&server("smtp.chu.fr"));
        let trust = Arc::new(space.store_with_crls(now()));
        // 168 hours of validity, four of tolerance.
        let end = hours_later(172);
        let mut remembered = Remembered::default();
        for at in [now(), hours_later(1), end - milliseconds(1)] {
            assert_eq!(judged(&mut remembered, &trust, &issued, at), Ok(now()));
        }
        for at in [end - milliseconds(2), end] {
            // A clock that was set back, too.
            let mut other = Remembered::default();
            assert_eq!(
                judged(&mut other, &trust, &issued, end - milliseconds(1)),
                Ok(end - milliseconds(1))
            );
            assert_eq!(judged(&mut other, &trust, &issued, at), Ok(at));
        }
        for at in [end + milliseconds(1), hours_later(173)] {
            assert_eq!(
                judged(&mut remembered, &trust, &issued, at),
                Err(Reason::RevocationUnknown)
            );
            assert!(remembered.0.is_none());
        }
        assert_eq!(
            judged(&mut remembered, &trust, &issued, hours_later(2)),
            Ok(hours_later(2))
        );
    }

    #[test]
    fn a_certificate_is_refused_once_its_last_second_is_over() {
        let space = Space::new();
        let issued = space.issue(&server("smtp.chu.fr"));
        let trust = Arc::new(space.store());
        let last = certificate::read(&issued.chain[0]).unwrap().not_after;
        let mut remembered = Remembered::default();
        for at in [now(), last, last + milliseconds(999)] {
            assert_eq!(judged(&mut remembered, &trust, &issued, at), Ok(now()));
        }
        assert_eq!(
            judged(&mut remembered, &trust, &issued, last + SECOND),
            Err(Reason::CertificateExpired)
        );
    }

    #[test]
    fn a_root_that_ends_first_ends_what_is_remembered() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(2026, 12, 1);
        let root = params.self_signed(&key).unwrap().der().clone();
        let issuer = rcgen::Issuer::new(params, key);
        let leaf = rcgen::CertificateParams::default();
        let leaf = leaf.signed_by(&rcgen::KeyPair::generate().unwrap(), &issuer).unwrap();
        let accept = Space::new().store().revocation;
        let trust = TrustStore::new(vec![root], Vec::new()).unwrap().with_revocation(accept);
        let (trust, chain) = (Arc::new(trust), [leaf.der().clone()]);
        let end: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        let mut remembered = Remembered::default();
        let mut is_good = |at| {
            remembered
                .verify(&trust, &chain, (Usage::Server, at), Demand::Usable)
                .is_ok()
        };
        assert!(is_good(now()) && is_good(end) && !is_good(end + milliseconds(1)));
    }

    #[test]
    fn beside_a_certificate_that_cannot_be_read_nothing_is_remembered() {
        let space = Space::new();
        let mut issued = space.issue(&server("smtp.chu.fr"));
        let trust = Arc::new(space.store_with_crls(now()));
        // Only our own intermediates are looked at.
        issued.chain.push(CertificateDer::from(b"no certificate".to_vec()));
        let mut remembered = Remembered::default();
        for at in [now(), hours_later(1)] {
            assert_eq!(judged(&mut remembered, &trust, &issued, at), Ok(at));
        }
    }

    #[test]
    fn another_store_chain_usage_or_demand_is_judged_anew() {
        let space = Space::new();
        let issued = space.issue(&server("smtp.chu.fr"));
        let trust = Arc::new(space.store_with_crls(now()));
        let mut remembered = Remembered::default();
        assert_eq!(judged(&mut remembered, &trust, &issued, now()), Ok(now()));
        let equal = Arc::new(TrustStore::clone(&trust));
        assert_eq!(
            judged(&mut remembered, &equal, &issued, hours_later(1)),
            Ok(hours_later(1))
        );
        let renewed = space.issue(&server("smtp.chu.fr"));
        assert_eq!(
            judged(&mut remembered, &equal, &renewed, hours_later(2)),
            Ok(hours_later(2))
        );
        for (hour, usage, demand) in [(3, Usage::Client, Demand::Usable), (4, Usage::Client, Demand::Fresh)] {
            let question = (usage, hours_later(hour));
            remembered.verify(&equal, &renewed.chain, question, demand).unwrap();
            assert_eq!(
                remembered.0.as_ref().unwrap().since,
                hours_later(hour),
                "{usage:?} {demand:?}"
            );
        }
        let foreign = Space::new().issue(&server("smtp.chu.fr"));
        assert_eq!(judged(&mut remembered, &trust, &issued, now()), Ok(now()));
        assert_eq!(
            judged(&mut remembered, &trust, &foreign, now()),
            Err(Reason::CertificateUntrusted)
        );
        assert_eq!(judged(&mut remembered, &trust, &issued, now()), Ok(now()));
        let why = RevocationReason::KeyCompromise;
        space.authority.revoke(&issued.serial, why, now()).unwrap();
        let crl = space.authority.crl(Issuer::Intermediate, now()).unwrap();
        assert_eq!(
            judged(
                &mut remembered,
                &Arc::new(trust.with_crl(&crl).unwrap()),
                &issued,
                now()
            ),
            Err(Reason::CertificateRevoked)
        );
    }

    #[test]
    fn what_a_responder_says_meanwhile_counts_at_once() {
        let space = Space::new();
        let issued = space.issue(&server("smtp.chu.fr"));
        let trust = Arc::new(by_ocsp(&space));
        learn(&space, &trust, &issued, now());
        let mut remembered = Remembered::default();
        for minutes in [0, 59] {
            let at = now() + SignedDuration::from_mins(minutes);
            assert_eq!(judged(&mut remembered, &trust, &issued, at), Ok(now()));
        }
        let why = RevocationReason::KeyCompromise;
        space.authority.revoke(&issued.serial, why, now()).unwrap();
        // The answer is good for one hour. Another session of this peer, which may be judged by an older store, asks again.
        let soon = hours_later(1) + SECOND;
        learn(&space, &TrustStore::clone(&trust), &issued, soon);
        for at in [now(), soon] {
            let verdict = judged(&mut remembered, &trust, &issued, at);
            assert_eq!(verdict, Err(Reason::CertificateRevoked));
        }
    }

    /// A date that is forgotten would show at one of these moments.
    fn moments(trust: &TrustStore, issued: &Issued) -> Vec<Timestamp> {
        let hours = [1, 5, 168, 172].map(hours_later);
        let mut dates = vec![now(), now() - SignedDuration::from_mins(5)];
        dates.extend(hours);
        for der in trust.authorities.all.iter().chain(&issued.chain) {
            let read = certificate::read(der).unwrap();
            dates.extend([read.not_before, read.not_after]);
        }
        let around = |date: Timestamp| [-1, 0, 1, 1000].map(|count| date + milliseconds(count));
        let mut moments: Vec<_> = dates.into_iter().flat_map(around).collect();
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    #[test]
    fn the_verdict_is_the_same_at_any_moment_after_any_other() {
        let space = Space::new();
        let issued = space.issue(&server("smtp.chu.fr"));
        let asking = by_ocsp(&space);
        learn(&space, &asking, &issued, now());
        for (store, demand) in [
            (space.store(), Demand::Usable),
            (space.store_with_crls(now()), Demand::Usable),
            (asking.clone(), Demand::Usable),
            (asking, Demand::Fresh),
        ] {
            let trust = Arc::new(store);
            let moments = moments(&trust, &issued);
            let plain = |at: &Timestamp| trust.verify_with(&issued.chain, (Usage::Server, *at), demand, &[]);
            let verdicts: Vec<_> = moments.iter().map(plain).collect();
            for (first, second) in (0..moments.len()).flat_map(|one| (0..moments.len()).map(move |two| (one, two))) {
                let mut remembered = Remembered::default();
                for place in [first, second] {
                    let question = (Usage::Server, moments[place]);
                    let verdict = remembered.verify(&trust, &issued.chain, question, demand);
                    assert_eq!(
                        verdict.cloned(),
                        verdicts[place],
                        "{}, then {}",
                        moments[first],
                        moments[second]
                    );
                }
            }
        }
    }
}
