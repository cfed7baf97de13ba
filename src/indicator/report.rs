//! The report of a window: what each establishment sent and received, and its usage rate.
//!
//! Every counter of the window stands in exactly one row, so the rows add up to what was accepted: what belongs to no
//! establishment has a bucket that shows, instead of being dropped or guessed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::counter::SENT;
use super::month::Month;
use super::usage::{NotComputable, TARGET_PERCENT, Usage, Window};
use crate::directory::{Directory, Establishment};
use crate::message::Class;
use crate::store::Count;

/// Names and denominators: the directories of one or several operators.
#[derive(Clone, Debug, Default)]
pub struct Structures<'a> {
    directories: Vec<&'a Directory>,
    files: BTreeMap<(String, Month), u32>,
}

impl<'a> Structures<'a> {
    /// From the directories of the operators reported on.
    pub fn of(directories: impl IntoIterator<Item = &'a Directory>) -> Self {
        Self {
            directories: directories.into_iter().collect(),
            files: BTreeMap::new(),
        }
    }

    /// Declares the active files with a personalised project that an establishment had in a month: the denominator of
    /// [`Window::Last3`], which the directory does not hold.
    pub fn declare_files(&mut self, establishment: &str, month: Month, files: u32) {
        self.files.insert((establishment.to_owned(), month), files);
    }

    fn establishments(&self) -> impl Iterator<Item = &'a Establishment> {
        self.directories.iter().flat_map(|directory| directory.establishments())
    }

    fn establishment(&self, finess: &str) -> Option<&'a Establishment> {
        self.establishments().find(|known| known.finess.as_str() == finess)
    }

    fn entity_name(&self, finess: &str) -> String {
        let parsed = finess.parse().ok();
        let known = parsed.and_then(|number| self.directories.iter().find_map(|directory| directory.entity(&number)));
        known.map(|entity| entity.name.clone()).unwrap_or_default()
    }

    fn denominator(&self, window: Window, finess: &str, month: Month) -> Option<u64> {
        let declared = match window {
            Window::Month | Window::First => self
                .establishments()
                .filter(|known| known.finess.as_str() == finess)
                .find_map(|known| known.people_in(&month.to_string())),
            Window::Last3 => self.files.get(&(finess.to_owned(), month)).copied(),
            Window::Volume => None,
        };
        declared.map(u64::from)
    }
}

/// The indicator over one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Which months and denominator.
    pub window: Window,
    /// The same in words.
    pub label: &'static str,
    /// The civil months (Europe/Paris) counted, oldest first.
    pub months: Vec<String>,
    /// The target rate.
    pub target_percent: u32,
    /// One row per establishment, then the buckets.
    pub rows: Vec<Row>,
    /// One sum per legal entity.
    pub entities: Vec<EntitySum>,
}

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowKind {
    /// An establishment (EG).
    Establishment,
    /// Messages of an entity whose establishment no rule gives.
    EstablishmentUnknown,
    /// Boxes without structure.
    NoStructure,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What it stands for.
    pub kind: RowKind,
    /// FINESS EG.
    pub establishment: Option<String>,
    /// FINESS EJ.
    pub entity: Option<String>,
    /// Name, as the directory has it, or what the bucket holds.
    pub name: String,
    /// Everything its boxes sent.
    pub sent: Traffic,
    /// Everything they received. A message for an ORG and a PER box of one establishment is received by both.
    pub received: Traffic,
    /// The declared denominator.
    pub people: Option<u64>,
    /// Messages sent over people; `null` for buckets.
    pub usage: Option<Usage>,
    /// The same traffic by box type.
    pub box_types: Vec<BoxTypeRow>,
}

/// Traffic of one box type within a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BoxTypeRow {
    /// `PER`, `ORG`, `APP`, `CAB`; empty for patients.
    pub box_type: String,
    /// What they sent.
    pub sent: Traffic,
    /// What they received.
    pub received: Traffic,
}

