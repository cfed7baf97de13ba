//! What a disk holds after the power failed: what was synced, and of the rest whatever the disk pleased to keep.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::kinds::Kind;
use super::tape::{Entry, Synced};
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
    /// Every kind in turn, the rough ones more often.
    pub(super) fn of(number: usize) -> Self {
        const KINDS: [Loss; 8] = [
            Loss::Reordered,
            Loss::Tail,
            Loss::All,
            Loss::Torn,
            Loss::Reordered,
            Loss::None,
            Loss::Tail,
            Loss::Torn,
        ];
        KINDS.get(number % KINDS.len()).copied().unwrap_or(Self::All)
    }

    /// How reports count it.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::All => Kind::LostWrites,
            Self::None => Kind::Killed,
            Self::Tail => Kind::TornTail,
            Self::Reordered => Kind::Reordered,
            Self::Torn => Kind::TornSectors,
        }
    }
}

/// The files of a data folder, by their paths in it.
pub(super) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A disk as the tape leaves it: what is durable, and what is not yet.
#[derive(Debug, Default)]
pub(super) struct SimulatedDisk {
    files: Vec<SimulatedFile>,
    names: BTreeMap<PathBuf, usize>,
    /// With their positions on the tape.
    names_pending: Vec<(usize, NameChange)>,
    position: usize,
}

#[derive(Debug, Default)]
struct SimulatedFile {
    durable: Vec<u8>,
    pending: Vec<(usize, FileChange)>,
}

#[derive(Debug)]
enum FileChange {
    Write { offset: usize, bytes: Arc<[u8]> },
    Length(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
}

impl SimulatedDisk {
    /// A disk on which these files are durable, numbered in their order.
    pub(super) fn of(files: Files) -> Self {
        let mut disk = Self::default();
        for (number, (path, durable)) in files.into_iter().enumerate() {
            disk.names.insert(path, number);
            disk.files.push(SimulatedFile {
                durable,
                pending: Vec::new(),
            });
        }
        disk
    }

    /// Takes the next change of the tape.
    pub(super) fn apply(&mut self, entry: &Entry) {
        let position = self.position;
        self.position += 1;
        match entry {
            Entry::Link { path, file } => {
                if self.files.len() <= *file {
                    self.files.resize_with(*file + 1, SimulatedFile::default);
                }
                self.names_pending
                    .push((position, NameChange::Link(path.clone(), *file)));
            }
            Entry::Unlink { path } => self.names_pending.push((position, NameChange::Unlink(path.clone()))),
            Entry::Write { file, offset, bytes } => {
                let change = FileChange::Write {
                    offset: place(*offset),
                    bytes: Arc::clone(bytes),
                };
                self.change(*file, change);
            }
            Entry::Truncate { file, length } => self.change(*file, FileChange::Length(place(*length))),
            Entry::Sync(sync) => match &sync.what {
                Synced::File(file) => {
                    if let Some(file) = self.files.get_mut(*file) {
                        file.sync(sync.began, sync.succeeded);
                    }
                }
                Synced::Folder(folder) if sync.succeeded => self.sync_folder(folder, sync.began),
                // Names are in the journal of the file system, which does not forget them: the next sync may still save them.
                Synced::Folder(_) => {}
            },
        }
    }

    /// The files that are found after a crash now, and whether they differ from what an orderly disk would hold: of all losses but
    /// [`Loss::None`] that means that something is lost, torn or out of order as its name says.
    pub(super) fn image(&self, loss: Loss, dice: &mut Dice) -> (Files, bool) {
        let mut names = self.names.clone();
        let kept = kept(self.names_pending.len(), loss, dice);
        let mut is_hit = is_hit(loss, &kept, self.names_pending.len());
        for index in kept {
            if let Some((_, change)) = self.names_pending.get(index) {
                change.apply(&mut names);
            }
        }
        let mut files = Files::new();
        for (path, file) in names {
            if let Some(file) = self.files.get(file) {
                let (bytes, is_file_hit) = file.image(loss, dice);
                is_hit |= is_file_hit;
                files.insert(path, bytes);
            }
        }
        (files, is_hit)
    }

    fn sync_folder(&mut self, folder: &Path, began: usize) {
        let (durable, pending) = std::mem::take(&mut self.names_pending)
            .into_iter()
            .partition(|(position, change)| *position < began && change.folder() == folder);
        self.names_pending = pending;
        let durable: Vec<(usize, NameChange)> = durable;
        for (_, change) in &durable {
            change.apply(&mut self.names);
        }
    }

