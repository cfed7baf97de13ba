//! Keeps what a gateway believes up to date while it runs: the authority's files and the allow list. Whatever cannot be used leaves what
//! is in force as it is; sessions under way keep what they began with (invariant 4).

use std::sync::Arc;

use jiff::SignedDuration;

use super::gateway::{MaterialError, authority, reach};
use super::watch::with_causes;
use super::{Operator, crl};
use crate::clock::Clock;
use crate::config::Gateway;
use crate::pki::TrustStore;
use crate::sync::{FetchOptions, Fetcher, ListError, ListFeed, ListOptions, Renewed, Staleness};
use crate::trust::{Admitted, AllowList, Skipped};

/// What a gateway believes, and how it is renewed.
pub struct TrustKeeper {
    gateway: Gateway,
    clock: Clock,
    authority: Arc<TrustStore>,
    feed: ListFeed,
    /// What was said last of the list's age, so that it is said once.
    said: Staleness,
}

/// What an operator starts with.
pub struct Trusted {
    /// The authority's certificates and revocation lists.
    pub authority: Arc<TrustStore>,
    /// The allow list.
    pub allow_list: Arc<AllowList>,
    /// What of the list could not be used.
    pub skipped: Vec<Skipped>,
}

/// What a configuration says of the list, as its feed takes it.
pub fn list_options(gateway: &Gateway) -> ListOptions {
    let list = &gateway.trust.allow_list;
    let folder = gateway.data_folder.join(LIST_FOLDER);
    ListOptions {
        file: list.file.clone(),
        url: list.url.clone().map(|url| (url, folder)),
        signature: list.signature,
        signer: list.signer.clone(),
        period: list.period,
        warn_age: list.warn_age,
        alarm_age: list.alarm_age,
    }
}

impl TrustKeeper {
    /// Nothing is read or fetched yet.
    pub fn new(gateway: &Gateway, authority: Arc<TrustStore>, clock: &Clock) -> Self {
        Self {
            gateway: gateway.clone(),
            clock: clock.clone(),
            authority,
            feed: ListFeed::new(list_options(gateway)),
            said: Staleness::Fresh,
        }
    }

    /// What is at hand without asking anybody: the list kept at the last run, or the file. None when a URL was never fetched.
    ///
    /// # Errors
    /// There is a list, and it cannot be used.
    pub async fn at_hand(&mut self) -> Result<Option<Trusted>, MaterialError> {
        let restored = self.feed.restore(&self.authority, self.clock.now()).await?;
        Ok(restored.map(|admitted| self.trusted(admitted.list, admitted.skipped)))
    }

    /// What to start with: the last list there is. A URL that cannot be asked does not stop an operator that kept its last good list.
    ///
    /// # Errors
    /// There is no list, or it cannot be used.
    pub async fn start(&mut self) -> Result<Trusted, MaterialError> {
        self.authority = Arc::new(crl::first(&self.gateway, &self.authority, &self.clock).await);
        let at_hand = self.at_hand().await?;
        match (self.renew_list().await, at_hand) {
            (Ok(Renewed::List(admitted)), _) => Ok(self.trusted(admitted.list, admitted.skipped)),
            (Ok(Renewed::Unchanged | Renewed::NotDue), Some(trusted)) => Ok(trusted),
            (Ok(Renewed::Unchanged | Renewed::NotDue), None) => Err(MaterialError::NoList(self.feed.source())),
            (Err(error), Some(trusted)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "no fresh allow list, starting with the last good one"
                );
                Ok(trusted)
            }
            (Err(error), None) => Err(error.into()),
        }
    }

    /// Looks at everything again and has `operator` judge the sessions that begin from now on by what is in force then. `asked` does not
    /// wait for the period of a URL.
    pub async fn renew(&mut self, operator: &Operator, asked: bool) {
        match authority(&self.gateway.trust) {
            // With what was fetched meanwhile: a file never takes a newer list's place.
            Ok(store) => {
                self.authority = Arc::new(store.succeeding(&operator.authority()));
                operator.unchanged("authority");
            }
            Err(error) => operator.reloaded("authority", Err(with_causes(&error))),
        }
        if asked {
            self.feed.ask_now();
        }
        match self.renew_list().await {
            Ok(Renewed::List(admitted)) => {
                tell(&admitted);
                operator.reloaded("allow-list", Ok(()));
            }
            Ok(Renewed::Unchanged) => operator.unchanged("allow-list"),
            Ok(Renewed::NotDue) => {}
            Err(error) => operator.reloaded("allow-list", Err(with_causes(&error))),
        }
        self.watch_age(operator);
        if let Some(list) = self.feed.list() {
            operator.install(Arc::clone(list), Arc::clone(&self.authority));
        }
    }

    async fn renew_list(&mut self) -> Result<Renewed, ListError> {
        let now = self.clock.now();
        let options = FetchOptions {
            reach: reach(&self.gateway),
            ..FetchOptions::default()
        };
        let fetcher = match &self.gateway.trust.allow_list.url {
            // Made anew: it believes the certificates and the revocation lists of now.
            Some(_) => match Fetcher::new(Some(&self.authority), &self.clock, options) {
                Ok(fetcher) => Some(fetcher),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "nothing can be fetched");
                    None
                }
            },
            None => None,
        };
        self.feed.renew(fetcher.as_ref(), &self.authority, now).await
    }

    /// Says once that the list is late, and once that it is far too late.
    pub fn watch_age(&mut self, operator: &Operator) {
        let age = self.feed.staleness(self.clock.now());
        let late = |age: SignedDuration| format!("no fresh allow list for {} h", age.as_hours());
        operator.fault(
            "allow-list",
            match age {
                Staleness::Alarm(age) => Some(late(age)),
                _ => None,
            },
        );
        operator.warn(
            "allow-list-late",
            match age {
                Staleness::Late(age) => Some(late(age)),
                _ => None,
            },
        );
        if std::mem::discriminant(&age) != std::mem::discriminant(&self.said) {
            let source = self.feed.source();
            match age {
                Staleness::Fresh => tracing::info!(source, "the allow list is fresh again"),
                Staleness::Late(age) => tracing::warn!(source, hours = age.as_hours(), "no fresh allow list"),
                Staleness::Alarm(age) => {
                    tracing::error!(
                        source,
                        hours = age.as_hours(),
                        "ALARM: no fresh allow list, the last good one is used still"
                    );
                }
            }
        }
        self.said = age;
    }

    fn trusted(&self, allow_list: Arc<AllowList>, skipped: Vec<Skipped>) -> Trusted {
        Trusted {
            authority: Arc::clone(&self.authority),
            allow_list,
            skipped,
        }
    }
}

fn tell(admitted: &Admitted) {
    for skipped in &admitted.skipped {
        tracing::warn!(%skipped, "an entry of the allow list is not used");
    }
    tracing::info!(
        generated = %admitted.list.generated(),
        domains = admitted.list.domain_count(),
        certificates = admitted.list.certificate_count(),
        signed = admitted.signer.is_some(),
        "another allow list is in force"
    );
}

/// Below the data folder.
const LIST_FOLDER: &str = "allow-list";
