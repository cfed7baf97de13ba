//! NOTIFY (RFC 5465): what the client wants to be told without asking, of the selected folder and of others.
//!
//! Of other folders nothing is queued: when something in the box changed, their figures and names are compared with those told last. So a
//! busy box costs a client one line for each folder, however much happened.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Next, Outcome, Work, fetch, folder_name, over};
use crate::imap::grammar::tree::{FetchItem, Notify, NotifyEvent, NotifyFolders, NotifyGroup};
use crate::imap::request::{Answer, FolderHandle, Request, Surveyed};
use crate::imap::session::{Core, Extension};
use crate::imap::view::Telling;
use crate::imap::{names, wire};

/// What a client asked to be told.
#[derive(Debug, Default)]
pub(crate) struct Notified {
    selected: Option<OfSelected>,
    /// Of other folders; the first that names a folder counts.
    others: Vec<Others>,
    /// Folders as they were told last.
    seen: BTreeMap<FolderHandle, Surveyed>,
}

/// Of the selected folder.
#[derive(Clone, Debug)]
struct OfSelected {
    /// When nothing is asked; EXPUNGE waits for a command with `SELECTED-DELAYED`.
    telling: Telling,
    /// What comes with each new message.
    items: Vec<FetchItem>,
    events: Events,
}

#[derive(Clone, Debug)]
struct Others {
    folders: NotifyFolders,
    events: Events,
}

/// A set of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Events(u8);

impl Events {
    const NEW: u8 = 1;
    const EXPUNGE: u8 = 2;
    const FLAGS: u8 = 4;
    const NAMES: u8 = 8;
    const SUBSCRIPTIONS: u8 = 16;

    fn has(self, event: u8) -> bool {
        self.0 & event != 0
    }
}

impl Notified {
    /// Whether the selected folder's changes are told when nothing is asked, and how.
    pub(crate) fn telling_unasked(&self) -> Option<Telling> {
        let selected = self
            .selected
            .as_ref()
            .filter(|selected| selected.events != Events::default());
        selected.map(|selected| selected.telling)
    }

    /// Whether changes of flags in the selected folder are told.
    pub(crate) fn tells_flags(&self) -> bool {
        self.selected
            .as_ref()
            .is_none_or(|selected| selected.events.has(Events::FLAGS))
    }

    fn events_of(&self, folder: &Surveyed) -> Events {
        let group = self.others.iter().find(|group| covers(&group.folders, folder));
        group.map_or_else(Events::default, |group| group.events)
    }
}

/// Whether a filter names a folder (RFC 5465 §6).
fn covers(folders: &NotifyFolders, folder: &Surveyed) -> bool {
    let listed = |list: &[crate::imap::grammar::tree::Name], below: bool| {
        list.iter().filter_map(|name| folder_name(name).ok()).any(|name| {
            let rest = folder.name.strip_prefix(&name);
            rest.is_some_and(|rest| rest.is_empty() || (below && rest.starts_with('/')))
        })
    };
    match folders {
        NotifyFolders::Selected | NotifyFolders::SelectedDelayed => false,
        NotifyFolders::Inboxes => folder.name == names::INBOX,
        NotifyFolders::Personal => true,
        NotifyFolders::Subscribed => folder.subscribed,
        NotifyFolders::Subtree(list) => listed(list, true),
        NotifyFolders::Named(list) => listed(list, false),
    }
}

/// NOTIFY SET, or NOTIFY NONE.
pub(super) fn notify(asked: Option<Notify>) -> Box<dyn Work> {
    let set = match asked.map(read).transpose() {
        Ok(set) => set,
        Err(outcome) => return over(outcome),
    };
    Box::new(Set { set, asked: false })
}

