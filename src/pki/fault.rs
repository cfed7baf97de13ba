//! Faults that the sandbox's authority plays on demand, so that whoever judges by its services is seen to judge rightly.
//!
//! A fault changes what the services *say*, never what the authority *knows*: cleared, everything is as before.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A service of the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Revocation lists, complete and delta.
    Crl,
    /// OCSP answers.
    Ocsp,
}

/// What is wrong with the answers of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Its `nextUpdate` is over since two days.
    Late,
    /// Its signature verifies under no key.
    Unsigned,
    /// Signed by a key that may not answer for this issuer.
    WrongSigner,
    /// OCSP: every status is `unknown`. CRL: a list whose scope leaves the certificates out.
    Unknown,
    /// No answer: HTTP 503.
    Unreachable,
}

/// The fault of each service, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Of the revocation lists.
    pub crl: Option<Fault>,
    /// Of the OCSP responder.
    pub ocsp: Option<Fault>,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Crl, Self::Ocsp];

    /// As commands name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crl => "crl",
            Self::Ocsp => "ocsp",
        }
    }
}

impl Fault {
    /// All of them, in the order of their explanations.
    pub const ALL: [Self; 5] = [
        Self::Late,
        Self::Unsigned,
        Self::WrongSigner,
        Self::Unknown,
        Self::Unreachable,
    ];

    /// As commands name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Unsigned => "unsigned",
            Self::WrongSigner => "wrong-signer",
            Self::Unknown => "unknown",
            Self::Unreachable => "unreachable",
        }
    }

    /// What a client of the service meets, in one line.
    pub fn meaning(self, service: Service) -> &'static str {
        match (self, service) {
            (Self::Late, Service::Crl) => "the list's nextUpdate is over since two days",
            (Self::Late, Service::Ocsp) => "the answer's nextUpdate is over since two days",
            (Self::Unsigned, Service::Crl) => "the list's signature verifies under no key",
            (Self::Unsigned, Service::Ocsp) => "the answer's signature verifies under no key",
            (Self::WrongSigner, Service::Crl) => "the list is signed by a key that is not the issuer's",
            (Self::WrongSigner, Service::Ocsp) => "the answer is signed by a certificate of nobody's that is in it",
            (Self::Unknown, Service::Crl) => "the list's scope leaves the issuer's certificates out",
            (Self::Unknown, Service::Ocsp) => "every status is unknown",
            (Self::Unreachable, _) => "the server answers 503",
        }
    }
}

impl Faults {
    /// The fault of a service.
    pub fn of(&self, service: Service) -> Option<Fault> {
        match service {
            Service::Crl => self.crl,
            Service::Ocsp => self.ocsp,
        }
    }

    /// The same with another fault for a service; none to clear it.
    #[must_use]
    pub fn with(mut self, service: Service, fault: Option<Fault>) -> Self {
        match service {
            Service::Crl => self.crl = fault,
            Service::Ocsp => self.ocsp = fault,
        }
        self
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no service or no fault; says which there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {what} {given:?}; there is {known}")]
pub struct UnknownName {
    what: &'static str,
    given: String,
    known: String,
}

impl FromStr for Service {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        by_name(&Self::ALL, text, "service")
    }
}

impl FromStr for Fault {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        by_name(&Self::ALL, text, "fault")
    }
}

fn by_name<T: Copy + fmt::Display>(all: &[T], text: &str, what: &'static str) -> Result<T, UnknownName> {
    let found = all.iter().copied().find(|one| one.to_string() == text);
    found.ok_or_else(|| UnknownName {
        what,
        given: text.chars().take(NAME_SHOWN).collect(),
        known: all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    })
}

/// How much of a wrong word an error repeats.
const NAME_SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_told_what_there_is() {
        for service in Service::ALL {
            assert_eq!(service.name().parse(), Ok(service));
            for fault in Fault::ALL {
                assert_eq!(fault.name().parse(), Ok(fault));
                let set = Faults::default().with(service, Some(fault));
                assert_eq!(set.of(service), Some(fault));
                assert_eq!(set.with(service, None), Faults::default());
                let json = serde_json::to_string(&set).unwrap();
                assert!(json.contains(fault.name()), "{json}");
                assert_eq!(serde_json::from_str::<Faults>(&json).unwrap(), set);
            }
        }
        assert_eq!(
            "lat".parse::<Fault>().unwrap_err().to_string(),
            "there is no fault \"lat\"; there is late, unsigned, wrong-signer, unknown, unreachable"
        );
        assert!("http".parse::<Service>().unwrap_err().to_string().contains("crl, ocsp"));
    }
}
