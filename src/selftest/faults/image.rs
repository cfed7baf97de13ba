//! What a disk holds after the power failed: what was synced, and of the rest whatever the disk pleased to keep.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::tape::Entry;
use crate::selftest::dice::Dice;

/// What becomes of changes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// All are lost: the plain power cut.
    All,
    /// None is: the process was killed, the machine runs on.
    None,
    /// Those from some moment on are, and the last one kept is torn.
    Tail,
    /// Any of them are, whatever their order.
    Reordered,
    /// Any sectors of any of them are.
    Torn,
}

impl Loss {
    /// Every kind, the rough ones more often.
    pub(super) fn any(dice: &mut Dice) -> Self {
        const KINDS: [Loss; 8] = [
            Loss::All,
            Loss::None,
            Loss::Tail,
            Loss::Tail,
            Loss::Reordered,
            Loss::Reordered,
            Loss::Torn,
            Loss::Torn,
        ];
        KINDS.get(dice.below(KINDS.len())).copied().unwrap_or(Self::All)
    }
}

/// A disk as the tape leaves it: what is durable, and what is not yet.
#[derive(Debug, Default)]
pub(super) struct SimulatedDisk {
    files: Vec<SimulatedFile>,
    names: BTreeMap<PathBuf, usize>,
    names_pending: Vec<NameChange>,
}

#[derive(Debug, Default)]
struct SimulatedFile {
    durable: Vec<u8>,
    pending: Vec<FileChange>,
}

#[derive(Debug)]
enum FileChange {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
}

impl SimulatedDisk {
    /// Takes the next change of the tape.
    pub(super) fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Link { path, file } => {
                if self.files.len() <= *file {
                    self.files.resize_with(*file + 1, SimulatedFile::default);
                }
                self.names_pending.push(NameChange::Link(path.clone(), *file));
            }
            Entry::Unlink { path } => self.names_pending.push(NameChange::Unlink(path.clone())),
            Entry::SyncFolder { folder } => {
                let (durable, pending) = std::mem::take(&mut self.names_pending)
                    .into_iter()
                    .partition(|change| change.folder() == folder);
                self.names_pending = pending;
                let durable: Vec<NameChange> = durable;
                for change in &durable {
                    change.apply(&mut self.names);
                }
            }
            Entry::Write { file, offset, bytes } => {
                let change = FileChange::Write {
                    offset: place(*offset),
                    bytes: bytes.clone(),
                };
                self.change(*file, change);
            }
            Entry::Truncate { file, length } => self.change(*file, FileChange::Length(place(*length))),
            Entry::Sync { file } => {
                if let Some(file) = self.files.get_mut(*file) {
                    for change in std::mem::take(&mut file.pending) {
                        change.apply(&mut file.durable);
                    }
                }
            }
            Entry::SyncFailed { file } => {
                if let Some(file) = self.files.get_mut(*file) {
                    file.pending.clear();
                }
            }
        }
    }

    /// The files that are found after a crash now.
    pub(super) fn image(&self, loss: Loss, dice: &mut Dice) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut names = self.names.clone();
        for index in kept(self.names_pending.len(), loss, dice) {
            if let Some(change) = self.names_pending.get(index) {
                change.apply(&mut names);
            }
        }
        let files = names.into_iter().filter_map(|(path, file)| {
            let file = self.files.get(file)?;
            Some((path, file.image(loss, dice)))
        });
        files.collect()
    }

    fn change(&mut self, file: usize, change: FileChange) {
        if let Some(file) = self.files.get_mut(file) {
            file.pending.push(change);
        }
    }
}

impl SimulatedFile {
    fn image(&self, loss: Loss, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let kept = kept(self.pending.len(), loss, dice);
        let last = kept.last().copied();
        for index in kept {
            let Some(change) = self.pending.get(index) else {
                continue;
            };
            let is_torn = loss == Loss::Torn || (loss == Loss::Tail && Some(index) == last);
            if is_torn {
                change.apply_torn(&mut bytes, dice);
            } else {
                change.apply(&mut bytes);
            }
        }
        bytes
    }
}

impl FileChange {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(length) => to.resize(*length, 0),
            Self::Write { offset, bytes } => put(to, *offset, bytes),
        }
    }

    /// Only some sectors of it reach the disk, counted from the start of the file.
    fn apply_torn(&self, to: &mut Vec<u8>, dice: &mut Dice) {
        let Self::Write { offset, bytes } = self else {
            self.apply(to);
            return;
        };
        let sector = if dice.percent(50) { 512 } else { 4096 };
        let mut at = 0;
        while at < bytes.len() {
            let end = (at + sector - (offset + at) % sector).min(bytes.len());
            if dice.percent(50) {
                put(to, offset + at, bytes.get(at..end).unwrap_or_default());
            }
            at = end;
        }
    }
}

