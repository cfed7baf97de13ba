//! Tests of the signature. `tests/trust_signature.rs` compares with another implementation.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use proptest::prelude::*;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize};

use super::*;
use crate::policy::Reason;
use crate::trust::parse::Mode;
use crate::trust::{AdmissionError, AllowList, AllowListDocument, HeldList, ListedDomain, SignaturePolicy, write};

struct Key {
    chain: Vec<CertificateDer<'static>>,
    subject: SubjectDn,
    pair: RsaKeyPair,
}

impl Key {
    fn new(name: &str) -> Self {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&pair).unwrap();
        Self {
            chain: vec![certificate.der().clone()],
            subject: format!("CN={name}").parse().unwrap(),
            pair: RsaKeyPair::from_pkcs8(&pair.serialize_der()).unwrap(),
        }
    }
}

impl ListSigner for Key {
    fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    fn subject(&self) -> &SubjectDn {
        &self.subject
    }

    fn sign_rsa_sha256(&self, message: &[u8]) -> Result<Vec<u8>, SigningProblem> {
        let mut value = vec![0; self.pair.public_modulus_len()];
        let signed = self
            .pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut value);
        signed.map(|()| value).map_err(|_| SigningProblem("refused".to_owned()))
    }
}

static SIGNER: LazyLock<Key> = LazyLock::new(|| Key::new("liste & blanche"));
static OTHER: LazyLock<Key> = LazyLock::new(|| Key::new("other"));

fn at() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn unsigned() -> String {
    let entry = |domain: &str| ListedDomain {
        domain: domain.parse().unwrap(),
        description: "Hôpital <de> l'Est & d'ailleurs".to_owned(),
        certificate: "CN=smtp.b.fr,OU=399999999900017,O=REGION \"B\",ST=Paris (75),C=FR"
            .parse()
            .unwrap(),
        responsible_contact: "a\r\nb".to_owned(),
        support_contact: String::new(),
        updated: at(),
    };
    write(&AllowListDocument {
        generated: at(),
        entries: vec![entry("a.mssante.fr"), entry("b.mssante.fr")],
    })
}

fn signed_with(transform: Transform) -> String {
    sign(&unsigned(), &*SIGNER, transform, at()).unwrap()
}

fn signed() -> String {
    signed_with(Transform::Filter2)
}

#[expect(clippy::unnecessary_wraps, reason = "a judge")]
fn accept(_: &Signer) -> Result<(), Refusal> {
    Ok(())
}

fn check(xml: &str) -> Result<Verified, SignatureError> {
    verify(xml.as_bytes(), Mode::Strict, at(), accept)
}

/// The step that refuses `xml`, and what is said.
#[track_caller]
fn refused(xml: &str) -> (SignatureStep, String) {
    let error = check(xml).expect_err("must be refused");
    (error.step(), error.to_string())
}

/// One replacement that must hit.
#[track_caller]
fn with(xml: &str, from: &str, to: &str) -> String {
    assert!(xml.contains(from), "{from:?} is not in the document");
    xml.replacen(from, to, 1)
}

#[test]
fn what_is_signed_verifies_with_either_transform_and_is_what_is_read() {
    for transform in [Transform::Filter2, Transform::Enveloped] {
        let xml = signed_with(transform);
        let verified = check(&xml).unwrap();
        assert_eq!(verified.parsed().list.entries().len(), 2);
        assert_eq!(verified.parsed().list.entries()[0].responsible_contact, "a\r\nb");
        assert_eq!(verified.signer().signed_at, at());
        assert_eq!(verified.signer().chain, SIGNER.chain);
        assert_eq!(verified.signer().named.as_ref(), Some(&SIGNER.subject));
        assert!(xml.ends_with("</ds:Signature></ListeBlancheMSSante>\n"), "{xml}");
        let plain = AllowList::parse(xml.as_bytes(), Mode::Strict).unwrap();
        assert_eq!(plain.list.entries(), verified.parsed().list.entries());
    }
}

