//! What one client must have been told: it believes every line, and says where a line cannot be true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use crate::wire::{Response, Value, numbers};

/// What the client enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Plain,
    Condstore,
    Qresync,
}

impl Mode {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Condstore, Self::Qresync];

    /// The command that begins it.
    pub(crate) fn enable(self) -> &'static str {
        match self {
            Self::Plain => "NOOP",
            Self::Condstore => "ENABLE CONDSTORE",
            Self::Qresync => "ENABLE QRESYNC",
        }
    }
}

/// What a SELECT says is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resync {
    Nothing,
    /// Messages of named UIDs: of others nothing is told.
    Some,
    Everything,
}

/// What is known for good of messages, by any client: UIDVALIDITY and UID name one content for ever.
#[derive(Debug, Default)]
pub(crate) struct Truth(BTreeMap<(u32, u32), String>);

impl Truth {
    pub(crate) fn learn(&mut self, validity: u32, uid: u32, id: &str) -> Result<(), String> {
        let known = self.0.entry((validity, uid)).or_insert_with(|| id.to_owned());
        if known == id {
            Ok(())
        } else {
            Err(format!("UID {uid} of {validity} is {known}, and now {id}"))
        }
    }

    fn id(&self, validity: u32, uid: u32) -> Option<String> {
        self.0.get(&(validity, uid)).cloned()
    }
}

/// A message as the client knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) uid: Option<u32>,
    pub(crate) flags: Option<BTreeSet<String>>,
    pub(crate) modseq: Option<u64>,
    /// The command under way changes it, and the client was not told how.
    targeted: bool,
    told: bool,
}

/// The selected folder as the client knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Folder {
    pub(crate) name: String,
    pub(crate) read_only: bool,
    pub(crate) validity: u32,
    uid_next: u32,
    pub(crate) highest: u64,
    pub(crate) messages: Vec<Known>,
    keywords: BTreeSet<String>,
    /// UIDs that were expunged: they never come back.
    gone: BTreeSet<u32>,
    /// It was selected before, and what was known then holds.
    is_kept: bool,
    /// SELECT said how many there are.
    is_counted: bool,
    /// Messages that came while SELECT was answered: nothing is said of them yet.
    late: usize,
    /// EXISTS of SELECT, until what else SELECT says is taken in.
    expected: Option<usize>,
}

/// What a command does, as far as it decides what its responses may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Select {
        name: String,
        read_only: bool,
        resync: Resync,
    },
    Deselect,
    /// Numbers must hold until it is over.
    FetchByNumber,
    Fetch,
    Store {
        change: char,
        flags: BTreeSet<String>,
        silent: bool,
        by_number: bool,
    },
    Search {
        by_number: bool,
    },
    Copy {
        by_number: bool,
    },
    Move {
        by_number: bool,
    },
    Append {
        id: String,
    },
    Idle,
    Other,
}

impl Kind {
    /// Means the same whatever is told before it.
    pub(crate) fn is_free(&self) -> bool {
        matches!(self, Self::Fetch | Self::Other | Self::Append { .. })
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) tag: String,
    pub(crate) kind: Kind,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) mode: Mode,
    pub(crate) waiting: VecDeque<Sent>,
    pub(crate) folder: Option<Folder>,
    opening: Option<Folder>,
    /// What it kept of folders it left, for QRESYNC.
    pub(crate) remembered: BTreeMap<String, Folder>,
    pub(crate) truth: Arc<Mutex<Truth>>,
    /// The server asks for more: a literal, or DONE.
    pub(crate) continued: bool,
    pub(crate) ended: bool,
}

type Checked = Result<(), String>;

fn check(good: bool, what: impl FnOnce() -> String) -> Checked {
    if good { Ok(()) } else { Err(what()) }
}

