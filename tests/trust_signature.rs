//! The signature of the allow list against another implementation, both ways: what we sign `xmlsec1` verifies, what it signs we verify,
//! and what was altered both refuse.

#![cfg(test)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use vaguemestre::clock::Clock;
use vaguemestre::pki::{
    Authority, AuthorityOptions, ExpectedSigner, Identity, Issued, Issuer, KeyKind, Names, Profile, Request,
    RevocationReason, Subject, TrustStore, trust_bundle,
};
use vaguemestre::policy::Refusal;
use vaguemestre::trust::{
    AllowListDocument, ListedDomain, Mode, SignatureError, Signer, Transform, Verified, sign, verify, write,
};

use common::Program;

/// An authority and the files that `xmlsec1` wants.
struct Space {
    folder: TempDir,
    authority: Authority,
    signer: Issued,
    now: Timestamp,
}

static SPACE: LazyLock<Space> = LazyLock::new(Space::new);

impl Space {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // xmlsec1 judges certificates by the time of the machine.
        let now = Clock::system().now();
        let options = AuthorityOptions {
            base_url: "http://127.0.0.1:8080".to_owned(),
            key: Some(KeyKind::EcdsaP256),
            ..AuthorityOptions::default()
        };
        let authority = Authority::create_or_open(&folder.path().join("authority"), options, now).unwrap();
        let signer = authority
            .issue(&request(Profile::OrgSign, "Liste Blanche"), now)
            .unwrap();
        let space = Self {
            folder,
            authority,
            signer,
            now,
        };
        // xmlsec1 reads one certificate per file.
        for (name, issuer) in [("root.der", Issuer::Root), ("intermediate.der", Issuer::Intermediate)] {
            fs::write(space.folder.path().join(name), space.authority.certificate(issuer)).unwrap();
        }
        space.put("signer.pem", &space.signer.chain_pem());
        space.put("signer.key", space.signer.key_pem());
        space
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn identity(&self) -> Identity {
        self.signer.identity().unwrap()
    }

    fn unsigned(&self) -> String {
        let entry = |domain: &str| ListedDomain {
            domain: domain.parse().unwrap(),
            description: "Hôpital <de> l'Est & d'ailleurs".to_owned(),
            certificate: "CN=smtp.b.fr,OU=399999999900017,O=REGION \"B\",ST=Paris (75),C=FR"
                .parse()
                .unwrap(),
            responsible_contact: "a\r\nb".to_owned(),
            support_contact: String::new(),
            updated: self.now,
        };
        write(&AllowListDocument {
            generated: self.now,
            entries: vec![entry("a.mssante.fr"), entry("b.mssante.fr")],
        })
    }

    fn signed(&self, transform: Transform) -> String {
        sign(&self.unsigned(), &self.identity(), transform, self.now).unwrap()
    }

    fn store(&self, at: Timestamp) -> TrustStore {
        let crl = |issuer| self.authority.crl(issuer, at).unwrap();
        TrustStore::from_pem(trust_bundle(&self.authority).as_bytes())
            .unwrap()
            .with_crl(&crl(Issuer::Root))
            .unwrap()
            .with_crl(&crl(Issuer::Intermediate))
            .unwrap()
    }

    fn verify(&self, xml: &str) -> Result<Verified, SignatureError> {
        verify_by(xml, &self.store(self.now), &expected(), self.now)
    }

    /// Whether `xmlsec1` takes the signature, and its signer as one of the authority's.
    fn xmlsec1_verifies(&self, name: &str, xml: &str) -> bool {
        let file = self.put(name, xml);
        let finished = Program::new("xmlsec1")
            .args(["--verify", "--id-attr:Id", SIGNED_PROPERTIES, "--trusted-der"])
            .arg(self.folder.path().join("root.der"))
            .arg("--untrusted-der")
            .arg(self.folder.path().join("intermediate.der"))
            .arg(&file)
            .run();
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert!(!said.contains("issuer certificate"), "{said}");
        assert_eq!(
            finished.code == Some(0),
            said.lines().any(|line| line == "OK"),
            "{said}"
        );
        finished.code == Some(0)
    }
}

