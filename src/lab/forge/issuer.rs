//! Who signs: the authority's own keys, and the false authorities of the catalogue.

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::lab::recipe::{FieldChange, IssuerChange, KeyUsageBit, SignatureChange};
use crate::pki::LabSigner;

use super::certificate::{self, Draft};
use super::der;
use super::digest::Digest;
use super::key::LabKey;
use super::name::Name;
use super::{Forge, ForgeError};

/// An authority, true or false, ready to sign.
#[derive(Clone)]
pub(super) struct Signer {
    /// Its subject, DER.
    pub(super) name: Vec<u8>,
    pub(super) key: LabKey,
    pub(super) key_id: Vec<u8>,
    pub(super) certificate: CertificateDer<'static>,
}

/// A signer with what lies above it.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) signer: Signer,
    /// From the signer's own certificate upwards, without the root; empty when the root itself signs.
    pub(super) above: Vec<CertificateDer<'static>>,
    pub(super) root: CertificateDer<'static>,
}

/// What a false intermediate is.
struct Intermediate<'a> {
    name: Name,
    extensions: &'a [Vec<u8>],
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Signer {
    pub(super) fn of(signer: &LabSigner) -> Result<Self, ForgeError> {
        let (_, read) = X509Certificate::from_der(&signer.certificate).map_err(|_| ForgeError::Authority)?;
        let identifier = read
            .extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
                _ => None,
            });
        Ok(Self {
            name: read.subject().as_raw().to_vec(),
            key: LabKey::read(&signer.key)?,
            key_id: identifier.unwrap_or_default(),
            certificate: signer.certificate.clone(),
        })
    }
}

impl Forge {
    /// The line that signs a defect's leaf.
    pub(super) fn line(&self, change: IssuerChange) -> Result<Line, ForgeError> {
        if let Some(line) = self.kept_line(change) {
            return Ok(line);
        }
        let line = self.new_line(change)?;
        self.keep_line(change, line.clone());
        Ok(line)
    }

    fn new_line(&self, change: IssuerChange) -> Result<Line, ForgeError> {
        let own = |name, extensions| self.good_intermediate(name, extensions);
        let lab = |text: &str| Name::of_authority("FR", "VAGUEMESTRE BAC A SABLE", text);
        let authority = [certificate::basic_constraints(true, Some(0)), authority_usage()];
        match change {
            IssuerChange::Intermediate | IssuerChange::Itself => Ok(self.line_of(&self.intermediate, true)),
            IssuerChange::Root => Ok(self.line_of(&self.root, false)),
            IssuerChange::Foreign => self.foreign("AUTORITE D'UN AUTRE ESPACE", "AUTRE RACINE"),
            IssuerChange::Lookalike => self.foreign(
                "MON AC IGC-SANTE ELEMENTAIRE ORGANISATIONS A MOI",
                "MA RACINE IGC-SANTE",
            ),
            IssuerChange::Twin => self.foreign(
                "AC IGC-SANTE ELEMENTAIRE ORGANISATIONS",
                "AC RACINE IGC-SANTE ELEMENTAIRE",
            ),
            IssuerChange::ForeignSameNames => self.same_names(),
            IssuerChange::Unconfigured => self.below_root(own(lab("TEST AC INCONNUE"), &authority)),
            IssuerChange::Revoked => self.below_root(own(lab("TEST AC REVOQUEE"), &authority)),
            IssuerChange::Expired => {
                let expired = Intermediate {
                    not_after: self.days(-1),
                    ..own(lab("TEST AC EXPIREE"), &authority)
                };
                self.below_root(expired)
            }
            IssuerChange::WithoutBasicConstraints => {
                self.below_root(own(lab("TEST AC SANS CONTRAINTE"), &authority[1..]))
            }
            IssuerChange::WithoutCertSign => {
                let usage = certificate::key_usage(&[KeyUsageBit::DigitalSignature, KeyUsageBit::CrlSign]);
                self.below_root(own(lab("TEST AC SANS USAGE"), &[authority[0].clone(), usage]))
            }
            IssuerChange::NameConstraints => {
                let [constraints, usage] = authority;
                self.below_root(own(
                    lab("TEST AC LIMITEE"),
                    &[constraints, usage, certificate::name_constraints()],
                ))
            }
            IssuerChange::TooDeep => {
                let above = self.line_of(&self.intermediate, true);
                self.below(&above, own(lab("TEST AC TROP PROFONDE"), &authority), 0)
            }
            IssuerChange::Leaf => {
                let above = self.line_of(&self.intermediate, true);
                let usage = certificate::key_usage(&[KeyUsageBit::DigitalSignature, KeyUsageBit::KeyEncipherment]);
                let leaf = lab("mx.titulaire.test");
                self.below(
                    &above,
                    own(leaf, &[certificate::basic_constraints(false, None), usage]),
                    0,
                )
            }
        }
    }