impl Model {
    pub(crate) fn new(mode: Mode, truth: Arc<Mutex<Truth>>) -> Self {
        Self {
            mode,
            waiting: VecDeque::new(),
            folder: None,
            opening: None,
            remembered: BTreeMap::new(),
            truth,
            continued: false,
            ended: false,
        }
    }

    /// Notes a command that is on its way; `targets` are the messages a STORE names.
    pub(crate) fn sent(&mut self, tag: String, kind: Kind, targets: &[usize]) {
        if let Kind::Select { name, resync, .. } = &kind {
            self.leave();
            let mut opening = Folder {
                name: name.clone(),
                ..Folder::default()
            };
            if *resync != Resync::Nothing
                && let Some(kept) = self.remembered.get(name)
            {
                opening = Folder {
                    keywords: BTreeSet::new(),
                    is_kept: true,
                    is_counted: false,
                    late: 0,
                    ..kept.clone()
                };
            }
            self.opening = Some(opening);
        }
        if let (Kind::Store { .. }, Some(folder)) = (&kind, &mut self.folder) {
            for known in &mut folder.messages {
                (known.targeted, known.told) = (false, false);
            }
            for &at in targets {
                folder.messages[at].targeted = true;
            }
        }
        self.waiting.push_back(Sent { tag, kind });
    }

    /// Whether what it knows is what a newcomer found, if it looks at that folder.
    pub(crate) fn agree(&self, found: &Folder) -> Checked {
        let Some(folder) = self.folder.as_ref().filter(|folder| folder.name == found.name) else {
            return Ok(());
        };
        let same = folder.messages.len() == found.messages.len()
            && folder.messages.iter().zip(&found.messages).all(|(known, is)| {
                (known.uid.is_none() || known.uid == is.uid) && (known.flags.is_none() || known.flags == is.flags)
            });
        check(same, || {
            format!("believes {:#?}\nand there is {:#?}", folder.messages, found.messages)
        })
    }

    fn leave(&mut self) {
        if let Some(folder) = self.folder.take()
            && folder.messages.iter().all(|known| known.uid.is_some())
        {
            self.remembered.insert(folder.name.clone(), folder);
        }
    }

    /// Takes a response in.
    pub(crate) fn take(&mut self, response: &Response) -> Checked {
        let values = &response.values;
        match values.first().map(Value::atom) {
            Some("*") => self.untagged(&values[1..]),
            Some("+") => {
                self.continued = true;
                check(!self.waiting.is_empty(), || "a continuation nobody asked for".into())
            }
            Some(tag) => self.tagged(tag, &values[1..]),
            None => Err("an empty line".into()),
        }
    }

    fn front(&self) -> Option<&Kind> {
        self.waiting.front().map(|sent| &sent.kind)
    }

    fn untagged(&mut self, values: &[Value]) -> Checked {
        let first = values.first().map_or("", Value::atom).to_ascii_uppercase();
        if let Some(number) = values.first().and_then(Value::number) {
            let word = values.get(1).map_or("", Value::atom).to_ascii_uppercase();
            check(self.front().is_some(), || "data while no command is in progress".into())?;
            return match word.as_str() {
                "EXISTS" => self.exists(number),
                "RECENT" => Ok(()),
                "EXPUNGE" => self.expunge(number),
                "FETCH" => self.fetch(number, values.get(2).map_or(&[], Value::list)),
                _ => Err(format!("unknown data {word}")),
            };
        }
        match first.as_str() {
            "FLAGS" => {
                let flags = values.get(1).map_or(&[][..], Value::list);
                self.any_folder()?.keywords.extend(flags.iter().map(Value::text));
                Ok(())
            }
            "OK" => self.code(values.get(1).map_or("", Value::atom)),
            "SEARCH" => self.found(&values[1..]),
            "VANISHED" => self.vanished(&values[1..]),
            "BYE" => {
                self.ended = true;
                Ok(())
            }
            "LIST" | "LSUB" | "STATUS" | "CAPABILITY" | "ENABLED" | "ESEARCH" => Ok(()),
            other => Err(format!("unknown response {other}")),
        }
    }

