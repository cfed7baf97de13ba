//! What one client must have been told: it believes every line, and says where a line cannot be true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use crate::folder::{Folder, Known};
use crate::notice::{Notice, Others, Selected};
use crate::truth::Truth;
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
            Self::Plain => "ENABLE X-NOTHING",
            Self::Condstore => "ENABLE CONDSTORE",
            Self::Qresync => "ENABLE QRESYNC",
        }
    }
}

/// How far the login is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Nobody,
    /// Nothing is enabled yet.
    LoggedIn,
    Ready,
}

/// What a SELECT says is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resync {
    Nothing,
    /// Messages of named UIDs: of others nothing is told.
    Some,
    Everything,
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
    /// `UID FETCH $`
    FetchSaved,
    Store {
        change: char,
        flags: BTreeSet<String>,
        silent: bool,
        by_number: bool,
    },
    Search {
        by_number: bool,
        saving: Saving,
    },
    Copy {
        by_number: bool,
    },
    Move {
        by_number: bool,
    },
    /// What the messages are, in their order.
    Append {
        ids: Vec<String>,
    },
    Replace {
        id: String,
    },
    Create(String),
    Delete(String),
    Rename(String, String),
    Notify(Notice),
    List,
    Login,
    Enable(Mode),
    Unauthenticate,
    Compress,
    Noop,
    Idle,
    Other,
}

/// What a search has to do with `$`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Saving {
    No,
    /// Its result is saved, and told.
    Saves,
    /// It searches in what was saved.
    Within,
}

impl Kind {
    /// Means the same whatever is told before it.
    pub(crate) fn is_free(&self) -> bool {
        matches!(self, Self::Fetch | Self::Noop | Self::Other | Self::Append { .. })
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) tag: String,
    pub(crate) kind: Kind,
    pub(crate) due: Due,
}

/// What others were told before a command was sent: after a NOOP this client knows it too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Due {
    pub(crate) gone: Vec<u32>,
    pub(crate) modseqs: Vec<(u32, u64)>,
    /// The selected folder is deleted: only BYE can be answered.
    pub(crate) is_deleted: bool,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) stage: Stage,
    /// The command that logs in.
    pub(crate) login: String,
    pub(crate) mode: Mode,
    pub(crate) notice: Notice,
    pub(crate) others: Others,
    /// Its transport can be compressed, and is not yet.
    pub(crate) can_compress: bool,
    pub(crate) waiting: VecDeque<Sent>,
    pub(crate) folder: Option<Folder>,
    opening: Option<Folder>,
    /// SELECT is on its way, and what is told is still about the folder of that MAILBOXID.
    leaving: Option<String>,
    /// What it kept of folders it left, for QRESYNC.
    pub(crate) remembered: BTreeMap<String, Folder>,
    pub(crate) truth: Arc<Mutex<Truth>>,
    /// The server asks for more: a literal, or DONE.
    pub(crate) continued: bool,
    pub(crate) ended: bool,
}

pub(crate) type Checked = Result<(), String>;

pub(crate) fn check(good: bool, what: impl FnOnce() -> String) -> Checked {
    if good { Ok(()) } else { Err(what()) }
}

impl Model {
    pub(crate) fn new(login: String, truth: Arc<Mutex<Truth>>) -> Self {
        Self {
            stage: Stage::Nobody,
            login,
            mode: Mode::Plain,
            notice: Notice::default(),
            others: Others::default(),
            can_compress: false,
            waiting: VecDeque::new(),
            folder: None,
            opening: None,
            leaving: None,
            remembered: BTreeMap::new(),
            truth,
            continued: false,
            ended: false,
        }
    }

    /// The same client on another connection: of folders it left it knows what it knew.
    pub(crate) fn reconnected(&mut self) {
        *self = Self {
            remembered: std::mem::take(&mut self.remembered),
            ..Self::new(std::mem::take(&mut self.login), Arc::clone(&self.truth))
        };
    }

