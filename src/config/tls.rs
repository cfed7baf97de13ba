//! `[tls]`: the certificates a gateway shows.

use std::path::PathBuf;

use toml::de::DeValue;

use super::reader::{FromToml, Section, Wrong};
use super::value::choose;
use crate::pki::TlsMinimum;

/// The certificates of a gateway and the oldest TLS it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Shown to other operators, as a server and as a client: the SERV SSL certificate whose subject the allow list names.
    pub server: KeyPair,
    /// Shown to the users' clients; [`Self::server`] when absent.
    pub client_face: Option<KeyPair>,
    /// ECO.1.1.1: 1.2 at least.
    pub version_min: TlsMinimum,
}

/// A certificate chain and its key, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate first, then its issuers.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl FromToml for TlsMinimum {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        choose(value, &[("1.2", Self::Tls12), ("1.3", Self::Tls13)])
    }
}

impl Tls {
    pub(super) fn read(section: Section<'_>) -> Option<Self> {
        let certificate = section.required_file("certificate");
        let key = section.required_file("key");
        let client = (section.file("client_certificate"), section.file("client_key"));
        let version_min = section.or("version_min", TlsMinimum::Tls12);
        let client_face = match client {
            (Some(certificate), Some(key)) => Some(KeyPair { certificate, key }),
            (None, None) => None,
            _ => {
                section.wrong_here(
                    "`client_certificate` and `client_key` go together".into(),
                    "give both, or neither",
                );
                None
            }
        };
        section.close();
        Some(Self {
            server: KeyPair {
                certificate: certificate?,
                key: key?,
            },
            client_face,
            version_min,
        })
    }
}
