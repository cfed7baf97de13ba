//! Checks and repairs a store from inside the process that holds it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::control::Answer;
use super::order::{Hands, OrderError};
use crate::journal::{Event, Excerpt, Maintained, Record};
use crate::mailbox::care::knowledge;
use crate::store::sqlite::verify::{Aside, Depth, Problem, Repaired, Report};

/// Arguments of a repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repair {
    /// Rows only, not every byte.
    pub quick: bool,
}

/// Repairs what can be repaired, and looks again.
pub(super) async fn execute(hands: &Hands, repair: &Repair) -> Result<Answer, OrderError> {
    let store = &hands.store;
    let depth = if repair.quick { Depth::Rows } else { Depth::Bytes };
    let now = hands.clock.now();
    let aside = Aside::new(store.folder(), &now.strftime("%Y%m%dT%H%M%SZ").to_string());
    let mut done = Vec::new();
    let mut found = store.verify(depth, knowledge()).await?;
    // One repair may show the next: a message that nothing refers to any more, figures of the folder it was in.
    for _ in 0..ROUNDS {
        let mut any = false;
        for problem in &found.problems {
            let row = Record::new(now, "", Event::Maintained(event(problem))).to_row();
            let (outcome, changed) = store.repair(problem, &aside, knowledge(), row).await?;
            hands.tell(&changed);
            if outcome == Repaired::Done {
                any = true;
                done.push(problem.clone());
            }
        }
        if !any {
            break;
        }
        found = store.verify(depth, knowledge()).await?;
    }
    Ok(answer(&done, &found, &aside))
}

fn event(problem: &Problem) -> Maintained {
    Maintained {
        action: "repair".into(),
        kind: problem.check.id().into(),
        place: Excerpt::new(&problem.place),
        text: Excerpt::new(&problem.what),
        count: 1,
    }
}

fn answer(done: &[Problem], left: &Report, aside: &Aside) -> Answer {
    let mut text = String::new();
    for problem in done {
        text.push_str(&format!("repaired {}\n", line(problem)));
    }
    for problem in &left.problems {
        text.push_str(&format!("left {}\n  {}\n", line(problem), problem.check.remedy()));
    }
    text.push_str(&format!("{} repaired, {} left", done.len(), left.problems.len()));
    let kept = aside.folder().exists();
    if kept {
        text.push_str(&format!("; what was taken out is in {}", aside.folder().display()));
    }
    text.push('\n');
    let data = json!({
        "repaired": done.iter().map(problem_json).collect::<Vec<_>>(),
        "problems": left.problems.iter().map(problem_json).collect::<Vec<_>>(),
        "damaged_folder": kept.then(|| aside.folder().display().to_string()),
    });
    Answer::new(text, data)
}

/// `body-missing at message 7: …`.
pub fn line(problem: &Problem) -> String {
    format!("{} at {}: {}", problem.check, problem.place, problem.what)
}

/// One problem as JSON.
pub fn problem_json(problem: &Problem) -> Value {
    json!({
        "id": problem.check.id(),
        "place": problem.place,
        "what": problem.what,
        "remedy": problem.check.remedy(),
    })
}

/// Repairs that show further problems.
const ROUNDS: usize = 3;
