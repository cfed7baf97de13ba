//! What all clients together know for good, whoever was told.

use std::collections::{BTreeMap, BTreeSet};

/// Facts that no session may contradict.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// UIDVALIDITY and UID name one content for ever.
    contents: BTreeMap<(u32, u32), String>,
    /// UIDs that somebody was told are gone, by UIDVALIDITY.
    gone: BTreeMap<u32, BTreeSet<u32>>,
    /// The highest modification sequence that somebody was told of a message.
    modseqs: BTreeMap<(u32, u32), u64>,
    /// Folders that come and go: their MAILBOXID by name.
    places: BTreeMap<String, String>,
    /// Names that a CREATE, DELETE or RENAME under way is about.
    busy: BTreeSet<String>,
    /// MAILBOXIDs of folders that a DELETE under way is about, or was.
    doomed: BTreeSet<String>,
    /// MAILBOXIDs of folders that are deleted for certain.
    deleted: BTreeSet<String>,
}

impl Truth {
    pub(crate) fn learn(&mut self, validity: u32, uid: u32, id: &str) -> Result<(), String> {
        let known = self.contents.entry((validity, uid)).or_insert_with(|| id.to_owned());
        if known == id {
            Ok(())
        } else {
            Err(format!("UID {uid} of {validity} is {known}, and now {id}"))
        }
    }

    pub(crate) fn id(&self, validity: u32, uid: u32) -> Option<String> {
        self.contents.get(&(validity, uid)).cloned()
    }

    pub(crate) fn went(&mut self, validity: u32, uid: u32) {
        self.gone.entry(validity).or_default().insert(uid);
    }

    pub(crate) fn is_gone(&self, validity: u32, uid: u32) -> bool {
        self.gone.get(&validity).is_some_and(|gone| gone.contains(&uid))
    }

    pub(crate) fn changed(&mut self, validity: u32, uid: u32, modseq: u64) {
        let known = self.modseqs.entry((validity, uid)).or_default();
        *known = modseq.max(*known);
    }

    pub(crate) fn modseq(&self, validity: u32, uid: u32) -> u64 {
        self.modseqs.get(&(validity, uid)).copied().unwrap_or_default()
    }

    /// Names of the folders that come and go, as far as nobody is at them.
    pub(crate) fn places(&self) -> Vec<String> {
        let free = self.places.keys().filter(|name| !self.busy.contains(*name));
        free.cloned().collect()
    }

    /// The name of a folder that comes and goes, if nobody is at it.
    pub(crate) fn place_of(&self, object: &str) -> Option<String> {
        let (name, _) = self.places.iter().find(|(_, at)| *at == object)?;
        (!self.busy.contains(name)).then(|| name.clone())
    }

    pub(crate) fn is_free(&self, name: &str) -> bool {
        !self.busy.contains(name) && !self.places.contains_key(name)
    }

    pub(crate) fn is_doomed(&self, object: &str) -> bool {
        self.doomed.contains(object)
    }

    pub(crate) fn is_deleted(&self, object: &str) -> bool {
        self.deleted.contains(object)
    }

    /// CREATE, DELETE or RENAME of these names begins.
    pub(crate) fn begin(&mut self, names: &[&str], deletes: bool) {
        for name in names {
            self.busy.insert((*name).to_owned());
            if let Some(object) = self.places.get(*name).filter(|_| deletes) {
                self.doomed.insert(object.clone());
            }
        }
    }

    pub(crate) fn created(&mut self, name: &str, object: &str) {
        self.busy.remove(name);
        self.places.insert(name.to_owned(), object.to_owned());
    }

    /// The MAILBOXID that was deleted.
    pub(crate) fn deleted(&mut self, name: &str) -> Option<String> {
        self.busy.remove(name);
        let object = self.places.remove(name)?;
        self.deleted.insert(object.clone());
        Some(object)
    }

    /// The MAILBOXID of the folder that has another name now.
    pub(crate) fn renamed(&mut self, from: &str, to: &str) -> Option<String> {
        self.busy.remove(from);
        self.busy.remove(to);
        let object = self.places.remove(from)?;
        self.places.insert(to.to_owned(), object.clone());
        Some(object)
    }
}
