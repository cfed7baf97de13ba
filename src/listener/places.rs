//! How many connections an operator holds at once, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places of one operator, all its faces together.
#[derive(Debug)]
pub struct Places {
    connections_max: usize,
    per_address_max: usize,
    /// What the whole process has room for.
    room: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
    _room: OwnedSemaphorePermit,
}

impl Places {
    /// So many in all, and from one address, while the process has room for them.
    pub fn new(connections_max: usize, per_address_max: usize, room: Arc<Semaphore>) -> Self {
        Self {
            connections_max,
            per_address_max,
            room,
            taken: Mutex::default(),
        }
    }

    /// A place for a connection from `address`, if one is left.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut taken = self.lock();
        let held = taken.by_address.get(&address).copied().unwrap_or(0);
        if taken.all >= self.connections_max || held >= self.per_address_max {
            return None;
        }
        let room = Arc::clone(&self.room).try_acquire_owned().ok()?;
        taken.all += 1;
        taken.by_address.insert(address, held + 1);
        Some(Place {
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
        assert!(places.take(one).is_none(), "a third from the same address");
        let _third = places.take(other).unwrap();
        assert!(places.take(other).is_none(), "a fourth in all");
        drop(first);
        assert!(places.take("::ffff:192.0.2.1".parse().unwrap()).is_some());
    }

    #[test]
    fn operators_of_one_process_share_its_room() {
        let room = Arc::new(Semaphore::new(2));
        let operators = [(); 2].map(|()| Arc::new(Places::new(10, 10, Arc::clone(&room))));
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let first = operators[0].take(address).unwrap();
        let _second = operators[1].take(address).unwrap();
        assert!(operators[0].take(address).is_none(), "a third in the process");
        drop(first);
        assert!(operators[1].take(address).is_some());
    }
}
