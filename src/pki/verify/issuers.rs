//! Whether the authorities of a chain may issue: webpki looks at basicConstraints, and not at key usage.

use webpki::VerifiedPath;

use crate::policy::Refusal;

use super::super::certificate::{self, PeerCertificate};
use super::TrustStore;

impl TrustStore {
    /// RFC 5280 §6.1.4 n: if an authority has a key usage, it includes the signing of certificates.
    pub(super) fn judge_issuers(&self, path: &VerifiedPath<'_>, peer: &PeerCertificate) -> Result<(), Refusal> {
        for authority in path.intermediate_certificates() {
            let der = authority.der();
            let may_issue = certificate::parse(&der).is_ok_and(|parsed| {
                let usage = parsed.key_usage();
                usage.is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
            });
            if !may_issue {
                return Err(self.untrusted(peer, "whose key usage does not let it issue certificates"));
            }
        }
        Ok(())
    }
}
