//! The authority's own keys, lent to the certificate catalogue. **Sandbox only.**
//!
//! A defect proves something only if everything else is right: a certificate signed with SHA-1 must carry the signature of the very
//! authority that the software under test trusts. [`Authority::issue`] makes good certificates and nothing else, so whoever makes bad
//! ones needs the key. Nothing that runs an operator calls this; `tests/style.rs` lets only `src/lab` name it.

use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;

use super::authority::record_of;
use super::extension::{self, Addresses};
use super::{Authority, AuthorityError, Issuer};

/// One of the two authorities with its key: whoever holds it can be the authority.
pub struct LabSigner {
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// Its private key, PKCS#8 DER.
    pub key: Vec<u8>,
    /// The extensions of what it issues that say where to ask about it: object identifier and value.
    pub addresses: Vec<(Vec<u64>, Vec<u8>)>,
}

impl Authority {
    /// The certificate and key of an issuer, for the catalogue alone.
    pub fn lab_signer(&self, issuer: Issuer) -> Result<LabSigner, AuthorityError> {
        let signer = self.signer(issuer);
        let addresses = extension::addresses(&Addresses::of(&signer.section, &self.options.base_url))?;
        let addresses = addresses.iter().map(|extension| {
            let arcs = extension.oid_components().collect();
            (arcs, extension.content().to_vec())
        });
        Ok(LabSigner {
            addresses: addresses.collect(),
            certificate: signer.certificate.clone(),
            key: KeyPair::serialize_der(signer.issuer.key()),
        })
    }

    /// Enters a certificate that was made elsewhere with this authority's key. Durable when it returns; entering it twice changes
    /// nothing. Gives its serial number, by which it can be revoked.
    pub fn lab_enter(&self, certificate: &CertificateDer<'_>, issuer: Issuer) -> Result<String, AuthorityError> {
        let record = record_of(certificate, issuer, None)?;
        let serial = record.serial.clone();
        let mut registry = self.registry();
        if registry.find(&serial).is_none() {
            registry.add(record)?;
        }
        Ok(serial)
    }
}

impl std::fmt::Debug for LabSigner {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LabSigner").finish_non_exhaustive()
    }
}
