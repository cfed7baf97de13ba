//! `[[login]]`: who may use which boxes, by password (sandbox) or by client certificate.

use std::path::PathBuf;

use super::boxes::{Boxes, DeclaredBox};
use super::declared::Unique;
use super::reader::{At, FromToml, Section, Wrong};
use super::structure::Structures;
use super::value::{Slug, Structure, choose};
use crate::directory::{BoxType, PasswordLogin, Secret};
use crate::identity::{Address, Finess, SubjectDn};

/// A login.
#[derive(Clone, Debug)]
pub struct Login {
    /// Unique at its operator; names its files and its certificate.
    pub name: String,
    /// How it proves itself.
    pub kind: LoginKind,
}

/// How a login proves itself.
#[derive(Clone, Debug)]
pub enum LoginKind {
    /// A user name and a password.
    Password(PasswordLogin),
    /// An ORG `AUTH_CLI` certificate.
    Certificate {
        /// Where its subject comes from.
        certificate: LoginCertificate,
        /// The boxes it opens; the first is its own.
        boxes: Vec<Address>,
    },
}

/// Where the certificate of a login comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginCertificate {
    /// The sandbox issues it to this structure; the login's name is its common name.
    Issued {
        /// Organisation (O): the entity's name.
        organisation: String,
        /// Structure identifier (OU): the entity's.
        structure: Structure,
    },
    /// It has this subject.
    Subject(SubjectDn),
    /// It is in this PEM file; its subject is read from there.
    File(PathBuf),
}

/// Whether this file's certificates are issued by us or named by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Issuer {
    Sandbox,
    Elsewhere,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Password,
    Certificate,
}

impl FromToml for Kind {
    fn from_toml(value: &toml::de::DeValue<'_>) -> Result<Self, Wrong> {
        choose(
            value,
            &[("password", Self::Password), ("certificate", Self::Certificate)],
        )
    }
}

/// Reads `[[login]]` under `parent`.
pub(super) fn read_logins(parent: &Section<'_>, issuer: Issuer, structures: &Structures, boxes: &Boxes) -> Vec<Login> {
    let (mut names, mut users) = (Unique::default(), Unique::default());
    let mut logins = Vec::new();
    for section in parent.sections("login") {
        let name = section.required::<Slug>("name");
        if let Some(name) = &name {
            names.declare(&section, name, format_args!("login {}", name.value.0));
        }
        let opened = read_opened(&section, boxes);
        let kind = match section.required::<Kind>("kind").map(|at| at.value) {
            Some(Kind::Password) => read_password(&section, &mut users, &opened),
            Some(Kind::Certificate) => read_certificate(&section, issuer, structures, boxes, &opened),
            // Without a kind the keys of both are accepted, so that one mistake is reported once.
            None => {
                read_password_keys(&section);
                read_certificate_keys(&section, issuer);
                None
            }
        };
        section.close();
        if let (Some(name), Some(kind)) = (name, kind) {
            logins.push(Login {
                name: name.value.0,
                kind,
            });
        }
    }
    logins
}

fn read_opened(section: &Section<'_>, boxes: &Boxes) -> Vec<At<Address>> {
    let opened = section.required_list::<Address>("boxes");
    let mut seen = Unique::default();
    for address in &opened {
        seen.declare(section, address, format_args!("box {} of the login", address.masked()));
        if !boxes.may_hold(&address.value) {
            section.wrong(
                address,
                format!("the login opens {}, which is not declared", address.masked()),
                "add a [[box]] section with this address to the same operator, or remove it here",
            );
        }
    }
    opened
}

fn read_password_keys(section: &Section<'_>) -> (Option<At<String>>, Option<At<Secret>>) {
    (section.optional("user"), section.optional("password"))
}

fn read_password(section: &Section<'_>, users: &mut Unique<String>, opened: &[At<Address>]) -> Option<LoginKind> {
    let user = section.optional::<String>("user").or_else(|| {
        // The user name is the box's address unless said otherwise.
        let first = opened.first()?;
        Some(At {
            value: first.as_str().to_owned(),
            span: first.span.clone(),
        })
    });
    let password = section.required::<Secret>("password");
    if let Some(user) = &user {
        let folded = At {
            value: user.to_lowercase(),
            span: user.span.clone(),
        };
        users.declare(section, &folded, format_args!("user name {:?}", user.value));
    }
    Some(LoginKind::Password(PasswordLogin {
        user: user?.value,
        password: password?.value,
        boxes: values(opened),
    }))
}

type CertificateKeys = (Option<At<Finess>>, Option<At<SubjectDn>>, Option<PathBuf>);

fn read_certificate_keys(section: &Section<'_>, issuer: Issuer) -> CertificateKeys {
    match issuer {
        Issuer::Sandbox => (section.optional("entity"), None, None),
        Issuer::Elsewhere => (None, section.optional("subject"), section.file("certificate")),
    }
}

fn read_certificate(
    section: &Section<'_>,
    issuer: Issuer,
    structures: &Structures,
    boxes: &Boxes,
    opened: &[At<Address>],
) -> Option<LoginKind> {
    let (entity, subject, file) = read_certificate_keys(section, issuer);
    let certificate = match (issuer, subject, file) {
        (Issuer::Sandbox, ..) => issued(section, entity, structures, boxes, opened)?,
        (Issuer::Elsewhere, Some(subject), None) => LoginCertificate::Subject(subject.value),
        (Issuer::Elsewhere, None, Some(file)) => LoginCertificate::File(file),
        (Issuer::Elsewhere, ..) => {
            section.wrong_here(
                "a certificate login needs one of `subject` and `certificate`".into(),
                "write its full subject DN, or the path of its PEM file",
            );
            return None;
        }
    };
    Some(LoginKind::Certificate {
        certificate,
        boxes: values(opened),
    })
}

/// The structure that the sandbox issues the certificate to: the one named, else the EJ of the first box.
fn issued(
    section: &Section<'_>,
    entity: Option<At<Finess>>,
    structures: &Structures,
    boxes: &Boxes,
    opened: &[At<Address>],
) -> Option<LoginCertificate> {
    let named = entity.as_ref().map(|entity| entity.value.clone());
    let inferred = || boxes.entity_of.get(&opened.first()?.value).cloned();
    let Some(finess) = named.or_else(inferred) else {
        let first = opened.first().map(|first| &first.value);
        let sound =
            |found: &DeclaredBox| Some(&found.mailbox.address) == first && found.mailbox.box_type == BoxType::Personal;
        // Any other box without structure is itself a mistake, reported where it is declared.
        if boxes.found.iter().any(sound) {
            section.wrong_here(
                "the certificate has no structure to be issued to: its first box is attached to none".into(),
                "add `entity` with the FINESS EJ of a declared legal entity",
            );
        }
        return None;
    };
    let Some(organisation) = structures.entity_names.get(&finess) else {
        if let Some(entity) = &entity {
            section.wrong(
                entity,
                format!("legal entity {finess} is not declared"),
                "add an [[entity]] section with this number",
            );
        }
        return None;
    };
    Some(LoginCertificate::Issued {
        organisation: organisation.clone(),
        structure: Structure::Finess(finess),
    })
}

fn values(opened: &[At<Address>]) -> Vec<Address> {
    opened.iter().map(|address| address.value.clone()).collect()
}
