//! What a client does next: anything it may, by the seed.

use std::collections::BTreeSet;

use crate::model::{Kind, Mode, Model, Resync, Saving, Stage};
use crate::notice::NOTICES;
use crate::random::Random;

/// What goes on the wire, and the lines that follow a continuation.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) line: String,
    pub(crate) kind: Kind,
    pub(crate) targets: Vec<usize>,
}

/// Folders that are always there.
pub(crate) const FOLDERS: [&str; 3] = ["INBOX", "Sent", "Archive"];
/// Names of folders that come and go.
const PLACES: [&str; 3] = ["Projet", "Projet 2024", "Été"];
const FLAGS: [&str; 6] = ["\\Seen", "\\Flagged", "\\Deleted", "\\Answered", "later", "$Done"];
/// What STATUS is asked for.
pub(crate) const FIGURES: &str = "MESSAGES UNSEEN UIDNEXT UIDVALIDITY";
/// Above it messages are rather removed.
const MESSAGES_MANY: usize = 30;

/// Picks a command that suits the state.
pub(crate) fn next(model: &Model, random: &mut Random) -> Command {
    match model.stage {
        Stage::Nobody => return plain(model.login.clone(), Kind::Login),
        Stage::LoggedIn => {
            let mode = *random.of(&Mode::ALL);
            return plain(mode.enable().into(), Kind::Enable(mode));
        }
        Stage::Ready => {}
    }
    if model.notice.of_others && model.others.names.is_none() {
        return plain("LIST \"\" *".into(), Kind::List);
    }
    if let Some(command) = rare(model, random) {
        return command;
    }
    let Some(folder) = &model.folder else {
        return match random.below(4) {
            0 => append(model, random),
            1 => plain("NOOP".into(), Kind::Noop),
            _ => select(model, random),
        };
    };
    on_messages(model, (folder.messages.len(), folder.read_only), random)
}

/// Picks a command that may be sent before the one before it is answered.
pub(crate) fn following(model: &Model, random: &mut Random) -> Option<Command> {
    let folder = model.folder.as_ref()?;
    let command = on_messages(model, (folder.messages.len(), folder.read_only), random);
    command.kind.is_free().then_some(command)
}

/// What is not about the messages of the selected folder.
fn rare(model: &Model, random: &mut Random) -> Option<Command> {
    match random.below(100) {
        0..2 => manage(model, random),
        2..4 => {
            let (words, notice) = *random.of(&NOTICES);
            Some(plain(format!("NOTIFY {words}"), Kind::Notify(notice)))
        }
        4 if random.once_in(6) => Some(plain("UNAUTHENTICATE".into(), Kind::Unauthenticate)),
        5 if model.can_compress && random.once_in(6) => Some(plain("COMPRESS DEFLATE".into(), Kind::Compress)),
        _ => None,
    }
}

fn on_messages(model: &Model, (count, read_only): (usize, bool), random: &mut Random) -> Command {
    match random.below(100) {
        0..4 => select(model, random),
        4..6 => plain(random.of(&["CLOSE", "UNSELECT"]).to_string(), Kind::Deselect),
        6..14 => plain("NOOP".into(), Kind::Noop),
        14..16 => status(model, random),
        16..22 => plain("IDLE".into(), Kind::Idle),
        22..31 if count < MESSAGES_MANY => append(model, random),
        31..48 => fetch(model, count, random),
        48..50 => plain("UID FETCH $ (UID FLAGS)".into(), Kind::FetchSaved),
        50..66 if !read_only => store(model, random),
        66..74 => search(model, random),
        74..79 => copy(model, random),
        _ if read_only => plain("NOOP".into(), Kind::Noop),
        79..81 => replace(model, random),
        81..85 => move_to(model, random),
        85..90 => plain("EXPUNGE".into(), Kind::Other),
        90..92 => plain(format!("UID EXPUNGE {}", uid_set(model, random).0), Kind::Other),
        _ if count > MESSAGES_MANY => deleting(model, random),
        _ => plain("NOOP".into(), Kind::Noop),
    }
}

/// A name as a client writes it.
fn written(name: &str) -> String {
    let name = spelled(name);
    if name.contains(' ') {
        format!("\"{name}\"")
    } else {
        name
    }
}

