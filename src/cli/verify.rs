//! `vaguemestre verify`: looks at everything that is stored, and repairs what can be repaired.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::stores::DataArgs;
use super::{JsonFlag, act, output, run};
use crate::app::control::Answer;
use crate::app::order::Order;
use crate::app::repair::{INDEX_REMEDY, Repair, index_problem_json, index_problem_line, line, problem_json};
use crate::clock::Clock;
use crate::indicator::{Recount, recount};
use crate::mailbox::care::{knowledge, search_index};
use crate::store::StoreError;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::search::SearchIndex;
use crate::store::sqlite::verify::{Aside, Depth, Report, salvage};

/// Arguments of `vaguemestre verify`.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Only this operator (may be repeated); all of them by default
    #[arg(long, value_name = "NAME")]
    operator: Vec<String>,
    /// Repair what can be repaired; what is taken out is kept in `damaged/` of the data folder, and the journal says so
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    thoroughness: Thoroughness,
    /// Print JSON for scripts.
    #[command(flatten)]
    json: JsonFlag,
}

/// How much to look at.
#[derive(clap::Args, Clone, Copy, Debug)]
struct Thoroughness {
    /// Rows, figures and lengths only, not every byte
    #[arg(long)]
    quick: bool,
}

/// Checks, and repairs when asked to. Exit code 0: nothing is wrong (any more); 1: it could not be done; 2: something is wrong.
pub(super) fn run_verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let (mut values, mut sound) = (Vec::new(), true);
    for (name, folder) in args.data.chosen_stores(&args.operator)? {
        let found = if args.repair {
            repaired(args, &name, &folder)?
        } else {
            looked(args, &folder)?
        };
        sound &= found.problems == 0;
        if args.json.json {
            let mut value = json!({ "operator": name, "sound": found.problems == 0 });
            if let (Some(value), Value::Object(more)) = (value.as_object_mut(), found.answer.data) {
                value.extend(more);
            }
            values.push(value);
        } else {
            output::print(&format!("{name}: {}", found.answer.text))?;
        }
    }
    if args.json.json {
        output::print(&format!("{}\n", serde_json::to_string_pretty(&values)?))?;
    }
    Ok(ExitCode::from(if sound { 0 } else { 2 }))
}

struct Found {
    answer: Answer,
    problems: usize,
}

/// Looks at a store without changing it, whoever uses it meanwhile.
fn looked(args: &VerifyArgs, folder: &Path) -> anyhow::Result<Found> {
    let depth = if args.thoroughness.quick {
        Depth::Rows
    } else {
        Depth::Bytes
    };
    let store = match SqliteStore::open_read_only(folder) {
        Ok(store) => store,
        Err(StoreError::Damaged { what }) => return Ok(beyond_reading(&what)),
        Err(error) => return Err(error.into()),
    };
    run::small_runtime()?.block_on(async {
        let report = store.verify(depth, knowledge()).await?;
        let counted = match recount(&store, &store).await {
            Ok(counted) => Some(counted),
            // What cannot be read is among the problems already.
            Err(error) => {
                tracing::warn!(%error, "the counters could not be counted again");
                None
            }
        };
        let index = search_index(&store, folder, depth).await?;
        Ok(told(&report, counted.as_ref(), index.as_deref()))
    })
}

fn beyond_reading(what: &str) -> Found {
    let remedy = "stop the process and run verify --repair, or restore a backup";
    let problem = json!({ "id": "database-damaged", "place": "database", "what": what, "remedy": remedy });
    Found {
        answer: Answer::new(
            format!("1 problem\n  database-damaged at database: {what}\n    {remedy}\n"),
            json!({ "problems": [problem] }),
        ),
        problems: 1,
    }
}

fn told(report: &Report, counted: Option<&Recount>, index: Option<&str>) -> Found {
    let mut lines: Vec<String> = report
        .problems
        .iter()
        .map(|problem| format!("  {}\n    {}\n", line(problem), problem.check.remedy()))
        .collect();
    let mut problems: Vec<Value> = report.problems.iter().map(problem_json).collect();
    if let Some(counted) = counted.filter(|counted| !counted.agrees()) {
        let remedy = "`vaguemestre recount` shows each difference; nothing is changed";
        let what = format!(
            "{} counters differ from the journal, {} of its rows should count and cannot be read",
            counted.differences.len(),
            counted.damaged.len()
        );
        lines.push(format!("  counter-differs at counters: {what}\n    {remedy}\n"));
        problems.push(json!({ "id": "counter-differs", "place": "counters", "what": what, "remedy": remedy }));
    }
    if let Some(what) = index {
        lines.push(format!("  {}\n    {INDEX_REMEDY}\n", index_problem_line(what)));
        problems.push(index_problem_json(what));
    }
    let verdict = match (problems.len(), report.is_cut) {
        (0, _) => "nothing wrong".to_owned(),
        (1, _) => "1 problem".to_owned(),
        (several, false) => format!("{several} problems"),
        (several, true) => format!("more than {several} problems"),
    };
    let looked = format!(
        "{} messages, {} bytes of them read, {} body files",
        report.messages, report.bytes, report.files
    );
    let data = json!({
        "messages": report.messages,
        "bytes_read": report.bytes,
        "files": report.files,
        "problems": problems,
        "more_problems": report.is_cut,
    });
    Found {
        problems: problems.len(),
        answer: Answer::new(format!("{verdict} ({looked})\n{}", lines.concat()), data),
    }
}

/// Repairs by whoever holds the folder. A database that SQLite cannot read is built again first, which needs the folder alone.
fn repaired(args: &VerifyArgs, name: &str, folder: &Path) -> anyhow::Result<Found> {
    let mut before = String::new();
    let stamp = Clock::system().now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let aside = Aside::new(folder, &format!("{stamp}-database"));
    match salvage(folder, &aside) {
        Ok(Some(salvaged)) => {
            let rows: u64 = salvaged.rows.iter().map(|(_, rows)| rows).sum();
            before = format!(
                "the database was built again from {rows} rows, {} body files set aside; the old one is in {}\n",
                salvaged.files,
                aside.folder().display()
            );
            if !salvaged.torn.is_empty() {
                before.push_str(&format!("  rows may be missing in: {}\n", salvaged.torn.join(", ")));
            }
        }
        Ok(None) | Err(StoreError::InUse { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    if !before.is_empty() {
        // Filled again from what is left.
        SearchIndex::discard(folder)?;
    }
    let mut answer = act::act(
        &args.data,
        name,
        Order::Repair(Repair {
            quick: args.thoroughness.quick,
        }),
    )?;
    answer.text = format!("{before}{}", answer.text);
    let problems = answer.data["problems"].as_array().map_or(0, Vec::len);
    Ok(Found { answer, problems })
}

/// Names and folders of stores.
pub(super) type Stores = Vec<(String, PathBuf)>;