/// What is asked, checked (RFC 5465 §3.1, §5).
fn read(asked: Notify) -> Result<(Notified, Initial), Outcome> {
    let initial = if asked.status {
        Initial::Status
    } else {
        Initial::Nothing
    };
    let mut notified = Notified::default();
    for NotifyGroup { folders, events } in asked.groups {
        let (events, items) = events_of(events)?;
        let telling = match folders {
            NotifyFolders::Selected => Some(Telling::All),
            NotifyFolders::SelectedDelayed => Some(Telling::KeepNumbers),
            _ => None,
        };
        let of_messages = Events::NEW | Events::EXPUNGE | Events::FLAGS;
        match telling {
            Some(_) if events.has(!of_messages) => return Err(Outcome::bad("not an event of the selected folder")),
            Some(_) if notified.selected.is_some() => return Err(Outcome::bad("the selected folder is named twice")),
            Some(telling) => {
                notified.selected = Some(OfSelected {
                    telling,
                    items: items.unwrap_or_default(),
                    events,
                });
            }
            None if items.is_some() => return Err(Outcome::bad("items are fetched only of the selected folder")),
            None => notified.others.push(Others { folders, events }),
        }
    }
    Ok((notified, initial))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Initial {
    Nothing,
    Status,
}

/// The events of a group, and what `MessageNew` fetches.
fn events_of(asked: Vec<NotifyEvent>) -> Result<(Events, Option<Vec<FetchItem>>), Outcome> {
    let mut events = Events::default();
    let mut items = None;
    for event in asked {
        events.0 |= match event {
            NotifyEvent::MessageNew(fetched) => {
                items = (!fetched.is_empty()).then(|| fetched.into_iter().map(fetch::peeking).collect());
                Events::NEW
            }
            NotifyEvent::MessageExpunge => Events::EXPUNGE,
            NotifyEvent::FlagChange => Events::FLAGS,
            NotifyEvent::MailboxName => Events::NAMES,
            NotifyEvent::SubscriptionChange => Events::SUBSCRIPTIONS,
            NotifyEvent::AnnotationChange
            | NotifyEvent::MailboxMetadataChange
            | NotifyEvent::ServerMetadataChange
            | NotifyEvent::Unknown(_) => return Err(Outcome::no(BAD_EVENT, "this event is not told")),
        };
    }
    let both = events.has(Events::NEW) == events.has(Events::EXPUNGE);
    if !both || (events.has(Events::FLAGS) && !events.has(Events::NEW)) {
        return Err(Outcome::bad(
            "MessageNew and MessageExpunge go together, FlagChange with both",
        ));
    }
    Ok((events, items))
}

struct Set {
    set: Option<(Notified, Initial)>,
    asked: bool,
}

impl Work for Set {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        match answer {
            None => {
                core.notified = None;
                Next::Ask(Request::WatchBox {
                    watch: self.set.is_some(),
                })
            }
            Some(Answer::Done) if self.set.is_some() && !self.asked => {
                self.asked = true;
                Next::Ask(Request::Survey)
            }
            Some(Answer::Done) => Next::Done(Outcome::ok("nothing is told unasked")),
            Some(Answer::Surveyed(found)) if found.len() <= FOLDERS_MAX => {
                let Some((mut notified, initial)) = self.set.take() else {
                    return Next::Done(Outcome::unexpected(Answer::Done));
                };
                let selected = core.view().map(|view| view.folder);
                for folder in found {
                    let told = notified.events_of(&folder).has(Events::NEW);
                    if initial == Initial::Status && told && Some(folder.folder) != selected {
                        write_status(core, &folder);
                    }
                    notified.seen.insert(folder.folder, folder);
                }
                core.notified = Some(Box::new(notified));
                Next::Done(Outcome::ok("set").with_news())
            }
            Some(Answer::Surveyed(_)) => {
                Next::Done(Outcome::no("NOTIFICATIONOVERFLOW", "the box has too many folders"))
            }
            Some(other) => Next::Done(Outcome::unexpected(other)),
        }
    }
}

/// What is still to be told after news of the selected folder: its new messages, and the other folders.
pub(crate) fn follow_up(core: &Core, fresh: usize) -> Option<Box<dyn Work>> {
    let notified = core.notified.as_ref()?;
    let items = notified.selected.as_ref().map_or(&[][..], |selected| &selected.items);
    let view = core.view().filter(|_| fresh > 0 && !items.is_empty());
    let fetch = view.map(|view| {
        let end = view.entries().len();
        let start = end - fresh;
        fetch::unasked(view, items, Range { start, end })
    });
    let survey = !notified.others.is_empty();
    (fetch.is_some() || survey).then(|| Box::new(FollowUp { fetch, survey }) as Box<dyn Work>)
}

struct FollowUp {
    fetch: Option<Box<dyn Work>>,
    survey: bool,
}