/// Messages, and the automatic ones among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// All messages.
    pub messages: u64,
    /// Messages × recipients.
    pub recipients: u64,
    /// Disposition notifications among the messages.
    pub mdn: u64,
    /// Delivery status notifications among them.
    pub dsn: u64,
    /// Other automatic messages among them.
    pub auto: u64,
}

impl Traffic {
    fn add(&mut self, count: &Count) {
        self.messages += count.messages;
        self.recipients += count.recipients;
        let class = count.key.class.as_str();
        for (name, sum) in [
            (Class::Mdn, &mut self.mdn),
            (Class::Dsn, &mut self.dsn),
            (Class::Auto, &mut self.auto),
        ] {
            if name.id() == class {
                *sum += count.messages;
            }
        }
    }

    fn plus(&mut self, other: Self) {
        self.messages += other.messages;
        self.recipients += other.recipients;
        self.mdn += other.mdn;
        self.dsn += other.dsn;
        self.auto += other.auto;
    }
}

/// What the establishments of a legal entity come to, its unknown bucket included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntitySum {
    /// FINESS EJ.
    pub entity: String,
    /// Raison sociale.
    pub name: String,
    /// Everything sent.
    pub sent: Traffic,
    /// Everything received.
    pub received: Traffic,
    /// Sum of the denominators, once every establishment declared one.
    pub people: Option<u64>,
    /// Rate over that sum.
    pub usage: Usage,
    /// Its establishments.
    pub establishments: u64,
    /// Those that reach the target: all must. `null` where the window has no rate.
    pub reaching_target: Option<u64>,
}

/// The report of the window that ends with `month`, from counters of one or several operators (others' months are passed over).
pub fn indicator(window: Window, month: Month, counters: &[Count], structures: &Structures<'_>) -> Report {
    let months: Vec<String> = month.ending(window.months()).iter().map(Month::to_string).collect();
    let mut rows: BTreeMap<Place, Row> = BTreeMap::new();
    for known in structures.establishments() {
        let place = Place::establishment(known.finess.as_str());
        rows.entry(place.clone())
            .or_insert_with(|| row(&place, known.entity.as_str(), structures));
    }
    for count in counters.iter().filter(|count| months.contains(&count.key.month)) {
        let place = Place::of(count);
        rows.entry(place.clone())
            .or_insert_with(|| row(&place, &count.key.entity, structures))
            .add(count);
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    for row in &mut rows {
        row.box_types.sort_by(|a, b| a.box_type.cmp(&b.box_type));
        if let Some(finess) = &row.establishment {
            row.people = structures.denominator(window, finess, month);
            row.usage = Some(usage(window, row.sent.messages, row.people));
        }
    }
    Report {
        window,
        label: window.label(),
        months,
        target_percent: TARGET_PERCENT,
        entities: entity_sums(window, &rows, structures),
        rows,
    }
}

/// Where a counter is shown; the order of rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    kind: RowKind,
    /// EG of an establishment, EJ of a bucket.
    number: String,
}

impl Place {
    fn establishment(finess: &str) -> Self {
        Self {
            kind: RowKind::Establishment,
            number: finess.to_owned(),
        }
    }

    fn of(count: &Count) -> Self {
        let key = &count.key;
        match (key.establishment.as_str(), key.entity.as_str()) {
            ("", "") => Self {
                kind: RowKind::NoStructure,
                number: String::new(),
            },
            ("", entity) => Self {
                kind: RowKind::EstablishmentUnknown,
                number: entity.to_owned(),
            },
            (finess, _) => Self::establishment(finess),
        }
    }
}

/// An empty row. An establishment that no directory knows any more keeps the entity it was counted under.
fn row(place: &Place, entity: &str, structures: &Structures<'_>) -> Row {
    let (establishment, entity, name) = match place.kind {
        RowKind::Establishment => {
            let known = structures.establishment(&place.number);
            let entity = known.map_or(entity, |known| known.entity.as_str());
            let name = known.map_or(String::new(), |known| known.name.clone());
            (Some(place.number.clone()), entity, name)
        }
        RowKind::EstablishmentUnknown => (None, entity, format!("EJ {entity}, establishment unknown")),
        RowKind::NoStructure => (None, "", "without structure".to_owned()),
    };
    Row {
        kind: place.kind,
        establishment,
        entity: (!entity.is_empty()).then(|| entity.to_owned()),
        name,
        sent: Traffic::default(),
        received: Traffic::default(),
        people: None,
        usage: None,
        box_types: Vec::new(),
    }
}

