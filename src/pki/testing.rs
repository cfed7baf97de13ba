//! A small trust space for tests: ECDSA keys, because they are made in no time.

#![cfg(test)]

use std::io::Write;
use std::path::Path;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use super::{
    Authority, AuthorityOptions, Issued, Issuer, KeyKind, MissingRevocation, Names, Profile, Request, RevocationPolicy,
    Subject, TrustStore,
};

pub(crate) struct Space {
    pub(super) authority: Authority,
    pub(super) folder: TempDir,
}

impl Space {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create_or_open(&folder.path().join("authority"), options(), now()).unwrap();
        Self { authority, folder }
    }

    pub(crate) fn issue(&self, request: &Request) -> Issued {
        self.authority.issue(request, now()).unwrap()
    }

    /// Both authorities, no CRL, unknown revocation accepted.
    pub(crate) fn store(&self) -> TrustStore {
        TrustStore::from_pem(super::trust_bundle(&self.authority).as_bytes())
            .unwrap()
            .with_revocation(RevocationPolicy {
                missing: MissingRevocation::Accept,
                ..RevocationPolicy::default()
            })
    }

    /// Both authorities and both CRLs as of `at`, unknown revocation refused.
    pub(super) fn store_with_crls(&self, at: Timestamp) -> TrustStore {
        let crl = |issuer| self.authority.crl(issuer, at).unwrap();
        self.store()
            .with_revocation(RevocationPolicy::default())
            .with_crl(&crl(Issuer::Root))
            .unwrap()
            .with_crl(&crl(Issuer::Intermediate))
            .unwrap()
    }
}

pub(super) fn options() -> AuthorityOptions {
    AuthorityOptions {
        base_url: "http://127.0.0.1:8080".to_owned(),
        key: Some(KeyKind::EcdsaP256),
        ..AuthorityOptions::default()
    }
}

pub(crate) fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

pub(super) fn days_later(days: i64) -> Timestamp {
    now() + SignedDuration::from_hours(24 * days)
}

pub(crate) fn server(host: &str) -> Request {
    Request {
        profile: Profile::ServSsl,
        subject: Subject {
            common_name: host.to_owned(),
            structure: "1990000010".to_owned(),
            organisation: "CHU DES COLLINES".to_owned(),
            state: "Rhône (69)".to_owned(),
            country: "FR".to_owned(),
        },
        names: Names::default(),
        key: Some(KeyKind::EcdsaP256),
        validity_days: None,
    }
}

pub(super) fn with_profile(profile: Profile) -> Request {
    Request {
        profile,
        ..server("smtp.chu.fr")
    }
}

/// Runs openssl in a folder, gives its whole output, fails the test if it does.
pub(super) fn openssl(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "openssl {arguments:?}: {text}");
    text
}

pub(super) fn put(folder: &Path, name: &str, bytes: &[u8]) {
    std::fs::File::create(folder.join(name))
        .unwrap()
        .write_all(bytes)
        .unwrap();
}

/// The same as [`openssl`], for runs that may fail: whether it succeeded, and its whole output.
pub(super) fn try_openssl(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// The first number after a label in a text of openssl, decimal or hexadecimal.
pub(super) fn number_after(text: &str, label: &str) -> u64 {
    let at = text.find(label).unwrap_or_else(|| panic!("no {label} in {text}"));
    let word = text[at + label.len()..].split_whitespace().next().unwrap();
    match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
        None => word.parse().unwrap(),
    }
}
