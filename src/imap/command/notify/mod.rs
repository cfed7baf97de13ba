//! NOTIFY (RFC 5465): what the client wants to be told without asking, of the selected folder and of others.
//!
//! Of other folders nothing is queued: when something in the box changed, their figures and names are compared with those told last. So a
//! busy box costs a client one line for each folder, however much happened.

mod told;

use self::told::{Told, is_too_much, write_status};
use super::{Next, Outcome, Work, fetch, folder_name, over};
use crate::imap::grammar::tree::{FetchItem, Name, Notify, NotifyEvent, NotifyFolders, NotifyGroup};
use crate::imap::listing::is_below;
use crate::imap::names;
use crate::imap::request::{Answer, Folder, Request};
use crate::imap::session::{Core, Extension};
use crate::imap::view::Telling;

pub(crate) use self::told::Own;

/// What a client asked to be told.
#[derive(Debug, Default)]
pub(crate) struct Notified {
    selected: Option<OfSelected>,
    others: Groups,
    told: Told,
    /// What this session did since.
    own: Vec<Own>,
    /// Messages that this session put into the selected folder since.
    put: Vec<u32>,
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

/// What is asked of other folders than the selected one. RFC 5465 §6: several groups may name one folder, and add up.
#[derive(Debug, Default)]
struct Groups(Vec<(NotifyFolders, Events)>);

/// A set of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Events(u8);

impl Events {
    const NEW: u8 = 1;
    const EXPUNGE: u8 = 2;
    const FLAGS: u8 = 4;
    const NAMES: u8 = 8;
    const SUBSCRIPTIONS: u8 = 16;
    const METADATA: u8 = 32;
    const SERVER_METADATA: u8 = 64;

    fn has(self, event: u8) -> bool {
        self.0 & event != 0
    }
}

impl Groups {
    /// What is told of a name, whether a folder has it or not.
    fn events_of(&self, name: &str, subscribed: bool) -> Events {
        let groups = self.0.iter().filter(|(folders, _)| covers(folders, name, subscribed));
        Events(groups.fold(0, |all, (_, events)| all | events.0))
    }

    fn covers(&self, folder: &Folder, event: u8) -> bool {
        self.events_of(&folder.name, folder.subscribed).has(event)
    }

    /// What is told of any folder, or of the box.
    fn any(&self) -> Events {
        Events(self.0.iter().fold(0, |all, (_, events)| all | events.0))
    }