#[test]
fn a_list_is_signed_anew_in_place_of_the_old_signature() {
    let later = at() + SignedDuration::from_mins(5);
    let again = sign(&signed(), &*OTHER, Transform::Enveloped, later).unwrap();
    assert_eq!(again.matches("<ds:Signature ").count(), 1);
    assert_eq!(check(&again).unwrap().signer().chain, OTHER.chain);
    let cut = unsigned().replace("</ListeBlancheMSSante>", "");
    assert!(sign(&cut, &*SIGNER, Transform::Filter2, at()).is_err());
    assert!(sign("<a/>", &*SIGNER, Transform::Filter2, at()).is_err());
}

#[test]
fn spelling_that_canonicalisation_removes_does_not_matter() {
    let xml = signed();
    for (from, to) in [
        (
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
            "\u{feff}<!-- before --><?xml-not-here?>",
        ),
        ("\n", "\r\n"),
        ("Hôpital", "H&#xF4;pital"),
        ("&amp; d'ailleurs", "<![CDATA[& d'ailleurs]]>"),
        ("<ListeDomaines>", "<ListeDomaines ><!-- not signed, not read -->"),
        ("<SupportContact></SupportContact>", "<SupportContact/>"),
    ] {
        let other = if from == "\n" {
            xml.replace(from, to)
        } else {
            with(&xml, from, to).replace("<?xml-not-here?>", "")
        };
        let verified = check(&other).unwrap_or_else(|error| panic!("{to}: {error}"));
        assert_eq!(
            verified.parsed().list.entries()[0].description,
            "Hôpital <de> l'Est & d'ailleurs"
        );
    }
}

#[test]
fn every_alteration_of_what_is_signed_is_refused() {
    let xml = signed();
    for (from, to) in [
        ("a.mssante.fr", "c.mssante.fr"),
        ("399999999900017", "399999999900018"),
        ("<Nom>b", "<Nom> b"),
        ("</ListeDomaines>", "<Domaine/></ListeDomaines>"),
        ("2026-11-21T10:00:00Z</DateD", "2026-11-21T10:00:01Z</DateD"),
        ("<ListeDomaines>", "<ListeDomaines x=\"1\">"),
        ("<ListeDomaines>", "<ListeDomaines><?x y?>"),
        ("<DateDeG", "\n<DateDeG"),
    ] {
        assert_eq!(refused(&with(&xml, from, to)).0, SignatureStep::List, "{from} -> {to}");
    }
    let time = "<xades:SigningTime>2026-11-21T10:00:00Z";
    let earlier = with(&xml, time, "<xades:SigningTime>2026-11-21T09:00:00Z");
    assert_eq!(refused(&earlier).0, SignatureStep::Properties);
    assert_eq!(
        refused(&with(&xml, "text/xml", "text/html")).0,
        SignatureStep::Properties
    );
    let digest = xml.split("<ds:DigestValue>").nth(1).unwrap().split('<').next().unwrap();
    let of_other = with(&xml, digest, "5bWaDcAnMrT0ba0P8bbo57L7Q7VbyAMrDc7/Dnvbf/4=");
    assert_eq!(refused(&of_other).0, SignatureStep::Value);
    let value = xml
        .split("SignatureValue Id=")
        .nth(1)
        .unwrap()
        .split(['>', '<'])
        .nth(1)
        .unwrap();
    let flipped = if value.starts_with('A') { "B" } else { "A" };
    assert_eq!(
        refused(&with(&xml, value, &format!("{flipped}{}", &value[1..]))).0,
        SignatureStep::Value
    );
}

#[test]
fn another_algorithm_is_refused_by_name() {
    let xml = signed_with(Transform::Enveloped);
    for (from, to) in [
        ("xmldsig-more#rsa-sha256", "xmldsig-more#rsa-sha512"),
        (
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            "http://www.w3.org/2000/09/xmldsig#rsa-sha1",
        ),
        (
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256",
        ),
        (
            "http://www.w3.org/2001/04/xmlenc#sha256",
            "http://www.w3.org/2000/09/xmldsig#sha1",
        ),
        (
            "http://www.w3.org/2001/04/xmlenc#sha512",
            "http://www.w3.org/2000/09/xmldsig#sha1",
        ),
        (
            "CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#",
            "CanonicalizationMethod Algorithm=\"http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
        ),
        (
            "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/>",
            "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#WithComments\"/>",
        ),
        (
            "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
            "http://www.w3.org/TR/1999/REC-xslt-19991116",
        ),
    ] {
        let error = check(&with(&xml, from, to)).unwrap_err();
        assert!(matches!(&error, SignatureError::Algorithm { .. }), "{to}: {error}");
    }
}

