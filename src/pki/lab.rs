//! The authority's own keys, lent to the certificate catalogue. **Sandbox only.**
//!
//! A defect proves something only if everything else is right: a certificate signed with SHA-1 must carry the signature of the very
//! authority that the software under test trusts. [`Authority::issue`] makes good certificates and nothing else, so whoever makes bad
//! ones needs the key. Nothing that runs an operator calls this; `tests/style.rs` lets only `src/lab` name it.

use jiff::Timestamp;
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;

use super::authority::record_of;
use super::{Authority, AuthorityError, Issuer, Revocation, RevocationReason};

/// One of the two authorities with its key: whoever holds it can be the authority.
pub struct LabSigner {
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// Its private key, PKCS#8 DER.
    pub key: Vec<u8>,
}

impl Authority {
    /// The certificate and key of an issuer, for the catalogue alone.
    pub fn lab_signer(&self, issuer: Issuer) -> LabSigner {
        let signer = self.signer(issuer);
        LabSigner {
            certificate: signer.certificate.clone(),
            key: KeyPair::serialize_der(signer.issuer.key()),
        }
    }

    /// Enters a certificate that was made elsewhere with this authority's key, and revokes it at once: its CRLs and its OCSP responder
    /// say so from now on. Durable when it returns.
    pub fn lab_revoke(
        &self,
        certificate: &CertificateDer<'_>,
        issuer: Issuer,
        reason: RevocationReason,
        now: Timestamp,
    ) -> Result<(), AuthorityError> {
        let record = record_of(certificate, issuer, None)?;
        let serial = record.serial.clone();
        let mut registry = self.registry();
        let known = registry.certificates().iter().any(|known| known.serial == serial);
        if !known {
            registry.add(record)?;
        }
        registry.revoke(&serial, Revocation { at: now, reason }).map(drop)
    }
}

impl std::fmt::Debug for LabSigner {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LabSigner").finish_non_exhaustive()
    }
}
