//! Reads the allow list's XML, strictly or salvaging what can be.
//!
//! No document type, no entity but the five of XML, every size bounded: the file comes from the network. A file cut inside an entry is
//! refused in both modes; the published copy, cut after its list, is read when salvaging.

mod outcome;

use std::collections::HashMap;

use jiff::Timestamp;
use quick_xml::NsReader;
use quick_xml::events::{BytesRef, Event};
use quick_xml::name::{Namespace, ResolveResult};

use crate::identity::{Domain, SubjectDn};

use super::AllowList;
use super::document::{AllowListDocument, ListedDomain, NAMESPACE, ROOT, forbidden};

pub use outcome::{AllowListError, Mode, Parsed, Skipped};

impl AllowList {
    /// Reads a list. Its signature is not looked at here.
    pub fn parse(xml: &[u8], mode: Mode) -> Result<Parsed, AllowListError> {
        Self::parse_from_line(text_of(xml)?, 1, mode)
    }

    /// The same for a text that began at some line of its file.
    pub(super) fn parse_from_line(text: &str, first_line: usize, mode: Mode) -> Result<Parsed, AllowListError> {
        let mut reading = Reading::new(text, first_line);
        let document = reading.document()?;
        match mode {
            Mode::Strict if !reading.defects.is_empty() => Err(AllowListError::Defects(reading.defects)),
            _ => Ok(Parsed {
                list: Self::new(document),
                skipped: reading.defects,
            }),
        }
    }
}

/// The text of a file that is not too large, without byte order mark.
pub(super) fn text_of(xml: &[u8]) -> Result<&str, AllowListError> {
    if xml.len() > LIST_BYTES_MAX {
        return Err(AllowListError::TooLarge);
    }
    let text = std::str::from_utf8(xml).map_err(|error| AllowListError::NotUtf8(error.valid_up_to()))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

struct Reading<'x> {
    reader: NsReader<&'x [u8]>,
    text: &'x str,
    /// Line reached, and the byte up to which it was counted.
    line: usize,
    counted: usize,
    depth: usize,
    /// One parse per distinct DN: the real list repeats each 17 times.
    names: HashMap<String, SubjectDn>,
    defects: Vec<Skipped>,
}

