//! Checks and repairs a store from inside the process that holds it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::control::Answer;
use super::order::{Hands, OrderError};
use crate::journal::{Event, Excerpt, Maintained, Record};
use crate::mailbox::care::{knowledge, search_index};
use crate::store::MailboxStore;
use crate::store::sqlite::search::SearchIndex;
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
    let index = repaired_index(hands, depth).await?;
    Ok(answer(&done, &found, &aside, index))
}

/// Empties a search index that does not say what the messages say; it is filled again by whoever runs, or runs next. `None`: nothing was wrong.
async fn repaired_index(hands: &Hands, depth: Depth) -> Result<Option<IndexRepair>, OrderError> {
    let store = &hands.store;
    let folder = store.folder();
    let Some(what) = search_index(store.as_ref(), folder, depth).await? else {
        return Ok(None);
    };
    let emptied = match &hands.notify {
        Some(notify) => {
            let folders = store.folder_marks().await?;
            let emptied = SearchIndex::reset(folder);
            notify.index_emptied(folders.into_iter().map(|(key, _)| key));
            emptied
        }
        None => SearchIndex::discard(folder),
    };
    Ok(Some(match emptied {
        Ok(()) => IndexRepair::Emptied(what),
        Err(error) => IndexRepair::Left(format!("{what}; {}", error.with_cause())),
    }))
}

/// What became of a damaged search index.
enum IndexRepair {
    Emptied(String),
    Left(String),
}

/// A search index that does not say what the messages say.
pub fn index_problem_json(what: &str) -> Value {
    json!({ "id": INDEX_PROBLEM, "place": "search.db", "what": what, "remedy": INDEX_REMEDY })
}

/// The same for people.
pub fn index_problem_line(what: &str) -> String {
    format!("{INDEX_PROBLEM} at search.db: {what}")
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

fn answer(done: &[Problem], left: &Report, aside: &Aside, index: Option<IndexRepair>) -> Answer {
    let mut text = String::new();
    for problem in done {
        text.push_str(&format!("repaired {}\n", line(problem)));
    }
    for problem in &left.problems {
        text.push_str(&format!("left {}\n  {}\n", line(problem), problem.check.remedy()));
    }
    let mut repaired: Vec<Value> = done.iter().map(problem_json).collect();
    let mut problems: Vec<Value> = left.problems.iter().map(problem_json).collect();
    match index {
        None => {}
        Some(IndexRepair::Emptied(what)) => {
            text.push_str(&format!("repaired {}\n", index_problem_line(&what)));
            repaired.push(index_problem_json(&what));
        }
        Some(IndexRepair::Left(what)) => {
            text.push_str(&format!("left {}\n  {INDEX_REMEDY}\n", index_problem_line(&what)));
            problems.push(index_problem_json(&what));
        }
    }
    text.push_str(&format!("{} repaired, {} left", repaired.len(), problems.len()));
    let kept = aside.folder().exists();
    if kept {
        text.push_str(&format!("; what was taken out is in {}", aside.folder().display()));
    }
    text.push('\n');
    let data = json!({
        "repaired": repaired,
        "problems": problems,
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

/// Stable, as the ids of `Check` are.
const INDEX_PROBLEM: &str = "search-index";
/// What to do about it.
pub const INDEX_REMEDY: &str =
    "--repair empties it; it is filled again from the messages, and until then searches read these";
/// Repairs that show further problems.
const ROUNDS: usize = 3;
