//! The box as a client was told it is, and what differs now (RFC 5465 §5).

use std::collections::{BTreeMap, BTreeSet};

use super::{Events, Groups};
use crate::imap::command::list::write_named;
use crate::imap::listing::{Attributes, Shown, is_below};
use crate::imap::request::{Annotated, Folder, FolderHandle, Survey, Surveyed};
use crate::imap::session::{Core, Extension};
use crate::imap::{names, wire};

/// The box as it was told last.
#[derive(Debug, Default)]
pub(super) struct Told {
    folders: BTreeMap<FolderHandle, Surveyed>,
    /// Names subscribed to, whether a folder has them or not.
    subscribed: BTreeSet<String>,
    annotations: BTreeMap<Option<FolderHandle>, BTreeMap<String, u64>>,
}

/// What this session did itself, which is not told (RFC 5465 §5).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// A folder of that name came, went, or was given it.
    Name(String),
    /// A subscription.
    Subscription(String),
    /// An annotation of a folder, or of the box.
    Entry(Option<String>, String),
}

impl Told {
    pub(super) fn of(survey: Survey) -> Self {
        let with_folder = survey.folders.iter().filter(|one| one.listed.subscribed);
        let mut subscribed: BTreeSet<String> = with_folder.map(|one| one.listed.name.clone()).collect();
        subscribed.extend(survey.wishes);
        let annotations = survey.annotations.unwrap_or_default();
        Self {
            folders: survey.folders.into_iter().map(|one| (one.folder, one)).collect(),
            subscribed,
            annotations: annotations
                .into_iter()
                .map(|one| (one.folder, one.entries.into_iter().collect()))
                .collect(),
        }
    }

    pub(super) fn folders(&self) -> impl Iterator<Item = &Surveyed> {
        self.folders.values()
    }

    /// Tells what differs, and remembers it.
    pub(super) fn tell(&mut self, core: &mut Core, groups: &Groups, own: &[Own], survey: Survey) {
        let listed: Vec<Folder> = survey.folders.iter().map(|one| one.listed.clone()).collect();
        let wishes = survey.wishes.clone();
        let annotations = survey.annotations.is_some();
        let mut now = Self::of(survey);
        if !annotations {
            now.annotations = std::mem::take(&mut self.annotations);
        }
        let attributes = Attributes::new(&listed, &wishes, &[Shown::Subscribed]);
        for (name, old) in self.changed_names(&now, groups, own) {
            write_named(core, &attributes.of(name), name, old);
        }
        let selected = core.view().map(|view| view.folder);
        for folder in now.folders.values().filter(|one| selected != Some(one.folder)) {
            let events = groups.events_of(&folder.listed.name, folder.listed.subscribed);
            if tells_messages(events, self.folders.get(&folder.folder), folder) {
                write_status(core, folder, core.enabled.has(Extension::Condstore));
            }
        }
        if annotations {
            self.tell_annotations(core, &now, groups, own);
        }
        *self = now;
    }

    /// Names to be told, with the ones they had before (RFC 5465 §5.4, §5.5).
    fn changed_names<'a>(&'a self, now: &'a Self, groups: &Groups, own: &[Own]) -> BTreeMap<&'a str, Option<&'a str>> {
        let mut names: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        let is_told = |name: &str, event| groups.events_of(name, now.subscribed.contains(name)).has(event);
        let is_own = |name: &str| {
            let mut own_names = own.iter().filter_map(|own| match own {
                Own::Name(own) => Some(own),
                _ => None,
            });
            // Levels above a folder come with it.
            own_names.any(|own| own == name || is_below(own, name))
        };
        let came = now.folders.iter().filter(|(key, _)| !self.folders.contains_key(key));
        let went = self.folders.iter().filter(|(key, _)| !now.folders.contains_key(key));
        for (_, folder) in came.chain(went) {
            let name = folder.listed.name.as_str();
            if is_own(name) {
                continue;
            }
            // The level above is affected too, for it has other children.
            for affected in std::iter::once(name).chain(name.rsplit_once('/').map(|(above, _)| above)) {
                if is_told(affected, Events::NAMES) {
                    names.entry(affected).or_insert(None);
                }
            }
        }
        let renamed = self.renamed(now);
        for (old, new) in &renamed {
            if !is_own(new) && !follows(&renamed, old, new) && is_told(new, Events::NAMES) {
                names.insert(new, Some(old));
            }
        }
        // A subscription goes along with its folder.
        let moved = |name: &str| {
            let mut pairs = renamed.iter().filter(|(old, new)| *old == name || *new == name);
            pairs.any(|(_, new)| is_own(new) || is_told(new, Events::NAMES))
        };
        for name in self.subscribed.symmetric_difference(&now.subscribed) {
            let is_own = own
                .iter()
                .any(|own| matches!(own, Own::Subscription(own) if own == name));
            // Who follows subscriptions hears of the name that leaves them.
            if !is_own && !moved(name) && groups.events_of(name, true).has(Events::SUBSCRIPTIONS) {
                names.entry(name).or_insert(None);
            }
        }
        names
    }

    fn renamed<'a>(&'a self, now: &'a Self) -> Vec<(&'a str, &'a str)> {
        let pairs = self.folders.iter().filter_map(|(key, before)| {
            let after = now.folders.get(key)?;
            Some((before.listed.name.as_str(), after.listed.name.as_str()))
        });
        pairs.filter(|(before, after)| before != after).collect()
    }

    /// Names of the annotations that came, went, or have another value (RFC 5465 §5.6, §5.7).
    fn tell_annotations(&self, core: &mut Core, now: &Self, groups: &Groups, own: &[Own]) {
        for place in self
            .annotations
            .keys()
            .chain(now.annotations.keys())
            .collect::<BTreeSet<_>>()
        {
            let name = match place {
                None if groups.any().has(Events::SERVER_METADATA) => None,
                Some(key) => match now.folders.get(key) {
                    Some(one) if groups.covers(&one.listed, Events::METADATA) => Some(one.listed.name.as_str()),
                    _ => continue,
                },
                None => continue,
            };
            let none = BTreeMap::new();
            let (before, after) = (
                self.annotations.get(place).unwrap_or(&none),
                now.annotations.get(place).unwrap_or(&none),
            );
            let is_own = |entry: &String| {
                own.iter()
                    .any(|own| matches!(own, Own::Entry(folder, own) if own == entry && folder.as_deref() == name))
            };
            let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            let changed = all
                .into_iter()
                .filter(|entry| before.get(*entry) != after.get(*entry) && !is_own(entry));
            write_entries(core, name.unwrap_or_default(), changed);
        }
    }
}