    /// The folder being selected, or the selected one.
    fn any_folder(&mut self) -> Result<&mut Folder, String> {
        let selecting = matches!(self.front(), Some(Kind::Select { .. }));
        let folder = if selecting { &mut self.opening } else { &mut self.folder };
        folder.as_mut().ok_or_else(|| "no folder is selected".into())
    }

    fn exists(&mut self, number: u64) -> Checked {
        let selecting = matches!(self.front(), Some(Kind::Select { .. }));
        let folder = self.any_folder()?;
        let count = usize::try_from(number).unwrap();
        if selecting && !std::mem::replace(&mut folder.is_counted, true) {
            folder.expected = Some(count);
            return Ok(());
        }
        folder.settle()?;
        folder.late += count.saturating_sub(folder.messages.len());
        check(count >= folder.messages.len(), || {
            format!("EXISTS {count} after {}", folder.messages.len())
        })?;
        folder.messages.resize(count, Known::default());
        Ok(())
    }

    fn may_expunge(&self) -> Checked {
        let forbidden = match self.front() {
            Some(Kind::Store { by_number, .. } | Kind::Search { by_number }) => *by_number,
            // RFC 3501 §7.4.1: nor while no command is in progress.
            Some(Kind::FetchByNumber) | None => true,
            _ => false,
        };
        check(!forbidden, || format!("EXPUNGE during {:?}", self.front()))
    }

    fn expunge(&mut self, number: u64) -> Checked {
        self.may_expunge()?;
        check(self.mode != Mode::Qresync, || {
            "EXPUNGE after QRESYNC was enabled".into()
        })?;
        let folder = self.any_folder()?;
        let at = usize::try_from(number).unwrap();
        check((1..=folder.messages.len()).contains(&at), || {
            format!("EXPUNGE {at} of {}", folder.messages.len())
        })?;
        let known = folder.messages.remove(at - 1);
        folder.gone.extend(known.uid);
        Ok(())
    }

    /// RFC 7162 §3.2.10.
    fn vanished(&mut self, values: &[Value]) -> Checked {
        check(self.mode == Mode::Qresync, || "VANISHED without QRESYNC".into())?;
        let earlier = values.first().is_some_and(|v| !v.list().is_empty());
        let set = values.last().map_or("", Value::atom);
        let uids = numbers(set).ok_or_else(|| format!("not a UID set: {set}"))?;
        if !earlier {
            self.may_expunge()?;
        }
        let folder = self.any_folder()?;
        for uid in uids {
            if let Some(at) = folder.messages.iter().position(|known| known.uid == Some(uid)) {
                folder.messages.remove(at);
                folder.gone.insert(uid);
            } else if !earlier {
                let at = folder.unknown_place(uid)?;
                folder.messages.remove(at);
                folder.gone.insert(uid);
            }
        }
        Ok(())
    }

