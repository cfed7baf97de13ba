//! Where a list comes from: a file, a URL, or the sandbox.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::run::small_runtime;
use crate::clock::Clock;
use crate::pki::TrustStore;
use crate::space::folder::{Layout, default_root};
use crate::sync::{FetchOptions, Fetched, Fetcher, Validators};
use crate::trust::{AllowList, Mode, Parsed};

/// The sandbox that a command takes what it needs from, when it was not given.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SandboxArgs {
    /// Data folder of the sandbox [default: the user's data folder]
    #[arg(long, value_name = "DIR", env = "VAGUEMESTRE_DATA")]
    pub(super) data: Option<PathBuf>,
}

impl SandboxArgs {
    /// Its layout; there has to be one.
    pub(super) fn layout(&self) -> anyhow::Result<Layout> {
        let root = self.data.clone().map_or_else(default_root, Ok)?;
        Ok(Layout::existing(&root)?)
    }
}

/// The bytes of a list. `https` believes `authority` and nobody else.
pub(super) fn read(from: &str, authority: Option<&TrustStore>) -> anyhow::Result<Vec<u8>> {
    if !is_url(from) {
        return std::fs::read(from).with_context(|| format!("cannot read {from}"));
    }
    small_runtime()?.block_on(async {
        let fetcher = Fetcher::new(authority, &Clock::system(), FetchOptions::default())?;
        match fetcher.get(from, &Validators::default()).await? {
            Fetched::Document(document) => Ok(document.bytes),
            Fetched::NotModified => anyhow::bail!("{from}: the server says that nothing changed, and was not asked"),
        }
    })
}

/// A list, whether it is signed or not, with what could be read of it.
pub(super) fn parse(from: &str) -> anyhow::Result<Parsed> {
    let bytes = read(from, None)?;
    AllowList::parse(&bytes, Mode::Salvage).with_context(|| from.to_owned())
}

pub(super) fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// The authority's certificates from PEM files, and its revocation lists, PEM or DER.
pub(super) fn authority(ca: &[PathBuf], crl: &[PathBuf]) -> anyhow::Result<TrustStore> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut bundle = Vec::new();
    for path in ca {
        bundle.extend(read(path)?);
        bundle.push(b'\n');
    }
    let mut store = TrustStore::from_pem(&bundle)?;
    for path in crl {
        let der = crate::app::gateway::crl_der(&read(path)?);
        store = store.with_crl(&der).with_context(|| path.display().to_string())?;
    }
    Ok(store)
}
