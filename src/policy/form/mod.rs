//! The form of a submitted message: the national rules on header fields, body and attachments that can be checked where mail leaves a
//! client. One table says them all; `docs/submission.md` is checked against it. Findings name no content: a subject, a label or a file
//! name may hold a patient's identity (invariant 9).

use std::borrow::Cow;

use super::{Reason, Refusal};
use crate::identity::{Address, Domain};
use crate::message::addresses;
use crate::message::structure::{Part, Place};
use crate::message::{Authors, Class, Header};

/// What findings lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is checked.
    Off,
    /// The message is accepted and the findings go to the journal.
    #[default]
    Report,
    /// A message with a finding is refused.
    Enforce,
}

/// What the checks look at.
pub struct Submitted<'a> {
    /// Its header.
    pub header: &'a Header<'a>,
    /// What kind of message it is.
    pub class: Class,
    /// Its parts.
    pub parts: &'a [Part],
    /// Who it says it is from.
    pub authors: &'a Authors,
    /// Whom it goes to.
    pub recipients: &'a [Address],
    /// Whether the sending box is one person's (PER).
    pub is_personal: bool,
}

/// One rule, and the finding when it is broken.
pub struct Rule {
    /// Stable id of the finding.
    pub id: &'static str,
    /// The requirement it comes from.
    pub requirement: &'static str,
    /// What is wrong and what is expected, on one line of ASCII.
    pub text: &'static str,
    /// Which messages it is about.
    scope: Scope,
    is_broken: fn(&View<'_>) -> bool,
}

/// Which messages a rule is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// All.
    Every,
    /// Those that somebody wrote: no reports, no disposition notifications.
    Letters,
}

/// Every rule that this message breaks, in the order of [`RULES`].
pub fn findings(message: &Submitted<'_>, is_trusted: impl Fn(&Domain) -> bool) -> Vec<&'static Rule> {
    let view = View::of(message, &is_trusted);
    let is_letter = matches!(message.class, Class::Message | Class::Auto);
    RULES
        .iter()
        .filter(|rule| (is_letter || rule.scope == Scope::Every) && (rule.is_broken)(&view))
        .collect()
}

/// The refusal of a message with this finding, when findings are enforced.
pub fn refusal(rule: &Rule) -> Refusal {
    let text = format!("{} ({}: {})", rule.text, rule.requirement, rule.id);
    Refusal::new(Reason::MessageForm, text)
}

/// What the rules ask of a message, read once.
struct View<'a> {
    message: &'a Submitted<'a>,
    nil: Values<'a>,
    ins: Values<'a>,
    codes: Values<'a>,
    mes: Values<'a>,
    message_id: Values<'a>,
    in_reply_to: Values<'a>,
    references: Values<'a>,
    receipts: Values<'a>,
    subject: String,
    /// The `IHE_XDM` archive that is attached.
    document: Option<&'a Part>,
    /// Some `Reply-To` is outside the trust space.
    answers_leave: bool,
}

/// The values of one field, in order.
type Values<'a> = Vec<Cow<'a, str>>;

impl<'a> View<'a> {
    /// One pass over the header.
    fn of(message: &'a Submitted<'a>, is_trusted: &dyn Fn(&Domain) -> bool) -> Self {
        let mut reply_to = message.authors.reply_to.iter();
        let mut view = Self {
            message,
            nil: Vec::new(),
            ins: Vec::new(),
            codes: Vec::new(),
            mes: Vec::new(),
            message_id: Vec::new(),
            in_reply_to: Vec::new(),
            references: Vec::new(),
            receipts: Vec::new(),
            subject: String::new(),
            document: message.parts.iter().find(|part| is_document(part)),
            answers_leave: reply_to.any(|one| !is_trusted(one.address.domain())),
        };
        for field in message.header.fields() {
            let name = field.name();
            if !name.starts_with(FIRST_LETTERS) {
                continue;
            }
            match name.to_ascii_lowercase().as_str() {
                "x-mss-nil" => view.nil.push(field.value()),
                "x-mss-ins" => view.ins.push(field.value()),
                "x-mss-codecda" => view.codes.push(field.value()),
                "x-mss-mes" => view.mes.push(field.value()),
                "message-id" => view.message_id.push(field.value()),
                "in-reply-to" => view.in_reply_to.push(field.value()),
                "references" => view.references.push(field.value()),
                "disposition-notification-to" | "return-receipt-to" => view.receipts.push(field.value()),
                "subject" if view.subject.is_empty() => view.subject = decoded(&field.value()),
                _ => {}
            }
        }
        view
    }