/// In modified UTF-7 (RFC 3501 §5.1.3).
pub(crate) fn spelled(name: &str) -> String {
    name.replace('É', "&AMk-").replace('é', "&AOk-")
}

/// Creates, deletes or renames a folder, if nobody else is at it. Who looks at such a folder touches no other: it may be told BYE at any
/// moment, and whether its command was performed would not be known.
fn manage(model: &Model, random: &mut Random) -> Option<Command> {
    let mut truth = model.truth.lock().unwrap();
    let own = model
        .folder
        .as_ref()
        .filter(|folder| !FOLDERS.contains(&folder.name.as_str()));
    let places = match own {
        Some(folder) => vec![truth.place_of(&folder.object)?],
        None => truth.places(),
    };
    let free: Vec<&str> = PLACES.into_iter().filter(|name| truth.is_free(name)).collect();
    let command = match (places.is_empty(), free.is_empty(), random.below(3)) {
        (_, false, 0) if own.is_none() => {
            let name = *random.of(&free);
            (format!("CREATE {}", written(name)), Kind::Create(name.into()))
        }
        (false, _, 1) => {
            let name = random.of(&places).clone();
            (format!("DELETE {}", written(&name)), Kind::Delete(name))
        }
        (false, false, 2) => {
            let (from, to) = (random.of(&places).clone(), *random.of(&free));
            let line = format!("RENAME {} {}", written(&from), written(to));
            (line, Kind::Rename(from, to.into()))
        }
        _ => return None,
    };
    // Under the same lock as the choice: from now on nobody else chooses these names.
    match &command.1 {
        Kind::Create(name) => truth.begin(&[name], false),
        Kind::Delete(name) => truth.begin(&[name], true),
        Kind::Rename(from, to) => truth.begin(&[from, to], false),
        _ => {}
    }
    Some(plain(command.0, command.1))
}

/// The name of a folder that is there, or was a moment ago.
fn place(model: &Model, random: &mut Random) -> String {
    if random.once_in(3)
        && let places = model.truth.lock().unwrap().places()
        && !places.is_empty()
    {
        return random.of(&places).clone();
    }
    (*random.of(&FOLDERS)).to_owned()
}

/// Names of all folders that were listed, as a client writes them.
pub(crate) fn everything(model: &Model) -> Vec<String> {
    let names = model.others.names.iter().flatten();
    names
        .map(|name| {
            if name.contains(' ') {
                format!("\"{name}\"")
            } else {
                name.clone()
            }
        })
        .collect()
}

/// Everything that is compared in the end.
pub(crate) const LOOK: &str = "UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (X-ID)])";

fn plain(line: String, kind: Kind) -> Command {
    Command {
        line,
        kind,
        targets: Vec::new(),
    }
}

fn select(model: &Model, random: &mut Random) -> Command {
    let name = place(model, random);
    let read_only = random.once_in(4);
    let word = if read_only { "EXAMINE" } else { "SELECT" };
    let mut line = format!("{word} {}", written(&name));
    let kept = model.remembered.get(&name).filter(|kept| kept.highest > 0);
    let mut resync = Resync::Nothing;
    let remembers = model.mode == Mode::Qresync && !random.once_in(4);
    if let Some(kept) = kept.filter(|_| remembers) {
        resync = Resync::Everything;
        line += &format!(" (QRESYNC ({} {}", kept.validity, kept.highest);
        let uids: Vec<u32> = kept.messages.iter().filter_map(|known| known.uid).collect();
        if !uids.is_empty() && random.once_in(2) {
            let known: Vec<String> = uids.iter().map(u32::to_string).collect();
            line += &format!(" {}", known.join(","));
            resync = Resync::Some;
            if random.once_in(2) {
                let at = random.below(uids.len());
                line += &format!(" ({} {})", at + 1, uids[at]);
            }
        }
        line += "))";
    } else if model.mode == Mode::Condstore && random.once_in(2) {
        line += " (CONDSTORE)";
    }
    plain(
        line,
        Kind::Select {
            name,
            read_only,
            resync,
        },
    )
}