impl NameChange {
    fn folder(&self) -> &Path {
        let (Self::Link(path, _) | Self::Unlink(path)) = self;
        path.parent().unwrap_or(Path::new(""))
    }

    fn apply(&self, to: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Link(path, file) => drop(to.insert(path.clone(), *file)),
            Self::Unlink(path) => drop(to.remove(path)),
        }
    }
}

/// Which of so many changes reached the disk, in order.
fn kept(changes: usize, loss: Loss, dice: &mut Dice) -> Vec<usize> {
    match loss {
        Loss::All => Vec::new(),
        Loss::None => (0..changes).collect(),
        Loss::Tail => (0..dice.below(changes + 1)).collect(),
        Loss::Reordered | Loss::Torn => (0..changes).filter(|_| dice.percent(50)).collect(),
    }
}

fn put(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    if let Some(place) = to.get_mut(offset..end) {
        place.copy_from_slice(bytes);
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: usize, offset: u64, bytes: &[u8]) -> Entry {
        Entry::Write {
            file,
            offset,
            bytes: bytes.to_vec(),
        }
    }

    fn disk(entries: &[Entry]) -> SimulatedDisk {
        let mut disk = SimulatedDisk::default();
        for entry in entries {
            disk.apply(entry);
        }
        disk
    }

    fn link(path: &str, file: usize) -> Entry {
        Entry::Link {
            path: path.into(),
            file,
        }
    }

    fn sync_folder(folder: &str) -> Entry {
        Entry::SyncFolder { folder: folder.into() }
    }

    #[test]
    fn only_what_was_synced_survives_a_power_cut() {
        let disk = disk(&[
            link("a", 0),
            link("b", 1),
            sync_folder(""),
            write(0, 0, b"durable"),
            Entry::Sync { file: 0 },
            write(0, 0, b"DUR"),
            write(1, 0, b"never"),
            link("c", 2),
            Entry::Unlink { path: "a".into() },
        ]);
        let cut = disk.image(Loss::All, &mut Dice::new(1));
        let expected = [("a", &b"durable"[..]), ("b", b"")].map(|(name, bytes)| (PathBuf::from(name), bytes.to_vec()));
        assert_eq!(cut, expected.into());
        let killed = disk.image(Loss::None, &mut Dice::new(1));
        let expected = [("b", &b"never"[..]), ("c", b"")].map(|(name, bytes)| (PathBuf::from(name), bytes.to_vec()));
        assert_eq!(killed, expected.into());
    }

    #[test]
    fn what_a_sync_could_not_write_does_not_come_with_the_next_one() {
        let disk = disk(&[
            link("a", 0),
            sync_folder(""),
            write(0, 0, b"1"),
            Entry::SyncFailed { file: 0 },
            write(0, 1, b"2"),
            Entry::Sync { file: 0 },
        ]);
        for loss in [Loss::All, Loss::None] {
            assert_eq!(disk.image(loss, &mut Dice::new(1))[Path::new("a")], b"\x002");
        }
    }

    #[test]
    fn unsynced_writes_come_torn_and_in_any_order() {
        let disk = disk(&[
            link("a", 0),
            sync_folder(""),
            write(0, 0, &[1; 4096]),
            write(0, 4096, &[2; 4096]),
        ]);
        let image = |seed| {
            disk.image(Loss::Torn, &mut Dice::new(seed))
                .remove(Path::new("a"))
                .unwrap()
        };
        let torn: Vec<_> = (0..200).map(image).collect();
        assert!(
            torn.iter()
                .any(|bytes| bytes.len() == 8192 && bytes[0] == 0 && bytes[8191] == 2)
        );
        assert!(
            torn.iter()
                .any(|bytes| bytes.len() > 512 && bytes[0] == 1 && bytes[512] == 0)
        );
    }

    #[test]
    fn later_writes_may_come_without_earlier_ones() {
        let disk = disk(&[link("a", 0), sync_folder(""), write(0, 0, b"1"), write(0, 1, b"2")]);
        let image = |seed| {
            disk.image(Loss::Reordered, &mut Dice::new(seed))
                .remove(Path::new("a"))
                .unwrap()
        };
        let images: Vec<_> = (0..100).map(image).collect();
        for expected in [&b""[..], b"1", b"\x002", b"12"] {
            assert!(images.iter().any(|bytes| bytes == expected), "{expected:?}");
        }
    }

    #[test]
    fn a_renamed_file_keeps_its_bytes_under_either_name() {
        let disk = disk(&[
            link("in/x", 0),
            write(0, 0, b"body"),
            Entry::Sync { file: 0 },
            link("07/x", 0),
            Entry::Unlink { path: "in/x".into() },
            sync_folder("07"),
        ]);
        let cut = disk.image(Loss::All, &mut Dice::new(1));
        assert_eq!(cut, [(PathBuf::from("07/x"), b"body".to_vec())].into());
    }
}