#[test]
fn another_shape_is_refused() {
    let (filter, plain) = (signed(), signed_with(Transform::Enveloped));
    let c14n = "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/>";
    let (begin, end) = (
        plain.find("<ds:Reference Type").unwrap(),
        plain.find("</ds:SignedInfo>").unwrap(),
    );
    let second = plain[begin..end].to_owned();
    for (xml, from, to) in [
        (&plain, c14n, &*format!("{c14n}{c14n}")),
        (&plain, c14n, ""),
        (&plain, &*second, &*format!("{second}{second}")),
        (&plain, &*second, ""),
        (&plain, "URI=\"\"", "URI=\"#x\""),
        (&plain, "URI=\"\"", ""),
        (&plain, "<ds:X509Data>", "<ds:KeyValue/><ds:X509Data>"),
        (&plain, "<ds:X509Data>", "<ds:KeyName>x</ds:KeyName><ds:X509Data>"),
        (&plain, "<ds:X509SubjectName>", "<ds:X509SubjectName><!-- -->"),
        (&plain, "<ds:X509SubjectName>", "<ds:X509SubjectName>="),
        (&plain, "<ds:Object>", "<ds:Object/><ds:Object>"),
        (&plain, "<ds:Object>", "<ds:Object Encoding=\"x\">"),
        (&plain, "<ds:DigestValue>", "<ds:DigestValue><!-- cut -->"),
        (&plain, "<ds:DigestValue>", "<ds:DigestValue>!"),
        (&plain, "<ds:SignedInfo>", "<ds:SignedInfo>text"),
        (
            &plain,
            "rsa-sha256\"/>",
            "rsa-sha256\"><ds:HMACOutputLength>8</ds:HMACOutputLength></ds:SignatureMethod>",
        ),
        (&plain, "Target=\"#", "Target=\"#x"),
        (&plain, "ObjectReference=\"#", "ObjectReference=\"#x"),
        (&plain, "Type=\"http://uri.etsi.org/01903#SignedProperties\" ", ""),
        (&plain, "2026-11-21T10:00:00Z</xades", "yesterday</xades"),
        (&filter, "Filter=\"subtract\"", "Filter=\"union\""),
        (&filter, "/descendant::ds:Signature", "/descendant::Domaine"),
        (&filter, "/descendant::ds:Signature", "/descendant::xades:Signature"),
        (&filter, "/descendant::ds:Signature", "//*"),
        (
            &filter,
            "</ds:Transform>",
            "<f2:XPath xmlns:f2=\"http://www.w3.org/2002/06/xmldsig-filter2\" Filter=\"subtract\">//x</f2:XPath></ds:Transform>",
        ),
    ] {
        let (step, text) = refused(&with(xml, from, to));
        assert_eq!(step, SignatureStep::Shape, "{from} -> {to}: {text}");
    }
}

#[test]
fn every_way_to_write_the_filter_of_the_signature_is_taken() {
    for path in [
        "//ds:Signature",
        " descendant::ds:Signature\n",
        "here()/ancestor::ds:Signature[1]",
    ] {
        let xml = with(&signed(), "/descendant::ds:Signature", path);
        // The text changed, so the value does not hold: but the shape does.
        assert_eq!(refused(&xml).0, SignatureStep::Value, "{path}");
    }
}