impl Row {
    fn add(&mut self, count: &Count) {
        let box_type = &count.key.box_type;
        let at = self.box_types.iter().position(|row| row.box_type == *box_type);
        let at = at.unwrap_or_else(|| {
            self.box_types.push(BoxTypeRow {
                box_type: box_type.clone(),
                sent: Traffic::default(),
                received: Traffic::default(),
            });
            self.box_types.len() - 1
        });
        let part = &mut self.box_types[at];
        let (whole, part) = if count.key.direction == SENT {
            (&mut self.sent, &mut part.sent)
        } else {
            (&mut self.received, &mut part.received)
        };
        whole.add(count);
        part.add(count);
    }
}

fn usage(window: Window, sent: u64, people: Option<u64>) -> Usage {
    match window {
        Window::Volume => Usage::NotComputable(NotComputable::NoDenominator),
        Window::Month | Window::First | Window::Last3 => Usage::of(sent, people),
    }
}

fn entity_sums(window: Window, rows: &[Row], structures: &Structures<'_>) -> Vec<EntitySum> {
    let entities: BTreeSet<&String> = rows.iter().filter_map(|row| row.entity.as_ref()).collect();
    entities
        .into_iter()
        .map(|entity| {
            let own = rows.iter().filter(|row| row.entity.as_ref() == Some(entity));
            entity_sum(window, entity, own.collect(), structures)
        })
        .collect()
}

