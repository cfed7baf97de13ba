//! The allow list of an authority that is elsewhere: fetched or read, verified, kept. Nothing takes the place of the list in force that
//! [`HeldList`] does not admit, and the last good one survives a restart.

mod kept;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use jiff::{SignedDuration, Timestamp};

use crate::pki::{ExpectedSigner, FileError, TrustStore};
use crate::trust::{AdmissionError, Admitted, AllowList, HeldList, SignaturePolicy};

use super::{FetchError, Fetched, Fetcher, Validators};

use kept::{Kept, State};

/// Where a list comes from and what it must be.
#[derive(Clone, Debug)]
pub struct ListOptions {
    /// A file that somebody else keeps up to date; with a URL, the list to begin with.
    pub file: Option<PathBuf>,
    /// Where the authority publishes it, and the folder that keeps the last good one.
    pub url: Option<(String, PathBuf)>,
    /// Whether it must be signed.
    pub signature: SignaturePolicy,
    /// By whom.
    pub signer: ExpectedSigner,
    /// How often the URL is asked.
    pub period: Duration,
    /// Without a fresh list for so long: a warning.
    pub warn_age: Duration,
    /// Without a fresh list for so long: an alarm.
    pub alarm_age: Duration,
}

/// The list in force and how it is renewed.
#[derive(Debug)]
pub struct ListFeed {
    options: ListOptions,
    held: HeldList,
    /// SHA-256 of the file in force: the same bytes are not verified twice.
    digest: Option<String>,
    state: State,
    attempt_due: Timestamp,
}

/// What a renewal brought.
#[derive(Clone, Debug)]
pub enum Renewed {
    /// Another list is in force.
    List(Admitted),
    /// The list in force is still the last one.
    Unchanged,
    /// It is not yet time to ask.
    NotDue,
}

/// How old the assurance is that the list in force is the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staleness {
    /// Fresh enough, or kept by somebody else.
    Fresh,
    /// A warning is due.
    Late(SignedDuration),
    /// An alarm is due.
    Alarm(SignedDuration),
}

/// Why there is no new list; the one in force stays.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It is not what the checksum beside it says.
    #[error(
        "{url}: its SHA-256 is {found}, and the checksum published beside it is {published}: damaged on the way, or published in halves"
    )]
    Checksum {
        /// The list.
        url: String,
        /// What was published.
        published: String,
        /// What was received.
        found: String,
    },
    /// It may not be used.
    #[error("{from}: {source}")]
    Admission {
        /// The file or URL.
        from: String,
        /// Why.
        #[source]
        source: AdmissionError,
    },
    /// The verification broke off.
    #[error("{from}: the verification broke off")]
    BrokenOff {
        /// The file or URL.
        from: String,
    },
    /// It is in force, but could not be kept for the next start.
    #[error("the allow list cannot be kept for the next start")]
    Keep(#[from] FileError),
    /// There is a URL and nothing to fetch it with.
    #[error("{0}: nothing is configured to fetch it with")]
    NoFetcher(String),
}

impl ListFeed {
    /// No list yet.
    pub fn new(options: ListOptions) -> Self {
        Self {
            held: HeldList::new(options.signature),
            options,
            digest: None,
            state: State::default(),
            attempt_due: Timestamp::MIN,
        }
    }

    /// The list in force.
    pub fn list(&self) -> Option<&Arc<AllowList>> {
        self.held.list()
    }

    /// Where lists come from, for messages.
    pub fn source(&self) -> String {
        match (&self.options.url, &self.options.file) {
            (Some((url, _)), _) => url.clone(),
            (None, Some(path)) => path.display().to_string(),
            (None, None) => String::new(),
        }
    }

