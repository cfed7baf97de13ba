//! What a session is allowed, and how its connection is protected.

/// What a session is allowed, and how its connection is protected.
#[derive(Clone, Debug)]
pub struct Options {
    /// Protection of the connection when the session starts.
    pub security: Security,
    /// A command with its literals, APPEND's message apart, in bytes.
    pub command_bytes_max: usize,
    /// The same before login.
    pub command_before_login_bytes_max: usize,
    /// A message for APPEND, in bytes.
    pub append_bytes_max: usize,
    /// BAD commands and failed logins before the session is ended.
    pub errors_max: u32,
    /// Whether bearer tokens are taken.
    pub tokens: Tokens,
    /// Name of the session; NO, BAD and BYE carry it when it is not empty.
    pub session_id: String,
}

impl Options {
    /// Defaults: 64 KiB commands (8 KiB before login), messages of 35 MiB (25 MiB of attachments after base64), 20 errors.
    pub fn new(security: Security) -> Self {
        Self {
            security,
            command_bytes_max: 64 * 1024,
            command_before_login_bytes_max: 8 * 1024,
            append_bytes_max: 35 * 1024 * 1024,
            errors_max: 20,
            tokens: Tokens::Refused,
            session_id: String::new(),
        }
    }
}

/// Whether bearer tokens are taken (XOAUTH2, OAUTHBEARER).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// The driver can verify them: both mechanisms are offered.
    Taken,
    /// It cannot.
    Refused,
}

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// In clear; STARTTLS is offered and login is not (ECO.1.1.1).
    Clear,
    /// TLS.
    Tls(Certificate),
}

/// Whether the client showed a certificate that the driver verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Yes: SASL EXTERNAL is offered.
    Shown,
    /// No.
    None,
}
