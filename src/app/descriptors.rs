//! How many sessions the process has room for. Whoever holds the last file descriptor stops everything else: no store could open a file, no
//! relay connect. So sessions are bounded below the limit of open files, whatever the configuration says, and so are the messages that
//! come to disk: each of those takes a descriptor beside its session's.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the open files of the process are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Sessions at once, those of all operators together.
    pub sessions: usize,
    /// Messages on their way to disk at once; sessions with more of them wait for their turn.
    pub staged: usize,
    open_files: usize,
}

/// The limit of open files has no room for the connections that the configuration promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`connections_max` is {connections_max}, but this process may open {open_files} files, which is room for {sessions} connections: \
     let it open {needed} (`ulimit -n`, `LimitNOFILE=` of systemd, `--ulimit nofile=` of a container) or write `connections_max = {sessions}`"
)]
pub struct NoRoom {
    connections_max: usize,
    open_files: usize,
    sessions: usize,
    needed: usize,
}

impl Room {
    /// Raises the limit of open files as far as this process may, and says what it then has room for.
    pub fn of_process() -> Self {
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
        Self::within(usize::try_from(open_files).unwrap_or(usize::MAX))
    }

    /// What so many open files have room for: three sessions for each message on its way to disk.
    pub fn within(open_files: usize) -> Self {
        let rest = open_files - RESERVED.min(open_files / 2);
        let staged = rest / STAGED_SHARE;
        Self {
            sessions: (rest - staged).max(1),
            staged: staged.max(1),
            open_files,
        }
    }

    /// # Errors
    /// So many connections are more than there is room for.
    pub fn holds(self, connections_max: usize) -> Result<(), NoRoom> {
        if connections_max <= self.sessions {
            return Ok(());
        }
        Err(NoRoom {
            connections_max,
            open_files: self.open_files,
            sessions: self.sessions,
            needed: RESERVED + (connections_max * STAGED_SHARE).div_ceil(STAGED_SHARE - 1),
        })
    }

    /// What to tell of the file that promises so many connections, where a sandbox runs with less room: it is to come up everywhere, and
    /// who connects when there is no room is turned away.
    pub fn warning(self, connections_max: usize, file: &str) -> Option<String> {
        let no_room = self.holds(connections_max).err()?;
        Some(format!(
            "{file}, [limits]: warning: {no_room}; those beyond are turned away"
        ))
    }
}

/// More would only take kernel memory.
const OPEN_FILES_ENOUGH: u64 = 65_536;
/// Stores, listeners, relay connections, HTTP and DNS clients.
const RESERVED: usize = 640;
/// One descriptor in so many is for a message on its way to disk.
const STAGED_SHARE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_never_take_the_last_descriptor() {
        for (open_files, sessions, staged) in [
            (65_536, 48_672, 16_224),
            (20_000, 14_520, 4_840),
            (1_024, 384, 128),
            (64, 24, 8),
            (0, 1, 1),
        ] {
            let room = Room::within(open_files);
            assert_eq!((room.sessions, room.staged), (sessions, staged), "{open_files}");
            assert!(
                open_files < 3 || room.sessions + room.staged < open_files,
                "{open_files}"
            );
        }
    }

    #[test]
    fn what_is_promised_is_held_or_refused_with_what_it_takes() {
        assert_eq!(Room::within(20_000).holds(14_520), Ok(()));
        let refused = Room::within(20_000).holds(14_521).unwrap_err();
        assert!(Room::within(refused.needed).holds(14_521).is_ok());
        assert!(Room::within(refused.needed - 2).holds(14_521).is_err());
        let text = refused.to_string();
        for part in ["14521", "20000", "`connections_max = 14520`", "ulimit -n"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
