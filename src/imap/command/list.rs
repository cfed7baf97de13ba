//! LIST and LSUB (RFC 9051 §6.3.9, RFC 5258), with figures, rights and annotations of each folder (RFC 5819, RFC 8440, RFC 9590).

use super::{Next, Outcome, Work, acl, metadata, over, status};
use crate::imap::grammar::tree::{List, ListReturn, ListSelection, Name, StatusItem};
use crate::imap::listing::{Absence, Line, Query, Selection, Shown};
use crate::imap::names;
use crate::imap::request::{Annotation, Answer, Refused, Request, Rights, Status};
use crate::imap::session::{Core, Extension};

pub(super) fn list(asked: List) -> Box<dyn Work> {
    if !asked.extended && asked.patterns.iter().all(Vec::is_empty) {
        // RFC 3501 §6.3.8: asks for the separator.
        return Box::new(Separator);
    }
    let mut query = query(&asked.reference, &asked.patterns);
    if !asked.extended {
        query = query.marking(Absence::Noselect);
    }
    let mut only = Vec::new();
    for selection in &asked.selection {
        match selection {
            ListSelection::Subscribed => only.push(Selection::Subscribed),
            ListSelection::SpecialUse => only.push(Selection::SpecialUse),
            ListSelection::RecursiveMatch => query = query.showing(Shown::Parents),
            // RFC 5258 §3.1: there are no remote folders.
            ListSelection::Remote => {}
        }
    }
    let mut extras = Extras::default();
    for wanted in asked.returns {
        match wanted {
            ListReturn::Subscribed => query = query.showing(Shown::Subscribed),
            // Said in any case.
            ListReturn::Children | ListReturn::SpecialUse => {}
            ListReturn::Status(items) => extras.status = Some(items),
            ListReturn::MyRights => extras.wants_rights = true,
            ListReturn::Metadata(entries) => match metadata::all(entries) {
                Ok(entries) => extras.metadata = Some(entries),
                Err(outcome) => return over(outcome),
            },
        }
    }
    Box::new(Listing::new(query.only(only), "LIST", extras))
}

pub(super) fn lsub(reference: &Name, pattern: &[u8]) -> Box<dyn Work> {
    let query = query(&reference.0, &[pattern.to_vec()]);
    Box::new(Listing::new(query, "LSUB", Extras::default()))
}

/// Patterns behind their reference. One that no name can have matches nothing, and neither does an empty one.
fn query(reference: &[u8], patterns: &[Vec<u8>]) -> Query {
    let patterns = patterns.iter().filter(|pattern| !pattern.is_empty());
    let whole = |pattern: &Vec<u8>| String::from_utf8([reference, pattern.as_slice()].concat()).ok();
    let patterns: Vec<String> = patterns.filter_map(whole).collect();
    Query::new(&patterns)
}

struct Separator;

impl Work for Separator {
    fn go(&mut self, core: &mut Core, _answer: Option<Answer>) -> Next {
        core.out.extend_from_slice(b"* LIST (\\Noselect) \"/\" \"\"\r\n");
        Next::Done(Outcome::ok("done"))
    }
}

/// What is shown of each folder beside its line.
#[derive(Default)]
struct Extras {
    status: Option<Vec<StatusItem>>,
    wants_rights: bool,
    metadata: Option<Vec<String>>,
}

struct Listing {
    query: Query,
    response: &'static str,
    extras: Extras,
    /// What is to be written, from the last line to the first.
    lines: Vec<Row>,
    /// The folders' figures, in the order of the lines.
    statuses: Option<std::vec::IntoIter<Option<Status>>>,
    rights: Option<Rights>,
    /// The folder whose annotations are due.
    annotated: Option<String>,
}

/// A line, kept while its folder's figures are found.
struct Row {
    name: String,
    attributes: Vec<&'static str>,
    child_info: Vec<&'static str>,
    exists: bool,
}

impl Listing {
    fn new(query: Query, response: &'static str, extras: Extras) -> Self {
        Self {
            query,
            response,
            extras,
            lines: Vec::new(),
            statuses: None,
            rights: None,
            annotated: None,
        }
    }

