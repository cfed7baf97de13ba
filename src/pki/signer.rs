//! The signer of the allow list: how its certificate is judged, and how a key of ours signs.

use jiff::Timestamp;
use rustls::SignatureScheme;
use rustls_pki_types::CertificateDer;

use crate::identity::SubjectDn;
use crate::policy::{Reason, Refusal};
use crate::trust::{ListSigner, Signer, SigningProblem};

use super::{Identity, PeerCertificate, TrustStore, Usage};

/// Whom the signer of the list must be; what is not given is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedSigner {
    /// CN: of the real one, the name of the list.
    pub common_name: Option<String>,
    /// OU: of the real one, `3` + SIRET of the authority.
    pub structure: Option<String>,
}

impl TrustStore {
    /// Judges the signer of a list: chain to our authorities, dates, usage, revocation, and the name expected.
    pub fn verify_signer(
        &self,
        signer: &Signer,
        expected: &ExpectedSigner,
        now: Timestamp,
    ) -> Result<PeerCertificate, Refusal> {
        let certificate = self.verify(&signer.chain, Usage::ListSigner, now)?;
        let refuse = |text: String| Err(Refusal::new(Reason::CertificateUntrusted, text));
        let subject = &certificate.subject;
        if signer.named.as_ref().is_some_and(|named| named != subject) {
            return refuse(format!(
                "X509SubjectName is not the subject of the certificate, {}",
                subject.to_ascii()
            ));
        }
        if !(certificate.not_before..=certificate.not_after).contains(&signer.signed_at) {
            return refuse(format!(
                "certificate of {} was not valid when it signed",
                subject.to_ascii()
            ));
        }
        let parts = [
            ("CN", &expected.common_name, subject.common_name()),
            ("OU", &expected.structure, subject.organisational_unit()),
        ];
        for (kind, wanted, found) in parts {
            let Some(wanted) = wanted else { continue };
            if !found.is_some_and(|found| same(kind, found, wanted)) {
                return refuse(format!("signed by {}, expected {kind}={wanted}", subject.to_ascii()));
            }
        }
        Ok(certificate)
    }
}

impl ListSigner for Identity {
    fn chain(&self) -> &[CertificateDer<'static>] {
        Self::chain(self)
    }

    fn subject(&self) -> &SubjectDn {
        &self.certificate().subject
    }

    fn sign_rsa_sha256(&self, message: &[u8]) -> Result<Vec<u8>, SigningProblem> {
        let certified = self.certified();
        let signer = certified.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]);
        let signer =
            signer.ok_or_else(|| SigningProblem("the list is signed with RSA, and this key is not".to_owned()))?;
        signer.sign(message).map_err(|error| SigningProblem(error.to_string()))
    }
}

/// Compared as parts of names are: case, spaces and Unicode forms do not count.
fn same(kind: &str, one: &str, other: &str) -> bool {
    let name = |value: &str| SubjectDn::from_encoded(vec![vec![(kind.to_owned(), value.to_owned())]]);
    match (name(one), name(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
