//! The configuration file on disk.

use std::path::Path;

use super::error::ConfigErrors;

/// Reads a configuration file from disk; a missing, unreadable, too large or non-UTF-8 file is reported like any other mistake.
pub(super) fn load(path: &Path) -> Result<String, ConfigErrors> {
    let file = path.display().to_string();
    let fail = |problem: String, remedy: &str| Err(ConfigErrors::unreadable(&file, problem, remedy));
    match std::fs::metadata(path) {
        Err(error) => return fail(format!("cannot be read: {error}"), "check the path and its permissions"),
        Ok(meta) if meta.is_dir() => return fail("is a folder".into(), "name a TOML file"),
        Ok(meta) if meta.len() > FILE_BYTES_MAX as u64 => {
            return fail(
                too_large(usize::try_from(meta.len()).unwrap_or(usize::MAX)),
                "name a TOML file",
            );
        }
        Ok(_) => {}
    }
    match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => fail(
            format!("is not UTF-8 (byte {})", error.utf8_error().valid_up_to()),
            "save it as UTF-8",
        ),
        Err(error) => fail(format!("cannot be read: {error}"), "check the path and its permissions"),
    }
}

/// How a file that is too large is reported.
pub(super) fn too_large(bytes: usize) -> String {
    format!("the file has {bytes} bytes, more than {FILE_BYTES_MAX}")
}

/// A directory of tens of thousands of boxes fits; a mail spool named by mistake does not.
pub(super) const FILE_BYTES_MAX: usize = 16 << 20;
