//! Tests of the judge of certificate chains.

use super::super::testing::{Space, days_later, now, openssl, put, server, with_profile};
use super::super::{Issued, Issuer, KeyKind, Profile, Request, RevocationReason, trust_bundle};
use super::words::TEXT_BYTES_MAX;
use super::*;

fn verdict(store: &TrustStore, issued: &Issued, usage: Usage, at: Timestamp) -> Result<PeerCertificate, Reason> {
    store.verify(&issued.chain, usage, at).map_err(|refusal| {
        assert!(
            refusal.text.is_ascii() && refusal.text.len() <= TEXT_BYTES_MAX,
            "{refusal}"
        );
        refusal.reason
    })
}

#[test]
fn a_valid_certificate_is_accepted_on_both_sides_and_read_whole() {
    let space = Space::new();
    let mut request = server("smtp.chu.fr");
    request.names.rfc822 = vec!["dui@chu.mssante.fr".to_owned()];
    let issued = space.issue(&request);
    let store = space.store_with_crls(now());
    for usage in [Usage::Server, Usage::Client] {
        let peer = verdict(&store, &issued, usage, now()).unwrap();
        assert_eq!(
            peer.subject.to_string(),
            "CN=smtp.chu.fr,OU=1990000010,O=CHU DES COLLINES,ST=Rhône (69),C=FR"
        );
        assert_eq!(peer.subject, issued.subject);
        assert_eq!(peer.serial, issued.serial);
        assert_eq!(peer.serial.len(), 32);
        assert_eq!(peer.not_after, issued.not_after);
        assert_eq!(peer.fingerprint, super::super::fingerprint(&issued.chain[0]));
        assert_eq!(peer.dns_names, ["smtp.chu.fr"]);
        assert_eq!(peer.rfc822_names, ["dui@chu.mssante.fr"]);
        assert!(peer.issuer.common_name().unwrap().starts_with("TEST AC IGC-SANTE"));
    }
    // The peer need not send the intermediate: we have it.
    assert!(store.verify(&issued.chain[..1], Usage::Client, now()).is_ok());
}

#[test]
fn rsa_is_accepted_too() {
    let space = Space::new();
    let issued = space.issue(&Request {
        key: None,
        ..server("smtp.chu.fr")
    });
    assert!(verdict(&space.store_with_crls(now()), &issued, Usage::Server, now()).is_ok());
}

#[test]
fn dates_are_judged_and_shown() {
    let space = Space::new();
    let issued = space.issue(&Request {
        validity_days: Some(10),
        ..server("smtp.chu.fr")
    });
    let store = space.store();
    assert!(verdict(&store, &issued, Usage::Client, days_later(10)).is_ok());
    let refusal = store.verify(&issued.chain, Usage::Client, days_later(11)).unwrap_err();
    assert_eq!(refusal.reason, Reason::CertificateExpired);
    assert!(refusal.text.starts_with("certificate of CN=smtp.chu.fr"), "{refusal}");
    assert!(refusal.text.contains("expired on 2026-12-01 10:00 UTC"), "{refusal}");
    let refusal = store.verify(&issued.chain, Usage::Client, days_later(-1)).unwrap_err();
    assert_eq!(refusal.reason, Reason::CertificateNotYetValid);
    assert!(
        refusal.text.contains("not valid before 2026-11-21 09:50 UTC"),
        "{refusal}"
    );
    // The intermediate ends before the root does.
    let long = space.issue(&Request {
        validity_days: Some(7000),
        ..server("smtp.chu.fr")
    });
    assert!(verdict(&store, &long, Usage::Client, days_later(5475)).is_ok());
    assert_eq!(
        verdict(&store, &long, Usage::Client, days_later(5476)),
        Err(Reason::CertificateExpired)
    );
}

#[test]
fn a_revoked_certificate_is_refused_with_its_date_and_others_are_not() {
    let space = Space::new();
    let (kept, revoked) = (space.issue(&server("a.chu.fr")), space.issue(&server("b.chu.fr")));
    let before = space.store_with_crls(now());
    assert!(verdict(&before, &revoked, Usage::Client, now()).is_ok());
    let reason = RevocationReason::KeyCompromise;
    space.authority.revoke(&revoked.serial, reason, now()).unwrap();
    let after = before
        .with_crl(&space.authority.crl(Issuer::Intermediate, now()).unwrap())
        .unwrap();
    let refusal = after.verify(&revoked.chain, Usage::Client, now()).unwrap_err();
    assert_eq!(refusal.reason, Reason::CertificateRevoked);
    assert!(
        refusal
            .text
            .contains("revoked on 2026-11-21 10:00 UTC by CN=TEST AC IGC"),
        "{refusal}"
    );
    assert!(refusal.text.contains(&revoked.serial), "{refusal}");
    assert!(verdict(&after, &kept, Usage::Client, now()).is_ok());
    // A snapshot does not change under a session.
    assert!(verdict(&before, &revoked, Usage::Client, now()).is_ok());
}