    fn good_intermediate<'a>(&self, name: Name, extensions: &'a [Vec<u8>]) -> Intermediate<'a> {
        Intermediate {
            name,
            extensions,
            not_before: self.days(-30),
            not_after: self.days(365),
        }
    }

    fn line_of(&self, signer: &Signer, shown: bool) -> Line {
        Line {
            signer: signer.clone(),
            above: if shown {
                vec![signer.certificate.clone()]
            } else {
                Vec::new()
            },
            root: self.root.certificate.clone(),
        }
    }

    fn below_root(&self, intermediate: Intermediate<'_>) -> Result<Line, ForgeError> {
        self.below(&self.line_of(&self.root, false), intermediate, 0)
    }

    /// A false intermediate, signed by a line; `place` keeps the keys of two levels apart.
    fn below(&self, line: &Line, intermediate: Intermediate<'_>, place: u8) -> Result<Line, ForgeError> {
        let key = self.authority_key(place)?;
        let public = key.public_der()?;
        let name = intermediate.name.der();
        let key_id = Self::key_id(&public);
        let mut extensions = intermediate.extensions.to_vec();
        extensions.push(certificate::subject_key(&key_id));
        extensions.push(certificate::authority_key(&line.signer.key_id));
        let draft = Draft {
            field: FieldChange::Right,
            serial: self.serial()?,
            subject: name.clone(),
            public,
            not_before: intermediate.not_before,
            not_after: intermediate.not_after,
            extensions,
        };
        let signed = draft.signed(&line.signer, SignatureChange::Sha256, &key)?;
        let signed = CertificateDer::from(signed);
        let mut above = vec![signed.clone()];
        above.extend(line.above.iter().cloned());
        Ok(Line {
            signer: Signer {
                name,
                key,
                key_id,
                certificate: signed,
            },
            above,
            root: line.root.clone(),
        })
    }

    /// A root and an intermediate of another space.
    fn foreign(&self, intermediate: &str, root: &str) -> Result<Line, ForgeError> {
        let name = |text: &str| Name::of_authority("FR", "AUTRE ESPACE", text);
        self.foreign_line(name(root).der(), name(intermediate))
    }

    /// The same with the names of ours, byte for byte.
    fn same_names(&self) -> Result<Line, ForgeError> {
        let mut line = self.foreign_line(self.root.name.clone(), Name::of_authority("FR", "", ""))?;
        let root = Signer {
            name: self.root.name.clone(),
            key: self.authority_key(9)?,
            key_id: self.root.key_id.clone(),
            certificate: line.root.clone(),
        };
        let key = line.signer.key.clone();
        let signed = self
            .authority_draft(self.intermediate.name.clone(), &key, &root)?
            .signed(&root, SignatureChange::Sha256, &key)?;
        line.signer.name.clone_from(&self.intermediate.name);
        line.signer.certificate = CertificateDer::from(signed);
        line.above = vec![line.signer.certificate.clone()];
        Ok(line)
    }

    fn foreign_line(&self, root_name: Vec<u8>, intermediate: Name) -> Result<Line, ForgeError> {
        let key = self.authority_key(9)?;
        let key_id = Self::key_id(&key.public_der()?);
        let mut root = Signer {
            name: root_name.clone(),
            key: key.clone(),
            key_id,
            certificate: CertificateDer::from(Vec::new()),
        };
        let signed = self
            .authority_draft(root_name, &key, &root)?
            .signed(&root, SignatureChange::Sha256, &key)?;
        root.certificate = CertificateDer::from(signed);
        let line = Line {
            above: Vec::new(),
            root: root.certificate.clone(),
            signer: root,
        };
        let authority = [certificate::basic_constraints(true, Some(0)), authority_usage()];
        self.below(&line, self.good_intermediate(intermediate, &authority), 0)
    }

    fn authority_draft(&self, subject: Vec<u8>, key: &LabKey, above: &Signer) -> Result<Draft, ForgeError> {
        let public = key.public_der()?;
        Ok(Draft {
            field: FieldChange::Right,
            serial: self.serial()?,
            subject,
            not_before: self.now - SignedDuration::from_hours(24 * 30),
            not_after: self.days(365),
            extensions: vec![
                certificate::basic_constraints(true, None),
                authority_usage(),
                certificate::subject_key(&Self::key_id(&public)),
                certificate::authority_key(&above.key_id),
            ],
            public,
        })
    }

    /// A CRL of a false authority that lists nobody (RFC 5280 §5.1).
    pub(super) fn empty_list(&self, signer: &Signer) -> Result<Vec<u8>, ForgeError> {
        let algorithm = signer.key.signature_algorithm(Digest::Sha256);
        let number = certificate::extension(&[2, 5, 29, 20], false, &der::unsigned(&[1]));
        let extensions = [certificate::authority_key(&signer.key_id), number].concat();
        let tbs = der::sequence(&[
            &der::unsigned(&[1]),
            &algorithm,
            &signer.name,
            &certificate::time(self.days(-1)),
            &certificate::time(self.days(6)),
            &der::context(0, &der::tlv(der::SEQUENCE, &extensions)),
        ]);
        let signature = signer.key.sign(Digest::Sha256, &tbs)?;
        Ok(der::sequence(&[&tbs, &algorithm, &der::bits(&signature)]))
    }

    /// A root of the authority's name and key that has ended.
    pub(super) fn expired_root(&self) -> Result<CertificateDer<'static>, ForgeError> {
        let mut draft = self.authority_draft(self.root.name.clone(), &self.root.key, &self.root)?;
        draft.not_before = self.days(-400);
        draft.not_after = self.days(-1);
        let signed = draft.signed(&self.root, SignatureChange::Sha256, &self.root.key)?;
        Ok(CertificateDer::from(signed))
    }
}

fn authority_usage() -> Vec<u8> {
    certificate::key_usage(&[KeyUsageBit::KeyCertSign, KeyUsageBit::CrlSign])
}
