//! Keywords of a message: nearly always none, and often the same as another's, so they cost one pointer and are shared.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A set of keywords as first written. Reads and changes like a `BTreeSet`; clones share.
#[derive(Clone, Default)]
pub struct Keywords(Option<Arc<BTreeSet<String>>>);

static NONE: BTreeSet<String> = BTreeSet::new();

impl Keywords {
    /// None.
    pub const fn new() -> Self {
        Self(None)
    }

    /// The set itself.
    pub fn into_set(self) -> BTreeSet<String> {
        self.0
            .map(|shared| Arc::try_unwrap(shared).unwrap_or_else(|shared| (*shared).clone()))
            .unwrap_or_default()
    }
}

impl From<BTreeSet<String>> for Keywords {
    fn from(set: BTreeSet<String>) -> Self {
        Self((!set.is_empty()).then(|| Arc::new(set)))
    }
}

impl Deref for Keywords {
    type Target = BTreeSet<String>;

    fn deref(&self) -> &Self::Target {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Keywords {
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl PartialEq for Keywords {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) if Arc::ptr_eq(a, b) => true,
            _ => **self == **other,
        }
    }
}

impl Eq for Keywords {}

impl PartialOrd for Keywords {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Keywords {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl fmt::Debug for Keywords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<'a> IntoIterator for &'a Keywords {
    type Item = &'a String;
    type IntoIter = std::collections::btree_set::Iter<'a, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Makes equal sets one.
#[derive(Debug, Default)]
pub(crate) struct Interner(HashSet<Arc<BTreeSet<String>>>);

impl Interner {
    pub(crate) fn intern(&mut self, keywords: &mut Keywords) {
        let Some(set) = &mut keywords.0 else { return };
        match self.0.get(set) {
            Some(known) => *set = Arc::clone(known),
            None => {
                self.0.insert(Arc::clone(set));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_become_one_and_change_apart() {
        let set = || Keywords::from(BTreeSet::from(["$Later".to_owned()]));
        let (mut a, mut b) = (set(), set());
        let mut interner = Interner::default();
        interner.intern(&mut a);
        interner.intern(&mut b);
        assert!(Arc::ptr_eq(a.0.as_ref().unwrap(), b.0.as_ref().unwrap()));
        b.insert("vu".into());
        assert_eq!((a.len(), b.len()), (1, 2));
        assert_eq!(Keywords::from(BTreeSet::new()), Keywords::new());
        b.clear();
        assert_eq!(b, Keywords::new());
    }
}
