//! Files for people: PKCS#12, which software imports, and the bundle of authorities to trust.

use der::asn1::{Any, ObjectIdentifier, SetOfVec};
use der::{Decode, Encode, Sequence};
use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey, PrivateKeyChain,
};
use rustls_pki_types::CertificateDer;

use super::certificate;
use super::{Authority, Issued, Issuer};

/// A file that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the PKCS#12 file")]
pub struct ExportError(#[from] p12_keystore::error::Error);

/// Key and whole chain, root included, as PKCS#12 (RFC 7292) under PBES2 with AES-256: OpenSSL 3 opens it without its legacy provider.
///
/// `name` is what import dialogs show; `password` protects the file, a sandbox secret.
pub fn pkcs12(issued: &Issued, name: &str, password: &str) -> Result<Vec<u8>, ExportError> {
    let chain = issued.chain.iter().chain([&issued.root]);
    let certificates = chain
        .map(|certificate| Certificate::from_der(certificate))
        .collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKey::from_der(&issued.key)?;
    let mut store = KeyStore::new();
    store.add_entry(
        name,
        KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new(issued.serial.as_str(), key, certificates)),
    );
    let writer = store
        .writer(password)
        .encryption_algorithm(EncryptionAlgorithm::PbeWithHmacSha256AndAes256)
        .encryption_iterations(ITERATIONS)
        .mac_algorithm(MacAlgorithm::HmacSha256)
        .mac_iterations(ITERATIONS);
    Ok(writer.write()?)
}

/// Root and intermediate, PEM: what a client must trust to talk to this space.
pub fn trust_bundle(authority: &Authority) -> String {
    let certificate = |issuer| authority.certificate(issuer).clone();
    certificate::pem(&[certificate(Issuer::Root), certificate(Issuer::Intermediate)])
}

/// Root and intermediate as a certificates-only CMS message (RFC 5652 §5, `.p7b`), DER: the form in which the field's authority gives
/// its chain.
pub fn trust_p7b(authority: &Authority) -> der::Result<Vec<u8>> {
    p7b(&[Issuer::Root, Issuer::Intermediate].map(|issuer| authority.certificate(issuer).clone()))
}

/// Certificates as a certificates-only CMS message, DER.
pub fn p7b(certificates: &[CertificateDer<'_>]) -> der::Result<Vec<u8>> {
    let certificates = certificates.iter().map(|one| Any::from_der(one));
    let signed = SignedData {
        version: 1,
        digest_algorithms: SetOfVec::new(),
        content: ContentType { kind: DATA },
        certificates: Some(SetOfVec::from_iter(certificates.collect::<der::Result<Vec<_>>>()?)?),
        signers: SetOfVec::new(),
    };
    ContentInfo {
        kind: SIGNED_DATA,
        content: signed,
    }
    .to_der()
}

#[derive(Sequence)]
struct ContentInfo {
    kind: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: SignedData,
}

/// RFC 5652 §5.1, without signers.
#[derive(Sequence)]
struct SignedData {
    version: u8,
    digest_algorithms: SetOfVec<Any>,
    content: ContentType,
    #[asn1(
        context_specific = "0",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    certificates: Option<SetOfVec<Any>>,
    signers: SetOfVec<Any>,
}

#[derive(Sequence)]
struct ContentType {
    kind: ObjectIdentifier,
}

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// Key derivation rounds: a test secret, and importing must not take seconds.
const ITERATIONS: u32 = 10_000;
