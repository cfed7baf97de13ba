//! Delta CRLs, and which list takes another's place.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::pki::testing::{Space, days_later, now, server};
use crate::pki::{Issued, Issuer, RevocationReason, TrustStore, Usage};
use crate::policy::Reason;

fn hours_later(hours: i64) -> Timestamp {
    now() + SignedDuration::from_hours(hours)
}

fn reason(store: &TrustStore, issued: &Issued, at: Timestamp) -> Option<Reason> {
    let verdict = store.verify(&issued.chain, Usage::Client, at);
    verdict.err().map(|refusal| refusal.reason)
}

fn complete(space: &Space, at: Timestamp) -> Vec<u8> {
    space.authority.crl(Issuer::Intermediate, at).unwrap()
}

fn delta_at(space: &Space, at: Timestamp) -> Vec<u8> {
    space.authority.delta_crl(Issuer::Intermediate, at).unwrap()
}

#[test]
fn a_delta_brings_its_complete_list_up_to_date() {
    let space = Space::new();
    let issued = space.issue(&server("a.chu.fr"));
    let store = space.store_with_crls(now());
    let why = RevocationReason::KeyCompromise;
    space.authority.revoke(&issued.serial, why, hours_later(1)).unwrap();
    let delta = delta_at(&space, hours_later(1));
    let after = store.with_crl(&delta).unwrap();
    assert_eq!(reason(&store, &issued, hours_later(1)), None);
    assert_eq!(
        reason(&after, &issued, hours_later(1)),
        Some(Reason::CertificateRevoked)
    );
    // Without the list it continues it says nothing.
    let root_only = space
        .store()
        .with_crl(&space.authority.crl(Issuer::Root, now()).unwrap());
    assert!(matches!(root_only.unwrap().with_crl(&delta), Err(CrlError::NoBase(_))));
    // Both lists published at once, under one number: nothing new, and no error.
    let twin = delta_at(&space, hours_later(24 * 5));
    let new = complete(&space, hours_later(24 * 5));
    let both = store.with_crl(&new).unwrap().with_crl(&twin).unwrap();
    assert_eq!(
        reason(&both, &issued, hours_later(24 * 5)),
        Some(Reason::CertificateRevoked)
    );
    // The next complete list says it too, and takes both places.
    let next = after.with_crl(&complete(&space, hours_later(24 * 5))).unwrap();
    assert_eq!(
        reason(&next, &issued, hours_later(24 * 5)),
        Some(Reason::CertificateRevoked)
    );
}

#[test]
fn a_delta_takes_a_certificate_off_hold() {
    let space = Space::new();
    let issued = space.issue(&server("a.chu.fr"));
    let hold = RevocationReason::CertificateHold;
    space.authority.revoke(&issued.serial, hold, now()).unwrap();
    let before = space.store_with_crls(now());
    assert_eq!(reason(&before, &issued, now()), Some(Reason::CertificateRevoked));
    space.authority.release(&issued.serial, hours_later(1)).unwrap();
    let released = before.with_crl(&delta_at(&space, hours_later(1))).unwrap();
    assert_eq!(reason(&released, &issued, hours_later(1)), None);
}

#[test]
fn a_delta_of_another_complete_list_is_refused() {
    let space = Space::new();
    let issued = space.issue(&server("a.chu.fr"));
    let old = space.store_with_crls(now());
    // A new complete list, and the delta that continues that one.
    let newer = complete(&space, hours_later(24 * 5));
    let why = RevocationReason::KeyCompromise;
    space
        .authority
        .revoke(&issued.serial, why, hours_later(24 * 5 + 1))
        .unwrap();
    let delta = delta_at(&space, hours_later(24 * 5 + 1));
    assert!(matches!(old.with_crl(&delta), Err(CrlError::OtherBase(_))));
    assert!(old.with_crl(&newer).unwrap().with_crl(&delta).is_ok());
}

#[test]
fn a_damaged_or_foreign_delta_is_refused() {
    let (space, stranger) = (Space::new(), Space::new());
    let store = space.store_with_crls(now());
    stranger.store_with_crls(now());
    assert!(matches!(
        store.with_crl(&delta_at(&stranger, hours_later(1))),
        Err(CrlError::BadSignature(_))
    ));
    let mut damaged = delta_at(&space, hours_later(1));
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert!(matches!(store.with_crl(&damaged), Err(CrlError::BadSignature(_))));
    damaged.push(0);
    assert!(matches!(store.with_crl(&damaged), Err(CrlError::Unreadable(_))));
}

