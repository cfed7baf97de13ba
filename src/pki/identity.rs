//! A certificate chain with its private key, ready for TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::certificate::{self, CertificateProblem, PeerCertificate};
use super::files::{self, FileError};

/// Who we are in a handshake. Cloning is cheap; the key never prints itself.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    certificate: Arc<PeerCertificate>,
}

/// An identity that cannot be used, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// No PEM certificate.
    #[error("{}no certificate in it; expected PEM blocks BEGIN CERTIFICATE, the server's first, then its issuer", of(path.as_ref()))]
    NoCertificate {
        /// The file, when it came from one.
        path: Option<PathBuf>,
    },
    /// No PEM key.
    #[error("{}no private key in it; expected a PEM block BEGIN PRIVATE KEY", of(path.as_ref()))]
    NoKey {
        /// The file, when it came from one.
        path: Option<PathBuf>,
    },
    /// A key under a password.
    #[error("{}the private key is encrypted; decrypt it with: openssl pkey -in FILE -out NEWFILE", of(path.as_ref()))]
    EncryptedKey {
        /// The file, when it came from one.
        path: Option<PathBuf>,
    },
    /// A block that is not what its label says.
    #[error("{}not readable: {problem}", of(path.as_ref()))]
    Damaged {
        /// The file, when it came from one.
        path: Option<PathBuf>,
        /// Why.
        problem: String,
    },
    /// The first certificate cannot be read.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] CertificateProblem),
    /// Key of an unknown kind.
    #[error("the private key cannot be used: {0}; expected RSA of 2048 bits or more, or ECDSA")]
    Key(rustls::Error),
    /// Key of another certificate.
    #[error(
        "the private key is not the one of certificate {subject}; check that both files come from the same request, and that the first certificate is not its issuer"
    )]
    WrongKey {
        /// The subject of the first certificate.
        subject: String,
    },
}

impl Identity {
    /// From a chain, leaf first, and the leaf's key.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, IdentityError> {
        let leaf = chain.first().ok_or(IdentityError::NoCertificate { path: None })?;
        let certificate = certificate::read(leaf)?;
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(IdentityError::Key)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| IdentityError::WrongKey {
            subject: certificate.subject.to_string(),
        })?;
        Ok(Self {
            certified: Arc::new(certified),
            certificate: Arc::new(certificate),
        })
    }

    /// From two PEM files; they may be the same one.
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self, IdentityError> {
        let chain_pem = files::read(chain, PEM_BYTES_MAX)?;
        let key_pem = files::read(key, PEM_BYTES_MAX)?;
        Self::read(&chain_pem, &key_pem, Some(chain), Some(key))
    }

    /// From PEM text.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        Self::read(chain, key, None, None)
    }

    fn read(
        chain: &[u8],
        key: &[u8],
        chain_path: Option<&Path>,
        key_path: Option<&Path>,
    ) -> Result<Self, IdentityError> {
        let path = chain_path.map(Path::to_owned);
        let certificates = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| IdentityError::Damaged {
            path: path.clone(),
            problem: error.to_string(),
        })?;
        if certificates.is_empty() {
            return Err(IdentityError::NoCertificate { path });
        }
        Self::new(certificates, read_key(key, key_path)?)
    }

    /// From a PKCS#12 file: the first key in it, with its chain.
    pub fn from_pkcs12(bytes: &[u8], password: &str) -> Result<Self, IdentityError> {
        let damaged = |problem: String| IdentityError::Damaged { path: None, problem };
        let store = KeyStore::from_pkcs12(bytes, password, Pkcs12ImportPolicy::Strict);
        let store = store.map_err(|error| damaged(format!("PKCS#12: {error}; check its password")))?;
        let (_, chain) = store.private_key_chain().ok_or(IdentityError::NoKey { path: None })?;
        let key = PrivateKeyDer::try_from(chain.key().as_der().to_vec()).map_err(|error| damaged(error.to_owned()))?;
        let certificates = chain.certs().iter();
        Self::new(certificates.map(|one| one.as_der().to_vec().into()).collect(), key)
    }

    /// What the leaf says.
    pub fn certificate(&self) -> &PeerCertificate {
        &self.certificate
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The same for a rustls configuration.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.certificate.subject).finish()
    }
}

fn read_key(pem: &[u8], path: Option<&Path>) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let path = path.map(Path::to_owned);
    let holds = |label: &[u8]| pem.windows(label.len()).any(|window| window == label);
    // PKCS#8 under a password, and the older form of OpenSSL.
    if holds(b"BEGIN ENCRYPTED PRIVATE KEY") || holds(b"Proc-Type: 4,ENCRYPTED") {
        return Err(IdentityError::EncryptedKey { path });
    }
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(rustls_pki_types::pem::Error::NoItemsFound) => Err(IdentityError::NoKey { path }),
        Err(error) => Err(IdentityError::Damaged {
            path,
            problem: error.to_string(),
        }),
    }
}

/// The file a message is about, as its start.
fn of(path: Option<&PathBuf>) -> String {
    path.map(|path| format!("{}: ", path.display())).unwrap_or_default()
}

const PEM_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::super::testing::{Space, server};
    use super::*;

    #[test]
    fn files_that_go_together_make_an_identity() {
        let space = Space::new();
        let issued = space.issue(&server("smtp.chu.fr"));
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        std::fs::write(&chain, issued.chain_pem()).unwrap();
        std::fs::write(&key, issued.key_pem()).unwrap();
        let identity = Identity::from_files(&chain, &key).unwrap();
        assert_eq!(identity.certificate().subject, issued.subject);
        assert_eq!(identity.chain().len(), 2);
        assert!(!format!("{identity:?} {issued:?}").contains("PRIVATE"));
    }

    #[test]
    fn each_mistake_is_named_with_its_file_and_remedy() {
        let space = Space::new();
        let one = space.issue(&server("smtp.chu.fr"));
        let two = space.issue(&server("smtp.other.fr"));
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let chain = path("chain.pem", &one.chain_pem());
        let key = path("key.pem", one.key_pem());
        let other_key = path("other.pem", two.key_pem());
        let encrypted = path("encrypted.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII=\n");
        let empty = path("empty.pem", "");
        let damaged = path(
            "damaged.pem",
            "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
        );
        for (chain, key, expected) in [
            (&chain, &other_key, "not the one of certificate CN=smtp.chu.fr"),
            (
                &chain,
                &encrypted,
                "encrypted.pem: the private key is encrypted; decrypt it with: openssl",
            ),
            (&chain, &empty, "empty.pem: no private key"),
            (&chain, &chain, "chain.pem: no private key"),
            (&empty, &key, "empty.pem: no certificate"),
            (&key, &key, "key.pem: no certificate"),
            (&damaged, &key, "damaged.pem: not readable"),
            (&folder.path().join("absent.pem"), &key, "absent.pem"),
        ] {
            let error = Identity::from_files(chain, key).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
