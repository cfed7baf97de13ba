//! A refusal: a stable reason, and what a mail administrator needs to act on it.

use std::fmt;

/// Why something was refused. The id is stable: scripts, journals and documentation refer to it (invariant 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Mail was offered before STARTTLS.
    TlsRequired,
    /// The peer showed no certificate.
    CertificateMissing,
    /// The chain does not lead to the authority.
    CertificateUntrusted,
    /// `notAfter` is in the past.
    CertificateExpired,
    /// `notBefore` is in the future.
    CertificateNotYetValid,
    /// The authority revoked it, or one of its issuers.
    CertificateRevoked,
    /// Key usage or extended key usage does not allow this use.
    CertificateUsage,
    /// It cannot be read.
    CertificateMalformed,
    /// Nobody can say now whether it is revoked.
    RevocationUnknown,
    /// The sender's domain is not on the allow list.
    SenderDomainUnlisted,
    /// The sender's domain is listed, but for another certificate.
    CertificateNotForDomain,
    /// The certificate is listed for no domain at all (null reverse-path).
    PeerUnlisted,
    /// The recipient's domain is not one of ours.
    RelayDenied,
    /// The recipient's domain has just moved to another operator.
    DomainLeaving,
    /// No such box.
    BoxUnknown,
    /// The box is closed.
    BoxClosed,
    /// The box is suspended.
    BoxSuspended,
    /// The box is full.
    OverQuota,
    /// The message is larger than this operator takes.
    MessageTooLarge,
    /// The message is larger than the patients' operator takes.
    PatientMessageTooLarge,
    /// The message breaks a national rule on its form, and the operator enforces them.
    MessageForm,
    /// The message breaks a rule of its format.
    MessageMalformed,
    /// The message has passed here, or anywhere, too often.
    MailLoop,
    /// More recipients than one transaction may have.
    TooManyRecipients,
    /// No login yet.
    AuthenticationRequired,
    /// Wrong user name or password.
    CredentialsInvalid,
    /// The certificate is good but bound to no box, or not to the one asked for.
    CertificateNotBound,
    /// Several boxes fit the certificate: the client must name one.
    BoxAmbiguous,
    /// The envelope sender is not a box of this login.
    SenderNotAllowed,
    /// The `From` field is missing, or names a box that is not the sender's.
    FromNotAllowed,
    /// The recipient's domain is not on the allow list.
    RecipientDomainUnlisted,
    /// The store could not take it.
    StorageFailed,
    /// The disk is full.
    StorageFull,
    /// Too many connections from this peer, or sessions of this login.
    TooManyConnections,
    /// Too many errors, or commands without a message, in one session.
    TooManyErrors,
    /// More transactions than one session may hold.
    TooManyTransactions,
    /// A message came too slowly, or took too long.
    TooSlow,
}

impl Reason {
    /// All of them, for documentation and tests.
    pub const ALL: [Self; 37] = [
        Self::TlsRequired,
        Self::CertificateMissing,
        Self::CertificateUntrusted,
        Self::CertificateExpired,
        Self::CertificateNotYetValid,
        Self::CertificateRevoked,
        Self::CertificateUsage,
        Self::CertificateMalformed,
        Self::RevocationUnknown,
        Self::SenderDomainUnlisted,
        Self::CertificateNotForDomain,
        Self::PeerUnlisted,
        Self::RelayDenied,
        Self::DomainLeaving,
        Self::BoxUnknown,
        Self::BoxClosed,
        Self::BoxSuspended,
        Self::OverQuota,
        Self::MessageTooLarge,
        Self::PatientMessageTooLarge,
        Self::MessageForm,
        Self::MessageMalformed,
        Self::MailLoop,
        Self::TooManyRecipients,
        Self::AuthenticationRequired,
        Self::CredentialsInvalid,
        Self::CertificateNotBound,
        Self::BoxAmbiguous,
        Self::SenderNotAllowed,
        Self::FromNotAllowed,
        Self::RecipientDomainUnlisted,
        Self::StorageFailed,
        Self::StorageFull,
        Self::TooManyConnections,
        Self::TooManyErrors,
        Self::TooManyTransactions,
        Self::TooSlow,
    ];

