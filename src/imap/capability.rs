//! What is offered, and when: one table. A row comes with the commit that makes its extension complete, never before.

use super::session::{Certificate, Options, Security};

/// One capability.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capability {
    /// As written; one that ends with `=` is followed by a figure of this server.
    pub(crate) name: &'static str,
    /// Where it is defined; docs/imap.md says more.
    #[cfg_attr(not(test), expect(dead_code, reason = "docs/imap.md is checked against it"))]
    pub(crate) rfc: u16,
    pub(crate) offered: Offered,
}

/// In which states a capability is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// Always.
    Always,
    /// Before TLS.
    InClear,
    /// Between TLS and login.
    BeforeLogin,
    /// The same, when the client showed a certificate.
    WithCertificate,
    /// After login.
    LoggedIn,
}

impl Offered {
    fn holds(self, logged_in: bool, security: Security) -> bool {
        match self {
            Self::Always => true,
            Self::LoggedIn => logged_in,
            Self::InClear => !logged_in && security == Security::Clear,
            Self::BeforeLogin => !logged_in && security != Security::Clear,
            Self::WithCertificate => !logged_in && security == Security::Tls(Certificate::Shown),
        }
    }
}

/// Writes the capabilities of a state, a space between them.
pub(crate) fn write(out: &mut Vec<u8>, logged_in: bool, options: &Options) {
    let mut first = true;
    for capability in CAPABILITIES {
        if !capability.offered.holds(logged_in, options.security) {
            continue;
        }
        if !first {
            out.push(b' ');
        }
        first = false;
        out.extend_from_slice(capability.name.as_bytes());
    }
}

/// Whether somebody logged in is offered it.
pub(crate) fn is_offered(name: &str, options: &Options) -> bool {
    CAPABILITIES
        .iter()
        .any(|c| c.name == name && c.offered.holds(true, options.security))
}

const fn row(name: &'static str, rfc: u16, offered: Offered) -> Capability {
    Capability { name, rfc, offered }
}

/// All of them, in the order they are written.
pub(crate) const CAPABILITIES: &[Capability] = &[
    row("IMAP4rev1", 3501, Offered::Always),
    row("LITERAL+", 7888, Offered::Always),
    row("SASL-IR", 4959, Offered::Always),
    row("ID", 2971, Offered::Always),
    row("STARTTLS", 3501, Offered::InClear),
    row("LOGINDISABLED", 3501, Offered::InClear),
    row("AUTH=PLAIN", 4616, Offered::BeforeLogin),
    row("AUTH=EXTERNAL", 4422, Offered::WithCertificate),
    row("ENABLE", 5161, Offered::LoggedIn),
    row("NAMESPACE", 2342, Offered::LoggedIn),
    row("UIDPLUS", 4315, Offered::LoggedIn),
    row("IDLE", 2177, Offered::LoggedIn),
    row("MOVE", 6851, Offered::LoggedIn),
    row("UNSELECT", 3691, Offered::LoggedIn),
    row("CHILDREN", 3348, Offered::LoggedIn),
    row("SPECIAL-USE", 6154, Offered::LoggedIn),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_capability_stands_once_with_its_standard() {
        for (at, capability) in CAPABILITIES.iter().enumerate() {
            assert!(capability.rfc > 1700, "{}", capability.name);
            assert!(
                !CAPABILITIES[..at].iter().any(|c| c.name == capability.name),
                "{} twice",
                capability.name
            );
        }
    }
}
