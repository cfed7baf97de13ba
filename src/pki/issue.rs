//! Issues a certificate from a profile.

use std::net::IpAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use rcgen::string::PrintableString;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, IsCa, KeyPair, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::identity::SubjectDn;

use super::authority::{AuthorityError, date, record_of, validity};
use super::certificate;
use super::create::{CERTIFICATE_FOLDER, PEM_BYTES_MAX};
use super::extension::{self, Addresses};
use super::files;
use super::profile::{NamePart, ProfileSection};
use super::{Authority, Identity, IdentityError, Issuer, KeyKind, Profile};

/// What to issue.
#[derive(Clone, Debug)]
pub struct Request {
    /// What for.
    pub profile: Profile,
    /// To whom.
    pub subject: Subject,
    /// Alternative names; a server gets its CN as DNS name too.
    pub names: Names,
    /// Kind of key; none for the profile's.
    pub key: Option<KeyKind>,
    /// Validity in days; none for the profile's. Never beyond the issuer's own.
    pub validity_days: Option<u32>,
}

/// The parts of a subject DN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// CN: FQDN of a server, name of a software or service.
    pub common_name: String,
    /// OU: national structure identifier, `1` + FINESS or `3` + SIRET.
    pub structure: String,
    /// O: raison sociale; the field cuts it at 40 characters.
    pub organisation: String,
    /// ST: `Département (NN)`.
    pub state: String,
    /// C: two letters.
    pub country: String,
}

/// Alternative names of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Host names.
    pub dns: Vec<String>,
    /// Mail addresses: the application boxes a software opens.
    pub rfc822: Vec<String>,
    /// Addresses, for clients that connect to a loopback address.
    pub ip: Vec<IpAddr>,
}

/// A certificate just issued, with its key. The authority keeps no copy of the key.
#[derive(Clone)]
pub struct Issued {
    /// Leaf, then intermediate.
    pub chain: Vec<CertificateDer<'static>>,
    /// The root, for files that carry the whole chain.
    pub root: CertificateDer<'static>,
    /// Full subject DN: what goes on the allow list.
    pub subject: SubjectDn,
    /// Serial number, lower-case hexadecimal.
    pub serial: String,
    /// End of validity.
    pub not_after: Timestamp,
    pub(super) key: Vec<u8>,
    key_pem: String,
}

impl Issued {
    /// Leaf and intermediate, PEM.
    pub fn chain_pem(&self) -> String {
        certificate::pem(&self.chain)
    }

    /// The private key, PKCS#8 PEM. Write it with [`super::write_private`].
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Ready for TLS.
    pub fn identity(&self) -> Result<Identity, IdentityError> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        Identity::new(self.chain.clone(), key)
    }
}

impl std::fmt::Debug for Issued {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("subject", &self.subject)
            .field("serial", &self.serial)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// A certificate just issued for a key that its owner keeps.
#[derive(Clone, Debug)]
pub struct Certified {
    /// Leaf, then intermediate.
    pub chain: Vec<CertificateDer<'static>>,
    /// The root, for files that carry the whole chain.
    pub root: CertificateDer<'static>,
    /// Full subject DN: what goes on the allow list.
    pub subject: SubjectDn,
    /// Serial number, lower-case hexadecimal.
    pub serial: String,
    /// End of validity.
    pub not_after: Timestamp,
}

impl Certified {
    /// Leaf and intermediate, PEM.
    pub fn chain_pem(&self) -> String {
        certificate::pem(&self.chain)
    }
}

impl Authority {
    /// Issues a certificate with a new key. It is in the registry, durably, when this returns.
    pub fn issue(&self, request: &Request, now: Timestamp) -> Result<Issued, AuthorityError> {
        let key = request.key.unwrap_or(self.profile(request.profile)?.key).generate()?;
        let certified = self.certify(request, &key, now)?;
        Ok(Issued {
            chain: certified.chain,
            root: certified.root,
            subject: certified.subject,
            serial: certified.serial,
            not_after: certified.not_after,
            key: KeyPair::serialize_der(&key),
            key_pem: key.serialize_pem(),
        })
    }

