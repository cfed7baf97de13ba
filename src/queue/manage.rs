//! What an administrator asks of the queue: which items, and what is to become of them.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::identity::{Address, Domain};
use crate::journal::{Event, Excerpt, Managed, MaskedAddress, QueueAction, Record};
use crate::store::{
    Changed, MessageKey, QueueChange, QueueFilter, QueueItem, QueueKey, QueueState, QueueStore, Sender, StoreError,
};

/// Which items, as typed. Everything given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// Ids of items.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<i64>,
    /// Id of a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<i64>,
    /// Domain of the recipients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Reverse-path; `<>` for reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Forward-path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Session that submitted them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// State.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Queued at least so many seconds ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than_seconds: Option<u64>,
}

/// Something typed that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// No domain.
    #[error("{0:?} is not a domain: expected something like chu.mssante.fr")]
    Domain(String),
    /// No address.
    #[error("{0:?} is not an address: expected something like accueil@chu.mssante.fr, or <> for reports")]
    Address(String),
    /// No state.
    #[error("there is no state {0:?}: expected due, leased, waiting, blocked or held")]
    State(String),
}

impl Selection {
    /// Whether it names items by their ids.
    pub fn is_by_id(&self) -> bool {
        !self.ids.is_empty()
    }

    /// Whether nothing is given: every item fits.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// The filter for a page of `limit` items.
    ///
    /// # Errors
    /// See [`SelectionError`].
    pub fn filter(&self, now: Timestamp, limit: usize) -> Result<QueueFilter, SelectionError> {
        let domain = |text: &String| text.parse::<Domain>().map_err(|_| SelectionError::Domain(text.clone()));
        let address = |text: &String| {
            text.parse::<Address>()
                .map_err(|_| SelectionError::Address(text.clone()))
        };
        let sender = |text: &String| match text.as_str() {
            "<>" => Ok(Sender::Null),
            _ => address(text).map(Sender::Address),
        };
        let state = |text: &String| QueueState::from_id(text).ok_or_else(|| SelectionError::State(text.clone()));
        let age = self
            .older_than_seconds
            .map(|seconds| SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)));
        Ok(QueueFilter {
            keys: self.ids.iter().copied().map(QueueKey).collect(),
            message: self.message.map(MessageKey),
            domain: self.domain.as_ref().map(domain).transpose()?,
            sender: self.sender.as_ref().map(sender).transpose()?,
            recipient: self.recipient.as_ref().map(address).transpose()?,
            session: self.session.clone(),
            state: self.state.as_ref().map(state).transpose()?,
            created_before: age.map(|age| now.saturating_sub(age).unwrap_or(Timestamp::MIN)),
            ..QueueFilter::all(now, limit)
        })
    }
}

/// Does it to every item that fits, some at a time, each with its record in the same transaction.
///
/// # Errors
/// The store failed; what was done before stays done.
pub async fn manage(
    store: &dyn QueueStore,
    filter: &QueueFilter,
    action: QueueAction,
    by: &str,
) -> Result<Changed, StoreError> {
    let change = match action {
        QueueAction::Retry => QueueChange::Retry,
        QueueAction::Hold => QueueChange::Hold {
            by: Excerpt::new(by).as_str().to_owned(),
        },
        QueueAction::Release => QueueChange::Release,
        QueueAction::Drop => QueueChange::Drop,
        QueueAction::Bounce => QueueChange::Bounce {
            verdict: GIVEN_UP.to_owned(),
        },
    };
    let (by, now) = (Excerpt::new(by), filter.now);
    let record = Arc::new(move |item: &QueueItem| {
        let managed = Managed {
            action,
            item: item.key.0,
            recipient: MaskedAddress::from(&item.recipient),
            by: by.clone(),
            attempts: item.attempts,
        };
        Record::new(now, &item.session, Event::Managed(managed)).to_row()
    });
    let mut page = QueueFilter {
        limit: PAGE_ITEMS,
        ..filter.clone()
    };
    let mut all = Changed::default();
    loop {
        let done = store.change_queue(&page, change.clone(), record.clone()).await?;
        all.changed += done.changed;
        all.busy += done.busy;
        all.seen += done.seen;
        let Some(last) = done.last else { return Ok(all) };
        all.last = Some(last);
        page.after = last;
    }
}

/// Items changed in one transaction: other writes wait for no longer than some milliseconds.
const PAGE_ITEMS: usize = 500;
/// What the sender of an item reads that was given up by hand. RFC 3463 §3.1: nothing more exact can be said.
const GIVEN_UP: &str = "554 5.0.0 taken out of the queue by an administrator of the sending operator";

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn what_is_typed_becomes_a_filter() {
        let typed = Selection {
            ids: vec![4],
            domain: Some("CHU.mssante.fr".into()),
            sender: Some("<>".into()),
            state: Some("held".into()),
            older_than_seconds: Some(3600),
            ..Selection::default()
        };
        let filter = typed.filter(now(), 10).unwrap();
        assert_eq!(filter.keys, [QueueKey(4)]);
        assert_eq!(filter.domain.unwrap().as_str(), "chu.mssante.fr");
        assert_eq!(filter.sender, Some(Sender::Null));
        assert_eq!(filter.state, Some(QueueState::Held));
        assert_eq!(filter.created_before.unwrap().to_string(), "2026-11-21T09:00:00Z");
        assert!(typed.is_by_id() && !typed.is_everything() && Selection::default().is_everything());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_would_be() {
        let wrong = [
            Selection {
                domain: Some("a b".into()),
                ..Selection::default()
            },
            Selection {
                sender: Some("nobody".into()),
                ..Selection::default()
            },
            Selection {
                recipient: Some("<>".into()),
                ..Selection::default()
            },
            Selection {
                state: Some("lost".into()),
                ..Selection::default()
            },
        ];
        for selection in wrong {
            let error = selection.filter(now(), 1).unwrap_err().to_string();
            assert!(error.contains("expected"), "{error}");
        }
    }
}
