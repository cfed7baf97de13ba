//! A certificate, field by field (RFC 5280 §4.1), signed by hand.

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

use crate::lab::recipe::{BytesChange, FieldChange, KeyUsageBit, PurposeName, SignatureChange};

use super::ForgeError;
use super::der;
use super::digest::Digest;
use super::issuer::Signer;
use super::key::LabKey;

/// What will be signed.
pub(super) struct Draft {
    pub(super) field: FieldChange,
    pub(super) serial: Vec<u8>,
    /// DER.
    pub(super) subject: Vec<u8>,
    /// DER of `SubjectPublicKeyInfo`.
    pub(super) public: Vec<u8>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) extensions: Vec<Vec<u8>>,
}

impl Draft {
    /// Signs it.
    pub(super) fn signed(
        &self,
        signer: &Signer,
        change: SignatureChange,
        other: &LabKey,
    ) -> Result<Vec<u8>, ForgeError> {
        let digest = match change {
            SignatureChange::Sha384 => Digest::Sha384,
            SignatureChange::Sha512 => Digest::Sha512,
            SignatureChange::Sha1 => Digest::Sha1,
            SignatureChange::Md5 => Digest::Md5,
            _ => Digest::Sha256,
        };
        if signer.key.cannot_use(digest) {
            return Err(ForgeError::Impossible(
                "this kind of authority key has no signature with that digest",
            ));
        }
        let algorithm = signer.key.signature_algorithm(digest);
        let inside = match change {
            SignatureChange::Mismatch => signer.key.signature_algorithm(Digest::Sha384),
            _ => algorithm.clone(),
        };
        let tbs = self.to_be_signed(&signer.name, &inside);
        let signature = match change {
            SignatureChange::OtherKey => other.sign(digest, &tbs)?,
            SignatureChange::Empty => Vec::new(),
            SignatureChange::Broken => {
                let mut signature = signer.key.sign(digest, &tbs)?;
                if let Some(last) = signature.last_mut() {
                    *last ^= 1;
                }
                signature
            }
            _ => signer.key.sign(digest, &tbs)?,
        };
        Ok(der::sequence(&[&tbs, &algorithm, &der::bits(&signature)]))
    }

    fn to_be_signed(&self, issuer: &[u8], algorithm: &[u8]) -> Vec<u8> {
        let version_1 = self.field == FieldChange::Version1;
        let version = if version_1 {
            Vec::new()
        } else {
            der::context(0, &der::unsigned(&[2]))
        };
        let extensions = if version_1 || self.extensions.is_empty() {
            Vec::new()
        } else {
            der::context(3, &der::tlv(der::SEQUENCE, &self.extensions.concat()))
        };
        der::sequence(&[
            &version,
            &self.serial_number(),
            algorithm,
            issuer,
            &self.validity(),
            &self.subject,
            &self.public,
            &extensions,
        ])
    }

    fn serial_number(&self) -> Vec<u8> {
        match self.field {
            FieldChange::NegativeSerial => der::tlv(der::INTEGER, &[&[0x80], &self.serial[1..]].concat()),
            FieldChange::ZeroSerial => der::unsigned(&[]),
            FieldChange::LongSerial => der::tlv(der::INTEGER, &[&[0x41; 5], &self.serial[..]].concat()),
            FieldChange::PaddedSerial => der::tlv(der::INTEGER, &[&[0], &self.serial[..]].concat()),
            _ => der::unsigned(&self.serial),
        }
    }

    fn validity(&self) -> Vec<u8> {
        let (start, end) = match self.field {
            FieldChange::InvertedDates => (self.not_after, self.not_before),
            _ => (self.not_before, self.not_after),
        };
        let text = |at: Timestamp, form: &str| at.strftime(form).to_string();
        let end = match self.field {
            FieldChange::ShortUtcTime => der::tlv(der::UTC_TIME, text(end, "%y%m%d%H%MZ").as_bytes()),
            FieldChange::WrongMonth => der::tlv(der::UTC_TIME, text(end, "%y13%d%H%M%SZ").as_bytes()),
            FieldChange::EarlyGeneralizedTime => der::tlv(der::GENERALIZED_TIME, text(end, "%Y%m%d%H%M%SZ").as_bytes()),
            FieldChange::FractionalTime => der::tlv(der::GENERALIZED_TIME, text(end, "%Y%m%d%H%M%S.5Z").as_bytes()),
            FieldChange::EndlessDates => der::tlv(der::GENERALIZED_TIME, b"99991231235959Z"),
            _ => time(end),
        };
        der::sequence(&[&time(start), &end])
    }
}

/// RFC 5280 §4.1.2.5: `UTCTime` through 2049, `GeneralizedTime` from then on.
pub(super) fn time(at: Timestamp) -> Vec<u8> {
    let year = at.strftime("%Y").to_string();
    if ("1950".."2050").contains(&year.as_str()) {
        der::tlv(der::UTC_TIME, at.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
    } else {
        der::tlv(
            der::GENERALIZED_TIME,
            at.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes(),
        )
    }
}

/// What happens to the bytes after signing.
pub(super) fn spoiled(mut certificate: Vec<u8>, change: BytesChange) -> CertificateDer<'static> {
    match change {
        BytesChange::Right => {}
        BytesChange::Trailing => certificate.extend([0; 4]),
        BytesChange::Truncated => certificate.truncate(certificate.len().saturating_sub(4)),
        BytesChange::IndefiniteLength => {
            let content = der::Reader::new(&certificate)
                .take(der::SEQUENCE)
                .unwrap_or_default()
                .to_vec();
            certificate = [&[der::SEQUENCE, 0x80], &content[..], &[0, 0]].concat();
        }
        BytesChange::Garbage => certificate = b"this is no certificate".to_vec(),
    }
    CertificateDer::from(certificate)
}

