//! Tests of handshakes in memory.

use std::io::{Read, Write};

use rustls::{ClientConnection, ProtocolVersion, ServerConnection};

use super::super::testing::{Space, days_later, now, server, with_profile};
use super::super::{Issuer, Profile, RevocationReason};
use super::*;

fn clock() -> Clock {
    Clock::manual(now())
}

fn face(space: &Space, clients: ClientCertificates) -> Arc<ServerConfig> {
    let identity = space.issue(&server("smtp.receiver.fr")).identity().unwrap();
    server_config(&identity, clients, TlsMinimum::Tls12, &clock()).unwrap()
}

fn peer(space: &Space, identity: Option<&Identity>) -> Arc<ClientConfig> {
    let expectation = Expectation::new(Arc::new(space.store_with_crls(now())));
    client_config(identity, expectation, TlsMinimum::Tls12, &clock()).unwrap()
}

/// A handshake in memory, then one byte each way; the errors of both sides.
fn shake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), (Option<io::Error>, Option<io::Error>)> {
    let name = ServerName::try_from("smtp.receiver.fr").unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let (mut client_error, mut server_error) = (None, None);
    // Four flights are enough for any handshake; twelve leave room for alerts and tickets.
    for _ in 0..12 {
        pass(&mut client, &mut server, &mut server_error);
        pass(&mut server, &mut client, &mut client_error);
    }
    if client_error.is_some() || server_error.is_some() {
        return Err((client_error, server_error));
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    client.writer().write_all(b"?").unwrap();
    pass(&mut client, &mut server, &mut server_error);
    let mut byte = [0];
    server.reader().read_exact(&mut byte).unwrap();
    server.writer().write_all(b"!").unwrap();
    pass(&mut server, &mut client, &mut client_error);
    client.reader().read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"!");
    Ok((client, server))
}

