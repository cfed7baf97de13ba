//! News of the selected folder: when they are asked for, and what follows them (RFC 9051 §5.2, RFC 5465).

use std::borrow::Cow;

use super::{Activity, Core, Extension, Session, State};
use crate::imap::command::{self, Outcome};
use crate::imap::request::{Answer, Refused, Request};
use crate::imap::view::Telling;

/// What a client did not want to be told unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    News,
}

#[derive(Debug)]
pub(super) enum AfterNews {
    Finish { tag: String, outcome: Outcome },
    Idle { tag: String },
    Unasked,
}

impl Session {
    /// The command is over but for the news it may bring (RFC 3501 §5.2).
    pub(super) fn conclude(&mut self, tag: String, outcome: Outcome) {
        let is_silent = self.core.is_silent();
        let is_notified = self.core.notified.is_some();
        self.core.counted_from = self.core.counted_from.filter(|_| is_notified && !is_silent);
        let is_owed = (self.held == Held::News && !is_silent) || self.core.counted_from.is_some();
        let is_asked = is_notified || matches!(self.core.state, State::Selected(..));
        if is_asked && (self.core.stale || is_owed || outcome.asks_news()) {
            self.ask_news(AfterNews::Finish { tag, outcome });
            return;
        }
        let Core {
            state, out, enabled, ..
        } = &mut self.core;
        if let (State::Selected(_, view), Telling::All) = (state, outcome.telling)
            && view.has_pending()
            && !is_silent
        {
            view.tell_vanished(*enabled, out);
        }
        self.finish(tag, outcome);
    }

    pub(super) fn ask_news(&mut self, then: AfterNews) {
        let is_wanted = match &then {
            // RFC 5465 §3.1: a client may want to hear nothing. NOOP asks all the same, and what it removes itself is told.
            AfterNews::Finish { outcome, .. } => {
                !self.core.is_silent()
                    || outcome.asks_news()
                    || outcome.code.as_deref() == Some(command::HIGHEST_MODSEQ)
            }
            // RFC 5465 §4
            AfterNews::Idle { .. } => !self.core.is_silent(),
            AfterNews::Unasked => self.telling_unasked().is_some(),
        };
        let (State::Selected(_, view), true) = (&self.core.state, is_wanted) else {
            self.core.stale = false;
            if self.core.view().is_some() {
                self.held = Held::News;
            }
            return self.follow_up(then, 0);
        };
        self.held = Held::Nothing;
        let question = Request::News { folder: view.folder };
        self.core.stale = false;
        self.activity = Activity::AskedNews {
            then,
            question: Some(question),
        };
    }

    pub(super) fn take_news(&mut self, then: AfterNews, answer: Answer) {
        let telling = match &then {
            AfterNews::Finish { outcome, .. } => outcome.telling,
            AfterNews::Idle { .. } => Telling::All,
            AfterNews::Unasked => self.telling_unasked().unwrap_or(Telling::KeepNumbers),
        };
        let is_quiet = self
            .core
            .notified
            .as_ref()
            .is_some_and(|notified| !notified.tells_flags());
        let mut fresh = 0;
        let counted_from = self.core.counted_from.take();
        let Core {
            state, out, enabled, ..
        } = &mut self.core;
        match (state, answer) {
            (State::Selected(_, view), Answer::News(news)) if is_quiet => {
                fresh = view.tell_quietly(news, telling, *enabled, out);
            }
            (State::Selected(_, view), Answer::News(news)) => fresh = view.tell(news, telling, *enabled, out),
            (_, Answer::Refused(Refused::NoSuchFolder)) => {
                self.bye("[UNAVAILABLE] the selected folder was deleted");
                return;
            }
            // Whatever failed will be asked again with the next command.
            _ => self.core.stale = matches!(then, AfterNews::Finish { .. }),
        }
        if let (Some(view), Some(uid)) = (self.core.view(), counted_from) {
            // Those that the command itself counted come before those that are new now.
            let at = view.entries().position(uid).unwrap_or_else(|at| at);
            fresh = fresh.max(view.entries().len() - at);
        }
        self.follow_up(then, fresh);
    }

    pub(super) fn telling_unasked(&self) -> Option<Telling> {
        self.core.notified.as_ref()?.telling_unasked()
    }

    /// Tells what NOTIFY asks beside the news of the selected folder, in which `fresh` messages are new.
    pub(super) fn follow_up(&mut self, then: AfterNews, fresh: usize) {
        let Some(mut work) = command::notify::follow_up(&mut self.core, fresh) else {
            return self.after_news(then);
        };
        self.after = Some(then);
        let next = work.go(&mut self.core, None);
        self.advance(String::new(), work, next);
    }

    pub(super) fn after_news(&mut self, then: AfterNews) {
        match then {
            AfterNews::Finish { tag, outcome } => self.finish(tag, outcome),
            AfterNews::Idle { tag } => self.activity = Activity::Idling { tag },
            AfterNews::Unasked => self.activity = Activity::Ready,
        }
    }

    /// Up to where the client knows the folder, unless something is still to be told.
    pub(super) fn highest_modseq(&self) -> Option<Cow<'static, [u8]>> {
        let view = self.core.view().filter(|view| !view.has_pending())?;
        let wanted = self.core.enabled.has(Extension::Condstore);
        wanted.then(|| format!("HIGHESTMODSEQ {}", view.modseq()).into_bytes().into())
    }
}
