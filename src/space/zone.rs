//! What a space tells the world about its operators: where their mail goes and where their clients connect. A port belongs to each host,
//! as no real zone could say.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::doors::Place;
use super::raise::RaiseError;
use crate::config::{self, Operator, Side, Space};
use crate::dns::{MailHost, Service, ServicePlace, Site};
use crate::listener::Face;
use crate::web::Provider;

/// The operators of a space, the sandbox's own listening at these places, by operator.
pub(super) fn providers(space: &Space, places: &BTreeMap<String, Vec<Place>>) -> Result<Vec<Provider>, RaiseError> {
    let provider = |operator: &Operator| {
        let places = places.get(&operator.key).map(Vec::as_slice).unwrap_or_default();
        Ok(Provider {
            name: operator.name.clone(),
            site: Site {
                domains: operator.domains.clone(),
                mail_hosts: mail_hosts(operator, places)?,
                services: places.iter().filter_map(service).collect(),
            },
        })
    };
    space.operators.iter().map(provider).collect()
}

fn mail_hosts(operator: &Operator, places: &[Place]) -> Result<Vec<MailHost>, RaiseError> {
    match &operator.side {
        Side::Local { .. } => {
            let peers = places.iter().filter(|place| place.face == Face::Peer);
            let host = |place: &Place| MailHost {
                preference: place.preference,
                name: place.host.to_string(),
                addresses: vec![place.address],
            };
            Ok(peers.map(host).collect())
        }
        Side::External { hosts } => hosts.iter().map(external).collect(),
    }
}

fn service(place: &Place) -> Option<ServicePlace> {
    let service = match place.face {
        Face::Peer => return None,
        Face::Submission => Service::Submission,
        Face::Submissions => Service::Submissions,
        Face::Imap => Service::Imap,
        Face::Imaps => Service::Imaps,
    };
    Some(ServicePlace {
        service,
        host: place.host.clone(),
        address: place.address,
    })
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