impl Work for FollowUp {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        if let Some(fetch) = &mut self.fetch {
            match fetch.go(core, answer) {
                Next::Done(_) => self.fetch = None,
                more => return more,
            }
        } else if let Some(Answer::Surveyed(found)) = answer {
            tell(core, found);
            return Next::Done(Outcome::ok("told"));
        } else if answer.is_some() {
            // It will be asked again with the next change.
            return Next::Done(Outcome::ok("not told"));
        }
        if std::mem::take(&mut self.survey) {
            return Next::Ask(Request::Survey);
        }
        Next::Done(Outcome::ok("told"))
    }
}

/// Tells what differs from what was told last.
fn tell(core: &mut Core, found: Vec<Surveyed>) {
    let Some(mut notified) = core.notified.take() else {
        return;
    };
    if found.len() > FOLDERS_MAX {
        // RFC 5465 §5.8: as after NOTIFY NONE.
        core.out
            .extend_from_slice(b"* OK [NOTIFICATIONOVERFLOW] the box has too many folders\r\n");
        return;
    }
    let selected = core.view().map(|view| view.folder);
    let mut before = std::mem::take(&mut notified.seen);
    for folder in found {
        let events = notified.events_of(&folder);
        let known = before.remove(&folder.folder);
        tell_name(core, events, known.as_ref(), &folder);
        let differs = match &known {
            Some(known) => tells_messages(events, known, &folder),
            None => events.has(Events::NEW) && folder.status.messages > 0,
        };
        if differs && selected != Some(folder.folder) {
            write_status(core, &folder);
        }
        notified.seen.insert(folder.folder, folder);
    }
    for gone in before.into_values() {
        if notified.events_of(&gone).has(Events::NAMES) {
            write_list(core, b"\\NonExistent", &gone.name, None);
        }
    }
    core.notified = Some(notified);
}

/// Names and subscriptions (RFC 5465 §5.4, §5.5).
fn tell_name(core: &mut Core, events: Events, known: Option<&Surveyed>, folder: &Surveyed) {
    let attributes: &[u8] = if folder.subscribed { b"\\Subscribed" } else { b"" };
    match known {
        None if events.has(Events::NAMES) => write_list(core, attributes, &folder.name, None),
        Some(known) if events.has(Events::NAMES) && known.name != folder.name => {
            write_list(core, attributes, &folder.name, Some(&known.name));
        }
        Some(known) if events.has(Events::SUBSCRIPTIONS) && known.subscribed != folder.subscribed => {
            write_list(core, attributes, &folder.name, None);
        }
        _ => {}
    }
}

/// Whether messages of a folder changed in a way that is told (RFC 5465 §5.1–§5.3).
fn tells_messages(events: Events, known: &Surveyed, now: &Surveyed) -> bool {
    let (known, now) = (&known.status, &now.status);
    if known.highest_modseq == now.highest_modseq || !events.has(Events::NEW) {
        return false;
    }
    events.has(Events::FLAGS) || known.uid_next != now.uid_next || known.messages != now.messages
}

fn write_status(core: &mut Core, folder: &Surveyed) {
    let condstore = core.enabled.has(Extension::Condstore);
    let status = &folder.status;
    let spelling = core.spelling();
    let out = &mut core.out;
    out.extend_from_slice(b"* STATUS ");
    names::write(out, &folder.name, spelling);
    let mut figures = vec![
        ("MESSAGES", u64::from(status.messages)),
        ("UIDNEXT", u64::from(status.uid_next)),
        ("UIDVALIDITY", u64::from(status.uid_validity)),
        ("UNSEEN", u64::from(status.unseen)),
    ];
    if condstore {
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

fn write_list(core: &mut Core, attributes: &[u8], name: &str, old: Option<&str>) {
    let spelling = core.spelling();
    let out = &mut core.out;
    out.extend_from_slice(b"* LIST (");
    out.extend_from_slice(attributes);
    out.extend_from_slice(b") \"/\" ");
    names::write(out, name, spelling);
    if let Some(old) = old {
        out.extend_from_slice(b" (\"OLDNAME\" (");
        names::write(out, old, spelling);
        out.extend_from_slice(b"))");
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 5465 §5: with what is told instead.
const BAD_EVENT: &str = "BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange)";

/// Folders compared for one client.
const FOLDERS_MAX: usize = 10_000;
