//! What commands that read stores are given.

use std::io::Write;
use std::sync::Arc;

use clap::Args;

use crate::directory::Directory;
use crate::store::{CounterStore, JournalStore, QueueStore, Store};

/// An operator whose data folder is open.
pub struct OpenOperator {
    /// Its name in the space or configuration.
    pub name: String,
    /// Its journal.
    pub journal: Arc<dyn JournalStore>,
    /// Its counters.
    pub counters: Arc<dyn CounterStore>,
    /// Its queue; `None` where only journal and counters are at hand.
    pub queue: Option<Arc<dyn QueueStore>>,
    /// Names and denominators.
    pub directory: Arc<Directory>,
}

impl OpenOperator {
    /// An operator over its store.
    pub fn new(name: impl Into<String>, store: Arc<dyn Store>, directory: Arc<Directory>) -> Self {
        Self {
            name: name.into(),
            journal: Arc::<dyn Store>::clone(&store),
            queue: Some(Arc::<dyn Store>::clone(&store)),
            counters: store,
            directory,
        }
    }
}

/// Where a command prints.
pub struct Output<'a> {
    /// The result: standard output.
    pub out: &'a mut dyn Write,
    /// Remarks that must not get into a pipe: standard error.
    pub notes: &'a mut dyn Write,
}

/// The `--json` of every command.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct JsonFlag {
    /// Print JSON for scripts
    #[arg(long)]
    pub json: bool,
}

/// Those of the given operators that are asked for by name; all without a name. A name that fits none is an error that lists them.
pub(super) fn chosen<'a>(operators: &'a [OpenOperator], names: &[String]) -> anyhow::Result<Vec<&'a OpenOperator>> {
    if let Some(wrong) = names.iter().find(|name| operators.iter().all(|one| one.name != **name)) {
        let known: Vec<&str> = operators.iter().map(|one| one.name.as_str()).collect();
        anyhow::bail!("no operator {wrong:?} here; there is {}", known.join(", "));
    }
    let wanted = |one: &&OpenOperator| names.is_empty() || names.contains(&one.name);
    Ok(operators.iter().filter(wanted).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::indicator::enter;
    use crate::indicator::fake::{FakeStore, lilas};
    use crate::journal::{Event, Record, Started, sample};
    use crate::message::Class;
    use crate::store::Acceptance;

    pub(crate) fn sent_by(establishment: &str, entity: &str) -> Event {
        sample::submitted(sample::owner("APP", establishment, entity), Class::Message, 2)
    }

    pub(crate) fn over(name: &str, store: Arc<FakeStore>) -> OpenOperator {
        OpenOperator {
            name: name.into(),
            journal: Arc::<FakeStore>::clone(&store),
            counters: store,
            queue: None,
            directory: Arc::new(lilas()),
        }
    }

    /// An operator whose store holds these events, all at once.
    pub(crate) fn operator(name: &str, events: Vec<Event>) -> OpenOperator {
        with(name, events.into_iter().map(|event| (0, event)).collect())
    }

    /// One that started at these minutes after the first.
    pub(crate) fn at_times(name: &str, minutes: &[i64]) -> OpenOperator {
        let started = |minute: &i64| (*minute, Event::Started(Started::default()));
        with(name, minutes.iter().map(started).collect())
    }

    fn with(name: &str, events: Vec<(i64, Event)>) -> OpenOperator {
        let store = FakeStore::default();
        let mut acceptance = Acceptance::default();
        for (minute, event) in events {
            let at = sample::moment() + SignedDuration::from_mins(minute);
            enter(&mut acceptance, &[Record::new(at, "s-42", event)]);
        }
        store.apply(acceptance);
        over(name, Arc::new(store))
    }

    /// What a command printed.
    #[derive(Debug, Default)]
    pub(crate) struct Printed {
        out: Vec<u8>,
        notes: Vec<u8>,
    }

    impl Printed {
        pub(crate) fn output(&mut self) -> Output<'_> {
            Output {
                out: &mut self.out,
                notes: &mut self.notes,
            }
        }

        pub(crate) fn out(&self) -> String {
            String::from_utf8(self.out.clone()).unwrap()
        }

        pub(crate) fn notes(&self) -> String {
            String::from_utf8(self.notes.clone()).unwrap()
        }
    }
}
