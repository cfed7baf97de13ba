//! The directory sections that the sandbox's space and a gateway share, and the directory they make.

use super::boxes::{Boxes, DeclaredBox};
use super::declared::Declared;
use super::login::{Issuer, Login, LoginCertificate, LoginKind, read_logins};
use super::postmaster::Postmaster;
use super::reader::Section;
use super::structure::{Person, Structures};
use crate::directory::{CertificateBinding, Directory, DirectoryError, Entity, Establishment};
use crate::identity::{Address, Domain, SubjectDn};

/// Who is who at one operator, as declared.
#[derive(Clone, Debug, Default)]
pub struct DirectorySection {
    /// Legal entities (EJ).
    pub entities: Vec<Entity>,
    /// Establishments (EG).
    pub establishments: Vec<Establishment>,
    /// Professionals.
    pub people: Vec<Person>,
    /// Boxes.
    pub boxes: Vec<DeclaredBox>,
    /// Logins.
    pub logins: Vec<Login>,
    /// The box that reads what is written to postmaster where no box of that name exists.
    pub postmaster: Option<Address>,
}

impl DirectorySection {
    /// Reads `entity`, `establishment`, `person`, `box` and `login` under `parent`; what is wrong is reported and left out.
    pub(super) fn read(
        parent: &Section<'_>,
        (domains, postmaster): (&[Domain], Postmaster),
        issuer: Issuer,
        declared: &mut Declared,
    ) -> Self {
        let structures = Structures::read(parent, declared);
        let boxes = Boxes::read(parent, domains, &structures, declared);
        let logins = read_logins(parent, issuer, &structures, &boxes);
        let postmaster = postmaster.among(&boxes, domains, parent);
        Self {
            entities: structures.entities,
            establishments: structures.establishments,
            people: structures.people,
            boxes: boxes.found,
            logins,
            postmaster,
        }
    }

    /// Builds the directory of an operator of these domains.
    ///
    /// `subject_of` gives the subject of a login's certificate, known once it is issued or its file is read. A login for which it
    /// gives none opens nothing.
    pub fn build(
        &self,
        domains: Vec<Domain>,
        subject_of: impl Fn(&Login) -> Option<SubjectDn>,
    ) -> Result<Directory, DirectoryError> {
        let mut directory = Directory::new(domains);
        for entity in &self.entities {
            directory.add_entity(entity.clone());
        }
        for establishment in &self.establishments {
            directory.add_establishment(establishment.clone())?;
        }
        for declared in &self.boxes {
            directory.add_box(declared.mailbox.clone())?;
            if let Some(quota) = declared.quota {
                directory.set_quota(declared.mailbox.address.clone(), quota.0);
            }
        }
        if let Some(postmaster) = &self.postmaster {
            directory.set_postmaster(postmaster.clone())?;
        }
        for login in &self.logins {
            add_login(&mut directory, login, &subject_of)?;
        }
        Ok(directory)
    }
}

fn add_login(
    directory: &mut Directory,
    login: &Login,
    subject_of: &impl Fn(&Login) -> Option<SubjectDn>,
) -> Result<(), DirectoryError> {
    match &login.kind {
        LoginKind::Password(password) => directory.add_password(password.clone()),
        LoginKind::Certificate { certificate, boxes } => {
            let subject = match certificate {
                LoginCertificate::Subject(subject) => Some(subject.clone()),
                LoginCertificate::Issued { .. } | LoginCertificate::File(_) => subject_of(login),
            };
            let Some(subject) = subject else { return Ok(()) };
            directory.bind_certificate(CertificateBinding {
                subject,
                boxes: boxes.clone(),
            })
        }
    }
}
