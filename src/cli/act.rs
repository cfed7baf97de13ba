//! How a command changes something at one operator: by the process that holds its data, or, when none does, in this one.

use std::path::Path;
use std::time::Duration;

use super::stores::DataArgs;
use super::{order, run};
use crate::app::control::{self, Answer, ControlError};
use crate::app::order::{Hands, Order};
use crate::clock::Clock;
use crate::config::Gateway;
use crate::space;
use crate::store::StoreError;

/// Has the order carried out at an operator of the sandbox, or at the gateway, whose only operator it is.
pub(super) fn act(data: &DataArgs, operator: &str, act: Order) -> anyhow::Result<Answer> {
    match data.gateway() {
        Some(file) => {
            let (gateway, _) = Gateway::load(file)?;
            run::small_runtime()?.block_on(at_gateway(&gateway.data_folder, act))
        }
        None => order::carry_out(
            data.root(),
            &space::Order::At {
                operator: operator.to_owned(),
                act,
            },
        ),
    }
}

/// Whoever holds the folder may be another command, about to end, or a process about to serve: then this one waits for its turn.
async fn at_gateway(folder: &Path, act: Order) -> anyhow::Result<Answer> {
    let mut waited = Duration::ZERO;
    loop {
        match Hands::open(folder, Clock::system()) {
            Ok(hands) => {
                let done = hands.execute(act).await;
                hands.close().await?;
                return Ok(done?);
            }
            Err(StoreError::InUse { .. }) => match control::ask(folder, &act) {
                Err(ControlError::Unreachable { .. }) if waited < order::TURN_WAIT_MAX => {
                    tokio::time::sleep(order::TURN_PAUSE).await;
                    waited += order::TURN_PAUSE;
                }
                answered => return Ok(answered?),
            },
            Err(error) => return Err(error.into()),
        }
    }
}
