//! Signatures on certificates that were found good. A peer shows the same chain at each connection, and checking it again is a tenth of what
//! a connection costs. What is remembered is arithmetic, which no date, list or policy changes: all of those are judged each time.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;
use rustls_pki_types::{AlgorithmIdentifier, FipsStatus, InvalidSignature, SignatureVerificationAlgorithm};

/// The good ones. When it is full, those not met for longest go.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    held: Mutex<Held>,
}

/// Those met since the last half was full, and those of the half before.
#[derive(Debug, Default)]
struct Held {
    young: HashSet<Fingerprint>,
    old: HashSet<Fingerprint>,
}

/// SHA-256 of algorithm, key, text and signature.
type Fingerprint = [u8; digest::SHA256_OUTPUT_LEN];

impl Signatures {
    /// What webpki is to check signatures with.
    pub(super) fn algorithms(&self) -> Vec<Remembering<'_>> {
        let all = webpki::ALL_VERIFICATION_ALGS.iter();
        all.map(|algorithm| Remembering {
            algorithm: *algorithm,
            signatures: self,
        })
        .collect()
    }

    fn knows(&self, fingerprint: &Fingerprint) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.young.contains(fingerprint) {
            return true;
        }
        let is_known = held.old.remove(fingerprint);
        if is_known {
            held.add(*fingerprint);
        }
        is_known
    }

    fn remember(&self, fingerprint: Fingerprint) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.add(fingerprint);
    }
}

impl Held {
    fn add(&mut self, fingerprint: Fingerprint) {
        if self.young.len() >= HALF_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(fingerprint);
    }
}

/// An algorithm that is asked only for what is not known to be good.
#[derive(Debug)]
pub(super) struct Remembering<'a> {
    algorithm: &'a dyn SignatureVerificationAlgorithm,
    signatures: &'a Signatures,
}

impl Remembering<'_> {
    /// Lengths go in too, so that no two different questions give the same bytes.
    fn fingerprint(&self, key: &[u8], text: &[u8], signature: &[u8]) -> Option<Fingerprint> {
        let mut context = digest::Context::new(&digest::SHA256);
        let (key_kind, kind) = (self.public_key_alg_id(), self.signature_alg_id());
        for part in [key_kind.as_ref(), kind.as_ref(), key, text, signature] {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        context.finish().as_ref().try_into().ok()
    }
}

impl SignatureVerificationAlgorithm for Remembering<'_> {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let fingerprint = self.fingerprint(public_key, message, signature);
        if fingerprint.is_some_and(|known| self.signatures.knows(&known)) {
            return Ok(());
        }
        self.algorithm.verify_signature(public_key, message, signature)?;
        if let Some(good) = fingerprint {
            self.signatures.remember(good);
        }
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }

    fn fips_status(&self) -> FipsStatus {
        self.algorithm.fips_status()
    }
}

/// Signatures in each half: two for each of a thousand peers, in some 100 KB.
const HALF_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustls_pki_types::alg_id;

    use super::*;

    /// Good is what repeats key and text.
    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl SignatureVerificationAlgorithm for Counting {
        fn verify_signature(&self, key: &[u8], text: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let is_good = signature == [key, text].concat();
            if is_good { Ok(()) } else { Err(InvalidSignature) }
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ED25519
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ED25519
        }
    }

    #[test]
    fn a_good_signature_is_checked_once_and_a_bad_one_each_time() {
        let (signatures, counting) = (Signatures::default(), Counting::default());
        let algorithm = Remembering {
            algorithm: &counting,
            signatures: &signatures,
        };
        let check = |key: &str, text: &str, signature: &str| {
            let before = counting.0.load(Ordering::Relaxed);
            let answer = algorithm.verify_signature(key.as_bytes(), text.as_bytes(), signature.as_bytes());
            (answer.is_ok(), counting.0.load(Ordering::Relaxed) - before)
        };
        assert_eq!(check("k", "t", "kt"), (true, 1));
        assert_eq!(check("k", "t", "kt"), (true, 0));
        for _ in 0..2 {
            assert_eq!(check("k", "t", "kx"), (false, 1), "another signature");
            assert_eq!(check("k", "x", "kt"), (false, 1), "another text");
            assert_eq!(check("x", "t", "kt"), (false, 1), "another key");
        }
        // The same bytes, divided otherwise.
        assert_eq!(check("kt", "", "kt"), (true, 1));
    }

    #[test]
    fn what_is_met_again_stays_and_the_rest_goes() {
        let signatures = Signatures::default();
        let numbered = |number: usize| {
            let mut fingerprint = Fingerprint::default();
            fingerprint[..8].copy_from_slice(&number.to_be_bytes());
            fingerprint
        };
        signatures.remember(numbered(0));
        for number in 1..3 * HALF_MAX {
            assert!(signatures.knows(&numbered(0)), "before {number}");
            signatures.remember(numbered(number));
        }
        assert!(!signatures.knows(&numbered(1)));
        assert!(signatures.knows(&numbered(3 * HALF_MAX - 1)));
        let held = signatures.held.lock().unwrap();
        assert!(held.young.len() <= HALF_MAX && held.old.len() <= HALF_MAX);
    }
}
