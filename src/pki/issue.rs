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