#[test]
fn a_signature_moved_wrapped_or_repeated_is_refused() {
    let xml = signed();
    let (begin, end) = (xml.find("<ds:Signature ").unwrap(), xml.find("</ListeBl").unwrap());
    let signature = xml[begin..end].to_owned();
    let without = xml.replace(&signature, "");
    let root = "<ListeBlancheMSSante xmlns=\"https://listeblanche.mssante.fr/schema\">";
    let id = signature.split('"').nth(3).unwrap();
    let inner = without.split_once('\n').unwrap().1.trim_end();
    for (other, expected) in [
        (
            with(&without, "<DateDeG", &format!("{signature}<DateDeG")),
            "something follows it",
        ),
        (
            with(&without, "<Domaine>", &format!("{signature}<Domaine>")),
            "not a child of the root",
        ),
        (
            with(&xml, "</ListeBl", &format!("{signature}</ListeBl")),
            "more than one",
        ),
        (with(&xml, "</ListeBl", "<x/></ListeBl"), "something follows it"),
        (with(&xml, "</ListeBl", "text</ListeBl"), "something follows it"),
        // The signed list wrapped in another one, as an Object or beside: the forged one is what a careless reader reads.
        (
            format!("{root}<ListeDomaines/>{inner}{signature}</ListeBlancheMSSante>"),
            "",
        ),
        (
            with(&xml, "<ListeDomaines>", "<ListeDomaines Id=\"x\">"),
            "stands outside it",
        ),
        (
            with(&xml, "<ds:KeyInfo>", &format!("<ds:KeyInfo Id=\"{id}\">")),
            "given twice",
        ),
    ] {
        let (step, text) = refused(&other);
        assert!(
            step <= SignatureStep::List && text.contains(expected),
            "{expected}: {text}"
        );
    }
    assert_eq!(check(&without).unwrap_err(), SignatureError::Missing);
    assert!(!is_signed(without.as_bytes()).unwrap() && is_signed(xml.as_bytes()).unwrap());
}

#[test]
fn the_key_is_the_one_of_the_signed_certificate() {
    use base64::Engine;
    let xml = signed();
    let encode = |key: &Key| base64::engine::general_purpose::STANDARD.encode(&key.chain[0]);
    let other = with(&xml, &encode(&SIGNER), &encode(&OTHER));
    assert_eq!(refused(&other).0, SignatureStep::Certificate);
    // The digest changed too: then the signed properties are not those that were signed.
    let digest = |key: &Key| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, &key.chain[0]);
        base64::engine::general_purpose::STANDARD.encode(digest)
    };
    let both = with(&other, &digest(&SIGNER), &digest(&OTHER));
    assert_eq!(refused(&both).0, SignatureStep::Value);
    let beside = with(
        &xml,
        "<ds:X509Certificate>",
        &format!(
            "<ds:X509Certificate>{}</ds:X509Certificate><ds:X509Certificate>",
            encode(&OTHER)
        ),
    );
    assert_eq!(check(&beside).unwrap().signer().chain[0], SIGNER.chain[0]);
}

#[test]
fn the_judge_has_the_last_word_and_is_asked_of_nobody_unproved() {
    let refuse = |_: &Signer| Err(Refusal::new(Reason::CertificateRevoked, "revoked"));
    let error = verify(signed().as_bytes(), Mode::Strict, at(), refuse).unwrap_err();
    assert_eq!(error.step(), SignatureStep::Signer);
    let altered = with(&signed(), "a.mssante", "c.mssante");
    let error = verify(altered.as_bytes(), Mode::Strict, at(), |_| unreachable!("altered")).unwrap_err();
    assert_eq!(error, SignatureError::ListAltered);
}

#[test]
fn a_signing_time_that_makes_no_sense_is_refused() {
    let hour = SignedDuration::from_hours(1);
    let from_future = sign(&unsigned(), &*SIGNER, Transform::Filter2, at() + hour).unwrap();
    assert!(refused(&from_future).1.contains("in the future of this machine"));
    assert!(verify(from_future.as_bytes(), Mode::Strict, at() + hour, accept).is_ok());
    let before_list = sign(&unsigned(), &*SIGNER, Transform::Filter2, at() - hour).unwrap();
    assert!(refused(&before_list).1.contains("the list was made after it"));
}

