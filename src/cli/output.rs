//! Where the commands write, and the log they keep beside.

use std::io::{IsTerminal, Write};

use tracing_subscriber::EnvFilter;

use super::LogFormat;

/// Sends logs to standard error at the wanted level; a filter that cannot be read becomes `warn`, and says so.
pub(super) fn start_log(filter: &str, format: LogFormat) {
    let (filter, complaint) = match EnvFilter::try_new(filter) {
        Ok(good) => (good, None),
        Err(error) => (EnvFilter::new("warn"), Some(error)),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(true);
    let started = match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => {
            let log = log.json().flatten_event(true).with_current_span(false);
            log.with_span_list(false).try_init()
        }
    };
    if let Err(error) = started {
        error_line(&format!("logs are not available: {error}"));
    }
    if let Some(error) = complaint {
        error_line(&format!("--log is not a level nor a filter ({error}); using warn"));
    }
}

/// A line on standard error. When even that is gone there is nobody left to tell.
pub(super) fn error_line(text: &str) {
    let mut stderr = std::io::stderr().lock();
    if writeln!(stderr, "vaguemestre: {text}").is_err() {
        tracing::trace!("standard error is closed");
    }
}

/// Standard output, whole; a closed pipe (`| head`) is a normal end.
///
/// # Errors
/// Standard output failed for another reason.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
