//! Keys and certificates: the sandbox authority that issues and revokes them, the judge of a peer's chain, the TLS configurations.
//!
//! The handshake of a server face lets any certificate through once its possession is proved; [`TrustStore::verify`] judges it
//! afterwards, so that the refusal is an SMTP reply with a reason and a record in the journal. The client side judges during the
//! handshake: nothing goes to a peer that is not proved. Either way the verdict is a [`crate::policy::Refusal`].
//!
//! Nothing here reads a clock, opens a socket or fetches a URL.

mod authority;
mod certificate;
mod create;
mod crl;
mod export;
mod extension;
mod fault;
mod files;
mod identity;
mod issue;
mod lab;
pub mod ocsp;
mod presented;
mod profile;
mod publish;
mod registry;
mod renew;
mod revocation;
mod sign;
mod signer;
mod signing_request;
mod tls;
mod verify;

pub use authority::{Authority, AuthorityError, AuthorityOptions, Chain, Issuer, OcspSigner, PublicationValidity};
pub use certificate::{CertificateProblem, PeerCertificate, fingerprint, subject_of};
pub use export::{
    ExportError, KeyStoreFile, Pkcs12Form, p7b, pem, pkcs12, pkcs12_of, read_pkcs12, trust_bundle, trust_p7b,
    trust_store_pkcs12,
};
pub use fault::{Fault, Faults, Service, UnknownName};
pub use files::{FileError, private_folder, write_private, write_public};
pub use identity::{Identity, IdentityError};
pub use issue::{Certified, Issued, Names, Request, Subject};
pub use lab::LabSigner;
pub use presented::Presented;
pub use profile::{KeyKind, Profile};
pub use publish::Publication;
pub use registry::{CertificateRecord, Revocation, RevocationReason, Revoked};
pub use renew::RenewedKey;
pub use revocation::{CrlError, MissingRevocation, OcspError, RevocationMethod, RevocationPolicy, StatusQuestion};
pub use signer::ExpectedSigner;
pub use signing_request::{SigningRequest, SubjectParts};
pub use tls::{
    ClientCertificates, Expectation, HostNameCheck, SubjectRule, Suites, SuitesError, TlsError, TlsMinimum, TlsPolicy,
    Witness, client_config, refusal_of, server_config,
};
pub use verify::{
    Check, CheckId, Demand, Examination, Outcome, Remembered, TrustStore, TrustStoreError, Usage, UsageCheck,
};

#[cfg(test)]
pub(crate) mod testing;
