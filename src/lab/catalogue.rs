//! The table of defects: what each is, what it costs to accept it, what every face must do.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;

use crate::policy::Reason;

use super::recipe::Recipe;

/// Every defect and every control, in the order of the table.
#[derive(Clone, Debug)]
pub struct Catalogue {
    defects: Vec<Defect>,
}

/// A certificate, or a way to show one, that is wrong in one point. The controls are wrong in none.
#[derive(Clone, Debug)]
pub struct Defect {
    /// Stable id, lower case with hyphens.
    pub id: String,
    /// What it is about.
    pub group: Group,
    /// One plain line.
    pub title: String,
    /// What accepting it (for a control: refusing it) would let an attacker or a mistake do.
    pub why: String,
    /// What the owner of software that fails here should look at.
    pub remedy: String,
    /// Why a face may decide either way, or why another judge decides otherwise.
    pub note: Option<String>,
    /// What `openssl verify`, as the second judge, says.
    pub openssl: SecondJudge,
    /// The change to make to a good certificate.
    pub recipe: Recipe,
    expected: [Option<Outcome>; 4],
}

/// What a defect is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Nothing is wrong: refusing it cuts off a regular peer.
    Control,
    /// Dates.
    Validity,
    /// Who signed.
    Issuer,
    /// What lies between the certificate and the root.
    Chain,
    /// What it may be used for.
    Usage,
    /// Kind and size of the key.
    Key,
    /// How it is signed.
    Signature,
    /// Whose it is.
    Subject,
    /// Alternative names.
    Names,
    /// How its bytes are written.
    Encoding,
    /// Certificate revocation lists.
    Revocation,
    /// Online status answers.
    Ocsp,
    /// TLS itself: versions, proofs of possession, its absence.
    Protocol,
    /// Cipher suites.
    Suite,
}

/// Where software meets a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Face {
    /// An operator's server, to which another operator connects.
    PeerIn,
    /// An operator's relay, which connects to another operator's server.
    PeerOut,
    /// Submission: a client certificate is optional and stands for a login.
    Submission,
    /// IMAP: the same.
    Imap,
}

/// What a face must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Treat it as any other.
    Accept,
    /// Refuse for this reason, after the handshake where the protocol can say so.
    Refuse(Reason),
    /// End the handshake: the stack itself cannot go on, or the session has no words yet.
    RefuseHandshake,
    /// Both are right; [`Defect::note`] says why.
    Either,
}

/// Which end of a connection shows the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A client, to a server.
    Client,
    /// A server, to a client.
    Server,
    /// Either.
    Both,
}

/// What `openssl verify` says with the same authorities and CRLs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecondJudge {
    /// What peer-in expects: good where that accepts, bad where it refuses the certificate.
    #[default]
    Agrees,
    /// It finds the chain good: what is wrong is not in the chain (the allow list's business, the handshake's) or it does not look.
    Good,
    /// It finds the chain bad where we accept.
    Bad,
    /// It cannot be asked: there is no certificate, or no chain file can say it.
    Silent,
}

/// The table of this build is wrong: a test reads it, so no released program has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("certs/defects.toml: {0}")]
pub struct CatalogueError(String);

impl Catalogue {
    /// The embedded table.
    ///
    /// # Errors
    /// It was edited wrongly before this program was built.
    pub fn embedded() -> Result<Self, CatalogueError> {
        Self::parse(TABLE)
    }

    fn parse(text: &str) -> Result<Self, CatalogueError> {
        let table: Table = toml::from_str(text).map_err(|error| CatalogueError(error.to_string()))?;
        let defects = table
            .defect
            .into_iter()
            .map(Defect::checked)
            .collect::<Result<Vec<_>, _>>()?;
        let mut ids = BTreeSet::new();
        match defects.iter().find(|defect| !ids.insert(defect.id.as_str())) {
            Some(twice) => Err(wrong(&twice.id, "stands there twice")),
            None => Ok(Self { defects }),
        }
    }

    /// All of them, controls included.
    pub fn all(&self) -> &[Defect] {
        &self.defects
    }

    /// Those that a face can meet.
    pub fn on(&self, face: Face) -> impl Iterator<Item = (&Defect, &Outcome)> {
        self.defects
            .iter()
            .filter_map(move |defect| Some((defect, defect.expected(face)?)))
    }

    /// One by its id.
    pub fn find(&self, id: &str) -> Option<&Defect> {
        self.defects.iter().find(|defect| defect.id == id)
    }
}

impl Defect {
    /// What a face must do; none where the defect cannot be shown there.
    pub fn expected(&self, face: Face) -> Option<&Outcome> {
        self.expected[face as usize].as_ref()
    }

    /// Which end can show it.
    pub fn side(&self) -> Side {
        let client = [Face::PeerIn, Face::Submission, Face::Imap];
        match (
            client.into_iter().any(|face| self.expected(face).is_some()),
            self.expected(Face::PeerOut).is_some(),
        ) {
            (true, false) => Side::Client,
            (false, true) => Side::Server,
            _ => Side::Both,
        }
    }

    /// Whether nothing is wrong with it.
    pub fn is_control(&self) -> bool {
        self.group == Group::Control
    }