fn pass<A, B, S, T>(from: &mut A, to: &mut B, failed: &mut Option<io::Error>)
where
    A: std::ops::DerefMut<Target = rustls::ConnectionCommon<S>>,
    B: std::ops::DerefMut<Target = rustls::ConnectionCommon<T>>,
    S: rustls::SideData,
    T: rustls::SideData,
{
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut wire = wire.as_slice();
    while !wire.is_empty() && failed.is_none() {
        to.read_tls(&mut wire).unwrap();
        if let Err(error) = to.process_new_packets() {
            *failed = Some(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    }
}

fn judged(space: &Space, server: &ServerConnection) -> Result<PeerCertificate, Reason> {
    let chain = server.peer_certificates().unwrap_or_default();
    let verdict = space.store_with_crls(now()).verify(chain, Usage::Client, now());
    verdict.map_err(|refusal| refusal.reason)
}

#[test]
fn two_operators_prove_themselves_to_each_other() {
    let space = Space::new();
    let sender = space.issue(&server("smtp.sender.fr"));
    let client = peer(&space, Some(&sender.identity().unwrap()));
    let (client, server) = shake(&client, &face(&space, ClientCertificates::Requested)).unwrap();
    assert_eq!(judged(&space, &server).unwrap().subject, sender.subject);
    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(client.peer_certificates().unwrap().len(), 2);
}

#[test]
fn any_client_certificate_finishes_the_handshake_and_is_judged_after() {
    let (space, stranger) = (Space::new(), Space::new());
    let revoked = space.issue(&server("revoked.sender.fr"));
    let reason = RevocationReason::KeyCompromise;
    space.authority.revoke(&revoked.serial, reason, now()).unwrap();
    let foreign = stranger.issue(&server("smtp.sender.fr"));
    let signer = space.issue(&with_profile(Profile::OrgSign));
    let hints = space.store().issuer_hints();
    assert_eq!(hints.len(), 2);
    for clients in [ClientCertificates::Requested, ClientCertificates::Optional { hints }] {
        let face = face(&space, clients);
        for (issued, expected) in [
            (&foreign, Reason::CertificateUntrusted),
            (&revoked, Reason::CertificateRevoked),
            (&signer, Reason::CertificateUsage),
        ] {
            let client = peer(&space, Some(&issued.identity().unwrap()));
            let (_, server) = shake(&client, &face).unwrap();
            assert_eq!(judged(&space, &server), Err(expected));
        }
        let (_, server) = shake(&peer(&space, None), &face).unwrap();
        assert_eq!(judged(&space, &server), Err(Reason::CertificateMissing));
    }
}

#[test]
fn a_face_that_asks_for_nothing_gets_nothing() {
    let space = Space::new();
    let identity = space.issue(&server("smtp.sender.fr")).identity().unwrap();
    let (_, server) = shake(&peer(&space, Some(&identity)), &face(&space, ClientCertificates::None)).unwrap();
    assert!(server.peer_certificates().is_none());
}

#[test]
fn a_stolen_certificate_without_its_key_fails_the_handshake() {
    let space = Space::new();
    let (victim, thief) = (
        space.issue(&server("smtp.sender.fr")),
        space.issue(&server("smtp.thief.fr")),
    );
    let key = thief.identity().unwrap().certified().key.clone();
    let stolen = Arc::new(rustls::sign::CertifiedKey::new(victim.chain.clone(), key));
    let mut client = (*peer(&space, None)).clone();
    client.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(stolen));
    for versions in [TlsMinimum::Tls12, TlsMinimum::Tls13] {
        let identity = space.issue(&server("smtp.receiver.fr")).identity().unwrap();
        let face = server_config(&identity, ClientCertificates::Requested, versions, &clock()).unwrap();
        let (_, server_error) = shake(&Arc::new(client.clone()), &face).unwrap_err();
        assert!(server_error.unwrap().to_string().contains("BadSignature"));
    }
}

#[test]
fn a_client_says_nothing_to_a_server_it_cannot_prove_and_knows_why() {
    let (space, stranger) = (Space::new(), Space::new());
    let identity = space.issue(&server("smtp.sender.fr")).identity().unwrap();
    let foreign = face(&stranger, ClientCertificates::Requested);
    let (client_error, server_error) = shake(&peer(&space, Some(&identity)), &foreign).unwrap_err();
    let refusal = refusal_of(&client_error.unwrap()).unwrap();
    assert_eq!(refusal.reason, Reason::CertificateUntrusted);
    // The peer only sees an alert.
    assert_eq!(refusal_of(&server_error.unwrap()), None);
    assert_eq!(refusal_of(&io::Error::other("unrelated")), None);
    assert_eq!(refusal_of(&io::Error::from(io::ErrorKind::TimedOut)), None);
}

#[test]
fn a_client_refuses_a_revoked_or_expired_server() {
    let space = Space::new();
    let issued = space.issue(&server("smtp.receiver.fr"));
    let face = server_config(
        &issued.identity().unwrap(),
        ClientCertificates::None,
        TlsMinimum::Tls12,
        &clock(),
    );
    let face = face.unwrap();
    assert!(shake(&peer(&space, None), &face).is_ok());
    space
        .authority
        .revoke(&issued.serial, RevocationReason::Superseded, now())
        .unwrap();
    let (error, _) = shake(&peer(&space, None), &face).unwrap_err();
    assert_eq!(refusal_of(&error.unwrap()).unwrap().reason, Reason::CertificateRevoked);
    let expectation = Expectation::new(Arc::new(space.store()));
    let late = client_config(None, expectation, TlsMinimum::Tls12, &Clock::manual(days_later(2000))).unwrap();
    let (error, _) = shake(&late, &face).unwrap_err();
    assert_eq!(refusal_of(&error.unwrap()).unwrap().reason, Reason::CertificateExpired);
}

#[test]
fn the_rule_of_the_caller_is_asked_about_a_valid_certificate() {
    let space = Space::new();
    let face = face(&space, ClientCertificates::None);
    let only = |name: &'static str| -> SubjectRule {
        Arc::new(move |peer: &PeerCertificate| match peer.subject.common_name() {
            Some(found) if found == name => Ok(()),
            _ => Err(Refusal::new(
                Reason::CertificateNotForDomain,
                format!("expected {name}"),
            )),
        })
    };
    let with = |rule| {
        let expectation = Expectation::new(Arc::new(space.store())).with_rule(rule);
        client_config(None, expectation, TlsMinimum::Tls12, &clock()).unwrap()
    };
    assert!(shake(&with(only("smtp.receiver.fr")), &face).is_ok());
    let (error, _) = shake(&with(only("smtp.other.fr")), &face).unwrap_err();
    let refusal = refusal_of(&error.unwrap()).unwrap();
    assert_eq!(
        (refusal.reason, refusal.text.as_str()),
        (Reason::CertificateNotForDomain, "expected smtp.other.fr")
    );
}

