//! `vaguemestre backup` and `vaguemestre restore`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;

use super::stores::DataArgs;
use super::{JsonFlag, output, run};
use crate::app::backup::{self, Contents};
use crate::clock::Clock;
use crate::indicator::recount;
use crate::mailbox::care::knowledge;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::backup::{Copying, RestoredQueue};
use crate::store::sqlite::verify::Depth;

/// Arguments of `vaguemestre backup`.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct BackupArgs {
    /// Folder to make the backup in: empty, or not there yet
    #[arg(value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// Only the store of this operator of the sandbox
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    operator: Option<String>,
    /// Copy large bodies even where a hard link would do: for a backup that stays on this disk
    #[arg(long)]
    copy: bool,
    /// Print JSON for scripts.
    #[command(flatten)]
    json: JsonFlag,
}

/// Arguments of `vaguemestre restore`.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "DIR")]
    from: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// Only the store of this operator of the sandbox, from a backup of it alone
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    operator: Option<String>,
    /// Send what waits in the restored queue when it is due. Otherwise it is held, because what was sent after the backup was made would
    /// be sent again: look at it with `vaguemestre queue list`, then release or drop it
    #[arg(long)]
    send_queue: bool,
    /// Print JSON for scripts.
    #[command(flatten)]
    json: JsonFlag,
}

/// Makes a backup of a sandbox, a gateway or one operator, running or not.
pub(super) fn run_backup(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let root = args.data.data_root(args.operator.as_deref())?;
    anyhow::ensure!(root.is_dir(), "{} is not there: nothing to back up", root.display());
    let copying = if args.copy { Copying::Copied } else { Copying::Linked };
    let contents = backup::back_up(&root, &args.to, copying, Clock::system().now())
        .with_context(|| format!("no backup was made of {}", root.display()))?;
    anyhow::ensure!(
        !contents.stores.is_empty(),
        "{} holds no store: nothing was backed up",
        root.display()
    );
    tell(&contents, (&args.to, "backed up to"), args.json.json)
}

/// Restores a backup into an empty folder and looks at every byte of it.
pub(super) fn run_restore(args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let root = args.data.data_root(args.operator.as_deref())?;
    let queue = if args.send_queue {
        RestoredQueue::Sent
    } else {
        RestoredQueue::Held
    };
    run::small_runtime()?.block_on(async {
        let contents = backup::restore(&args.from, &root, queue, Clock::system().now())
            .await
            .with_context(|| format!("{} was not restored", args.from.display()))?;
        for (path, _) in &contents.stores {
            check(&root.join(path)).await?;
        }
        tell(&contents, (&root, "restored to"), args.json.json)
    })
}

async fn check(folder: &Path) -> anyhow::Result<()> {
    let store = SqliteStore::open_read_only(folder)?;
    let report = store.verify(Depth::Bytes, knowledge()).await?;
    let counted = recount(&store, &store).await?;
    anyhow::ensure!(
        report.problems.is_empty() && counted.agrees(),
        "{} is restored, but {} things are wrong in it, and {} counters: `vaguemestre verify` shows them",
        folder.display(),
        report.problems.len(),
        counted.differences.len()
    );
    Ok(())
}

fn tell(contents: &Contents, (folder, done): (&Path, &str), is_json: bool) -> anyhow::Result<ExitCode> {
    if is_json {
        let value = json!({ "folder": folder.display().to_string(), "contents": contents });
        output::print(&format!("{}\n", serde_json::to_string_pretty(&value)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for (path, manifest) in &contents.stores {
        text.push_str(&format!(
            "{}: {} messages ({} in files), {} bytes, {} queued, journal up to {}\n",
            if path.as_os_str().is_empty() { folder } else { path }.display(),
            manifest.messages,
            manifest.files,
            manifest.body_bytes,
            manifest.queued,
            manifest.journal
        ));
    }
    text.push_str(&format!(
        "{done} {}, {} other files\n",
        folder.display(),
        contents.files
    ));
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