    fn survey(&self) -> Request {
        Request::Survey {
            annotations: self.any().has(Events::METADATA | Events::SERVER_METADATA),
        }
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

    /// Whether changes of flags in the selected folder are told, when anything is.
    pub(crate) fn tells_flags(&self) -> bool {
        self.selected
            .as_ref()
            .is_none_or(|selected| selected.events == Events::default() || selected.events.has(Events::FLAGS))
    }

    /// The session put messages into the selected folder: they are not fetched for it (RFC 5465 §5.2).
    pub(crate) fn put(&mut self, uids: impl IntoIterator<Item = u32>) {
        if self
            .selected
            .as_ref()
            .is_some_and(|selected| !selected.items.is_empty())
        {
            self.put.extend(uids);
        }
    }

    /// The session did something that would be told otherwise.
    pub(crate) fn did(&mut self, own: Own) {
        if !self.others.0.is_empty() {
            self.own.push(own);
        }
    }
}

/// Whether a filter names a folder (RFC 5465 §6).
fn covers(folders: &NotifyFolders, name: &str, subscribed: bool) -> bool {
    let listed = |list: &[Name], below: bool| {
        let mut names = list.iter().filter_map(|listed| folder_name(listed).ok());
        names.any(|listed| name == listed || (below && is_below(name, &listed)))
    };
    match folders {
        NotifyFolders::Selected | NotifyFolders::SelectedDelayed => false,
        NotifyFolders::Inboxes => name == names::INBOX,
        NotifyFolders::Personal => true,
        NotifyFolders::Subscribed => subscribed,
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
    Box::new(Set {
        set,
        stage: Stage::Start,
    })
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
            None => notified.others.0.push((folders, events)),
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
            NotifyEvent::MailboxMetadataChange => Events::METADATA,
            NotifyEvent::ServerMetadataChange => Events::SERVER_METADATA,
            NotifyEvent::AnnotationChange | NotifyEvent::Unknown(_) => {
                return Err(Outcome::no(BAD_EVENT, "this event is not told"));
            }
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
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Start,
    Watching,
    Surveying,
}

impl Work for Set {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        match (self.stage, answer, &self.set) {
            (Stage::Start, None, set) => {
                self.stage = Stage::Watching;
                let watch = set.is_some();
                Next::Ask(Request::WatchBox { watch })
            }
            (Stage::Watching, Some(Answer::Done), None) => {
                core.notified = None;
                Next::Done(Outcome::ok("nothing is told unasked"))
            }
            (Stage::Watching, Some(Answer::Done), Some((notified, _))) => {
                self.stage = Stage::Surveying;
                Next::Ask(notified.others.survey())
            }
            (Stage::Surveying, Some(Answer::Surveyed(found)), Some(_)) if is_too_much(&found) => {
                Next::Done(Outcome::no("NOTIFICATIONOVERFLOW", "the box has too many folders"))
            }
            (Stage::Surveying, Some(Answer::Surveyed(found)), Some(_)) => {
                if let Some((mut notified, initial)) = self.set.take() {
                    notified.told = Told::of(found);
                    if initial == Initial::Status {
                        write_statuses(core, &notified);
                    }
                    // RFC 5465 §5.1: the UID comes with each change of flags.
                    core.enabled.insert(Extension::Notify);
                    core.notified = Some(Box::new(notified));
                }
                Next::Done(Outcome::ok("set").with_news())
            }
            (_, answer, _) => Next::Done(Outcome::unexpected(answer.unwrap_or(Answer::Done))),
        }
    }
}

/// RFC 5465 §3.1: the figures of each folder whose messages are watched, HIGHESTMODSEQ where flags are.
fn write_statuses(core: &mut Core, notified: &Notified) {
    let selected = core.view().map(|view| view.folder);
    for folder in notified.told.folders().filter(|one| selected != Some(one.folder)) {
        let events = notified.others.events_of(&folder.listed.name, folder.listed.subscribed);
        if events.has(Events::NEW) {
            let with_modseq = events.has(Events::FLAGS) || core.enabled.has(Extension::Condstore);
            write_status(core, folder, with_modseq);
        }
    }
}

/// What is still to be told after news of the selected folder: its new messages, and the other folders.
pub(crate) fn follow_up(core: &mut Core, fresh: usize) -> Option<Box<dyn Work>> {
    let notified = core.notified.as_mut()?;
    let put = std::mem::take(&mut notified.put);
    let items = notified
        .selected
        .as_ref()
        .map_or_else(Vec::new, |selected| selected.items.clone());
    let survey = !notified.others.0.is_empty();
    let view = core.view().filter(|_| fresh > 0 && !items.is_empty());
    let fetch = view.map(|view| {
        let end = view.entries().len();
        let is_others = |at: &usize| view.entries().get(*at).is_some_and(|entry| !put.contains(&entry.uid));
        fetch::unasked(view, &items, (end - fresh..end).filter(is_others).collect())
    });
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
            let Some(mut notified) = core.notified.take() else {
                return Next::Done(Outcome::ok("told"));
            };
            if is_too_much(&found) {
                // RFC 5465 §5.8: as after NOTIFY NONE.
                core.out
                    .extend_from_slice(b"* OK [NOTIFICATIONOVERFLOW] the box has too many folders\r\n");
                return Next::Done(Outcome::ok("told"));
            }
            let own = std::mem::take(&mut notified.own);
            let Notified { told, others, .. } = &mut *notified;
            told.tell(core, others, &own, found);
            core.notified = Some(notified);
            return Next::Done(Outcome::ok("told"));
        } else if answer.is_some() {
            // It will be asked again with the next change.
            return Next::Done(Outcome::ok("not told"));
        }
        match &core.notified {
            Some(notified) if std::mem::take(&mut self.survey) => Next::Ask(notified.others.survey()),
            _ => Next::Done(Outcome::ok("told")),
        }
    }
}

/// RFC 5465 §5: with what is told instead.
const BAD_EVENT: &str = "BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange \
                         MailboxMetadataChange ServerMetadataChange)";
