//! Which TLS is spoken: the lowest version and the suites (OP-7, ECO.1.1.1, ECO.1.1.3).

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, SupportedProtocolVersion};

/// Lowest protocol version (OP-7, ECO.1.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMinimum {
    /// The field's floor; shipped client software still speaks only this one.
    #[default]
    Tls12,
    /// Nothing older than 1.3.
    Tls13,
}

/// What a face or the relay speaks. A [`TlsMinimum`] alone is one with every suite accepted here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsPolicy {
    /// Lowest version.
    pub minimum: TlsMinimum,
    /// The suites.
    pub suites: Suites,
}

/// A choice among the accepted suites. Their order of preference is fixed: the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suites {
    /// One bit for each row of [`SUITES`].
    chosen: u16,
}

/// A choice of suites that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuitesError {
    /// Unknown, or not safe enough.
    #[error("{0} is not one of the suites spoken here: {known}", known = Suites::known().join(", "))]
    Unknown(String),
    /// None chosen.
    #[error("no suite is left: without one no handshake succeeds")]
    Empty,
}

impl Default for Suites {
    /// ECDHE with AEAD for TLS 1.2, everything of TLS 1.3.
    fn default() -> Self {
        Self {
            chosen: (1 << SUITES.len()) - 1,
        }
    }
}

impl Suites {
    /// The suites of these IANA names.
    ///
    /// # Errors
    /// A name is unknown, or there is none.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, SuitesError> {
        let mut chosen = 0;
        for name in names {
            let place = SUITES.iter().position(|(_, known)| *known == name);
            chosen |= 1 << place.ok_or_else(|| SuitesError::Unknown(name.to_owned()))?;
        }
        if chosen == 0 {
            return Err(SuitesError::Empty);
        }
        Ok(Self { chosen })
    }

    /// IANA names of all that can be chosen.
    pub fn known() -> Vec<&'static str> {
        SUITES.iter().map(|(_, name)| *name).collect()
    }

    /// IANA names of those chosen.
    pub fn names(self) -> Vec<&'static str> {
        let chosen = SUITES
            .iter()
            .enumerate()
            .filter(|(place, _)| self.chosen & (1 << place) != 0);
        chosen.map(|(_, (_, name))| *name).collect()
    }

    /// Whether a handshake with this lowest version is possible.
    pub fn serve(self, minimum: TlsMinimum) -> bool {
        minimum == TlsMinimum::Tls12 || self.names().iter().any(|name| !name.contains("_WITH_"))
    }

    pub(super) fn contains(self, suite: CipherSuite) -> bool {
        let place = SUITES.iter().position(|(known, _)| *known == suite);
        place.is_some_and(|place| self.chosen & (1 << place) != 0)
    }
}

impl From<TlsMinimum> for TlsPolicy {
    fn from(minimum: TlsMinimum) -> Self {
        Self {
            minimum,
            suites: Suites::default(),
        }
    }
}

impl TlsPolicy {
    /// aws-lc-rs with the chosen suites only.
    pub(super) fn provider(self) -> Arc<CryptoProvider> {
        let mut provider = aws_lc_rs::default_provider();
        provider
            .cipher_suites
            .retain(|suite| self.suites.contains(suite.suite()));
        Arc::new(provider)
    }

    pub(super) fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self.minimum {
            TlsMinimum::Tls12 => rustls::ALL_VERSIONS,
            TlsMinimum::Tls13 => &TLS13_ONLY,
        }
    }
}

/// ECDHE with AEAD for TLS 1.2, everything of TLS 1.3 (OP-7, ECO.1.1.3), by their IANA names.
const SUITES: [(CipherSuite, &str); 9] = [
    (CipherSuite::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384"),
    (CipherSuite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"),
    (
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        "TLS_CHACHA20_POLY1305_SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
];
static TLS13_ONLY: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_chosen_by_their_iana_names() {
        let suites = Suites::from_names(["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"]).unwrap();
        assert_eq!(
            suites.names(),
            ["TLS_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]
        );
        assert_eq!(Suites::default().names(), Suites::known());
        let provider = TlsPolicy {
            minimum: TlsMinimum::Tls12,
            suites,
        }
        .provider();
        assert_eq!(provider.cipher_suites.len(), 2);
        assert_eq!(TlsPolicy::default().provider().cipher_suites.len(), SUITES.len());
    }

    #[test]
    fn unknown_and_unsafe_suites_and_none_at_all_are_errors() {
        for name in ["TLS_RSA_WITH_AES_128_CBC_SHA", "TLS13_AES_256_GCM_SHA384", "", "AES"] {
            assert_eq!(Suites::from_names([name]), Err(SuitesError::Unknown(name.to_owned())));
        }
        assert_eq!(Suites::from_names([]), Err(SuitesError::Empty));
        let error = Suites::from_names(["RC4"]).unwrap_err().to_string();
        assert!(error.contains("TLS_AES_128_GCM_SHA256"), "{error}");
    }

    #[test]
    fn tls_1_3_needs_a_suite_of_its_own() {
        let old = Suites::from_names(["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]).unwrap();
        assert!(old.serve(TlsMinimum::Tls12) && !old.serve(TlsMinimum::Tls13));
        assert!(Suites::default().serve(TlsMinimum::Tls13));
    }
}
