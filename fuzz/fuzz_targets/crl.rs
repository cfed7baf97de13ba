//! Revocation lists: whatever is done to a genuine one, no other is taken up; and any bytes are refused without harm.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vaguemestre::pki::{Issuer, TrustStore};
use vaguemestre_fuzz::{AUTHORITY, NOW, patched, trust_store};

static KNOWN: LazyLock<(TrustStore, Vec<u8>)> = LazyLock::new(|| {
    let crl = AUTHORITY.crl(Issuer::Intermediate, *NOW).expect("a revocation list");
    (trust_store(), crl)
});

fuzz_target!(|input: &[u8]| {
    let (trust, genuine) = &*KNOWN;
    assert!(trust.with_crl(input).is_err() || input == genuine);
    let changed = patched(genuine, input);
    assert!(trust.with_crl(&changed).is_err() || changed == *genuine);
});
