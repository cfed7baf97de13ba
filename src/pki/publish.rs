//! What the authority publishes over HTTP: revocation lists, complete and delta, and the certificates of its issuers.

use jiff::Timestamp;

use super::authority::AuthorityError;
use super::crl::ListKind;
use super::fault::{Fault, Faults};
use super::{Authority, Issuer, export};

/// A file to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Path on the web face, as certificates name it.
    pub path: String,
    /// Its media type.
    pub media_type: &'static str,
    /// Its content; none while it is unreachable: then the server answers 503.
    pub bytes: Option<Vec<u8>>,
}

impl Authority {
    /// Everything to serve from now on, under these faults.
    pub fn publications(&self, now: Timestamp, faults: &Faults) -> Result<Vec<Publication>, AuthorityError> {
        let mut publications = Vec::new();
        for issuer in [Issuer::Root, Issuer::Intermediate] {
            let section = &self.signer(issuer).section;
            for (kind, path) in [
                (ListKind::Complete, section.crl_path()),
                (ListKind::Delta, section.delta_crl_path()),
            ] {
                publications.push(Publication {
                    path,
                    media_type: "application/pkix-crl",
                    bytes: self.served_list(issuer, kind, (faults.crl, now))?,
                });
            }
            publications.push(Publication {
                path: section.certificate_path(),
                media_type: "application/pkix-cert",
                bytes: Some(self.certificate(issuer).to_vec()),
            });
        }
        publications.push(Publication {
            path: BUNDLE_PATH.to_owned(),
            media_type: "application/x-pkcs7-certificates",
            bytes: Some(export::trust_p7b(self)?),
        });
        Ok(publications)
    }

    fn served_list(
        &self,
        issuer: Issuer,
        kind: ListKind,
        (fault, now): (Option<Fault>, Timestamp),
    ) -> Result<Option<Vec<u8>>, AuthorityError> {
        match (fault, kind) {
            (Some(Fault::Unreachable), _) => Ok(None),
            (Some(fault), _) => self.faulty_list(issuer, kind, (fault, now)).map(Some),
            (None, ListKind::Complete) => self.crl(issuer, now).map(Some),
            (None, ListKind::Delta) => self.delta_crl(issuer, now).map(Some),
        }
    }
}

/// Where the OCSP responder answers.
pub(super) const OCSP_PATH: &str = "/ocsp";
/// Both certificates in one file, as the field's authority offers them.
const BUNDLE_PATH: &str = "/ac/chain.p7b";
