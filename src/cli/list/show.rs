//! `vaguemestre list show`.

use std::fmt::Write;

use clap::Args;
use serde_json::{Value, json};

use super::source::{self, SandboxArgs};
use crate::cli::{JsonFlag, output};
use crate::trust::{ListedDomain, ListedOperator, Parsed};

/// Arguments of `vaguemestre list show`.
#[derive(Args, Clone, Debug)]
pub(super) struct ShowArgs {
    /// A file or an http URL [default: the sandbox's list]
    #[arg(value_name = "FILE|URL")]
    list: Option<String>,
    /// Only domains whose name holds this
    #[arg(long, value_name = "TEXT")]
    domain: Option<String>,
    /// Only what an operator serves: its OU, or a part of its name
    #[arg(long, value_name = "OU|NAME")]
    operator: Option<String>,
    /// Only certificates whose subject holds this
    #[arg(long, value_name = "TEXT")]
    certificate: Option<String>,
    #[command(flatten)]
    sandbox: SandboxArgs,
    /// Print every entry as JSON
    #[command(flatten)]
    json: JsonFlag,
}

pub(super) fn run(args: &ShowArgs) -> anyhow::Result<u8> {
    let from = match &args.list {
        Some(list) => list.clone(),
        None => args.sandbox.layout()?.allow_list().display().to_string(),
    };
    let parsed = source::parse(&from)?;
    let entries: Vec<&ListedDomain> = parsed.list.entries().iter().filter(|entry| args.wants(entry)).collect();
    if args.json.json {
        output::print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&as_json(&parsed, &entries))?
        ))?;
    } else {
        output::print(&as_text(&parsed, &entries))?;
    }
    Ok(0)
}

impl ShowArgs {
    fn wants(&self, entry: &ListedDomain) -> bool {
        let holds = |text: &str, part: &Option<String>| {
            let part = part.as_ref().map(|part| part.to_lowercase());
            part.is_none_or(|part| text.to_lowercase().contains(&part))
        };
        let operator = ListedOperator::of(&entry.certificate);
        holds(entry.domain.as_str(), &self.domain)
            && holds(&entry.certificate.to_string(), &self.certificate)
            && (self.operator.as_ref() == Some(&operator.structure) || holds(&operator.name, &self.operator))
    }
}

fn as_text(parsed: &Parsed, entries: &[&ListedDomain]) -> String {
    let mut text = format!(
        "made {}: {} domains, {} certificates, {} entries\n",
        parsed.list.generated(),
        parsed.list.domain_count(),
        parsed.list.certificate_count(),
        parsed.list.entries().len()
    );
    let mut last = None;
    for entry in entries {
        let heading = (last != Some(&entry.domain)).then(|| format!("{}\n", entry.domain));
        last = Some(&entry.domain);
        push(
            &mut text,
            format_args!("{}    {}\n", heading.unwrap_or_default(), entry.certificate),
        );
    }
    for skipped in &parsed.skipped {
        push(&mut text, format_args!("not used: {skipped}\n"));
    }
    text
}

fn as_json(parsed: &Parsed, entries: &[&ListedDomain]) -> Value {
    let entry = |entry: &&ListedDomain| {
        let operator = ListedOperator::of(&entry.certificate);
        json!({
            "domain": entry.domain.as_str(),
            "certificate": entry.certificate.to_string(),
            "operator": { "structure": operator.structure, "name": operator.name },
            "description": entry.description,
            "responsible_contact": entry.responsible_contact,
            "support_contact": entry.support_contact,
            "updated": entry.updated.to_string(),
        })
    };
    let skipped = parsed.skipped.iter();
    let skipped: Vec<Value> = skipped
        .map(|one| json!({ "line": one.line, "what": one.what, "why": one.why }))
        .collect();
    json!({
        "generated": parsed.list.generated().to_string(),
        "domains": parsed.list.domain_count(),
        "certificates": parsed.list.certificate_count(),
        "entries": entries.iter().map(entry).collect::<Vec<_>>(),
        "skipped": skipped,
    })
}

/// Appends; writing to a `String` cannot fail.
fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    let written = text.write_fmt(line);
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
}