#[test]
fn the_host_name_counts_only_when_asked() {
    let space = Space::new();
    let identity = space.issue(&server("another.receiver.fr")).identity().unwrap();
    let face = server_config(&identity, ClientCertificates::None, TlsMinimum::Tls12, &clock()).unwrap();
    let with = |check| {
        let expectation = Expectation::new(Arc::new(space.store())).with_host_name(check);
        client_config(None, expectation, TlsMinimum::Tls12, &clock()).unwrap()
    };
    assert!(shake(&with(HostNameCheck::Off), &face).is_ok());
    let (error, _) = shake(&with(HostNameCheck::On), &face).unwrap_err();
    let refusal = refusal_of(&error.unwrap()).unwrap();
    assert!(refusal.text.contains("smtp.receiver.fr"), "{refusal}");
    let right = self::face(&space, ClientCertificates::None);
    assert!(shake(&with(HostNameCheck::On), &right).is_ok());
}

#[test]
fn a_face_may_refuse_tls_1_2_and_speaks_it_otherwise() {
    let space = Space::new();
    let identity = space.issue(&server("smtp.receiver.fr")).identity().unwrap();
    let old = ClientConfig::builder_with_details(TlsPolicy::default().provider(), Arc::new(OurTime(clock())))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ProvedServer {
            algorithms: TlsPolicy::default().provider().signature_verification_algorithms,
            expectation: Expectation::new(Arc::new(space.store())),
        }))
        .with_no_client_auth();
    let old = Arc::new(old);
    let face = |minimum| server_config(&identity, ClientCertificates::None, minimum, &clock()).unwrap();
    let (client, _) = shake(&old, &face(TlsMinimum::Tls12)).unwrap();
    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    let suite = client.negotiated_cipher_suite().unwrap().suite();
    assert!(Suites::default().contains(suite), "{suite:?}");
    assert!(shake(&old, &face(TlsMinimum::Tls13)).is_err());
}

#[test]
fn a_resumed_session_still_shows_the_certificate_to_judge() {
    let space = Space::new();
    let face = face(&space, ClientCertificates::Requested);
    let sender = space.issue(&server("smtp.sender.fr"));
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        // Our own clients never resume; others do.
        let mut client =
            ClientConfig::builder_with_details(TlsPolicy::default().provider(), Arc::new(OurTime(clock())))
                .with_protocol_versions(versions)
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(ProvedServer {
                    algorithms: TlsPolicy::default().provider().signature_verification_algorithms,
                    expectation: Expectation::new(Arc::new(space.store())),
                }))
                .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(sender.identity().unwrap().certified())));
        client.resumption = Resumption::in_memory_sessions(4);
        let client = Arc::new(client);
        let (first, _) = shake(&client, &face).unwrap();
        assert_eq!(first.handshake_kind(), Some(rustls::HandshakeKind::Full));
        let (second, server) = shake(&client, &face).unwrap();
        assert_eq!(second.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
        assert_eq!(judged(&space, &server).unwrap().subject, sender.subject);
    }
    space
        .authority
        .revoke(&sender.serial, RevocationReason::KeyCompromise, now())
        .unwrap();
    let ours = peer(&space, Some(&sender.identity().unwrap()));
    for _ in 0..2 {
        let (again, server) = shake(&ours, &face).unwrap();
        assert_eq!(again.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(judged(&space, &server), Err(Reason::CertificateRevoked));
    }
    assert!(
        space
            .authority
            .issued()
            .iter()
            .any(|record| record.issuer == Issuer::Root)
    );
}

#[test]
fn no_credential_is_shown_before_the_peer_is_authenticated() {
    let (space, stranger) = (Space::new(), Space::new());
    let own = space.issue(&server("smtp.sender.fr")).identity().unwrap();
    let client = peer(&space, Some(&own));
    let foreign = stranger.issue(&server("smtp.receiver.fr")).identity().unwrap();
    for minimum in [TlsMinimum::Tls12, TlsMinimum::Tls13] {
        let face = server_config(&foreign, ClientCertificates::Requested, minimum, &clock()).unwrap();
        let name = ServerName::try_from("smtp.receiver.fr").unwrap();
        let mut client = ClientConnection::new(Arc::clone(&client), name).unwrap();
        let mut server = ServerConnection::new(face).unwrap();
        let (mut client_error, mut server_error) = (None, None);
        // What a careless client would say at once waits in its own buffer.
        client.writer().write_all(b"AUTH PLAIN secret").unwrap();
        for _ in 0..12 {
            pass(&mut client, &mut server, &mut server_error);
            pass(&mut server, &mut client, &mut client_error);
        }
        let refusal = refusal_of(&client_error.unwrap()).unwrap();
        assert_eq!(refusal.reason, Reason::CertificateUntrusted);
        assert!(
            server.peer_certificates().is_none(),
            "our certificate was shown to a stranger"
        );
        let mut byte = [0];
        assert!(
            server.reader().read_exact(&mut byte).is_err(),
            "something was said to a stranger"
        );
    }
}

