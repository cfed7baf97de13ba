//! Any free ports instead of the declared ones: several sandboxes on one machine, or a busy CI runner.

use crate::config::{Side, Space};

/// Which ports a space listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Those of its file.
    Declared,
    /// Any that are free.
    Free,
}

impl Ports {
    /// Changes the ports of a space that was just read.
    pub(super) fn choose(self, space: &mut Space) {
        match self {
            Self::Declared => {}
            Self::Free => free_ports(space),
        }
    }
}

/// Lets the system choose every port of the sandbox's own; those of external operators stay, being somebody else's.
fn free_ports(space: &mut Space) {
    space.web.set_port(0);
    space.web_tls.set_port(0);
    space.dns.set_port(0);
    for operator in &mut space.operators {
        if let Side::Local { hosts, clients } = &mut operator.side {
            for host in hosts {
                host.listen.set_port(0);
            }
            for address in [
                &mut clients.submission,
                &mut clients.submissions,
                &mut clients.imap,
                &mut clients.imaps,
            ] {
                address.set_port(0);
            }
        }
    }
}