/// One message, or several at once.
fn append(model: &Model, random: &mut Random) -> Command {
    let mut line = format!("APPEND {}", written(&place(model, random)));
    let count = if random.once_in(5) { 1 + random.below(3) } else { 1 };
    let ids = (0..count).map(|_| {
        let (literal, id) = literal(random);
        line += &literal;
        id
    });
    let ids = ids.collect();
    plain(line, Kind::Append { ids })
}

fn replace(model: &Model, random: &mut Random) -> Command {
    let (literal, id) = literal(random);
    let line = format!(
        "UID REPLACE {} {}{literal}",
        one_uid(model, random),
        written(&place(model, random))
    );
    plain(line, Kind::Replace { id })
}

/// A message with its flags, and what it is known by.
fn literal(random: &mut Random) -> (String, String) {
    let id = format!("{:016x}", random.next());
    let message = message(&id);
    let flags = flags(random).into_iter().collect::<Vec<_>>().join(" ");
    (
        format!(" ({flags}) {{{}+}}\r\n{message}", message.len()),
        format!("X-Id: {id}"),
    )
}

pub(crate) fn message(id: &str) -> String {
    format!("From: a@chu.mssante.fr\r\nX-Id: {id}\r\nSubject: essai\r\n\r\nBonjour {id}\r\n")
}

fn status(model: &Model, random: &mut Random) -> Command {
    let name = place(model, random);
    plain(format!("STATUS {} ({FIGURES})", written(&name)), Kind::Other)
}

/// Some of the six.
fn flags(random: &mut Random) -> BTreeSet<String> {
    let many = random.below(3);
    (0..many).map(|_| (*random.of(&FLAGS)).to_owned()).collect()
}

fn numbers(count: usize, random: &mut Random) -> (String, Vec<usize>) {
    let (a, b) = (random.below(count), random.below(count));
    let (from, to) = (a.min(b), a.max(b));
    if random.once_in(3) {
        return (format!("{}", from + 1), vec![from]);
    }
    if random.once_in(3) {
        return (format!("{}:*", from + 1), (from..count).collect());
    }
    (format!("{}:{}", to + 1, from + 1), (from..=to).collect())
}

/// UIDs, and the messages known to have them or not known not to.
fn uid_set(model: &Model, random: &mut Random) -> (String, Vec<usize>) {
    let messages = model.folder.as_ref().map_or(&[][..], |folder| &folder.messages);
    let uids: Vec<u32> = messages.iter().filter_map(|known| known.uid).collect();
    let (a, b) = if uids.is_empty() {
        (1, 50)
    } else {
        (*random.of(&uids), *random.of(&uids))
    };
    let (from, to) = (a.min(b), a.max(b));
    let (set, to) = match random.below(4) {
        0 => (format!("{from}"), from),
        1 => (format!("{from}:*"), u32::MAX),
        _ => (format!("{from}:{to}"), to),
    };
    let named = |known: &crate::folder::Known| known.uid.is_none_or(|uid| (from..=to).contains(&uid));
    let targets = (0..messages.len()).filter(|&at| named(&messages[at])).collect();
    (set, targets)
}

fn fetch(model: &Model, count: usize, random: &mut Random) -> Command {
    let items = *random.of(&[
        "FLAGS",
        "(UID FLAGS)",
        "(FLAGS UID BODY.PEEK[HEADER.FIELDS (X-ID)])",
        "(UID BODY.PEEK[HEADER.FIELDS (X-ID)])",
        "(UID BODY[HEADER.FIELDS (X-ID)])",
        "(UID ENVELOPE)",
    ]);
    let modseq = model.mode != Mode::Plain;
    let items = if modseq && random.once_in(2) {
        "(UID FLAGS MODSEQ)"
    } else {
        items
    };
    if count > 0 && model.numbers_hold() && random.once_in(2) {
        return plain(
            format!("FETCH {} {items}", numbers(count, random).0),
            Kind::FetchByNumber,
        );
    }
    let mut line = format!("UID FETCH {} {items}", uid_set(model, random).0);
    if let (true, Some(folder)) = (modseq && random.once_in(3), &model.folder) {
        let earlier = if model.mode == Mode::Qresync && random.once_in(2) {
            " VANISHED"
        } else {
            ""
        };
        let since = folder.highest.saturating_sub(random.below(9) as u64).max(1);
        line += &format!(" (CHANGEDSINCE {since}{earlier})");
    }
    plain(line, Kind::Fetch)
}

