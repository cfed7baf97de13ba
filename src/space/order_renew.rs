//! The order to issue a certificate again. One of the sandbox's own is replaced where it lies, and shown from the next handshake on.

use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::folder::Layout;
use super::keeper::{InForce, Keeper};
use super::made::PKCS12_PASSWORD;
use super::material::{self, Files, RENEW_BEFORE};
use super::order::{Answer, OrderError};
use super::order_cert::{find, issued_answer, named, refused, state_of, write};
use crate::pki::{self, CertificateRecord, Presented, RenewedKey, Revocation, RevocationReason, Revoked};

/// A certificate to issue again, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Renewal {
    /// Serial number, subject DN or CN.
    pub which: String,
    /// For the key it has.
    pub same_key: bool,
    /// Validity in days; none for the profile's.
    pub days: Option<u32>,
    /// Folder for the files, absolute; none for that of the host or login whose certificate it is.
    pub folder: Option<String>,
    /// Where the files go when it is of no host or login of the sandbox, absolute.
    pub elsewhere: String,
    /// Password of the PKCS#12 file; that of a host or login keeps its own.
    pub password: String,
    /// What becomes of the one before.
    pub before: Before,
}

/// What becomes of a certificate that was renewed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Before {
    /// It stays what it is.
    #[default]
    Stays,
    /// It is revoked once the new one is in use.
    IsRevoked,
}

/// Issues it again, puts it to use where it is the sandbox's own, and revokes the one before if that is wanted.
pub(super) async fn renew(keeper: &Keeper, in_force: &mut InForce, renewal: &Renewal) -> Result<Answer, OrderError> {
    let authority = keeper.authority();
    let record = meant(keeper, &renewal.which)?;
    let own = match &renewal.folder {
        Some(_) => None,
        None => own_folder(keeper.layout(), &record.serial),
    };
    if own.is_some() {
        lasts(renewal.days)?;
    }
    let renewed = if renewal.same_key {
        authority.renew_same_key(&record.serial, renewal.days, keeper.now())?
    } else {
        authority.renew(&record.serial, renewal.days, keeper.now())?
    };
    let folder = match (&own, &renewal.folder) {
        (Some(own), _) => own.clone(),
        (None, folder) => PathBuf::from(folder.as_ref().unwrap_or(&renewal.elsewhere)),
    };
    if own.is_some() {
        replace(&folder, &renewed)?;
    } else {
        write_out(&folder, &renewed, &renewal.password)?;
    }
    // Whatever lies in the folder of a host is shown from the next handshake on.
    keeper.apply(in_force).await?;
    let mut answer = issued_answer("renewed", authority.chain(), chain_of(&renewed), &folder);
    if own.is_some() {
        answer.text.push_str(if keeper.live().is_some() {
            "it is in use: every handshake from now on shows it\n"
        } else {
            "it is in use once the space runs\n"
        });
    }
    answer
        .text
        .push_str("its subject is the same, so the allow list stays as it is\n");
    answer.text.push_str(&before(keeper, &record, renewal.before)?);
    keeper.renew(in_force)?;
    answer.data["in_use"] = json!(own.is_some());
    answer.data["before"] = json!(authority.record(&record.serial));
    Ok(answer)
}

/// The certificate to renew. Of several of one name it is the one that lies in the folder of a host or login.
fn meant(keeper: &Keeper, which: &str) -> Result<CertificateRecord, OrderError> {
    let (authority, layout) = (keeper.authority(), keeper.layout());
    if authority.record(which).is_none() {
        let lies = |record: &CertificateRecord| own_folder(layout, &record.serial).is_some();
        let mut own: Vec<CertificateRecord> = named(authority, which).into_iter().filter(lies).collect();
        if let (Some(one), true) = (own.pop(), own.is_empty()) {
            return Ok(one);
        }
    }
    find(authority, which, keeper.now())
}

/// The folder of the host or login whose certificate has this serial number.
fn own_folder(layout: &Layout, serial: &str) -> Option<PathBuf> {
    let below = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.filter_map(Result::ok).map(|entry| entry.path())
    };
    let kinds = ["operators", "logins"].map(|kind| layout.root().join(kind));
    let mut folders = kinds.into_iter().flat_map(below).flat_map(below);
    folders.find(|folder| {
        let leaf = CertificateDer::from_pem_file(Files::of(folder).certificate);
        leaf.is_ok_and(|leaf| Presented::of(&leaf).serial == serial)
    })
}

/// The sandbox itself replaces what ends soon: such a certificate would be gone before it was shown.
fn lasts(days: Option<u32>) -> Result<(), OrderError> {
    match days {
        Some(days) if SignedDuration::from_hours(24 * i64::from(days)) <= RENEW_BEFORE => {
            Err(OrderError::Refused(format!(
                "the sandbox replaces its own certificates when they end within {} days: give more --days, or another folder with --out DIR",
                RENEW_BEFORE.as_hours() / 24
            )))
        }
        _ => Ok(()),
    }
}

fn replace(folder: &Path, renewed: &RenewedKey) -> Result<(), OrderError> {
    let files = Files::of(folder);
    match renewed {
        RenewedKey::New(issued) => material::write(folder, &files, issued, PKCS12_PASSWORD)?,
        RenewedKey::Same(certified) => material::write_same_key(&files, certified, PKCS12_PASSWORD)?,
    }
    Ok(())
}

fn write_out(folder: &Path, renewed: &RenewedKey, password: &str) -> Result<(), OrderError> {
    match renewed {
        RenewedKey::Same(certified) => write(folder, &certified.chain, &certified.root, None),
        RenewedKey::New(issued) => {
            let name = issued.subject.common_name().unwrap_or("certificate");
            let file = pki::pkcs12(issued, name, password).map_err(refused)?;
            let key = (issued.key_pem().to_owned(), file);
            write(folder, &issued.chain, &issued.root, Some(key))
        }
    }
}

fn chain_of(renewed: &RenewedKey) -> &[CertificateDer<'static>] {
    match renewed {
        RenewedKey::New(issued) => &issued.chain,
        RenewedKey::Same(certified) => &certified.chain,
    }
}

/// Revokes the one before if that is wanted, and says what it is now.
fn before(keeper: &Keeper, record: &CertificateRecord, wanted: Before) -> Result<String, OrderError> {
    let now = keeper.now();
    let serial = &record.serial;
    if wanted == Before::IsRevoked {
        let reason = RevocationReason::Superseded;
        let revocation = Revocation { at: now, reason };
        let outcome = keeper.authority().revoke_since(serial, revocation, now)?;
        if !matches!(outcome, Revoked::Before(_)) {
            return Ok(format!(
                "the one before, {serial}, is revoked now ({})\n",
                reason.name()
            ));
        }
    }
    Ok(match record.revocation {
        Some(hold) if hold.reason == RevocationReason::CertificateHold => format!(
            "the one before, {serial}, stays on hold since {}: vaguemestre cert release {serial} makes it good again\n",
            hold.at
        ),
        Some(why) => format!(
            "the one before, {serial}, stays revoked since {} ({})\n",
            why.at,
            why.reason.name()
        ),
        None if state_of(record, now) == "expired" => {
            format!("the one before, {serial}, ended on {}\n", record.not_after)
        }
        None => format!(
            "the one before, {serial}, is good until {} unless you revoke it: vaguemestre cert revoke {serial} --reason superseded\n",
            record.not_after
        ),
    })
}
