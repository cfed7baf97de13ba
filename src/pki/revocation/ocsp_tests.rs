//! What is made of OCSP answers, honest ones of the authority's responder and others.

#![cfg(test)]

use der::asn1::{Any, BitString, OctetString};
use der::{Decode, Encode};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rcgen::{KeyPair, SigningKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;
use crate::pki::ocsp::{OCSP_BASIC, OcspReply, OcspResponse, ResponseBytes, ResponseStatus};
use crate::pki::testing::{Space, days_later, now, options, server};
use crate::pki::{
    Authority, AuthorityOptions, Demand, Fault, Issued, Issuer, OcspSigner, RevocationReason, TrustStore, Usage,
};
use crate::policy::Reason;

fn by_ocsp(space: &Space) -> TrustStore {
    with_method(space, RevocationMethod::Ocsp)
}

/// No CRL at hand.
fn with_method(space: &Space, method: RevocationMethod) -> TrustStore {
    space.store().with_revocation(RevocationPolicy {
        method,
        ..RevocationPolicy::default()
    })
}

fn ask(authority: &Authority, question: &StatusQuestion, at: Timestamp, fault: Option<Fault>) -> Vec<u8> {
    match authority.ocsp(&question.request, at, fault) {
        OcspReply::Answer { der, .. } => der,
        OcspReply::Unreachable => panic!("nobody answers"),
    }
}

/// Asks about every certificate of the chain.
fn learn_all(space: &Space, store: &TrustStore, issued: &Issued, at: Timestamp) {
    for question in store.status_questions(&issued.chain, Usage::Client, at) {
        let answer = ask(&space.authority, &question, at, None);
        store.learn(&question, &answer, at).unwrap();
    }
}

fn reason(store: &TrustStore, issued: &Issued, at: Timestamp) -> Option<Reason> {
    let verdict = store.verify(&issued.chain, Usage::Client, at);
    verdict.err().map(|refusal| refusal.reason)
}

fn minutes_later(minutes: i64) -> Timestamp {
    now() + SignedDuration::from_mins(minutes)
}

#[test]
fn an_answer_decides_for_the_leaf_and_for_the_authority_above_it() {
    let space = Space::new();
    let (good, revoked) = (space.issue(&server("a.chu.fr")), space.issue(&server("b.chu.fr")));
    let why = RevocationReason::KeyCompromise;
    space.authority.revoke(&revoked.serial, why, now()).unwrap();
    let store = by_ocsp(&space);
    let refusal = store.verify(&good.chain, Usage::Client, now()).unwrap_err();
    assert_eq!(refusal.reason, Reason::RevocationUnknown);
    assert!(refusal.text.contains("no OCSP answer at hand"), "{refusal}");
    let questions = store.status_questions(&good.chain, Usage::Client, now());
    assert_eq!(questions.len(), 2, "leaf and intermediate");
    assert_eq!(questions[0].urls, [space.authority.ocsp_url()]);
    learn_all(&space, &store, &good, now());
    assert_eq!(reason(&store, &good, now()), None);
    assert!(store.status_questions(&good.chain, Usage::Client, now()).is_empty());
    learn_all(&space, &store, &revoked, now());
    let refusal = store.verify(&revoked.chain, Usage::Client, now()).unwrap_err();
    assert_eq!(refusal.reason, Reason::CertificateRevoked);
    assert!(refusal.text.contains("revoked on 2026-11-21 10:00 UTC"), "{refusal}");
    // A clone of the store, and its successor, know it too.
    assert_eq!(
        reason(&by_ocsp(&space).succeeding(&store), &revoked, now()),
        Some(Reason::CertificateRevoked)
    );

    let intermediate = space.authority.issued()[0].serial.clone();
    let why = RevocationReason::CaCompromise;
    space.authority.revoke(&intermediate, why, now()).unwrap();
    let store = by_ocsp(&space);
    learn_all(&space, &store, &good, now());
    assert_eq!(reason(&store, &good, now()), Some(Reason::CertificateRevoked));
}

#[test]
fn the_issuer_itself_may_sign_its_answers() {
    let folder = tempfile::tempdir().unwrap();
    let own = AuthorityOptions {
        ocsp_signer: OcspSigner::Issuer,
        ..options()
    };
    let authority = Authority::create_or_open(folder.path(), own, now()).unwrap();
    let space = Space { authority, folder };
    let issued = space.issue(&server("a.chu.fr"));
    let store = by_ocsp(&space);
    learn_all(&space, &store, &issued, now());
    assert_eq!(reason(&store, &issued, now()), None);
}

#[test]
fn an_unsigned_or_third_party_signed_ocsp_answer_is_refused() {
    let (space, stranger) = (Space::new(), Space::new());
    let issued = space.issue(&server("a.chu.fr"));
    let store = by_ocsp(&space);
    let question = &store.status_questions(&issued.chain, Usage::Client, now())[0];
    for fault in [Fault::Unsigned, Fault::WrongSigner] {
        let answer = ask(&space.authority, question, now(), Some(fault));
        assert_eq!(
            store.learn(question, &answer, now()),
            Err(OcspError::BadSignature),
            "{fault:?}"
        );
    }
    // Another authority with the same names, whose responder is honest in its own house.
    let theirs = stranger.issue(&server("a.chu.fr"));
    let their_store = by_ocsp(&stranger);
    let their_question = &their_store.status_questions(&theirs.chain, Usage::Client, now())[0];
    let answer = ask(&stranger.authority, their_question, now(), None);
    assert_eq!(store.learn(question, &answer, now()), Err(OcspError::BadSignature));
    // A certificate of the very issuer, without the right to answer.
    let honest = ask(&space.authority, question, now(), None);
    let server = space.issue(&server("clever.chu.fr"));
    let forged = signed_again(&honest, &server);
    assert_eq!(store.learn(question, &forged, now()), Err(OcspError::BadSignature));
    assert_eq!(
        reason(&store, &issued, now()),
        Some(Reason::RevocationUnknown),
        "nothing of it was kept"
    );
}

/// The same answer, signed by somebody else.
fn signed_again(answer: &[u8], signer: &Issued) -> Vec<u8> {
    let mut basic = OcspResponse::from_der(answer).unwrap().basic().unwrap().unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signer.key.clone()));
    let key = KeyPair::from_der_and_sign_algo(&key, &rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let signature = key.sign(&basic.signed().unwrap()).unwrap();
    basic.signature = BitString::from_bytes(&signature).unwrap();
    basic.certs = Some(vec![Any::from_der(&signer.chain[0]).unwrap()]);
    let bytes = ResponseBytes {
        response_type: OCSP_BASIC,
        response: OctetString::new(basic.to_der().unwrap()).unwrap(),
    };
    OcspResponse {
        status: ResponseStatus::Successful,
        bytes: Some(bytes),
    }
    .to_der()
    .unwrap()
}