#[test]
fn a_crl_not_signed_by_the_issuer_is_refused() {
    let (space, stranger) = (Space::new(), Space::new());
    let crl = complete(&stranger, now());
    assert!(matches!(space.store().with_crl(&crl), Err(CrlError::BadSignature(_))));
    let folder = tempfile::tempdir().unwrap();
    let options = crate::pki::AuthorityOptions {
        chain: crate::pki::Chain::ProductionShaped,
        ..crate::pki::testing::options()
    };
    let other = crate::pki::Authority::create_or_open(folder.path(), options, now()).unwrap();
    let crl = other.crl(Issuer::Intermediate, now()).unwrap();
    assert!(matches!(space.store().with_crl(&crl), Err(CrlError::UnknownIssuer(_))));
}

#[test]
fn the_successor_of_a_store_keeps_what_is_newer_and_nothing_foreign() {
    let (space, stranger) = (Space::new(), Space::new());
    let issued = space.issue(&server("a.chu.fr"));
    let old = space.store_with_crls(now());
    let why = RevocationReason::KeyCompromise;
    space.authority.revoke(&issued.serial, why, hours_later(1)).unwrap();
    let new = old.with_crl(&complete(&space, hours_later(1))).unwrap();
    let at = hours_later(2);
    // The files hold the old list still: a reload does not bring it back.
    let reloaded = old.clone().succeeding(&new);
    assert_eq!(reason(&reloaded, &issued, at), Some(Reason::CertificateRevoked));
    // The other way round the files are newer.
    assert_eq!(
        reason(&new.clone().succeeding(&old), &issued, at),
        Some(Reason::CertificateRevoked)
    );
    assert_eq!(reason(&old.clone().succeeding(&old), &issued, at), None);
    // No list of an authority that is not believed any more.
    let theirs = stranger.store_with_crls(now());
    let successor = space.store().succeeding(&theirs);
    assert_eq!(successor.next_crl_update(), None);
}

#[test]
fn a_list_from_the_future_does_not_count_yet() {
    let space = Space::new();
    let issued = space.issue(&server("a.chu.fr"));
    let store = space.store_with_crls(now());
    let minutes = |minutes| now() - SignedDuration::from_mins(minutes);
    assert_eq!(reason(&store, &issued, minutes(4)), None);
    assert_eq!(reason(&store, &issued, minutes(6)), Some(Reason::RevocationUnknown));
}

#[test]
fn a_long_list_is_asked_in_no_time() {
    let space = Space::new();
    let issued = space.issue(&server("a.chu.fr"));
    let entry = |serial: u32| rcgen::RevokedCertParams {
        serial_number: rcgen::SerialNumber::from(serial.to_be_bytes().to_vec()),
        revocation_time: time::OffsetDateTime::from_unix_timestamp(now().as_second()).unwrap(),
        reason_code: None,
        invalidity_date: None,
    };
    let params = rcgen::CertificateRevocationListParams {
        this_update: time::OffsetDateTime::from_unix_timestamp(now().as_second()).unwrap(),
        next_update: time::OffsetDateTime::from_unix_timestamp(days_later(7).as_second()).unwrap(),
        crl_number: rcgen::SerialNumber::from(7u64),
        issuing_distribution_point: None,
        revoked_certs: (0..20_000).map(entry).collect(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    let signer = &space.authority.signer(Issuer::Intermediate).issuer;
    let crl = params.signed_by(signer).unwrap();
    let store = space.store_with_crls(now()).with_crl(crl.der()).unwrap();
    assert_eq!(reason(&store, &issued, now()), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_damaged_list_never_panics_and_is_never_taken(
        which in 0usize..2,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 1..=u8::MAX), 1..4),
    ) {
        thread_local! {
            static LISTS: (TrustStore, [Vec<u8>; 2]) = lists();
        }
        LISTS.with(|(store, lists)| {
            let mut list = lists[which].clone();
            for (place, flip) in &changes {
                let place = place.index(list.len());
                list[place] ^= flip;
            }
            if list != lists[which] {
                assert!(store.with_crl(&list).is_err());
            }
        });
    }

    #[test]
    fn any_bytes_are_no_list(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Crl::read(&bytes, &[]).is_err());
    }
}

fn lists() -> (TrustStore, [Vec<u8>; 2]) {
    let space = Space::new();
    let issued = space.issue(&server("a.chu.fr"));
    let store = space.store_with_crls(now());
    let why = RevocationReason::KeyCompromise;
    space.authority.revoke(&issued.serial, why, hours_later(1)).unwrap();
    (
        store,
        [complete(&space, hours_later(24 * 5)), delta_at(&space, hours_later(1))],
    )
}
