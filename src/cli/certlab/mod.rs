//! `vaguemestre certlab`: the catalogue of certificate defects, shown to a server under test, or to a client under test.

mod serve;
mod speaker;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::audit::{report, resolve};
use super::order::{OrderArgs, carry_out};
use super::output;
use super::run::small_runtime;
use crate::identity::Address;
use crate::lab::play::{Row, Service, Verdict};
use crate::lab::play_prepared::Prepared;
use crate::lab::probe::{Case, LoginAs, Probe};
use crate::lab::{Catalogue, Face};
use crate::space::{ForgeOrder, Order};
use speaker::Speaker;

/// Arguments of `vaguemestre certlab`.
#[derive(Args, Clone, Debug)]
pub(super) struct CertlabArgs {
    #[command(flatten)]
    order: OrderArgs,
    #[command(subcommand)]
    command: CertlabCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum CertlabCommand {
    /// Show the catalogue: every defect, what each face must do, and why
    List(ListArgs),
    /// Play a client with every defect against a server, and score it
    Probe(Box<ProbeArgs>),
    /// Play a server with every defect, one port each, and score the clients that come
    Serve(serve::ServeArgs),
}

#[derive(Args, Clone, Debug)]
struct ListArgs {
    /// Only these ids or groups, separated by commas
    #[arg(long, value_name = "ID|GROUP", value_delimiter = ',')]
    only: Vec<String>,
    /// Print the whole catalogue as a page
    #[arg(long)]
    markdown: bool,
}

#[derive(Args, Clone, Debug)]
pub(super) struct ProbeArgs {
    /// The server under test
    #[arg(value_name = "HOST:PORT")]
    target: String,
    /// What it speaks [default: what the sandbox says of that port, else smtp]
    #[arg(long, value_enum)]
    face: Option<Service>,
    /// Only these ids or groups, separated by commas; the first control is always played
    #[arg(long, value_name = "ID|GROUP", value_delimiter = ',')]
    only: Vec<String>,
    /// Mail domain to speak for: the server's allow list names it with the subject below [default: one of the sandbox]
    #[arg(long)]
    domain: Option<String>,
    /// Subject of the certificates, as the server's list or login has it [default: the listed one of the domain]
    #[arg(long, value_name = "DN")]
    subject: Option<String>,
    /// Box of the server to write to; without one the dialogue ends after MAIL
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<Address>,
    /// Box to open on the faces of clients
    #[arg(long, value_name = "ADDRESS")]
    login: Option<String>,
    /// Leave a message behind wherever the server allows it
    #[arg(long)]
    deliver: bool,
    /// Longest wait for an answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    wait: u64,
    /// Write a `JUnit` report for continuous integration
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Runs one of them.
pub(super) fn run(args: &CertlabArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        CertlabCommand::List(wanted) => list(&args.order, wanted),
        CertlabCommand::Probe(wanted) => probe(&args.order, wanted),
        CertlabCommand::Serve(wanted) => serve::run(&args.order, wanted),
    }
}

fn list(order: &OrderArgs, wanted: &ListArgs) -> anyhow::Result<ExitCode> {
    let catalogue = Catalogue::embedded()?;
    if wanted.markdown {
        output::print(&catalogue.to_markdown())?;
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = catalogue.all().iter().filter(|defect| {
        let named = |word: &String| *word == defect.id || word == defect.group.id();
        wanted.only.is_empty() || wanted.only.iter().any(named)
    });
    let (mut rows, mut text) = (Vec::new(), String::new());
    for defect in chosen {
        let expected = |face: Face| defect.expected(face).map(ToString::to_string);
        writeln!(text, "{:<12} {:<28} {}", defect.group.id(), defect.id, defect.title)?;
        let faces = Face::ALL.map(|face| (face.id(), expected(face)));
        rows.push(serde_json::json!({
            "id": defect.id, "group": defect.group.id(), "title": defect.title, "why": defect.why,
            "remedy": defect.remedy, "note": defect.note,
            "expected": faces.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        }));
    }
    anyhow::ensure!(
        !rows.is_empty(),
        "no defect and no group of that name; `vaguemestre certlab list` shows all"
    );
    if order.is_json() {
        output::print(&format!("{}\n", serde_json::to_string_pretty(&rows)?))?;
    } else {
        writeln!(text, "{} in all", rows.len())?;
        output::print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn probe(order: &OrderArgs, wanted: &ProbeArgs) -> anyhow::Result<ExitCode> {
    let address = resolve(&wanted.target)?;
    let speaker = Speaker::choose(order, wanted, address)?;
    let prepared = forge(order, &speaker, &wanted.only)?;
    let cases: Vec<Case> = prepared.iter().map(Prepared::case).collect();
    let message = wanted.deliver.then(|| speaker.message()).transpose()?;
    let probe = Probe {
        name: host_of(&wanted.target),
        address,
        face: speaker.service,
        sender: speaker.sender.clone(),
        recipient: speaker.recipient.clone(),
        login: speaker.login.clone().map(LoginAs::Box),
        message,
        wait: Duration::from_secs(wanted.wait),
    };
    let quiet = order.is_json();
    let heard = |row: &Row| {
        if !quiet && row.verdict == Verdict::Failed {
            output::error_line(&format!("{} {}: {}", row.id, row.what, row.observed));
        }
    };
    let played = small_runtime()?.block_on(probe.run(&cases, heard));
    match played {
        Ok(score) => {
            let code = report(&score, quiet, wanted.junit.as_deref())?;
            if !quiet {
                remedies(&score.rows, &prepared);
            }
            Ok(code)
        }
        Err(failed) => {
            output::error_line(&format!("{failed}\nNothing was scored. {}", speaker.files()));
            Ok(ExitCode::from(CONTROL_REFUSED))
        }
    }
}

/// What to look at, for each line that failed.
fn remedies(rows: &[Row], prepared: &[Prepared]) {
    for row in rows.iter().filter(|row| row.verdict == Verdict::Failed) {
        if let Some(defect) = prepared.iter().find(|defect| defect.id == row.id) {
            output::error_line(&format!("{}: {}. {}", row.id, defect.what, defect.remedy));
        }
    }
}

/// Has the process that holds the authority's keys make the defects.
fn forge(order: &OrderArgs, speaker: &Speaker, only: &[String]) -> anyhow::Result<Vec<Prepared>> {
    let wanted = ForgeOrder {
        face: speaker.face.id().to_owned(),
        subject: speaker.subject.clone(),
        names: speaker.names.clone(),
        only: only.to_vec(),
    };
    let answer = carry_out(order.root(), &Order::CertlabForge(wanted))?;
    serde_json::from_value(answer.data).context("the running vaguemestre is another version")
}

/// The host of `host:port`.
fn host_of(target: &str) -> String {
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
    host.trim_matches(['[', ']']).to_owned()
}

/// Exit code when the server refuses the valid certificate.
const CONTROL_REFUSED: u8 = 2;
