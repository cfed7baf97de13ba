//! CRLs, complete and delta: any bytes are refused or taken, and a store that refused one is as it was.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vaguemestre::clock::Clock;
use vaguemestre::pki::{Authority, AuthorityOptions, Issuer, KeyKind, TrustStore, trust_bundle};

static STORE: LazyLock<TrustStore> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("vaguemestre-fuzz-crl-{}", std::process::id()));
    let options = AuthorityOptions {
        key: Some(KeyKind::EcdsaP256),
        ..AuthorityOptions::default()
    };
    let now = Clock::system().now();
    let authority = Authority::create_or_open(&folder, options, now).expect("an authority");
    let store = TrustStore::from_pem(trust_bundle(&authority).as_bytes()).expect("its certificates");
    let crl = authority.crl(Issuer::Intermediate, now).expect("its list");
    store.with_crl(&crl).expect("its own list")
});

fuzz_target!(|bytes: &[u8]| {
    let before = STORE.next_crl_update();
    // Nobody can sign for an authority that was made a moment ago.
    assert!(STORE.with_crl(bytes).is_err());
    assert_eq!(STORE.next_crl_update(), before);
});
