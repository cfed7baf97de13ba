//! `vaguemestre audit`: the audit peers of the trust space, raised in a sandbox and played against one operator, in both directions.

use std::fmt::Write as _;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::order::{OrderArgs, carry_out, run_order};
use super::output;
use super::run::small_runtime;
use crate::clock::Clock;
use crate::config::Space;
use crate::identity::Address;
use crate::lab::audit::{AuditPeer, raised_in, sender};
use crate::lab::audit_mail::mail;
use crate::lab::audit_material::AuditFolder;
use crate::lab::audit_server::{VisitRecord, visits};
use crate::lab::play::{Expected, Row, Score, Service, Verdict};
use crate::lab::probe::{LoginAs, Probe, Show, TlsVersions};
use crate::pki::Identity;
use crate::smtp::Secret;
use crate::space::Order;
use crate::space::card::{Card, LoginCard};
use crate::space::folder::{Layout, default_root};

/// Arguments of `vaguemestre audit`.
#[derive(Args, Clone, Debug)]
pub(super) struct AuditArgs {
    #[command(flatten)]
    order: OrderArgs,
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum AuditCommand {
    /// Show the audit peers, what is wrong with each, and whether they are raised
    List,
    /// Put the peers on the allow list and into the zone, and start their servers
    Raise,
    /// Play every peer in both directions and report; exit code 1 when one outcome is wrong
    Run(RunArgs),
    /// Take the peers out of the space; what they received stays on disk
    Stop,
}

#[derive(Args, Clone, Debug)]
struct RunArgs {
    /// Box that the peers write to, and that writes to them [default: the first box that a certificate of the sandbox opens]
    #[arg(long, value_name = "ADDRESS")]
    to: Option<Address>,
    /// Server under test, instead of the MX that the space knows for that box
    #[arg(long, value_name = "HOST:PORT")]
    target: Option<String>,
    /// How long to wait for mail from the operator under test, in seconds
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
    /// Write a `JUnit` report for continuous integration
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Runs one of them.
pub(super) fn run(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        AuditCommand::List => list(&args.order)?,
        AuditCommand::Raise => run_order(&args.order, &Order::AuditRaise)?,
        AuditCommand::Stop => run_order(&args.order, &Order::AuditStop)?,
        AuditCommand::Run(wanted) => return play(&args.order, wanted),
    }
    Ok(ExitCode::SUCCESS)
}

fn list(args: &OrderArgs) -> anyhow::Result<()> {
    let raised = match layout(args)? {
        Some(layout) => raised_in(&Space::load(&layout.space())?.0),
        None => Vec::new(),
    };
    let address = |peer| raised.iter().find(|(one, _)| *one == peer).map(|(_, address)| address);
    if args.is_json() {
        let peers: Vec<_> = AuditPeer::ALL
            .iter()
            .map(|peer| {
                serde_json::json!({
                    "peer": peer, "domain": peer.domain(), "what": peer.what(), "expected": peer.expected(),
                    "listed": peer.listed_subject(), "address": address(*peer).map(ToString::to_string),
                })
            })
            .collect();
        return output::print(&format!("{}\n", serde_json::to_string_pretty(&peers)?));
    }
    let mut text = String::new();
    for peer in AuditPeer::ALL {
        let place = address(peer).map_or_else(|| "not raised".to_owned(), ToString::to_string);
        writeln!(text, "{:<52} {place:<21} {}", peer.domain(), peer.what())?;
    }
    output::print(&text)
}

/// The data folder, if there is one yet.
fn layout(args: &OrderArgs) -> anyhow::Result<Option<Layout>> {
    let root = args.root().map_or_else(default_root, Ok)?;
    Ok(Layout::existing(&root).ok().filter(|layout| layout.space().exists()))
}

fn play(order: &OrderArgs, wanted: &RunArgs) -> anyhow::Result<ExitCode> {
    let layout = layout(order)?.context("there is no space yet: run `vaguemestre up` first")?;
    let answer = carry_out(order.root(), &Order::AuditRaise)?;
    anyhow::ensure!(
        answer.data["running"] == true,
        "the space does not run, so no peer could receive: run `vaguemestre up`, then this again"
    );
    let audit = Audit::prepare(&layout, wanted)?;
    let mut score = Score {
        title: "audit".to_owned(),
        target: format!("{} at {}", audit.to, audit.target),
        rows: Vec::new(),
    };
    let quiet = order.is_json();
    small_runtime()?.block_on(async {
        let mut tell = |row: &Row| {
            if !quiet {
                output::error_line(&format!("{:<28} {}", row.id, row.observed));
            }
        };
        score.rows.extend(audit.inbound(&mut tell).await?);
        score.rows.extend(audit.outbound(wanted, &mut tell).await?);
        anyhow::Ok(())
    })?;
    report(&score, quiet, wanted.junit.as_deref())
}

/// Prints a score, writes its `JUnit` file, and turns it into an exit code.
pub(super) fn report(score: &Score, json: bool, junit: Option<&std::path::Path>) -> anyhow::Result<ExitCode> {
    if json {
        output::print(&format!("{}\n", serde_json::to_string_pretty(&score.to_json())?))?;
    } else {
        output::print(&score.to_text())?;
    }
    if let Some(file) = junit {
        std::fs::write(file, score.to_junit()).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(if score.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One audit of one operator.
struct Audit {
    folder: AuditFolder,
    to: Address,
    target: SocketAddr,
    name: String,
    /// How a box of the sandbox's own operator writes; none for a server of the user's, which writes by itself.
    own: Option<Own>,
    clock: Clock,
}

/// A login of the operator under test.
struct Own {
    submissions: SocketAddr,
    host: String,
    proof: Proof,
}

/// How that login proves itself.
enum Proof {
    Certificate(Identity),
    Password(LoginAs),
}

impl Audit {
    fn prepare(layout: &Layout, wanted: &RunArgs) -> anyhow::Result<Self> {
        let text = std::fs::read(layout.card()).context("cannot read the card of the running space")?;
        let card: Card = serde_json::from_slice(&text).context("the card of the running space is damaged")?;
        let (space, _) = Space::load(&layout.space())?;
        let to = match &wanted.to {
            Some(to) => to.clone(),
            None => first_box(&card).context("no certificate of the space opens a box: give one with --to")?,
        };
        let operator = space
            .operators
            .iter()
            .find(|operator| operator.domains.contains(to.domain()))
            .with_context(|| format!("no operator of the space has the domain of {to}"))?;
        let endpoint = |face: &str| {
            let mut endpoints = card.endpoints.iter();
            endpoints.find(|endpoint| endpoint.operator == operator.key && endpoint.face == face)
        };
        let (name, target) = match (&wanted.target, endpoint("smtp"), &operator.side) {
            (Some(target), _, _) => (target.clone(), resolve(target)?),
            (None, Some(endpoint), _) => (endpoint.host.clone(), resolve(&endpoint.address)?),
            (None, None, crate::config::Side::External { hosts }) => {
                let host = hosts.first().context("the operator has no host")?;
                (host.name.to_string(), resolve(&host.reach.to_string())?)
            }
            (None, None, _) => anyhow::bail!("operator {} has no SMTP address: give one with --target", operator.key),
        };
        let own = match (&wanted.target, endpoint("submissions"), proof_of(&card, &to)?) {
            (None, Some(endpoint), Some(proof)) => Some(Own {
                submissions: resolve(&endpoint.address)?,
                host: endpoint.host.clone(),
                proof,
            }),
            _ => None,
        };
        Ok(Self {
            folder: AuditFolder::of(layout.root()),
            to,
            target,
            name,
            own,
            clock: Clock::system(),
        })
    }

    /// Every peer sends to the operator: only the control may get through.
    async fn inbound(&self, tell: &mut impl FnMut(&Row)) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for peer in AuditPeer::ALL {
            let from = sender(peer)?;
            let probe = Probe {
                name: self.name.clone(),
                address: self.target,
                face: Service::Smtp,
                message: Some(mail(peer, &from, &self.to, self.clock.now())?),
                sender: from,
                recipient: Some(self.to.clone()),
                login: None,
                wait: WAIT,
            };
            let show = match self.folder.identity(peer)? {
                Some(identity) => Show::Certificate(identity.certified(), TlsVersions::All),
                None => Show::Clear,
            };
            let observation = probe.play(&show).await;
            let row = Row {
                id: format!("from {peer}"),
                group: "peer to operator".to_owned(),
                what: peer.what().to_owned(),
                expected: peer.expected(),
                observed: observation.to_string(),
                verdict: observation.judge(peer.expected()),
            };
            tell(&row);
            rows.push(row);
        }
        Ok(rows)
    }

    /// The operator sends to every peer: only the control may receive.
    async fn outbound(&self, wanted: &RunArgs, tell: &mut impl FnMut(&Row)) -> anyhow::Result<Vec<Row>> {
        let since = self.clock.now();
        if let Some(own) = &self.own {
            for peer in AuditPeer::ALL {
                self.submit(own, peer).await?;
            }
        } else {
            output::error_line(&format!(
                "now send a mail from {} to each of these, within {} s: {}",
                self.to,
                wanted.seconds,
                AuditPeer::ALL.map(AuditPeer::address).join(", ")
            ));
        }
        let seen = self.wait_for_visits(since, Duration::from_secs(wanted.seconds)).await?;
        let rows: Vec<Row> = AuditPeer::ALL
            .into_iter()
            .map(|peer| outbound_row(peer, seen.iter().filter(|visit| visit.peer == peer)))
            .collect();
        rows.iter().for_each(tell);
        Ok(rows)
    }

    async fn submit(&self, own: &Own, peer: AuditPeer) -> anyhow::Result<()> {
        let recipient = sender(peer)?;
        let probe = Probe {
            name: own.host.clone(),
            address: own.submissions,
            face: Service::Submissions,
            message: Some(mail(peer, &self.to, &recipient, self.clock.now())?),
            sender: self.to.clone(),
            recipient: Some(recipient),
            login: Some(match &own.proof {
                Proof::Certificate(_) => LoginAs::Box(self.to.to_string()),
                Proof::Password(login) => login.clone(),
            }),
            wait: WAIT,
        };
        let show = match &own.proof {
            Proof::Certificate(identity) => Show::Certificate(identity.certified(), TlsVersions::All),
            Proof::Password(_) => Show::NoCertificate,
        };
        let observation = probe.play(&show).await;
        anyhow::ensure!(
            observation.is_trust(),
            "{} could not write to {}: {observation}",
            self.to,
            peer.address()
        );
        Ok(())
    }

    /// Until every peer was visited, or the time is over.
    async fn wait_for_visits(&self, since: Timestamp, limit: Duration) -> anyhow::Result<Vec<VisitRecord>> {
        let until = tokio::time::Instant::now() + limit;
        loop {
            let all = visits(&self.folder).context("cannot read the log of the audit peers")?;
            let seen: Vec<VisitRecord> = all.into_iter().filter(|visit| visit.at >= since).collect();
            let was_seen = |peer: &AuditPeer| seen.iter().any(|visit| visit.peer == *peer);
            if AuditPeer::ALL.iter().all(was_seen) || tokio::time::Instant::now() >= until {
                return Ok(seen);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn outbound_row<'a>(peer: AuditPeer, visits: impl Iterator<Item = &'a VisitRecord>) -> Row {
    let visits: Vec<&VisitRecord> = visits.collect();
    let told = visits.iter().find(|visit| visit.trusted).or(visits.last());
    let (observed, verdict) = match (told, peer.expected()) {
        (None, Expected::Accepted) => ("no mail arrived".to_owned(), Verdict::Failed),
        (None, _) => ("no attempt was seen".to_owned(), Verdict::Skipped),
        (Some(visit), Expected::Accepted) if visit.letters > 0 => (visit.observed.clone(), Verdict::Passed),
        (Some(visit), Expected::Refused) if !visit.trusted => (visit.observed.clone(), Verdict::Passed),
        (Some(visit), _) => (visit.observed.clone(), Verdict::Failed),
    };
    Row {
        id: format!("to {peer}"),
        group: "operator to peer".to_owned(),
        what: peer.what().to_owned(),
        expected: peer.expected(),
        observed,
        verdict,
    }
}

fn first_box(card: &Card) -> Option<Address> {
    let login = card.logins.iter().find(|login| login.kind == "certificate")?;
    login.boxes.first()?.parse().ok()
}

/// How a login that opens a box proves itself: by its certificate, else by its password.
fn proof_of(card: &Card, mailbox: &Address) -> anyhow::Result<Option<Proof>> {
    let opens = |login: &&LoginCard| {
        let mut boxes = login.boxes.iter();
        boxes.any(|name| name.parse::<Address>().is_ok_and(|own| own == *mailbox))
    };
    let logins: Vec<&LoginCard> = card.logins.iter().filter(opens).collect();
    let with_certificate = logins
        .iter()
        .find_map(|login| Some((login.certificate.as_ref()?, login.key.as_ref()?)));
    if let Some((certificate, key)) = with_certificate {
        let identity = Identity::from_files(certificate.as_ref(), key.as_ref())?;
        return Ok(Some(Proof::Certificate(identity)));
    }
    let with_password = logins.iter().find_map(|login| {
        Some(LoginAs::User {
            name: login.user.clone()?,
            password: Secret::new(login.password.clone()?),
        })
    });
    Ok(with_password.map(Proof::Password))
}

/// The first address of `host:port`.
pub(super) fn resolve(target: &str) -> anyhow::Result<SocketAddr> {
    let mut addresses = target
        .to_socket_addrs()
        .with_context(|| format!("cannot find the address of {target}: expected HOST:PORT"))?;
    addresses.next().with_context(|| format!("{target} has no address"))
}

/// Longest wait for an answer of the operator under test.
const WAIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(peer: AuditPeer, letters: u32, trusted: bool) -> VisitRecord {
        VisitRecord {
            at: Timestamp::UNIX_EPOCH,
            peer,
            from: "127.0.0.1:4000".to_owned(),
            subject: String::new(),
            sender: None,
            letters,
            trusted,
            observed: "seen".to_owned(),
        }
    }

    fn verdict(peer: AuditPeer, visits: &[VisitRecord]) -> Verdict {
        outbound_row(peer, visits.iter()).verdict
    }

    #[test]
    fn only_the_control_may_receive_and_no_attempt_proves_nothing() {
        let (good, bad) = (AuditPeer::CertValide, AuditPeer::SansTls);
        assert_eq!(verdict(good, &[visit(good, 1, true)]), Verdict::Passed);
        assert_eq!(verdict(good, &[visit(good, 0, false)]), Verdict::Failed);
        assert_eq!(verdict(good, &[]), Verdict::Failed);
        assert_eq!(verdict(bad, &[visit(bad, 0, false)]), Verdict::Passed);
        assert_eq!(
            verdict(bad, &[visit(bad, 0, false), visit(bad, 1, true)]),
            Verdict::Failed
        );
        assert_eq!(
            verdict(bad, &[visit(bad, 0, true)]),
            Verdict::Failed,
            "MAIL in clear is trust"
        );
        assert_eq!(verdict(bad, &[]), Verdict::Skipped);
    }
}
