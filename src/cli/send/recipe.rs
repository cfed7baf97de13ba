//! What the simulated DUI writes: mail number n, from a seed. No real person, no real data.

use std::sync::Arc;

use aws_lc_rs::rand;
use jiff::Timestamp;

use super::args::MailArgs;
use super::attach::AttachedFile;
use crate::clock::paris;
use crate::identity::Address;
use crate::message::pdf;
use crate::message::synthetic::{Attachment, SyntheticError, SyntheticMail};
use crate::smtp::client::Transaction;
use crate::smtp::command::{Body, ForwardPath, MailFrom, Notify, RcptTo};

/// Everything that is the same for all mails of a run.
pub(super) struct Recipe {
    from: Address,
    to: Vec<Address>,
    reply_to: Option<Address>,
    subject: Option<String>,
    fields: Vec<(String, String)>,
    files: Files,
    size_bytes_min: usize,
    notify: Option<Notify>,
    seed: u64,
}

enum Files {
    /// A page of our own making for each mail.
    Synthetic,
    /// These.
    Given(Vec<AttachedFile>),
}

/// A mail ready to be sent.
pub(super) struct Mail {
    /// Its text.
    pub(super) content: Arc<Vec<u8>>,
    /// Its envelope.
    pub(super) transaction: Transaction,
}

impl Recipe {
    /// From what was typed; reads the files to attach.
    pub(super) fn new(args: &MailArgs, from: Address) -> anyhow::Result<Self> {
        let mut to: Vec<Address> = Vec::new();
        for address in &args.to {
            if !to.contains(address) {
                to.push(address.clone());
            }
        }
        if to.len() > RECIPIENTS_MAX {
            anyhow::bail!(
                "{} recipients are more than the {RECIPIENTS_MAX} that every server takes in one mail",
                to.len()
            );
        }
        let mut fields: Vec<(String, String)> = Vec::new();
        // ECO.2.4.3: software says which it is.
        if !args.header.iter().any(|field| field.name.eq_ignore_ascii_case(NIL)) {
            fields.push((NIL.to_owned(), NIL_VALUE.to_owned()));
        }
        fields.extend(
            args.header
                .iter()
                .map(|field| (field.name.clone(), field.value.clone())),
        );
        let files: anyhow::Result<Vec<_>> = args.attach.iter().map(|path| AttachedFile::read(path)).collect();
        let files = match files? {
            none if none.is_empty() && !args.no_pdf => Files::Synthetic,
            given => Files::Given(given),
        };
        Ok(Self {
            from,
            to,
            reply_to: args.reply_to.clone(),
            subject: args.subject.clone(),
            fields,
            files,
            size_bytes_min: args.size.map_or(Ok(0), usize::try_from)?,
            notify: args.notify,
            seed: args.seed.map_or_else(random_seed, Ok)?,
        })
    }

    /// What makes the same mails again.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// How many boxes each mail goes to.
    pub(super) fn recipients(&self) -> usize {
        self.to.len()
    }

    /// Mail number `number`, from 1.
    pub(super) fn mail(&self, number: u64, now: Timestamp) -> Result<Mail, SyntheticError> {
        let scene = Scene::of(self.seed, number);
        let text = scene.letter(number);
        let mut content = self.write(number, now, &scene, &text)?;
        if content.len() < self.size_bytes_min {
            let padded = text + &padding(self.size_bytes_min - content.len());
            content = self.write(number, now, &scene, &padded)?;
        }
        let transaction = self.envelope(&content);
        Ok(Mail {
            content: Arc::new(content),
            transaction,
        })
    }

