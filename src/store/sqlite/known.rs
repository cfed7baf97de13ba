//! Which keys of deliveries may be in the database. Of nearly every message the answer is that its key is not, and it needs no read here: a
//! Bloom filter in memory, which may take a key for a known one (that costs the read), but never a known one for a new one:
//!
//! - What a transaction enters is put in by the writer, after the commit has its number ([`Durable::begin`]) and before it is made.
//! - Until the table has been read, no key is certainly new. It is read when somebody first asks, in pieces and beside everything else.
//! - A filter being loaded takes what is entered from the moment it is begun. The table is read after all commits that had a number by then
//!   are settled: so what was not entered into this filter is read, unless it is never going to be in the table.
//!
//! Nothing is taken out, neither what is forgotten nor what was rolled back. So another one is loaded in its place when half of it is set.
//!
//! [`Durable::begin`]: super::durable::Durable::begin

use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use super::once;
use super::readers::Readers;
use crate::store::StoreError;

/// The keys of one store. Of another process's it knows nothing.
#[derive(Default)]
pub(super) struct Known {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Has every key that is in the database. `None` until the first one is loaded.
    whole: Option<Filter>,
    /// Being loaded.
    coming: Option<Filter>,
    /// Keys to be entered before another one is loaded.
    wait: usize,
}

impl Known {
    /// Whether one of these keys may be in the database.
    pub(super) fn may_hold(&self, keys: &[[u8; 32]]) -> bool {
        let state = self.state();
        let Some(whole) = &state.whole else { return true };
        keys.iter().any(|key| whole.may_hold(key))
    }

    /// These are going to be in the database, if their transaction is committed.
    pub(super) fn enter(&self, keys: &[[u8; 32]]) {
        if keys.is_empty() {
            return;
        }
        let State { whole, coming, wait } = &mut *self.state();
        for filter in whole.iter_mut().chain(coming) {
            for key in keys {
                filter.put(key);
            }
        }
        *wait = wait.saturating_sub(keys.len());
    }