#[test]
fn a_revoked_intermediate_takes_everything_below_with_it() {
    let space = Space::new();
    let issued = space.issue(&server("smtp.chu.fr"));
    assert!(verdict(&space.store_with_crls(now()), &issued, Usage::Server, now()).is_ok());
    let intermediate = &space.authority.issued()[0];
    assert_eq!(intermediate.issuer, Issuer::Root);
    let reason = RevocationReason::CaCompromise;
    space.authority.revoke(&intermediate.serial, reason, now()).unwrap();
    let refusal = space
        .store_with_crls(now())
        .verify(&issued.chain, Usage::Server, now())
        .unwrap_err();
    assert_eq!(refusal.reason, Reason::CertificateRevoked);
    assert!(
        refusal.text.contains("the authority that issued CN=smtp.chu.fr"),
        "{refusal}"
    );
}

#[test]
fn another_authority_with_the_same_names_is_refused() {
    let (ours, theirs) = (Space::new(), Space::new());
    let issued = theirs.issue(&server("smtp.chu.fr"));
    let store = ours.store_with_crls(now());
    let refusal = store.verify(&issued.chain, Usage::Client, now()).unwrap_err();
    assert_eq!(refusal.reason, Reason::CertificateUntrusted);
    assert!(refusal.text.contains("another authority of that name"), "{refusal}");
    assert!(verdict(&theirs.store_with_crls(now()), &issued, Usage::Client, now()).is_ok());
    // Nor is its CRL taken.
    let crl = theirs.authority.crl(Issuer::Intermediate, now()).unwrap();
    assert!(matches!(ours.store().with_crl(&crl), Err(CrlError::BadSignature(_))));
}

#[test]
fn an_unknown_authority_is_refused_and_the_expected_one_is_named() {
    let space = Space::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["smtp.chu.fr".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "AC IGC-SANTE CONTREFAITE");
    let stranger = params.self_signed(&key).unwrap().der().clone();
    let refusal = space.store().verify(&[stranger], Usage::Client, now()).unwrap_err();
    assert_eq!(refusal.reason, Reason::CertificateUntrusted);
    assert!(
        refusal
            .text
            .contains("expected issuer CN=TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS"),
        "{refusal}"
    );
}

#[test]
fn only_a_configured_intermediate_may_issue() {
    let space = Space::new();
    let issued = space.issue(&server("smtp.chu.fr"));
    let certificate = |issuer| space.authority.certificate(issuer).clone();
    let accept = RevocationPolicy {
        missing: MissingRevocation::Accept,
        ..RevocationPolicy::default()
    };
    // Without configured intermediates the one the peer sends serves, and is needed.
    let root_only = TrustStore::new(vec![certificate(Issuer::Root)], Vec::new())
        .unwrap()
        .with_revocation(accept);
    assert!(verdict(&root_only, &issued, Usage::Client, now()).is_ok());
    let alone = root_only.verify(&issued.chain[..1], Usage::Client, now()).unwrap_err();
    assert_eq!(alone.reason, Reason::CertificateUntrusted);
    // With another one configured, the peer's is ignored.
    let other = Space::new().authority.certificate(Issuer::Intermediate).clone();
    let elsewhere = TrustStore::new(vec![certificate(Issuer::Root)], vec![other])
        .unwrap()
        .with_revocation(accept);
    assert_eq!(
        verdict(&elsewhere, &issued, Usage::Client, now()),
        Err(Reason::CertificateUntrusted)
    );
    // An authority's certificate is nobody's identity.
    let intermediate = [certificate(Issuer::Intermediate)];
    let refusal = space.store().verify(&intermediate, Usage::Client, now()).unwrap_err();
    assert_eq!(refusal.reason, Reason::CertificateUsage);
    // What the root issued itself is refused once intermediates are known.
    let direct = TrustStore::new(vec![certificate(Issuer::Intermediate)], Vec::new())
        .unwrap()
        .with_revocation(accept);
    assert!(direct.verify(&issued.chain[..1], Usage::Client, now()).is_ok());
    let both = TrustStore::new(
        vec![certificate(Issuer::Intermediate)],
        vec![certificate(Issuer::Intermediate)],
    )
    .unwrap();
    let refusal = both.verify(&issued.chain[..1], Usage::Client, now()).unwrap_err();
    assert!(refusal.text.contains("issued by the root itself"), "{refusal}");
}

