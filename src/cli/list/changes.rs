//! `vaguemestre list diff`.

use clap::Args;
use serde_json::{Value, json};

use super::source;
use crate::cli::{JsonFlag, output};
use crate::identity::{Domain, SubjectDn};
use crate::trust::{Difference, ListedOperator};

/// Arguments of `vaguemestre list diff`.
#[derive(Args, Clone, Debug)]
pub(super) struct DiffArgs {
    /// The list as it was: a file or an http URL
    #[arg(value_name = "OLD")]
    old: String,
    /// The list as it is
    #[arg(value_name = "NEW")]
    new: String,
    /// Print every domain and certificate as JSON
    #[command(flatten)]
    json: JsonFlag,
}

/// As `diff`: 0 without difference, 1 with one.
pub(super) fn run(args: &DiffArgs) -> anyhow::Result<u8> {
    let (old, new) = (source::parse(&args.old)?, source::parse(&args.new)?);
    let difference = Difference::between(&old.list, &new.list);
    if args.json.json {
        output::print(&format!("{}\n", serde_json::to_string_pretty(&as_json(&difference))?))?;
    } else {
        let made = format!("from {} to {}\n", old.list.generated(), new.list.generated());
        output::print(&format!("{made}{difference}"))?;
    }
    Ok(u8::from(!difference.is_empty()))
}

fn as_json(difference: &Difference) -> Value {
    let moves = difference.moves.iter().map(|one| {
        json!({
            "from": operators(&one.from),
            "to": operators(&one.to),
            "domains": domains(&one.domains),
            "text": one.to_string(),
        })
    });
    let changes = difference.operators.iter().map(|one| {
        json!({
            "operator": operator(&one.operator),
            "certificates_added": certificates(&one.added),
            "certificates_gone": certificates(&one.gone),
            "domains": domains(&one.domains),
        })
    });
    json!({
        "moves": moves.collect::<Vec<_>>(),
        "operators": changes.collect::<Vec<_>>(),
        "rewritten": domains(&difference.rewritten),
    })
}

fn operator(operator: &ListedOperator) -> Value {
    json!({ "structure": operator.structure, "name": operator.name })
}

fn operators(operators: &[ListedOperator]) -> Vec<Value> {
    operators.iter().map(operator).collect()
}

fn domains(domains: &[Domain]) -> Vec<&str> {
    domains.iter().map(Domain::as_str).collect()
}

fn certificates(certificates: &[SubjectDn]) -> Vec<String> {
    certificates.iter().map(ToString::to_string).collect()
}
