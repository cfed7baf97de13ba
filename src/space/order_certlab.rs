//! Forges the certificate catalogue where the authority's keys are, and publishes what it says of the forged ones. Whoever asked plays
//! them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::keeper::{InForce, Keeper};
use super::order::{Answer, OrderError};
use crate::lab::play_prepared::prepare;
use crate::lab::{Catalogue, Face, Holder};

/// What to forge, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgeOrder {
    /// Id of the face that will meet the defects: `peer-in`, `peer-out`, `submission`, `imap`.
    pub face: String,
    /// Full subject that the allow list names, or that a login is bound to.
    pub subject: String,
    /// Alternative names, `dns:…`, `ip:…`, `mail:…`.
    pub names: Vec<String>,
    /// Ids or groups; all without any.
    pub only: Vec<String>,
}

/// Carries it out: `data` of the answer is a list of [`crate::lab::play_prepared::Prepared`].
pub(super) async fn forge(keeper: &Keeper, in_force: &mut InForce, order: &ForgeOrder) -> Result<Answer, OrderError> {
    let refused = |error: &dyn std::fmt::Display| OrderError::Refused(error.to_string());
    let face = Face::ALL.into_iter().find(|face| face.id() == order.face);
    let face = face.ok_or_else(|| OrderError::Refused(format!("no face {:?}", order.face)))?;
    let subject = order.subject.parse();
    let holder = Holder {
        subject: subject.map_err(|error| refused(&format!("{:?} is not a subject: {error}", order.subject)))?,
        names: order.names.clone(),
    };
    let catalogue = Catalogue::embedded().map_err(|error| refused(&error))?;
    let unknown = order.only.iter().find(|word| {
        !catalogue
            .all()
            .iter()
            .any(|one| one.id == **word || one.group.id() == *word)
    });
    if let Some(word) = unknown {
        return Err(OrderError::Refused(format!(
            "no defect and no group {word:?}; `vaguemestre certlab list` shows them"
        )));
    }
    let (authority, now, only) = (Arc::clone(keeper.authority()), keeper.now(), order.only.clone());
    // Some hundred key pairs and signatures: not where mail waits.
    let forging =
        tokio::task::spawn_blocking(move || prepare(&catalogue, (&authority, now), (&holder, face), &only)).await;
    let prepared = forging
        .map_err(|error| refused(&error))?
        .map_err(|error| refused(&error))?;
    keeper.renew(in_force)?;
    let data = serde_json::to_value(&prepared).map_err(|error| refused(&error))?;
    Ok(Answer::new(format!("{} defects are ready\n", prepared.len()), data))
}
