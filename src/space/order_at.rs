//! Orders for one operator of the space: whoever keeps the space has hands on every store.

use super::Keeper;
use super::order::{Answer, OrderError};
use crate::app::order::{Hands, Order as OperatorOrder, OrderError as OperatorError};
use crate::config::Operator;

/// Has an operator's order carried out: by the operator that runs, or over its store while nothing runs. It does not wait for orders that
/// change the space, and they do not wait for it.
pub(super) async fn execute(keeper: &Keeper, key: &str, order: OperatorOrder) -> Result<Answer, OrderError> {
    let (is_local, running, known) = keeper
        .with(|in_force| {
            let is_local = in_force.space.operator(key).is_some_and(Operator::is_local);
            let running = in_force.operators.get(key).map(|local| local.operator.hands());
            let local = in_force.space.operators.iter().filter(|operator| operator.is_local());
            let known: Vec<&str> = local.map(|operator| operator.key.as_str()).collect();
            (is_local, running, known.join(", "))
        })
        .await;
    if !is_local {
        return Err(OrderError::Refused(format!(
            "no operator {key:?} here; there is {known}"
        )));
    }
    if let Some(hands) = running {
        return Ok(hands.execute(order).await?);
    }
    if keeper.live().is_some() {
        return Err(OrderError::Refused(format!(
            "{key} does not run, though the space does: look at the log of `vaguemestre up`"
        )));
    }
    let folder = keeper.layout().store(key);
    if !folder.exists() {
        return Err(OrderError::Refused(format!("{key} has no data yet: it never ran")));
    }
    let hands = Hands::open(&folder, keeper.clock().clone())?;
    let done = hands.execute(order).await;
    hands.close().await?;
    Ok(done?)
}

impl From<OperatorError> for OrderError {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::Refused(why) => Self::Refused(why),
            OperatorError::Store(error) => Self::Store(error),
        }
    }
}
