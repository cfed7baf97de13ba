//! What a client proves itself with.

use std::fmt;

/// A test secret or token on its way to whoever checks it; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a secret.
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret, for the one who checks it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What a client proves itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// LOGIN, or SASL PLAIN (RFC 4616).
    Password {
        /// `LOGIN`, or the SASL mechanism: for the journal.
        mechanism: &'static str,
        /// Authorisation identity: the box wanted; empty when not given.
        authorize: String,
        /// User name.
        user: String,
        /// Secret.
        password: Password,
    },
    /// A bearer token: XOAUTH2, OAUTHBEARER (RFC 7628).
    Token {
        /// The SASL mechanism: for the journal.
        mechanism: &'static str,
        /// The box wanted; empty when not given.
        authorize: String,
        /// Token.
        token: Password,
    },
    /// SASL EXTERNAL (RFC 4422 annex A): the certificate shown to the driver.
    Certificate {
        /// The box wanted; empty when not given.
        authorize: String,
    },
}
