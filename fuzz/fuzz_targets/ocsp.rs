//! OCSP answers and requests: any bytes are read or refused; what was read can be written again; none is believed.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vaguemestre::clock::Clock;
use vaguemestre::pki::ocsp::{BasicResponse, OcspRequest, OcspResponse, ResponseData};
use vaguemestre::pki::{
    Authority, AuthorityOptions, Demand, Issued, KeyKind, Names, Profile, Request, RevocationMethod, RevocationPolicy,
    Subject, TrustStore, Usage, trust_bundle,
};

struct Scene {
    authority: Authority,
    store: TrustStore,
    issued: Issued,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("vaguemestre-fuzz-ocsp-{}", std::process::id()));
    let options = AuthorityOptions {
        key: Some(KeyKind::EcdsaP256),
        ..AuthorityOptions::default()
    };
    let now = Clock::system().now();
    let authority = Authority::create_or_open(&folder, options, now).expect("an authority");
    let store = TrustStore::from_pem(trust_bundle(&authority).as_bytes()).expect("its certificates");
    let store = store.with_revocation(RevocationPolicy {
        method: RevocationMethod::Ocsp,
        ..RevocationPolicy::default()
    });
    let request = Request {
        profile: Profile::ServSsl,
        subject: Subject {
            common_name: "smtp.chu.fr".to_owned(),
            structure: "1990000010".to_owned(),
            organisation: "CHU".to_owned(),
            state: "Ain (01)".to_owned(),
            country: "FR".to_owned(),
        },
        names: Names::default(),
        key: Some(KeyKind::EcdsaP256),
        validity_days: None,
    };
    let issued = authority.issue(&request, now).expect("a certificate");
    Scene { authority, store, issued }
});

fuzz_target!(|bytes: &[u8]| {
    if let Some(Ok(basic)) = der_decode::<OcspResponse>(bytes).and_then(|response| response.basic()) {
        walk(&basic);
    }
    if let Some(request) = der_decode::<OcspRequest>(bytes) {
        let _nonce = request.nonce();
    }
    let scene = &*SCENE;
    let now = Clock::system().now();
    let _reply = scene.authority.ocsp(bytes, now, None);
    let verdict = scene.store.verify_with(&scene.issued.chain, (Usage::Server, now), Demand::Usable, bytes);
    assert!(verdict.is_err(), "an answer that nobody signed was believed");
});

fn walk(basic: &BasicResponse) {
    let (_signed, _certificates) = (basic.signed(), basic.certificates());
    if let Ok(ResponseData { responses, .. }) = basic.data() {
        for single in responses {
            assert!(single.cert_id.names_same(&single.cert_id));
            let _serial = single.cert_id.serial();
        }
    }
}

fn der_decode<'a, T: der::Decode<'a>>(bytes: &'a [u8]) -> Option<T> {
    T::from_der(bytes).ok()
}