#[test]
fn a_certificate_is_refused_outside_its_usage() {
    let space = Space::new();
    let [full, server_only, client, signer] = [
        Profile::ServSsl,
        Profile::ServSslServerOnly,
        Profile::OrgAuthCli,
        Profile::OrgSign,
    ]
    .map(|profile| space.issue(&with_profile(profile)));
    let either = space.store_with_crls(now());
    let strict = either.clone().with_usage_check(UsageCheck::Strict);
    let refused = Err(Reason::CertificateUsage);
    for (issued, usage, strictly, loosely) in [
        (&full, Usage::Server, true, true),
        (&full, Usage::Client, true, true),
        (&server_only, Usage::Server, true, true),
        (&server_only, Usage::Client, false, true),
        (&client, Usage::Client, true, true),
        (&client, Usage::Server, false, true),
        (&signer, Usage::Client, false, false),
        (&signer, Usage::Server, false, false),
    ] {
        for (store, accepted) in [(&strict, strictly), (&either, loosely)] {
            let found = verdict(store, issued, usage, now()).map(|_| ());
            assert_eq!(found, if accepted { Ok(()) } else { refused }, "{issued:?} {usage:?}");
        }
    }
    let refusal = strict.verify(&server_only.chain, Usage::Client, now()).unwrap_err();
    assert!(refusal.text.contains("does not include clientAuth"), "{refusal}");
}

#[test]
fn without_a_crl_the_policy_decides() {
    let space = Space::new();
    let issued = space.issue(&server("smtp.chu.fr"));
    assert!(verdict(&space.store(), &issued, Usage::Client, now()).is_ok());
    let refusing = space.store().with_revocation(RevocationPolicy::default());
    let refusal = refusing.verify(&issued.chain, Usage::Client, now()).unwrap_err();
    assert_eq!(refusal.reason, Reason::RevocationUnknown);
    assert_eq!(refusal.reason.code().0, 454);
    // The leaf's CRL does not speak for the intermediate.
    let crl = space.authority.crl(Issuer::Intermediate, now()).unwrap();
    let refusal = refusing
        .with_crl(&crl)
        .unwrap()
        .verify(&issued.chain, Usage::Client, now())
        .unwrap_err();
    assert!(refusal.text.contains("the authority that issued"), "{refusal}");
    assert_eq!(refusal.reason, Reason::RevocationUnknown);
}

#[test]
fn an_expired_crl_counts_for_a_while_and_its_revocations_for_ever() {
    let space = Space::new();
    let (good, revoked) = (space.issue(&server("a.chu.fr")), space.issue(&server("b.chu.fr")));
    space
        .authority
        .revoke(&revoked.serial, RevocationReason::Superseded, now())
        .unwrap();
    let store = space.store_with_crls(now());
    // 168 hours of validity, four of tolerance.
    let at = |hours| now() + jiff::SignedDuration::from_hours(hours);
    assert_eq!(store.next_crl_update(), Some(at(168)));
    assert!(verdict(&store, &good, Usage::Client, at(172)).is_ok());
    assert_eq!(
        verdict(&store, &good, Usage::Client, at(173)),
        Err(Reason::RevocationUnknown)
    );
    assert_eq!(
        verdict(&store, &revoked, Usage::Client, at(173)),
        Err(Reason::CertificateRevoked)
    );
    let strict = store.clone().with_revocation(RevocationPolicy {
        expired_crl_seconds_max: 0,
        ..RevocationPolicy::default()
    });
    assert!(verdict(&strict, &good, Usage::Client, at(168)).is_ok());
    assert_eq!(
        verdict(&strict, &good, Usage::Client, at(169)),
        Err(Reason::RevocationUnknown)
    );
    let lax = store.with_revocation(RevocationPolicy {
        missing: MissingRevocation::Accept,
        expired_crl_seconds_max: 0,
        ..RevocationPolicy::default()
    });
    assert!(verdict(&lax, &good, Usage::Client, at(173)).is_ok());
    assert_eq!(
        verdict(&lax, &revoked, Usage::Client, at(173)),
        Err(Reason::CertificateRevoked)
    );
}