    fn write(&self, number: u64, now: Timestamp, scene: &Scene, text: &str) -> Result<Vec<u8>, SyntheticError> {
        let subject = self.subject.clone().unwrap_or_else(|| scene.subject(number));
        let fields: Vec<(&str, &str)> = self
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let (page, page_name);
        let attachments: Vec<Attachment<'_>> = match &self.files {
            Files::Synthetic => {
                page = pdf::one_page(&scene.letter(number));
                page_name = scene.file_name(now);
                vec![Attachment {
                    name: &page_name,
                    media_type: "application/pdf",
                    bytes: &page,
                }]
            }
            Files::Given(files) => files.iter().map(AttachedFile::part).collect(),
        };
        let mail = SyntheticMail {
            from: &self.from,
            label: Some(LABEL),
            to: &self.to,
            reply_to: self.reply_to.as_ref(),
            subject: &subject,
            date: now,
            message_id: &format!("{:x}.{number}@{}", self.seed, self.from.domain()),
            fields: &fields,
            text,
            attachments: &attachments,
        };
        mail.build()
    }

    fn envelope(&self, content: &[u8]) -> Transaction {
        let mut addresses = self.to.iter().chain([&self.from]);
        let mail = MailFrom {
            path: Some(self.from.clone()),
            size_bytes: Some(content.len() as u64),
            body: (!content.is_ascii()).then_some(Body::EightBitMime),
            // RFC 6531 §3.4: an address outside ASCII needs the extension.
            utf8: addresses.any(|address| !address.as_str().is_ascii()),
            ..MailFrom::default()
        };
        let recipients = self.to.iter().map(|address| RcptTo {
            path: ForwardPath::Address(address.clone()),
            notify: self.notify,
            orcpt: None,
        });
        Transaction {
            mail,
            recipients: recipients.collect(),
        }
    }
}

/// Who and what a mail pretends to be about.
struct Scene {
    document: &'static str,
    person: &'static str,
}

impl Scene {
    fn of(seed: u64, number: u64) -> Self {
        let drawn = scatter(seed ^ scatter(number));
        Self {
            document: pick(&DOCUMENTS, drawn),
            person: pick(&PEOPLE, drawn >> 32),
        }
    }

    fn subject(&self, number: u64) -> String {
        format!("{} - TEST {} (essai n° {number})", self.document, self.person)
    }

    fn letter(&self, number: u64) -> String {
        format!(
            "Bonjour,\n\nVeuillez trouver ci-joint : {} de TEST {}, personne fictive accompagnée.\nMessage d'essai n° {number}, envoyé par un simulateur de DUI. Aucune donnée réelle ici.\n\nCeci est un envoi automatique.\n",
            self.document, self.person
        )
    }

    /// `20261121_Synthèse_TEST_Alix.pdf`
    fn file_name(&self, now: Timestamp) -> String {
        let day = now.to_zoned(paris()).strftime("%Y%m%d").to_string();
        format!("{day}_{}_TEST_{}.pdf", self.document.replace(' ', "_"), self.person)
    }
}

/// Lines of ASCII that take this many bytes on the wire, line ends included; two at least.
fn padding(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + PAD_LINE_BYTES);
    let mut left = bytes;
    while left > 0 {
        // What remains for the next line is never too short to be one.
        let line = match left {
            0..=PAD_LINE_BYTES => left.max(CRLF_BYTES),
            _ => PAD_LINE_BYTES.min(left - CRLF_BYTES),
        };
        text.extend(std::iter::repeat_n('x', line - CRLF_BYTES));
        text.push('\n');
        left = left.saturating_sub(line);
    }
    text
}

fn pick<'a>(from: &[&'a str], drawn: u64) -> &'a str {
    let count = from.len() as u64;
    let index = usize::try_from(drawn % count.max(1)).unwrap_or_default();
    from.get(index).copied().unwrap_or_default()
}

