//! Fetches CRLs, complete and delta, by period and before they end, and keeps the last good ones on disk: a restart without network begins
//! with what was known before (ECO.1.1.7).

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;

use super::{FetchError, Fetched, Fetcher, Validators};
use crate::pki::{self, CrlError, FileError, TrustStore};

/// Where CRLs come from.
#[derive(Clone, Debug)]
pub struct CrlOptions {
    /// Their URLs, complete and delta.
    pub urls: Vec<String>,
    /// How often each is asked for.
    pub period: Duration,
    /// Where the last good ones are kept.
    pub folder: PathBuf,
}

/// Fetches CRLs.
#[derive(Debug)]
pub struct CrlFeed {
    options: CrlOptions,
    sources: Vec<Source>,
}

/// One URL.
#[derive(Debug)]
struct Source {
    url: String,
    /// The last good one on disk.
    file: PathBuf,
    validators: Validators,
    due: Timestamp,
}

/// Why a CRL was not renewed. The one held before stays.
#[derive(Debug, thiserror::Error)]
pub enum CrlFeedError {
    /// It did not come.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It is not to be used.
    #[error("{url}: {source}")]
    Crl {
        /// Where from.
        url: String,
        /// Why.
        source: CrlError,
    },
    /// It is used, but a restart would not find it.
    #[error(transparent)]
    Keep(#[from] FileError),
}

/// What a round of fetching gave.
#[derive(Debug, Default)]
pub struct CrlRound {
    /// Lists that are new and verified, DER; complete ones before the deltas that continue them.
    pub lists: Vec<Vec<u8>>,
    /// What went wrong.
    pub errors: Vec<CrlFeedError>,
}

impl CrlFeed {
    /// Nothing is read or fetched yet.
    pub fn new(options: CrlOptions) -> Self {
        let source = |url: &String| Source {
            url: url.clone(),
            file: options.folder.join(file_name(url)),
            validators: Validators::default(),
            due: Timestamp::MIN,
        };
        Self {
            sources: options.urls.iter().map(source).collect(),
            options,
        }
    }

    /// `trust` with the lists kept at the last run, as far as they still verify.
    pub fn restore(&self, trust: &TrustStore) -> TrustStore {
        let mut kept = Vec::new();
        for source in &self.sources {
            match std::fs::read(&source.file) {
                Ok(der) => kept.push((source.url.clone(), der)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let file = source.file.display();
                    tracing::error!(%file, %error, "a kept revocation list cannot be read");
                }
            }
        }
        let (trust, _, errors) = take(trust, kept);
        for error in errors {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a kept revocation list is not used"
            );
        }
        trust
    }

    /// When the next source is due; none without source.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.sources.iter().map(|source| source.due).min()
    }

    /// Everything is due at once.
    pub fn ask_now(&mut self) {
        for source in &mut self.sources {
            source.due = Timestamp::MIN;
        }
    }

    /// Fetches what is due and verifies it against `trust`. Whoever installs the lists adds them to the store in force then.
    pub async fn renew(&mut self, fetcher: &Fetcher, trust: &TrustStore, now: Timestamp) -> CrlRound {
        let period = SignedDuration::try_from(self.options.period).unwrap_or(SignedDuration::MAX);
        let mut round = CrlRound::default();
        let mut offered = Vec::new();
        for source in self.sources.iter_mut().filter(|source| source.due <= now) {
            let outcome = fetcher.get(&source.url, &source.validators).await;
            // What failed is tried again sooner than what is good for hours.
            let wait = if outcome.is_ok() { period } else { period.min(RETRY) };
            source.due = now.saturating_add(wait).unwrap_or(Timestamp::MAX);
            match outcome {
                Ok(Fetched::NotModified) => {}
                Ok(Fetched::Document(document)) => {
                    source.validators = document.validators;
                    offered.push((source.url.clone(), der_of(document.bytes)));
                }
                Err(error) => round.errors.push(error.into()),
            }
        }
        let (after, taken, errors) = take(trust, offered);
        for error in &errors {
            // Asked for in full again: what is there may be put right under the same validators.
            if let CrlFeedError::Crl { url, .. } = error {
                self.forget(url);
            }
        }
        round.errors.extend(errors);
        for (url, der) in taken {
            if let Err(error) = self.keep(&url, &der) {
                round.errors.push(error.into());
            }
            round.lists.push(der);
        }
        self.hurry(&after, now);
        round
    }

    /// Before the first list ends, everything is asked for again, though no more often than once a minute.
    fn hurry(&mut self, trust: &TrustStore, now: Timestamp) {
        let Some(end) = trust.next_crl_update() else { return };
        let soonest = now.saturating_add(HURRY).unwrap_or(Timestamp::MAX);
        for source in &mut self.sources {
            source.due = source.due.min(end.max(soonest));
        }
    }

    fn forget(&mut self, url: &str) {
        for source in self.sources.iter_mut().filter(|source| source.url == url) {
            source.validators = Validators::default();
        }
    }

    fn keep(&self, url: &str, der: &[u8]) -> Result<(), FileError> {
        pki::private_folder(&self.options.folder)?;
        pki::write_public(&self.options.folder.join(file_name(url)), der)
    }
}

/// Adds lists to a store, in whatever order makes them fit: a delta may come before the list that it continues. Gives the store, what
/// was taken in that order, and what was not.
type Taken = (TrustStore, Vec<(String, Vec<u8>)>, Vec<CrlFeedError>);

fn take(trust: &TrustStore, offered: Vec<(String, Vec<u8>)>) -> Taken {
    let (mut trust, mut taken, mut early) = (trust.clone(), Vec::new(), Vec::new());
    let mut errors = Vec::new();
    for (url, der) in offered {
        match trust.with_crl(&der) {
            Ok(with) => {
                trust = with;
                taken.push((url, der));
            }
            Err(CrlError::NoBase(_) | CrlError::OtherBase(_)) => early.push((url, der)),
            Err(source) => errors.push(CrlFeedError::Crl { url, source }),
        }
    }
    for (url, der) in early {
        match trust.with_crl(&der) {
            Ok(with) => {
                trust = with;
                taken.push((url, der));
            }
            Err(source) => errors.push(CrlFeedError::Crl { url, source }),
        }
    }
    (trust, taken, errors)
}

/// CRLs are published as DER, and sometimes as PEM.
fn der_of(bytes: Vec<u8>) -> Vec<u8> {
    match CertificateRevocationListDer::from_pem_slice(&bytes) {
        Ok(der) => der.as_ref().to_vec(),
        Err(_) => bytes,
    }
}

/// One file per URL, whatever characters it holds.
fn file_name(url: &str) -> PathBuf {
    let digest = digest::digest(&digest::SHA256, url.as_bytes());
    let mut name = [0; 16];
    name.copy_from_slice(&digest.as_ref()[..16]);
    Path::new(&format!("{:032x}", u128::from_be_bytes(name))).with_extension("crl")
}

/// After a failure, unless the period is shorter.
const RETRY: SignedDuration = SignedDuration::from_mins(5);
/// Between attempts when a list is about to end.
const HURRY: SignedDuration = SignedDuration::from_mins(1);

#[cfg(test)]
mod tests;
