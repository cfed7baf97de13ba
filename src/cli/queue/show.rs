//! `vaguemestre queue show`, and `vaguemestre explain queue:N`.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::tell::Shown;
use crate::cli::open::{JsonFlag, OpenOperator, Output, chosen};
use crate::cli::stores::DataArgs;
use crate::journal::{Event, MaskedAddress, Record, json_line, line};
use crate::store::{Destination, JournalFilter, QueueEntry, QueueFilter, QueueKey};

/// Arguments of `vaguemestre queue show`.
#[derive(Args, Clone, Debug)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Items, by their number in the list
    #[arg(value_name = "ITEM", required = true)]
    ids: Vec<i64>,
    /// Only this operator (may be repeated); all of them by default
    #[arg(long, value_name = "NAME")]
    operator: Vec<String>,
    /// Show the addresses of patients in full
    #[arg(long)]
    show_addresses: bool,
    /// Print one JSON object per line.
    #[command(flatten)]
    json: JsonFlag,
}

impl ShowArgs {
    pub(super) fn data(&self) -> &DataArgs {
        &self.data
    }
}

/// An item that was found.
struct Found<'a> {
    operator: &'a OpenOperator,
    entry: QueueEntry,
    destination: Option<Destination>,
    /// What the journal says of it, oldest first.
    records: Vec<Record>,
}

/// Prints the items. The code is 1 when one of them is not there.
pub(super) async fn run_show(
    args: &ShowArgs,
    operators: &[OpenOperator],
    now: Timestamp,
    mut output: Output<'_>,
) -> anyhow::Result<u8> {
    let operators = chosen(operators, &args.operator)?;
    let mut code = 0;
    for id in &args.ids {
        let shown = tell(*id, &operators, (now, args.show_addresses, args.json.json), &mut output).await?;
        if !shown {
            writeln!(output.notes, "there is no item {id} in the queue: {GONE}")?;
            code = 1;
        }
    }
    Ok(code)
}

/// The number in `queue:N`, as `explain` is given it.
pub(in crate::cli) fn number_of(asked: &str) -> Option<i64> {
    asked.trim().strip_prefix("queue:")?.parse().ok()
}

/// What is known of an item and what happens next, for `explain`. The code is 1 when it is not there.
pub(in crate::cli) async fn item_story(
    id: i64,
    operators: &[OpenOperator],
    now: Timestamp,
    (json, mut output): (bool, Output<'_>),
) -> anyhow::Result<u8> {
    let all: Vec<&OpenOperator> = operators.iter().collect();
    if tell(id, &all, (now, false, json), &mut output).await? {
        return Ok(0);
    }
    writeln!(output.notes, "there is no item {id} in the queue: {GONE}")?;
    Ok(1)
}

async fn tell(
    id: i64,
    operators: &[&OpenOperator],
    (now, in_full, json): (Timestamp, bool, bool),
    output: &mut Output<'_>,
) -> anyhow::Result<bool> {
    let mut any = false;
    for operator in operators {
        let Some(found) = find(operator, id, now).await? else {
            continue;
        };
        any = true;
        let shown = Shown {
            entry: &found.entry,
            destination: found.destination.as_ref(),
            now,
            in_full,
        };
        if json {
            let records: Vec<Value> = found
                .records
                .iter()
                .filter_map(|record| serde_json::from_str(&json_line(record)).ok())
                .collect();
            let mut value = shown.json();
            value["operator"] = json!(found.operator.name);
            value["next"] = json!(shown.outlook());
            value["journal"] = json!(records);
            writeln!(output.out, "{value}")?;
        } else {
            if operators.len() > 1 {
                writeln!(output.out, "{}:", found.operator.name)?;
            }
            write!(output.out, "{}", shown.text())?;
            for record in &found.records {
                writeln!(output.out, "  journal   {}", line(record))?;
            }
        }
    }
    Ok(any)
}

async fn find(operator: &OpenOperator, id: i64, now: Timestamp) -> anyhow::Result<Option<Found<'_>>> {
    let Some(queue) = &operator.queue else { return Ok(None) };
    let filter = QueueFilter {
        keys: vec![QueueKey(id)],
        ..QueueFilter::all(now, 1)
    };
    let Some(entry) = queue.queue_page(&filter).await?.pop() else {
        return Ok(None);
    };
    let destinations = queue.destinations().await?;
    let destination = destinations
        .into_iter()
        .find(|one| one.domain == *entry.item.recipient.domain());
    let filter = JournalFilter {
        session: Some(entry.item.session.clone()),
        limit: ROWS_MAX,
        ..JournalFilter::default()
    };
    let records = operator
        .journal
        .journal(filter)
        .await?
        .into_iter()
        .map(Record::from_row);
    let recipient = MaskedAddress::from(&entry.item.recipient);
    let records = records.filter(|record| is_about(record, &entry, &recipient)).collect();
    Ok(Some(Found {
        operator,
        entry,
        destination,
        records,
    }))
}

/// The journal masks recipients: two patients of one message may look the same.
fn is_about(record: &Record, entry: &QueueEntry, recipient: &MaskedAddress) -> bool {
    match &record.event {
        Event::Queued(event) => event.recipient == *recipient,
        Event::Deferred(event) => event.recipient == *recipient,
        Event::Managed(event) => event.item == entry.item.key.0,
        _ => false,
    }
}

const GONE: &str = "it was delivered, reported or dropped; `vaguemestre journal --session ID` tells";
/// Attempts of one session that are shown.
const ROWS_MAX: usize = 1_000;
