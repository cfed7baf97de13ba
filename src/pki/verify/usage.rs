//! Extended key usage: which purposes fit which side of TLS.

use webpki::{ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter};

/// Which side of TLS the certificate's owner plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// It accepted our connection.
    Server,
    /// It connected to us.
    Client,
    /// It signed the allow list.
    ListSigner,
}

/// How the extended key usage is read; a certificate without that extension fits any use (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageCheck {
    /// The purpose of the side it plays must be there.
    Strict,
    /// serverAuth or clientAuth, whichever side: whether the field's server certificates hold both is not published.
    EitherSide,
}

impl UsageCheck {
    /// The purposes it looks for, in words.
    pub(super) fn expected(self, usage: Usage) -> &'static str {
        match (self, usage) {
            (Self::Strict, Usage::Server) => "serverAuth",
            (Self::Strict, Usage::Client) => "clientAuth",
            (_, Usage::ListSigner) => "a use other than TLS",
            (Self::EitherSide, _) => "serverAuth or clientAuth",
        }
    }
}

impl UsageCheck {
    /// Whether purposes that a certificate states, by their names, fit.
    pub(super) fn fits(self, usage: Usage, stated: &[String]) -> bool {
        let has = |purpose: &str| stated.iter().any(|stated| stated == purpose);
        match (self, usage) {
            (Self::Strict, Usage::Server) => has("serverAuth"),
            (Self::Strict, Usage::Client) => has("clientAuth"),
            (_, Usage::ListSigner) => stated
                .iter()
                .any(|stated| !matches!(stated.as_str(), "serverAuth" | "clientAuth")),
            (Self::EitherSide, _) => has("serverAuth") || has("clientAuth"),
        }
    }
}

/// The purposes that are accepted if the certificate states any.
pub(super) struct Purposes {
    accepted: &'static [&'static [u8]],
    /// Every purpose but these.
    refused: &'static [&'static [u8]],
}

impl Purposes {
    pub(super) fn of(usage: Usage, check: UsageCheck) -> Self {
        let accepted: &[&[u8]] = match (check, usage) {
            (UsageCheck::Strict, Usage::Server) => &[SERVER_AUTH],
            (UsageCheck::Strict, Usage::Client) => &[CLIENT_AUTH],
            // Which purposes the field writes for ORG SIGN is not published: a certificate made for TLS alone is not one.
            (_, Usage::ListSigner) => {
                return Self {
                    accepted: &[],
                    refused: &[SERVER_AUTH, CLIENT_AUTH],
                };
            }
            (UsageCheck::EitherSide, _) => &[SERVER_AUTH, CLIENT_AUTH],
        };
        Self { accepted, refused: &[] }
    }
}

impl ExtendedKeyUsageValidator for Purposes {
    fn validate(&self, iter: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut present = Vec::new();
        for purpose in iter {
            let purpose = purpose?;
            let is_one_of = |oids: &[&[u8]]| oids.iter().any(|oid| KeyPurposeId::new(oid) == purpose);
            if is_one_of(self.accepted) || (!self.refused.is_empty() && !is_one_of(self.refused)) {
                return Ok(());
            }
            present.push(purpose.to_decoded_oid());
        }
        if present.is_empty() {
            return Ok(());
        }
        Err(webpki::Error::RequiredEkuNotFoundContext(
            webpki::RequiredEkuNotFoundContext {
                required: webpki::KeyUsage::client_auth(),
                present,
            },
        ))
    }
}

/// id-kp-serverAuth, 1.3.6.1.5.5.7.3.1, without tag and length.
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
/// id-kp-clientAuth, 1.3.6.1.5.5.7.3.2, without tag and length.
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