    /// The part that is read as the message's text, and the multiparts around it.
    fn body(&self) -> Option<&'a Part> {
        let mut parts = self.message.parts.iter();
        parts.find(|part| {
            !matches!(
                part.content_type.as_str(),
                "multipart/mixed" | "multipart/signed" | "multipart/related"
            )
        })
    }

    /// What stands after the marker of a document, wherever that is in the subject (ECO.2.1.3).
    fn label(&self) -> Option<&str> {
        self.subject.find(MARKER).map(|at| &self.subject[at + MARKER.len()..])
    }

    fn has_document(&self) -> bool {
        self.document.is_some()
    }

    fn is_answer(&self) -> bool {
        let subject = self.subject.trim_start().to_ascii_lowercase();
        subject.starts_with("re:") || subject.starts_with("re :")
    }
}

/// Every rule. Requirements are those of the client reference (Référentiel 2) and of the Ségur lists that quote it.
pub const RULES: &[Rule] = &[
    Rule {
        id: "nil-missing",
        requirement: "ECO.2.4.3",
        text: "no X-MSS-NIL field: write the product number of the software, such as DEV935997",
        scope: Scope::Every,
        is_broken: |view| view.nil.is_empty(),
    },
    Rule {
        id: "nil-malformed",
        requirement: "ECO.2.4.3",
        text: "X-MSS-NIL stands twice or is no product number: one word of letters and digits is expected",
        scope: Scope::Every,
        is_broken: |view| is_not_one(&view.nil, |value| is_word(value, PRODUCT_CHARS_MAX)),
    },
    Rule {
        id: "codecda-missing",
        requirement: "ECO.2.4.1",
        text: "an IHE_XDM archive is attached and X-MSS-CODECDA is not there: name the type codes of its documents",
        scope: Scope::Letters,
        is_broken: |view| view.has_document() && view.codes.is_empty(),
    },
    Rule {
        id: "codecda-unexpected",
        requirement: "ECO.2.4.1",
        text: "X-MSS-CODECDA without an IHE_XDM archive: leave the field out",
        scope: Scope::Letters,
        is_broken: |view| !view.has_document() && !view.codes.is_empty(),
    },
    Rule {
        id: "codecda-malformed",
        requirement: "ECO.2.4.1",
        text: "X-MSS-CODECDA stands twice or is no list of type codes: codes separated by commas without spaces are expected",
        scope: Scope::Letters,
        is_broken: |view| {
            is_not_one(&view.codes, |value| {
                value.split(',').all(|code| is_word(code, CODE_CHARS_MAX))
            })
        },
    },
    Rule {
        id: "ins-missing",
        requirement: "ECO.2.4.2",
        text: "an IHE_XDM archive is attached and X-MSS-INS is not there: write O if its identity is a qualified INS, else N",
        scope: Scope::Letters,
        is_broken: |view| view.has_document() && view.ins.is_empty(),
    },
    Rule {
        id: "ins-unexpected",
        requirement: "ECO.2.4.2",
        text: "X-MSS-INS without an IHE_XDM archive: leave the field out",
        scope: Scope::Letters,
        is_broken: |view| !view.has_document() && !view.ins.is_empty(),
    },
    Rule {
        id: "ins-malformed",
        requirement: "ECO.2.4.2",
        text: "X-MSS-INS stands twice or is neither O nor N",
        scope: Scope::Letters,
        is_broken: |view| is_not_one(&view.ins, |value| matches!(value, "O" | "N")),
    },
    Rule {
        id: "mes-malformed",
        requirement: "ECO.2.2.8",
        text: "X-MSS-MES stands twice or is not FIN, its only value",
        scope: Scope::Letters,
        is_broken: |view| is_not_one(&view.mes, |value| value == "FIN"),
    },
    Rule {
        id: "mes-without-patient",
        requirement: "ECO.2.2.8",
        text: "X-MSS-MES in a message to no patient: it ends a conversation with a patient and says nothing to others",
        scope: Scope::Letters,
        is_broken: |view| !view.mes.is_empty() && !view.message.recipients.iter().any(|to| to.domain().is_patient()),
    },
    Rule {
        id: "message-id-missing",
        requirement: "ECO.2.2.1",
        text: "no Message-ID field: the software must give each message one (the operator adds its own)",
        scope: Scope::Every,
        is_broken: |view| view.message_id.is_empty(),
    },
    Rule {
        id: "message-id-malformed",
        requirement: "ECO.2.2.1",
        text: "Message-ID stands twice or is none: <unique@host> is expected",
        scope: Scope::Every,
        is_broken: |view| is_not_one(&view.message_id, is_message_id),
    },
    Rule {
        id: "answer-without-thread",
        requirement: "ECO.2.2.2",
        text: "an answer by its subject, with neither In-Reply-To nor References: name the message it answers",
        scope: Scope::Letters,
        is_broken: |view| view.is_answer() && view.in_reply_to.is_empty() && view.references.is_empty(),
    },
    Rule {
        id: "thread-malformed",
        requirement: "ECO.2.2.2",
        text: "In-Reply-To or References stands twice or holds something else than message identifiers",
        scope: Scope::Every,
        is_broken: |view| {
            let is_list = |value: &str| value.split_ascii_whitespace().all(is_message_id);
            is_not_one(&view.in_reply_to, is_list) || is_not_one(&view.references, is_list)
        },
    },
    Rule {
        id: "charset-other",
        requirement: "ECO.2.2.3",
        text: "a text part is in another character set than UTF-8",
        scope: Scope::Letters,
        is_broken: |view| view.message.parts.iter().any(is_other_charset),
    },
    Rule {
        id: "body-type",
        requirement: "ECO.2.2.4",
        text: "the body is neither text/plain nor multipart/alternative",
        scope: Scope::Letters,
        is_broken: |view| {
            let body = view.body().map(|body| body.content_type.as_str());
            !matches!(body, Some("text/plain" | "multipart/alternative"))
        },
    },
    Rule {
        id: "subject-without-marker",
        requirement: "ECO.2.1.3",
        text: "an IHE_XDM archive is attached and the subject lacks XDM/1.0/DDM+",
        scope: Scope::Letters,
        is_broken: |view| view.has_document() && view.label().is_none(),
    },
    Rule {
        id: "subject-malformed",
        requirement: "ECO.2.1.3",
        text: "after XDM/1.0/DDM+ the subject is not: label, birth name in capitals, given name, birth date JJ/MM/AAAA if any",
        scope: Scope::Letters,
        is_broken: |view| view.has_document() && view.label().is_some_and(|label| !is_document_label(label)),
    },
    Rule {
        id: "subject-without-document",
        requirement: "ECO.2.1.3",
        text: "the subject begins with XDM/1.0/DDM+ and no IHE_XDM archive is attached",
        scope: Scope::Letters,
        is_broken: |view| !view.has_document() && view.subject.trim_start().starts_with(MARKER),
    },
    Rule {
        id: "label-missing",
        requirement: "ECO.2.2.7",
        text: "From has an address and no label: patients and colleagues read the label, not the address",
        scope: Scope::Every,
        is_broken: |view| {
            view.message
                .authors
                .from
                .iter()
                .any(|author| label_of(author).is_none())
        },
    },
    Rule {
        id: "label-malformed",
        requirement: "ECO.2.2.7",
        text: "the label of a personal box is not title, given name, NAME in capitals and entity, joined by underscores or spaces",
        scope: Scope::Every,
        is_broken: |view| {
            let mut from = view.message.authors.from.iter();
            view.message.is_personal
                && from.any(|author| label_of(author).is_some_and(|label| !is_personal_label(label)))
        },
    },
    Rule {
        id: "sender-missing",
        requirement: "ECO.2.2.7",
        text: "From names several boxes and there is no Sender field (RFC 5322 3.6.2)",
        scope: Scope::Every,
        is_broken: |view| view.message.authors.from.len() > 1 && view.message.authors.sender.is_none(),
    },
    Rule {
        id: "reply-outside",
        requirement: "ECO.2.2.5",
        text: "Reply-To names an address outside the trust space: answers to it are refused",
        scope: Scope::Every,
        is_broken: |view| view.answers_leave,
    },
    Rule {
        id: "receipt-malformed",
        requirement: "ECO.2.3.1",
        text: "Disposition-Notification-To or Return-Receipt-To is no address: no receipt will come",
        scope: Scope::Every,
        is_broken: |view| {
            let mut values = view.receipts.iter();
            values.any(|value| addresses::list(value).map_or(true, |named| named.is_empty()))
        },
    },
];

