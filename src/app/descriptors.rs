//! How many sessions the process has room for. Whoever holds the last file descriptor stops everything else: no store could open a file, no
//! relay connect. So sessions are bounded below the limit of open files, whatever the configuration says.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files as far as this process may, and says how many sessions it then has room for.
pub fn sessions_room() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(OPEN_FILES_ENOUGH).min(OPEN_FILES_ENOUGH);
    let mut open_files = limit.current.unwrap_or(OPEN_FILES_ENOUGH);
    if open_files < wanted {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => open_files = wanted,
            Err(error) => tracing::warn!(%error, open_files, "the limit of open files could not be raised"),
        }
    }
    room_in(usize::try_from(open_files).unwrap_or(usize::MAX))
}

/// Each session may hold a second descriptor, for a large message on its way in.
fn room_in(open_files: usize) -> usize {
    let reserved = RESERVED.min(open_files / 2);
    ((open_files - reserved) / 2).max(1)
}

/// More would only take kernel memory.
const OPEN_FILES_ENOUGH: u64 = 65_536;
/// Stores, listeners, relay connections, HTTP and DNS clients.
const RESERVED: usize = 640;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_never_take_the_last_descriptor() {
        assert_eq!(room_in(65_536), 32_448);
        assert_eq!(room_in(1_024), 256);
        assert_eq!(room_in(64), 16);
        assert_eq!(room_in(0), 1);
    }
}
