//! How many connections an operator holds at once, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places of one operator, all its faces together.
#[derive(Debug)]
pub struct Places {
    /// What the whole process has room for.
    room: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    connections_max: usize,
    per_address_max: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
    _room: OwnedSemaphorePermit,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// One address has as many as it may.
    Address,
    /// The operator has.
    Total,
    /// The process has no room for more, whatever the configuration says.
    Process,
}

impl Full {
    /// Its word in metrics and logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Total => "total",
            Self::Process => "process",
        }
    }

    /// What a connection that gets no place reads.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Address => "too many connections from your address, try again later",
            Self::Total | Self::Process => "too many connections, try again later",
        }
    }
}

impl Places {
    /// So many in all, and from one address, while the process has room for them.
    pub fn new(connections_max: usize, per_address_max: usize, room: Arc<Semaphore>) -> Self {
        Self {
            room,
            taken: Mutex::new(Taken {
                connections_max,
                per_address_max,
                ..Taken::default()
            }),
        }
    }

    /// From now on so many; connections above stay until they end.
    pub fn resize(&self, connections_max: usize, per_address_max: usize) {
        let mut taken = self.lock();
        taken.connections_max = connections_max;
        taken.per_address_max = per_address_max;
    }

    /// A place for a connection from `address`, if one is left.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let address = address.to_canonical();
        let mut taken = self.lock();
        let held = taken.by_address.get(&address).copied().unwrap_or(0);
        if held >= taken.per_address_max {
            return Err(Full::Address);
        }
        if taken.all >= taken.connections_max {
            return Err(Full::Total);
        }
        let room = Arc::clone(&self.room);
        let room = room.try_acquire_owned().map_err(|_| Full::Process)?;
        taken.all += 1;
        taken.by_address.insert(address, held + 1);
        Ok(Place {
            places: Arc::clone(self),
            address,
            _room: room,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing can panic half-way through a change of the counts.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all = taken.all.saturating_sub(1);
        match taken.by_address.get(&self.address).copied() {
            Some(held) if held > 1 => {
                taken.by_address.insert(self.address, held - 1);
            }
            _ => {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_end_in_all_and_from_one_address_and_come_back() {
        let places = Arc::new(Places::new(3, 2, Arc::new(Semaphore::new(10))));
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = places.take(one).unwrap();
        let _second = places.take(one).unwrap();
        assert_eq!(
            places.take(one).unwrap_err(),
            Full::Address,
            "a third from the same address"
        );
        let _third = places.take(other).unwrap();
        assert_eq!(places.take(other).unwrap_err(), Full::Total, "a fourth in all");
        drop(first);
        let again = places.take("::ffff:192.0.2.1".parse().unwrap()).unwrap();
        places.resize(4, 1);
        assert_eq!(places.take(one).unwrap_err(), Full::Address, "fewer than it holds");
        let fourth = places.take("192.0.2.3".parse().unwrap()).unwrap();
        assert_eq!(places.take("192.0.2.4".parse().unwrap()).unwrap_err(), Full::Total);
        drop((again, fourth));
    }

    #[test]
    fn operators_of_one_process_share_its_room() {
        let room = Arc::new(Semaphore::new(2));
        let operators = [(); 2].map(|()| Arc::new(Places::new(10, 10, Arc::clone(&room))));
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let first = operators[0].take(address).unwrap();
        let _second = operators[1].take(address).unwrap();
        assert_eq!(operators[0].take(address).unwrap_err(), Full::Process);
        drop(first);
        assert!(operators[1].take(address).is_ok());
    }
}