/// One `Extension` (RFC 5280 §4.1).
pub(super) fn extension(arcs: &[u64], critical: bool, value: &[u8]) -> Vec<u8> {
    // DER leaves a default out: FALSE is not written.
    let critical = if critical { der::boolean(true) } else { Vec::new() };
    der::sequence(&[&der::oid(arcs), &critical, &der::octets(value)])
}

/// RFC 5280 §4.2.1.9; none for no path length.
pub(super) fn basic_constraints(authority: bool, path_length: Option<u8>) -> Vec<u8> {
    let authority = if authority { der::boolean(true) } else { Vec::new() };
    let path_length = path_length.map_or_else(Vec::new, |length| der::unsigned(&[length]));
    extension(BASIC_CONSTRAINTS, true, &der::sequence(&[&authority, &path_length]))
}

/// RFC 5280 §4.2.1.3.
pub(super) fn key_usage(bits: &[KeyUsageBit]) -> Vec<u8> {
    let octet = bits.iter().fold(0_u8, |octet, bit| {
        octet
            | match bit {
                KeyUsageBit::DigitalSignature => 0x80,
                KeyUsageBit::ContentCommitment => 0x40,
                KeyUsageBit::KeyEncipherment => 0x20,
                KeyUsageBit::DataEncipherment => 0x10,
                KeyUsageBit::KeyAgreement => 0x08,
                KeyUsageBit::KeyCertSign => 0x04,
                KeyUsageBit::CrlSign => 0x02,
            }
    });
    // X.690 §11.2.2: no trailing zero bits.
    let value = match octet {
        0 => vec![0],
        octet => vec![u8::try_from(octet.trailing_zeros()).unwrap_or(0), octet],
    };
    extension(KEY_USAGE, true, &der::tlv(der::BIT_STRING, &value))
}

/// RFC 5280 §4.2.1.12.
pub(super) fn extended_key_usage(purposes: &[PurposeName]) -> Vec<u8> {
    let oids = purposes.iter().map(|purpose| {
        let last = match purpose {
            PurposeName::ServerAuth => 1,
            PurposeName::ClientAuth => 2,
            PurposeName::CodeSigning => 3,
            PurposeName::EmailProtection => 4,
            PurposeName::TimeStamping => 8,
            PurposeName::OcspSigning => 9,
            PurposeName::Any => return der::oid(&[2, 5, 29, 37, 0]),
        };
        der::oid(&[1, 3, 6, 1, 5, 5, 7, 3, last])
    });
    let value: Vec<u8> = oids.flatten().collect();
    extension(EXTENDED_KEY_USAGE, false, &der::tlv(der::SEQUENCE, &value))
}

/// RFC 5280 §4.2.1.6, from `dns:`, `ip:` and `mail:` texts.
pub(super) fn alternative_names(names: &[String]) -> Result<Vec<u8>, ForgeError> {
    let mut value = Vec::new();
    for name in names {
        let wrong = || ForgeError::Name(name.clone());
        let (kind, text) = name.split_once(':').ok_or_else(wrong)?;
        value.extend(match kind {
            "mail" => der::context_primitive(1, text.as_bytes()),
            "dns" => der::context_primitive(2, text.as_bytes()),
            "ip" => match text.parse().map_err(|_| wrong())? {
                std::net::IpAddr::V4(address) => der::context_primitive(7, &address.octets()),
                std::net::IpAddr::V6(address) => der::context_primitive(7, &address.octets()),
            },
            _ => return Err(wrong()),
        });
    }
    Ok(extension(ALTERNATIVE_NAME, false, &der::tlv(der::SEQUENCE, &value)))
}

/// RFC 5280 §4.2.1.2.
pub(super) fn subject_key(identifier: &[u8]) -> Vec<u8> {
    extension(&[2, 5, 29, 14], false, &der::octets(identifier))
}

/// RFC 5280 §4.2.1.1.
pub(super) fn authority_key(identifier: &[u8]) -> Vec<u8> {
    let value = der::sequence(&[&der::context_primitive(0, identifier)]);
    extension(&[2, 5, 29, 35], false, &value)
}

/// RFC 5280 §4.2.1.10: only names below one that nobody has.
pub(super) fn name_constraints() -> Vec<u8> {
    let base = der::context_primitive(2, b"permis.exemple.fr");
    let permitted = der::context(0, &der::sequence(&[&base]));
    extension(&[2, 5, 29, 30], true, &der::sequence(&[&permitted]))
}

/// An extension nobody knows.
pub(super) fn unknown(critical: bool) -> Vec<u8> {
    extension(&[1, 3, 6, 1, 4, 1, 32_473, 1], critical, &der::null())
}

/// Product category of the field: test software certificate.
pub(super) fn product_category() -> Vec<u8> {
    extension(&[1, 2, 250, 1, 71, 1, 2, 5], false, &der::octets(&[0x83]))
}

/// Alternative names that are not DER.
pub(super) fn broken_names() -> Vec<u8> {
    extension(ALTERNATIVE_NAME, false, &[der::SEQUENCE, 0x20, 0x82, 0x01])
}

const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const ALTERNATIVE_NAME: &[u64] = &[2, 5, 29, 17];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
