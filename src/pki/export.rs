//! Files for people: PKCS#12, which software imports, and the bundle of authorities to trust.

use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey, PrivateKeyChain,
};

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

/// Key derivation rounds: a test secret, and importing must not take seconds.
const ITERATIONS: u32 = 10_000;
