//! What a server showed in a handshake that then failed: the library hands the chain to the verifier only, and a refusal needs evidence.

use std::sync::{Arc, Mutex, PoisonError};

use rustls_pki_types::CertificateDer;

/// Keeps the chain of the last refused handshake. Clones share what they keep.
#[derive(Clone, Debug, Default)]
pub struct Witness(Arc<Mutex<Option<Vec<CertificateDer<'static>>>>>);

impl Witness {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The chain seen last, leaf first; once.
    pub fn take(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The same without forgetting it; empty when nothing was seen.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone().unwrap_or_default()
    }

    pub(super) fn saw(&self, chain: &[CertificateDer<'_>]) {
        let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(chain);
    }
}