/// Whether a folder has its new name because one above it was renamed (RFC 5465 §5.4).
fn follows(renamed: &[(&str, &str)], old: &str, new: &str) -> bool {
    renamed.iter().any(|(old_above, new_above)| {
        let (rest, new_rest) = (old.strip_prefix(old_above), new.strip_prefix(new_above));
        is_below(old, old_above) && rest.is_some() && rest == new_rest
    })
}

/// Whether messages of a folder changed in a way that is told (RFC 5465 §5.1–§5.3).
fn tells_messages(events: Events, known: Option<&Surveyed>, now: &Surveyed) -> bool {
    let now = &now.status;
    let Some(known) = known.map(|known| &known.status) else {
        return events.has(Events::NEW) && now.messages > 0;
    };
    if known.highest_modseq == now.highest_modseq || !events.has(Events::NEW) {
        return false;
    }
    events.has(Events::FLAGS) || known.uid_next != now.uid_next || known.messages != now.messages
}

/// Writes the figures of a folder.
pub(super) fn write_status(core: &mut Core, folder: &Surveyed, with_modseq: bool) {
    let status = &folder.status;
    let spelling = core.spelling();
    let out = &mut core.out;
    out.extend_from_slice(b"* STATUS ");
    names::write(out, &folder.listed.name, spelling);
    let mut figures = vec![
        ("MESSAGES", u64::from(status.messages)),
        ("UIDNEXT", u64::from(status.uid_next)),
        ("UIDVALIDITY", u64::from(status.uid_validity)),
        ("UNSEEN", u64::from(status.unseen)),
    ];
    if with_modseq {
        figures.push(("HIGHESTMODSEQ", status.highest_modseq));
    }
    for (at, (name, figure)) in figures.into_iter().enumerate() {
        out.extend_from_slice(if at == 0 { b" (" } else { b" " });
        out.extend_from_slice(name.as_bytes());
        out.push(b' ');
        wire::number(out, figure);
    }
    out.extend_from_slice(b")\r\n");
}

/// A METADATA response without values (RFC 5464 §4.4.2).
fn write_entries<'a>(core: &mut Core, folder: &str, entries: impl Iterator<Item = &'a String>) {
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        return;
    }
    let spelling = core.spelling();
    let out = &mut core.out;
    out.extend_from_slice(b"* METADATA ");
    names::write(out, folder, spelling);
    for entry in entries {
        out.push(b' ');
        wire::astring(out, entry.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether that is more than is compared for one client.
pub(super) fn is_too_much(survey: &Survey) -> bool {
    let annotations = survey.annotations.iter().flatten();
    let entries: usize = annotations.map(|one: &Annotated| one.entries.len()).sum();
    survey.folders.len() > FOLDERS_MAX || entries > ENTRIES_MAX
}

/// Folders compared for one client.
const FOLDERS_MAX: usize = 10_000;
/// Annotations compared for one client.
const ENTRIES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::request::Status;

    #[test]
    fn a_box_is_compared_up_to_so_many_folders_and_annotations() {
        let folder = Surveyed {
            folder: FolderHandle(1),
            listed: Folder::default(),
            status: Status::default(),
        };
        let annotated = |entries: usize| Annotated {
            folder: None,
            entries: vec![(String::new(), 0); entries],
        };
        let survey = |folders: usize, annotations: Option<Vec<Annotated>>| Survey {
            folders: vec![folder.clone(); folders],
            wishes: Vec::new(),
            annotations,
        };
        assert!(!is_too_much(&survey(FOLDERS_MAX, None)));
        assert!(is_too_much(&survey(FOLDERS_MAX + 1, None)));
        let half = annotated(ENTRIES_MAX / 2);
        assert!(!is_too_much(&survey(1, Some(vec![half.clone(), half.clone()]))));
        assert!(is_too_much(&survey(1, Some(vec![half.clone(), half, annotated(1)]))));
    }
}