    fn fetch(&mut self, number: u64, items: &[Value]) -> Checked {
        let (mode, truth) = (self.mode, Arc::clone(&self.truth));
        let storing = matches!(self.front(), Some(Kind::Store { .. }));
        let selecting = matches!(self.front(), Some(Kind::Select { .. }));
        let folder = self.any_folder()?;
        let at = usize::try_from(number).unwrap();
        if selecting {
            return folder.resynced(at, items);
        }
        check((1..=folder.messages.len()).contains(&at), || {
            format!("FETCH {at} of {}", folder.messages.len())
        })?;
        let mut told = BTreeMap::new();
        for pair in items.chunks(2) {
            told.insert(pair[0].atom().to_ascii_uppercase(), pair.get(1).cloned());
        }
        let value = |name: &str| told.get(name).cloned().flatten();
        if let Some(uid) = value("UID").and_then(|v| v.number()) {
            folder.named(at - 1, u32::try_from(uid).unwrap())?;
        }
        let modseq = value("MODSEQ").and_then(|v| v.list().first().and_then(Value::number));
        let flags = value("FLAGS").map(|v| folder.flags(v.list())).transpose()?;
        let known = &mut folder.messages[at - 1];
        if let Some(flags) = flags {
            let differs = known.flags.as_ref().is_some_and(|old| *old != flags);
            if mode != Mode::Plain && differs && !storing {
                let (old, new) = (known.modseq, modseq);
                check(new.is_some() && (old.is_none() || new > old), || {
                    format!("flags of {at} changed with MODSEQ {new:?} after {old:?}")
                })?;
            }
            known.flags = Some(flags);
            known.told = true;
        }
        if let Some(modseq) = modseq {
            check(known.modseq.is_none_or(|old| old <= modseq), || {
                format!("MODSEQ {modseq} of {at} after {:?}", known.modseq)
            })?;
            known.modseq = Some(modseq);
        }
        let uid = known.uid;
        for (name, value) in &told {
            if let (true, Some(uid), Some(value)) = (name.starts_with("BODY[HEADER.FIELDS"), uid, value) {
                truth.lock().unwrap().learn(folder.validity, uid, value.text().trim())?;
            }
        }
        Ok(())
    }

    fn code(&mut self, code: &str) -> Checked {
        let Some(code) = code.strip_prefix('[') else {
            return Ok(());
        };
        let words: Vec<&str> = code.trim_end_matches(']').split(' ').collect();
        let number = || words.get(1).and_then(|word| word.parse::<u64>().ok());
        match (words[0], number()) {
            ("UIDVALIDITY", Some(validity)) => self.any_folder()?.validity_is(u32::try_from(validity).unwrap()),
            ("UIDNEXT", Some(next)) => {
                self.any_folder()?.uid_next = u32::try_from(next).unwrap();
                Ok(())
            }
            ("HIGHESTMODSEQ", Some(modseq)) => self.highest(modseq),
            ("COPYUID", _) => self.copied(&words),
            _ => Ok(()),
        }
    }

    fn highest(&mut self, modseq: u64) -> Checked {
        let folder = self.any_folder()?;
        let (before, name) = (folder.highest, folder.name.clone());
        folder.highest = modseq;
        check(modseq >= before, || {
            format!("HIGHESTMODSEQ {modseq} of {name} after {before}")
        })
    }

    /// COPYUID tells the truth: what was learnt of the source holds for the copy.
    fn copied(&mut self, words: &[&str]) -> Checked {
        let (Some(validity), Some(from), Some(to)) = (
            words.get(1).and_then(|word| word.parse().ok()),
            words.get(2).and_then(|set| numbers(set)),
            words.get(3).and_then(|set| numbers(set)),
        ) else {
            return Err(format!("not a COPYUID: {words:?}"));
        };
        check(from.len() == to.len(), || "COPYUID with sets of two sizes".into())?;
        let truth = Arc::clone(&self.truth);
        let source = self.any_folder()?.validity;
        let mut truth = truth.lock().unwrap();
        for (from, to) in from.into_iter().zip(to) {
            if let Some(id) = truth.id(source, from) {
                truth.learn(validity, to, &id)?;
            }
        }
        Ok(())
    }

    fn found(&mut self, values: &[Value]) -> Checked {
        let by_number = match self.front() {
            Some(Kind::Search { by_number }) => *by_number,
            _ => return Err("SEARCH was not asked".into()),
        };
        let folder = self.any_folder()?;
        for value in values.iter().filter_map(Value::number) {
            let value = u32::try_from(value).unwrap();
            let good = if by_number {
                (1..=folder.messages.len()).contains(&(value as usize))
            } else {
                folder.messages.iter().any(|known| known.uid == Some(value)) || folder.unknown_place(value).is_ok()
            };
            check(good, || format!("SEARCH found {value}, which is not there"))?;
        }
        Ok(())
    }

