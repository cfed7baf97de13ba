//! The space file, edited: what is not touched keeps its place, its form and its comments.

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value, value};

use super::order::OrderError;

/// The text of a space file, open for changes. What they make of it is checked as a whole before it is written.
pub(super) struct SpaceText {
    document: DocumentMut,
}

impl SpaceText {
    /// Opens a text; a file that cannot be read as TOML was edited by hand.
    pub(super) fn open(text: &str, file: &str) -> Result<Self, OrderError> {
        let document = text
            .parse()
            .map_err(|error| OrderError::Refused(format!("{file} is not TOML: {error}")))?;
        Ok(Self { document })
    }

    /// The text as it is now.
    pub(super) fn text(&self) -> String {
        self.document.to_string()
    }

    /// Adds sections at the end of the file.
    pub(super) fn append(&mut self, sections: &str, file: &str) -> Result<(), OrderError> {
        let mut text = self.text();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push('\n');
        text.push_str(sections);
        *self = Self::open(&text, file)?;
        Ok(())
    }

    /// The section of an operator.
    pub(super) fn operator(&mut self, key: &str) -> Result<&mut Table, OrderError> {
        self.operators()
            .and_then(|operators| operators.iter_mut().find(|table| key_of(table) == key))
            .ok_or_else(|| unknown_operator(key))
    }

    /// Takes the section of an operator out, and returns its text. Those behind it keep the ports that they take by their rank.
    pub(super) fn remove_operator(&mut self, key: &str) -> Result<String, OrderError> {
        let operators = self.operators().ok_or_else(|| unknown_operator(key))?;
        let index = operators
            .iter()
            .position(|table| key_of(table) == key)
            .ok_or_else(|| unknown_operator(key))?;
        self.pin_ports_behind(index);
        let operators = self.operators().ok_or_else(|| unknown_operator(key))?;
        let mut alone = DocumentMut::new();
        let mut only = ArrayOfTables::new();
        only.extend(operators.get(index).cloned());
        operators.remove(index);
        alone.insert("operator", Item::ArrayOfTables(only));
        Ok(alone.to_string())
    }

    /// Writes down the ports of operators that take them by their rank in the file, since their rank is about to change.
    fn pin_ports_behind(&mut self, index: usize) {
        let first = self.port_base();
        for (rank, operator) in (1_i64..).zip(self.each_operator()).skip(index + 1) {
            if operator.get("port_base").is_none() {
                set(operator, "port_base", first + rank * PORTS_PER_OPERATOR);
            }
        }
    }

    /// A range of ports that no operator of the file takes.
    pub(super) fn free_port_base(&mut self) -> Option<i64> {
        let first = self.port_base();
        let taken: Vec<i64> = (1_i64..)
            .zip(self.each_operator())
            .map(|(rank, operator)| {
                let own = operator.get("port_base").and_then(Item::as_integer);
                own.unwrap_or(first + rank * PORTS_PER_OPERATOR)
            })
            .collect();
        let free = |base: &i64| taken.iter().all(|other| (other - base).abs() >= PORTS_PER_OPERATOR);
        let ranks = 1..=PORT_BASE_LARGEST / PORTS_PER_OPERATOR;
        ranks
            .map(|rank| first + rank * PORTS_PER_OPERATOR)
            .filter(|base| *base <= PORT_BASE_LARGEST)
            .find(free)
    }

    fn port_base(&self) -> i64 {
        let space = self.document.get("space").and_then(Item::as_table_like);
        let base = space
            .and_then(|space| space.get("port_base"))
            .and_then(Item::as_integer);
        base.unwrap_or(PORT_BASE_DEFAULT)
    }

    /// The operators' sections and keys, in the order of the file.
    pub(super) fn each_operator(&mut self) -> impl Iterator<Item = &mut Table> {
        self.operators().into_iter().flat_map(ArrayOfTables::iter_mut)
    }

    fn operators(&mut self) -> Option<&mut ArrayOfTables> {
        self.document.get_mut("operator")?.as_array_of_tables_mut()
    }
}

/// The `key` of an operator's section.
pub(super) fn key_of(operator: &Table) -> &str {
    text_of(operator, "key")
}

/// The text under a key; empty without.
pub(super) fn text_of<'a>(table: &'a Table, key: &str) -> &'a str {
    table.get(key).and_then(Item::as_str).unwrap_or_default()
}

/// Sets a key, in its place if it has one.
pub(super) fn set(table: &mut Table, key: &str, to: impl Into<Value>) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(present) => {
            let decor = present.decor().clone();
            *present = to.into();
            *present.decor_mut() = decor;
        }
        None => {
            table.insert(key, value(to));
        }
    }
}