/// The archive that holds the documents (ECO.2.1.1), not one in an attached message.
fn is_document(part: &Part) -> bool {
    let name = part.file_name.as_deref().unwrap_or_default().to_ascii_lowercase();
    let is_zip = name.rsplit_once('.').is_some_and(|(_, kind)| kind == "zip");
    part.place == Place::Own && name.starts_with("ihe_xdm") && is_zip
}

fn is_other_charset(part: &Part) -> bool {
    let is_text = matches!(part.content_type.as_str(), "text/plain" | "text/html");
    // RFC 2046 §4.1.2: without a charset it is US-ASCII, which UTF-8 contains.
    let charset = part.charset.as_deref().unwrap_or("us-ascii");
    is_text && !part.is_attachment && part.place == Place::Own && !matches!(charset, "utf-8" | "utf8" | "us-ascii")
}

/// Whether the field is there and is not exactly one value that passes.
fn is_not_one(values: &Values<'_>, passes: impl Fn(&str) -> bool) -> bool {
    match values.as_slice() {
        [] => false,
        [only] => !passes(only.trim()),
        _ => true,
    }
}

fn is_word(text: &str, chars_max: usize) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=chars_max).contains(&text.len()) && text.bytes().all(is_part)
}

/// RFC 5322 §3.6.4, loosely: what software compares, in one piece.
fn is_message_id(text: &str) -> bool {
    let inner = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    inner.is_some_and(|inner| {
        let is_clean = inner
            .chars()
            .all(|c| !c.is_whitespace() && !c.is_control() && c != '<' && c != '>');
        is_clean
            && inner
                .split_once('@')
                .is_some_and(|(left, right)| !left.is_empty() && !right.is_empty())
    })
}

