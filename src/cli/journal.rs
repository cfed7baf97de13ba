//! `vaguemestre journal`: every decision, oldest first, of one or several operators.

use std::collections::VecDeque;
use std::str::FromStr;

use clap::Args;
use jiff::civil::Date;
use jiff::{Span, Timestamp};
use serde_json::{Map, Value};

use super::open::{JsonFlag, OpenOperator, Output, chosen};
use crate::clock::paris;
use crate::journal::{Record, json_line, line};
use crate::store::{JournalFilter, JournalRow};

/// Arguments of `vaguemestre journal`.
#[derive(Args, Clone, Debug)]
pub struct JournalArgs {
    /// From then on: 2026-11-21T10:00:00Z, 2026-11-21 (midnight in Paris), or an age such as 1h, 30min, 2d
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// Before then: the same forms; a day stands for its first moment
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
    /// Only these events, such as refused (may be repeated)
    #[arg(long, value_name = "NAME")]
    pub event: Vec<String>,
    /// Only this session
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    /// Only this operator (may be repeated); all of them by default
    #[arg(long, value_name = "NAME")]
    pub operator: Vec<String>,
    /// At most this many records
    #[arg(long, default_value_t = LIMIT_DEFAULT, value_name = "COUNT")]
    pub limit: usize,
    /// Print one JSON object per line.
    #[command(flatten)]
    pub json: JsonFlag,
}

/// A moment as typed.
#[derive(Clone, Debug)]
pub enum When {
    /// RFC 3339.
    At(Timestamp),
    /// Midnight in Paris.
    Day(Date),
    /// So long ago.
    Ago(Span),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        if text.len() == DATE_BYTES
            && let Ok(day) = text.parse::<Date>()
        {
            return Ok(Self::Day(day));
        }
        match text.parse::<Span>() {
            Ok(span) if span.is_positive() => Ok(Self::Ago(span)),
            _ => {
                Err("expected a moment (2026-11-21T10:00:00Z), a day (2026-11-21) or an age (1h, 30min, 2d)".to_owned())
            }
        }
    }
}

impl When {
    fn resolve(&self, now: Timestamp) -> anyhow::Result<Timestamp> {
        Ok(match self {
            Self::At(at) => *at,
            Self::Day(day) => day.to_zoned(paris())?.timestamp(),
            Self::Ago(span) => now.to_zoned(paris()).checked_sub(*span)?.timestamp(),
        })
    }
}

/// Prints the records asked for. Memory is bounded by a page per operator, whatever the journal's length.
pub async fn run_journal(
    args: &JournalArgs,
    operators: &[OpenOperator],
    now: Timestamp,
    output: Output<'_>,
) -> anyhow::Result<()> {
    let operators = chosen(operators, &args.operator)?;
    let filter = JournalFilter {
        since: args.since.as_ref().map(|when| when.resolve(now)).transpose()?,
        until: args.until.as_ref().map(|when| when.resolve(now)).transpose()?,
        events: args.event.clone(),
        session: args.session.clone(),
        limit: PAGE_ROWS.min(args.limit.saturating_add(1)),
        ..JournalFilter::default()
    };
    let mut merge = Merge::new(&operators, filter);
    let width = operators.iter().map(|one| one.name.chars().count()).max().unwrap_or(0);
    for _ in 0..args.limit {
        let Some((operator, row)) = merge.next().await? else {
            return Ok(());
        };
        let record = Record::from_row(row);
        match (args.json.json, operators.len()) {
            (true, _) => writeln!(output.out, "{}", with_operator(operator, &record))?,
            (false, 1) => writeln!(output.out, "{}", line(&record))?,
            (false, _) => writeln!(output.out, "{operator:<width$}  {}", line(&record))?,
        }
    }
    if merge.next().await?.is_some() {
        writeln!(
            output.notes,
            "there is more: these are the first {} records; narrow with --since or raise --limit",
            args.limit
        )?;
    }
    Ok(())
}

fn with_operator(operator: &str, record: &Record) -> String {
    let mut object = Map::from_iter([("operator".to_owned(), Value::String(operator.to_owned()))]);
    if let Ok(Value::Object(fields)) = serde_json::from_str(&json_line(record)) {
        object.extend(fields);
    }
    Value::Object(object).to_string()
}

/// Several journals read page by page and merged by time.
struct Merge<'a> {
    sources: Vec<Source<'a>>,
}

struct Source<'a> {
    operator: &'a OpenOperator,
    filter: JournalFilter,
    page: VecDeque<JournalRow>,
    ended: bool,
}

impl<'a> Merge<'a> {
    fn new(operators: &[&'a OpenOperator], filter: JournalFilter) -> Self {
        let source = |operator: &&'a OpenOperator| Source {
            operator,
            filter: filter.clone(),
            page: VecDeque::new(),
            ended: false,
        };
        Self {
            sources: operators.iter().map(source).collect(),
        }
    }

