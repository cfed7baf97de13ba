//! How many IMAP sessions one login holds on one box at once: a client that has gone wrong must not take all the places.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::identity::Address;

/// Login and box.
type Key = (String, String);

/// Sessions of one operator, by login and box.
#[derive(Debug, Default)]
pub struct LoginPlaces {
    taken: Mutex<HashMap<Key, usize>>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct LoginPlace {
    places: Arc<LoginPlaces>,
    key: Key,
}

impl LoginPlaces {
    /// A place for one more session, if the login holds fewer than `max` on that box.
    pub(super) fn take(self: &Arc<Self>, login: &str, address: &Address, max: usize) -> Option<LoginPlace> {
        let key = (login.to_lowercase(), address.key().to_owned());
        let mut taken = self.lock();
        let held = taken.entry(key.clone()).or_default();
        if *held >= max {
            return None;
        }
        *held += 1;
        drop(taken);
        Some(LoginPlace {
            places: Arc::clone(self),
            key,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        // Nothing can panic half-way through a change of the counts.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LoginPlace {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        match taken.get_mut(&self.key) {
            Some(held) if *held > 1 => *held -= 1,
            _ => {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_has_so_many_places_on_each_box() {
        let places = Arc::new(LoginPlaces::default());
        let (own, shared): (Address, Address) = ("a@b.fr".parse().unwrap(), "team@b.fr".parse().unwrap());
        let first = places.take("Jeanne", &own, 2).unwrap();
        let second = places.take("jeanne", &own, 2).unwrap();
        assert!(places.take("jeanne", &own, 2).is_none());
        let elsewhere = places.take("jeanne", &shared, 2);
        let other = places.take("armand", &own, 2);
        assert!(elsewhere.is_some() && other.is_some(), "others are not touched");
        drop((elsewhere, other, first));
        let again = places.take("jeanne", &own, 2);
        assert!(again.is_some());
        drop((again, second));
        assert!(places.lock().is_empty(), "nothing is kept of who has left");
    }
}