#[test]
fn a_crl_is_taken_only_whole_signed_and_newer() {
    let space = Space::new();
    let store = space.store_with_crls(now());
    let held = space.authority.crl(Issuer::Intermediate, now()).unwrap();
    let newer = space.authority.crl(Issuer::Intermediate, days_later(5)).unwrap();
    assert_ne!(held, newer);
    let moved = store.with_crl(&newer).unwrap();
    assert!(matches!(moved.with_crl(&held), Err(CrlError::Older { .. })));
    assert!(moved.with_crl(&newer).is_ok());
    assert!(matches!(store.with_crl(b"not a CRL"), Err(CrlError::Unreadable(_))));
    assert!(matches!(
        store.with_crl(&held[..held.len() - 1]),
        Err(CrlError::Unreadable(_))
    ));
    let mut altered = held.clone();
    *altered.last_mut().unwrap() ^= 1;
    assert!(matches!(
        store.with_crl(&altered),
        Err(CrlError::BadSignature(_) | CrlError::Unreadable(_))
    ));
    let roots = TrustStore::new(vec![space.authority.certificate(Issuer::Root).clone()], Vec::new()).unwrap();
    assert!(matches!(roots.with_crl(&held), Err(CrlError::UnknownIssuer(_))));
}

#[test]
fn what_is_not_a_certificate_is_malformed_and_nothing_is_missing() {
    let space = Space::new();
    let store = space.store();
    let issued = space.issue(&server("smtp.chu.fr"));
    let whole = issued.chain[0].as_ref();
    let trailing = [whole, b"x"].concat();
    for bytes in [b"".as_slice(), b"junk", &whole[..whole.len() / 2], &trailing] {
        let refusal = store
            .verify(&[CertificateDer::from(bytes)], Usage::Client, now())
            .unwrap_err();
        assert_eq!(refusal.reason, Reason::CertificateMalformed, "{refusal}");
    }
    let crowd = vec![issued.chain[0].clone(); 11];
    let refusal = store.verify(&crowd, Usage::Client, now()).unwrap_err();
    assert_eq!(refusal.reason, Reason::CertificateMalformed);
    let refusal = store.verify(&[], Usage::Client, now()).unwrap_err();
    assert_eq!(refusal.reason, Reason::CertificateMissing);
}

#[test]
fn a_flipped_bit_never_passes() {
    let space = Space::new();
    let issued = space.issue(&server("smtp.chu.fr"));
    let store = space.store();
    let der = issued.chain[0].as_ref();
    for at in 0..der.len() {
        let mut bytes = der.to_vec();
        bytes[at] ^= 1;
        let verdict = store.verify(&[CertificateDer::from(bytes)], Usage::Client, now());
        assert!(verdict.is_err(), "bit at byte {at}");
    }
}

#[test]
fn authorities_that_are_none_are_refused() {
    let space = Space::new();
    let leaf = space.issue(&server("smtp.chu.fr")).chain[0].clone();
    let root = space.authority.certificate(Issuer::Root).clone();
    assert!(matches!(
        TrustStore::new(Vec::new(), vec![root.clone()]),
        Err(TrustStoreError::NoRoot)
    ));
    assert!(matches!(TrustStore::from_pem(b""), Err(TrustStoreError::NoRoot)));
    assert!(matches!(
        TrustStore::new(vec![root], vec![leaf]),
        Err(TrustStoreError::NotAnAuthority(_))
    ));
    let junk = CertificateDer::from(b"junk".as_slice());
    assert!(matches!(
        TrustStore::new(vec![junk], Vec::new()),
        Err(TrustStoreError::Unreadable { place: 1, .. })
    ));
}