    fn tagged(&mut self, tag: &str, values: &[Value]) -> Checked {
        let Some(sent) = self.waiting.front().cloned() else {
            return Err(format!("{tag} was not sent"));
        };
        check(sent.tag == tag, || format!("{tag} before {}", sent.tag))?;
        let status = values.first().map_or("", Value::atom);
        check(status != "BAD", || format!("BAD to {:?}", sent.kind))?;
        let code = values.get(1).map_or("", Value::atom).to_owned();
        self.conclude(&sent.kind, status == "OK", &code)?;
        self.waiting.pop_front();
        self.continued = false;
        Ok(())
    }

    fn conclude(&mut self, kind: &Kind, done: bool, code: &str) -> Checked {
        match kind {
            Kind::Select { read_only, resync, .. } => {
                let opened = self.opening.take().filter(|_| done);
                if let Some(folder) = &opened {
                    let modseq = self.mode == Mode::Plain || folder.highest > 0;
                    check(modseq, || "SELECT without HIGHESTMODSEQ".into())?;
                }
                self.folder = opened.map(|folder| folder.opened((*read_only, *resync))).transpose()?;
                Ok(())
            }
            Kind::Deselect => {
                self.leave();
                Ok(())
            }
            Kind::Store {
                change, flags, silent, ..
            } => self.stored((*change, flags, *silent), done, code),
            Kind::Append { id } if done => {
                let words: Vec<&str> = code.trim_matches(['[', ']']).split(' ').collect();
                let (Some(validity), Some(uid)) = (
                    words.get(1).and_then(|word| word.parse().ok()),
                    words.get(2).and_then(|word| word.parse().ok()),
                ) else {
                    return Err("APPEND without APPENDUID".into());
                };
                self.truth.lock().unwrap().learn(validity, uid, id)
            }
            _ if code.starts_with('[') => self.code(code),
            _ => Ok(()),
        }
    }

    /// What a silent STORE did is known without being told.
    fn stored(&mut self, (change, flags, silent): (char, &BTreeSet<String>, bool), done: bool, code: &str) -> Checked {
        let by_number = matches!(self.front(), Some(Kind::Store { by_number: true, .. }));
        let modified = match code.strip_prefix("[MODIFIED ") {
            Some(set) => numbers(set.trim_end_matches(']')).ok_or("not a MODIFIED")?,
            None => Vec::new(),
        };
        let all = done && modified.is_empty();
        let condstore = self.mode != Mode::Plain;
        let folder = self.any_folder()?;
        for (at, known) in folder
            .messages
            .iter_mut()
            .enumerate()
            .filter(|(_, known)| known.targeted)
        {
            if (!silent || condstore) && all && by_number {
                check(known.told || silent, || {
                    format!("STORE told nothing of message {}", at + 1)
                })?;
            }
            let refused = if by_number {
                u32::try_from(at + 1).ok()
            } else {
                known.uid
            };
            if known.told || refused.is_some_and(|refused| modified.contains(&refused)) {
                continue;
            }
            if known.uid.is_none() && !by_number {
                // Whether the set named it is not known.
                known.flags = None;
            }
            if let Some(now) = &mut known.flags {
                match change {
                    '+' => now.extend(flags.iter().cloned()),
                    '-' => now.retain(|flag| !flags.contains(flag)),
                    _ => now.clone_from(flags),
                }
            }
        }
        Ok(())
    }
}

impl Folder {
    /// After what VANISHED took away, the messages are as many as EXISTS said: those that are not remembered come last.
    fn settle(&mut self) -> Checked {
        let Some(count) = self.expected.take() else {
            return Ok(());
        };
        check(self.messages.len() <= count, || {
            format!(
                "EXISTS {count}, and {} remembered ones are not gone",
                self.messages.len()
            )
        })?;
        self.messages.resize(count, Known::default());
        Ok(())
    }

