//! Names that came in another form than they are kept in: the client is told which name is meant (RFC 9051 §6.3.9.7).

use super::{Next, Work, folder_name, list};
use crate::imap::grammar::tree::Body;
use crate::imap::request::Answer;
use crate::imap::session::Core;

/// A command with what is told once it succeeded. SELECT tells its LIST itself.
pub(super) struct Normalised {
    work: Box<dyn Work>,
    told: Told,
}

/// What is told of a command.
pub(super) struct Told {
    attributes: &'static [&'static str],
    name: String,
    sent: String,
}

impl Told {
    /// `None`: nothing is.
    pub(super) fn of(body: &Body, sent: String) -> Option<Self> {
        let (attributes, name): (&[&str], _) = match body {
            Body::Create { folder, .. } | Body::Append { folder, .. } => (&[], folder),
            Body::Rename { to, .. } => (&[], to),
            Body::Delete(folder) => (&["\\NonExistent"], folder),
            _ => return None,
        };
        let name = folder_name(name).ok()?;
        Some(Self { attributes, name, sent })
    }

    pub(super) fn after(self, work: Box<dyn Work>) -> Box<dyn Work> {
        Box::new(Normalised { work, told: self })
    }
}

impl Work for Normalised {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        let next = self.work.go(core, answer);
        if matches!(&next, Next::Done(outcome) if outcome.status == "OK") {
            let Told { attributes, name, sent } = &self.told;
            list::write_named(core, attributes, name, Some(sent));
        }
        next
    }
}
