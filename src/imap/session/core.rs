//! What commands work on: the state of RFC 3501 §3, the selected folder, and what waits to be written.

use std::borrow::Cow;

use super::{Enabled, Extension, Options, WRITE_BYTES};
use crate::imap::capability;
use crate::imap::command::notify::Notified;
use crate::imap::names::Spelling;
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

    /// Marks the view stale if that folder is the selected one.
    pub(crate) fn touched(&mut self, folder: &str) {
        if self.view().is_some_and(|v| v.name == folder) {
            self.stale = true;
        }
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
