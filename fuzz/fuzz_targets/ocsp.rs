//! OCSP: the responder answers any request with DER of its own, and a reader of answers takes any bytes without harm.

#![no_main]

use der::{Decode, Encode};
use libfuzzer_sys::fuzz_target;
use vaguemestre::pki::Issuer;
use vaguemestre::pki::ocsp::{CertId, IdHash, OcspReply, OcspRequest, OcspResponse};
use vaguemestre_fuzz::{AUTHORITY, NOW, patched};

fuzz_target!(|input: &[u8]| {
    read(input);
    let issuer = AUTHORITY.certificate(Issuer::Intermediate);
    let id = CertId::of(IdHash::Sha1, issuer, &[1]).expect("the name of a certificate");
    let genuine = OcspRequest::about(vec![id], Some(&[7; 16])).and_then(|request| request.to_der());
    let question = patched(&genuine.expect("a question"), input);
    for asked in [input, &question] {
        let OcspReply::Answer { der, .. } = AUTHORITY.ocsp(asked, *NOW, None) else {
            panic!("a responder without fault answers");
        };
        OcspResponse::from_der(&der).expect("the responder writes DER");
        read(&patched(&der, input));
    }
});

fn read(answer: &[u8]) {
    let Ok(answer) = OcspResponse::from_der(answer) else { return };
    if let Some(Ok(basic)) = answer.basic() {
        let _ = (basic.signed(), basic.certificates());
        if let Ok(data) = basic.data() {
            let _ = data.nonce();
        }
    }
}
