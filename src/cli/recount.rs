//! `vaguemestre recount`: computes every counter again from the journal and shows each difference.

use clap::Args;
use serde_json::{Value, json};

use super::open::{JsonFlag, OpenOperator, Output, chosen};
use crate::indicator::{CarriedOver, Difference, Recount, Tally, recount};
use crate::store::CountKey;

/// Arguments of `vaguemestre recount`.
#[derive(Args, Clone, Debug)]
pub struct RecountArgs {
    /// Only this operator (may be repeated); all of them by default
    #[arg(long, value_name = "NAME")]
    pub operator: Vec<String>,
    /// Print JSON for scripts.
    #[command(flatten)]
    pub json: JsonFlag,
}

/// Recounts the chosen operators and returns the exit code: 0 when every counter agrees with the journal, 1 otherwise.
pub async fn run_recount(args: &RecountArgs, operators: &[OpenOperator], output: Output<'_>) -> anyhow::Result<u8> {
    let mut agrees = true;
    let mut values: Vec<Value> = Vec::new();
    for operator in chosen(operators, &args.operator)? {
        let found = recount(&*operator.journal, &*operator.counters).await?;
        agrees &= found.agrees();
        if args.json.json {
            values.push(to_json(&operator.name, &found));
        } else {
            output.out.write_all(to_text(&operator.name, &found).as_bytes())?;
        }
    }
    if args.json.json {
        serde_json::to_writer_pretty(&mut *output.out, &values)?;
        writeln!(output.out)?;
    }
    Ok(u8::from(!agrees))
}

fn to_text(operator: &str, found: &Recount) -> String {
    let verdict = match (found.agrees(), found.differences.len()) {
        (true, _) => "no difference".to_owned(),
        (false, 0) => "unreadable rows".to_owned(),
        (false, 1) => "1 difference".to_owned(),
        (false, several) => format!("{several} differences"),
    };
    let summary = format!(
        "{operator}: {} journal rows{}, {} counters: {verdict}\n",
        found.rows,
        found.carried.as_ref().map(carried_text).unwrap_or_default(),
        found.counters
    );
    let differences = found
        .differences
        .iter()
        .map(|one| format!("  {}\n", difference_line(one)));
    let damaged = found
        .damaged
        .iter()
        .map(|sequence| format!("  journal row {sequence} should count and cannot be read\n"));
    std::iter::once(summary).chain(differences).chain(damaged).collect()
}

/// What the rows that are left cannot prove: sums taken when the others were purged.
fn carried_text(carried: &CarriedOver) -> String {
    let until = carried.until.map(|until| format!(" of {until}")).unwrap_or_default();
    format!(
        " after row {}{until}, {} counters carried over from before",
        carried.sequence, carried.counters
    )
}

fn difference_line(difference: &Difference) -> String {
    let CountKey {
        month,
        direction,
        establishment,
        entity,
        box_type,
        class,
    } = &difference.key;
    let shown = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text.to_owned()
        }
    };
    let tally = |tally: Tally| format!("{} messages, {} recipients", tally.messages, tally.recipients);
    format!(
        "{month} {direction} EG {} EJ {} {} {class}: counter {}; journal {}",
        shown(establishment),
        shown(entity),
        shown(box_type),
        tally(difference.stored),
        tally(difference.recounted)
    )
}

fn to_json(operator: &str, found: &Recount) -> Value {
    let tally = |tally: Tally| json!({"messages": tally.messages, "recipients": tally.recipients});
    let difference = |one: &Difference| {
        json!({
            "month": one.key.month,
            "direction": one.key.direction,
            "establishment": one.key.establishment,
            "entity": one.key.entity,
            "box_type": one.key.box_type,
            "class": one.key.class,
            "stored": tally(one.stored),
            "recounted": tally(one.recounted),
        })
    };
    json!({
        "operator": operator,
        "agrees": found.agrees(),
        "rows": found.rows,
        "carried_over": found.carried.as_ref().map(|carried| json!({
            "last_row_purged": carried.sequence,
            "until": carried.until.map(|until| until.to_string()),
            "counters": carried.counters,
        })),
        "counters": found.counters,
        "damaged_rows": found.damaged,
        "differences": found.differences.iter().map(difference).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cli::open::tests::{Printed, operator, over, sent_by};
    use crate::indicator::fake::{EHPAD, FakeStore, LILAS, block_on};
    use crate::journal::Record;
    use crate::journal::sample::moment;
    use crate::store::JournalStore;

    fn lying() -> OpenOperator {
        let store = FakeStore::default();
        let row = Record::new(moment(), "s", sent_by(EHPAD, LILAS)).to_row();
        let mut damaged = row.clone();
        damaged.detail = "{".into();
        block_on(store.append(vec![row, damaged])).unwrap();
        over("chu", Arc::new(store))
    }

    fn run(operators: &[OpenOperator], json: bool) -> (u8, String) {
        let args = RecountArgs {
            operator: Vec::new(),
            json: JsonFlag { json },
        };
        let mut printed = Printed::default();
        let code = block_on(run_recount(&args, operators, printed.output())).unwrap();
        (code, printed.out())
    }

    #[test]
    fn an_honest_operator_gives_exit_code_0() {
        let (code, text) = run(&[operator("lilas", vec![sent_by(EHPAD, LILAS)])], false);
        assert_eq!(code, 0);
        assert_eq!(text, "lilas: 1 journal rows, 1 counters: no difference\n");
    }

    #[test]
    fn each_difference_is_shown_and_gives_exit_code_1() {
        let operators = [operator("lilas", vec![]), lying()];
        let (code, text) = run(&operators, false);
        assert_eq!(code, 1);
        insta::assert_snapshot!(text, @r#"
        lilas: 0 journal rows, 0 counters: no difference
        chu: 2 journal rows, 1 counters: 1 difference
          2026-11 sent EG 990000010 EJ 990000002 APP message: counter 0 messages, 0 recipients; journal 1 messages, 2 recipients
          journal row 2 should count and cannot be read
        "#);
        let (code, text) = run(&operators, true);
        let values: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(code, 1);
        assert_eq!(values[0]["agrees"], true);
        assert_eq!(values[1]["differences"][0]["recounted"]["messages"], 1);
        assert_eq!(values[1]["damaged_rows"][0], 2);
    }
}
