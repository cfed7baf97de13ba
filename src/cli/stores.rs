//! Opens what the reading commands read: the stores of a sandbox or of a gateway, while it runs or not.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;

use super::explain::Places;
use super::verify::Stores;
use super::{OpenOperator, Output, run};
use crate::clock::Clock;
use crate::config::{Gateway, Operator, Space};
use crate::listener::Face;
use crate::space::card::{Card, Endpoint};
use crate::space::folder::{Layout, default_root};
use crate::store::sqlite::SqliteStore;

/// Which data a reading command works on.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DataArgs {
    /// Data folder of the sandbox [default: the user's data folder]
    #[arg(long, value_name = "DIR", env = "VAGUEMESTRE_DATA")]
    data: Option<PathBuf>,
    /// Configuration of a gateway, to read its data instead of a sandbox's
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// The operators too that were removed from the space: their data stays
    #[arg(long, conflicts_with = "config")]
    all: bool,
}

impl DataArgs {
    /// The data folder of a sandbox, when one is named.
    pub(super) fn root(&self) -> Option<PathBuf> {
        self.data.clone()
    }

    /// The configuration of the gateway it is about, if it is about one.
    pub(super) fn gateway(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Names and folders of the stores asked for; all of them when none is. They may be in use.
    pub(super) fn chosen_stores(&self, names: &[String]) -> anyhow::Result<Stores> {
        let mut stores: Stores = if let Some(file) = &self.config {
            let (gateway, _) = Gateway::load(file)?;
            vec![(gateway.host.to_string(), gateway.data_folder)]
        } else {
            let root = self.data.clone().map_or_else(default_root, Ok)?;
            let layout = Layout::existing(&root)?;
            let (space, _) = Space::load(&layout.space())?;
            let local = space.operators.iter().filter(|operator| operator.is_local());
            let stores = local.map(|operator| (operator.key.clone(), layout.store(&operator.key)));
            stores.filter(|(_, folder)| folder.exists()).collect()
        };
        if let Some(wrong) = names.iter().find(|name| stores.iter().all(|(known, _)| known != *name)) {
            let known: Vec<&str> = stores.iter().map(|(known, _)| known.as_str()).collect();
            anyhow::bail!("no operator {wrong:?} here; there is {}", known.join(", "));
        }
        stores.retain(|(name, _)| names.is_empty() || names.contains(name));
        Ok(stores)
    }

    /// The data folder itself, or that of one operator's store; it need not exist.
    pub(super) fn data_root(&self, operator: Option<&str>) -> anyhow::Result<PathBuf> {
        if let Some(file) = &self.config {
            return Ok(Gateway::load(file)?.0.data_folder);
        }
        let root = self.data.clone().map_or_else(default_root, Ok)?;
        let Some(key) = operator else { return Ok(root) };
        let layout = Layout::existing(&root)?;
        let (space, _) = Space::load(&layout.space())?;
        let is_local = space.operator(key).is_some_and(Operator::is_local);
        anyhow::ensure!(is_local, "no operator {key:?} of the sandbox here");
        Ok(layout.store(key))
    }

    /// Where the faces of these operators listen, as far as files tell; nothing is known of a space that never ran.
    pub(super) fn places(&self) -> Places {
        let known = match &self.config {
            Some(file) => Gateway::load(file).ok().map(|(gateway, _)| places_of_gateway(&gateway)),
            None => self.card().ok().map(|card| Places {
                endpoints: card.endpoints,
                authority: card.ca,
            }),
        };
        known.unwrap_or_else(|| Places {
            endpoints: Vec::new(),
            authority: String::new(),
        })
    }

    /// The card of the sandbox as it was raised last.
    pub(super) fn card(&self) -> anyhow::Result<Card> {
        let root = self.data.clone().map_or_else(default_root, Ok)?;
        let path = Layout::existing(&root)?.card();
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "cannot read {}: has `vaguemestre up` finished starting?",
                path.display()
            )
        })?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged: start `vaguemestre up` again", path.display()))
    }
}