    /// Issues a certificate for a public key whose private half somebody else has proved to hold.
    pub(super) fn certify(
        &self,
        request: &Request,
        key: &impl PublicKeyData,
        now: Timestamp,
    ) -> Result<Certified, AuthorityError> {
        let params = self.leaf_params(request, self.profile(request.profile)?, now)?;
        let signer = self.signer(Issuer::Intermediate);
        let leaf = params.signed_by(key, &signer.issuer)?.der().clone();
        let record = record_of(&leaf, Issuer::Intermediate, Some(request.profile))?;
        let certified = Certified {
            subject: certificate::read(&leaf)?.subject,
            serial: record.serial.clone(),
            not_after: record.not_after,
            chain: vec![leaf, signer.certificate.clone()],
            root: self.certificate(Issuer::Root).clone(),
        };
        let copy = certificate::pem(&certified.chain[..1]);
        files::write_public(&self.certificate_path(&record.serial), copy.as_bytes())?;
        self.registry().add(record)?;
        Ok(certified)
    }

    /// A certificate issued here, by its serial number as the registry writes it; none when no copy was kept, as for those of the first
    /// versions.
    pub fn issued_certificate(&self, serial: &str) -> Option<CertificateDer<'static>> {
        let safe = serial.bytes().all(|byte| byte.is_ascii_hexdigit());
        let pem = files::read(&self.certificate_path(serial), PEM_BYTES_MAX);
        pem.ok()
            .filter(|_| safe)
            .and_then(|pem| CertificateDer::from_pem_slice(&pem).ok())
    }

    fn certificate_path(&self, serial: &str) -> PathBuf {
        self.folder.join(CERTIFICATE_FOLDER).join(format!("{serial}.pem"))
    }

    fn profile(&self, profile: Profile) -> Result<&ProfileSection, AuthorityError> {
        let section = self.profiles.of(profile);
        section.ok_or_else(|| AuthorityError::Profiles(format!("no profile {profile:?}")))
    }

    fn leaf_params(
        &self,
        request: &Request,
        section: &ProfileSection,
        now: Timestamp,
    ) -> Result<CertificateParams, AuthorityError> {
        let days = request.validity_days.unwrap_or(section.validity_days);
        let (not_before, not_after) = validity(&self.profiles, days, now)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject_name(&request.subject, section)?;
        params.not_before = date(not_before)?;
        params.not_after = date(not_after.min(self.signer(Issuer::Intermediate).not_after))?;
        params.serial_number = Some(random_serial()?);
        params.subject_alt_names = alternative_names(request)?;
        // Explicit, so that the subject key identifier is written too.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = section.key_usages();
        params.extended_key_usages = section.purposes();
        params.use_authority_key_identifier_extension = true;
        let chain = self.profiles.chain(self.options.chain);
        let chain = chain.ok_or_else(|| AuthorityError::Profiles(format!("no chain {:?}", self.options.chain)))?;
        params.custom_extensions = extension::addresses(&Addresses::of(&chain.intermediate, &self.options.base_url))?;
        params
            .custom_extensions
            .push(extension::product_category(chain.product_category)?);
        Ok(params)
    }
}

fn subject_name(subject: &Subject, section: &ProfileSection) -> Result<DistinguishedName, AuthorityError> {
    let mut name = DistinguishedName::new();
    for part in &section.layout {
        let (kind, value) = match part {
            NamePart::Country => {
                name.push(DnType::CountryName, country(&subject.country)?);
                continue;
            }
            NamePart::State => (DnType::StateOrProvinceName, &subject.state),
            NamePart::Organisation => (DnType::OrganizationName, &subject.organisation),
            NamePart::Structure => (DnType::OrganizationalUnitName, &subject.structure),
            NamePart::CommonName => (DnType::CommonName, &subject.common_name),
        };
        if value.trim().is_empty() {
            return Err(AuthorityError::Request(format!("{part:?} of the subject is empty")));
        }
        name.push(kind, value.as_str());
    }
    Ok(name)
}

