//! What a client does next: anything it may, by the seed.

use std::collections::BTreeSet;

use crate::model::{Kind, Mode, Model, Resync};
use crate::random::Random;

/// What goes on the wire, and the lines that follow a continuation.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) line: String,
    pub(crate) kind: Kind,
    pub(crate) targets: Vec<usize>,
}

pub(crate) const FOLDERS: [&str; 3] = ["INBOX", "Sent", "Archive"];
const FLAGS: [&str; 6] = ["\\Seen", "\\Flagged", "\\Deleted", "\\Answered", "later", "$Done"];
/// Above it messages are rather removed.
const MESSAGES_MANY: usize = 30;

/// Picks a command that suits the state.
pub(crate) fn next(model: &Model, random: &mut Random) -> Command {
    let Some(folder) = &model.folder else {
        return match random.below(4) {
            0 => append(random),
            1 => plain("NOOP".into(), Kind::Other),
            _ => select(model, random),
        };
    };
    let count = folder.messages.len();
    let read_only = folder.read_only;
    match random.below(100) {
        0..4 => select(model, random),
        4..6 => plain(random.of(&["CLOSE", "UNSELECT"]).to_string(), Kind::Deselect),
        6..14 => plain("NOOP".into(), Kind::Other),
        14..16 => status(model, random),
        16..22 => plain("IDLE".into(), Kind::Idle),
        22..32 if count < MESSAGES_MANY => append(random),
        32..50 => fetch(model, count, random),
        50..68 if !read_only => store(model, random),
        68..74 => search(random),
        74..80 => copy(model, random),
        _ if read_only => plain("NOOP".into(), Kind::Other),
        80..84 => move_to(model, random),
        84..90 => plain("EXPUNGE".into(), Kind::Other),
        90..92 => plain(format!("UID EXPUNGE {}", uid_set(model, random).0), Kind::Other),
        _ if count > MESSAGES_MANY => deleting(model, random),
        _ => plain("NOOP".into(), Kind::Other),
    }
}

fn plain(line: String, kind: Kind) -> Command {
    Command {
        line,
        kind,
        targets: Vec::new(),
    }
}

fn select(model: &Model, random: &mut Random) -> Command {
    let name = (*random.of(&FOLDERS)).to_owned();
    let read_only = random.once_in(4);
    let word = if read_only { "EXAMINE" } else { "SELECT" };
    let mut line = format!("{word} {name}");
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

fn append(random: &mut Random) -> Command {
    let id = format!("{:016x}", random.next());
    let message = message(&id);
    let flags = flags(random).into_iter().collect::<Vec<_>>().join(" ");
    let line = format!(
        "APPEND {} ({flags}) {{{}+}}\r\n{message}",
        random.of(&FOLDERS),
        message.len()
    );
    plain(
        line,
        Kind::Append {
            id: format!("X-Id: {id}"),
        },
    )
}

pub(crate) fn message(id: &str) -> String {
    format!("From: a@chu.mssante.fr\r\nX-Id: {id}\r\nSubject: essai\r\n\r\nBonjour {id}\r\n")
}

fn status(_: &Model, random: &mut Random) -> Command {
    let items = "MESSAGES UNSEEN UIDNEXT UIDVALIDITY";
    plain(format!("STATUS {} ({items})", random.of(&FOLDERS)), Kind::Other)
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
    let named = |known: &crate::model::Known| known.uid.is_none_or(|uid| (from..=to).contains(&uid));
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
    if count > 0 && random.once_in(2) {
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
    let by_number = count > 0 && random.once_in(2);
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

fn search(random: &mut Random) -> Command {
    let key = *random.of(&[
        "ALL",
        "UNSEEN",
        "DELETED",
        "KEYWORD later",
        "NOT FLAGGED",
        "HEADER X-ID 7",
    ]);
    let by_number = random.once_in(2);
    let word = if by_number { "SEARCH" } else { "UID SEARCH" };
    plain(format!("{word} {key}"), Kind::Search { by_number })
}

fn copy(model: &Model, random: &mut Random) -> Command {
    let count = model.folder.as_ref().map_or(0, |folder| folder.messages.len());
    let to = *random.of(&FOLDERS);
    if count > 0 && random.once_in(2) {
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
    let to = *random.of(&FOLDERS);
    if count > 0 && random.once_in(2) {
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
