//! The sandbox's allow list: signed by the authority as the field's is, and then read as anybody else would read it.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::folder::Layout;
use super::material::{self, MaterialError, Wanted};
use super::raise::RaiseError;
use crate::pki::{Authority, ExpectedSigner, Identity, Profile, Subject, TrustStore};
use crate::trust::{
    self, AdmissionError, Admitted, AllowList, AllowListDocument, HeldList, SignaturePolicy, Transform,
};

/// CN of the certificate that signs a sandbox's list.
pub const SIGNER_COMMON_NAME: &str = "Liste Blanche MSSante TEST";
/// OU of that certificate: `3` and a SIRET that belongs to nobody.
pub const SIGNER_STRUCTURE: &str = "399999999900017";
/// O of that certificate.
const SIGNER_ORGANISATION: &str = "VAGUEMESTRE BAC A SABLE";

/// Whom a reader of the sandbox's list expects to have signed it.
pub fn expected_signer() -> ExpectedSigner {
    ExpectedSigner {
        common_name: Some(SIGNER_COMMON_NAME.to_owned()),
        structure: Some(SIGNER_STRUCTURE.to_owned()),
    }
}

/// Signs a list with the authority's certificate of profile ORG SIGN, which is issued once and kept with the authority.
pub(super) fn sign_list(
    authority: &Authority,
    layout: &Layout,
    xml: &str,
    now: Timestamp,
) -> Result<String, RaiseError> {
    let signer = list_signer(authority, layout, now)?;
    Ok(trust::sign(xml, &signer, Transform::Filter2, now)?)
}

/// What a space lists, signed; and the same read back as every operator of the field reads it: by its signature.
pub(super) fn signed_list(
    authority: &Authority,
    layout: &Layout,
    document: &AllowListDocument,
    (store, now): (&TrustStore, Timestamp),
) -> Result<(String, Arc<AllowList>), RaiseError> {
    let xml = sign_list(authority, layout, &trust::write(document), now)?;
    let admitted = admit(xml.as_bytes(), None, (store, now))?;
    Ok((xml, admitted.list))
}

/// Reads a list as an operator of the space does that holds `held`.
pub(super) fn admit(
    xml: &[u8],
    held: Option<Arc<AllowList>>,
    (store, now): (&TrustStore, Timestamp),
) -> Result<Admitted, AdmissionError> {
    let mut held = HeldList::holding(SignaturePolicy::Require, held);
    let judge = |signer: &_| store.verify_signer(signer, &expected_signer(), now).map(|_| ());
    held.offer(xml, now, judge)
}

/// The certificate that signs lists, with its key.
pub(super) fn list_signer(authority: &Authority, layout: &Layout, now: Timestamp) -> Result<Identity, MaterialError> {
    let wanted = Wanted {
        folder: signer_folder(layout),
        profile: Profile::OrgSign,
        subject: Subject {
            common_name: SIGNER_COMMON_NAME.to_owned(),
            structure: SIGNER_STRUCTURE.to_owned(),
            organisation: SIGNER_ORGANISATION.to_owned(),
            state: "Paris (75)".to_owned(),
            country: "FR".to_owned(),
        },
        boxes: Vec::new(),
        names: Vec::new(),
        pkcs12_password: "sandbox",
    };
    material::certificate(authority, &wanted, now).map(|(identity, _)| identity)
}

/// Where it is kept.
fn signer_folder(layout: &Layout) -> std::path::PathBuf {
    layout.authority().join("list-signer")
}

/// Its certificate and key, as the space made them.
pub fn signer_files(root: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let folder = signer_folder(&Layout::new(root));
    (folder.join("cert.pem"), folder.join("key.pem"))
}
