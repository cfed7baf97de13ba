//! What several targets share: a small authority of their own, and genuine bytes with foreign ones in them.

use std::sync::LazyLock;

use jiff::Timestamp;
use tempfile::TempDir;
use vaguemestre::pki::{Authority, AuthorityOptions, Identity, Issuer, KeyKind, Names, Profile, Request, Subject, TrustStore};

/// When everything here happens.
pub const NOW: LazyLock<Timestamp> = LazyLock::new(|| "2026-11-21T12:00:00Z".parse().expect("a time"));

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

/// The authority.
pub static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let options = AuthorityOptions {
        base_url: "http://127.0.0.1".to_owned(),
        key: Some(KeyKind::EcdsaP256),
        ..AuthorityOptions::default()
    };
    Authority::create_or_open(FOLDER.path(), options, *NOW).expect("an authority")
});

/// Believes the authority, and knows of no revocation yet.
pub fn trust_store() -> TrustStore {
    let certificate = |issuer| vec![AUTHORITY.certificate(issuer).clone()];
    TrustStore::new(certificate(Issuer::Root), certificate(Issuer::Intermediate)).expect("a trust store")
}

/// A certificate that the authority issued.
pub fn identity(profile: Profile) -> Identity {
    let request = Request {
        profile,
        subject: Subject {
            common_name: "essai.localhost".to_owned(),
            structure: "1990000283".to_owned(),
            organisation: "ESSAI".to_owned(),
            state: "Ain (01)".to_owned(),
            country: "FR".to_owned(),
        },
        names: Names::default(),
        key: None,
        validity_days: None,
    };
    let issued = AUTHORITY.issue(&request, *NOW).expect("a certificate");
    issued.identity().expect("its key")
}

/// The genuine bytes, changed as the input says: how many bytes to remove at a place, and what to put there; again and again.
pub fn patched(genuine: &[u8], mut input: &[u8]) -> Vec<u8> {
    let mut bytes = genuine.to_vec();
    while let [high, low, removed, added, rest @ ..] = input {
        let at = usize::from(u16::from_be_bytes([*high, *low])) % (bytes.len() + 1);
        let until = (at + usize::from(*removed)).min(bytes.len());
        let (new, after) = rest.split_at(usize::from(*added).min(rest.len()));
        bytes.splice(at..until, new.iter().copied());
        input = after;
    }
    bytes
}