fn alternative_names(request: &Request) -> Result<Vec<SanType>, AuthorityError> {
    let ascii = |text: &str| {
        text.try_into()
            .map_err(|_| AuthorityError::Request(format!("alternative name {text:?} is not ASCII")))
    };
    let server = matches!(request.profile, Profile::ServSsl | Profile::ServSslServerOnly);
    let own = server.then_some(&request.subject.common_name);
    let mut names = Vec::new();
    for dns in own.into_iter().chain(&request.names.dns) {
        let name = SanType::DnsName(ascii(dns)?);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for address in &request.names.rfc822 {
        names.push(SanType::Rfc822Name(ascii(address)?));
    }
    names.extend(request.names.ip.iter().copied().map(SanType::IpAddress));
    Ok(names)
}

/// RFC 5280 appendix A: a country is a `PrintableString` of two letters.
pub(super) fn country(code: &str) -> Result<DnValue, AuthorityError> {
    let wrong = || AuthorityError::Request(format!("country {code:?} is not two letters"));
    if code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(wrong());
    }
    PrintableString::try_from(code)
        .map(DnValue::PrintableString)
        .map_err(|_| wrong())
}

/// RFC 5280 §4.1.2.2: positive, at most 20 octets; ours are always 16, unpredictable.
pub(super) fn random_serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; SERIAL_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthorityError::Request("no random numbers".to_owned()))?;
    // Sign bit clear, next bit set: positive, and no leading zero that DER would drop.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