#[test]
fn bombs_types_and_huge_documents_are_refused_before_they_cost_anything() {
    let xml = signed();
    let bomb = "<!DOCTYPE l [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><ListeBlancheMSSante";
    for (other, expected) in [
        (with(&xml, "<ListeBlancheMSSante", bomb), "DOCTYPE"),
        (with(&xml, "<Nom>a", "<Nom>&b;a"), ""),
        (
            with(&xml, "<ListeBlancheMSSante", "<?pi x?><ListeBlancheMSSante"),
            "processing instruction",
        ),
        (with(&xml, "<Nom>", &"<x>".repeat(200)), ""),
        (format!("{xml}{}", "<".repeat(1_000_001)), "more than 1000000"),
        (xml[..xml.len() - 10].to_owned(), ""),
        (xml[..xml.len() / 2].to_owned(), ""),
        (String::new(), ""),
    ] {
        let (step, text) = refused(&other);
        assert!(
            step == SignatureStep::Document && text.contains(expected),
            "{expected}: {text}"
        );
    }
    assert_eq!(check("<a/>").unwrap_err().step(), SignatureStep::Document);
}

#[test]
fn lines_of_a_signed_list_are_those_of_its_file() {
    let bad = with(&unsigned(), "<Nom>b.mssante.fr", "<Nom>b@mssante.fr");
    let signed = sign(&bad, &*SIGNER, Transform::Filter2, at()).unwrap();
    let verified = verify(signed.as_bytes(), Mode::Salvage, at(), accept).unwrap();
    let plain = AllowList::parse(signed.as_bytes(), Mode::Salvage).unwrap();
    assert_eq!(verified.parsed().skipped, plain.skipped);
    assert_eq!(plain.skipped.len(), 1);
    assert_eq!(refused(&signed).0, SignatureStep::Entries);
}

#[test]
fn only_a_list_that_may_be_admitted_replaces_the_one_in_force() {
    let mut held = HeldList::new(SignaturePolicy::Require);
    let older = with(
        &unsigned(),
        "2026-11-21T10:00:00Z</DateD",
        "2026-11-20T10:00:00Z</DateD",
    );
    let older = sign(&older, &*SIGNER, Transform::Filter2, at()).unwrap();
    assert!(held.offer(unsigned().as_bytes(), at(), accept).is_err());
    assert!(held.list().is_none());
    assert!(held.offer(older.as_bytes(), at(), accept).is_ok());
    assert!(held.offer(signed().as_bytes(), at(), accept).unwrap().signer.is_some());
    let error = held.offer(older.as_bytes(), at(), accept).unwrap_err();
    assert!(matches!(error, AdmissionError::Older { .. }), "{error}");
    let refuse = |_: &Signer| Err(Refusal::new(Reason::CertificateRevoked, "revoked"));
    assert!(held.offer(signed().as_bytes(), at(), refuse).is_err());
    assert_eq!(held.list().unwrap().generated(), at());
    let late_clock = at() - SignedDuration::from_hours(24);
    assert!(held.offer(signed().as_bytes(), late_clock, accept).is_err());
}

#[test]
fn unsigned_is_accepted_on_request_only_and_altered_never() {
    let mut held = HeldList::new(SignaturePolicy::AcceptUnsigned);
    let cut = unsigned().replace("</ListeBlancheMSSante>", "");
    assert_eq!(held.offer(cut.as_bytes(), at(), accept).unwrap().skipped.len(), 1);
    assert!(
        held.offer(unsigned().as_bytes(), at(), accept)
            .unwrap()
            .signer
            .is_none()
    );
    assert!(held.offer(signed().as_bytes(), at(), accept).unwrap().signer.is_some());
    let altered = with(&signed(), "a.mssante", "c.mssante");
    assert!(held.offer(altered.as_bytes(), at(), accept).is_err());
    let early = at() - SignedDuration::from_hours(1);
    let error = held.offer(unsigned().as_bytes(), early, accept).unwrap_err();
    assert!(error.to_string().contains("check the clock"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(verify(&bytes, Mode::Salvage, at(), accept).is_err());
    }

    /// Whatever one byte becomes: refused, or read as it was signed.
    #[test]
    fn one_changed_byte_never_changes_what_is_read(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let xml = signed();
        let mut bytes = xml.clone().into_bytes();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(verified) = verify(&bytes, Mode::Salvage, at(), accept) {
            let signed = check(&xml).unwrap();
            prop_assert_eq!(verified.parsed().list.entries(), signed.parsed().list.entries());
            prop_assert_eq!(&verified.signer().chain, &signed.signer().chain);
        }
    }
}
