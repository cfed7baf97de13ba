//! Any free ports instead of the declared ones: several sandboxes on one machine, or a busy CI runner.

use crate::config::{Side, Space};

/// Lets the system choose every port of the sandbox's own; those of external operators stay, being somebody else's.
pub fn free_ports(space: &mut Space) {
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
