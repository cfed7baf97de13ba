//! Publishes a list that somebody else made, instead of the one that follows from the space file: the same admission as an operator's.

use std::path::Path;

use serde_json::json;

use super::keeper::{InForce, Keeper};
use super::order::{Answer, OrderError};

/// Takes the list into force and publishes it, until the space changes or starts again and has one of its own.
pub(super) fn publish_list(keeper: &Keeper, in_force: &mut InForce, list: &str) -> Result<Answer, OrderError> {
    let refused = |text: String| OrderError::Refused(text);
    let bytes = std::fs::read(Path::new(list)).map_err(|error| refused(format!("cannot read {list}: {error}")))?;
    let Some(made) = in_force.made.as_mut() else {
        return Err(refused(
            "the sandbox does not run: start it with `vaguemestre up`, or publish in a folder with --to".to_owned(),
        ));
    };
    let admitted = made.replace_list(keeper.layout(), bytes, keeper.now())?;
    keeper.renew(in_force)?;
    let mut text = format!(
        "a list made {} is in force: {} domains, {} certificates\n",
        admitted.list.generated(),
        admitted.list.domain_count(),
        admitted.list.certificate_count()
    );
    for skipped in &admitted.skipped {
        text.push_str(&format!("not used: {skipped}\n"));
    }
    let data = json!({
        "generated": admitted.list.generated().to_string(),
        "domains": admitted.list.domain_count(),
        "certificates": admitted.list.certificate_count(),
        "skipped": admitted.skipped.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    Ok(Answer::new(text, data))
}
