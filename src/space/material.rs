//! Certificates of a space on disk: issued once, found again at the next start, renewed before they end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::identity::SubjectDn;
use crate::pki::{
    self, Authority, AuthorityError, Certified, ExportError, FileError, Identity, IdentityError, Issued, Names,
    Pkcs12Form, Profile, Request, Subject,
};

/// Files of one certificate.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// Leaf and intermediate, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Both and the root, PKCS#12.
    pub pkcs12: PathBuf,
}

impl Files {
    /// Those of a folder.
    pub(super) fn of(folder: &Path) -> Self {
        Self {
            certificate: folder.join("cert.pem"),
            key: folder.join("key.pem"),
            pkcs12: folder.join("cert.p12"),
        }
    }
}

/// Why a certificate is not there.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// The authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate or key file that was changed by hand.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The PKCS#12 file.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// What a certificate is for.
pub(super) struct Wanted<'a> {
    /// Folder of its files.
    pub folder: PathBuf,
    /// Profile to issue it with.
    pub profile: Profile,
    /// Whom it names.
    pub subject: Subject,
    /// DNS names it carries besides its common name, for a server.
    pub names: Vec<String>,
    /// Boxes it opens, for a login.
    pub boxes: Vec<String>,
    /// Password of the PKCS#12 file.
    pub pkcs12_password: &'a str,
}

/// The certificate of a host or login: the one on disk while it is good for another [`RENEW_BEFORE`], else a new one.
///
/// # Errors
/// See [`MaterialError`].
pub(super) fn certificate(
    authority: &Authority,
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> Result<(Identity, Files), MaterialError> {
    let files = Files::of(&wanted.folder);
    if let Some(identity) = on_disk(authority, &files, wanted, now) {
        return Ok((identity, files));
    }
    let issued = authority.issue(&request(wanted), now)?;
    write(&wanted.folder, &files, &issued, wanted.pkcs12_password)?;
    Ok((issued.identity()?, files))
}

/// A certificate whose files are damaged, about to end or of another name is simply issued anew: it is the sandbox's own. A revoked one
/// stays revoked until somebody renews it.
fn on_disk(authority: &Authority, files: &Files, wanted: &Wanted<'_>, now: Timestamp) -> Option<Identity> {
    if !files.pkcs12.exists() {
        return None;
    }
    let identity = Identity::from_files(&files.certificate, &files.key).ok()?;
    let held = identity.certificate();
    let subject = &wanted.subject;
    authority
        .issued()
        .into_iter()
        .find(|record| record.serial == held.serial)?;
    let lasts = held.not_after > now.saturating_add(RENEW_BEFORE).ok()?;
    let same_name = held.subject.common_name() == Some(subject.common_name.as_str())
        && held.subject.organisational_unit() == Some(subject.structure.as_str())
        && held.subject.to_string().contains(&subject.organisation);
    let same_boxes = wanted.boxes.iter().all(|address| held.rfc822_names.contains(address));
    let same_names = wanted.names.iter().all(|name| held.dns_names.contains(name));
    (lasts && same_name && same_boxes && same_names).then_some(identity)
}

fn request(wanted: &Wanted<'_>) -> Request {
    let is_host = wanted.profile == Profile::ServSsl;
    let mut dns = wanted.names.clone();
    if is_host {
        // Clients of a sandbox connect to loopback addresses, and some check the name they typed.
        dns.push("localhost".to_owned());
    }
    let names = Names {
        dns,
        ip: if is_host {
            vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
        } else {
            Vec::new()
        },
        rfc822: wanted.boxes.clone(),
    };
    Request {
        profile: wanted.profile,
        subject: wanted.subject.clone(),
        names,
        key: None,
        validity_days: None,
    }
}

/// Writes a certificate with its key into the folder of a host or login.
pub(super) fn write(folder: &Path, files: &Files, issued: &Issued, password: &str) -> Result<(), MaterialError> {
    pki::private_folder(folder)?;
    let name = issued.subject.common_name().unwrap_or("certificate").to_owned();
    pki::write_private(&files.key, issued.key_pem().as_bytes())?;
    pki::write_public(&files.certificate, issued.chain_pem().as_bytes())?;
    // Last: its presence says that the other two are complete.
    pki::write_private(&files.pkcs12, &pki::pkcs12(issued, &name, password)?)?;
    Ok(())
}

/// Writes a certificate for the key that is in the folder already.
pub(super) fn write_same_key(files: &Files, certified: &Certified, password: &str) -> Result<(), MaterialError> {
    let Ok(PrivateKeyDer::Pkcs8(key)) = PrivateKeyDer::from_pem_file(&files.key) else {
        return Err(IdentityError::NoKey {
            path: Some(files.key.clone()),
        }
        .into());
    };
    let name = certified.subject.common_name().unwrap_or("certificate");
    let chain: Vec<CertificateDer<'_>> = certified.chain.iter().chain([&certified.root]).cloned().collect();
    let form = (password, Pkcs12Form::Modern);
    let pkcs12 = pki::pkcs12_of(&chain, key.secret_pkcs8_der(), name, form)?;
    pki::write_public(&files.certificate, pki::pem(&certified.chain).as_bytes())?;
    pki::write_private(&files.pkcs12, &pkcs12)?;
    Ok(())
}

/// Subject of an identity, for the allow list and for bindings.
pub(super) fn subject_of(identity: &Identity) -> SubjectDn {
    identity.certificate().subject.clone()
}

/// A certificate that ends within this time is replaced at start.
pub(super) const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);
