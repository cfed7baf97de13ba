//! `vaguemestre list sign` and `vaguemestre list publish`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::source::{self, SandboxArgs};
use crate::cli::order::{OrderArgs, run_order};
use crate::cli::output;
use crate::clock::Clock;
use crate::pki::{self, Identity};
use crate::space::{self, Order};
use crate::sync::{CHECKSUM_FILE, sha256};
use crate::trust::{self, AllowList, Mode, Transform};

/// Arguments of `vaguemestre list sign`.
#[derive(Args, Clone, Debug)]
pub(super) struct SignArgs {
    /// The list; a signature that is there is replaced
    #[arg(value_name = "FILE")]
    list: PathBuf,
    /// Certificate of the signer, PEM, its issuer behind it [default: the sandbox authority's]
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its RSA key, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Take the signature out by enveloped-signature, which every tool knows, instead of xmldsig-filter2 as the field does
    #[arg(long)]
    enveloped: bool,
    /// Where to write the signed list [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

/// Arguments of `vaguemestre list publish`.
#[derive(Args, Clone, Debug)]
pub(super) struct PublishArgs {
    /// The signed list
    #[arg(value_name = "FILE")]
    list: PathBuf,
    /// A folder to publish it in, with its checksum, instead of a running sandbox
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    to: Option<PathBuf>,
    #[command(flatten)]
    order: OrderArgs,
}

pub(super) fn sign(args: &SignArgs) -> anyhow::Result<u8> {
    let (certificate, key) = match (&args.certificate, &args.key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        _ => space::signer_files(args.sandbox.layout()?.root()),
    };
    let signer = Identity::from_files(&certificate, &key)?;
    let bytes = source::read(&args.list.display().to_string(), None)?;
    let text = String::from_utf8(bytes).with_context(|| args.list.display().to_string())?;
    let transform = if args.enveloped {
        Transform::Enveloped
    } else {
        Transform::Filter2
    };
    let signed = trust::sign(&text, &signer, transform, Clock::system().now());
    let signed = signed.with_context(|| args.list.display().to_string())?;
    match &args.output {
        Some(path) => pki::write_public(path, signed.as_bytes())?,
        None => output::print(&signed)?,
    }
    Ok(0)
}

pub(super) fn publish(args: &PublishArgs) -> anyhow::Result<u8> {
    if let Some(folder) = &args.to {
        in_folder(&args.list, folder)?;
    } else {
        let list = std::path::absolute(&args.list)?;
        run_order(
            &args.order,
            &Order::ListPublish {
                list: list.display().to_string(),
            },
        )?;
    }
    Ok(0)
}

/// Each file whole or as it was; between the two, a reader finds a checksum that does not fit and asks again later.
fn in_folder(list: &Path, folder: &Path) -> anyhow::Result<()> {
    let bytes = source::read(&list.display().to_string(), None)?;
    let told = || list.display().to_string();
    let parsed = AllowList::parse(&bytes, Mode::Salvage).with_context(told)?;
    anyhow::ensure!(
        trust::is_signed(&bytes).with_context(told)?,
        "{} is not signed: vaguemestre list sign",
        list.display()
    );
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let published = folder.join(LIST_FILE);
    pki::write_public(&published, &bytes)?;
    pki::write_public(&folder.join(CHECKSUM_FILE), format!("{}\n", sha256(&bytes)).as_bytes())?;
    output::print(&format!(
        "{}: {} domains, made {}\n",
        published.display(),
        parsed.list.domain_count(),
        parsed.list.generated()
    ))
}

/// Name of the published file, as the field's.
const LIST_FILE: &str = "listeblanchemssante.xml";
