//! Asks OCSP responders about certificates whose chain is verified, before they are judged for good.
//!
//! The verdict itself stays where it is, in [`TrustStore`]: what is asked here is remembered there. A responder that does not answer
//! costs a bounded wait, once in a while; then the policy for missing revocation data decides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use rustls_pki_types::CertificateDer;

use super::{FetchError, Fetcher};
use crate::clock::Clock;
use crate::pki::{Demand, OcspError, PeerCertificate, StatusQuestion, TrustStore, Usage};
use crate::policy::{Reason, Refusal};

/// Whom to ask, and how long.
#[derive(Clone, Debug)]
pub struct ResponderOptions {
    /// Asked about every certificate, instead of those that certificates name.
    pub urls: Vec<String>,
    /// Hosts that a certificate may name; empty for any. A certificate is heard only once its chain is verified.
    pub hosts: Vec<String>,
    /// How long a session waits for answers, all certificates of a chain together.
    pub wait: Duration,
    /// How long a responder that failed is not asked again about the same certificate.
    pub pause: Duration,
}

/// Asks responders. Shared by the sessions of an operator.
#[derive(Debug)]
pub struct Responders {
    fetcher: Option<Fetcher>,
    options: ResponderOptions,
    /// Who is being asked about, so that many sessions of one peer ask once.
    asking: Mutex<HashMap<String, Arc<Asking>>>,
}

/// The last failure about one certificate; locked while somebody asks.
type Asking = tokio::sync::Mutex<Option<Timestamp>>;

/// Why one responder could not tell.
#[derive(Debug, thiserror::Error)]
enum NoStatus {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("{url}: {source}")]
    Answer { url: String, source: OcspError },
    #[error("no responder to ask: none is configured, and the certificate names none that may be asked")]
    Nobody,
}

impl Default for ResponderOptions {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            hosts: Vec::new(),
            wait: Duration::from_secs(5),
            pause: Duration::from_secs(10),
        }
    }
}

impl Responders {
    /// Responders asked through `fetcher`.
    pub fn new(fetcher: Fetcher, options: ResponderOptions) -> Self {
        Self {
            fetcher: Some(fetcher),
            options,
            asking: Mutex::default(),
        }
    }

    /// Nobody: what is not known stays unknown.
    pub fn none() -> Self {
        Self {
            fetcher: None,
            options: ResponderOptions::default(),
            asking: Mutex::default(),
        }
    }

    /// Judges a chain as [`TrustStore::verify`] does, and asks before if something recent is missing that a responder can tell.
    ///
    /// # Errors
    /// The refusal.
    pub async fn judge(
        &self,
        trust: &TrustStore,
        chain: &[CertificateDer<'_>],
        usage: Usage,
        clock: &Clock,
    ) -> Result<PeerCertificate, Refusal> {
        if self.fetcher.is_none() || !trust.asks_ocsp() {
            return trust.verify(chain, usage, clock.now());
        }
        match trust.verify_with(chain, (usage, clock.now()), Demand::Fresh, &[]) {
            Err(refusal) if refusal.reason == Reason::RevocationUnknown => {}
            decided => return decided,
        }
        self.ask(trust, chain, usage, clock).await;
        trust.verify(chain, usage, clock.now())
    }

    /// Asks about every certificate of the chain of which nothing recent is known, for a bounded time. What is learnt, `trust` knows.
    pub async fn ask(&self, trust: &TrustStore, chain: &[CertificateDer<'_>], usage: Usage, clock: &Clock) {
        let questions = trust.status_questions(chain, usage, clock.now());
        let asked = async {
            for question in &questions {
                self.ask_about(trust, question, clock).await;
            }
        };
        if tokio::time::timeout(self.options.wait, asked).await.is_err() {
            tracing::warn!(
                wait_ms = u64::try_from(self.options.wait.as_millis()).unwrap_or(u64::MAX),
                "OCSP responders did not answer in time"
            );
        }
    }

    async fn ask_about(&self, trust: &TrustStore, question: &StatusQuestion, clock: &Clock) {
        let asking = self.asking(question);
        let mut failed = asking.lock().await;
        if trust.knows(question, clock.now()) {
            return;
        }
        let pause = SignedDuration::try_from(self.options.pause).unwrap_or(SignedDuration::MAX);
        if failed.is_some_and(|failed| failed.duration_until(clock.now()) < pause) {
            return;
        }
        // Noted before, since a session that has waited long enough drops this half-way.
        *failed = Some(clock.now());
        match self.exchange(trust, question, clock).await {
            Ok(()) => *failed = None,
            Err(error) => {
                tracing::warn!(serial = question.serial(), %error, "revocation status not learnt by OCSP");
            }
        }
    }

    async fn exchange(&self, trust: &TrustStore, question: &StatusQuestion, clock: &Clock) -> Result<(), NoStatus> {
        let Some(fetcher) = &self.fetcher else {
            return Err(NoStatus::Nobody);
        };
        let mut last = NoStatus::Nobody;
        for url in self.urls(question) {
            let answer = match fetcher.post(url, REQUEST_TYPE, question.request.clone()).await {
                Ok(answer) => answer,
                Err(error) => {
                    last = error.into();
                    continue;
                }
            };
            match trust.learn(question, &answer.bytes, clock.now()) {
                Ok(()) => return Ok(()),
                Err(source) => {
                    let url = url.clone();
                    last = NoStatus::Answer { url, source };
                }
            }
        }
        Err(last)
    }

    fn urls<'a>(&'a self, question: &'a StatusQuestion) -> Vec<&'a String> {
        if !self.options.urls.is_empty() {
            return self.options.urls.iter().collect();
        }
        let hosts = &self.options.hosts;
        let may_ask = |url: &&String| {
            let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
            hosts.is_empty() || host.is_some_and(|host| hosts.iter().any(|known| known.eq_ignore_ascii_case(&host)))
        };
        question.urls.iter().filter(may_ask).take(URLS_MAX).collect()
    }

    fn asking(&self, question: &StatusQuestion) -> Arc<Asking> {
        // Held for one look-up; a panic elsewhere leaves the map whole.
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if asking.len() >= ASKING_MAX {
            asking.retain(|_, one| Arc::strong_count(one) > 1);
        }
        Arc::clone(asking.entry(question.key()).or_default())
    }
}

const REQUEST_TYPE: &str = "application/ocsp-request";
/// Responders of one certificate that are asked.
const URLS_MAX: usize = 3;
/// Certificates whose last failure is remembered.
const ASKING_MAX: usize = 4096;

#[cfg(test)]
mod tests;
