//! The report as a table for people and as CSV for spreadsheets; JSON comes from the types themselves.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

use super::report::{BoxTypeRow, EntitySum, Report, Row, Traffic};
use super::usage::Usage;

/// The report as a table, with the sums of the entities below it. Ends with a line end.
pub fn table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).force_no_tty().set_header(HEADER);
    for row in &report.rows {
        table.add_row(total_cells(row));
        for part in &row.box_types {
            table.add_row(part_cells(part));
        }
    }
    for index in NUMERIC_COLUMNS {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = format!(
        "{} ({}): {}; target {} %\n{}\n",
        report.months.join(", "),
        report.window.id(),
        report.label,
        report.target_percent,
        table.trim_fmt()
    );
    for sum in &report.entities {
        text.push_str(&entity_line(sum));
    }
    text
}

/// The report as CSV: comma, CRLF and quoting of RFC 4180, UTF-8, a header line. For each row a line of box type `all`, then one per
/// box type. Field names are stable; rates use a decimal point and are empty where not computable.
pub fn csv(report: &Report) -> String {
    let mut text = record(CSV_HEADER.iter().map(ToString::to_string));
    for row in &report.rows {
        let shared = |box_type: &str, sent, received| Line {
            row,
            box_type: box_type.to_owned(),
            sent,
            received,
        };
        text.push_str(&shared(CSV_ALL, row.sent, row.received).csv(report));
        for part in &row.box_types {
            text.push_str(&shared(&part.box_type, part.sent, part.received).csv(report));
        }
    }
    text
}

struct Line<'a> {
    row: &'a Row,
    box_type: String,
    sent: Traffic,
    received: Traffic,
}

impl Line<'_> {
    fn csv(self, report: &Report) -> String {
        let row = self.row;
        let whole = self.box_type == CSV_ALL;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (rate, reached) = match row.usage.filter(|_| whole) {
            Some(Usage::Rate { tenths, target_reached }) => {
                (format!("{}.{}", tenths / 10, tenths % 10), target_reached.to_string())
            }
            Some(Usage::NotComputable(_)) | None => (String::new(), String::new()),
        };
        let people = row.people.filter(|_| whole).map(|people| people.to_string());
        let months = report.months.join(" ");
        let mut fields = vec![
            report.window.id().to_owned(),
            months,
            text(&row.entity),
            text(&row.establishment),
            row.name.clone(),
            self.box_type,
        ];
        for traffic in [self.sent, self.received] {
            let numbers = [
                traffic.messages,
                traffic.recipients,
                traffic.mdn,
                traffic.dsn,
                traffic.auto,
            ];
            fields.extend(numbers.map(|number| number.to_string()));
        }
        fields.extend([people.unwrap_or_default(), rate, reached]);
        record(fields)
    }
}

/// RFC 4180 §2: fields with a comma, a quote or a line end are quoted, quotes doubled, lines end with CRLF.
fn record(fields: impl IntoIterator<Item = String>) -> String {
    let quoted = |field: String| {
        if field.contains(['"', ',', '\r', '\n']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field
        }
    };
    let fields: Vec<String> = fields.into_iter().map(quoted).collect();
    fields.join(",") + "\r\n"
}

fn total_cells(row: &Row) -> Vec<String> {
    let usage = row.usage.map_or(String::new(), |usage| usage.to_string());
    let target = match row.usage {
        Some(Usage::Rate {
            target_reached: true, ..
        }) => "reached",
        Some(Usage::Rate {
            target_reached: false, ..
        }) => "not reached",
        Some(Usage::NotComputable(_)) | None => "",
    };
    let mut cells = vec![
        row.establishment.clone().unwrap_or_default(),
        flat(&row.name),
        "all".to_owned(),
    ];
    cells.extend(traffic_cells(row.sent, row.received));
    cells.extend([
        row.people.map_or(String::new(), |people| people.to_string()),
        usage,
        target.to_owned(),
    ]);
    cells
}

fn part_cells(part: &BoxTypeRow) -> Vec<String> {
    let box_type = if part.box_type.is_empty() { "-" } else { &part.box_type };
    let mut cells = vec![String::new(), String::new(), box_type.to_owned()];
    cells.extend(traffic_cells(part.sent, part.received));
    cells.resize(HEADER.len(), String::new());
    cells
}

fn traffic_cells(sent: Traffic, received: Traffic) -> [String; 5] {
    [
        sent.messages.to_string(),
        sent.recipients.to_string(),
        automatic(sent),
        received.messages.to_string(),
        automatic(received),
    ]
}

/// `mdn/dsn/auto`, or nothing when there are none.
fn automatic(traffic: Traffic) -> String {
    match (traffic.mdn, traffic.dsn, traffic.auto) {
        (0, 0, 0) => String::new(),
        (mdn, dsn, auto) => format!("{mdn}/{dsn}/{auto}"),
    }
}

fn entity_line(sum: &EntitySum) -> String {
    let name = match sum.name.as_str() {
        "" => String::new(),
        name => format!(" {}", flat(name)),
    };
    let usage = match sum.reaching_target {
        Some(reaching) => format!(
            "; usage {}; {reaching} of {} establishments reach the target",
            sum.usage, sum.establishments
        ),
        None => String::new(),
    };
    let (sent, received) = (sum.sent.messages, sum.received.messages);
    format!("EJ {}{name}: {sent} sent, {received} received{usage}\n", sum.entity)
}

/// Names come from configuration: they stay on their line.
fn flat(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

const HEADER: [&str; 11] = [
    "EG",
    "name",
    "boxes",
    "sent",
    "recipients",
    "mdn/dsn/auto",
    "received",
    "mdn/dsn/auto",
    "people",
    "usage",
    "target",
];
const NUMERIC_COLUMNS: [usize; 7] = [3, 4, 5, 6, 7, 8, 9];

/// Box type of a line that sums a whole row.
const CSV_ALL: &str = "all";
const CSV_HEADER: [&str; 19] = [
    "window",
    "months",
    "entity",
    "establishment",
    "name",
    "box_type",
    "sent_messages",
    "sent_recipients",
    "sent_mdn",
    "sent_dsn",
    "sent_auto",
    "received_messages",
    "received_recipients",
    "received_mdn",
    "received_dsn",
    "received_auto",
    "people",
    "rate_percent",
    "target_reached",
];
