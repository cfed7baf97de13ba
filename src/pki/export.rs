//! Files for people: PKCS#12, which software imports, and the bundle of authorities to trust.

use der::asn1::{Any, ObjectIdentifier, SetOfVec};
use der::{Decode, Encode, Sequence};
use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, Pkcs12ImportPolicy, PrivateKey,
    PrivateKeyChain,
};
use rustls_pki_types::CertificateDer;

use super::certificate;
use super::{Authority, Issued, Issuer};

/// A file that could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// PKCS#12 could not be written.
    #[error("cannot make the PKCS#12 file")]
    Writing(#[from] p12_keystore::error::Error),
    /// PKCS#12 could not be opened: mostly the password.
    #[error("the password does not open this PKCS#12 file, or the file is damaged; give the right one with --password")]
    Opening(#[source] p12_keystore::error::Error),
    /// There is nothing in it.
    #[error("there is no certificate in this PKCS#12 file")]
    Empty,
}

/// How a PKCS#12 file is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pkcs12Form {
    /// PBES2 with AES-256 and HMAC-SHA-256: OpenSSL 3 opens it without its legacy provider.
    #[default]
    Modern,
    /// Triple DES and HMAC-SHA-1, for software of the years before 2015: Java 8, Windows Server 2016, older `DUI`.
    Legacy,
}

/// What a PKCS#12 file holds.
pub struct KeyStoreFile {
    /// Certificates, that of the key first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key, PKCS#8 DER, if there is one. It never prints itself.
    pub key: Option<Vec<u8>>,
}

impl std::fmt::Debug for KeyStoreFile {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyStoreFile")
            .field("chain", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// Key and whole chain, root included, as PKCS#12 (RFC 7292) of the modern form.
///
/// `name` is what import dialogs show; `password` protects the file, a sandbox secret.
pub fn pkcs12(issued: &Issued, name: &str, password: &str) -> Result<Vec<u8>, ExportError> {
    let chain: Vec<CertificateDer<'_>> = issued.chain.iter().chain([&issued.root]).cloned().collect();
    pkcs12_of(&chain, &issued.key, name, (password, Pkcs12Form::Modern))
}

/// A key (PKCS#8 DER) and its chain, leaf first, as PKCS#12.
pub fn pkcs12_of(
    chain: &[CertificateDer<'_>],
    key: &[u8],
    name: &str,
    (password, form): (&str, Pkcs12Form),
) -> Result<Vec<u8>, ExportError> {
    let leaf = chain.first().ok_or(ExportError::Empty)?;
    let certificates = chain
        .iter()
        .map(|certificate| Certificate::from_der(certificate))
        .collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKey::from_der(key)?;
    let mut store = KeyStore::new();
    let key_id = certificate::fingerprint(leaf);
    let entry = PrivateKeyChain::new(key_id.as_str(), key, certificates);
    store.add_entry(name, KeyStoreEntry::PrivateKeyChain(entry));
    write(&store, password, form)
}

/// Authorities' certificates as a PKCS#12 trust store: what Java and some `DUI` want instead of PEM.
pub fn trust_store_pkcs12(
    certificates: &[CertificateDer<'_>],
    password: &str,
    form: Pkcs12Form,
) -> Result<Vec<u8>, ExportError> {
    let mut store = KeyStore::new();
    for (rank, certificate) in (1_u32..).zip(certificates) {
        let certificate = Certificate::from_der(certificate)?;
        store.add_entry(&format!("authority-{rank}"), KeyStoreEntry::Certificate(certificate));
    }
    write(&store, password, form)
}

fn write(store: &KeyStore, password: &str, form: Pkcs12Form) -> Result<Vec<u8>, ExportError> {
    let (encryption, mac) = match form {
        Pkcs12Form::Modern => (
            EncryptionAlgorithm::PbeWithHmacSha256AndAes256,
            MacAlgorithm::HmacSha256,
        ),
        Pkcs12Form::Legacy => (
            EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc,
            MacAlgorithm::HmacSha1,
        ),
    };
    let writer = store
        .writer(password)
        .encryption_algorithm(encryption)
        .encryption_iterations(ITERATIONS)
        .mac_algorithm(mac)
        .mac_iterations(ITERATIONS);
    Ok(writer.write()?)
}

/// Opens a PKCS#12 file of either form.
pub fn read_pkcs12(bytes: &[u8], password: &str) -> Result<KeyStoreFile, ExportError> {
    let store = KeyStore::from_pkcs12(bytes, password, Pkcs12ImportPolicy::Relaxed).map_err(ExportError::Opening)?;
    let owned = |certificate: &Certificate| CertificateDer::from(certificate.as_der().to_vec());
    if let Some((_, found)) = store.private_key_chain() {
        return Ok(KeyStoreFile {
            chain: found.certs().iter().map(owned).collect(),
            key: Some(found.key().as_der().to_vec()),
        });
    }
    let chain: Vec<CertificateDer<'static>> = store
        .entries()
        .filter_map(|(_, entry)| match entry {
            KeyStoreEntry::Certificate(certificate) => Some(owned(certificate)),
            _ => None,
        })
        .collect();
    if chain.is_empty() {
        return Err(ExportError::Empty);
    }
    Ok(KeyStoreFile { chain, key: None })
}

/// Certificates as PEM, one after the other.
pub fn pem(certificates: &[CertificateDer<'_>]) -> String {
    certificate::pem(certificates)
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