    /// Asks for what is missing, or writes.
    fn proceed(&mut self, core: &mut Core) -> Next {
        if self.extras.wants_rights && self.rights.is_none() {
            return Next::Ask(Request::Access);
        }
        if self.extras.status.is_some() && self.statuses.is_none() {
            let folders = self.lines.iter().rev().filter(|row| row.exists);
            return Next::Ask(Request::Statuses {
                folders: folders.map(|row| row.name.clone()).collect(),
            });
        }
        while let Some(row) = self.lines.pop() {
            self.write(core, &row);
            if row.exists && self.extras.metadata.is_some() {
                self.annotated = Some(row.name.clone());
                return Next::Ask(Request::Annotations { folder: Some(row.name) });
            }
        }
        Next::Done(Outcome::ok("done"))
    }

    fn write(&mut self, core: &mut Core, row: &Row) {
        write_line(core, self.response, row);
        if !row.exists {
            return;
        }
        if let (Some(items), Some(statuses)) = (&self.extras.status, &mut self.statuses)
            && let Some(Some(figures)) = statuses.next()
        {
            status::write(core, &row.name, items, &figures);
        }
        if let Some(rights) = self.rights {
            acl::write_my_rights(core, &row.name, rights);
        }
    }

    fn write_annotations(&mut self, core: &mut Core, found: &[Annotation]) {
        if let (Some(folder), Some(asked)) = (self.annotated.take(), &self.extras.metadata) {
            metadata::write_listed(core, &folder, (asked, found));
        }
    }
}

impl Work for Listing {
    fn go(&mut self, core: &mut Core, answer: Option<Answer>) -> Next {
        match answer {
            None => {
                if core.enabled.has(Extension::Imap4rev2) {
                    self.query = std::mem::take(&mut self.query).marking(Absence::NonExistent);
                }
                return Next::Ask(Request::Listing);
            }
            Some(Answer::Listing { folders, wishes }) => {
                let lines = if self.response == "LIST" {
                    self.query.list(&folders, &wishes)
                } else {
                    self.query.list_subscribed(&folders, &wishes)
                };
                self.lines = lines.into_iter().rev().map(Row::from).collect();
            }
            Some(Answer::Statuses(statuses)) => self.statuses = Some(statuses.into_iter()),
            Some(answer @ Answer::Access { .. }) => match acl::rights_of(answer) {
                Ok(rights) => self.rights = Some(rights),
                Err(refused) => return Next::Done(Outcome::refused(refused)),
            },
            Some(Answer::Annotations(found)) => self.write_annotations(core, &found),
            // It was deleted meanwhile.
            Some(Answer::Refused(Refused::NoSuchFolder)) if self.annotated.is_some() => self.annotated = None,
            Some(other) => return Next::Done(Outcome::unexpected(other)),
        }
        self.proceed(core)
    }
}

impl From<Line<'_>> for Row {
    fn from(line: Line<'_>) -> Self {
        Self {
            name: line.name.to_owned(),
            attributes: line.attributes,
            child_info: line.child_info,
            exists: line.folder.is_some(),
        }
    }
}

/// Writes a LIST response that no LIST asked for; `old`: another name the client knows it by (RFC 9051 §6.3.9.7).
pub(super) fn write_named(core: &mut Core, attributes: &[&str], name: &str, old: Option<&str>) {
    let spelling = core.spelling();
    let out = &mut core.out;
    out.extend_from_slice(format!("* LIST ({}) \"/\" ", attributes.join(" ")).as_bytes());
    names::write(out, name, spelling);
    if let Some(old) = old {
        out.extend_from_slice(b" (\"OLDNAME\" (");
        names::write(out, old, spelling);
        out.extend_from_slice(b"))");
    }
    out.extend_from_slice(b"\r\n");
}

fn write_line(core: &mut Core, response: &str, row: &Row) {
    let spelling = core.spelling();
    let out = &mut core.out;
    out.extend_from_slice(format!("* {response} ({}) \"/\" ", row.attributes.join(" ")).as_bytes());
    names::write(out, &row.name, spelling);
    if !row.child_info.is_empty() {
        // RFC 5258 §6.
        let options: Vec<String> = row.child_info.iter().map(|option| format!("\"{option}\"")).collect();
        out.extend_from_slice(format!(" (\"CHILDINFO\" ({}))", options.join(" ")).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
