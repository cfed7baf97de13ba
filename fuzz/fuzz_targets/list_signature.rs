//! Signed allow lists, cut and pasted: whatever is done to one, nothing is believed but the list that was signed.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rustls_pki_types::CertificateDer;
use vaguemestre::pki::Profile;
use vaguemestre::policy::{Reason, Refusal};
use vaguemestre::trust::{AllowList, ListedDomain, Mode, Transform, sign, verify};
use vaguemestre_fuzz::{NOW, identity, patched};

const LIST: &str = include_str!("../seeds/allow_list/two");

struct Signed {
    entries: Vec<ListedDomain>,
    signer: CertificateDer<'static>,
    /// One with each transform.
    lists: [String; 2],
}

static SIGNED: LazyLock<Signed> = LazyLock::new(|| {
    let identity = identity(Profile::OrgSign);
    let list = AllowList::parse(LIST.as_bytes(), Mode::Strict).expect("the seed").list;
    Signed {
        entries: list.entries().to_vec(),
        signer: identity.chain()[0].clone().into_owned(),
        lists: [Transform::Filter2, Transform::Enveloped]
            .map(|transform| sign(LIST, &identity, transform, *NOW).expect("a signed list")),
    }
});

fuzz_target!(|input: &[u8]| {
    let Some((which, patches)) = input.split_first() else { return };
    let genuine = &SIGNED.lists[usize::from(which % 2)];
    let xml = patched(genuine.as_bytes(), patches);
    let judge = |signer: &vaguemestre::trust::Signer| {
        if signer.chain.first() == Some(&SIGNED.signer) {
            Ok(())
        } else {
            Err(Refusal::new(Reason::CertificateNotForDomain, "another signer"))
        }
    };
    if let Ok(verified) = verify(&xml, Mode::Salvage, *NOW, judge) {
        assert_eq!(verified.parsed().list.entries(), SIGNED.entries);
    }
});