    /// Whether a number means the same message until the next command is answered.
    pub(crate) fn numbers_hold(&self) -> bool {
        self.notice.selected != Selected::AtOnce
    }

    /// Notes a command that is on its way; `targets` are the messages a STORE names.
    pub(crate) fn sent(&mut self, tag: String, kind: Kind, targets: &[usize]) {
        if let Kind::Select { name, resync, .. } = &kind {
            self.leaving = self.folder.as_ref().map(|folder| folder.object.clone());
            let kept = self.remembered.get(name).cloned();
            self.leave();
            let mut opening = Folder {
                name: name.clone(),
                ..Folder::default()
            };
            if *resync != Resync::Nothing
                && let Some(kept) = kept
            {
                opening = Folder {
                    keywords: BTreeSet::new(),
                    is_kept: true,
                    is_counted: false,
                    late: 0,
                    saved: BTreeSet::new(),
                    ..kept
                };
            }
            self.opening = Some(opening);
        }
        self.began(&kind);
        if let (Kind::Store { .. }, Some(folder)) = (&kind, &mut self.folder) {
            for known in &mut folder.messages {
                (known.targeted, known.told, known.is_late) = (false, false, false);
            }
            for &at in targets {
                folder.messages[at].targeted = true;
            }
        }
        let due = self.due(&kind);
        self.waiting.push_back(Sent { tag, kind, due });
    }

    fn began(&mut self, kind: &Kind) {
        match kind {
            Kind::List => self.others.names = Some(BTreeSet::new()),
            Kind::Notify(_) => self.others.figures.clear(),
            Kind::FetchSaved => {
                if let Some(folder) = &mut self.folder {
                    folder.fetched.clear();
                }
            }
            _ => {}
        }
    }

    /// What this client must know after the command that is now sent.
    fn due(&self, kind: &Kind) -> Due {
        let Some(folder) = &self.folder else {
            return Due::default();
        };
        let truth = self.truth.lock().unwrap();
        let known = || {
            folder
                .messages
                .iter()
                .filter_map(|known| Some((known.uid?, known.modseq)))
        };
        let leaves = matches!(
            kind,
            Kind::Select { .. } | Kind::Deselect | Kind::Unauthenticate | Kind::Delete(_)
        );
        let later = |uid, modseq: Option<u64>| (truth.modseq(folder.validity, uid) > modseq?).then_some(uid);
        let listens = *kind == Kind::Noop;
        let tells_modseq = listens && self.mode != Mode::Plain && !self.notice.hides_flags;
        Due {
            gone: known()
                .map(|(uid, _)| uid)
                .filter(|uid| listens && truth.is_gone(folder.validity, *uid))
                .collect(),
            modseqs: known()
                .filter_map(|(uid, modseq)| later(uid, modseq).filter(|_| tells_modseq))
                .map(|uid| (uid, truth.modseq(folder.validity, uid)))
                .collect(),
            is_deleted: !leaves && (listens || !self.notice.is_silent()) && truth.is_deleted(&folder.object),
        }
    }

