//! What a server session is told when it begins.

use crate::smtp::extension::Extensions;
use crate::smtp::sasl::Mechanism;

/// Whom a session talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// Another operator: its certificate is the proof, nobody logs in.
    Peer,
    /// A person's or an application's software: it logs in before it sends.
    Submission,
}

/// Where TLS stands when the session begins. There is no third value: nothing is ever exchanged in clear (OP-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Still in clear: STARTTLS must come first.
    Required,
    /// The handshake came before the greeting (RFC 8314 §3.3).
    Done,
}

/// Settings of one session. Sizes are bytes of message text after un-stuffing.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name in the greeting and in the answer to EHLO.
    pub hostname: String,
    /// Id of this session, as refusals and the journal show it.
    pub session_id: String,
    /// Whom it talks to.
    pub face: Face,
    /// Where TLS stands.
    pub tls: Tls,
    /// Ways to log in, offered inside TLS only; empty: AUTH is not offered.
    pub mechanisms: Vec<Mechanism>,
    /// Extensions offered.
    pub extensions: Extensions,
    /// What bounds the session.
    pub limits: Limits,
}

/// What bounds a session (invariant 8).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest message, announced with SIZE.
    pub size_bytes_max: u64,
    /// Longest line of a message, CR LF not counted. RFC 5321 §4.5.3.1.6 promises 998; software that sends longer ones exists.
    pub line_bytes_max: usize,
    /// Most recipients in one transaction; RFC 5321 §4.5.3.1.8 demands at least 100.
    pub recipients_max: usize,
    /// Wrong commands and refused logins before the session is closed with 421; counted anew after each accepted message.
    pub errors_max: usize,
    /// Commands, beside those of `recipients_max`, before the session is closed with 421; counted anew after each accepted message.
    pub commands_max: usize,
    /// What LIMITS announces beside `recipients_max`.
    pub session: SessionLimits,
}

/// What bounds a session as a whole; `None`: nothing does, and nothing is announced (RFC 9422 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionLimits {
    /// MAIL commands, good or bad; the session is closed with 421 at the next one.
    pub mails_max: Option<usize>,
    /// Domains among the accepted recipients; those of further domains are for another session.
    pub recipient_domains_max: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            size_bytes_max: 25 * 1024 * 1024,
            line_bytes_max: 998,
            recipients_max: 100,
            errors_max: 20,
            commands_max: 1000,
            session: SessionLimits::default(),
        }
    }
}
