//! The sandbox itself: ports, certificates' ends, revocation and allow lists, boxes, queue, clock. All is looked at, whatever fails.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::time::timeout;

use super::card;
use super::dialogue::{Dialogue, WAIT_MAX};
use super::own::fetch;
use super::report::{Report, StepId};
use crate::clock::Clock;
use crate::config::Space;
use crate::listener::Link;
use crate::pki::{Presented, TrustStore};
use crate::space::card::Card;
use crate::space::folder::Layout;
use crate::store::sqlite::SqliteStore;
use crate::store::{JournalFilter, JournalStore, QueueItem, QueueStore};
use crate::trust::{AllowList, Mode};

/// Looks at everything.
pub(super) async fn look(layout: &Layout, clock: &Clock, report: &mut Report) -> anyhow::Result<()> {
    let card = card(layout)?;
    let now = clock.now();
    ports(&card, report).await;
    certificates(layout, now, report);
    crl(layout, &card, clock, report).await;
    list(layout, now, report);
    let (space, _) = Space::load(&layout.space())?;
    stores(layout, &space, now, report).await;
    Ok(())
}

async fn ports(card: &Card, report: &mut Report) {
    let mut silent = Vec::new();
    for endpoint in &card.endpoints {
        let Ok(address) = endpoint.address.parse() else {
            continue;
        };
        let answers = async {
            let mut talk = Dialogue::new(Link::connect(address).await?);
            if !matches!(endpoint.face.as_str(), "submissions" | "imaps") {
                talk.line().await?;
            }
            talk.close().await;
            std::io::Result::Ok(())
        };
        let problem = match timeout(WAIT_MAX, answers).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("{} s", WAIT_MAX.as_secs()),
        };
        silent.push(format!(
            "{} {} {}: {problem}",
            endpoint.operator, endpoint.face, endpoint.address
        ));
    }
    let texts = report.texts();
    if silent.is_empty() {
        report.passed(StepId::Ports, card.endpoints.len().to_string());
    } else {
        report.failed(StepId::Ports, silent.join("\n"), texts.fix_ports);
    }
}

fn certificates(layout: &Layout, now: Timestamp, report: &mut Report) {
    let mut files = Vec::new();
    for folder in ["operators", "logins"] {
        find(&layout.root().join(folder), FOLDERS_DEEP_MAX, &mut files);
    }
    let texts = report.texts();
    let mut late = Vec::new();
    let mut first: Option<(Timestamp, PathBuf)> = None;
    for file in &files {
        let Some(end) = leaf_of(file).and_then(|leaf| Presented::of(&leaf).not_after) else {
            late.push(format!("{}: {}", file.display(), texts.unreadable));
            continue;
        };
        if end <= now {
            late.push(format!("{}: {end}", file.display()));
        }
        if first.as_ref().is_none_or(|(known, _)| end < *known) {
            first = Some((end, file.clone()));
        }
    }
    if late.is_empty() {
        let next = first.map(|(end, file)| format!(", {} {end}: {}", texts.first_ends, file.display()));
        report.passed(
            StepId::Certificates,
            format!("{}{}", files.len(), next.unwrap_or_default()),
        );
    } else {
        report.failed(StepId::Certificates, late.join("\n"), texts.fix_certificates);
    }
}

fn leaf_of(file: &Path) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(&std::fs::read(file).ok()?).ok()
}

/// Files called `cert.pem` below a folder.
fn find(folder: &Path, deep: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if path.is_dir() && deep > 0 {
            find(&path, deep - 1, files);
        } else if path.file_name().is_some_and(|name| name == "cert.pem") {
            files.push(path);
        }
    }
}

