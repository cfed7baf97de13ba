//! Verifies a signed list, and reads what was verified.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::policy::Refusal;
use crate::trust::AllowList;
use crate::trust::parse::{AllowListError, Mode, text_of};

use super::read::{self, Read};
use super::{CLOCK_TOLERANCE, SignatureError, Signer, Verified, element};

/// Verifies the signature of a list and reads the list from the bytes that were signed. `judge` says whether the signer is the
/// authority's: chain, dates, key usage, revocation and name belong to `pki`, which this layer does not know. It is asked last, when
/// everything else holds.
///
/// # Errors
/// See [`SignatureError`]; [`SignatureError::Missing`] when there is no signature at all.
pub fn verify(
    xml: &[u8],
    mode: Mode,
    now: Timestamp,
    judge: impl FnOnce(&Signer) -> Result<(), Refusal>,
) -> Result<Verified, SignatureError> {
    let text = text_of(xml).map_err(SignatureError::List)?;
    let document = element::parse(text)?;
    let signature = read::find(&document)?.ok_or(SignatureError::Missing)?;
    let read = read::read(&document, signature)?;
    let chain = signer_first(&read)?;
    let signed_info = element::canonical_of(&document, read.signed_info)?;
    verify_value(&chain[0], &signed_info, &read.value)?;
    // From here on everything in SignedInfo is the signer's word.
    let (properties, digest) = &read.properties;
    if !digest.is_of(&element::canonical_of(&document, *properties)?) {
        return Err(SignatureError::PropertiesAltered);
    }
    let list = element::canonical_without(&document, Some(read.top))?;
    if !read.list.is_of(&list) {
        return Err(SignatureError::ListAltered);
    }
    let signer = Signer {
        chain,
        named: read.named,
        signed_at: read.signed_at,
    };
    if signer.signed_at > now.saturating_add(CLOCK_TOLERANCE).unwrap_or(Timestamp::MAX) {
        return Err(SignatureError::Time {
            signed_at: signer.signed_at,
            problem: format!("it lies in the future of this machine, whose clock says {now}"),
        });
    }
    judge(&signer).map_err(SignatureError::Signer)?;
    let first_line = 1 + text
        .as_bytes()
        .iter()
        .take(root_start(text))
        .filter(|byte| **byte == b'\n')
        .count();
    let list = String::from_utf8(list).map_err(|error| AllowListError::NotUtf8(error.utf8_error().valid_up_to()))?;
    let parsed = AllowList::parse_from_line(&list, first_line, mode)?;
    if parsed.list.generated()
        > signer
            .signed_at
            .saturating_add(CLOCK_TOLERANCE)
            .unwrap_or(Timestamp::MAX)
    {
        return Err(SignatureError::Time {
            signed_at: signer.signed_at,
            problem: format!("the list was made after it, at {}", parsed.list.generated()),
        });
    }
    Ok(Verified { parsed, signer })
}

/// Whether a document carries a signature at all, in whatever state.
pub fn is_signed(xml: &[u8]) -> Result<bool, SignatureError> {
    let document = element::parse(text_of(xml).map_err(SignatureError::List)?)?;
    Ok(read::find(&document)?.is_some())
}

/// The certificate that the signed properties name, then the others.
fn signer_first(read: &Read) -> Result<Vec<CertificateDer<'static>>, SignatureError> {
    let mut chain = read.certificates.clone();
    let named = chain.iter().position(|der| read.certificate.is_of(der));
    let Some(named) = named else {
        return Err(SignatureError::Certificate(
            "no certificate of KeyInfo has the digest that SigningCertificateV2 gives".to_owned(),
        ));
    };
    let signer = chain.remove(named);
    chain.insert(0, signer);
    Ok(chain)
}

fn verify_value(signer: &CertificateDer<'_>, signed: &[u8], value: &[u8]) -> Result<(), SignatureError> {
    let (rest, certificate) = X509Certificate::from_der(signer)
        .map_err(|_| SignatureError::Certificate("it is not an X.509 certificate".to_owned()))?;
    if !rest.is_empty() {
        return Err(SignatureError::Certificate("something follows it".to_owned()));
    }
    let key = certificate.public_key();
    if key.algorithm.algorithm.to_id_string() != RSA_ENCRYPTION {
        return Err(SignatureError::Certificate("its key is not RSA".to_owned()));
    }
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.subject_public_key.data.as_ref());
    key.verify(signed, value).map_err(|_| SignatureError::Value)
}

/// Where the root element begins: the canonical form starts there, and messages count the lines of the file.
fn root_start(text: &str) -> usize {
    let mut at = 0;
    // Each turn passes a declaration or a comment.
    while let Some(next) = text[at..].find('<') {
        at += next;
        let ending = match &text[at..] {
            rest if rest.starts_with("<!--") => "-->",
            rest if rest.starts_with("<?") => "?>",
            _ => return at,
        };
        match text[at..].find(ending) {
            Some(end) => at += end + ending.len(),
            None => return at,
        }
    }
    at
}

/// 1.2.840.113549.1.1.1, rsaEncryption.
const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
