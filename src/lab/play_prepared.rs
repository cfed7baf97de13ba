//! Defects made ready to be shown: forged where the authority's keys are, played elsewhere. What travels between the two is this.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::play::Expected;
use super::probe::{Case, Show, TlsVersions};
use super::probe_hello::{Hello, Version};
use super::{Catalogue, Defect, Face, Forge, ForgeError, Forged, Holder, Offer, Outcome};
use crate::pki::Authority;

/// One defect, ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Id of the catalogue.
    pub id: String,
    /// Its group.
    pub group: String,
    /// One line.
    pub what: String,
    /// What to look at when it is not refused.
    pub remedy: String,
    /// What the face must do.
    pub expected: Expected,
    /// Whether nothing is wrong with it.
    pub control: bool,
    /// How it is shown; `Err` says why it cannot be here.
    pub shown: Result<Shown, String>,
}

/// How a defect is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shown {
    /// This chain (DER in base64, as it is sent) with this key (PKCS#8).
    Chain {
        /// The certificates; none: no certificate is shown.
        chain: Vec<String>,
        /// The key.
        key: String,
        /// `all`, `tls12`, `tls13`.
        versions: TlsVersions,
    },
    /// Without TLS.
    Clear,
    /// By the first message of a handshake.
    Hello {
        /// Major and minor number.
        version: (u8, u8),
        /// Suites offered.
        suites: Vec<u16>,
    },
}

/// Every defect of a face that the words choose, ids or groups; all without a word. What the authority must say of them from now on enters
/// its registry; publish it afterwards.
pub fn prepare(
    catalogue: &Catalogue,
    (authority, now): (&Arc<Authority>, Timestamp),
    (holder, face): (&Holder, Face),
    only: &[String],
) -> Result<Vec<Prepared>, ForgeError> {
    let forge = Forge::new(Arc::clone(authority), now)?;
    // The plainest control is always there: without it the rest means nothing.
    let first = catalogue
        .on(face)
        .map(|(defect, _)| defect)
        .find(|defect| defect.is_control());
    let chosen = |defect: &Defect| {
        let named = only.iter().any(|word| *word == defect.id || word == defect.group.id());
        only.is_empty() || named || first.is_some_and(|first| first.id == defect.id)
    };
    let on_face = catalogue.on(face).filter(|(defect, _)| chosen(defect));
    let ready = on_face.map(|(defect, outcome)| Prepared {
        id: defect.id.clone(),
        group: defect.group.id().to_owned(),
        what: defect.title.clone(),
        remedy: defect.remedy.clone(),
        expected: match outcome {
            Outcome::Accept => Expected::Accepted,
            Outcome::Refuse(_) | Outcome::RefuseHandshake => Expected::Refused,
            Outcome::Either => Expected::Either,
        },
        control: defect.is_control(),
        shown: forge
            .make(defect, holder, face)
            .map_err(|error| error.to_string())
            .and_then(|forged| shown(&forged, holder, (authority, now))),
    });
    Ok(ready.collect())
}

fn shown(forged: &Forged, holder: &Holder, (authority, now): (&Authority, Timestamp)) -> Result<Shown, String> {
    if forged.fault.is_some() {
        return Err("needs a fault of the authority's services meanwhile".to_owned());
    }
    if forged.trust.is_some() {
        return Err("needs other authorities to be trusted than the space's".to_owned());
    }
    if forged.listed != holder.subject {
        return Err("needs another subject on the allow list".to_owned());
    }
    for entry in &forged.entries {
        match entry.enter(authority, now) {
            Err(error) if forged.needs_registry() => return Err(error.to_string()),
            // One that cannot be read cannot be entered either, and is refused for that.
            _ => {}
        }
    }
    Ok(match &forged.offer {
        Offer::Clear => Shown::Clear,
        Offer::Hello(hello) => Shown::Hello {
            version: (hello.version.0, hello.version.1),
            suites: hello.suites.clone(),
        },
        Offer::Handshake(versions) => Shown::Chain {
            chain: forged.chain.iter().map(|der| STANDARD.encode(der)).collect(),
            key: STANDARD.encode(forged.key_der()),
            versions: *versions,
        },
    })
}

impl Prepared {
    /// As a client shows it.
    pub fn case(&self) -> Case {
        let show = self.shown.as_ref().map_err(Clone::clone).and_then(|shown| {
            Ok(match shown {
                Shown::Clear => Show::Clear,
                Shown::Hello { version, suites } => Show::Hello(Hello {
                    version: Version(version.0, version.1),
                    suites: suites.clone(),
                    server_name: None,
                }),
                Shown::Chain { chain, .. } if chain.is_empty() => Show::NoCertificate,
                Shown::Chain { chain, key, versions } => Show::Certificate(certified(chain, key)?, *versions),
            })
        });
        Case {
            id: self.id.clone(),
            group: self.group.clone(),
            what: self.what.clone(),
            expected: self.expected,
            control: self.control,
            show,
        }
    }
}

/// A chain and its key, ready for rustls.
///
/// # Errors
/// What travelled was damaged.
pub fn certified(chain: &[String], key: &str) -> Result<Arc<CertifiedKey>, String> {
    let decoded = |text: &str| STANDARD.decode(text).map_err(|error| error.to_string());
    let chain: Vec<CertificateDer<'static>> = chain
        .iter()
        .map(|text| decoded(text).map(CertificateDer::from))
        .collect::<Result<_, _>>()?;
    Forged::certified_from(chain, &decoded(key)?).map_err(|error| error.to_string())
}
