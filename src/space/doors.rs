//! Ports of the sandbox's own operators: bound before anything else is touched, so that a conflict costs nothing, and named afterwards.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::app::{PortError, bind};
use crate::config::{Operator, Side};
use crate::identity::Domain;
use crate::listener::Face;

/// Where an operator listens.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) face: Face,
    pub(super) host: Domain,
    pub(super) preference: u16,
    pub(super) address: SocketAddr,
}

/// One port of an operator.
pub(super) struct BoundDoor {
    pub(super) place: Place,
    pub(super) listener: TcpListener,
}

/// Binds every port of an operator, and reports all that are taken; none for an external operator.
pub(super) async fn bind_all(operator: &Operator) -> Result<Vec<BoundDoor>, Vec<PortError>> {
    let (mut bound, mut errors) = (Vec::new(), Vec::new());
    for place in wanted(operator) {
        match bind_one(place, &operator.key).await {
            Ok(door) => bound.push(door),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(bound) } else { Err(errors) }
}

fn wanted(operator: &Operator) -> Vec<Place> {
    let Side::Local { hosts, clients } = &operator.side else {
        return Vec::new();
    };
    let mut places: Vec<Place> = hosts
        .iter()
        .map(|host| Place {
            face: Face::Peer,
            host: host.name.clone(),
            preference: host.preference,
            address: host.listen,
        })
        .collect();
    let Some(first) = hosts.first() else { return places };
    let faces = [
        (Face::Submission, clients.submission),
        (Face::Submissions, clients.submissions),
        (Face::Imap, clients.imap),
        (Face::Imaps, clients.imaps),
    ];
    places.extend(faces.map(|(face, address)| Place {
        face,
        host: first.name.clone(),
        preference: 0,
        address,
    }));
    places
}

async fn bind_one(place: Place, operator: &str) -> Result<BoundDoor, PortError> {
    let what = format!("{} of {operator}", place.face.name());
    let address = place.address;
    let listener = bind(address, what.clone()).await?;
    let address = listener
        .local_addr()
        .map_err(|source| PortError { address, what, source })?;
    Ok(BoundDoor {
        place: Place { address, ..place },
        listener,
    })
}