const SIGNED_PROPERTIES: &str = "http://uri.etsi.org/01903/v1.3.2#:SignedProperties";

fn verify_by(
    xml: &str,
    store: &TrustStore,
    expected: &ExpectedSigner,
    now: Timestamp,
) -> Result<Verified, SignatureError> {
    let judge = |signer: &Signer| -> Result<(), Refusal> { store.verify_signer(signer, expected, now).map(|_| ()) };
    verify(xml.as_bytes(), Mode::Strict, now, judge)
}

fn expected() -> ExpectedSigner {
    ExpectedSigner {
        common_name: Some("liste  blanche".to_owned()),
        structure: Some("399999999900017".to_owned()),
    }
}

fn request(profile: Profile, name: &str) -> Request {
    Request {
        profile,
        subject: Subject {
            common_name: name.to_owned(),
            structure: "399999999900017".to_owned(),
            organisation: "AGENCE & CIE".to_owned(),
            state: "Paris (75)".to_owned(),
            country: "FR".to_owned(),
        },
        names: Names::default(),
        key: None,
        validity_days: None,
    }
}

/// One replacement that must hit.
#[track_caller]
fn with(xml: &str, from: &str, to: &str) -> String {
    assert!(xml.contains(from), "{from:?} is not in the document");
    xml.replacen(from, to, 1)
}

/// What stands between two marks.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split_once(from).unwrap().1.split_once(to).unwrap().0
}

#[test]
fn what_we_sign_both_verify() {
    for (name, transform) in [
        ("filter2.xml", Transform::Filter2),
        ("enveloped.xml", Transform::Enveloped),
    ] {
        let xml = SPACE.signed(transform);
        assert!(SPACE.xmlsec1_verifies(name, &xml));
        assert_eq!(SPACE.verify(&xml).unwrap().parsed().list.entries().len(), 2);
    }
}

#[test]
fn what_the_other_signs_from_a_template_we_verify_with_either_transform() {
    for (name, transform) in [("filter2", Transform::Filter2), ("enveloped", Transform::Enveloped)] {
        let xml = SPACE.signed(transform);
        let mut template = xml.clone();
        let signed_info = between(&xml, "<ds:SignedInfo>", "</ds:SignedInfo>");
        let mut emptied = signed_info.to_owned();
        for part in signed_info.split("<ds:DigestValue>").skip(1) {
            emptied = emptied.replace(part.split('<').next().unwrap(), "");
        }
        template = template.replace(signed_info, &emptied);
        template = template.replace(
            between(between(&xml, "<ds:SignatureValue", "/ds:SignatureValue>"), ">", "<"),
            "",
        );
        assert!(template.contains("<ds:DigestValue></ds:DigestValue>") && !SPACE.xmlsec1_verifies("t.xml", &template));
        let template = SPACE.put(&format!("template-{name}.xml"), &template);
        let output = SPACE.folder.path().join(format!("signed-{name}.xml"));
        let key = format!(
            "{},{}",
            SPACE.folder.path().join("signer.key").display(),
            SPACE.folder.path().join("signer.pem").display()
        );
        Program::new("xmlsec1")
            .args([
                "--sign",
                "--id-attr:Id",
                SIGNED_PROPERTIES,
                "--privkey-pem",
                &key,
                "--output",
            ])
            .args([&output, &template])
            .run()
            .assert_success();
        let signed = fs::read_to_string(output).unwrap();
        let verified = SPACE
            .verify(&signed)
            .unwrap_or_else(|error| panic!("{error}\n{signed}"));
        assert_eq!(verified.parsed().list.entries().len(), 2);
        assert!(SPACE.xmlsec1_verifies("again.xml", &signed));
    }
}