    /// The oldest row not yet taken, with the name of its operator.
    async fn next(&mut self) -> anyhow::Result<Option<(&'a str, JournalRow)>> {
        for source in &mut self.sources {
            source.fill().await?;
        }
        let heads = self.sources.iter_mut().filter(|source| !source.page.is_empty());
        let oldest = heads.min_by_key(|source| source.page.front().map(|row| row.at));
        Ok(oldest.and_then(|source| Some((source.operator.name.as_str(), source.page.pop_front()?))))
    }
}

impl Source<'_> {
    async fn fill(&mut self) -> anyhow::Result<()> {
        if self.ended || !self.page.is_empty() {
            return Ok(());
        }
        let page = self.operator.journal.journal(self.filter.clone()).await?;
        match page.last().map(|row| row.sequence) {
            Some(last) if last > self.filter.after_sequence => self.filter.after_sequence = last,
            _ => self.ended = true,
        }
        self.page = page.into();
        Ok(())
    }
}

/// Records shown unless told otherwise.
pub const LIMIT_DEFAULT: usize = 10_000;
const PAGE_ROWS: usize = 500;
/// `2026-11-21`; anything longer with a date in it is a moment or wrong.
const DATE_BYTES: usize = 10;

#[cfg(test)]
mod tests {
    use clap::Parser;
    use jiff::SignedDuration;

    use super::*;
    use crate::cli::open::tests::{Printed, at_times, operator};
    use crate::indicator::fake::block_on;
    use crate::journal::sample::{every_event, moment};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: JournalArgs,
    }

    fn run(words: &[&str], operators: &[OpenOperator]) -> Printed {
        let args = Cli::try_parse_from([&["journal"], words].concat()).unwrap().args;
        let mut printed = Printed::default();
        let now = moment() + SignedDuration::from_hours(2);
        block_on(run_journal(&args, operators, now, printed.output())).unwrap();
        printed
    }

    #[test]
    fn one_operator_prints_plain_lines() {
        let printed = run(
            &["--event", "bounced", "--event", "queued"],
            &[operator("lilas", every_event())],
        );
        insta::assert_snapshot!(printed.out(), @r#"
        2026-11-21T10:00:00.000Z  s-42          queued         to 2790…989@patient.mssante.fr
        2026-11-21T10:00:00.000Z  s-42          bounced        to 2790…989@patient.mssante.fr, refused after 1 attempt, told noreply@ehpad-lilas.mssante.fr: 550 5.1.1 <2790…989@patient.mssante.fr> unknown
        "#);
    }

    #[test]
    fn several_operators_are_merged_by_time() {
        let operators = [at_times("lilas", &[0, 20, 40]), at_times("chu", &[10, 30])];
        let printed = run(&[], &operators).out();
        let names: Vec<&str> = printed.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, ["lilas", "chu", "lilas", "chu", "lilas"]);
        let only = run(&["--operator", "chu", "--json"], &operators).out();
        let record: Value = serde_json::from_str(only.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&record["operator"], &record["event"]),
            (&"chu".into(), &"started".into())
        );
        assert_eq!(only.lines().count(), 2);
    }

    #[test]
    fn long_journals_are_read_to_the_end_page_by_page() {
        let minutes: Vec<i64> = (0..1234).collect();
        assert_eq!(run(&[], &[at_times("lilas", &minutes)]).out().lines().count(), 1234);
    }

    #[test]
    fn a_limit_says_that_there_is_more() {
        let operators = [at_times("lilas", &[0, 1, 2])];
        let cut = run(&["--limit", "2"], &operators);
        assert_eq!(cut.out().lines().count(), 2);
        assert!(cut.notes().contains("first 2 records"));
        let whole = run(&["--limit", "3"], &operators);
        assert_eq!((whole.out().lines().count(), whole.notes().as_str()), (3, ""));
    }

    #[test]
    fn moments_days_and_ages_bound_what_is_shown() {
        // The records are at 10:00, 11:00 and 11:59 UTC; now is 12:00.
        let operators = [at_times("lilas", &[0, 60, 119])];
        for (words, shown) in [
            (&["--since", "2026-11-21T11:00:00Z"][..], 2),
            (&["--since", "2026-11-21T12:00:00+01:00"], 2),
            (&["--since", "30min"], 1),
            (&["--since", "1h"], 2),
            (&["--since", "2d"], 3),
            (&["--since", "2026-11-21"], 3),
            (&["--since", "2026-11-22"], 0),
            (&["--until", "2026-11-21T11:00:00Z"], 1),
            (&["--until", "2026-11-21"], 0),
            (&["--session", "nobody"], 0),
        ] {
            assert_eq!(run(words, &operators).out().lines().count(), shown, "{words:?}");
        }
    }

    #[test]
    fn a_day_begins_in_paris() {
        let day: When = "2026-07-01".parse().unwrap();
        assert_eq!(day.resolve(moment()).unwrap().to_string(), "2026-06-30T22:00:00Z");
    }

    #[test]
    fn other_moments_are_refused() {
        for text in ["", "yesterday", "-1h", "0s", "2026-13-01", "2026-11-21 10h"] {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
    }
}