/// The revocation list that certificates name, as a peer would fetch it.
async fn crl(layout: &Layout, card: &Card, clock: &Clock, report: &mut Report) {
    let texts = report.texts();
    let looked = async {
        let trust = TrustStore::from_pem(&std::fs::read(&card.ca)?)?;
        let mut files = Vec::new();
        find(&layout.root().join("operators"), FOLDERS_DEEP_MAX, &mut files);
        let leaf = files.first().and_then(|file| leaf_of(file));
        let urls = leaf.map(|leaf| Presented::of(&leaf).crl_urls).unwrap_or_default();
        let url = urls
            .first()
            .ok_or_else(|| anyhow::anyhow!("no certificate names a CRL"))?;
        let der = fetch(url, &trust, clock).await?;
        let end = trust.with_crl(&der)?.next_crl_update();
        anyhow::Ok((url.clone(), end))
    };
    match looked.await {
        Ok((url, Some(end))) if end > clock.now() => report.passed(StepId::Crl, format!("{url}: {end}")),
        Ok((url, end)) => {
            let end = end.map(|end| end.to_string()).unwrap_or_default();
            report.failed(StepId::Crl, format!("{url}: {end}"), texts.fix_crl);
        }
        Err(error) => {
            report.failed(StepId::Crl, format!("{error:#}"), texts.fix_crl);
        }
    }
}

fn list(layout: &Layout, now: Timestamp, report: &mut Report) {
    let texts = report.texts();
    let path = layout.allow_list();
    let read = std::fs::read(&path).map_err(|error| error.to_string());
    let parsed = read.and_then(|xml| AllowList::parse(&xml, Mode::Salvage).map_err(|error| error.to_string()));
    match parsed {
        Ok(parsed) if parsed.list.generated() > now => {
            let found = format!("{}: {}", path.display(), parsed.list.generated());
            report.failed(StepId::List, found, texts.fix_clock);
        }
        Ok(parsed) => {
            let list = parsed.list;
            report.passed(StepId::List, format!("{}, {}", list.generated(), list.domain_count()));
        }
        Err(error) => {
            report.failed(StepId::List, format!("{}: {error}", path.display()), texts.fix_list);
        }
    }
}

/// Boxes, queues and the clock, of every operator.
async fn stores(layout: &Layout, space: &Space, now: Timestamp, report: &mut Report) {
    let texts = report.texts();
    let (mut boxes, mut closed, mut stuck, mut latest) = (0, Vec::new(), Vec::new(), Timestamp::MIN);
    for operator in space.operators.iter().filter(|operator| operator.is_local()) {
        boxes += operator.directory.boxes.len() + operator.patients.len();
        let looked = async {
            let store = SqliteStore::open_read_only(&layout.store(&operator.key))?;
            let waiting = store.queued(QUEUED_MAX).await?;
            let last = JournalFilter {
                since: Some(now),
                limit: 1,
                ..JournalFilter::default()
            };
            let ahead = store.journal(last).await?.into_iter().map(|row| row.at).next();
            Ok::<_, crate::store::StoreError>((waiting, ahead))
        };
        match looked.await {
            Ok((waiting, ahead)) => {
                let late = waiting
                    .iter()
                    .filter(|item| item.attempts > 0 || now.duration_since(item.due) > STUCK_AFTER);
                stuck.extend(late.map(|item| waiting_line(&operator.key, item)));
                latest = latest.max(ahead.unwrap_or(latest));
            }
            Err(error) => closed.push(format!("{}: {error}", operator.key)),
        }
    }
    if closed.is_empty() {
        report.passed(StepId::Boxes, boxes.to_string());
    } else {
        report.failed(StepId::Boxes, closed.join("\n"), texts.fix_boxes);
    }
    if stuck.is_empty() {
        report.passed(StepId::Queue, texts.nothing_waits);
    } else {
        report.failed(StepId::Queue, stuck.join("\n"), texts.fix_queue);
    }
    if latest.duration_since(now) > CLOCK_SLACK {
        report.failed(StepId::Clock, format!("{now} < {latest}"), texts.fix_clock);
    } else {
        report.passed(StepId::Clock, now.to_string());
    }
}

fn waiting_line(operator: &str, item: &QueueItem) -> String {
    format!(
        "{operator}: {} ({}), session {}: {}",
        item.recipient.masked(),
        item.attempts,
        item.session,
        item.last_reply.as_deref().unwrap_or("…")
    )
}

/// `operators/KEY/HOST/cert.pem`.
const FOLDERS_DEEP_MAX: usize = 3;
/// More than anybody reads.
const QUEUED_MAX: usize = 100;
/// The relay looks at its queue more often than that.
const STUCK_AFTER: SignedDuration = SignedDuration::from_mins(2);
/// Records written while this command looks.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_mins(1);