/// Spreads consecutive numbers over all of them (the finaliser of `SplitMix64`).
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// 48 bits: never the same twice in practice, and exact in JSON.
fn random_seed() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes[2..]).map_err(|_| anyhow::anyhow!("the system gives no random numbers: give --seed"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// The name of software without one (ECO.2.4.3).
const NIL: &str = "X-MSS-NIL";
const NIL_VALUE: &str = "BAC-A-SABLE";
/// ECO.2.2.7.
const LABEL: &str = "DUI de démonstration";
const DOCUMENTS: [&str; 5] = [
    "Synthèse",
    "Projet personnalisé",
    "Fiche de liaison",
    "Compte rendu",
    "Transmission",
];
const PEOPLE: [&str; 6] = ["Alix", "Camille", "Dominique", "Maxence", "Sacha", "Noëlle"];
/// RFC 5321 §4.5.3.1.8: what every server must take in one transaction.
const RECIPIENTS_MAX: usize = 100;
/// A line of padding with its end: quoted-printable leaves it as it is.
const PAD_LINE_BYTES: usize = 72;
const CRLF_BYTES: usize = 2;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::args::tests::parse;
    use super::*;
    use crate::message::fields::Header;

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn recipe(more: &[&str]) -> Recipe {
        let words = [&["--to", "urgences@chu-demo.mssante.fr", "--seed", "7"], more].concat();
        let from = "noreply@ehpad-lilas.mssante.fr".parse().unwrap();
        Recipe::new(&parse(&words).unwrap().mail, from).unwrap()
    }

    fn field(content: &[u8], name: &str) -> String {
        Header::scan(content).value(name).unwrap().to_string()
    }

    #[test]
    fn every_mail_has_its_own_message_id() {
        let recipe = recipe(&[]);
        let ids: BTreeSet<String> = (1..=50)
            .map(|number| field(&recipe.mail(number, now()).unwrap().content, "message-id"))
            .collect();
        assert_eq!(ids.len(), 50);
        assert!(ids.contains("<7.1@ehpad-lilas.mssante.fr>"), "{ids:?}");
    }

    #[test]
    fn a_receipt_is_asked_of_every_recipient() {
        let asked = |more: &[&str]| recipe(more).mail(1, now()).unwrap().transaction.recipients[0].notify;
        let both = Notify::SUCCESS.with(Notify::FAILURE);
        assert_eq!(asked(&["--notify", "success,failure"]), Some(both));
        assert_eq!(asked(&["--notify", "never"]), Some(Notify::NEVER));
        assert_eq!(asked(&[]), None);
        for wrong in ["", "always", "never,success"] {
            assert!(parse(&["--to", "a@x.fr", "--notify", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_seed_makes_the_same_mails_again() {
        let content = |more: &[&str]| recipe(more).mail(3, now()).unwrap().content;
        assert_eq!(content(&[]), content(&[]));
        let from: Address = "a@x.fr".parse().unwrap();
        let seed = || {
            let args = parse(&["--to", "a@x.fr"]).unwrap();
            Recipe::new(&args.mail, from.clone()).unwrap().seed()
        };
        let seeds = (seed(), seed());
        assert_ne!(seeds.0, seeds.1);
        assert!(seeds.0 < 1 << 48);
    }

    #[test]
    fn the_software_names_itself_unless_a_header_does() {
        let value = |more: &[&str]| field(&recipe(more).mail(1, now()).unwrap().content, "x-mss-nil");
        assert_eq!(value(&[]), "BAC-A-SABLE");
        assert_eq!(value(&["--header", "x-mss-nil: DEV000001"]), "DEV000001");
    }

    #[test]
    fn a_mail_is_padded_to_the_size_asked_for() {
        let bare = recipe(&["--no-pdf"]).mail(1, now()).unwrap().content.len();
        for more in [1, 2, 3, 71, 72, 73, 74, 75, 200, 9_999] {
            let size = bare + more;
            let padded = recipe(&["--no-pdf", "--size", &size.to_string()])
                .mail(1, now())
                .unwrap();
            let length = padded.content.len();
            assert!((size..=size + 1).contains(&length), "asked for {size}, got {length}");
            assert_eq!(padded.transaction.mail.size_bytes, Some(length as u64));
        }
        let small = recipe(&["--no-pdf", "--size", "10"]).mail(1, now()).unwrap();
        assert_eq!(small.content.len(), bare);
    }

    #[test]
    fn the_same_recipient_twice_is_one_recipient() {
        let recipe = recipe(&["--to", "Urgences@chu-demo.mssante.fr,b@x.fr"]);
        assert_eq!(recipe.recipients(), 2);
        assert_eq!(recipe.mail(1, now()).unwrap().transaction.recipients.len(), 2);
    }

    #[test]
    fn too_many_recipients_are_refused_before_anything_is_sent() {
        let to: Vec<String> = (0..=RECIPIENTS_MAX).map(|number| format!("b{number}@x.fr")).collect();
        let args = parse(&["--to", &to.join(",")]).unwrap();
        assert!(Recipe::new(&args.mail, "a@x.fr".parse().unwrap()).is_err());
    }

    #[test]
    fn a_page_is_attached_unless_files_are_or_none_is_wanted() {
        let text = |more: &[&str]| String::from_utf8(recipe(more).mail(1, now()).unwrap().content.to_vec()).unwrap();
        assert!(text(&[]).contains("application/pdf"));
        assert!(!text(&["--no-pdf"]).contains("multipart"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("IHE_XDM.ZIP");
        std::fs::write(&path, b"PK").unwrap();
        let given = text(&["--attach", path.to_str().unwrap()]);
        assert!(given.contains("application/zip") && !given.contains("application/pdf"));
    }
}