fn store(model: &Model, random: &mut Random) -> Command {
    let flags = flags(random);
    let change = *random.of(&['+', '-', ' ']);
    let silent = random.once_in(2);
    let count = model.folder.as_ref().map_or(0, |folder| folder.messages.len());
    let by_number = count > 0 && model.numbers_hold() && random.once_in(2);
    let (set, targets) = if by_number {
        numbers(count, random)
    } else {
        uid_set(model, random)
    };
    let listed = flags.iter().cloned().collect::<Vec<_>>().join(" ");
    let word = if by_number { "STORE" } else { "UID STORE" };
    let dot = if silent { ".SILENT" } else { "" };
    let sign = change.to_string();
    let highest = model.folder.as_ref().map_or(0, |folder| folder.highest);
    let since = if model.mode != Mode::Plain && random.once_in(3) {
        format!(
            " (UNCHANGEDSINCE {})",
            (highest + random.below(40) as u64).saturating_sub(9)
        )
    } else {
        String::new()
    };
    let line = format!("{word} {set}{since} {}FLAGS{dot} ({listed})", sign.trim());
    Command {
        line,
        kind: Kind::Store {
            change,
            flags,
            silent,
            by_number,
        },
        targets,
    }
}

fn deleting(model: &Model, random: &mut Random) -> Command {
    let (set, targets) = uid_set(model, random);
    Command {
        line: format!("UID STORE {set} +FLAGS (\\Deleted)"),
        kind: Kind::Store {
            change: '+',
            flags: BTreeSet::from(["\\Deleted".to_owned()]),
            silent: false,
            by_number: false,
        },
        targets,
    }
}

fn search(model: &Model, random: &mut Random) -> Command {
    let key = *random.of(&[
        "ALL",
        "UNSEEN",
        "DELETED",
        "KEYWORD later",
        "NOT FLAGGED",
        "HEADER X-ID 7",
    ]);
    let by_number = model.numbers_hold() && random.once_in(2);
    let uid = if by_number { "" } else { "UID " };
    let (line, saving) = match random.below(6) {
        0 => (format!("UID SEARCH RETURN (SAVE ALL) {key}"), Saving::Saves),
        1 => (
            format!("UID SORT RETURN (SAVE ALL) (SUBJECT) UTF-8 {key}"),
            Saving::Saves,
        ),
        2 => (format!("{uid}SEARCH RETURN (MIN MAX COUNT) {key}"), Saving::No),
        3 => (format!("{uid}SORT (REVERSE ARRIVAL) UTF-8 {key}"), Saving::No),
        4 => ("UID SEARCH $".to_owned(), Saving::Within),
        _ => (format!("{uid}SEARCH {key}"), Saving::No),
    };
    let by_number = by_number && !line.starts_with("UID");
    plain(line, Kind::Search { by_number, saving })
}

fn copy(model: &Model, random: &mut Random) -> Command {
    let count = model.folder.as_ref().map_or(0, |folder| folder.messages.len());
    let to = written(&place(model, random));
    if count > 0 && model.numbers_hold() && random.once_in(2) {
        let at = random.below(count) + 1;
        return plain(format!("COPY {at} {to}"), Kind::Copy { by_number: true });
    }
    plain(
        format!("UID COPY {} {to}", one_uid(model, random)),
        Kind::Copy { by_number: false },
    )
}

fn move_to(model: &Model, random: &mut Random) -> Command {
    let count = model.folder.as_ref().map_or(0, |folder| folder.messages.len());
    let to = written(&place(model, random));
    if count > 0 && model.numbers_hold() && random.once_in(2) {
        let set = numbers(count, random).0;
        return plain(format!("MOVE {set} {to}"), Kind::Move { by_number: true });
    }
    plain(
        format!("UID MOVE {} {to}", uid_set(model, random).0),
        Kind::Move { by_number: false },
    )
}

fn one_uid(model: &Model, random: &mut Random) -> u32 {
    let messages = model.folder.as_ref().map_or(&[][..], |folder| &folder.messages);
    let uids: Vec<u32> = messages.iter().filter_map(|known| known.uid).collect();
    if uids.is_empty() { 1 } else { *random.of(&uids) }
}
