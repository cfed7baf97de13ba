//! What commands work on: the state of RFC 3501 §3, the selected folder, and what waits to be written.

use std::borrow::Cow;

use super::{Enabled, Extension, Options, WRITE_BYTES};
use crate::imap::capability;
use crate::imap::command::notify::{Notified, Own};
use crate::imap::grammar::tree::Command;
use crate::imap::names::{self, Spelling};
use crate::imap::view::View;

/// What commands work on.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) state: State,
    /// What waits to be written.
    pub(crate) out: Vec<u8>,
    /// The selected folder may have changed since News was last asked.
    pub(crate) stale: bool,
    /// Tag of the command under way: ESEARCH repeats it.
    pub(crate) tag: String,
    /// The name of a folder as the command under way has it, where it is kept in another form (RFC 9051 §6.3.9.7).
    pub(crate) sent: Option<String>,
    /// What the client switched on.
    pub(crate) enabled: Enabled,
    /// What it wants to be told without asking (RFC 5465).
    pub(crate) notified: Option<Box<Notified>>,
    /// The first of the new messages that the command under way has counted; NOTIFY may want items of them.
    pub(crate) counted_from: Option<u32>,
    pub(crate) compression: Compression,
}

/// Whether COMPRESS=DEFLATE is on (RFC 4978).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Off,
    On,
}

/// States of RFC 3501 §3.
#[derive(Debug)]
pub(crate) enum State {
    NotAuthenticated,
    Authenticated(Login),
    Selected(Login, View),
}

/// Who is logged in.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// Address of the open box.
    pub(crate) address: String,
}

impl Core {
    /// Nobody is logged in yet.
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            state: State::NotAuthenticated,
            out: Vec::new(),
            stale: false,
            tag: String::new(),
            sent: None,
            enabled: Enabled::default(),
            notified: None,
            counted_from: None,
            compression: Compression::Off,
        }
    }

    pub(crate) fn login(&self) -> Option<&Login> {
        match &self.state {
            State::NotAuthenticated => None,
            State::Authenticated(login) | State::Selected(login, _) => Some(login),
        }
    }

    pub(crate) fn view(&self) -> Option<&View> {
        match &self.state {
            State::Selected(_, view) => Some(view),
            _ => None,
        }
    }

    /// The view and the output at once.
    pub(crate) fn view_and_out(&mut self) -> Option<(&mut View, &mut Vec<u8>)> {
        match &mut self.state {
            State::Selected(_, view) => Some((view, &mut self.out)),
            _ => None,
        }
    }

    /// Selects a folder, or leaves it.
    pub(crate) fn select(&mut self, view: Option<View>) {
        let state = std::mem::replace(&mut self.state, State::NotAuthenticated);
        (self.stale, self.counted_from) = (false, None);
        self.state = match (state, view) {
            (State::Authenticated(login) | State::Selected(login, _), Some(view)) => State::Selected(login, view),
            (State::Authenticated(login) | State::Selected(login, _), None) => State::Authenticated(login),
            (State::NotAuthenticated, _) => State::NotAuthenticated,
        };
    }

    /// Marks the view stale if that folder is the selected one, into which this session itself put messages.
    pub(crate) fn put_into(&mut self, folder: &str, uids: impl IntoIterator<Item = u32>) {
        if self.view().is_none_or(|v| v.name != folder) {
            return;
        }
        self.stale = true;
        if let Some(notified) = &mut self.notified {
            notified.put(uids);
        }
    }

    /// Notes what this session did itself: NOTIFY does not tell it (RFC 5465 §5).
    pub(crate) fn did(&mut self, own: Own) {
        if let Some(notified) = &mut self.notified {
            notified.did(own);
        }
    }

    /// Whether the client wants to hear nothing of the messages of the selected folder (RFC 5465 §3.1).
    pub(crate) fn is_silent(&self) -> bool {
        self.notified
            .as_ref()
            .is_some_and(|notified| notified.telling_unasked().is_none())
    }

    /// Notes that the last `fresh` messages were counted to the client by the command under way.
    pub(crate) fn counted(&mut self, fresh: usize) {
        let Some(view) = self.view().filter(|_| fresh > 0) else {
            return;
        };
        let first = view.entries().get(view.entries().len() - fresh).map(|entry| entry.uid);
        self.counted_from = self.counted_from.or(first);
    }

    /// How names of folders stand on the wire (RFC 9051 §5.1, RFC 6855 §3).
    pub(crate) fn spelling(&self) -> Spelling {
        if self.enabled.has(Extension::Imap4rev2) || self.enabled.has(Extension::Utf8) {
            Spelling::Utf8
        } else {
            Spelling::Utf7
        }
    }

    /// Notes which command is under way.
    pub(crate) fn begin(&mut self, command: &Command) {
        self.tag.clone_from(&command.tag);
        let is_told = self.enabled.has(Extension::Imap4rev2);
        let sent = is_told.then(|| names::sent_otherwise(&command.body, self.spelling()));
        self.sent = sent.flatten();
    }

    /// Writes the capabilities of the present state: nothing that is not complete, nothing that would be refused.
    pub(crate) fn write_capabilities(&mut self) {
        let logged_in = self.login().is_some();
        capability::write(&mut self.out, logged_in, &self.options);
    }

    /// The capabilities as a response code.
    pub(crate) fn capability_code(&mut self) -> Cow<'static, [u8]> {
        let waiting = std::mem::take(&mut self.out);
        self.out.extend_from_slice(b"CAPABILITY ");
        self.write_capabilities();
        Cow::Owned(std::mem::replace(&mut self.out, waiting))
    }

    /// Whether enough waits to be written.
    pub(crate) fn is_full(&self) -> bool {
        self.out.len() >= WRITE_BYTES
    }
}
