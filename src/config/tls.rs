//! `[tls]`: the certificates a gateway shows.

use std::path::PathBuf;

use toml::de::DeValue;

use super::reader::{FromToml, Section, Wrong};
use super::suggest::nearest;
use super::value::choose;
use crate::pki::{Suites, TlsMinimum, TlsPolicy};

/// The certificates of a gateway and the oldest TLS it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Shown to other operators, as a server and as a client: the SERV SSL certificate whose subject the allow list names.
    pub server: KeyPair,
    /// Shown to the users' clients; [`Self::server`] when absent.
    pub client_face: Option<KeyPair>,
    /// ECO.1.1.1: 1.2 at least; and the suites (ECO.1.1.3).
    pub policy: TlsPolicy,
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
        let suites = read_suites(&section, version_min);
        section.close();
        Some(Self {
            server: KeyPair {
                certificate: certificate?,
                key: key?,
            },
            client_face,
            policy: TlsPolicy {
                minimum: version_min,
                suites: suites.unwrap_or_default(),
            },
        })
    }
}

fn read_suites(section: &Section<'_>, minimum: TlsMinimum) -> Option<Suites> {
    let names = section.list::<String>("suites");
    let first = names.first()?;
    for name in &names {
        if Suites::from_names([name.value.as_str()]).is_err() {
            let known = Suites::known();
            let near = nearest(&name.value, known.iter().copied());
            let remedy = match near {
                Some(near) => format!("did you mean {near:?}? Known: {}", known.join(", ")),
                None => format!("IANA names, of these: {}", known.join(", ")),
            };
            section.wrong(
                name,
                format!("`tls.suites`: {:?} is not spoken here", name.value),
                remedy,
            );
        }
    }
    let suites = Suites::from_names(names.iter().map(|name| name.value.as_str())).ok()?;
    if !suites.serve(minimum) {
        section.wrong(
            first,
            "`tls.suites` has none for TLS 1.3, which `tls.version_min` asks for".into(),
            "add one, such as \"TLS_AES_256_GCM_SHA384\"",
        );
    }
    Some(suites)
}
