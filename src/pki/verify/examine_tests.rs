//! The examination says what `verify` says, of good chains and of bad ones, and names the check that failed.

#![cfg(test)]

use proptest::prelude::*;

use super::super::testing::{Space, days_later, now, server, with_profile};
use super::super::{Issued, Issuer, Profile, Request, RevocationReason};
use super::*;

/// One space with a certificate of every kind; making keys takes longer than judging.
struct Gallery {
    stores: Vec<TrustStore>,
    chains: Vec<Vec<CertificateDer<'static>>>,
}

fn gallery() -> Gallery {
    let (space, other) = (Space::new(), Space::new());
    let issued: Vec<Issued> = vec![
        space.issue(&server("a.chu.fr")),
        space.issue(&server("revoked.chu.fr")),
        space.issue(&with_profile(Profile::ServSslServerOnly)),
        space.issue(&with_profile(Profile::OrgAuthCli)),
        space.issue(&with_profile(Profile::OrgSign)),
        space.issue(&Request {
            validity_days: Some(10),
            ..server("short.chu.fr")
        }),
        other.issue(&server("foreign.chu.fr")),
    ];
    let reason = RevocationReason::KeyCompromise;
    space.authority.revoke(&issued[1].serial, reason, now()).unwrap();
    let mut chains: Vec<_> = issued.iter().map(|issued| issued.chain.clone()).collect();
    chains.push(Vec::new());
    chains.push(vec![space.authority.certificate(Issuer::Intermediate).clone()]);
    chains.push(vec![space.authority.certificate(Issuer::Root).clone()]);
    chains.push(vec![CertificateDer::from(b"no certificate".to_vec())]);
    chains.push(vec![chains[0][0].clone(); 12]);
    let root = vec![space.authority.certificate(Issuer::Root).clone()];
    let stores = vec![
        space.store(),
        space.store_with_crls(now()),
        space.store_with_crls(now()).with_usage_check(UsageCheck::Strict),
        TrustStore::new(root, Vec::new()).unwrap(),
        other.store(),
    ];
    Gallery { stores, chains }
}

fn agrees(store: &TrustStore, chain: &[CertificateDer<'_>], usage: Usage, at: Timestamp) {
    let examination = store.examine(chain, usage, at);
    assert_eq!(examination.verdict, store.verify(chain, usage, at));
    let failed: Vec<&Check> = examination
        .checks
        .iter()
        .filter(|check| check.outcome == Outcome::Failed)
        .collect();
    match &examination.verdict {
        Ok(_) => assert!(failed.is_empty(), "{failed:?}"),
        Err(refusal) => assert!(!failed.is_empty(), "{refusal}"),
    }
    let ids: Vec<CheckId> = examination.checks.iter().map(|check| check.id).collect();
    assert_eq!(ids, CheckId::ALL);
}

#[test]
fn the_examination_of_every_chain_says_what_the_verdict_says() {
    let gallery = gallery();
    for store in &gallery.stores {
        for chain in &gallery.chains {
            for usage in [Usage::Server, Usage::Client] {
                for days in [-1, 0, 1, 11, 2000, 6000, 9000] {
                    agrees(store, chain, usage, days_later(days));
                }
            }
        }
    }
}

#[test]
fn all_that_is_wrong_is_said_not_only_the_first() {
    let gallery = gallery();
    // Revoked, and expired long since.
    let examination = gallery.stores[1].examine(&gallery.chains[1], Usage::Client, days_later(2000));
    let outcome = |id| examination.check(id).unwrap().outcome;
    assert_eq!(outcome(CheckId::Certificate), Outcome::Passed);
    assert_eq!(outcome(CheckId::Chain), Outcome::Passed);
    assert_eq!(outcome(CheckId::Dates), Outcome::Failed);
    assert_eq!(outcome(CheckId::RevocationLeaf), Outcome::Failed);
    assert_eq!(outcome(CheckId::AllowList), Outcome::Skipped);
    let leaf = &examination.chain[0];
    assert_eq!(leaf.key, "ECDSA P-256");
    assert_eq!(leaf.signature, "ecdsa-with-SHA256");
    assert_eq!(leaf.extended_key_usage, ["serverAuth", "clientAuth"]);
    assert!(
        leaf.key_usage.contains(&"digitalSignature".to_owned()),
        "{:?}",
        leaf.key_usage
    );
    assert_eq!(leaf.names, ["dns:revoked.chu.fr"]);
    assert_eq!(leaf.crl_urls.len(), 1);
}

#[test]
fn each_failure_stands_at_its_own_check() {
    let gallery = gallery();
    let failed = |store: usize, chain: usize, usage, days| {
        let examination = gallery.stores[store].examine(&gallery.chains[chain], usage, days_later(days));
        let failed = examination
            .checks
            .iter()
            .filter(|check| check.outcome == Outcome::Failed);
        failed.map(|check| check.id).collect::<Vec<_>>()
    };
    assert_eq!(failed(1, 0, Usage::Client, 0), []);
    assert_eq!(failed(1, 1, Usage::Client, 0), [CheckId::RevocationLeaf]);
    assert_eq!(failed(2, 2, Usage::Client, 0), [CheckId::ExtendedKeyUsage]);
    assert_eq!(failed(2, 2, Usage::Server, 0), []);
    assert_eq!(failed(2, 3, Usage::Server, 0), [CheckId::ExtendedKeyUsage]);
    assert_eq!(failed(1, 4, Usage::Client, 0), [CheckId::KeyUsage]);
    assert_eq!(failed(0, 5, Usage::Client, 11), [CheckId::Dates]);
    assert_eq!(failed(0, 5, Usage::Client, -1), [CheckId::Dates]);
    assert_eq!(failed(1, 6, Usage::Client, 0), [CheckId::Chain]);
    assert_eq!(failed(1, 7, Usage::Client, 0), [CheckId::Certificate]);
    assert_eq!(failed(1, 10, Usage::Client, 0), [CheckId::Certificate]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_certificate_is_examined_as_it_is_judged(
        chain in 0usize..7,
        store in 0usize..5,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        days in -5i64..20,
    ) {
        thread_local! {
            static GALLERY: Gallery = gallery();
        }
        GALLERY.with(|gallery| {
            let mut chain = gallery.chains[chain].clone();
            let mut leaf = chain[0].to_vec();
            for (place, byte) in &changes {
                let place = place.index(leaf.len());
                leaf[place] = *byte;
            }
            chain[0] = CertificateDer::from(leaf);
            for usage in [Usage::Server, Usage::Client] {
                agrees(&gallery.stores[store], &chain, usage, days_later(days));
            }
        });
    }
}
