//! Who is who at one operator: legal entities, establishments, people, boxes and the logins that may use them.
//!
//! A [`Directory`] is an immutable snapshot; a session keeps the one it started with (invariant 4). Building one checks it whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::identity::{Address, Domain, Finess, POSTMASTER, Rpps, SubjectDn};

/// Type of a box (TRE_R257-TypeBAL); a patient's box has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BoxType {
    /// PER: one professional.
    Personal,
    /// ORG: a service or team of an establishment.
    Organisational,
    /// APP: a software that sends by itself.
    Applicative,
    /// A citizen's box in the patient space.
    Patient,
}

impl BoxType {
    /// `PER`, `ORG`, `APP`; empty for a patient.
    pub fn code(self) -> &'static str {
        match self {
            Self::Personal => "PER",
            Self::Organisational => "ORG",
            Self::Applicative => "APP",
            Self::Patient => "",
        }
    }
}

/// Whether a box takes mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoxState {
    /// It sends and receives.
    Active,
    /// It neither sends nor receives for now.
    Suspended,
    /// It is gone for good; its address is not given again.
    Closed,
}

/// A legal entity (EJ).
#[derive(Clone, Debug)]
pub struct Entity {
    /// FINESS EJ.
    pub finess: Finess,
    /// Raison sociale.
    pub name: String,
}

/// A geographic establishment (EG).
#[derive(Clone, Debug)]
pub struct Establishment {
    /// FINESS EG.
    pub finess: Finess,
    /// The entity it belongs to.
    pub entity: Finess,
    /// Its name.
    pub name: String,
    /// People accompanied, per month `2026-11`: the denominator it declares. Absent or zero: no rate can be computed.
    pub people: BTreeMap<String, u32>,
}

impl Establishment {
    /// The key of [`Self::people`] that stands for every month it does not name.
    pub const EVERY_MONTH: &str = "*";

    /// People accompanied in a month such as `2026-11`: the count declared for it, else the one for every month.
    pub fn people_in(&self, month: &str) -> Option<u32> {
        self.people
            .get(month)
            .or_else(|| self.people.get(Self::EVERY_MONTH))
            .copied()
    }
}

/// What a box is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// An establishment (EG).
    Establishment(Finess),
    /// A legal entity (EJ) as a whole; the declared rule, if any, names the EG its messages count for.
    Entity {
        /// The EJ.
        entity: Finess,
        /// Declared rule box → EG.
        counts_for: Option<Finess>,
    },
    /// Nothing: a professional without structure, a patient.
    None,
}

/// A box.
#[derive(Clone, Debug)]
pub struct MailBox {
    /// Its address, unique.
    pub address: Address,
    /// Its type.
    pub box_type: BoxType,
    /// What people read: `SSIAD Les Lilas`, `Dr Jeanne BRIARD`.
    pub label: String,
    /// What it belongs to.
    pub attachment: Attachment,
    /// The holder's number, for a personal box.
    pub holder: Option<Rpps>,
    /// Whether it takes mail.
    pub state: BoxState,
}

/// Which client certificates open a box.
#[derive(Clone, Debug)]
pub struct CertificateBinding {
    /// Full subject DN of the ORG `AUTH_CLI` certificate.
    pub subject: SubjectDn,
    /// The boxes it opens.
    pub boxes: Vec<Address>,
}

/// A password login: sandbox only, until an identity provider vouches for people.
#[derive(Clone, Debug)]
pub struct PasswordLogin {
    /// What the client gives as user name: usually the address of the box.
    pub user: String,
    /// The test secret.
    pub password: Secret,
    /// The boxes it opens; the first is its own.
    pub boxes: Vec<Address>,
}

impl PasswordLogin {
    fn role_for(&self, address: &Address) -> Role {
        if self.boxes.first() == Some(address) {
            Role::Holder
        } else {
            Role::Delegate
        }
    }
}

/// Somebody who may open a box.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opener {
    /// On which grounds.
    pub role: Role,
    /// User name, or subject of the certificate.
    pub name: String,
}

/// On which grounds somebody opens a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It is the login's own, or a software's that is bound to it: a box without delegation.
    Holder,
    /// Access was delegated to it (its own box is another one).
    Delegate,
}

