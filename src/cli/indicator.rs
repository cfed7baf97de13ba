//! `vaguemestre indicator`: messages sent and received per establishment and box type, with the usage rate.

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::open::{JsonFlag, OpenOperator, Output, chosen};
use crate::indicator::{Month, Structures, Window, csv, indicator, table};
use crate::store::Count;

/// Arguments of `vaguemestre indicator`.
#[derive(Args, Clone, Debug)]
pub struct IndicatorArgs {
    /// Month to report on, such as 2026-11; the current month (Europe/Paris) by default. For windows of three months: the last of them
    #[arg(long, value_name = "YYYY-MM")]
    pub month: Option<Month>,
    /// Which months are counted, and over which denominator
    #[arg(long, value_enum, default_value_t = WindowArg::Month)]
    pub window: WindowArg,
    /// Only this operator (may be repeated); all of them by default
    #[arg(long, value_name = "NAME")]
    pub operator: Vec<String>,
    /// Print JSON for scripts.
    #[command(flatten)]
    pub json: JsonFlag,
    /// Print CSV (RFC 4180: comma, CRLF, UTF-8) for spreadsheets
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
}

/// The windows of [`Window`], as typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum WindowArg {
    /// The month itself
    #[default]
    Month,
    /// The three months before the first measure
    First,
    /// The last three months of the project
    Last3,
    /// The last three months as a plain count
    Volume,
}

impl From<WindowArg> for Window {
    fn from(window: WindowArg) -> Self {
        match window {
            WindowArg::Month => Self::Month,
            WindowArg::First => Self::First,
            WindowArg::Last3 => Self::Last3,
            WindowArg::Volume => Self::Volume,
        }
    }
}

/// Prints the report over all chosen operators.
pub async fn run_indicator(
    args: &IndicatorArgs,
    operators: &[OpenOperator],
    now: Timestamp,
    output: Output<'_>,
) -> anyhow::Result<()> {
    let operators = chosen(operators, &args.operator)?;
    let window = Window::from(args.window);
    let month = match args.month {
        Some(month) => month,
        None => Month::of(now)?,
    };
    let mut counters: Vec<Count> = Vec::new();
    for operator in &operators {
        for month in month.ending(window.months()) {
            counters.extend(operator.counters.counters(Some(&month.to_string())).await?);
        }
    }
    let structures = Structures::of(operators.iter().map(|operator| &*operator.directory));
    let report = indicator(window, month, &counters, &structures);
    if args.json.json {
        serde_json::to_writer_pretty(&mut *output.out, &report)?;
        writeln!(output.out)?;
    } else if args.csv {
        output.out.write_all(csv(&report).as_bytes())?;
    } else {
        output.out.write_all(table(&report).as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::open::tests::{Printed, operator, sent_by};
    use crate::indicator::fake::{EHPAD, LILAS, block_on};
    use crate::journal::sample::moment;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: IndicatorArgs,
    }

    fn run(words: &[&str]) -> anyhow::Result<Printed> {
        let args = Cli::try_parse_from([&["indicator"], words].concat())?.args;
        let operators = [
            operator("lilas", vec![sent_by(EHPAD, LILAS), sent_by(EHPAD, LILAS)]),
            operator("chu", vec![sent_by(EHPAD, LILAS)]),
        ];
        let mut printed = Printed::default();
        block_on(run_indicator(&args, &operators, moment(), printed.output()))?;
        Ok(printed)
    }

    #[test]
    fn operators_are_summed_unless_one_is_named() {
        for (words, sent) in [
            (&["--month", "2026-11"][..], 3),
            (&["--month", "2026-11", "--operator", "lilas"], 2),
            (&["--operator", "chu"], 1),
            (&["--month", "2026-12", "--window", "last3"], 3),
            (&["--month", "2026-12"], 0),
        ] {
            let printed = run(&[words, &["--json"]].concat()).unwrap().out();
            let report: serde_json::Value = serde_json::from_str(&printed).unwrap();
            assert_eq!(report["rows"][0]["sent"]["messages"], sent, "{words:?}");
        }
    }

    #[test]
    fn formats_exclude_each_other() {
        assert!(run(&[]).unwrap().out().contains("EHPAD Les Lilas"));
        assert!(run(&["--csv"]).unwrap().out().starts_with("window,months,"));
        assert!(run(&["--csv", "--json"]).is_err());
    }

    #[test]
    fn a_wrong_month_or_operator_is_named() {
        let message = |words: &[&str]| run(words).err().unwrap().to_string();
        assert!(message(&["--month", "novembre"]).contains("expected YYYY-MM"));
        assert!(message(&["--operator", "nobody"]).contains("there is lilas, chu"));
    }
}