    /// Whether what it knows is what a newcomer found, if it looks at that folder.
    pub(crate) fn agree(&self, found: &Folder) -> Checked {
        let Some(folder) = self.folder.as_ref().filter(|folder| folder.validity == found.validity) else {
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

    /// Whether what it was told of other folders is what a newcomer found: figures by UIDVALIDITY, and names.
    pub(crate) fn agree_on_others(&self, found: &Others) -> Checked {
        let selected = self.folder.as_ref().map(|folder| folder.validity);
        for (validity, figures) in self.others.figures.iter().filter(|_| self.notice.of_others) {
            let is = found.figures.get(validity);
            let good = selected == Some(*validity) || is.is_none_or(|is| is == figures);
            check(good, || format!("was told {figures:?} of {validity}, and it is {is:?}"))?;
        }
        let listed = self.others.names.as_ref().filter(|_| self.notice.of_others);
        check(listed.is_none_or(|names| Some(names) == found.names.as_ref()), || {
            format!("was told of {listed:?}, and there are {:?}", found.names)
        })
    }

    fn leave(&mut self) {
        let left = self.folder.take();
        if let Some(folder) = &left {
            self.others.figures.remove(&folder.validity);
        }
        if let Some(folder) = left
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
            let is_asked = self.front().is_some() || self.notice.selected != Selected::Held;
            check(is_asked, || "data while no command is in progress".into())?;
            if self.leaving.is_some() {
                return Ok(());
            }
            return match word.as_str() {
                "EXISTS" => self.exists(number),
                "RECENT" => Ok(()),
                "EXPUNGE" => self.expunge(number),
                "FETCH" => self.fetch(number, values.get(2).map_or(&[], Value::list)),
                _ => Err(format!("unknown data {word}")),
            };
        }
        match first.as_str() {
            "FLAGS" | "VANISHED" if self.leaving.is_some() => Ok(()),
            "FLAGS" => {
                let flags = values.get(1).map_or(&[][..], Value::list);
                self.any_folder()?.keywords.extend(flags.iter().map(Value::text));
                Ok(())
            }
            "OK" => self.code(values.get(1).map_or("", Value::atom)),
            "SEARCH" | "SORT" => self.found(&values[1..]),
            "ESEARCH" => self.found_extended(&values[1..]),
            "VANISHED" => self.vanished(&values[1..]),
            "BYE" => self.farewell(),
            "STATUS" | "LIST" => {
                let is_asked = self.front().is_some() || self.notice.of_others;
                check(is_asked, || format!("{first} while no command is in progress"))?;
                if first == "LIST" {
                    self.others.list(&values[1..]);
                    return Ok(());
                }
                self.others.status(&values[1..])
            }
            "CAPABILITY" | "ENABLED" => Ok(()),
            other => Err(format!("unknown response {other}")),
        }
    }

    /// The session ends if its folder was deleted, and for nothing else.
    fn farewell(&mut self) -> Checked {
        let opened = self.folder.as_ref().or(self.opening.as_ref());
        let open = opened.map(|folder| &folder.object).into_iter().chain(&self.leaving);
        let truth = self.truth.lock().unwrap();
        let is_doomed = open.into_iter().any(|object| truth.is_doomed(object));
        self.ended = true;
        check(is_doomed, || "BYE though the folder is there".into())
    }

    /// The folder being selected, or the selected one.
    fn any_folder(&mut self) -> Result<&mut Folder, String> {
        let selecting = matches!(self.front(), Some(Kind::Select { .. }));
        let folder = if selecting { &mut self.opening } else { &mut self.folder };
        folder.as_mut().ok_or_else(|| "no folder is selected".into())
    }

    fn exists(&mut self, number: u64) -> Checked {
        let selecting = matches!(self.front(), Some(Kind::Select { .. }));
        let is_named = self.notice.names_new && !selecting && !matches!(self.front(), Some(Kind::Notify(_)));
        let storing = matches!(self.front(), Some(Kind::Store { .. }));
        let folder = self.any_folder()?;
        let count = usize::try_from(number).unwrap();
        if selecting && !std::mem::replace(&mut folder.is_counted, true) {
            folder.expected = Some(count);
            return Ok(());
        }
        folder.settle()?;
        folder.late += count.saturating_sub(folder.messages.len());
        let known = Known {
            is_fresh: is_named,
            is_late: storing,
            ..Known::default()
        };
        check(count >= folder.messages.len(), || {
            format!("EXISTS {count} after {}", folder.messages.len())
        })?;
        folder.messages.resize(count, known);
        Ok(())
    }

    fn may_expunge(&self) -> Checked {
        let forbidden = match self.front() {
            Some(Kind::Store { by_number, .. } | Kind::Search { by_number, .. }) => *by_number,
            Some(Kind::FetchByNumber) => true,
            // RFC 3501 §7.4.1: nor while no command is in progress, unless RFC 5465 §5.3 allows it.
            None => self.notice.selected != Selected::AtOnce,
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
        if let Some(uid) = known.uid {
            let validity = folder.validity;
            self.truth.lock().unwrap().went(validity, uid);
        }
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
        let truth = Arc::clone(&self.truth);
        let folder = self.any_folder()?;
        for uid in uids {
            if !earlier {
                truth.lock().unwrap().went(folder.validity, uid);
            }
            if let Some(at) = folder.messages.iter().position(|known| known.uid == Some(uid)) {
                folder.messages.remove(at);
                folder.gone.insert(uid);
            } else if !earlier {
                let at = folder.unknown_place(uid)?;
                folder.messages.remove(at);
                folder.gone.insert(uid);
                folder.blur(at);
            }
        }
        Ok(())
    }

    /// What the SELECT under way says is remembered.
    fn selecting(&self) -> Option<Resync> {
        match self.front() {
            Some(Kind::Select { resync, .. }) => Some(*resync),
            _ => None,
        }
    }

    fn fetch(&mut self, number: u64, items: &[Value]) -> Checked {
        let (mode, truth, hides_flags) = (self.mode, Arc::clone(&self.truth), self.notice.hides_flags);
        // What NOTIFY fetches of a new message has the items that were asked for, and MODSEQ is none of them. So has a FETCH; where others'
        // changes are not told by themselves it is the first to show them.
        let may_lack_modseq = self.notice.names_new || hides_flags;
        let storing = matches!(self.front(), Some(Kind::Store { .. }));
        let selecting = self.selecting();
        let folder = self.any_folder()?;
        if selecting == Some(Resync::Nothing) {
            // What others changed since SELECT looked.
            folder.settle()?;
        }
        let at = usize::try_from(number).unwrap();
        let is_late = folder.expected.is_none() && at + folder.late > folder.messages.len();
        if matches!(selecting, Some(Resync::Some | Resync::Everything)) && !is_late {
            folder.resynced(at, items)?;
            if hides_flags {
                (folder.messages[at - 1].flags, folder.messages[at - 1].modseq) = (None, None);
            }
            return Ok(());
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
                let is_later = new.is_some() && (old.is_none() || new > old);
                check(is_later || (new.is_none() && may_lack_modseq), || {
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
        if hides_flags {
            // Later changes are not told: what was said does not last.
            (known.flags, known.modseq) = (None, None);
        }
        folder.fetched.extend(uid.filter(|_| told.contains_key("FLAGS")));
        if let (Some(uid), Some(modseq)) = (uid, modseq) {
            truth.lock().unwrap().changed(folder.validity, uid, modseq);
        }
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
            ("MAILBOXID", _) => {
                let object = words
                    .get(1)
                    .copied()
                    .unwrap_or_default()
                    .trim_matches(['(', ')'])
                    .to_owned();
                self.any_folder()?.object = object;
                Ok(())
            }
            ("CLOSED", _) => self.closed(),
            ("APPENDUID", _) => match self.front().cloned() {
                Some(Kind::Replace { id }) => self.appended(&words, &[id]),
                other => Err(format!("APPENDUID during {other:?}")),
            },
            _ => Ok(()),
        }
    }

    /// RFC 7162 §3.2.11; or the folder that this client deletes is the selected one.
    fn closed(&mut self) -> Checked {
        let Some(Kind::Delete(name)) = self.front().cloned() else {
            let selecting = matches!(self.front(), Some(Kind::Select { .. }));
            let was_selected = self.leaving.take().is_some();
            return check(selecting && was_selected, || {
                format!("CLOSED during {:?}", self.front())
            });
        };
        let folder = self.folder.take().ok_or("CLOSED though no folder is selected")?;
        let is_doomed = self.truth.lock().unwrap().is_doomed(&folder.object);
        self.others.figures.remove(&folder.validity);
        check(is_doomed, || format!("CLOSED of {} by a DELETE of {name}", folder.name))
    }

    /// `APPENDUID validity uids` names the messages that were sent.
    fn appended(&mut self, words: &[&str], ids: &[String]) -> Checked {
        let (Some(validity), Some(uids)) = (
            words.get(1).and_then(|word| word.parse().ok()),
            words.get(2).and_then(|set| numbers(set)),
        ) else {
            return Err(format!("not an APPENDUID: {words:?}"));
        };
        check(uids.len() == ids.len(), || {
            format!("{} UIDs for {} messages", uids.len(), ids.len())
        })?;
        self.put(validity, uids.len());
        let mut truth = self.truth.lock().unwrap();
        uids.into_iter()
            .zip(ids)
            .try_for_each(|(uid, id)| truth.learn(validity, uid, id))
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
        self.put(validity, to.len());
        let mut truth = truth.lock().unwrap();
        for (from, to) in from.into_iter().zip(to) {
            if let Some(id) = truth.id(source, from) {
                truth.learn(validity, to, &id)?;
            }
        }
        Ok(())
    }

    /// Notes what the client itself put into a folder.
    fn put(&mut self, validity: u32, count: usize) {
        if let Some(folder) = self.folder.as_mut().filter(|folder| folder.validity == validity) {
            folder.own += count;
        }
    }

    fn found(&mut self, values: &[Value]) -> Checked {
        let found: Vec<u32> = values
            .iter()
            .filter_map(Value::number)
            .filter_map(|value| u32::try_from(value).ok())
            .collect();
        self.found_all(&found)
    }

    /// `(TAG "t") [UID] [name value]…`
    fn found_extended(&mut self, values: &[Value]) -> Checked {
        let mut words = values.iter().skip(1).filter(|value| value.atom() != "UID");
        let mut found = Vec::new();
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            if ["ALL", "MIN", "MAX"].contains(&name.atom()) {
                let set = value.atom();
                found.extend(numbers(set).ok_or_else(|| format!("not a set: {set}"))?);
            }
        }
        if let Some(Kind::Search {
            saving: Saving::Saves, ..
        }) = self.front()
        {
            self.any_folder()?.saved = found.iter().copied().collect();
        }
        self.found_all(&found)
    }

    fn found_all(&mut self, found: &[u32]) -> Checked {
        let (by_number, saving) = match self.front() {
            Some(Kind::Search { by_number, saving }) => (*by_number, *saving),
            _ => return Err("SEARCH was not asked".into()),
        };
        let folder = self.any_folder()?;
        for &value in found {
            let good = if by_number {
                (1..=folder.messages.len()).contains(&(value as usize))
            } else {
                folder.messages.iter().any(|known| known.uid == Some(value)) || folder.unknown_place(value).is_ok()
            };
            check(good, || format!("SEARCH found {value}, which is not there"))?;
            let was_saved = saving != Saving::Within || folder.saved.contains(&value);
            check(was_saved, || format!("SEARCH found {value}, which was not saved"))?;
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
        check(!sent.due.is_deleted, || {
            "an answer though the folder was deleted before".into()
        })?;
        self.conclude(&sent.kind, status == "OK", &code)?;
        if let Some(folder) = &self.folder {
            folder.has_learnt(&sent)?;
        }
        self.waiting.pop_front();
        self.continued = false;
        Ok(())
    }

    fn conclude(&mut self, kind: &Kind, done: bool, code: &str) -> Checked {
        match kind {
            Kind::Select { read_only, resync, .. } => {
                check(self.leaving.is_none(), || "SELECT without CLOSED".into())?;
                let opened = self.opening.take().filter(|_| done);
                if let Some(folder) = &opened {
                    // While it is selected its figures are not told.
                    self.others.figures.remove(&folder.validity);
                }
                if let Some(folder) = &opened {
                    let modseq = self.mode == Mode::Plain || folder.highest > 0;
                    check(modseq, || "SELECT without HIGHESTMODSEQ".into())?;
                }
                self.folder = opened.map(|folder| folder.opened((*read_only, *resync))).transpose()?;
                Ok(())
            }
            Kind::Deselect => {
                check(done, || "the folder could not be left".into())?;
                self.leave();
                Ok(())
            }
            Kind::Store {
                change, flags, silent, ..
            } => self.stored((*change, flags, *silent), done, code),
            Kind::Append { ids } if done => {
                let words: Vec<&str> = code.trim_matches(['[', ']']).split(' ').collect();
                self.appended(&words, ids)
            }
            Kind::Create(_) | Kind::Delete(_) | Kind::Rename(..) => self.placed(kind, done, code),
            Kind::Notify(notice) => {
                check(done, || "NOTIFY was refused".into())?;
                self.notified(*notice);
                Ok(())
            }
            Kind::Login | Kind::Enable(_) | Kind::Unauthenticate | Kind::Compress => {
                check(done, || format!("{kind:?} was refused"))?;
                self.entered(kind);
                Ok(())
            }
            Kind::Search {
                saving: Saving::Saves, ..
            } if !done => {
                self.any_folder()?.saved.clear();
                Ok(())
            }
            Kind::FetchSaved if done => self.any_folder()?.fetched_saved(),
            _ if code.starts_with('[') => self.code(code),
            _ => Ok(()),
        }
    }

    /// A folder came, went, or has another name.
    fn placed(&mut self, kind: &Kind, done: bool, code: &str) -> Checked {
        check(done, || format!("{kind:?} was refused"))?;
        let mut truth = self.truth.lock().unwrap();
        match kind {
            Kind::Create(name) => {
                let object = code.split(['(', ')']).nth(1).unwrap_or_default();
                check(!object.is_empty(), || "CREATE without MAILBOXID".into())?;
                truth.created(name, object);
                self.others.did(None, Some(name));
            }
            Kind::Delete(name) => {
                let object = truth.deleted(name);
                self.others.did(Some(name), None);
                let is_open = self.folder.as_ref().map(|folder| &folder.object) == object.as_ref();
                check(!is_open, || {
                    format!("DELETE of {name}, the selected folder, without CLOSED")
                })?;
            }
            Kind::Rename(from, to) => {
                let object = truth.renamed(from, to);
                self.others.did(Some(from), Some(to));
                if let Some(folder) = self
                    .folder
                    .as_mut()
                    .filter(|folder| Some(&folder.object) == object.as_ref())
                {
                    folder.name.clone_from(to);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn notified(&mut self, notice: Notice) {
        self.notice = notice;
        self.others.names = None;
        if !notice.with_status {
            self.others.figures.clear();
        }
        for known in self.folder.iter_mut().flat_map(|folder| &mut folder.messages) {
            known.is_fresh = false;
            if notice.hides_flags {
                (known.flags, known.modseq) = (None, None);
            }
        }
    }

    fn entered(&mut self, kind: &Kind) {
        match kind {
            Kind::Login => self.stage = Stage::LoggedIn,
            Kind::Enable(mode) => (self.stage, self.mode) = (Stage::Ready, *mode),
            Kind::Unauthenticate => {
                self.leave();
                (self.stage, self.mode) = (Stage::Nobody, Mode::Plain);
                (self.notice, self.others) = (Notice::default(), Others::default());
            }
            Kind::Compress => self.can_compress = false,
            _ => {}
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
        let is_told_unasked = self.notice.selected != Selected::Held;
        let hides_flags = self.notice.hides_flags;
        let folder = self.any_folder()?;
        for known in folder.messages.iter_mut().filter(|known| known.is_late) {
            known.flags = None;
        }
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
            let is_refused = refused.is_some_and(|refused| modified.contains(&refused));
            if hides_flags || (silent && is_told_unasked && known.told && !is_refused) {
                // Whether it was told before or after the change is not known.
                known.flags = None;
            }
            if known.told || is_refused {
                continue;
            }
            if !done || (known.uid.is_none() && !by_number) {
                // Whether it is gone already, or the set named it, is not known.
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