#[test]
fn spelling_that_canonicalisation_removes_matters_to_neither() {
    let xml = SPACE.signed(Transform::Filter2);
    for (place, other) in [
        xml.replace('\n', "\r\n"),
        with(&xml, "Hôpital", "H&#xF4;pital"),
        with(&xml, "&amp; d'ailleurs", "<![CDATA[& d'ailleurs]]>"),
        with(
            &xml,
            "<ListeDomaines>",
            "<ListeDomaines ><!-- neither signed nor read -->",
        ),
        with(&xml, "<SupportContact></SupportContact>", "<SupportContact/>"),
        with(&xml, "a&#13;", "a&#xD;"),
        format!("{xml}<!-- after -->\n"),
    ]
    .iter()
    .enumerate()
    {
        assert!(
            SPACE.xmlsec1_verifies(&format!("spelling-{place}.xml"), other),
            "{place}"
        );
        let verified = SPACE.verify(other).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(verified.parsed().list.entries()[0].responsible_contact, "a\r\nb");
    }
}

#[test]
fn what_was_altered_both_refuse() {
    for transform in [Transform::Filter2, Transform::Enveloped] {
        let xml = SPACE.signed(transform);
        let digest = between(&xml, "<ds:DigestValue>", "<");
        let value = between(between(&xml, "<ds:SignatureValue", "/ds:SignatureValue>"), ">", "<");
        let certificate_digest = between(
            between(&xml, "<xades:CertDigest>", "</xades:CertDigest>"),
            "<ds:DigestValue>",
            "<",
        );
        let flipped = |text: &str| format!("{}{}", if text.starts_with('A') { "B" } else { "A" }, &text[1..]);
        let id = between(
            &xml,
            "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\" Id=\"",
            "\"",
        );
        for (place, (from, to)) in [
            ("a.mssante.fr", "c.mssante.fr"),
            ("399999999900017,O=", "399999999900018,O="),
            ("<Nom>b", "<Nom> b"),
            ("O=REGION", "o=REGION"),
            ("H\u{f4}pital", "Ho\u{302}pital"),
            ("</ListeDomaines>", "<Domaine/></ListeDomaines>"),
            ("<ListeDomaines>", "<ListeDomaines x=\"1\">"),
            ("<ListeDomaines>", "<ListeDomaines><?x y?>"),
            ("<ListeDomaines>", "<ListeDomaines xmlns=\"\">"),
            ("<DateDeG", "\n<DateDeG"),
            ("a&#13;", "a"),
            ("text/xml", "text/html"),
            ("<xades:SigningTime>2", "<xades:SigningTime>3"),
            (digest, &flipped(digest)),
            (value, &flipped(value)),
            (certificate_digest, &flipped(certificate_digest)),
            ("xmldsig-more#rsa-sha256", "xmldsig-more#rsa-sha512"),
            (&format!("xades-{id}\" "), &format!("other-{id}\" ")),
            (
                &format!("SignedProperties Id=\"xades-{id}"),
                &format!("SignedProperties Id=\"other-{id}"),
            ),
        ]
        .into_iter()
        .enumerate()
        {
            if !xml.contains(from) {
                assert!(from.ends_with("\" "), "{from:?} is not in the document");
                continue;
            }
            let other = with(&xml, from, to);
            assert!(SPACE.verify(&other).is_err(), "{from} -> {to}");
            assert!(
                !SPACE.xmlsec1_verifies(&format!("altered-{place}.xml"), &other),
                "{from} -> {to}"
            );
        }
    }
}

#[test]
fn a_document_wrapped_around_a_good_signature_is_refused() {
    let xml = SPACE.signed(Transform::Enveloped);
    let inner = between(&xml, "?>\n", "</ListeBlancheMSSante>").to_owned() + "</ListeBlancheMSSante>";
    let signature = format!(
        "<ds:Signature{}</ds:Signature>",
        between(&xml, "<ds:Signature", "</ds:Signature>")
    );
    let forged = inner.replace(&signature, "").replace("a.mssante.fr", "evil.mssante.fr");
    let body = |xml: &str| xml.rsplit_once("</ListeBl").unwrap().0.to_owned();
    for other in [
        // The signed list inside a forged one, with and without a signature of its own.
        format!("{}{inner}</ListeBlancheMSSante>", body(&forged)),
        format!("{}{inner}{signature}</ListeBlancheMSSante>", body(&forged)),
        format!("{}{signature}</ListeBlancheMSSante>", body(&forged)),
        // Moved into an Object of the signature itself.
        with(
            &xml,
            "</xades:QualifyingProperties>",
            &format!("{forged}</xades:QualifyingProperties>"),
        ),
    ] {
        assert!(SPACE.verify(&other).is_err(), "{other}");
    }
}