    /// The stable id, as it stands in replies and journals.
    pub fn id(self) -> &'static str {
        self.row().0
    }

    /// Reply code of RFC 5321 §4.2 and enhanced status of RFC 3463.
    pub fn code(self) -> (u16, &'static str) {
        let (_, code, status) = self.row();
        (code, status)
    }

    /// The same where it answers a login. RFC 4954 §6: 535 5.7.8 whatever was wrong with what the client showed, since that is what clients ask
    /// for other credentials at; 454 4.7.0 when nobody can say now. What ends the session ends it (RFC 5321 §3.8).
    pub fn login_code(self) -> (u16, &'static str) {
        match self.code() {
            closing @ (421, _) => closing,
            (400..=499, _) => (454, "4.7.0"),
            _ => (535, "5.7.8"),
        }
    }

    /// The one table: id, RFC 5321 code, RFC 3463 status. The codes are those proposed for a mock operator where no rule is public.
    fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::TlsRequired => ("tls-required", 530, "5.7.0"),
            Self::CertificateMissing => ("certificate-missing", 554, "5.7.0"),
            Self::CertificateUntrusted => ("certificate-untrusted", 554, "5.7.0"),
            Self::CertificateExpired => ("certificate-expired", 554, "5.7.0"),
            Self::CertificateNotYetValid => ("certificate-not-yet-valid", 554, "5.7.0"),
            Self::CertificateRevoked => ("certificate-revoked", 554, "5.7.0"),
            Self::CertificateUsage => ("certificate-usage", 554, "5.7.0"),
            Self::CertificateMalformed => ("certificate-malformed", 554, "5.7.0"),
            Self::RevocationUnknown => ("revocation-unknown", 454, "4.7.0"),
            Self::SenderDomainUnlisted => ("sender-domain-unlisted", 550, "5.7.1"),
            Self::CertificateNotForDomain => ("certificate-not-for-domain", 550, "5.7.1"),
            Self::PeerUnlisted => ("peer-unlisted", 550, "5.7.1"),
            Self::RelayDenied => ("relay-denied", 550, "5.7.1"),
            Self::DomainLeaving => ("domain-leaving", 450, "4.1.6"),
            Self::BoxUnknown => ("box-unknown", 550, "5.1.1"),
            Self::BoxClosed => ("box-closed", 550, "5.2.1"),
            Self::BoxSuspended => ("box-suspended", 450, "4.2.1"),
            Self::OverQuota => ("over-quota", 452, "4.2.2"),
            Self::MessageTooLarge => ("message-too-large", 552, "5.3.4"),
            Self::PatientMessageTooLarge => ("patient-message-too-large", 552, "5.3.4"),
            Self::MessageForm => ("message-form", 554, "5.6.0"),
            Self::MessageMalformed => ("message-malformed", 554, "5.6.0"),
            Self::MailLoop => ("mail-loop", 554, "5.4.6"),
            Self::TooManyRecipients => ("too-many-recipients", 452, "4.5.3"),
            Self::AuthenticationRequired => ("authentication-required", 530, "5.7.0"),
            Self::CredentialsInvalid => ("credentials-invalid", 535, "5.7.8"),
            Self::CertificateNotBound => ("certificate-not-bound", 535, "5.7.8"),
            Self::BoxAmbiguous => ("box-ambiguous", 535, "5.7.8"),
            Self::SenderNotAllowed => ("sender-not-allowed", 553, "5.7.1"),
            Self::FromNotAllowed => ("from-not-allowed", 550, "5.7.1"),
            Self::RecipientDomainUnlisted => ("recipient-domain-unlisted", 550, "5.7.1"),
            Self::StorageFailed => ("storage-failed", 451, "4.3.0"),
            // RFC 3463 §3.4: mail system full.
            Self::StorageFull => ("storage-full", 452, "4.3.1"),
            Self::TooManyConnections => ("too-many-connections", 421, "4.7.0"),
            // RFC 3463 §3.8: other or undefined security status, for what looks like a probe.
            Self::TooManyErrors => ("too-many-errors", 421, "4.7.0"),
            // RFC 3463 §3.6: a limit of the protocol, here of the session.
            Self::TooManyTransactions => ("too-many-transactions", 421, "4.5.3"),
            // RFC 3463 §3.5: bad connection.
            Self::TooSlow => ("too-slow", 421, "4.4.2"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// A verdict against: the reason and one line that a mail administrator understands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} ({reason})")]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// One line of ASCII: what was found and what was expected. Never an INS, a subject or a secret.
    pub text: String,
}

impl Refusal {
    /// A refusal with its line of text; anything that is not printable ASCII is replaced, since it goes into an SMTP reply.
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        let text: String = text.into();
        let text = text
            .chars()
            .map(|c| if (' '..='~').contains(&c) { c } else { '?' })
            .collect();
        Self { reason, text }
    }
}