    fn change(&mut self, file: usize, change: FileChange) {
        let position = self.position - 1;
        if let Some(file) = self.files.get_mut(file) {
            file.pending.push((position, change));
        }
    }
}

impl SimulatedFile {
    /// What was pending when the sync began is durable, or gone for good.
    fn sync(&mut self, began: usize, succeeded: bool) {
        let covered = self.pending.partition_point(|(position, _)| *position < began);
        for (_, change) in self.pending.drain(..covered) {
            if succeeded {
                change.apply(&mut self.durable);
            }
        }
    }

    fn image(&self, loss: Loss, dice: &mut Dice) -> (Vec<u8>, bool) {
        let mut bytes = self.durable.clone();
        let kept = kept(self.pending.len(), loss, dice);
        let mut is_hit = is_hit(loss, &kept, self.pending.len());
        let last = kept.last().copied();
        for index in kept {
            let Some((_, change)) = self.pending.get(index) else {
                continue;
            };
            let is_torn = loss == Loss::Torn || (loss == Loss::Tail && Some(index) == last);
            if is_torn {
                is_hit |= change.apply_torn(&mut bytes, dice);
            } else {
                change.apply(&mut bytes);
            }
        }
        (bytes, is_hit)
    }
}

impl FileChange {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(length) => to.resize(*length, 0),
            Self::Write { offset, bytes } => put(to, *offset, bytes),
        }
    }

    /// Only some sectors of it reach the disk, counted from the start of the file; whether some did and some did not.
    fn apply_torn(&self, to: &mut Vec<u8>, dice: &mut Dice) -> bool {
        let Self::Write { offset, bytes } = self else {
            self.apply(to);
            return false;
        };
        let (mut made, mut lost) = (false, false);
        let sector = if dice.percent(50) { 512 } else { 4096 };
        let mut at = 0;
        while at < bytes.len() {
            let end = (at + sector - (offset + at) % sector).min(bytes.len());
            if dice.percent(50) {
                put(to, offset + at, bytes.get(at..end).unwrap_or_default());
                made = true;
            } else {
                lost = true;
            }
            at = end;
        }
        made && lost
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

/// Whether keeping these of so many changes is what the loss is about.
fn is_hit(loss: Loss, kept: &[usize], changes: usize) -> bool {
    match loss {
        Loss::All | Loss::None => changes > 0,
        Loss::Tail => kept.len() < changes,
        // One is there that came after one that is not.
        Loss::Reordered => kept.last().is_some_and(|last| last + 1 > kept.len()),
        // Told by the changes themselves.
        Loss::Torn => false,
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
    use super::super::tape::Sync;
    use super::*;

    fn write(file: usize, offset: u64, bytes: &[u8]) -> Entry {
        Entry::Write {
            file,
            offset,
            bytes: bytes.into(),
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

    /// A sync that begins where it ends.
    fn sync(what: Synced, at: usize, succeeded: bool) -> Entry {
        Entry::Sync(Sync {
            what,
            began: at,
            succeeded,
        })
    }

    fn file(number: usize) -> Synced {
        Synced::File(number)
    }

    fn folder(name: &str) -> Synced {
        Synced::Folder(name.into())
    }

    fn files<const N: usize>(files: [(&str, &[u8]); N]) -> Files {
        files
            .into_iter()
            .map(|(name, bytes)| (PathBuf::from(name), bytes.to_vec()))
            .collect()
    }

    fn image(disk: &SimulatedDisk, loss: Loss) -> Files {
        disk.image(loss, &mut Dice::new(1)).0
    }

    #[test]
    fn only_what_was_synced_survives_a_power_cut() {
        let disk = disk(&[
            link("a", 0),
            link("b", 1),
            sync(folder(""), 2, true),
            write(0, 0, b"durable"),
            sync(file(0), 4, true),
            write(0, 0, b"DUR"),
            write(1, 0, b"never"),
            link("c", 2),
            Entry::Unlink { path: "a".into() },
        ]);
        assert_eq!(image(&disk, Loss::All), files([("a", b"durable"), ("b", b"")]));
        assert_eq!(image(&disk, Loss::None), files([("b", b"never"), ("c", b"")]));
    }

    #[test]
    fn what_a_sync_could_not_write_does_not_come_with_the_next_one() {
        let disk = disk(&[
            link("a", 0),
            sync(folder(""), 1, true),
            write(0, 0, b"1"),
            sync(file(0), 3, false),
            write(0, 1, b"2"),
            sync(file(0), 5, true),
        ]);
        for loss in [Loss::All, Loss::None] {
            assert_eq!(image(&disk, loss), files([("a", b"\x002")]));
        }
    }

    #[test]
    fn what_is_written_during_a_sync_is_not_durable_at_its_end() {
        let disk = disk(&[
            link("a", 0),
            sync(folder(""), 1, true),
            write(0, 0, b"1"),
            write(0, 1, b"2"),
            link("b", 1),
            sync(file(0), 3, true),
            sync(folder(""), 4, true),
        ]);
        assert_eq!(image(&disk, Loss::All), files([("a", b"1")]));
        assert_eq!(image(&disk, Loss::None), files([("a", b"12"), ("b", b"")]));
    }

    #[test]
    fn names_whose_sync_failed_come_with_the_next_one() {
        let made = [link("a", 0), sync(folder(""), 1, false)];
        assert_eq!(image(&disk(&made), Loss::All), files([]));
        let [link, failed] = made;
        let disk = disk(&[link, failed, sync(folder(""), 2, true)]);
        assert_eq!(image(&disk, Loss::All), files([("a", b"")]));
    }

    #[test]
    fn unsynced_writes_come_torn_and_in_any_order() {
        let disk = disk(&[
            link("a", 0),
            sync(folder(""), 1, true),
            write(0, 0, &[1; 4096]),
            write(0, 4096, &[2; 4096]),
        ]);
        let torn: Vec<_> = (0..200)
            .map(|seed| disk.image(Loss::Torn, &mut Dice::new(seed)))
            .map(|(mut files, is_hit)| (files.remove(Path::new("a")).unwrap(), is_hit))
            .collect();
        assert!(
            torn.iter()
                .any(|(bytes, is_hit)| *is_hit && bytes.len() == 8192 && bytes[0] == 0 && bytes[8191] == 2)
        );
        assert!(
            torn.iter()
                .any(|(bytes, is_hit)| *is_hit && bytes.len() > 512 && bytes[0] == 1 && bytes[512] == 0)
        );
        assert!(torn.iter().any(|(bytes, is_hit)| !is_hit && bytes.is_empty()));
    }

    #[test]
    fn later_writes_may_come_without_earlier_ones() {
        let disk = disk(&[
            link("a", 0),
            sync(folder(""), 1, true),
            write(0, 0, b"1"),
            write(0, 1, b"2"),
        ]);
        let images: Vec<_> = (0..100)
            .map(|seed| disk.image(Loss::Reordered, &mut Dice::new(seed)))
            .map(|(mut files, is_hit)| (files.remove(Path::new("a")).unwrap(), is_hit))
            .collect();
        for (expected, is_hit) in [(&b""[..], false), (b"1", false), (b"\x002", true), (b"12", false)] {
            assert!(images.contains(&(expected.to_vec(), is_hit)), "{expected:?}");
        }
    }

    #[test]
    fn a_loss_with_nothing_to_lose_is_no_hit() {
        let disk = disk(&[
            link("a", 0),
            sync(folder(""), 1, true),
            write(0, 0, b"1"),
            sync(file(0), 3, true),
        ]);
        for number in 0..8 {
            let (image, is_hit) = disk.image(Loss::of(number), &mut Dice::new(1));
            assert_eq!((image, is_hit), (files([("a", b"1")]), false));
        }
    }

    #[test]
    fn a_renamed_file_keeps_its_bytes_under_either_name() {
        let disk = disk(&[
            link("in/x", 0),
            write(0, 0, b"body"),
            sync(file(0), 2, true),
            link("07/x", 0),
            Entry::Unlink { path: "in/x".into() },
            sync(folder("07"), 5, true),
        ]);
        assert_eq!(image(&disk, Loss::All), files([("07/x", b"body")]));
    }

    #[test]
    fn a_crash_after_a_crash_begins_with_what_the_first_one_left() {
        let mut disk = SimulatedDisk::of(files([("a", b"1"), ("b", b"2")]));
        disk.apply(&write(1, 1, b"3"));
        assert_eq!(image(&disk, Loss::All), files([("a", b"1"), ("b", b"2")]));
        disk.apply(&sync(file(1), 1, true));
        assert_eq!(image(&disk, Loss::All), files([("a", b"1"), ("b", b"23")]));
    }
}
