//! The signature of the list: enveloped, exclusive canonicalisation, RSA-SHA256, in the XAdES-BASELINE-B shape of the authority's sister
//! list for medical imaging.
//!
//! What is verified is what is read: the entries are parsed from the very bytes that were canonicalised and digested, never from the
//! file. One shape is accepted and everything else refused, so there is nothing to resolve: no reference is followed, no key is looked
//! for outside the certificate, no identifier is searched in the document.

mod algorithm;
mod element;
mod read;
mod sign;
mod verify;

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;

use crate::identity::SubjectDn;
use crate::policy::Refusal;

use super::parse::{AllowListError, Parsed};

pub use sign::{ListSigner, SigningError, SigningProblem, Transform, sign};
pub use verify::{is_signed, verify};

/// Who signed a list, as its signature says. Nothing here is proved before the judge given to [`verify`] agreed.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The signer's certificate, then the others that came along.
    pub chain: Vec<CertificateDer<'static>>,
    /// `X509SubjectName`, to be compared with the certificate's own subject.
    pub named: Option<SubjectDn>,
    /// `SigningTime`.
    pub signed_at: Timestamp,
}

/// A list whose signature holds and whose signer was accepted. Only [`verify`] builds it.
#[derive(Clone, Debug)]
pub struct Verified {
    parsed: Parsed,
    signer: Signer,
}

impl Verified {
    /// What was signed, and what of it could not be used.
    pub fn parsed(&self) -> &Parsed {
        &self.parsed
    }

    /// Who signed.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The list alone.
    pub fn into_parsed(self) -> Parsed {
        self.parsed
    }
}

/// One thing that is verified, in this order; the first that fails ends the verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignatureStep {
    /// Well-formed XML without document type, within its limits.
    Document,
    /// One signature, last child of the root.
    Place,
    /// The one accepted shape and its algorithms.
    Shape,
    /// The signed properties name the certificate.
    Certificate,
    /// The key of that certificate made the signature.
    Value,
    /// The signed properties are as they were signed.
    Properties,
    /// The list is as it was signed.
    List,
    /// The signing time makes sense.
    Time,
    /// The signer is the authority's: chain, dates, usage, revocation, name.
    Signer,
    /// What was signed is an allow list.
    Entries,
}

impl SignatureStep {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::Document,
        Self::Place,
        Self::Shape,
        Self::Certificate,
        Self::Value,
        Self::Properties,
        Self::List,
        Self::Time,
        Self::Signer,
        Self::Entries,
    ];

    /// What is verified, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Document => "well-formed XML, no document type, no entity of its own",
            Self::Place => "one signature, last child of the root",
            Self::Shape => "XAdES-B shape: exclusive c14n, RSA-SHA256, two references, X.509 key",
            Self::Certificate => "the signed properties name the signer's certificate",
            Self::Value => "the signature was made with the key of that certificate",
            Self::Properties => "the signed properties are unaltered",
            Self::List => "the list is unaltered",
            Self::Time => "the signing time makes sense",
            Self::Signer => "the signer: chain, dates, key usage, revocation, name",
            Self::Entries => "what is signed is an allow list",
        }
    }
}

/// Why a list is not accepted as signed. Each names what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is none.
    #[error("the allow list is not signed: its root has no ds:Signature as last child")]
    Missing,
    /// Not a document that could be verified.
    #[error("the allow list cannot be verified: {0}")]
    Document(String),
    /// Not where it must be, or not alone.
    #[error("the signature of the allow list is not where it must be: {0}")]
    Place(String),
    /// Not the one accepted shape.
    #[error("the signature of the allow list has not the expected shape: {element}: {problem}")]
    Shape {
        /// The element, by its name.
        element: String,
        /// What was expected and found.
        problem: String,
    },
    /// An algorithm that is not accepted.
    #[error("the signature of the allow list uses {found:?} for {what}: only {expected} is accepted")]
    Algorithm {
        /// What for.
        what: &'static str,
        /// Its URI.
        found: String,
        /// What would be.
        expected: &'static str,
    },
    /// The certificate is not the one that was signed over.
    #[error("the signer's certificate cannot be used: {0}")]
    Certificate(String),
    /// Made with another key, or `SignedInfo` was altered.
    #[error("the signature of the allow list was not made with the key of its certificate, or it was altered")]
    Value,
    /// The signed properties were altered.
    #[error("the signed properties were altered after the signature was made")]
    PropertiesAltered,
    /// The list was altered.
    #[error("the allow list was altered after it was signed")]
    ListAltered,
    /// The signing time makes no sense.
    #[error("the signing time {signed_at} makes no sense: {problem}")]
    Time {
        /// `SigningTime`.
        signed_at: Timestamp,
        /// Why.
        problem: String,
    },
    /// The signer is not accepted.
    #[error("the signer of the allow list is not accepted: {0}")]
    Signer(Refusal),
    /// What was signed is not an allow list.
    #[error(transparent)]
    List(#[from] AllowListError),
}

impl SignatureError {
    /// What failed.
    pub fn step(&self) -> SignatureStep {
        match self {
            Self::Missing | Self::Place(_) => SignatureStep::Place,
            Self::Document(_) => SignatureStep::Document,
            Self::Shape { .. } | Self::Algorithm { .. } => SignatureStep::Shape,
            Self::Certificate(_) => SignatureStep::Certificate,
            Self::Value => SignatureStep::Value,
            Self::PropertiesAltered => SignatureStep::Properties,
            Self::ListAltered => SignatureStep::List,
            Self::Time { .. } => SignatureStep::Time,
            Self::Signer(_) => SignatureStep::Signer,
            Self::List(_) => SignatureStep::Entries,
        }
    }
}

/// How far two clocks of the space may be apart.
pub(super) const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(10);

#[cfg(test)]
mod tests;
