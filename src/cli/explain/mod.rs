//! `vaguemestre explain ID`: the story of a session or a message from the journals: who connected, what was shown, each check in its order,
//! the rule that refused, what should have been there, and who has to do what.

mod find;
mod story;
mod tell;
mod verdict;

use clap::Args;
use jiff::Timestamp;

use super::open::{JsonFlag, OpenOperator, Output};
use super::queue;
use super::words::LanguageFlag;
use find::Found;
use story::Story;

pub(in crate::cli) use find::sessions_named;
pub(in crate::cli) use verdict::{Places, differences};

/// Arguments of `vaguemestre explain`.
#[derive(Args, Clone, Debug)]
pub(super) struct ExplainArgs {
    /// A session id as it stands in a reply, or the beginning of one, a Message-ID, or queue:N for an item of the queue
    #[arg(value_name = "ID")]
    id: String,
    /// Language of the explanation
    #[command(flatten)]
    language: LanguageFlag,
    /// Print JSON for scripts
    #[command(flatten)]
    json: JsonFlag,
}

/// Tells the story. The code is 1 when there is none to tell.
pub(super) async fn run_explain(
    args: &ExplainArgs,
    operators: &[OpenOperator],
    (places, now): (&Places, Timestamp),
    output: Output<'_>,
) -> anyhow::Result<u8> {
    if let Some(item) = queue::number_of(&args.id) {
        return queue::item_story(item, operators, now, (args.json.json, output)).await;
    }
    let words = args.language.words();
    let texts = &words.texts;
    let sessions = match find::find(operators, &args.id).await? {
        Found::Sessions(sessions) => sessions,
        Found::Several(sessions) => {
            writeln!(output.notes, "{} {:?}:", texts.several, args.id)?;
            for (operator, id) in sessions {
                writeln!(output.notes, "  {id}  {operator}")?;
            }
            return Ok(1);
        }
        Found::Nothing => {
            let names: Vec<&str> = operators.iter().map(|one| one.name.as_str()).collect();
            writeln!(output.notes, "{} {:?}", texts.unknown, args.id)?;
            writeln!(output.notes, "{}", texts.ids_are)?;
            writeln!(output.notes, "{}: {}", texts.read, names.join(", "))?;
            return Ok(1);
        }
    };
    let story = Story::of(&args.id, &sessions, places, words);
    if args.json.json {
        writeln!(output.out, "{}", serde_json::to_string_pretty(&story)?)?;
    } else {
        write!(output.out, "{}", tell::text(&story, words))?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests;