    /// Begins a filter if it is time for one; then [`load`] is to be called.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.state();
        let is_due = state.wait == 0 && state.whole.as_ref().is_none_or(|whole| whole.ones >= BITS / 2);
        if !is_due || state.coming.is_some() {
            return false;
        }
        state.coming = Some(Filter::default());
        state.wait = ENTERED_BETWEEN;
        true
    }

    /// These are in the database.
    fn load(&self, keys: &[(i64, [u8; 32])]) {
        if let Some(coming) = &mut self.state().coming {
            for (_, key) in keys {
                coming.put(key);
            }
        }
    }

    /// Everything else that is in the database was entered meanwhile.
    fn complete(&self) {
        let mut state = self.state();
        state.whole = state.coming.take();
    }

    /// The one before, if there is one, stays.
    fn give_up(&self) {
        self.state().coming = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Loads the filter that was begun, unless the store goes away.
pub(super) async fn load(known: Weak<Known>, readers: Readers) {
    let read = read_table(&known, &readers).await;
    let Some(known) = known.upgrade() else { return };
    match read {
        Ok(()) => known.complete(),
        Err(error) => {
            known.give_up();
            tracing::debug!(%error, "the keys of deliveries could not be read; each is looked up until they can");
        }
    }
}

async fn read_table(known: &Weak<Known>, readers: &Readers) -> Result<(), StoreError> {
    // Returns when every commit that has a number by now is settled.
    readers.run(|_| Ok(())).await?;
    let mut last = i64::MIN;
    loop {
        let keys = readers.run(move |db| once::keys_after(db, last, KEYS_AT_ONCE)).await?;
        let (Some((sequence, _)), Some(known)) = (keys.last(), known.upgrade()) else {
            return Ok(());
        };
        last = *sequence;
        known.load(&keys);
    }
}

/// A set of keys that only grows. Its memory is asked for with its first key, and touched as they come.
#[derive(Default)]
struct Filter {
    words: Vec<u64>,
    /// Bits that are set.
    ones: usize,
}

impl Filter {
    fn put(&mut self, key: &[u8; 32]) {
        if self.words.is_empty() {
            self.words = vec![0; BITS / 64];
        }
        for (word, bit) in places(key) {
            self.ones += usize::from(self.words[word] & bit == 0);
            self.words[word] |= bit;
        }
    }

    fn may_hold(&self, key: &[u8; 32]) -> bool {
        !self.words.is_empty() && places(key).all(|(word, bit)| self.words[word] & bit != 0)
    }
}

/// Words and the bit in each. A key is a digest: its own bytes are as good as a hash of them.
fn places(key: &[u8; 32]) -> impl Iterator<Item = (usize, u64)> {
    let (parts, _) = key.as_chunks::<4>();
    parts.iter().take(BITS_OF_A_KEY).map(|part| {
        let place = u32::from_le_bytes(*part) as usize % BITS;
        (place / 64, 1 << (place % 64))
    })
}

/// 512 KiB. With n keys in it a new one is taken for a known one with a probability of (1 − e^(−4n/2²²))⁴: 0.007 % for 100,000 keys, 0.7 %
/// for 360,000, 6 % for 727,000, when half of the bits are set, and 14 % for 1,000,000, the most that the table keeps.
const BITS: usize = 1 << 22;
const BITS_OF_A_KEY: usize = 4;
/// Where the table alone sets half of the bits, the next load makes little difference: it waits for so many keys at least. The same after
/// one that failed.
const ENTERED_BETWEEN: usize = 100_000;
/// Keys read in one piece: some milliseconds of one reader.
const KEYS_AT_ONCE: usize = 2_000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::future::Future;
    use std::path::Path;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use jiff::Timestamp;
    use proptest::prelude::*;
    use tempfile::tempdir;

    use super::super::durable::Durable;
    use super::super::schema::{self, Database};
    use super::super::{Options, SqliteStore};
    use super::*;
    use crate::metrics::Meter;
    use crate::store::{Acceptance, Delivery, Flags, FolderKey, LocalDisk, MessageStore, Once, Room};

    /// Each has bits of its own, up to `BITS / 4` keys.
    fn key(number: usize) -> [u8; 32] {
        let mut key = [0; 32];
        for (place, part) in key.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *part = u32::try_from(number * BITS_OF_A_KEY + place).unwrap().to_le_bytes();
        }
        key
    }

    fn keys(numbers: impl IntoIterator<Item = usize>) -> Vec<[u8; 32]> {
        numbers.into_iter().map(key).collect()
    }

    fn loaded(table: &[[u8; 32]]) -> Known {
        let known = Known::default();
        assert!(known.begin());
        known.load(&table.iter().map(|key| (0, *key)).collect::<Vec<_>>());
        known.complete();
        known
    }

    fn holds(known: &Known, number: usize) -> bool {
        known.may_hold(&[key(number)])
    }

    #[test]
    fn until_it_is_loaded_every_key_may_be_there() {
        let known = Known::default();
        assert!(holds(&known, 1));
        assert!(known.begin());
        assert!(!known.begin(), "it is under way");
        known.load(&[(1, key(2))]);
        known.enter(&keys([3]));
        assert!(holds(&known, 1));
        known.complete();
        assert_eq!([1, 2, 3].map(|number| holds(&known, number)), [false, true, true]);
        assert!(known.may_hold(&keys([1, 3])), "one of them may be");
        assert!(!known.may_hold(&[]));
        assert!(!known.begin(), "there is room in it");
    }

    #[test]
    fn one_that_could_not_be_loaded_leaves_the_one_before() {
        let known = Known::default();
        assert!(known.begin());
        known.give_up();
        assert!(holds(&known, 1));
        assert!(!known.begin(), "not for every question");
        known.enter(&keys(0..ENTERED_BETWEEN));
        assert!(known.begin());
        known.complete();
        known.enter(&keys(0..BITS / 8));
        assert!(known.begin());
        known.enter(&keys([BITS / 8]));
        known.give_up();
        assert!(holds(&known, 1) && holds(&known, BITS / 8) && !holds(&known, BITS / 8 + 1));
    }

    #[test]
    fn one_that_is_half_full_is_loaded_again_and_keeps_what_is_in_the_table() {
        let known = loaded(&keys([1, 2]));
        let last = BITS / 8 - 1;
        known.enter(&keys(0..last));
        assert!(!known.begin());
        known.enter(&keys([last]));
        assert!(known.begin());
        known.enter(&keys([last + 1]));
        known.load(&[(1, key(1)), (2, key(2))]);
        assert!(
            holds(&known, 3) && holds(&known, last + 1),
            "the one before still answers"
        );
        known.complete();
        let left = [0, 1, 2, 3, last, last + 1].map(|number| holds(&known, number));
        assert_eq!(left, [false, true, true, false, false, true]);
    }

    #[test]
    fn a_table_that_fills_half_of_it_is_not_read_for_each_key() {
        let known = loaded(&keys(0..BITS / 8));
        assert!(!known.begin());
        known.enter(&keys(0..ENTERED_BETWEEN));
        assert!(known.begin());
    }

    proptest! {
        #[test]
        fn no_key_that_was_put_in_is_called_new(
            table in proptest::collection::vec(any::<[u8; 32]>(), 0..200),
            entered in proptest::collection::vec(any::<[u8; 32]>(), 0..200),
            others in proptest::collection::vec(any::<[u8; 32]>(), 100),
        ) {
            let known = loaded(&table);
            known.enter(&entered);
            let put: BTreeSet<_> = table.iter().chain(&entered).collect();
            prop_assert!(put.iter().all(|key| known.may_hold(&[**key])));
            let mistaken = others.iter().filter(|key| !put.contains(key) && known.may_hold(&[**key]));
            prop_assert!(mistaken.count() < 10);
        }
    }

    fn insert(db: &rusqlite::Connection, keys: &[[u8; 32]]) {
        db.execute_batch("BEGIN").unwrap();
        let mut statement = db
            .prepare("INSERT INTO delivered_once (key, until) VALUES (?1, 0)")
            .unwrap();
        for key in keys {
            statement.execute([key]).unwrap();
        }
        db.execute_batch("COMMIT").unwrap();
    }

    fn table(folder: &Path) -> (rusqlite::Connection, Database) {
        let database = Database::new(folder.join("store.db"), &LocalDisk);
        (schema::open_writer(&database, 1).unwrap(), database)
    }

    #[tokio::test]
    async fn all_pieces_of_the_table_are_loaded() {
        let folder = tempdir().unwrap();
        let (db, database) = table(folder.path());
        let all = keys(0..=2 * KEYS_AT_ONCE);
        insert(&db, &all);
        let readers = Readers::new(database, 1, Default::default());
        let known = Arc::<Known>::default();
        assert!(known.begin());
        load(Arc::downgrade(&known), readers).await;
        assert!(all.iter().all(|key| known.may_hold(&[*key])));
        assert!(!holds(&known, all.len()));
    }

    /// It was entered before the filter was begun, and can be read only after.
    #[tokio::test]
    async fn a_commit_that_was_under_way_is_waited_for() {
        let folder = tempdir().unwrap();
        let (db, database) = table(folder.path());
        let durable = Arc::<Durable>::default();
        let readers = Readers::new(database, 1, (Arc::clone(&durable), Meter::default()));
        let known = Arc::<Known>::default();
        let commit = durable.begin();
        known.enter(&keys([1]));
        assert!(known.begin());
        let loading = tokio::spawn(load(Arc::downgrade(&known), readers.clone()));
        tokio::task::yield_now().await;
        // The only connection is free again: its first read is over.
        let (tell, told) = tokio::sync::oneshot::channel();
        let next = tokio::spawn(async move { readers.run(move |_| Ok(tell.send(()))).await });
        told.await.unwrap();
        insert(&db, &keys([1]));
        durable.settle(commit);
        loading.await.unwrap();
        next.await.unwrap().unwrap().unwrap();
        assert!(holds(&known, 1) && !holds(&known, 2));
    }

    fn once(number: usize) -> Once {
        Once {
            key: key(number),
            until: Timestamp::MAX,
        }
    }

    async fn deliver(store: &SqliteStore, number: usize) {
        let delivery = Delivery {
            folder: FolderKey(1),
            flags: Flags::default(),
            internal_date: Timestamp::UNIX_EPOCH,
            saved: None,
            once: Some(once(number)),
            room: Room::Always,
        };
        let acceptance = Acceptance {
            deliveries: vec![delivery],
            ..Acceptance::default()
        };
        store.accept(acceptance).await.unwrap();
    }

    async fn repeats(store: &SqliteStore, number: usize) -> bool {
        store.repeats(&[key(number)], Timestamp::UNIX_EPOCH).await.unwrap()[0]
    }

    /// The answer, if no other thread was asked. Reads are paused.
    fn told_at_once(store: &SqliteStore, number: usize) -> Option<bool> {
        match pin!(repeats(store, number)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }

    /// With one connection: the load has its turn at it between questions.
    fn open(folder: &Path) -> SqliteStore {
        let options = Options {
            readers: 1,
            ..Options::default()
        };
        SqliteStore::open(folder, options).unwrap()
    }

    async fn ask_until_loaded(store: &SqliteStore) {
        const NOBODYS: usize = BITS / 4 - 1;
        for _ in 0..1_000 {
            if !store.known.as_ref().unwrap().may_hold(&[key(NOBODYS)]) {
                return;
            }
            assert!(!repeats(store, NOBODYS).await);
        }
        panic!("it is never loaded");
    }

    #[tokio::test]
    async fn a_new_key_needs_no_read_and_a_known_one_is_recognised_also_by_the_next_run() {
        let folder = tempdir().unwrap();
        let store = open(folder.path());
        deliver(&store, 1).await;
        ask_until_loaded(&store).await;
        deliver(&store, 2).await;
        store.remember(vec![once(3)]).await.unwrap();
        check_and_close(&store).await;
        let store = open(folder.path());
        ask_until_loaded(&store).await;
        check_and_close(&store).await;
    }

    /// It knows the keys 1 to 3.
    async fn check_and_close(store: &SqliteStore) {
        for number in 1..=3 {
            assert!(repeats(store, number).await, "{number}");
        }
        store.readers.pause();
        let told = [4, 3].map(|number| told_at_once(store, number));
        store.readers.resume();
        assert_eq!(told, [Some(false), None], "of these, one is a read");
        store.close().await.unwrap();
        let closed = store.repeats(&[key(4)], Timestamp::UNIX_EPOCH).await;
        assert!(matches!(closed, Err(StoreError::Closed)), "{closed:?}");
    }

    #[tokio::test]
    async fn where_another_process_writes_every_key_is_looked_up() {
        let folder = tempdir().unwrap();
        let store = open(folder.path());
        let reader = SqliteStore::open_read_only(folder.path()).unwrap();
        for number in 0..10 {
            assert!(!repeats(&reader, number).await);
            deliver(&store, number).await;
            assert!(repeats(&reader, number).await);
        }
    }
}