/// The texts of a list.
pub(super) fn list_of(table: &Table, key: &str) -> Vec<String> {
    let list = table.get(key).and_then(Item::as_array);
    let texts = list.into_iter().flat_map(Array::iter).filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// Adds a text to a list, in the form the list has.
pub(super) fn push(table: &mut Table, key: &str, text: &str) {
    if table.get(key).and_then(Item::as_array).is_none() {
        table.insert(key, value(Array::new()));
    }
    if let Some(list) = table.get_mut(key).and_then(Item::as_array_mut) {
        let last = list.len().checked_sub(1).and_then(|last| list.get(last));
        // A list with a line for each keeps that; what stands on one line is what the library writes.
        let form = last.map(|last| last.decor().clone());
        let form = form.filter(|form| {
            form.prefix()
                .and_then(toml_edit::RawString::as_str)
                .is_some_and(|p| p.contains('\n'))
        });
        list.push(text);
        let last = list.len() - 1;
        if let (Some(form), Some(last)) = (form, list.get_mut(last)) {
            *last.decor_mut() = form;
        }
    }
}

/// Takes texts out of a list, and says whether any was there.
pub(super) fn take(table: &mut Table, key: &str, is_taken: impl Fn(&str) -> bool) -> bool {
    let Some(list) = table.get_mut(key).and_then(Item::as_array_mut) else {
        return false;
    };
    let before = list.len();
    list.retain(|value| !value.as_str().is_some_and(&is_taken));
    list.len() < before
}

/// Takes those of `[[key]]` that are asked for out of a section.
pub(super) fn take_sections(table: &mut Table, key: &str, is_taken: impl Fn(&Table) -> bool) -> Vec<Table> {
    let Some(sections) = table.get_mut(key).and_then(Item::as_array_of_tables_mut) else {
        return Vec::new();
    };
    let taken = sections.iter().filter(|section| is_taken(section)).cloned().collect();
    sections.retain(|section| !is_taken(section));
    if sections.is_empty() {
        table.remove(key);
    }
    taken
}

/// The sections of `[[key]]`.
pub(super) fn sections<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = &'a Table> {
    let sections = table.get(key).and_then(Item::as_array_of_tables);
    sections.into_iter().flat_map(ArrayOfTables::iter)
}

/// The sections of `[[key]]`, to be changed.
pub(super) fn sections_mut<'a>(table: &'a mut Table, key: &str) -> impl Iterator<Item = &'a mut Table> {
    let sections = table.get_mut(key).and_then(Item::as_array_of_tables_mut);
    sections.into_iter().flat_map(ArrayOfTables::iter_mut)
}

/// Adds a section to `[[key]]`, behind those it has.
pub(super) fn push_section(table: &mut Table, key: &str, mut section: Table) {
    // Written where it stands now, not where it was read.
    section.set_position(None);
    if table.get(key).and_then(Item::as_array_of_tables).is_none() {
        table.insert(key, Item::ArrayOfTables(ArrayOfTables::new()));
    }
    if let Some(sections) = table.get_mut(key).and_then(Item::as_array_of_tables_mut) {
        sections.push(section);
    }
}

/// As the space file documents them.
const PORT_BASE_DEFAULT: i64 = 10_000;
const PORTS_PER_OPERATOR: i64 = 1_000;
const PORT_BASE_LARGEST: i64 = 64_000;

fn unknown_operator(key: &str) -> OrderError {
    OrderError::Refused(format!(
        "no operator {key:?} in the space; `vaguemestre operator list` shows them"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A space.\n[space]\nname = \"s\" # short\n\n# First.\n[[operator]]\nkey = \"one\"\ndomains = [\n  \"a.fr\", # a\n  \"b.fr\",\n]\n\n# Its box.\n[[operator.box]]\naddress = \"x@a.fr\"\n\n# Second.\n[[operator]]\nkey = \"two\"\ndomains = [\"c.fr\"]\n\n# Last words.\n";

    #[test]
    fn what_is_not_touched_stays_as_it_was() {
        let text = SpaceText::open(TEXT, "space.toml").unwrap();
        assert_eq!(text.text(), TEXT);
    }

    #[test]
    fn sections_and_names_move_with_their_comments() {
        let mut text = SpaceText::open(TEXT, "space.toml").unwrap();
        let boxes = {
            let one = text.operator("one").unwrap();
            assert!(take(one, "domains", |domain| domain == "a.fr"));
            assert!(!take(one, "domains", |domain| domain == "z.fr"));
            take_sections(one, "box", |section| text_of(section, "address").ends_with("@a.fr"))
        };
        let two = text.operator("two").unwrap();
        push(two, "domains", "a.fr");
        set(two, "state", "suspended");
        for section in boxes {
            push_section(two, "box", section);
        }
        let now = text.text();
        let (first, second) = now.split_once("# Second.").unwrap();
        assert!(
            first.starts_with("# A space.\n[space]\nname = \"s\" # short\n"),
            "{now}"
        );
        assert!(!first.contains("a.fr\""), "{now}");
        assert!(
            second.contains("domains = [\"c.fr\",\"a.fr\"]") || second.contains("domains = [\"c.fr\", \"a.fr\"]"),
            "{now}"
        );
        assert!(second.contains("state = \"suspended\""), "{now}");
        assert!(
            second.contains("# Its box.\n[[operator.box]]\naddress = \"x@a.fr\"\n"),
            "{now}"
        );
    }

    #[test]
    fn an_operator_is_taken_out_whole_and_another_added() {
        let mut text = SpaceText::open(TEXT, "space.toml").unwrap();
        let gone = text.remove_operator("one").unwrap();
        assert!(
            gone.contains("key = \"one\"") && gone.contains("[[operator.box]]"),
            "{gone}"
        );
        assert!(!text.text().contains("x@a.fr"));
        assert!(
            text.text().contains("port_base = 12000"),
            "the second stays where it is: {}",
            text.text()
        );
        assert!(text.remove_operator("one").is_err());
        text.append("[[operator]]\nkey = \"three\"\n", "space.toml").unwrap();
        let keys: Vec<_> = text.each_operator().map(|table| key_of(table).to_owned()).collect();
        assert_eq!(keys, ["two", "three"]);
        assert!(text.text().contains("# Last words."), "{}", text.text());
    }
}