/// What the list is made of, once comments and the like are gone.
enum Item {
    Open(Element),
    Close,
    Text(String),
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Element {
    Generated,
    List,
    Entry,
    Field(Field),
    /// In our namespace, but unknown.
    Unknown(String),
    /// In another namespace: the signature.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Domain,
    Description,
    Certificate,
    Responsible,
    Support,
    Updated,
}

impl Field {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Domain, "Nom"),
        (Self::Description, "Description"),
        (Self::Certificate, "DNCertificatOperateur"),
        (Self::Responsible, "ResponsableContact"),
        (Self::Support, "SupportContact"),
        (Self::Updated, "DateMAJ"),
    ];

    fn tag(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

#[derive(Default)]
struct Draft {
    fields: [Option<String>; 6],
    problem: Option<String>,
}

impl<'x> Reading<'x> {
    fn new(text: &'x str, first_line: usize) -> Self {
        let mut reader = NsReader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        Self {
            reader,
            text,
            line: first_line,
            counted: 0,
            depth: 0,
            names: HashMap::new(),
            defects: Vec::new(),
        }
    }

    fn document(&mut self) -> Result<AllowListDocument, AllowListError> {
        self.root()?;
        let mut generated = None;
        let mut entries = None;
        loop {
            match self.next()? {
                Item::Open(Element::Generated) if generated.is_none() => {
                    let text = self.content()?.map_err(|why| self.not_a_list(why))?;
                    generated = Some(text.parse::<Timestamp>().map_err(|_| {
                        self.not_a_list(format!(
                            "DateDeGeneration {:?} is not a date such as 2025-03-13T14:54:10Z",
                            short(&text)
                        ))
                    })?);
                }
                Item::Open(Element::List) if entries.is_none() => entries = Some(self.list()?),
                Item::Open(Element::Foreign) => self.skip()?,
                Item::Open(other) => {
                    self.defect(self.line, format!("{other:?}"), "not expected here".to_owned())?;
                    self.skip()?;
                }
                Item::Text(text) => self.only_space(&text)?,
                Item::Close => break,
                Item::End if entries.is_some() => {
                    self.defect(
                        self.line,
                        format!("</{ROOT}>"),
                        "missing: the file is cut after its list".to_owned(),
                    )?;
                    break;
                }
                Item::End => return Err(self.cut()),
            }
        }
        let generated = generated.ok_or_else(|| self.not_a_list("no DateDeGeneration"))?;
        let entries = entries.ok_or_else(|| self.not_a_list("no ListeDomaines"))?;
        self.nothing_more()?;
        Ok(AllowListDocument { generated, entries })
    }

    fn root(&mut self) -> Result<(), AllowListError> {
        loop {
            match self.next()? {
                Item::Text(text) => self.only_space(&text)?,
                Item::Open(Element::Unknown(name)) if name == ROOT => return Ok(()),
                Item::Open(_) | Item::Close | Item::End => {
                    return Err(self.not_a_list(format!("expected root {ROOT} in namespace {NAMESPACE}")));
                }
            }
        }
    }

    fn nothing_more(&mut self) -> Result<(), AllowListError> {
        loop {
            match self.next()? {
                Item::Text(text) => self.only_space(&text)?,
                Item::End => return Ok(()),
                Item::Open(_) | Item::Close => return Err(self.not_a_list("something follows the root")),
            }
        }
    }

    fn list(&mut self) -> Result<Vec<ListedDomain>, AllowListError> {
        let mut entries = Vec::new();
        loop {
            match self.next()? {
                Item::Open(Element::Entry) => {
                    let line = self.line;
                    let draft = self.draft()?;
                    entries.extend(self.entry(line, draft)?);
                }
                Item::Open(other) => {
                    self.defect(self.line, format!("{other:?}"), "expected Domaine".to_owned())?;
                    self.skip()?;
                }
                Item::Text(text) => self.only_space(&text)?,
                Item::Close => return Ok(entries),
                Item::End => return Err(self.cut()),
            }
        }
    }

    fn draft(&mut self) -> Result<Draft, AllowListError> {
        let mut draft = Draft::default();
        loop {
            match self.next()? {
                Item::Open(Element::Field(field)) => {
                    let slot = &mut draft.fields[field as usize];
                    match (self.content()?, &slot) {
                        (Ok(_), Some(_)) => draft.problem = Some(format!("{} is given twice", field.tag())),
                        (Ok(text), None) => *slot = Some(text),
                        (Err(why), _) => draft.problem = Some(format!("{}: {why}", field.tag())),
                    }
                }
                Item::Open(other) => {
                    draft.problem = Some(format!("{other:?} is not expected in an entry"));
                    self.skip()?;
                }
                Item::Text(text) if text.trim().is_empty() => {}
                Item::Text(text) => draft.problem = Some(format!("{:?} stands between its elements", short(&text))),
                Item::Close => return Ok(draft),
                Item::End => return Err(self.cut()),
            }
        }
    }

    /// The entry, or a recorded defect.
    fn entry(&mut self, line: usize, mut draft: Draft) -> Result<Option<ListedDomain>, AllowListError> {
        let what = match &draft.fields[Field::Domain as usize] {
            Some(name) => format!("Domaine {:?}", short(name)),
            None => "Domaine".to_owned(),
        };
        let why = match draft.problem.take() {
            Some(problem) => problem,
            None => match self.fill(draft) {
                Ok(entry) => return Ok(Some(entry)),
                Err(why) => why,
            },
        };
        self.defect(line, what, why)?;
        Ok(None)
    }

    fn fill(&mut self, mut draft: Draft) -> Result<ListedDomain, String> {
        let mut take = |field: Field| {
            let text = draft.fields[field as usize].take();
            text.ok_or_else(|| format!("{} is missing", field.tag()))
        };
        let domain = take(Field::Domain)?;
        let domain = domain.trim().parse::<Domain>().map_err(|error| error.to_string())?;
        let updated = take(Field::Updated)?;
        let bad_date = |_| {
            format!(
                "DateMAJ {:?} is not a date such as 2025-03-13T14:54:10Z",
                short(&updated)
            )
        };
        Ok(ListedDomain {
            domain,
            certificate: self.certificate(take(Field::Certificate)?)?,
            description: take(Field::Description)?,
            responsible_contact: take(Field::Responsible)?,
            support_contact: take(Field::Support)?,
            updated: updated.trim().parse().map_err(bad_date)?,
        })
    }

    fn certificate(&mut self, text: String) -> Result<SubjectDn, String> {
        if let Some(known) = self.names.get(&text) {
            return Ok(known.clone());
        }
        let name: SubjectDn = text
            .parse()
            .map_err(|error| format!("DNCertificatOperateur: {error}"))?;
        self.names.insert(text, name.clone());
        Ok(name)
    }

    /// The text up to the end of the element just opened; the inner error says why it is not plain text.
    fn content(&mut self) -> Result<Result<String, String>, AllowListError> {
        let mut text = String::new();
        let mut problem = None;
        loop {
            match self.next()? {
                Item::Text(more) if text.len() + more.len() <= FIELD_BYTES_MAX => text.push_str(&more),
                Item::Text(_) => problem = Some(format!("longer than {FIELD_BYTES_MAX} bytes")),
                Item::Open(other) => {
                    problem = Some(format!("{other:?} is not expected inside a text"));
                    self.skip()?;
                }
                Item::Close => return Ok(problem.map_or(Ok(text), Err)),
                Item::End => return Err(self.cut()),
            }
        }
    }

    /// Reads up to the end of the element just opened.
    fn skip(&mut self) -> Result<(), AllowListError> {
        let outside = self.depth - 1;
        while self.depth > outside {
            if matches!(self.next()?, Item::End) {
                return Err(self.cut());
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Item, AllowListError> {
        loop {
            let event = self.reader.read_resolved_event();
            let item = match event {
                Ok((_, Event::Eof)) => Item::End,
                Ok((namespace, Event::Start(start))) => {
                    self.depth += 1;
                    Item::Open(element(&namespace, start.local_name().into_inner()))
                }
                Ok((_, Event::End(_))) => {
                    self.depth = self.depth.saturating_sub(1);
                    Item::Close
                }
                Ok((_, Event::Text(text))) => Item::Text(text.xml10_content().into_owned()),
                Ok((_, Event::CData(text))) => Item::Text(text.xml10_content().into_owned()),
                Ok((_, Event::GeneralRef(reference))) => {
                    let Some(c) = resolve(&reference) else {
                        let problem = format!("entity &{};", short(&reference.xml10_content()));
                        return Err(self.not_xml(problem));
                    };
                    Item::Text(c.to_string())
                }
                Ok((_, Event::DocType(_))) => return Err(self.not_xml("a document type is not allowed")),
                Ok((_, Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::Empty(_))) => continue,
                Err(error) => {
                    let problem = error.to_string();
                    return Err(self.not_xml(problem));
                }
            };
            self.count_lines();
            // XML 1.0 §2.2: such a character is not text, however it is written.
            if matches!(&item, Item::Text(text) if text.contains(forbidden)) {
                return Err(self.not_xml("a control character"));
            }
            if self.depth > DEPTH_MAX {
                return Err(self.not_xml(format!("more than {DEPTH_MAX} levels of elements")));
            }
            return Ok(item);
        }
    }

    fn count_lines(&mut self) {
        let reached = usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX);
        let reached = reached.min(self.text.len());
        if let Some(passed) = self.text.as_bytes().get(self.counted..reached) {
            self.line += passed.split(|byte| *byte == b'\n').count() - 1;
            self.counted = reached;
        }
    }

    fn only_space(&mut self, text: &str) -> Result<(), AllowListError> {
        if text.trim().is_empty() {
            return Ok(());
        }
        self.defect(
            self.line,
            format!("{:?}", short(text)),
            "text between elements".to_owned(),
        )
    }

    fn defect(&mut self, line: usize, what: String, why: String) -> Result<(), AllowListError> {
        if self.defects.len() >= DEFECTS_MAX {
            return Err(AllowListError::TooManyDefects);
        }
        self.defects.push(Skipped { line, what, why });
        Ok(())
    }

    fn cut(&mut self) -> AllowListError {
        self.not_xml("the file is cut")
    }

    fn not_xml(&mut self, problem: impl Into<String>) -> AllowListError {
        self.count_lines();
        AllowListError::NotXml {
            line: self.line,
            problem: problem.into(),
        }
    }

    fn not_a_list(&self, problem: impl Into<String>) -> AllowListError {
        AllowListError::NotAllowList {
            line: self.line,
            problem: problem.into(),
        }
    }
}

fn element(namespace: &ResolveResult<'_>, name: &str) -> Element {
    match namespace {
        ResolveResult::Bound(Namespace(NAMESPACE)) => {}
        _ => return Element::Foreign,
    }
    let field = Field::ALL.iter().find(|(_, tag)| *tag == name);
    match (name, field) {
        ("DateDeGeneration", _) => Element::Generated,
        ("ListeDomaines", _) => Element::List,
        ("Domaine", _) => Element::Entry,
        (_, Some((field, _))) => Element::Field(*field),
        (name, None) => Element::Unknown(short(name).to_owned()),
    }
}

/// The five entities of XML 1.0 §4.6 and character references; `None` for any other.
fn resolve(reference: &BytesRef<'_>) -> Option<char> {
    match &*reference.xml10_content() {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => reference.resolve_char_ref().ok().flatten(),
    }
}

/// The start of a text that comes from the file, for a message.
fn short(text: &str) -> &str {
    let text = text.trim();
    text.char_indices()
        .nth(SHOWN_CHARS_MAX)
        .map_or(text, |(end, _)| &text[..end])
}

/// The real list of March 2025 is 3.6 MB.
const LIST_BYTES_MAX: usize = 64 << 20;
/// The authority's tool takes 255 characters per field.
const FIELD_BYTES_MAX: usize = 8192;
/// The list needs 4, a `XAdES` signature about 12.
const DEPTH_MAX: usize = 32;
/// Beyond, the file is not worth reading.
const DEFECTS_MAX: usize = 1000;
/// How much of a value a message repeats.
const SHOWN_CHARS_MAX: usize = 80;

#[cfg(test)]
mod tests;