    /// Takes up the list that was kept when this process ended last, if there is one, or the file to begin with. The signer is judged as
    /// of the time when the list was accepted: a certificate that has ended since does not take a good list away.
    ///
    /// # Errors
    /// A file cannot be read, or is not a list that may be used.
    pub async fn restore(
        &mut self,
        authority: &Arc<TrustStore>,
        now: Timestamp,
    ) -> Result<Option<Admitted>, ListError> {
        if let Some(kept) = self.kept()
            && let Some((bytes, state)) = kept.load()?
        {
            let accepted_at = state.accepted_at.unwrap_or(now).min(now);
            match self
                .admit(bytes, (authority, accepted_at), kept.path().display().to_string())
                .await
            {
                Ok(admitted) => {
                    // What was asked of another URL says nothing about this one.
                    let same_source = state.url.as_deref() == self.options.url.as_ref().map(|(url, _)| url.as_str());
                    self.state = if same_source { state } else { State::default() };
                    return Ok(Some(admitted));
                }
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the allow list kept at the last run is not used"
                ),
            }
        }
        match self.options.file.clone() {
            Some(path) => Ok(match self.read_file(path, authority, now).await? {
                Renewed::List(admitted) => Some(admitted),
                Renewed::Unchanged | Renewed::NotDue => None,
            }),
            None => Ok(None),
        }
    }

    /// Asks for a newer list: reads the file again, or, once its period has passed, asks the URL. Whatever fails, the list in force stays.
    ///
    /// # Errors
    /// See [`ListError`].
    pub async fn renew(
        &mut self,
        fetcher: Option<&Fetcher>,
        authority: &Arc<TrustStore>,
        now: Timestamp,
    ) -> Result<Renewed, ListError> {
        let Some((url, _)) = self.options.url.clone() else {
            return match self.options.file.clone() {
                Some(path) => self.read_file(path, authority, now).await,
                None => Ok(Renewed::Unchanged),
            };
        };
        if now < self.attempt_due {
            return Ok(Renewed::NotDue);
        }
        // An attempt that fails is made again soon, not in an hour.
        self.attempt_due = later(now, self.options.period.min(RETRY));
        let fetcher = fetcher.ok_or_else(|| ListError::NoFetcher(url.clone()))?;
        let renewed = self.fetch(&url, fetcher, (authority, now)).await?;
        self.attempt_due = later(now, self.options.period);
        Ok(renewed)
    }

    /// The next call of [`Self::renew`] asks, whenever it comes: a signal to do it now.
    pub fn ask_now(&mut self) {
        self.attempt_due = Timestamp::MIN;
    }

    /// How long ago the list in force was last known to be the last one.
    pub fn staleness(&self, now: Timestamp) -> Staleness {
        let (Some(_), Some(since)) = (&self.options.url, self.state.confirmed_at) else {
            return Staleness::Fresh;
        };
        let age = since.duration_until(now);
        let longer_than = |limit: Duration| SignedDuration::try_from(limit).is_ok_and(|limit| age >= limit);
        if longer_than(self.options.alarm_age) {
            Staleness::Alarm(age)
        } else if longer_than(self.options.warn_age) {
            Staleness::Late(age)
        } else {
            Staleness::Fresh
        }
    }

    /// Has a list judged and, if it may be, takes it into force.
    ///
    /// # Errors
    /// It may not be used.
    pub async fn admit(
        &mut self,
        bytes: Vec<u8>,
        (authority, now): (&Arc<TrustStore>, Timestamp),
        from: String,
    ) -> Result<Admitted, ListError> {
        let (authority, expected) = (Arc::clone(authority), self.options.signer.clone());
        let mut held = self.held.clone();
        // A few milliseconds per thousand entries: not on a thread that serves sessions.
        let judged = tokio::task::spawn_blocking(move || {
            let judge = |signer: &_| authority.verify_signer(signer, &expected, now).map(|_| ());
            let offered = held.offer(&bytes, now, judge);
            (offered, held, sha256(&bytes))
        });
        let Ok((offered, held, digest)) = judged.await else {
            return Err(ListError::BrokenOff { from });
        };
        let admitted = offered.map_err(|source| ListError::Admission { from, source })?;
        self.held = held;
        self.digest = Some(digest);
        Ok(admitted)
    }

    async fn read_file(
        &mut self,
        path: PathBuf,
        authority: &Arc<TrustStore>,
        now: Timestamp,
    ) -> Result<Renewed, ListError> {
        let reading = path.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read(reading)).await;
        let from = path.display().to_string();
        let Ok(read) = read else {
            return Err(ListError::BrokenOff { from });
        };
        let bytes = read.map_err(|source| ListError::Read { path, source })?;
        if self.digest.as_deref() == Some(&sha256(&bytes)) {
            return Ok(Renewed::Unchanged);
        }
        let admitted = self.admit(bytes, (authority, now), from).await?;
        Ok(Renewed::List(admitted))
    }

    async fn fetch(
        &mut self,
        url: &str,
        fetcher: &Fetcher,
        (authority, now): (&Arc<TrustStore>, Timestamp),
    ) -> Result<Renewed, ListError> {
        let known = match self.list() {
            Some(_) => self.state.validators(),
            None => Validators::default(),
        };
        let document = match fetcher.get(url, &known).await? {
            Fetched::Document(document) => document,
            Fetched::NotModified => return self.confirm(now),
        };
        let found = sha256(&document.bytes);
        if let Some(published) = published_checksum(url, fetcher).await
            && published != found
        {
            return Err(ListError::Checksum {
                url: url.to_owned(),
                published,
                found,
            });
        }
        if self.digest.as_deref() == Some(&found) {
            self.state.know(&document.validators);
            return self.confirm(now);
        }
        let bytes = document.bytes.clone();
        let admitted = self.admit(document.bytes, (authority, now), url.to_owned()).await?;
        self.state = State::accepted(url, &document.validators, now);
        if let Some(kept) = self.kept() {
            kept.store(&bytes, &self.state)?;
        }
        Ok(Renewed::List(admitted))
    }

    /// The list in force is still the last one.
    fn confirm(&mut self, now: Timestamp) -> Result<Renewed, ListError> {
        self.state.confirmed_at = Some(now);
        if let Some(kept) = self.kept() {
            kept.store_state(&self.state)?;
        }
        Ok(Renewed::Unchanged)
    }

    fn kept(&self) -> Option<Kept> {
        let (_, folder) = self.options.url.as_ref()?;
        Some(Kept::new(folder.clone()))
    }
}

/// SHA-256 as the checksum file writes it.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    data_encoding::HEXLOWER.encode(digest.as_ref())
}

/// The checksum beside a list, when one is published; whatever else answers there is not one.
async fn published_checksum(list_url: &str, fetcher: &Fetcher) -> Option<String> {
    let (folder, _) = list_url.rsplit_once('/')?;
    let url = format!("{folder}/{CHECKSUM_FILE}");
    let fetched = match fetcher.get(&url, &Validators::default()).await {
        Ok(Fetched::Document(document)) => document.bytes,
        Ok(Fetched::NotModified) => return None,
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "no checksum beside the list");
            return None;
        }
    };
    let text = std::str::from_utf8(&fetched).ok()?;
    let is_sha256 = |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split_whitespace().find(is_sha256).map(str::to_ascii_lowercase)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Name of the checksum file, beside the list.
pub const CHECKSUM_FILE: &str = "checksum";
/// After a failure.
const RETRY: Duration = Duration::from_mins(1);