fn entity_sum(window: Window, entity: &str, rows: Vec<&Row>, structures: &Structures<'_>) -> EntitySum {
    let (mut sent, mut received) = (Traffic::default(), Traffic::default());
    for row in &rows {
        sent.plus(row.sent);
        received.plus(row.received);
    }
    let own: Vec<&&Row> = rows.iter().filter(|row| row.kind == RowKind::Establishment).collect();
    // A sum over some of the establishments only would flatter the rate: one missing or zero denominator makes it unknown.
    let people: Option<u64> = own.iter().map(|row| row.people.filter(|people| *people > 0)).sum();
    let people = people.filter(|_| !own.is_empty());
    let reaching = own
        .iter()
        .filter(|row| row.usage.is_some_and(Usage::reaches_target))
        .count() as u64;
    EntitySum {
        entity: entity.to_owned(),
        name: structures.entity_name(entity),
        usage: usage(window, sent.messages, people),
        sent,
        received,
        people,
        establishments: own.len() as u64,
        reaching_target: (window != Window::Volume).then_some(reaching),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicator::fake;
    use crate::indicator::{csv, table};
    use crate::store::CountKey;

    /// `direction establishment entity box-type class messages recipients`, `-` for empty, in November 2026.
    fn count(line: &str) -> Count {
        let field: Vec<String> = line
            .split_whitespace()
            .map(|word| word.trim_start_matches('-').to_owned())
            .collect();
        Count {
            key: CountKey {
                month: "2026-11".into(),
                direction: field[0].clone(),
                establishment: field[1].clone(),
                entity: field[2].clone(),
                box_type: field[3].clone(),
                class: field[4].clone(),
            },
            messages: field[5].parse().unwrap(),
            recipients: field[6].parse().unwrap(),
        }
    }

    fn november() -> Month {
        "2026-11".parse().unwrap()
    }

    fn counters() -> Vec<Count> {
        let mut counters: Vec<Count> = [
            "sent 990000010 990000002 APP message 45 60",
            "sent 990000010 990000002 PER message 4 4",
            "sent 990000010 990000002 APP mdn 1 1",
            "received 990000010 990000002 ORG message 7 8",
            "received 990000010 990000002 ORG dsn 2 2",
            "sent 990000028 990000002 PER message 5 5",
            "sent - 990000002 APP message 3 3",
            "sent 990000119 990000101 ORG message 2 2",
            "received - - - message 9 9",
            "sent 990000127 990000101 ORG auto 1 1",
        ]
        .map(count)
        .into();
        let mut october = count("sent 990000010 990000002 APP message 1000 1000");
        october.key.month = "2026-10".into();
        counters.push(october);
        counters
    }

    fn report(window: Window) -> Report {
        let directory = fake::lilas();
        indicator(window, november(), &counters(), &Structures::of([&directory]))
    }

    #[test]
    fn the_table_of_a_month_shows_every_bucket_and_no_invented_rate() {
        insta::assert_snapshot!(table(&report(Window::Month)), @r#"
        2026-11 (month): messages sent in the month / people accompanied; target 70 %
        ┌───────────┬─────────────────────────────────────┬───────┬──────┬────────────┬──────────────┬──────────┬──────────────┬────────┬────────────────┬─────────────┐
        │ EG        ┆ name                                ┆ boxes ┆ sent ┆ recipients ┆ mdn/dsn/auto ┆ received ┆ mdn/dsn/auto ┆ people ┆          usage ┆ target      │
        ╞═══════════╪═════════════════════════════════════╪═══════╪══════╪════════════╪══════════════╪══════════╪══════════════╪════════╪════════════════╪═════════════╡
        │ 990000010 ┆ EHPAD Les Lilas                     ┆ all   ┆   50 ┆         65 ┆        1/0/0 ┆        9 ┆        0/2/0 ┆     40 ┆        125.0 % ┆ reached     │
        │           ┆                                     ┆ APP   ┆   46 ┆         61 ┆        1/0/0 ┆        0 ┆              ┆        ┆                ┆             │
        │           ┆                                     ┆ ORG   ┆    0 ┆          0 ┆              ┆        9 ┆        0/2/0 ┆        ┆                ┆             │
        │           ┆                                     ┆ PER   ┆    4 ┆          4 ┆              ┆        0 ┆              ┆        ┆                ┆             │
        │ 990000028 ┆ SSIAD Les Lilas                     ┆ all   ┆    5 ┆          5 ┆              ┆        0 ┆              ┆        ┆ not computable ┆             │
        │           ┆                                     ┆ PER   ┆    5 ┆          5 ┆              ┆        0 ┆              ┆        ┆                ┆             │
        │ 990000036 ┆ Foyer "Les Lilas", Dijon            ┆ all   ┆    0 ┆          0 ┆              ┆        0 ┆              ┆      0 ┆ not computable ┆             │
        │ 990000119 ┆ Résidence Seule                     ┆ all   ┆    2 ┆          2 ┆              ┆        0 ┆              ┆      3 ┆         66.7 % ┆ not reached │
        │           ┆                                     ┆ ORG   ┆    2 ┆          2 ┆              ┆        0 ┆              ┆        ┆                ┆             │
        │ 990000127 ┆                                     ┆ all   ┆    1 ┆          1 ┆        0/0/1 ┆        0 ┆              ┆        ┆ not computable ┆             │
        │           ┆                                     ┆ ORG   ┆    1 ┆          1 ┆        0/0/1 ┆        0 ┆              ┆        ┆                ┆             │
        │           ┆ EJ 990000002, establishment unknown ┆ all   ┆    3 ┆          3 ┆              ┆        0 ┆              ┆        ┆                ┆             │
        │           ┆                                     ┆ APP   ┆    3 ┆          3 ┆              ┆        0 ┆              ┆        ┆                ┆             │
        │           ┆ without structure                   ┆ all   ┆    0 ┆          0 ┆              ┆        9 ┆              ┆        ┆                ┆             │
        │           ┆                                     ┆ -     ┆    0 ┆          0 ┆              ┆        9 ┆              ┆        ┆                ┆             │
        └───────────┴─────────────────────────────────────┴───────┴──────┴────────────┴──────────────┴──────────┴──────────────┴────────┴────────────────┴─────────────┘
        EJ 990000002 Association Les Lilas: 58 sent, 9 received; usage not computable; 1 of 3 establishments reach the target
        EJ 990000101 Résidence Seule: 3 sent, 0 received; usage not computable; 0 of 2 establishments reach the target
        "#);
    }

    #[test]
    fn the_csv_of_a_month_is_rfc_4180() {
        let text = csv(&report(Window::Month));
        assert!(text.ends_with("\r\n"));
        insta::assert_snapshot!(text.replace("\r\n", "\n"), @r#"
        window,months,entity,establishment,name,box_type,sent_messages,sent_recipients,sent_mdn,sent_dsn,sent_auto,received_messages,received_recipients,received_mdn,received_dsn,received_auto,people,rate_percent,target_reached
        month,2026-11,990000002,990000010,EHPAD Les Lilas,all,50,65,1,0,0,9,10,0,2,0,40,125.0,true
        month,2026-11,990000002,990000010,EHPAD Les Lilas,APP,46,61,1,0,0,0,0,0,0,0,,,
        month,2026-11,990000002,990000010,EHPAD Les Lilas,ORG,0,0,0,0,0,9,10,0,2,0,,,
        month,2026-11,990000002,990000010,EHPAD Les Lilas,PER,4,4,0,0,0,0,0,0,0,0,,,
        month,2026-11,990000002,990000028,SSIAD Les Lilas,all,5,5,0,0,0,0,0,0,0,0,,,
        month,2026-11,990000002,990000028,SSIAD Les Lilas,PER,5,5,0,0,0,0,0,0,0,0,,,
        month,2026-11,990000002,990000036,"Foyer ""Les Lilas"", Dijon",all,0,0,0,0,0,0,0,0,0,0,0,,
        month,2026-11,990000101,990000119,Résidence Seule,all,2,2,0,0,0,0,0,0,0,0,3,66.7,false
        month,2026-11,990000101,990000119,Résidence Seule,ORG,2,2,0,0,0,0,0,0,0,0,,,
        month,2026-11,990000101,990000127,,all,1,1,0,0,1,0,0,0,0,0,,,
        month,2026-11,990000101,990000127,,ORG,1,1,0,0,1,0,0,0,0,0,,,
        month,2026-11,990000002,,"EJ 990000002, establishment unknown",all,3,3,0,0,0,0,0,0,0,0,,,
        month,2026-11,990000002,,"EJ 990000002, establishment unknown",APP,3,3,0,0,0,0,0,0,0,0,,,
        month,2026-11,,,without structure,all,0,0,0,0,0,9,9,0,0,0,,,
        month,2026-11,,,without structure,,0,0,0,0,0,9,9,0,0,0,,,
        "#);
    }

    #[test]
    fn the_json_of_a_report_keeps_its_names() {
        let mut report = report(Window::Month);
        report.rows.truncate(3);
        report.rows[0].box_types.truncate(1);
        report.entities.truncate(1);
        let text = serde_json::to_string(&report).unwrap();
        insta::assert_snapshot!(text.replace("},", "},\n"), @r#"
        {"window":"month","label":"messages sent in the month / people accompanied","months":["2026-11"],"target_percent":70,"rows":[{"kind":"establishment","establishment":"990000010","entity":"990000002","name":"EHPAD Les Lilas","sent":{"messages":50,"recipients":65,"mdn":1,"dsn":0,"auto":0},
        "received":{"messages":9,"recipients":10,"mdn":0,"dsn":2,"auto":0},
        "people":40,"usage":{"rate_percent":125.0,"target_reached":true,"not_computable":null},
        "box_types":[{"box_type":"APP","sent":{"messages":46,"recipients":61,"mdn":1,"dsn":0,"auto":0},
        "received":{"messages":0,"recipients":0,"mdn":0,"dsn":0,"auto":0}}]},
        {"kind":"establishment","establishment":"990000028","entity":"990000002","name":"SSIAD Les Lilas","sent":{"messages":5,"recipients":5,"mdn":0,"dsn":0,"auto":0},
        "received":{"messages":0,"recipients":0,"mdn":0,"dsn":0,"auto":0},
        "people":null,"usage":{"rate_percent":null,"target_reached":null,"not_computable":"denominator-missing"},
        "box_types":[{"box_type":"PER","sent":{"messages":5,"recipients":5,"mdn":0,"dsn":0,"auto":0},
        "received":{"messages":0,"recipients":0,"mdn":0,"dsn":0,"auto":0}}]},
        {"kind":"establishment","establishment":"990000036","entity":"990000002","name":"Foyer \"Les Lilas\", Dijon","sent":{"messages":0,"recipients":0,"mdn":0,"dsn":0,"auto":0},
        "received":{"messages":0,"recipients":0,"mdn":0,"dsn":0,"auto":0},
        "people":0,"usage":{"rate_percent":null,"target_reached":null,"not_computable":"denominator-zero"},
        "box_types":[]}],"entities":[{"entity":"990000002","name":"Association Les Lilas","sent":{"messages":58,"recipients":73,"mdn":1,"dsn":0,"auto":0},
        "received":{"messages":9,"recipients":10,"mdn":0,"dsn":2,"auto":0},
        "people":null,"usage":{"rate_percent":null,"target_reached":null,"not_computable":"denominator-missing"},
        "establishments":3,"reaching_target":1}]}
        "#);
    }

    #[test]
    fn rows_add_up_to_what_was_counted() {
        for window in Window::ALL {
            let report = report(window);
            let sent: u64 = report.rows.iter().map(|row| row.sent.messages).sum();
            assert_eq!(sent, if window == Window::Month { 61 } else { 1061 });
            let by_type: u64 = report
                .rows
                .iter()
                .flat_map(|row| &row.box_types)
                .map(|part| part.sent.messages)
                .sum();
            assert_eq!(by_type, sent);
        }
    }

    #[test]
    fn three_months_are_labelled_and_have_their_own_denominator() {
        let first = report(Window::First);
        assert_eq!(first.months, ["2026-09", "2026-10", "2026-11"]);
        assert_eq!(first.rows[0].usage, Some(Usage::of(1050, Some(40))));
        let last3 = report(Window::Last3);
        assert_eq!(
            last3.rows[0].usage,
            Some(Usage::NotComputable(NotComputable::DenominatorMissing))
        );
        let directory = fake::lilas();
        let mut structures = Structures::of([&directory]);
        structures.declare_files(fake::EHPAD, november(), 2000);
        let declared = indicator(Window::Last3, november(), &counters(), &structures);
        assert_eq!(declared.rows[0].usage, Some(Usage::of(1050, Some(2000))));
    }

    #[test]
    fn a_plain_volume_has_neither_rate_nor_target() {
        let volume = report(Window::Volume);
        assert_eq!(
            volume.rows[0].usage,
            Some(Usage::NotComputable(NotComputable::NoDenominator))
        );
        assert_eq!(volume.entities[0].reaching_target, None);
    }

    #[test]
    fn an_entity_has_a_rate_once_all_its_establishments_declared_their_people() {
        let entities = report(Window::Month).entities;
        assert_eq!(entities[0].usage.to_string(), "not computable");
        assert_eq!((entities[0].reaching_target, entities[0].establishments), (Some(1), 3));
        let directory = fake::lilas();
        let only = [count("sent 990000119 990000101 ORG message 2 2")];
        let report = indicator(Window::Month, november(), &only, &Structures::of([&directory]));
        let seul = report.entities.iter().find(|sum| sum.entity == fake::SEUL).unwrap();
        assert_eq!(seul.usage.to_string(), "66.7 %");
        assert_eq!((seul.reaching_target, seul.establishments), (Some(0), 1));
    }

    #[test]
    fn an_establishment_of_two_operators_is_one_row() {
        let (one, other) = (fake::lilas(), fake::lilas());
        let twice = [counters(), counters()].concat();
        let report = indicator(Window::Month, november(), &twice, &Structures::of([&one, &other]));
        let ehpad: Vec<&Row> = report.rows.iter().filter(|row| row.name == "EHPAD Les Lilas").collect();
        assert_eq!(ehpad.len(), 1);
        assert_eq!(ehpad[0].sent.messages, 100);
        assert_eq!(ehpad[0].people, Some(40));
    }
}
