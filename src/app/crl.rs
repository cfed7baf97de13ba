//! Keeps the revocation lists of a running operator up to date from the URLs of its configuration.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Operator;
use super::gateway::reach;
use super::watch::with_causes;
use crate::clock::Clock;
use crate::config::Gateway;
use crate::pki::TrustStore;
use crate::sync::{CrlFeed, CrlOptions, FetchOptions, Fetcher};

/// The feed of a configuration; none when it names no URL.
pub fn feed(gateway: &Gateway) -> Option<CrlFeed> {
    let revocation = &gateway.trust.revocation;
    (!revocation.crl_urls.is_empty()).then(|| {
        CrlFeed::new(CrlOptions {
            urls: revocation.crl_urls.clone(),
            period: revocation.crl_period,
            folder: gateway.data_folder.join(FOLDER),
        })
    })
}

/// What an operator starts with: `authority` and the lists kept at the last run.
pub fn restored(gateway: &Gateway, authority: TrustStore) -> TrustStore {
    match feed(gateway) {
        Some(feed) => feed.restore(&authority),
        None => authority,
    }
}

/// Fetches what is due until `stop`; `ask_now` wakes it before.
pub async fn keep(
    gateway: Gateway,
    operator: Arc<Operator>,
    clock: Clock,
    (ask_now, stop): (Arc<tokio::sync::Notify>, CancellationToken),
) {
    let Some(mut feed) = feed(&gateway) else { return };
    let options = FetchOptions {
        reach: reach(&gateway),
        ..FetchOptions::default()
    };
    loop {
        round(&mut feed, &operator, (options, &clock)).await;
        let wait = feed.next_due().map(|due| clock.now().duration_until(due));
        let wait = wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default();
        tokio::select! {
            () = stop.cancelled() => return,
            () = ask_now.notified() => feed.ask_now(),
            () = tokio::time::sleep(wait.max(SHORTEST)) => {}
        }
    }
}

/// `authority` with the lists that its URLs give now. Before an operator starts, the signer of its allow list is judged by something.
pub async fn first(gateway: &Gateway, authority: &TrustStore, clock: &Clock) -> TrustStore {
    let Some(mut feed) = feed(gateway) else {
        return authority.clone();
    };
    let options = FetchOptions {
        reach: reach(gateway),
        ..FetchOptions::default()
    };
    let (lists, _) = fetched(&mut feed, authority, (options, clock)).await;
    lists.iter().map(Vec::as_slice).fold(authority.clone(), with)
}

async fn round(feed: &mut CrlFeed, operator: &Operator, asking: (FetchOptions, &Clock)) {
    let (lists, problem) = fetched(feed, &operator.authority(), asking).await;
    match problem {
        Some(problem) => operator.reloaded("revocation", Err(problem)),
        None => operator.unchanged("revocation"),
    }
    if !lists.is_empty() {
        tracing::info!(lists = lists.len(), "revocation lists renewed");
        operator.amend_authority(|store| lists.iter().map(Vec::as_slice).fold(store.clone(), with));
    }
}

/// The lists that are new; what cannot be had is told, the first of it in the answer too.
async fn fetched(
    feed: &mut CrlFeed,
    trust: &TrustStore,
    (options, clock): (FetchOptions, &Clock),
) -> (Vec<Vec<u8>>, Option<String>) {
    // Made anew: it believes the certificates of now.
    let fetcher = match Fetcher::new(Some(trust), clock, options) {
        Ok(fetcher) => fetcher,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "nothing can be fetched");
            return (Vec::new(), Some(with_causes(&error)));
        }
    };
    let round = feed.renew(&fetcher, trust, clock.now()).await;
    for error in &round.errors {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "a revocation list is not renewed, the last good one stays"
        );
    }
    let problem = round.errors.first().map(|error| with_causes(error));
    (round.lists, problem)
}

/// The store with one more list, unless it holds a newer one: meanwhile that came from a file.
fn with(store: TrustStore, der: &[u8]) -> TrustStore {
    match store.with_crl(der) {
        Ok(with) => with,
        Err(error) => {
            tracing::debug!(%error, "a fetched revocation list is not needed");
            store
        }
    }
}

/// Below the data folder.
const FOLDER: &str = "crl";
/// Between two looks at what is due.
const SHORTEST: Duration = Duration::from_millis(200);
