//! The queue of one operator, changed by hand.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::control::Answer;
use super::order::{Hands, OrderError};
use crate::journal::QueueAction;
use crate::queue::{Selection, manage};
use crate::store::{Changed, QueueFilter, QueueStore};

/// What is to become of which items, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueOrder {
    /// What to do.
    pub action: QueueAction,
    /// With which items.
    pub select: Selection,
    /// Who asks, for the journal.
    pub by: String,
}

/// Does it, and wakes the relay.
pub(super) async fn execute(hands: &Hands, order: &QueueOrder) -> Result<Answer, OrderError> {
    let filter = order
        .select
        .filter(hands.clock.now(), LISTED_MAX)
        .map_err(|error| OrderError::Refused(error.to_string()))?;
    refuse_unknown(hands, &filter).await?;
    let done = manage(&*hands.store, &filter, order.action, &order.by).await?;
    if let Some(wake) = &hands.wake {
        wake.notify_one();
    }
    Ok(answer(order.action, done, hands.wake.is_some()))
}

/// An id that is not in the queue is a mistake, of which nothing else should be done.
async fn refuse_unknown(hands: &Hands, filter: &QueueFilter) -> Result<(), OrderError> {
    let ids = &filter.keys;
    if ids.is_empty() {
        return Ok(());
    }
    if ids.len() > LISTED_MAX {
        return Err(OrderError::Refused(format!(
            "more than {LISTED_MAX} ids at once: use a filter"
        )));
    }
    let known = hands
        .store
        .queue_page(&QueueFilter {
            keys: ids.clone(),
            ..QueueFilter::all(filter.now, LISTED_MAX)
        })
        .await?;
    let missing = ids.iter().find(|id| known.iter().all(|entry| entry.item.key != **id));
    match missing {
        Some(id) => Err(OrderError::Refused(format!(
            "there is no item {} in the queue: it was delivered, reported or dropped; nothing was changed",
            id.0
        ))),
        None => Ok(()),
    }
}

fn answer(action: QueueAction, done: Changed, is_running: bool) -> Answer {
    let items = match done.changed {
        1 => "1 item".to_owned(),
        count => format!("{count} items"),
    };
    let (what, then) = match action {
        QueueAction::Retry if is_running => ("hastened", "tried now"),
        QueueAction::Retry => ("hastened", "tried when the operator runs"),
        QueueAction::Hold => ("held", "not tried until released"),
        QueueAction::Release => ("released", "tried when due"),
        QueueAction::Drop => ("dropped", "nobody is told"),
        QueueAction::Bounce if is_running => ("given up", "the senders are told now"),
        QueueAction::Bounce => ("given up", "the senders are told when the operator runs"),
    };
    let unchanged = done.seen - done.changed - done.busy;
    let mut text = format!("{items} {what}: {then}\n");
    if done.busy > 0 {
        text.push_str(&format!(
            "{} left alone: an attempt is under way; ask again in a moment\n",
            done.busy
        ));
    }
    if unchanged > 0 {
        text.push_str(&format!("{unchanged} left as they were: nothing to change\n"));
    }
    let data = json!({ "action": action.id(), "changed": done.changed, "busy": done.busy, "unchanged": unchanged });
    Answer::new(text, data)
}

/// Most ids in one order.
const LISTED_MAX: usize = 1_000;