    fn opened(mut self, (read_only, resync): (bool, Resync)) -> Result<Self, String> {
        self.settle()?;
        self.read_only = read_only;
        let unknown = self.messages.iter().filter(|known| known.uid.is_none()).count();
        check(
            !(resync == Resync::Everything && self.is_kept) || unknown <= self.late,
            || format!("{unknown} messages were not told at SELECT"),
        )?;
        Ok(self)
    }

    fn validity_is(&mut self, validity: u32) -> Checked {
        let before = std::mem::replace(&mut self.validity, validity);
        if self.is_kept && before != validity {
            // Another folder of that name: nothing remembered holds.
            *self = Self {
                name: std::mem::take(&mut self.name),
                expected: self.expected,
                is_counted: self.is_counted,
                keywords: std::mem::take(&mut self.keywords),
                validity,
                ..Self::default()
            };
            return Ok(());
        }
        check(before == 0 || before == validity, || {
            format!("UIDVALIDITY {validity} of {} after {before}", self.name)
        })
    }

    /// A FETCH during SELECT (QRESYNC) names the UID; the number is the one of the new list.
    fn resynced(&mut self, at: usize, items: &[Value]) -> Checked {
        let mut told = BTreeMap::new();
        for pair in items.chunks(2) {
            told.insert(pair[0].atom().to_ascii_uppercase(), pair.get(1).cloned());
        }
        self.settle()?;
        let value = |name: &str| told.get(name).cloned().flatten();
        let uid = value("UID")
            .and_then(|v| v.number())
            .ok_or("FETCH without UID at SELECT")?;
        let modseq = value("MODSEQ").and_then(|v| v.list().first().and_then(Value::number));
        let flags = value("FLAGS").map(|v| self.flags(v.list())).transpose()?;
        self.named(at - 1, u32::try_from(uid).unwrap())?;
        let known = &mut self.messages[at - 1];
        (known.flags, known.modseq) = (flags, modseq);
        check(modseq.is_some(), || "FETCH without MODSEQ at SELECT".into())
    }

    /// Where a message of that UID may be, among those whose UID is not known.
    fn unknown_place(&self, uid: u32) -> Result<usize, String> {
        let after = self
            .messages
            .iter()
            .rposition(|known| known.uid.is_some_and(|u| u < uid));
        let at = after.map_or(0, |at| at + 1);
        match self.messages.get(at) {
            Some(known) if known.uid.is_none() => Ok(at),
            _ => Err(format!("UID {uid} has no place")),
        }
    }

    /// The message at `at` has that UID.
    fn named(&mut self, at: usize, uid: u32) -> Checked {
        check(!self.gone.contains(&uid), || format!("UID {uid} came back"))?;
        let known = self.messages.get(at).ok_or("no message of that number")?;
        check(known.uid.is_none_or(|old| old == uid), || {
            format!("message {} was UID {:?} and is {uid}", at + 1, known.uid)
        })?;
        let below = self.messages[..at].iter().filter_map(|known| known.uid).max();
        let above = self.messages[at + 1..].iter().filter_map(|known| known.uid).min();
        check(below.is_none_or(|b| b < uid) && above.is_none_or(|a| a > uid), || {
            format!("UID {uid} at {} is out of order", at + 1)
        })?;
        self.messages[at].uid = Some(uid);
        Ok(())
    }

    /// Flags as told, `\Recent` apart. Every keyword was announced.
    fn flags(&self, list: &[Value]) -> Result<BTreeSet<String>, String> {
        let flags: BTreeSet<String> = list.iter().map(Value::text).filter(|flag| flag != "\\Recent").collect();
        match flags.iter().find(|flag| !self.keywords.contains(*flag)) {
            Some(flag) => Err(format!("{flag} was not in FLAGS")),
            None => Ok(flags),
        }
    }
}