#[test]
fn an_answer_must_be_about_this_certificate_this_question_and_now() {
    let space = Space::new();
    let (a, b) = (space.issue(&server("a.chu.fr")), space.issue(&server("b.chu.fr")));
    let store = by_ocsp(&space);
    let question = |issued: &Issued| store.status_questions(&issued.chain, Usage::Client, now()).remove(0);
    let (first, again, other) = (question(&a), question(&a), question(&b));
    let answer = ask(&space.authority, &first, now(), None);
    assert_eq!(
        store.learn(&again, &answer, now()),
        Err(OcspError::OtherQuestion),
        "a replay"
    );
    let answer_b = ask(&space.authority, &other, now(), None);
    let same_nonce = StatusQuestion {
        nonce: other.nonce.clone(),
        ..first.clone()
    };
    assert_eq!(
        store.learn(&same_nonce, &answer_b, now()),
        Err(OcspError::OtherCertificate)
    );
    let late = ask(&space.authority, &first, now(), Some(Fault::Late));
    assert!(matches!(store.learn(&first, &late, now()), Err(OcspError::TooOld(_))));
    let early = ask(&space.authority, &first, minutes_later(6), None);
    assert!(matches!(store.learn(&first, &early, now()), Err(OcspError::NotYet(_))));
    let unknown = ask(&space.authority, &first, now(), Some(Fault::Unknown));
    assert_eq!(store.learn(&first, &unknown, now()), Err(OcspError::UnknownCertificate));
    let nothing = OcspResponse::failure(ResponseStatus::TryLater);
    assert_eq!(
        store.learn(&first, &nothing, now()),
        Err(OcspError::NoAnswer(ResponseStatus::TryLater))
    );
    assert!(matches!(
        store.learn(&first, &vec![0; 70_000], now()),
        Err(OcspError::TooLarge(_))
    ));
    assert_eq!(
        reason(&store, &a, now()),
        Some(Reason::RevocationUnknown),
        "negative results are not good ones"
    );
    // Four minutes in the future is what clocks may differ by.
    let soon = ask(&space.authority, &first, minutes_later(4), None);
    assert_eq!(store.learn(&first, &soon, now()), Ok(()));
}