#[test]
fn openssl_judges_the_same_way() {
    let space = Space::new();
    let folder = space.folder.path();
    let (good, revoked) = (space.issue(&server("a.chu.fr")), space.issue(&server("b.chu.fr")));
    space
        .authority
        .revoke(&revoked.serial, RevocationReason::KeyCompromise, now())
        .unwrap();
    put(folder, "bundle.pem", trust_bundle(&space.authority).as_bytes());
    put(folder, "good.pem", good.chain_pem().as_bytes());
    put(folder, "revoked.pem", revoked.chain_pem().as_bytes());
    for issuer in [Issuer::Root, Issuer::Intermediate] {
        let name = format!("{issuer:?}.der");
        put(folder, &name, &space.authority.crl(issuer, now()).unwrap());
        let read = ["crl", "-inform", "DER", "-in", &name];
        let text = openssl(
            folder,
            &[&read, ["-CAfile", "bundle.pem", "-noout", "-text"].as_slice()].concat(),
        );
        assert!(
            text.contains("verify OK") && text.contains("X509v3 CRL Number"),
            "{text}"
        );
        openssl(
            folder,
            &[&read, ["-out", &format!("{issuer:?}.pem")].as_slice()].concat(),
        );
    }
    let crls = [
        std::fs::read(folder.join("Root.pem")).unwrap(),
        std::fs::read(folder.join("Intermediate.pem")).unwrap(),
    ];
    put(folder, "crls.pem", &crls.concat());
    let at = now().as_second().to_string();
    let check = [
        "-attime",
        &at,
        "-x509_strict",
        "-crl_check_all",
        "-CRLfile",
        "crls.pem",
        "-CAfile",
        "bundle.pem",
    ];
    for purpose in ["sslserver", "sslclient"] {
        let arguments = [&["verify", "-purpose", purpose], check.as_slice(), &["good.pem"]].concat();
        assert!(openssl(folder, &arguments).contains("good.pem: OK"));
    }
    let mut verify = std::process::Command::new("openssl");
    verify.current_dir(folder).arg("verify").args(check).arg("revoked.pem");
    let output = verify.output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("certificate revoked"));
}

#[test]
fn a_certificate_has_the_fields_of_its_profile() {
    let space = Space::new();
    let folder = space.folder.path();
    put(
        folder,
        "good.pem",
        space.issue(&server("a.chu.fr")).chain_pem().as_bytes(),
    );
    let text = openssl(folder, &["x509", "-in", "good.pem", "-noout", "-text"]);
    for expected in [
        "Subject: C = FR, ST = Rh",
        "http://127.0.0.1:8080/crl/ACI-EL-ORG-TEST.crl",
        "DNS:a.chu.fr",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "X509v3 Subject Key Identifier",
        "X509v3 Authority Key Identifier",
        "1.2.250.1.71.1.2.5",
        "CA:FALSE",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn the_default_keys_are_rsa() {
    let space = Space::new();
    for (key, expected) in [(None, "Public-Key: (2048 bit)"), (Some(KeyKind::Rsa3072), "(3072 bit)")] {
        let issued = space.issue(&Request {
            key,
            ..server("smtp.chu.fr")
        });
        put(space.folder.path(), "rsa.pem", issued.chain_pem().as_bytes());
        let text = openssl(space.folder.path(), &["x509", "-in", "rsa.pem", "-noout", "-text"]);
        assert!(text.contains(expected), "{text}");
    }
}

/// A CRL of the intermediate that revokes nothing, with a scope of its own.
fn scoped_crl(space: &Space, url: &str, scope: Option<rcgen::CrlScope>) -> Vec<u8> {
    let folder = space.folder.path().join("authority");
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let key = rcgen::KeyPair::from_pem(&text("intermediate.key")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&text("intermediate.pem"), key).unwrap();
    let params = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 11, 20),
        next_update: rcgen::date_time_ymd(2026, 12, 20),
        crl_number: rcgen::SerialNumber::from(9),
        issuing_distribution_point: Some(rcgen::CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint {
                uris: vec![url.to_owned()],
            },
            scope,
        }),
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    params.signed_by(&issuer).unwrap().der().to_vec()
}

#[test]
fn a_partial_crl_speaks_only_for_what_it_covers() {
    let space = Space::new();
    let issued = space.issue(&server("smtp.chu.fr"));
    let root_crl = space.authority.crl(Issuer::Root, now()).unwrap();
    let base = space
        .store()
        .with_revocation(RevocationPolicy::default())
        .with_crl(&root_crl)
        .unwrap();
    let own = space.authority.crl_url(Issuer::Intermediate);
    let unknown = Err(Reason::RevocationUnknown);
    for (url, scope, expected) in [
        (own.as_str(), None, Ok(())),
        (&own, Some(rcgen::CrlScope::UserCertsOnly), Ok(())),
        (&own, Some(rcgen::CrlScope::CaCertsOnly), unknown),
        ("http://elsewhere.example/a.crl", None, unknown),
    ] {
        let store = base.with_crl(&scoped_crl(&space, url, scope)).unwrap();
        let found = verdict(&store, &issued, Usage::Client, now()).map(|_| ());
        assert_eq!(found, expected, "{url} {scope:?}");
    }
}