/// `<label> <NAME> <given name> [JJ/MM/AAAA]`.
fn is_document_label(label: &str) -> bool {
    let mut words: Vec<&str> = label.split_whitespace().collect();
    if words.last().is_some_and(|last| last.contains('/')) {
        let Some(date) = words.pop() else { return false };
        if !is_birth_date(date) {
            return false;
        }
    }
    let is_capitals = |word: &&&str| word.chars().any(char::is_alphabetic) && word.chars().all(|c| !c.is_lowercase());
    let has_name = words
        .get(1..words.len().saturating_sub(1))
        .unwrap_or_default()
        .iter()
        .any(|word| is_capitals(&word));
    words.len() >= 3 && has_name
}

fn is_birth_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let is_number = |part: &str, digits: usize| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
    matches!(parts.as_slice(), [day, month, year] if is_number(day, 2) && is_number(month, 2) && is_number(year, 4))
}

fn label_of(author: &addresses::Labelled) -> Option<&str> {
    author.label.as_deref().map(str::trim).filter(|label| !label.is_empty())
}

/// Given name and NAME are mandatory.
fn is_personal_label(label: &str) -> bool {
    let words: Vec<&str> = label.split(['_', ' ']).filter(|word| !word.is_empty()).collect();
    let is_name = |word: &&&str| {
        word.chars().filter(|c| c.is_alphabetic()).count() >= 2 && word.chars().all(|c| !c.is_lowercase())
    };
    words.len() >= 2 && words.iter().any(|word| is_name(&word))
}

/// A subject as people read it.
fn decoded(value: &str) -> String {
    if !value.contains("=?") {
        return value.to_owned();
    }
    let line = format!("{value}\n");
    let parsed = mail_parser::parsers::MessageStream::new(line.as_bytes()).parse_unstructured();
    parsed.as_text().unwrap_or(value).to_owned()
}

const MARKER: &str = "XDM/1.0/DDM+";
/// First letters of the fields that matter: most fields are passed over by them.
const FIRST_LETTERS: [char; 14] = ['x', 'X', 'm', 'M', 'i', 'I', 'r', 'R', 'd', 'D', 's', 'S', 'f', 'F'];
const PRODUCT_CHARS_MAX: usize = 64;
const CODE_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests;