/// A secret that never prints itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether `guess` is the secret, in a time that depends on its length only.
    pub fn matches(&self, guess: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), guess.as_bytes()).is_ok()
    }

    /// The secret itself, for the few places that must write it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Everything one operator knows about its users.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    domains: Vec<Domain>,
    leaving: Vec<Domain>,
    entities: HashMap<Finess, Entity>,
    establishments: BTreeMap<Finess, Establishment>,
    boxes: HashMap<Address, Arc<MailBox>>,
    quota_default: Option<u64>,
    quotas: HashMap<Address, Option<u64>>,
    certificates: HashMap<SubjectDn, Vec<Address>>,
    passwords: HashMap<String, PasswordLogin>,
    postmaster: Option<Address>,
}

/// A directory that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Two boxes with one address.
    #[error("box {0} is declared twice")]
    DuplicateBox(Address),
    /// A box outside the operator's domains.
    #[error("box {0} is in none of this operator's domains")]
    ForeignDomain(Address),
    /// An attachment or rule names an unknown establishment.
    #[error("{0} names establishment {1}, which is not declared")]
    UnknownEstablishment(String, Finess),
    /// An establishment or box names an unknown legal entity.
    #[error("{0} names legal entity {1}, which is not declared")]
    UnknownEntity(String, Finess),
    /// Two establishments with one number.
    #[error("establishment {0} is declared twice")]
    DuplicateEstablishment(Finess),
    /// A login opens a box that does not exist.
    #[error("login {0} opens {1}, which is not declared")]
    UnknownBox(String, Address),
    /// Two logins with one user name.
    #[error("login {0} is declared twice")]
    DuplicateLogin(String),
}

impl Directory {
    /// An operator of these domains, nobody in it yet.
    pub fn new(domains: Vec<Domain>) -> Self {
        Self {
            domains,
            ..Self::default()
        }
    }

    /// Adds a legal entity.
    pub fn add_entity(&mut self, entity: Entity) {
        self.entities.insert(entity.finess.clone(), entity);
    }

    /// Adds an establishment of a known entity.
    pub fn add_establishment(&mut self, establishment: Establishment) -> Result<(), DirectoryError> {
        if !self.entities.contains_key(&establishment.entity) {
            return Err(DirectoryError::UnknownEntity(establishment.name, establishment.entity));
        }
        if self.establishments.contains_key(&establishment.finess) {
            return Err(DirectoryError::DuplicateEstablishment(establishment.finess));
        }
        self.establishments.insert(establishment.finess.clone(), establishment);
        Ok(())
    }

    /// Adds a box in one of the domains, attached to something known.
    pub fn add_box(&mut self, mailbox: MailBox) -> Result<(), DirectoryError> {
        let address = mailbox.address.clone();
        if !self.serves(address.domain()) {
            return Err(DirectoryError::ForeignDomain(address));
        }
        self.check_attachment(&mailbox)?;
        if self.boxes.contains_key(&address) {
            return Err(DirectoryError::DuplicateBox(address));
        }
        self.boxes.insert(address, Arc::new(mailbox));
        Ok(())
    }

    /// What a box may hold, in bytes, where nothing else was set for it; `None`: no limit.
    pub fn set_quota_default(&mut self, quota_bytes: Option<u64>) {
        self.quota_default = quota_bytes;
    }

    /// What this box may hold, in bytes; `None`: no limit.
    pub fn set_quota(&mut self, address: Address, quota_bytes: Option<u64>) {
        self.quotas.insert(address, quota_bytes);
    }

    /// What a box may hold, in bytes; `None`: no limit.
    pub fn quota_of(&self, address: &Address) -> Option<u64> {
        self.quotas.get(address).copied().unwrap_or(self.quota_default)
    }

    fn check_attachment(&self, mailbox: &MailBox) -> Result<(), DirectoryError> {
        let (establishment, entity) = match &mailbox.attachment {
            Attachment::Establishment(eg) => (Some(eg), None),
            Attachment::Entity { entity, counts_for } => (counts_for.as_ref(), Some(entity)),
            Attachment::None => (None, None),
        };
        if let Some(eg) = establishment.filter(|eg| !self.establishments.contains_key(*eg)) {
            return Err(DirectoryError::UnknownEstablishment(
                mailbox.address.masked(),
                eg.clone(),
            ));
        }
        if let Some(ej) = entity.filter(|ej| !self.entities.contains_key(*ej)) {
            return Err(DirectoryError::UnknownEntity(mailbox.address.masked(), ej.clone()));
        }
        Ok(())
    }

