//! Defects made ready to be shown: forged where the authority's keys are, played elsewhere. What travels between the two is this.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::play::Expected;
use super::probe::{Case, Show, TlsVersions};
use super::probe_hello::{Hello, Version};
use super::{Catalogue, Defect, Face, Forge, Forged, Holder, Offer, Outcome};

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

/// Every defect of a face that the words choose, ids or groups; all without a word.
pub fn prepare(
    catalogue: &Catalogue,
    forge: &Forge,
    (holder, face): (&Holder, Face),
    only: &[String],
) -> Vec<Prepared> {
    let chosen = |defect: &Defect| {
        only.is_empty()
            || defect.is_control()
            || only.iter().any(|word| *word == defect.id || word == defect.group.id())
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
        shown: shown(defect, forge, holder, face),
    });
    ready.collect()
}

fn shown(defect: &Defect, forge: &Forge, holder: &Holder, face: Face) -> Result<Shown, String> {
    let forged = forge.make(defect, holder, face).map_err(|error| error.to_string())?;
    if forged.fault.is_some() {
        return Err("needs a fault of the authority's services meanwhile".to_owned());
    }
    if forged.trust.is_some() {
        return Err("needs other authorities to be trusted than the space's".to_owned());
    }
    if forged.listed != holder.subject {
        return Err("needs another subject on the allow list".to_owned());
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
