//! What a command asks of one operator, and who carries it out: the process that holds its data folder, or the command itself while none
//! does. Both have [`Hands`] on the same store.
//!
//! Adding an order: a variant of [`Order`] with an argument type of its own, one arm in [`Hands::execute`], and its executor beside what it
//! is about. A gateway takes it on its control socket, a sandbox as [`crate::space::Order::At`] with the operator's name.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::Operator;
use super::control::{Answer, Executor, Reply};
use super::order_queue;
use super::repair::{self, Repair};
use crate::clock::Clock;
use crate::mailbox;
use crate::store::sqlite::{Options, SqliteStore};
use crate::store::{FolderKey, StoreError};

pub use super::order_queue::QueueOrder;

/// One thing to do at one operator. Names and numbers are as the user typed them: whoever executes the order reads and refuses them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "order", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, from a command")]
pub enum Order {
    /// Check the store and repair what can be repaired.
    Repair(Repair),
    /// Change what waits in the queue.
    Queue(QueueOrder),
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// It cannot be done: what is in the way, and what to do.
    #[error("{0}")]
    Refused(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What orders act on. Cheap to clone.
#[derive(Clone)]
pub struct Hands {
    /// Rows and bodies of the operator, open for writing.
    pub store: Arc<SqliteStore>,
    /// The one clock.
    pub clock: Clock,
    /// Woken after a change of the queue; `None` while nothing runs.
    pub wake: Option<Arc<Notify>>,
    /// Told of folders that changed; `None` while nothing runs.
    pub notify: Option<mailbox::Notify>,
}

impl Hands {
    /// Opens the store in `folder` for one command, while nothing runs on it. Call [`Self::close`] at the end.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while a process holds it: that one is to be asked.
    pub fn open(folder: &Path, clock: Clock) -> Result<Self, StoreError> {
        let options = Options {
            uid_validity_first: u32::try_from(clock.now().as_second()).unwrap_or(1),
            ..Options::default()
        };
        Ok(Self {
            store: Arc::new(SqliteStore::open(folder, options)?),
            clock,
            wake: None,
            notify: None,
        })
    }

    /// Carries out one order.
    ///
    /// # Errors
    /// See [`OrderError`].
    pub async fn execute(&self, order: Order) -> Result<Answer, OrderError> {
        match order {
            Order::Queue(order) => order_queue::execute(self, &order).await,
            Order::Repair(repair) => repair::execute(self, &repair).await,
        }
    }

    /// Tells those who look at these folders that they changed.
    pub(super) fn tell(&self, folders: &[FolderKey]) {
        if let Some(notify) = &self.notify {
            for folder in folders {
                notify.changed(*folder);
            }
        }
    }

    /// Gives the folder free.
    ///
    /// # Errors
    /// The store did not close in good order.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

#[async_trait]
impl Executor for Hands {
    type Order = Order;

    async fn carry_out(&self, order: Order) -> Reply {
        Reply::of(self.execute(order).await)
    }
}

impl Operator {
    /// What orders act on while this operator runs.
    pub fn hands(&self) -> Hands {
        Hands {
            store: Arc::clone(&self.store),
            clock: self.parts.clock.clone(),
            wake: Some(Arc::clone(&self.parts.queued)),
            notify: Some(self.parts.mailboxes.notify().clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::QueueAction;
    use crate::queue::Selection;

    #[test]
    fn an_order_is_one_line_of_json_and_an_unknown_one_is_refused() {
        let order = Order::Queue(QueueOrder {
            action: QueueAction::Hold,
            select: Selection {
                ids: vec![4],
                ..Selection::default()
            },
            by: "root".into(),
        });
        let line = serde_json::to_string(&order).unwrap();
        assert_eq!(
            line,
            r#"{"order":"queue","action":"hold","select":{"ids":[4]},"by":"root"}"#
        );
        assert_eq!(serde_json::from_str::<Order>(&line).unwrap(), order);
        let misspelt = line.replace("ids", "idz");
        assert!(serde_json::from_str::<Order>(&misspelt).is_err());
        assert!(serde_json::from_str::<Order>(r#"{"order":"explode"}"#).is_err());
    }
}
