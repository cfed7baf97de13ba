//! `vaguemestre certlab serve`: one port for each defect of a server, until enough clients came.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;

use crate::app::{Room, Running};
use crate::cli::audit::report;
use crate::cli::order::{OrderArgs, carry_out};
use crate::cli::output;
use crate::cli::run::{StopSignal, server_runtime};
use crate::clock::Clock;
use crate::lab::Face;
use crate::lab::play::{Score, Service};
use crate::lab::play_prepared::Prepared;
use crate::lab::serve::{Fair, FairOptions};
use crate::space::folder::{Layout, default_root};
use crate::space::{ForgeOrder, Order};
use crate::trust::{self, AllowListDocument, ListedDomain};

#[derive(Args, Clone, Debug)]
pub(super) struct ServeArgs {
    /// What the servers speak: smtp as an operator's MX, or what client software connects to
    #[arg(long, value_enum, default_value = "smtp")]
    face: Service,
    /// First port; each defect takes the next one [default: any free ports]
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port_base: u16,
    /// Only these ids or groups, separated by commas; the controls are always there
    #[arg(long, value_name = "ID|GROUP", value_delimiter = ',')]
    only: Vec<String>,
    /// Write what the software under test needs into this folder: authority, allow list, routes
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// End after this many seconds, with a report
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// End once every server was visited, with a report
    #[arg(long)]
    once: bool,
    /// Write a `JUnit` report for continuous integration
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

pub(super) fn run(order: &OrderArgs, wanted: &ServeArgs) -> anyhow::Result<ExitCode> {
    let root = order.root().map_or_else(default_root, Ok)?;
    let layout = Layout::existing(&root)?;
    let prepared = forge(order, wanted)?;
    let options = FairOptions {
        service: wanted.face,
        host: HOST.to_owned(),
        first: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), wanted.port_base),
        wait: WAIT,
    };
    let score = server_runtime()?.block_on(async {
        let mut signal = StopSignal::watch()?;
        let running = Running::with_room(Room::of_process());
        let fair = Fair::open(prepared, &options, (&running.tracker, &running.stop))
            .await
            .context("cannot open the ports; give another --port-base")?;
        announce(&fair, order.is_json())?;
        if let Some(folder) = &wanted.files {
            write_files(&fair, &layout, folder, Clock::system().now())?;
        }
        let end = Duration::from_secs(wanted.seconds.unwrap_or(u64::from(u32::MAX)));
        let end = tokio::time::Instant::now() + end;
        loop {
            tokio::select! {
                _ = signal.received() => break,
                () = tokio::time::sleep_until(end) => break,
                () = fair.next_visit() => {
                    if wanted.once && fair.is_complete() {
                        break;
                    }
                }
            }
        }
        let score: Score = fair.score();
        running.drain(DRAIN_MAX).await;
        anyhow::Ok(score)
    })?;
    report(&score, order.is_json(), wanted.junit.as_deref())
}

fn forge(order: &OrderArgs, wanted: &ServeArgs) -> anyhow::Result<Vec<Prepared>> {
    let forge = ForgeOrder {
        face: Face::PeerOut.id().to_owned(),
        subject: SUBJECT.to_owned(),
        names: vec![
            format!("dns:{HOST}"),
            "dns:localhost".to_owned(),
            "ip:127.0.0.1".to_owned(),
        ],
        only: wanted.only.clone(),
    };
    let answer = carry_out(order.root(), &Order::CertlabForge(forge))?;
    serde_json::from_value(answer.data).context("the running vaguemestre is another version")
}

/// Id, domain and port of each, as a table for people or on standard error for scripts that read the report.
fn announce(fair: &Fair, quiet: bool) -> anyhow::Result<()> {
    let mut text = String::new();
    for stall in fair.stalls() {
        let place = stall
            .address
            .map_or_else(|| "not shown".to_owned(), |address| address.to_string());
        writeln!(
            text,
            "{place:<21} {:<52} {}",
            domain(&stall.defect.id),
            stall.defect.what
        )?;
    }
    if quiet {
        output::error_line(&format!("serving\n{text}"));
        return Ok(());
    }
    output::print(&text)
}

/// Authority, allow list and routes, for the software under test.
fn write_files(fair: &Fair, layout: &Layout, folder: &Path, now: Timestamp) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    let ca = std::fs::read(layout.ca()).context("the space has no authority yet: run `vaguemestre up` first")?;
    put("ca.pem", &ca)?;
    let (mut entries, mut routes, mut transport) = (Vec::new(), String::new(), String::new());
    for stall in fair.stalls() {
        let Some(address) = stall.address else { continue };
        let domain = domain(&stall.defect.id);
        writeln!(
            routes,
            "[[relay.route]]\ndomain = \"{domain}\"\nhosts = [\"{address}\"]\n"
        )?;
        writeln!(transport, "{domain} smtp:[{}]:{}", address.ip(), address.port())?;
        entries.push(ListedDomain {
            domain: domain.parse()?,
            description: stall.defect.what.clone(),
            certificate: SUBJECT.parse()?,
            responsible_contact: String::new(),
            support_contact: String::new(),
            updated: now,
        });
    }
    let document = AllowListDocument {
        generated: now,
        entries,
    };
    put("allow-list.xml", trust::write(&document).as_bytes())?;
    put("routes.toml", routes.as_bytes())?;
    put("transport", transport.as_bytes())
}

/// The mail domain whose server has a defect.
fn domain(id: &str) -> String {
    format!("{id}.certlab.mssante.fr")
}

/// Whom all certificates of these servers name, and what the allow list says for each of their domains.
const SUBJECT: &str = "CN=mx.certlab.localhost,OU=399999999900124,O=LABORATOIRE DE CERTIFICATS,ST=Paris (75),C=FR";
const HOST: &str = "mx.certlab.localhost";
/// Longest silence of a visitor.
const WAIT: Duration = Duration::from_secs(30);
const DRAIN_MAX: Duration = Duration::from_secs(2);