#[test]
fn an_expired_root_proves_nothing() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(2026, 11, 1);
    let root = params.self_signed(&key).unwrap().der().clone();
    let issuer = rcgen::Issuer::new(params, key);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::default()
        .signed_by(&leaf_key, &issuer)
        .unwrap()
        .der()
        .clone();
    let accept = RevocationPolicy {
        missing: MissingRevocation::Accept,
        ..RevocationPolicy::default()
    };
    let store = TrustStore::new(vec![root], Vec::new()).unwrap().with_revocation(accept);
    let chain = [leaf];
    assert!(store.verify(&chain, Usage::Client, days_later(-30)).is_ok());
    let refusal = store.verify(&chain, Usage::Client, now()).unwrap_err();
    assert_eq!(refusal.reason, Reason::CertificateExpired);
    assert!(refusal.text.starts_with("the root above"), "{refusal}");
}

#[test]
fn an_issuer_name_merely_containing_igc_sante_proves_nothing() {
    let space = Space::new();
    let folder = tempfile::tempdir().unwrap();
    let options = crate::pki::AuthorityOptions {
        chain: crate::pki::Chain::ProductionShaped,
        ..super::super::testing::options()
    };
    let lookalike = crate::pki::Authority::create_or_open(folder.path(), options, now()).unwrap();
    let issued = lookalike.issue(&server("smtp.chu.fr"), now()).unwrap();
    let name = certificate::read(&issued.chain[0]).unwrap().issuer;
    assert!(name.to_string().contains("IGC-SANTE"), "{name}");
    for store in [space.store(), space.store_with_crls(now())] {
        for usage in [Usage::Server, Usage::Client] {
            assert_eq!(
                verdict(&store, &issued, usage, now()),
                Err(Reason::CertificateUntrusted)
            );
        }
    }
}

#[test]
fn a_certificate_with_its_not_before_in_the_future_is_refused_to_the_second() {
    let space = Space::new();
    let issued = space.issue(&server("smtp.chu.fr"));
    let begin = certificate::read(&issued.chain[0]).unwrap().not_before;
    let store = space.store();
    for usage in [Usage::Server, Usage::Client] {
        let before = begin - jiff::SignedDuration::from_secs(1);
        assert_eq!(
            verdict(&store, &issued, usage, before),
            Err(Reason::CertificateNotYetValid)
        );
        assert!(verdict(&store, &issued, usage, begin).is_ok());
    }
}

#[test]
fn extended_key_usage_is_as_strict_as_configured() {
    let space = Space::new();
    let both = space.issue(&server("smtp.chu.fr"));
    let server_only = space.issue(&with_profile(Profile::ServSslServerOnly));
    let client_only = space.issue(&with_profile(Profile::OrgAuthCli));
    let strict = space.store().with_usage_check(UsageCheck::Strict);
    let either = space.store().with_usage_check(UsageCheck::EitherSide);
    let refused = |store: &TrustStore, issued: &Issued, usage| verdict(store, issued, usage, now()).err();
    for usage in [Usage::Server, Usage::Client] {
        assert_eq!(refused(&strict, &both, usage), None);
        assert_eq!(refused(&either, &server_only, usage), None);
        assert_eq!(refused(&either, &client_only, usage), None);
    }
    let wrong = Some(Reason::CertificateUsage);
    assert_eq!(refused(&strict, &server_only, Usage::Server), None);
    assert_eq!(refused(&strict, &server_only, Usage::Client), wrong);
    assert_eq!(refused(&strict, &client_only, Usage::Client), None);
    assert_eq!(refused(&strict, &client_only, Usage::Server), wrong);
}

#[test]
fn a_bundle_is_checked_file_by_file() {
    let space = Space::new();
    let bundle = trust_bundle(&space.authority);
    assert_eq!(TrustStore::check_pem(bundle.as_bytes()), Ok(()));
    assert_eq!(TrustStore::check_pem(b"nothing"), Err(TrustStoreError::Empty));
    let leaf = space.issue(&server("smtp.chu.fr")).chain_pem();
    assert!(matches!(
        TrustStore::check_pem(leaf.as_bytes()),
        Err(TrustStoreError::NotAnAuthority(_))
    ));
}
