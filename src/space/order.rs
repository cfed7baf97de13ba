//! What a command asks of a space, and what it is told: one JSON line each way between a command and the process that runs the space.
//!
//! Adding an order: a variant here, one arm in [`super::Keeper::execute`], and its executor in a file of its own (`order_…`), given the
//! keeper and what is in force.

use serde::{Deserialize, Serialize};

use super::change_operator::NewOperator;
use super::material::MaterialError;
use super::order_cert::{CertFilter, NewCertificate};
use super::order_certlab::ForgeOrder;
use super::order_renew::Renewal;
use super::raise::RaiseError;
use crate::app::control::with_causes;
use crate::config::ConfigErrors;
use crate::directory::DirectoryError;
use crate::pki::{AuthorityError, FileError};
use crate::store::StoreError;

pub use crate::app::control::{Answer, Reply};

/// One thing to do. Names and numbers are as the user typed them: whoever executes the order reads and refuses them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "order", deny_unknown_fields)]
pub enum Order {
    /// Read the space file again and make the space what it says.
    Apply,
    /// Publish a signed list instead of the one that follows from the space file.
    ListPublish {
        /// Its file, an absolute path.
        list: String,
    },
    /// Show every operator.
    OperatorList,
    /// Add an operator.
    OperatorAdd(NewOperator),
    /// Take an operator off the allow list.
    OperatorSuspend {
        /// Which one.
        operator: String,
    },
    /// Put a suspended operator back on the allow list.
    OperatorResume {
        /// Which one.
        operator: String,
    },
    /// Remove an operator.
    OperatorRemove {
        /// Which one.
        operator: String,
    },
    /// Move all domains of an operator to another one, and end it.
    OperatorMerge {
        /// The one that ends.
        operator: String,
        /// The one that takes over.
        into: String,
        /// How long both are listed at least; the usual time when not given.
        overlap_seconds: Option<u32>,
    },
    /// Show every domain.
    DomainList,
    /// Give an operator one more domain.
    DomainAdd {
        /// The new domain.
        domain: String,
        /// Whose it is.
        to: String,
    },
    /// Move a domain to another operator.
    DomainMove {
        /// The domain.
        domain: String,
        /// Its new operator.
        to: String,
        /// How long both are listed at least; the usual time when not given.
        overlap_seconds: Option<u32>,
    },
    /// Take a domain out of the space.
    DomainRemove {
        /// The domain.
        domain: String,
    },
    /// Issue a certificate.
    CertIssue(NewCertificate),
    /// Issue a certificate again, under the same names.
    CertRenew(Renewal),
    /// Revoke a certificate, or put it on hold.
    CertRevoke {
        /// Serial number, subject DN or CN.
        which: String,
        /// Why, in the words of RFC 5280 §5.3.1 with hyphens.
        reason: String,
        /// As of when, RFC 3339; now when not given.
        at: Option<String>,
    },
    /// Take a certificate off hold.
    CertRelease {
        /// Serial number, subject DN or CN.
        which: String,
    },
    /// Show what the authority issued.
    CertList(CertFilter),
    /// What the authority and the allow list say of a certificate.
    CertStatus {
        /// Serial number, subject DN or CN.
        which: String,
        /// Full subject DN to look up on the allow list when the authority does not know the certificate.
        subject: Option<String>,
    },
    /// Play a fault of a service of the authority, or none.
    AuthorityFault {
        /// `crl` or `ocsp`; all when not given.
        service: Option<String>,
        /// Which fault; none to clear it.
        fault: Option<String>,
    },
    /// Show the faults being played.
    AuthorityFaults,
    /// Forge the certificate catalogue for a run of `certlab`.
    CertlabForge(ForgeOrder),
    /// Raise the audit peers.
    AuditRaise,
    /// Take the audit peers out of the space.
    AuditStop,
    /// Something about one operator alone, its queue for example.
    At {
        /// Which one.
        operator: String,
        /// What.
        act: crate::app::order::Order,
    },
}

/// Why an order was not carried out. Nothing has changed, unless the text says so.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// It cannot be done: what is in the way, and what to do.
    #[error("{0}")]
    Refused(String),
    /// It was carried out but for this; applying the space again goes on from there.
    #[error("{0}")]
    Incomplete(String),
    /// The directory of an operator.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The space file would not be valid.
    #[error("{0}")]
    Space(#[from] ConfigErrors),
    /// The space could not be made what its file says.
    #[error(transparent)]
    Raise(#[from] RaiseError),
    /// The authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A certificate.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OrderError {
    /// The error with its causes in one text: what the other side of the socket reads.
    pub fn with_causes(&self) -> String {
        with_causes(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_one_line_of_json_and_an_unknown_one_is_refused() {
        let line = serde_json::to_string(&Order::Apply).unwrap();
        assert_eq!(line, r#"{"order":"apply"}"#);
        assert_eq!(serde_json::from_str::<Order>(&line).unwrap(), Order::Apply);
        assert!(serde_json::from_str::<Order>(r#"{"order":"explode"}"#).is_err());
    }
}
