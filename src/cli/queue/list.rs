//! `vaguemestre queue list`.

use std::collections::HashMap;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::SelectArgs;
use super::tell::{Shown, age, group_json, seconds};
use crate::cli::open::{JsonFlag, OpenOperator, Output, chosen};
use crate::cli::stores::DataArgs;
use crate::identity::Domain;
use crate::store::{Destination, QueueBy, QueueFilter, QueueGroup, QueueState, QueueStore};

/// Arguments of `vaguemestre queue list`.
#[derive(Args, Clone, Debug)]
pub(super) struct ListArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// Only this operator (may be repeated); all of them by default
    #[arg(long, value_name = "NAME")]
    operator: Vec<String>,
    /// Sums instead of items, one line for each
    #[arg(long, value_name = "WHAT")]
    by: Option<By>,
    /// At most this many items of each operator
    #[arg(long, default_value_t = LIMIT_DEFAULT, value_name = "COUNT")]
    limit: usize,
    /// Show the addresses of patients in full
    #[arg(long)]
    show_addresses: bool,
    /// Print one JSON object per line.
    #[command(flatten)]
    json: JsonFlag,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// Destinations: counts by state, ages, and which cannot be reached
    Domain,
    /// States
    State,
    /// Senders
    Sender,
    /// Messages
    Message,
}

impl ListArgs {
    pub(super) fn data(&self) -> &DataArgs {
        &self.data
    }
}

/// Prints what waits.
pub(super) async fn run_list(
    args: &ListArgs,
    operators: &[OpenOperator],
    now: Timestamp,
    mut output: Output<'_>,
) -> anyhow::Result<u8> {
    let filter = args.select.selection(&[]).filter(now, PAGE_ITEMS)?;
    let operators = chosen(operators, &args.operator)?;
    let prefix = operators.len() > 1;
    let mut header = !args.json.json;
    for operator in operators {
        let Some(queue) = &operator.queue else { continue };
        let listing = Listing {
            args,
            queue: &**queue,
            operator: &operator.name,
            prefix: if prefix {
                format!("{}  ", operator.name)
            } else {
                String::new()
            },
        };
        match args.by {
            Some(by) => listing.groups(by, &filter, &mut header, &mut output).await?,
            None => listing.items(filter.clone(), &mut header, &mut output).await?,
        }
    }
    Ok(0)
}

/// What is printed of one operator.
struct Listing<'a> {
    args: &'a ListArgs,
    queue: &'a dyn QueueStore,
    operator: &'a str,
    prefix: String,
}

impl Listing<'_> {
    async fn items(&self, mut filter: QueueFilter, header: &mut bool, output: &mut Output<'_>) -> anyhow::Result<()> {
        let destinations = self.destinations().await?;
        let mut left = self.args.limit;
        loop {
            // One more tells whether there is more.
            filter.limit = PAGE_ITEMS.min(left.saturating_add(1));
            let page = self.queue.queue_page(&filter).await?;
            let Some(last) = page.last().map(|entry| entry.item.key) else {
                return Ok(());
            };
            for entry in &page {
                if left == 0 {
                    writeln!(
                        output.notes,
                        "{}: there is more: these are the first {} items; narrow with a filter, sum up with --by, or raise --limit",
                        self.operator, self.args.limit
                    )?;
                    return Ok(());
                }
                left -= 1;
                let shown = Shown {
                    entry,
                    destination: destinations.get(entry.item.recipient.domain()),
                    now: filter.now,
                    in_full: self.args.show_addresses,
                };
                if self.args.json.json {
                    writeln!(output.out, "{}", with_operator(self.operator, shown.json()))?;
                    continue;
                }
                if std::mem::take(header) {
                    writeln!(output.out, "{}{}", blank(&self.prefix), Shown::HEADER)?;
                }
                writeln!(output.out, "{}{}", self.prefix, shown.line())?;
            }
            filter.after = last;
        }
    }

    async fn groups(
        &self,
        by: By,
        filter: &QueueFilter,
        header: &mut bool,
        output: &mut Output<'_>,
    ) -> anyhow::Result<()> {
        let of = match by {
            By::Domain => QueueBy::Domain,
            By::State => QueueBy::State,
            By::Sender => QueueBy::Sender,
            By::Message => QueueBy::Message,
        };
        let destinations = match by {
            By::Domain => self.destinations().await?,
            _ => HashMap::new(),
        };
        for group in self.queue.queue_groups(of, filter).await? {
            let name = self.name(by, &group.name);
            let closed = group.name.parse::<Domain>().ok();
            let closed = closed.and_then(|domain| destinations.get(&domain));
            if self.args.json.json {
                let json = group_json(&name, &group, closed, filter.now);
                writeln!(output.out, "{}", with_operator(self.operator, json))?;
                continue;
            }
            if std::mem::take(header) {
                writeln!(output.out, "{}{GROUP_HEADER}", blank(&self.prefix))?;
            }
            writeln!(
                output.out,
                "{}{}",
                self.prefix,
                group_line(&name, &group, closed, filter.now)
            )?;
        }
        Ok(())
    }

    /// A sender may be a patient.
    fn name(&self, by: By, name: &str) -> String {
        match (by, self.args.show_addresses) {
            (By::Sender, false) => crate::journal::MaskedAddress::from_text(name).as_str().to_owned(),
            _ => name.to_owned(),
        }
    }

    async fn destinations(&self) -> anyhow::Result<HashMap<Domain, Destination>> {
        let destinations = self.queue.destinations().await?;
        Ok(destinations.into_iter().map(|one| (one.domain.clone(), one)).collect())
    }
}

fn blank(prefix: &str) -> String {
    " ".repeat(prefix.chars().count())
}

fn with_operator(operator: &str, fields: Value) -> Value {
    let mut object = Map::from_iter([("operator".to_owned(), json!(operator))]);
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    Value::Object(object)
}

fn group_line(name: &str, group: &QueueGroup, closed: Option<&Destination>, now: Timestamp) -> String {
    let states: Vec<String> = group.states.iter().map(|count| format!("{count:>7}")).collect();
    let next = group.next.map_or_else(
        || "-".to_owned(),
        |at| if at <= now { "now".to_owned() } else { seconds(at) },
    );
    let closed = closed.map_or_else(String::new, |closed| {
        format!(
            "  not reached {} times since {}, next visit {}: {}",
            closed.failures,
            seconds(closed.since),
            if closed.closed_until <= now {
                "now".to_owned()
            } else {
                seconds(closed.closed_until)
            },
            closed.last_reply
        )
    });
    format!(
        "{name:<34} {:>7}{}  {:>7}  {next:<20}{closed}",
        group.items,
        states.concat(),
        age(group.oldest, now)
    )
    .trim_end()
    .to_owned()
}

/// In the order of [`QueueState::ALL`].
const GROUP_HEADER: &str =
    "WHAT                                 ITEMS    DUE LEASED WAITING BLOCKED   HELD   OLDEST  NEXT";
const _: () = assert!(QueueState::ALL.len() == 5);
/// Items shown of each operator unless told otherwise.
const LIMIT_DEFAULT: usize = 1_000;
const PAGE_ITEMS: usize = 500;