#[test]
fn a_cached_status_counts_for_four_hours_when_nobody_answers() {
    let space = Space::new();
    let issued = space.issue(&server("a.chu.fr"));
    let store = by_ocsp(&space);
    learn_all(&space, &store, &issued, now());
    let fresh = |at| {
        store
            .verify_with(&issued.chain, (Usage::Client, at), Demand::Fresh, &[])
            .is_ok()
    };
    // The responder says one hour.
    assert!(fresh(minutes_later(59)) && !fresh(minutes_later(61)));
    assert_eq!(
        store
            .status_questions(&issued.chain, Usage::Client, minutes_later(61))
            .len(),
        2
    );
    assert_eq!(reason(&store, &issued, minutes_later(60 + 239)), None);
    assert_eq!(
        reason(&store, &issued, minutes_later(60 + 241)),
        Some(Reason::RevocationUnknown)
    );
}

#[test]
fn what_one_source_says_is_revoked_is_revoked_whatever_the_order() {
    let space = Space::new();
    let issued = space.issue(&server("a.chu.fr"));
    let clean = space.authority.crl(Issuer::Intermediate, now()).unwrap();
    let ocsp_good = by_ocsp(&space);
    learn_all(&space, &ocsp_good, &issued, now());
    let why = RevocationReason::KeyCompromise;
    space.authority.revoke(&issued.serial, why, minutes_later(1)).unwrap();
    let dirty = space.authority.crl(Issuer::Intermediate, minutes_later(1)).unwrap();
    let root = space.authority.crl(Issuer::Root, now()).unwrap();
    let ocsp_revoked = by_ocsp(&space);
    learn_all(&space, &ocsp_revoked, &issued, minutes_later(1));
    let methods = [
        RevocationMethod::Ocsp,
        RevocationMethod::OcspThenCrl,
        RevocationMethod::CrlThenOcsp,
    ];
    let at = minutes_later(2);
    for method in methods {
        let store = |crl: &[u8], statuses: &TrustStore| {
            let store = with_method(&space, method).with_crl(&root).unwrap();
            store.with_crl(crl).unwrap().succeeding(statuses)
        };
        let verdict = |store: &TrustStore| reason(store, &issued, at);
        assert_eq!(verdict(&store(&clean, &ocsp_good)), None, "{method:?}");
        assert_eq!(
            verdict(&store(&dirty, &ocsp_good)),
            Some(Reason::CertificateRevoked),
            "{method:?}"
        );
    }
    // Where OCSP speaks first, or alone, it is heard over a list that does not know yet.
    for method in [RevocationMethod::Ocsp, RevocationMethod::OcspThenCrl] {
        let store = with_method(&space, method).with_crl(&root).unwrap();
        let store = store.with_crl(&clean).unwrap().succeeding(&ocsp_revoked);
        assert_eq!(
            reason(&store, &issued, at),
            Some(Reason::CertificateRevoked),
            "{method:?}"
        );
    }
}

#[test]
fn each_method_asks_whom_it_says() {
    let space = Space::new();
    let issued = space.issue(&server("a.chu.fr"));
    let crls = [Issuer::Root, Issuer::Intermediate].map(|issuer| space.authority.crl(issuer, now()).unwrap());
    let asked = |method, has_crls: bool| {
        let mut store = with_method(&space, method);
        for crl in crls.iter().filter(|_| has_crls) {
            store = store.with_crl(crl).unwrap();
        }
        let asked = store.status_questions(&issued.chain, Usage::Client, now()).len();
        (asked, reason(&store, &issued, now()))
    };
    let unknown = Some(Reason::RevocationUnknown);
    assert_eq!(asked(RevocationMethod::Crl, true), (0, None));
    assert_eq!(asked(RevocationMethod::Crl, false), (0, unknown));
    assert_eq!(asked(RevocationMethod::CrlThenOcsp, true), (0, None));
    assert_eq!(asked(RevocationMethod::CrlThenOcsp, false), (2, unknown));
    assert_eq!(asked(RevocationMethod::OcspThenCrl, true), (1, None));
    assert_eq!(asked(RevocationMethod::OcspThenCrl, false), (2, unknown));
    assert_eq!(
        asked(RevocationMethod::Ocsp, true),
        (1, unknown),
        "the list does not speak for the leaf"
    );
}

