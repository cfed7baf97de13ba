//! Names that the standards give to what is accepted. What has no name here is refused.

use aws_lc_rs::digest;

use super::SignatureError;

/// Namespace of XML signatures.
pub(super) const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
/// Namespace of `XAdES`.
pub(super) const XADES: &str = "http://uri.etsi.org/01903/v1.3.2#";
/// Namespace and name of the `XPath` filter 2 transform.
pub(super) const FILTER2: &str = "http://www.w3.org/2002/06/xmldsig-filter2";
/// The plain enveloped transform.
pub(super) const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
/// Exclusive canonicalisation without comments.
pub(super) const EXCLUSIVE_C14N: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
/// The one signature algorithm.
pub(super) const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
/// The digest of the references.
pub(super) const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";
/// The digest of the signer's certificate.
pub(super) const SHA512: &str = "http://www.w3.org/2001/04/xmlenc#sha512";
/// Type of the reference to the signed properties.
pub(super) const SIGNED_PROPERTIES: &str = "http://uri.etsi.org/01903#SignedProperties";

/// The ways to select the one signature of the document that filter 2 subtracts, before and after the prefix. The document holds one
/// signature, so all of them select it.
pub(super) const SIGNATURE_PATHS: [(&str, &str); 4] = [
    ("/descendant::", "Signature"),
    ("descendant::", "Signature"),
    ("//", "Signature"),
    ("here()/ancestor::", "Signature[1]"),
];

/// A digest of the two accepted ones.
pub(super) fn digest_of(uri: &str) -> Result<&'static digest::Algorithm, SignatureError> {
    match uri {
        SHA256 => Ok(&digest::SHA256),
        SHA512 => Ok(&digest::SHA512),
        other => Err(SignatureError::Algorithm {
            what: "a digest",
            found: shown(other),
            expected: "SHA-256 or SHA-512",
        }),
    }
}

/// The start of a text that comes from the file, for a message.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

const SHOWN_CHARS_MAX: usize = 100;