fn places_of_gateway(gateway: &Gateway) -> Places {
    let listen = &gateway.listen;
    let faces = [
        (Face::Peer, listen.smtp),
        (Face::Submission, listen.submission),
        (Face::Submissions, listen.submissions),
        (Face::Imap, listen.imap),
        (Face::Imaps, listen.imaps),
    ];
    let endpoint = |(face, address): (Face, Option<std::net::SocketAddr>)| {
        Some(Endpoint {
            operator: gateway.host.to_string(),
            face: face.name().to_owned(),
            host: gateway.host.to_string(),
            address: format!("{}:{}", gateway.host, address?.port()),
            security: String::new(),
        })
    };
    Places {
        endpoints: faces.into_iter().filter_map(endpoint).collect(),
        authority: gateway
            .trust
            .ca
            .first()
            .map(|path| path.display().to_string())
            .unwrap_or_default(),
    }
}

/// Opens the stores for reading.
pub(super) fn open(data: &DataArgs) -> anyhow::Result<Vec<OpenOperator>> {
    match &data.config {
        Some(file) => Ok(vec![of_gateway(file)?]),
        None => of_sandbox(data),
    }
}

/// Opens the stores and runs a command on them.
pub(super) fn read(
    data: &DataArgs,
    command: impl AsyncFnOnce(&[OpenOperator], Timestamp, Output<'_>) -> anyhow::Result<u8>,
) -> anyhow::Result<ExitCode> {
    let operators = open(data)?;
    let now = Clock::system().now();
    run::small_runtime()?.block_on(async {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let code = command(
            &operators,
            now,
            Output {
                out: &mut out,
                notes: &mut notes,
            },
        )
        .await?;
        super::output::print(&String::from_utf8_lossy(&out))?;
        if !notes.is_empty() {
            super::output::error_line(String::from_utf8_lossy(&notes).trim_end());
        }
        Ok(ExitCode::from(code))
    })
}

/// The operators of a sandbox as the space is now, and those that were removed when asked for.
fn of_sandbox(data: &DataArgs) -> anyhow::Result<Vec<OpenOperator>> {
    let root = data.data.clone().map_or_else(default_root, Ok)?;
    let layout = Layout::existing(&root)?;
    let (space, _) = Space::load(&layout.space())?;
    // One that was added while nothing ran has no store yet.
    let runs = |operator: &&Operator| operator.is_local() && layout.store(&operator.key).exists();
    let local = space.operators.iter().filter(runs);
    let mut open = local
        .map(|operator| open_operator(&layout, operator))
        .collect::<anyhow::Result<Vec<_>>>()?;
    if data.all {
        for key in layout.removed_operators()? {
            let (removed, _) = Space::load(&layout.removed(&key))?;
            // One of that name was added again: it goes on with the same data.
            if let Some(operator) = removed.operators.first()
                && space.operator(&key).is_none()
                && layout.store(&key).exists()
            {
                open.push(open_operator(&layout, operator)?);
            }
        }
    }
    Ok(open)
}

fn open_operator(layout: &Layout, operator: &Operator) -> anyhow::Result<OpenOperator> {
    let folder = layout.store(&operator.key);
    let store = SqliteStore::open_read_only(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let directory = operator.directory(|_| None)?;
    Ok(OpenOperator::new(&operator.key, Arc::new(store), Arc::new(directory)))
}

fn of_gateway(file: &Path) -> anyhow::Result<OpenOperator> {
    let (gateway, _) = Gateway::load(file)?;
    let store = SqliteStore::open_read_only(&gateway.data_folder)
        .with_context(|| format!("cannot read {}", gateway.data_folder.display()))?;
    let directory = gateway.directory(|_| None)?;
    Ok(OpenOperator::new(
        gateway.host.to_string(),
        Arc::new(store),
        Arc::new(directory),
    ))
}