    fn checked(raw: Raw) -> Result<Self, CatalogueError> {
        let id = raw.id;
        if id.is_empty()
            || !id
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        {
            return Err(wrong(&id, "is not an id of lower-case letters, digits and hyphens"));
        }
        for (name, text) in [("title", &raw.title), ("why", &raw.why), ("remedy", &raw.remedy)] {
            if text.trim().is_empty() || text.contains('\n') {
                return Err(wrong(&id, &format!("`{name}` is not one line")));
            }
        }
        let expected = raw.expected.faces(&id)?;
        if expected.iter().all(Option::is_none) {
            return Err(wrong(&id, "no face meets it"));
        }
        if expected.contains(&Some(Outcome::Either)) && raw.note.is_none() {
            return Err(wrong(&id, "`either` needs a `note` that says why"));
        }
        let accepts = |outcome: &Option<Outcome>| matches!(outcome, None | Some(Outcome::Accept));
        if raw.group == Group::Control && !expected.iter().all(accepts) {
            return Err(wrong(&id, "is a control, and every face accepts a control"));
        }
        Ok(Self {
            group: raw.group,
            title: raw.title,
            why: raw.why,
            remedy: raw.remedy,
            note: raw.note,
            openssl: raw.openssl,
            recipe: raw.make,
            expected,
            id,
        })
    }
}

impl Face {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::PeerIn, Self::PeerOut, Self::Submission, Self::Imap];

    /// Its name in the table and on the command line.
    pub fn id(self) -> &'static str {
        match self {
            Self::PeerIn => "peer-in",
            Self::PeerOut => "peer-out",
            Self::Submission => "submission",
            Self::Imap => "imap",
        }
    }
}

impl Group {
    /// Its name in the table.
    pub fn id(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Validity => "validity",
            Self::Issuer => "issuer",
            Self::Chain => "chain",
            Self::Usage => "usage",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Subject => "subject",
            Self::Names => "names",
            Self::Encoding => "encoding",
            Self::Revocation => "revocation",
            Self::Ocsp => "ocsp",
            Self::Protocol => "protocol",
            Self::Suite => "suite",
        }
    }
}

impl Outcome {
    fn of(text: &str) -> Option<Self> {
        match text {
            "accept" => Some(Self::Accept),
            "refuse-handshake" => Some(Self::RefuseHandshake),
            "either" => Some(Self::Either),
            reason => Reason::ALL
                .into_iter()
                .find(|known| known.id() == reason)
                .map(Self::Refuse),
        }
    }
}

impl fmt::Display for Outcome {
    /// As the table writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Refuse(reason) => f.write_str(reason.id()),
            Self::RefuseHandshake => f.write_str("refuse-handshake"),
            Self::Either => f.write_str("either"),
        }
    }
}

impl fmt::Display for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

fn wrong(id: &str, what: &str) -> CatalogueError {
    CatalogueError(format!("defect {id:?} {what}"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    defect: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    id: String,
    group: Group,
    title: String,
    why: String,
    remedy: String,
    note: Option<String>,
    #[serde(default)]
    openssl: SecondJudge,
    expected: RawExpected,
    #[serde(default)]
    make: Recipe,
}

/// One outcome for every face, or one for each that meets the defect.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawExpected {
    Everywhere(String),
    PerFace(PerFace),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PerFace {
    peer_in: Option<String>,
    peer_out: Option<String>,
    submission: Option<String>,
    imap: Option<String>,
}

impl RawExpected {
    fn faces(self, id: &str) -> Result<[Option<Outcome>; 4], CatalogueError> {
        let texts = match self {
            Self::Everywhere(text) => [Some(text.clone()), Some(text.clone()), Some(text.clone()), Some(text)],
            Self::PerFace(faces) => [faces.peer_in, faces.peer_out, faces.submission, faces.imap],
        };
        let mut outcomes = [None, None, None, None];
        for (outcome, text) in outcomes.iter_mut().zip(texts) {
            if let Some(text) = text {
                let known =
                    Outcome::of(&text).ok_or_else(|| wrong(id, &format!("expects {text:?}, which is no outcome")))?;
                *outcome = Some(known);
            }
        }
        Ok(outcomes)
    }
}

const TABLE: &str = include_str!("../../certs/defects.toml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_read_and_names_at_least_forty_defects() {
        let catalogue = Catalogue::embedded().unwrap();
        let defects = catalogue.all().iter().filter(|defect| !defect.is_control()).count();
        assert!(defects >= 40, "{defects} defects");
        for face in Face::ALL {
            assert!(
                catalogue.on(face).any(|(defect, _)| defect.is_control()),
                "{face} has no control"
            );
        }
    }

    fn with(change: impl Fn(&str) -> String) -> String {
        let good = "[[defect]]\nid = 'expired'\ngroup = 'validity'\ntitle = 't'\nwhy = 'w'\nremedy = 'r'\nexpected = 'certificate-expired'\n";
        Catalogue::parse(good).unwrap();
        Catalogue::parse(&change(good)).unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_table_is_refused_with_the_defect_named() {
        assert!(with(|good| format!("{good}{good}")).contains("\"expired\" stands there twice"));
        assert!(with(|good| good.replace("'certificate-expired'", "'certificate-late'")).contains("certificate-late"));
        assert!(with(|good| good.replace("'certificate-expired'", "'either'")).contains("note"));
        assert!(with(|good| good.replace("'validity'", "'control'")).contains("control"));
        assert!(with(|good| good.replace("'w'", "' '")).contains("`why`"));
        assert!(with(|good| good.replace("'expired'", "'Expired'")).contains("hyphens"));
        assert!(with(|good| format!("{good}colour = 'red'\n")).contains("colour"));
        assert!(with(|good| good.replace("'certificate-expired'", "{}")).contains("no face"));
    }
}
