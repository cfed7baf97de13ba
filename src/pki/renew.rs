//! Renews a certificate: same subject, same names, same profile, a new validity, and a new key or the same one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use super::authority::AuthorityError;
use super::{Authority, Certified, Issued, KeyKind, Names, Profile, Request, SubjectParts, certificate};

/// What a renewal gives.
#[derive(Clone, Debug)]
pub enum RenewedKey {
    /// A certificate with a new key.
    New(Issued),
    /// A certificate for the key it had.
    Same(Certified),
}

impl Authority {
    /// Issues a certificate that says what the one with this serial number says, for a new key of the same kind.
    pub fn renew(&self, serial: &str, days: Option<u32>, now: Timestamp) -> Result<RenewedKey, AuthorityError> {
        let request = self.same_again(serial, days)?.1;
        self.issue(&request, now).map(RenewedKey::New)
    }

    /// The same for the key it had: only the certificate has to be replaced.
    pub fn renew_same_key(
        &self,
        serial: &str,
        days: Option<u32>,
        now: Timestamp,
    ) -> Result<RenewedKey, AuthorityError> {
        let (held, request) = self.same_again(serial, days)?;
        let spki = certificate::parse(&held)?.public_key().raw.to_vec();
        let key = SubjectPublicKeyInfo::from_der(&spki)?;
        self.certify(&request, &key, now).map(RenewedKey::Same)
    }

    fn same_again(
        &self,
        serial: &str,
        validity_days: Option<u32>,
    ) -> Result<(CertificateDer<'static>, Request), AuthorityError> {
        let record = self
            .record(serial)
            .ok_or_else(|| AuthorityError::UnknownSerial(serial.to_owned()))?;
        let profile = record.profile.ok_or_else(|| {
            AuthorityError::Request("the certificate of the intermediate authority is not renewed".to_owned())
        })?;
        let held = self.issued_certificate(&record.serial).ok_or_else(|| {
            AuthorityError::Request(format!(
                "no copy of {} was kept, it is of an earlier version; issue a new one for its subject, {}",
                record.serial, record.subject
            ))
        })?;
        let request = request_of(&held, profile, validity_days)?;
        Ok((held, request))
    }
}

fn request_of(
    held: &CertificateDer<'_>,
    profile: Profile,
    validity_days: Option<u32>,
) -> Result<Request, AuthorityError> {
    let parsed = certificate::parse(held)?;
    let subject = SubjectParts::of(parsed.subject()).complete();
    let subject =
        subject.map_err(|missing| AuthorityError::Request(format!("its subject has no {}", missing.join(", "))))?;
    let bits = parsed
        .public_key()
        .parsed()
        .map(|key| key.key_size())
        .unwrap_or_default();
    let key = match parsed.public_key().algorithm.algorithm.to_id_string().as_str() {
        RSA if bits >= RSA_LARGE_BITS => KeyKind::Rsa3072,
        RSA => KeyKind::Rsa2048,
        _ => KeyKind::EcdsaP256,
    };
    let mut names = Names::default();
    let alternative = parsed.subject_alternative_name();
    let alternative = alternative.map_err(|_| super::CertificateProblem::Extension("alternative name"))?;
    for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => names.rfc822.push((*name).to_owned()),
            GeneralName::IPAddress(octets) => {
                let v4 = <[u8; 4]>::try_from(*octets).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
                names.ip.extend(
                    v4.or_else(|_| <[u8; 16]>::try_from(*octets).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))),
                );
            }
            _ => {}
        }
    }
    Ok(Request {
        profile,
        subject,
        names,
        key: Some(key),
        validity_days,
    })
}

const RSA: &str = "1.2.840.113549.1.1.1";
const RSA_LARGE_BITS: usize = 3072;