#[test]
fn a_stapled_answer_spares_the_second_connection() {
    use crate::pki::ocsp::OcspReply;
    use crate::pki::{RevocationMethod, RevocationPolicy};
    let space = Space::new();
    let issued = space.issue(&server("smtp.receiver.fr"));
    let trust = space.store().with_revocation(RevocationPolicy {
        method: RevocationMethod::OcspThenCrl,
        ..RevocationPolicy::default()
    });
    let trust = trust
        .with_crl(&space.authority.crl(Issuer::Root, now()).unwrap())
        .unwrap();
    let staple = |trust: &TrustStore| {
        let question = trust.status_questions(&issued.chain, Usage::Server, now()).remove(0);
        match space.authority.ocsp(&question.request, now(), None) {
            OcspReply::Answer { der, .. } => der,
            OcspReply::Unreachable => panic!("nobody answers"),
        }
    };
    let face = |staple: Vec<u8>| {
        let identity = issued.identity().unwrap();
        let mut certified = (*identity.certified()).clone();
        certified.ocsp = Some(staple);
        let mut face =
            (*server_config(&identity, ClientCertificates::Requested, TlsMinimum::Tls12, &clock()).unwrap()).clone();
        face.cert_resolver = Arc::new(SingleCertAndKey::from(Arc::new(certified)));
        Arc::new(face)
    };
    let witness = Witness::new();
    let expectation = Expectation::new(Arc::new(trust.clone()))
        .with_demand(Demand::Fresh)
        .with_witness(witness.clone());
    let client = client_config(None, expectation, TlsMinimum::Tls12, &clock()).unwrap();
    let (error, _) = shake(&client, &face(b"no answer".to_vec())).unwrap_err();
    assert_eq!(refusal_of(&error.unwrap()).unwrap().reason, Reason::RevocationUnknown);
    assert_eq!(witness.chain(), issued.chain, "the chain to ask about");
    assert!(shake(&client, &face(staple(&trust))).is_ok());
    let why = RevocationReason::KeyCompromise;
    space.authority.revoke(&issued.serial, why, now()).unwrap();
    let fresh = trust.clone().succeeding(&space.store());
    let expectation = Expectation::new(Arc::new(fresh.clone()));
    let client = client_config(None, expectation, TlsMinimum::Tls12, &clock()).unwrap();
    let (error, _) = shake(&client, &face(staple(&fresh))).unwrap_err();
    assert_eq!(refusal_of(&error.unwrap()).unwrap().reason, Reason::CertificateRevoked);
}

#[test]
fn a_face_and_a_client_without_a_common_suite_do_not_meet() {
    let space = Space::new();
    let identity = space.issue(&server("smtp.receiver.fr")).identity().unwrap();
    let only = |name: &str| TlsPolicy {
        minimum: TlsMinimum::Tls12,
        suites: Suites::from_names([name]).unwrap(),
    };
    let face = server_config(
        &identity,
        ClientCertificates::Requested,
        only("TLS_AES_256_GCM_SHA384"),
        &clock(),
    )
    .unwrap();
    let client = |name| {
        let expectation = Expectation::new(Arc::new(space.store()));
        client_config(None, expectation, only(name), &clock()).unwrap()
    };
    assert!(shake(&client("TLS_AES_256_GCM_SHA384"), &face).is_ok());
    assert!(shake(&client("TLS_AES_128_GCM_SHA256"), &face).is_err());
    assert!(shake(&client("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"), &face).is_err());
}

#[test]
fn a_valid_certificate_of_another_host_is_refused_where_the_host_name_counts() {
    let space = Space::new();
    let other = space.issue(&server("smtp.elsewhere.fr")).identity().unwrap();
    let face = server_config(&other, ClientCertificates::None, TlsMinimum::Tls12, &clock()).unwrap();
    let client = |check| {
        let expectation = Expectation::new(Arc::new(space.store())).with_host_name(check);
        client_config(None, expectation, TlsMinimum::Tls12, &clock()).unwrap()
    };
    let (error, _) = shake(&client(HostNameCheck::On), &face).unwrap_err();
    let refusal = refusal_of(&error.unwrap()).unwrap();
    assert!(
        refusal.text.contains("not the one of host smtp.receiver.fr"),
        "{refusal}"
    );
    assert!(
        shake(&client(HostNameCheck::Off), &face).is_ok(),
        "between operators the whole subject decides"
    );
}