const SERIAL_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::testing::{Space, days_later, now, openssl, options, put, server, try_openssl, with_profile};
    use super::super::{
        AuthorityOptions, Chain, Pkcs12Form, RenewedKey, SigningRequest, pem, pkcs12_of, read_pkcs12, trust_p7b,
        trust_store_pkcs12,
    };
    use super::*;

    fn text(space: &Space, issued: &Issued) -> String {
        put(space.folder.path(), "leaf.pem", issued.chain_pem().as_bytes());
        openssl(space.folder.path(), &["x509", "-in", "leaf.pem", "-noout", "-text"])
    }

    #[test]
    fn each_profile_and_kind_of_key_gives_the_fields_certificate() {
        let space = Space::new();
        let expected = [
            (
                Profile::ServSsl,
                "TLS Web Server Authentication, TLS Web Client Authentication",
                "Digital Signature, Key Encipherment",
            ),
            (
                Profile::ServSslServerOnly,
                "TLS Web Server Authentication",
                "Digital Signature, Key Encipherment",
            ),
            (
                Profile::OrgAuthCli,
                "TLS Web Client Authentication",
                "Digital Signature",
            ),
            (Profile::OrgSign, "", "Non Repudiation"),
        ];
        for (profile, purposes, usage) in expected {
            for (key, said) in [
                (KeyKind::Rsa2048, "Public-Key: (2048 bit)"),
                (KeyKind::Rsa3072, "Public-Key: (3072 bit)"),
                (KeyKind::EcdsaP256, "NIST CURVE: P-256"),
            ] {
                let issued = space.issue(&Request {
                    key: Some(key),
                    ..with_profile(profile)
                });
                let text = text(&space, &issued);
                let line = |after: &str| {
                    let mut lines = text.lines().skip_while(|line| !line.contains(after));
                    lines.nth(1).unwrap_or_default().trim().to_owned()
                };
                assert!(text.contains(said), "{text}");
                assert_eq!(line("X509v3 Key Usage"), usage, "{profile:?}");
                assert_eq!(line("X509v3 Extended Key Usage"), purposes, "{profile:?}");
                for address in [
                    "URI:http://127.0.0.1:8080/crl/ACI-EL-ORG-TEST.crl",
                    "URI:http://127.0.0.1:8080/crl/ACI-EL-ORG-TEST-delta.crl",
                    "OCSP - URI:http://127.0.0.1:8080/ocsp",
                    "CA Issuers - URI:http://127.0.0.1:8080/ac/ACI-EL-ORG-TEST.cer",
                ] {
                    assert!(text.contains(address), "{address} in {text}");
                }
            }
        }
    }

    #[test]
    fn a_subject_is_encoded_as_the_field_has_it() {
        let space = Space::new();
        let issued = space.issue(&server("smtp.chu.fr"));
        put(space.folder.path(), "leaf.pem", issued.chain_pem().as_bytes());
        let shown = openssl(
            space.folder.path(),
            &[
                "x509",
                "-in",
                "leaf.pem",
                "-noout",
                "-subject",
                "-nameopt",
                "show_type,sep_comma_plus,utf8",
            ],
        );
        assert_eq!(
            shown.trim(),
            "subject=C=PRINTABLESTRING:FR,ST=UTF8STRING:Rhône (69),O=UTF8STRING:CHU DES COLLINES,OU=UTF8STRING:1990000010,CN=UTF8STRING:smtp.chu.fr"
        );
    }

    #[test]
    fn the_two_chains_have_one_shape_and_do_not_trust_each_other() {
        let space = Space::new();
        let folder = space.folder.path();
        let twin = space.authority.twin(now()).unwrap();
        assert_eq!(twin.chain(), Chain::ProductionShaped);
        let own = space.issue(&server("smtp.chu.fr"));
        let other = twin.issue(&server("smtp.chu.fr"), now()).unwrap();
        let marked = |issued: &Issued, category: u8| {
            let content = [0x04, 0x03, 0x04, 0x01, category];
            issued.chain[0].windows(content.len()).any(|window| window == content)
        };
        assert!(marked(&own, 0x83) && !marked(&own, 0x03));
        assert!(marked(&other, 0x03) && !marked(&other, 0x83));
        assert!(text(&space, &other).contains("1.2.250.1.71.1.2.5"));
        let usage = super::super::Usage::Client;
        assert!(space.store().verify(&own.chain, usage, now()).is_ok());
        assert!(space.store().verify(&other.chain, usage, now()).is_err());
        put(folder, "other.pem", other.chain_pem().as_bytes());
        put(
            folder,
            "ca.pem",
            super::super::trust_bundle(&space.authority).as_bytes(),
        );
        let (good, said) = try_openssl(
            folder,
            &["verify", "-CAfile", "ca.pem", "-untrusted", "other.pem", "other.pem"],
        );
        assert!(!good && said.contains("unable to get"), "{said}");
        // A space under the other chain finds the same twin again.
        let options = AuthorityOptions {
            chain: Chain::ProductionShaped,
            ..options()
        };
        let again = Authority::create_or_open(&folder.join("authority"), options, now()).unwrap();
        assert_eq!(again.certificate(Issuer::Root), twin.certificate(Issuer::Root));
        assert_eq!(
            again.twin(now()).unwrap().certificate(Issuer::Root),
            space.authority.certificate(Issuer::Root)
        );
    }

    #[test]
    fn a_request_made_with_openssl_is_signed_and_an_altered_one_is_not() {
        let space = Space::new();
        let folder = space.folder.path();
        openssl(
            folder,
            &[
                "req",
                "-new",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-utf8",
                "-keyout",
                "own.key",
                "-out",
                "own.csr",
                "-subj",
                "/CN=smtp.own.fr/C=FR/ST=Rhône (69)/O=CHU/OU=1990000010",
                "-addext",
                "subjectAltName=DNS:smtp2.own.fr",
            ],
        );
        let bytes = std::fs::read(folder.join("own.csr")).unwrap();
        let read = SigningRequest::read(&bytes).unwrap();
        assert_eq!(read.names.dns, ["smtp2.own.fr"]);
        assert_eq!(read.key, Some(KeyKind::Rsa2048));
        let request = Request {
            subject: read.subject.clone().complete().unwrap(),
            names: read.names.clone(),
            ..server("")
        };
        let certified = space.authority.sign_request(&request, &read, now()).unwrap();
        // The order of the field, whatever the request's own.
        assert_eq!(
            certified.subject.to_string(),
            "CN=smtp.own.fr,OU=1990000010,O=CHU,ST=Rhône (69),C=FR"
        );
        put(folder, "own.pem", certified.chain_pem().as_bytes());
        let public = |arguments: &[&str]| openssl(folder, arguments);
        assert_eq!(
            public(&["x509", "-in", "own.pem", "-noout", "-pubkey"]),
            public(&["pkey", "-in", "own.key", "-pubout"])
        );

        openssl(folder, &["req", "-in", "own.csr", "-outform", "DER", "-out", "own.der"]);
        let mut der = std::fs::read(folder.join("own.der")).unwrap();
        assert!(SigningRequest::read(&der).is_ok());
        let at = der.windows(3).position(|window| window == b"CHU").unwrap();
        der[at] = b'D';
        let error = SigningRequest::read(&der).unwrap_err().to_string();
        assert!(error.contains("does not verify under its own key"), "{error}");
        openssl(
            folder,
            &[
                "req", "-new", "-newkey", "rsa:1024", "-nodes", "-keyout", "k", "-out", "weak.csr", "-subj", "/CN=a",
            ],
        );
        let error = SigningRequest::read(&std::fs::read(folder.join("weak.csr")).unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.contains("RSA of 1024 bits"), "{error}");
        assert!(
            SigningRequest::read(b"junk")
                .unwrap_err()
                .to_string()
                .contains("not a PKCS#10 request")
        );
    }

    #[test]
    fn a_renewed_certificate_says_the_same_with_a_new_key_or_the_old_one() {
        let space = Space::new();
        let mut request = server("smtp.chu.fr");
        request.names.rfc822 = vec!["a@chu.fr".to_owned()];
        let first = space.issue(&request);
        let spki = |der: &CertificateDer<'_>| certificate::parse(der).unwrap().public_key().raw.to_vec();
        let RenewedKey::New(next) = space.authority.renew(&first.serial, Some(90), days_later(1)).unwrap() else {
            panic!("the key is not new");
        };
        assert_eq!(next.subject, first.subject);
        assert_ne!(next.serial, first.serial);
        assert_eq!(next.not_after, days_later(91));
        let read = |chain: &[CertificateDer<'_>]| certificate::read(&chain[0]).unwrap();
        assert_eq!(read(&next.chain).rfc822_names, read(&first.chain).rfc822_names);
        assert_eq!(read(&next.chain).dns_names, read(&first.chain).dns_names);
        assert_ne!(spki(&next.chain[0]), spki(&first.chain[0]));
        let RenewedKey::Same(same) = space
            .authority
            .renew_same_key(&first.serial, None, days_later(1))
            .unwrap()
        else {
            panic!("the key is new");
        };
        assert_eq!(spki(&same.chain[0]), spki(&first.chain[0]));
        assert!(matches!(
            space.authority.renew("00ff", None, now()),
            Err(AuthorityError::UnknownSerial(_))
        ));
    }

    #[test]
    fn every_form_of_export_opens_in_openssl() {
        let space = Space::new();
        let folder = space.folder.path();
        let issued = space.issue(&server("smtp.chu.fr"));
        for (form, said) in [
            (Pkcs12Form::Modern, "AES-256-CBC"),
            (Pkcs12Form::Legacy, "pbeWithSHA1And3-KeyTripleDES-CBC"),
        ] {
            let file = pkcs12_of(&issued.chain, &issued.key, "own", ("secret", form)).unwrap();
            put(folder, "x.p12", &file);
            let text = openssl(
                folder,
                &[
                    "pkcs12",
                    "-legacy",
                    "-in",
                    "x.p12",
                    "-passin",
                    "pass:secret",
                    "-nodes",
                    "-info",
                ],
            );
            assert!(text.contains(said) && text.contains("BEGIN PRIVATE KEY"), "{text}");
            let read = read_pkcs12(&file, "secret").unwrap();
            assert_eq!(
                (read.chain[0].clone(), read.key),
                (issued.chain[0].clone(), Some(issued.key.clone()))
            );
            let error = read_pkcs12(&file, "wrong").unwrap_err().to_string();
            assert!(error.contains("the password does not open"), "{error}");
        }
        let authorities =
            [Issuer::Root, Issuer::Intermediate].map(|issuer| space.authority.certificate(issuer).clone());
        put(
            folder,
            "trust.p12",
            &trust_store_pkcs12(&authorities, "secret", Pkcs12Form::Modern).unwrap(),
        );
        let text = openssl(
            folder,
            &["pkcs12", "-in", "trust.p12", "-passin", "pass:secret", "-nokeys"],
        );
        assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 2, "{text}");
        assert_eq!(
            read_pkcs12(&std::fs::read(folder.join("trust.p12")).unwrap(), "secret")
                .unwrap()
                .chain
                .len(),
            2
        );
        put(folder, "chain.p7b", &trust_p7b(&space.authority).unwrap());
        let text = openssl(folder, &["pkcs7", "-inform", "DER", "-in", "chain.p7b", "-print_certs"]);
        assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 2, "{text}");
        assert_eq!(pem(&authorities).matches("BEGIN CERTIFICATE").count(), 2);
    }
}
