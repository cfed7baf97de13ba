//! What a login may do with a box by IMAP, and what a session is told when that changes.

use super::login::Opened;
use crate::directory::{BoxState, Directory, Role};
use crate::identity::Address;
use crate::imap::{Ending, Rights};
use crate::mailbox::Access;

/// What a login may do with a box.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) role: Role,
    suspended: Suspended,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Suspended {
    No,
    Yes,
}

impl Standing {
    /// According to a directory; `Err` when it may not open the box.
    pub(super) fn of(directory: &Directory, login: &Opened, address: &Address) -> Result<Self, Ending> {
        let suspended = match directory.find(address).map(|mailbox| mailbox.state) {
            None if directory.leaving().contains(address.domain()) => return Err(Ending::BoxMoved),
            None | Some(BoxState::Closed) => return Err(Ending::BoxClosed),
            Some(BoxState::Suspended) => Suspended::Yes,
            Some(BoxState::Active) => Suspended::No,
        };
        let role = directory.role_of(&login.name, address).ok_or(Ending::AccessChanged)?;
        Ok(Self { role, suspended })
    }

    pub(super) fn allows(self) -> Access {
        match self.suspended {
            Suspended::No => Access::Full,
            Suspended::Yes => Access::Read,
        }
    }

    /// What somebody of that role may do, the box being as it is.
    pub(super) fn rights(self, role: Role) -> Rights {
        match (self.suspended, role) {
            (Suspended::Yes, _) => Rights::Reader,
            (Suspended::No, Role::Holder) => Rights::Holder,
            (Suspended::No, Role::Delegate) => Rights::Delegate,
        }
    }

    /// Whether a session that began with this may go on with what holds now.
    pub(super) fn followed_by(self, now: Self) -> Result<(), Ending> {
        match (self.suspended, now.suspended) {
            _ if self == now => Ok(()),
            (Suspended::No, Suspended::Yes) => Err(Ending::BoxSuspended),
            (Suspended::Yes, Suspended::No) => Err(Ending::BoxResumed),
            _ => Err(Ending::AccessChanged),
        }
    }
}