    /// Lets a client certificate open boxes; a second binding of the same subject adds to the first.
    pub fn bind_certificate(&mut self, binding: CertificateBinding) -> Result<(), DirectoryError> {
        self.check_boxes(&binding.subject.to_string(), &binding.boxes)?;
        self.certificates
            .entry(binding.subject)
            .or_default()
            .extend(binding.boxes);
        Ok(())
    }

    /// Lets a user name and password open boxes.
    pub fn add_password(&mut self, login: PasswordLogin) -> Result<(), DirectoryError> {
        self.check_boxes(&login.user, &login.boxes)?;
        let user = login.user.to_lowercase();
        if self.passwords.contains_key(&user) {
            return Err(DirectoryError::DuplicateLogin(user));
        }
        self.passwords.insert(user, login);
        Ok(())
    }

    /// Names the box that takes what is written to postmaster where no box of that name exists.
    pub fn set_postmaster(&mut self, address: Address) -> Result<(), DirectoryError> {
        self.check_boxes(POSTMASTER, std::slice::from_ref(&address))?;
        self.postmaster = Some(address);
        Ok(())
    }

    fn check_boxes(&self, login: &str, boxes: &[Address]) -> Result<(), DirectoryError> {
        match boxes.iter().find(|address| !self.boxes.contains_key(*address)) {
            Some(address) => Err(DirectoryError::UnknownBox(login.to_owned(), address.clone())),
            None => Ok(()),
        }
    }

    /// Domains that have just moved to another operator: their mail is refused for now, until nobody sends it here any more.
    pub fn set_leaving(&mut self, domains: Vec<Domain>) {
        self.leaving = domains;
    }

    /// The domains that have just moved away.
    pub fn leaving(&self) -> &[Domain] {
        &self.leaving
    }

    /// Whether the domain is one of this operator's.
    pub fn serves(&self, domain: &Domain) -> bool {
        self.domains.contains(domain)
    }

    /// The operator's domains.
    pub fn domains(&self) -> &[Domain] {
        &self.domains
    }

    /// The box of that address.
    pub fn find(&self, address: &Address) -> Option<&Arc<MailBox>> {
        self.boxes.get(address)
    }

    /// The box that takes what is written to an address: the one of that address, else, for postmaster of one of the domains, the one that was
    /// named for it.
    pub fn receiver(&self, address: &Address) -> Option<&Arc<MailBox>> {
        self.find(address).or_else(|| {
            // RFC 5321 §4.5.1: postmaster of every domain served, in any case.
            let is_for_it = address.is_postmaster() && self.serves(address.domain());
            self.find(self.postmaster.as_ref().filter(|_| is_for_it)?)
        })
    }

    /// All boxes, in no order.
    pub fn boxes(&self) -> impl Iterator<Item = &Arc<MailBox>> {
        self.boxes.values()
    }

    /// Boxes that a client certificate opens; empty when it is bound to none.
    pub fn boxes_of_certificate(&self, subject: &SubjectDn) -> &[Address] {
        self.certificates.get(subject).map_or(&[], Vec::as_slice)
    }

    /// The login with that user name, compared without case.
    pub fn password_login(&self, user: &str) -> Option<&PasswordLogin> {
        self.passwords.get(&user.to_lowercase())
    }

    /// Who may open a box: its holders first, then the others by name.
    pub fn openers(&self, address: &Address) -> Vec<Opener> {
        let by_password = self.passwords.values().filter(|login| login.boxes.contains(address));
        let by_password = by_password.map(|login| Opener {
            name: login.user.clone(),
            role: login.role_for(address),
        });
        let by_certificate = self.certificates.iter().filter(|(_, boxes)| boxes.contains(address));
        let by_certificate = by_certificate.map(|(subject, _)| Opener {
            name: subject.to_string(),
            role: Role::Holder,
        });
        let mut openers: Vec<Opener> = by_password.chain(by_certificate).collect();
        openers.sort();
        openers
    }

    /// On which grounds a login, by user name or certificate subject, opens a box; `None`: it does not.
    pub fn role_of(&self, login: &str, address: &Address) -> Option<Role> {
        if let Some(known) = self.password_login(login).filter(|known| known.boxes.contains(address)) {
            return Some(known.role_for(address));
        }
        let subject: SubjectDn = login.parse().ok()?;
        self.boxes_of_certificate(&subject)
            .contains(address)
            .then_some(Role::Holder)
    }

