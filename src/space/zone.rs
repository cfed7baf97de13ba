//! The MX records of a space: a port belongs to each host, as no real zone could say.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::doors::Place;
use super::raise::RaiseError;
use crate::config::{self, Side, Space};
use crate::dns::{MailHost, Zone};
use crate::listener::Face;

/// The zone of a space whose own operators listen at these places, by operator.
pub(super) fn zone(space: &Space, places: &BTreeMap<String, Vec<Place>>) -> Result<Zone, RaiseError> {
    let mut zone = Zone::default();
    for operator in &space.operators {
        let hosts: Vec<MailHost> = match &operator.side {
            Side::Local { .. } => {
                let places = places.get(&operator.key).map(Vec::as_slice).unwrap_or_default();
                let peers = places.iter().filter(|place| place.face == Face::Peer);
                peers
                    .map(|place| MailHost {
                        preference: place.preference,
                        name: place.host.to_string(),
                        addresses: vec![place.address],
                    })
                    .collect()
            }
            Side::External { hosts } => hosts.iter().map(external).collect::<Result<_, _>>()?,
        };
        for domain in &operator.domains {
            for host in &hosts {
                zone.add(domain.clone(), host.clone());
            }
        }
    }
    Ok(zone)
}

fn external(host: &config::ExternalHost) -> Result<MailHost, RaiseError> {
    let address = match &host.reach.host {
        config::Host::Address(ip) => SocketAddr::new(*ip, host.reach.port),
        config::Host::Name(name) => return Err(RaiseError::UnknownHost(name.to_string())),
    };
    Ok(MailHost {
        preference: host.preference,
        name: host.name.to_string(),
        addresses: vec![address],
    })
}
