//! What a client asked to be told with NOTIFY (RFC 5465), and what it knows of folders that it has not selected.

use std::collections::{BTreeMap, BTreeSet};

use crate::script::spelled;
use crate::wire::Value;

/// How the selected folder is told of while no command is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Selected {
    /// Not at all.
    #[default]
    Held,
    /// `SELECTED-DELAYED`: EXPUNGE waits for a command.
    Delayed,
    /// `SELECTED`: numbers may change at any moment.
    AtOnce,
}

/// What is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) selected: Selected,
    /// Changes of flags in the selected folder are not told, not even with a command.
    pub(crate) hides_flags: bool,
    /// Each new message comes with its UID.
    pub(crate) names_new: bool,
    /// Figures and names of all folders.
    pub(crate) of_others: bool,
    /// Figures are told at once.
    pub(crate) with_status: bool,
}

impl Notice {
    /// Nothing is told of the selected folder, not even its end, until NOOP asks (RFC 5465 §3.1).
    pub(crate) fn is_silent(self) -> bool {
        self.of_others && self.hides_flags && self.selected == Selected::Held
    }
}

const NOTHING: Notice = Notice {
    selected: Selected::Held,
    hides_flags: false,
    names_new: false,
    of_others: false,
    with_status: false,
};

/// What may be asked, and what it means.
pub(crate) const NOTICES: [(&str, Notice); 8] = [
    ("NONE", NOTHING),
    (
        "SET (SELECTED (MessageNew (UID FLAGS) MessageExpunge FlagChange))",
        Notice {
            selected: Selected::AtOnce,
            names_new: true,
            ..NOTHING
        },
    ),
    (
        "SET (SELECTED (MessageNew MessageExpunge))",
        Notice {
            selected: Selected::AtOnce,
            hides_flags: true,
            ..NOTHING
        },
    ),
    (
        "SET (SELECTED-DELAYED (MessageNew (UID BODY.PEEK[HEADER.FIELDS (X-ID)]) MessageExpunge FlagChange))",
        Notice {
            selected: Selected::Delayed,
            ..NOTHING
        },
    ),
    (
        "SET (SELECTED-DELAYED (MessageNew (UID) MessageExpunge FlagChange)) \
         (PERSONAL (MessageNew MessageExpunge FlagChange MailboxName))",
        Notice {
            selected: Selected::Delayed,
            names_new: true,
            of_others: true,
            ..NOTHING
        },
    ),
    (
        "SET STATUS (PERSONAL (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange))",
        Notice {
            hides_flags: true,
            of_others: true,
            with_status: true,
            ..NOTHING
        },
    ),
    (
        "SET STATUS (SELECTED (MessageNew MessageExpunge FlagChange)) \
         (PERSONAL (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange))",
        Notice {
            selected: Selected::AtOnce,
            of_others: true,
            with_status: true,
            ..NOTHING
        },
    ),
    (
        "SET (SELECTED NONE) (PERSONAL (MessageNew MessageExpunge FlagChange MailboxName))",
        Notice {
            hides_flags: true,
            of_others: true,
            ..NOTHING
        },
    ),
];

/// MESSAGES, UIDNEXT and UNSEEN.
pub(crate) type Figures = [u64; 3];

/// What a client knows of folders from outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Others {
    /// By UIDVALIDITY, of folders not selected since.
    pub(crate) figures: BTreeMap<u32, Figures>,
    /// All names, once they were listed.
    pub(crate) names: Option<BTreeSet<String>>,
}

impl Others {
    /// `name (MESSAGES 1 UIDNEXT 2 …)`
    pub(crate) fn status(&mut self, values: &[Value]) -> Result<(), String> {
        let items: BTreeMap<&str, u64> = values
            .get(1)
            .map_or(&[][..], Value::list)
            .chunks(2)
            .filter_map(|pair| Some((pair[0].atom(), pair.get(1)?.number()?)))
            .collect();
        let figure = |name: &str| items.get(name).copied().ok_or_else(|| format!("STATUS without {name}"));
        let validity = u32::try_from(figure("UIDVALIDITY")?).map_err(|error| error.to_string())?;
        let figures = [figure("MESSAGES")?, figure("UIDNEXT")?, figure("UNSEEN")?];
        let before = self.figures.insert(validity, figures);
        match before {
            Some(before) if before[1] > figures[1] => Err(format!("UIDNEXT of {validity} went back to {}", figures[1])),
            _ => Ok(()),
        }
    }

    /// The client itself took one name away, or gave another: it is not told so (RFC 5465 §5).
    pub(crate) fn did(&mut self, from: Option<&String>, to: Option<&String>) {
        if let Some(names) = &mut self.names {
            let (from, to) = (from.map(|name| spelled(name)), to.map(|name| spelled(name)));
            names.retain(|name| Some(name) != from.as_ref());
            names.extend(to);
        }
    }

    /// `(attributes) "/" name [(OLDNAME (name))]`
    pub(crate) fn list(&mut self, values: &[Value]) {
        let Some(names) = &mut self.names else { return };
        let is_gone = values
            .first()
            .is_some_and(|value| value.list().iter().any(|value| value.atom() == "\\NonExistent"));
        let name = values.get(2).map(Value::text).unwrap_or_default();
        if is_gone {
            names.remove(&name);
            return;
        }
        if let [old, before, ..] = values.get(3).map_or(&[][..], Value::list)
            && old.text() == "OLDNAME"
        {
            let before = before.list().first().map(Value::text).unwrap_or_default();
            names.remove(&before);
        }
        names.insert(name);
    }
}