    /// Establishments by number.
    pub fn establishments(&self) -> impl Iterator<Item = &Establishment> {
        self.establishments.values()
    }

    /// The establishment with that number.
    pub fn establishment(&self, finess: &Finess) -> Option<&Establishment> {
        self.establishments.get(finess)
    }

    /// The legal entity with that number.
    pub fn entity(&self, finess: &Finess) -> Option<&Entity> {
        self.entities.get(finess)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn organisational(address: Address) -> MailBox {
        MailBox {
            address,
            box_type: BoxType::Organisational,
            label: String::new(),
            attachment: Attachment::None,
            holder: None,
            state: BoxState::Active,
        }
    }

    #[test]
    fn a_box_knows_its_holder_its_delegates_and_its_software() {
        let [own, shared]: [Address; 2] = ["a@b.mssante.fr", "team@b.mssante.fr"].map(|text| text.parse().unwrap());
        let subject: SubjectDn = "CN=DUI,OU=1990000283,O=ESSAI,C=FR".parse().unwrap();
        let mut directory = Directory::new(vec!["b.mssante.fr".parse().unwrap()]);
        for address in [&own, &shared] {
            directory.add_box(organisational(address.clone())).unwrap();
        }
        let mut login = |user: &str, boxes: &[&Address]| {
            let password = PasswordLogin {
                user: user.to_owned(),
                password: Secret::new("sandbox"),
                boxes: boxes.iter().map(|address| (*address).clone()).collect(),
            };
            directory.add_password(password).unwrap();
        };
        login("Anne", &[&own, &shared]);
        login("team", &[&shared]);
        let boxes = vec![shared.clone()];
        let binding = CertificateBinding {
            subject: subject.clone(),
            boxes,
        };
        directory.bind_certificate(binding).unwrap();

        let opener = |role, name: &str| Opener {
            role,
            name: name.to_owned(),
        };
        let software = subject.to_string();
        assert_eq!(
            directory.openers(&shared),
            [
                opener(Role::Holder, &software),
                opener(Role::Holder, "team"),
                opener(Role::Delegate, "Anne")
            ]
        );
        assert_eq!(directory.openers(&own), [opener(Role::Holder, "Anne")]);
        for (login, address, role) in [
            ("anne", &shared, Some(Role::Delegate)),
            ("Anne", &own, Some(Role::Holder)),
            ("team", &shared, Some(Role::Holder)),
            ("team", &own, None),
            (software.as_str(), &shared, Some(Role::Holder)),
            (software.as_str(), &own, None),
            ("nobody", &own, None),
        ] {
            assert_eq!(directory.role_of(login, address), role, "{login} {address}");
        }
    }

    #[test]
    fn mail_to_postmaster_goes_to_its_own_box_or_to_the_one_named_for_it() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        let mut directory = Directory::new(
            ["a.mssante.fr", "b.mssante.fr"]
                .map(|name| name.parse().unwrap())
                .into(),
        );
        for name in ["team@a.mssante.fr", "postmaster@b.mssante.fr"] {
            directory.add_box(organisational(address(name))).unwrap();
        }
        let receiver = |directory: &Directory, to: &str| {
            let found = directory.receiver(&address(to));
            found.map(|mailbox| mailbox.address.to_string()).unwrap_or_default()
        };
        assert_eq!(receiver(&directory, "postmaster@a.mssante.fr"), "");
        assert_eq!(
            receiver(&directory, "Postmaster@B.mssante.fr"),
            "postmaster@b.mssante.fr"
        );
        let unknown = directory.set_postmaster(address("nobody@a.mssante.fr"));
        assert!(matches!(unknown, Err(DirectoryError::UnknownBox(..))));
        directory.set_postmaster(address("team@a.mssante.fr")).unwrap();
        for (to, by) in [
            ("postmaster@a.mssante.fr", "team@a.mssante.fr"),
            ("POSTMASTER@A.mssante.fr", "team@a.mssante.fr"),
            ("postmaster@b.mssante.fr", "postmaster@b.mssante.fr"),
            ("team@a.mssante.fr", "team@a.mssante.fr"),
            ("postmasters@a.mssante.fr", ""),
            ("abuse@a.mssante.fr", ""),
            ("postmaster@c.mssante.fr", ""),
        ] {
            assert_eq!(receiver(&directory, to), by, "{to}");
        }
        assert!(
            directory.find(&address("postmaster@a.mssante.fr")).is_none(),
            "it is no box"
        );
    }
}