#[test]
fn the_signer_is_the_expected_one_of_the_authority_and_nobody_else() {
    let space = Space::new();
    let signed_by = |issued: &Issued| {
        sign(
            &space.unsigned(),
            &issued.identity().unwrap(),
            Transform::Filter2,
            space.now,
        )
        .unwrap()
    };
    let said =
        |xml: &str, store: &TrustStore, expected: &ExpectedSigner, now| match verify_by(xml, store, expected, now) {
            Err(SignatureError::Signer(refusal)) => refusal.to_string(),
            other => panic!("{other:?}"),
        };
    let xml = signed_by(&space.signer);
    let store = space.store(space.now);
    assert!(verify_by(&xml, &store, &expected(), space.now).is_ok());
    assert!(verify_by(&xml, &store, &ExpectedSigner::default(), space.now).is_ok());
    let named = |common_name: &str, structure: &str| ExpectedSigner {
        common_name: Some(common_name.to_owned()),
        structure: Some(structure.to_owned()),
    };
    assert!(
        said(&xml, &store, &named("Another List", "399999999900017"), space.now).contains("expected CN=Another List")
    );
    assert!(said(&xml, &store, &named("Liste Blanche", "300000000000000"), space.now).contains("expected OU=3000"));

    // Another use, another authority, too late, revoked.
    let server = space
        .authority
        .issue(&request(Profile::ServSsl, "Liste Blanche"), space.now)
        .unwrap();
    assert!(said(&signed_by(&server), &store, &expected(), space.now).contains("certificate-usage"));
    let client = space
        .authority
        .issue(&request(Profile::OrgAuthCli, "Liste Blanche"), space.now)
        .unwrap();
    assert!(said(&signed_by(&client), &store, &expected(), space.now).contains("certificate-usage"));
    let elsewhere = Space::new();
    assert!(
        said(&elsewhere.signed(Transform::Filter2), &store, &expected(), space.now).contains("certificate-untrusted")
    );
    let years_later = space.now + SignedDuration::from_hours(24 * 365 * 4);
    let store_then = space.store(years_later);
    assert!(said(&xml, &store_then, &expected(), years_later).contains("certificate-expired"));
    space
        .authority
        .revoke(&space.signer.serial, RevocationReason::KeyCompromise, space.now)
        .unwrap();
    let later = space.now + SignedDuration::from_mins(1);
    assert!(said(&xml, &space.store(later), &expected(), later).contains("certificate-revoked"));
}

#[test]
fn a_name_beside_the_certificate_that_is_not_its_own_is_refused() {
    let xml = SPACE.signed(Transform::Filter2);
    let named = between(&xml, "<ds:X509SubjectName>", "</ds:X509SubjectName>");
    let spelled = with(&xml, named, &named.to_lowercase().replace(",ou=", " , OU="));
    assert!(SPACE.verify(&spelled).is_ok());
    let error = SPACE
        .verify(&with(&xml, "Liste Blanche,OU", "Autre Liste,OU"))
        .unwrap_err();
    assert!(
        error.to_string().contains("X509SubjectName is not the subject"),
        "{error}"
    );
}

#[test]
fn a_key_that_is_not_rsa_signs_no_list() {
    let mut request = request(Profile::OrgSign, "Liste Blanche");
    request.key = Some(KeyKind::EcdsaP256);
    let issued = SPACE.authority.issue(&request, SPACE.now).unwrap();
    let error = sign(
        &SPACE.unsigned(),
        &issued.identity().unwrap(),
        Transform::Filter2,
        SPACE.now,
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("cannot sign with CN=Liste Blanche"),
        "{error}"
    );
}