#[test]
fn urls_of_a_certificate_that_is_not_trusted_yet_are_never_asked() {
    let (space, stranger) = (Space::new(), Space::new());
    let store = by_ocsp(&space);
    let foreign = stranger.issue(&server("a.chu.fr"));
    assert!(store.status_questions(&foreign.chain, Usage::Client, now()).is_empty());
    let issued = space.issue(&server("a.chu.fr"));
    let questions = |at| store.status_questions(&issued.chain, Usage::Client, at).len();
    assert_eq!(questions(now()), 2);
    assert_eq!(questions(days_later(3000)), 0, "expired");
    assert_eq!(questions(days_later(-1)), 0, "not valid yet");
    assert!(store.status_questions(&[], Usage::Client, now()).is_empty());
}

#[test]
fn a_stapled_answer_is_believed_when_it_is_true() {
    let (space, stranger) = (Space::new(), Space::new());
    let issued = space.issue(&server("a.chu.fr"));
    let store = with_method(&space, RevocationMethod::OcspThenCrl);
    let store = store
        .with_crl(&space.authority.crl(Issuer::Root, now()).unwrap())
        .unwrap();
    let question = store.status_questions(&issued.chain, Usage::Server, now()).remove(0);
    let staple = ask(&space.authority, &question, now(), None);
    let judge = |store: &TrustStore, staple: &[u8]| {
        let verdict = store.verify_with(&issued.chain, (Usage::Server, now()), Demand::Usable, staple);
        verdict.err().map(|refusal| refusal.reason)
    };
    let unknown = Some(Reason::RevocationUnknown);
    assert_eq!(judge(&store, &[]), unknown);
    assert_eq!(judge(&store, b"no answer"), unknown);
    let forged = signed_again(&staple, &stranger.issue(&server("a.chu.fr")));
    assert_eq!(judge(&store, &forged), unknown);
    assert_eq!(judge(&store, &staple), None);
    assert_eq!(judge(&store, &[]), None, "it is remembered");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_damaged_answer_never_panics_and_never_says_anything_else(
        revoked in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        thread_local! {
            static ANSWERS: (TrustStore, [(StatusQuestion, Vec<u8>); 2]) = answers();
        }
        ANSWERS.with(|(store, answers)| {
            let (question, honest) = &answers[usize::from(revoked)];
            let mut answer = honest.clone();
            for (place, byte) in &changes {
                let place = place.index(answer.len());
                answer[place] = *byte;
            }
            let asked = Asked {
                issuer: &question.issuer,
                serial: &question.serial,
                nonce: Some(&question.nonce),
                is_revoked: &|_: &CertificateDer<'_>| false,
            };
            let policy = RevocationPolicy::default();
            let read = |answer: &[u8]| read_answer(answer, &asked, (&policy, now()));
            if let Ok(known) = read(&answer) {
                assert_eq!(known, read(honest).unwrap());
            }
            let cut = cut.index(answer.len());
            assert!(read(&answer[..cut]).is_err());
            let _ = store;
        });
    }

    #[test]
    fn any_bytes_are_an_answer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let certificate = CertificateDer::from(vec![0x30, 0]);
        let asked = Asked { issuer: &certificate, serial: &[1], nonce: None, is_revoked: &|_| false };
        prop_assert!(read_answer(&bytes, &asked, (&RevocationPolicy::default(), now())).is_err());
    }
}

fn answers() -> (TrustStore, [(StatusQuestion, Vec<u8>); 2]) {
    let space = Space::new();
    let (good, revoked) = (space.issue(&server("a.chu.fr")), space.issue(&server("b.chu.fr")));
    let why = RevocationReason::KeyCompromise;
    space.authority.revoke(&revoked.serial, why, now()).unwrap();
    let store = by_ocsp(&space);
    let answer = |issued: &Issued| {
        let question = store.status_questions(&issued.chain, Usage::Client, now()).remove(0);
        let answer = ask(&space.authority, &question, now(), None);
        (question, answer)
    };
    let answers = [answer(&good), answer(&revoked)];
    (store, answers)
}
