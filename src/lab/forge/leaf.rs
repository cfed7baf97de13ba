//! The leaf of a defect, and what is shown beside it.

use rustls_pki_types::CertificateDer;

use crate::identity::SubjectDn;
use crate::lab::catalogue::Face;
use crate::lab::recipe::{
    ChainChange, ExtensionChange, HandshakeChange, IssuerChange, KeyUsageBit, PurposeName, Recipe, RevocationChange,
    SubjectChange, TrustChange,
};
use crate::pki::{self, Issuer, Profile, RevocationReason};

use super::certificate::{self, Draft};
use super::issuer::{Line, Signer};
use super::key::LabKey;
use super::name::Name;
use super::{Entry, Forge, ForgeError, Forged, Holder, Offer, Standing};

impl Forge {
    pub(super) fn make_leaf(&self, recipe: &Recipe, holder: &Holder, face: Face) -> Result<Forged, ForgeError> {
        let key = self.key(recipe.key, 0)?;
        let mut line = self.line(recipe.issuer)?;
        let (leaf, listed) = self.leaf(recipe, (holder, face), &key, &line)?;
        if recipe.issuer == IssuerChange::Itself {
            line.above = Vec::new();
        }
        let entries = entries(recipe, &leaf, &line);
        let chain = match recipe.handshake {
            HandshakeChange::NoCertificate | HandshakeChange::NoTls => Vec::new(),
            _ => self.shown(recipe.chain, leaf, &line)?,
        };
        let shown_key = match recipe.handshake {
            HandshakeChange::WrongKey => self.key(recipe.key, 1)?,
            _ => key,
        };
        Ok(Forged {
            chain,
            offer: Offer::of(recipe.handshake, recipe.key),
            listed,
            trust: self.trust(recipe.trust, &line)?,
            lists: self.lists(recipe.trust, &line)?,
            entries,
            fault: recipe.fault,
            key: shown_key,
        })
    }

    fn leaf(
        &self,
        recipe: &Recipe,
        (holder, face): (&Holder, Face),
        key: &LabKey,
        line: &Line,
    ) -> Result<(CertificateDer<'static>, SubjectDn), ForgeError> {
        let public = key.public_der()?;
        let name = Name::changed(&holder.subject, recipe.subject)?.der();
        let draft = Draft {
            field: recipe.field,
            serial: self.serial()?,
            subject: name.clone(),
            extensions: self.extensions(recipe, (holder, face), &public, &line.signer)?,
            public,
            not_before: self.days(recipe.not_before_days.unwrap_or(-1)),
            not_after: self.days(recipe.not_after_days.unwrap_or(300)),
        };
        let itself = Signer {
            key_id: Self::key_id(&draft.public),
            certificate: CertificateDer::from(Vec::new()),
            key: key.clone(),
            name,
        };
        let signer = if recipe.issuer == IssuerChange::Itself {
            &itself
        } else {
            &line.signer
        };
        let other = self.authority_key(5)?;
        let signed = draft.signed(signer, recipe.signature, &other)?;
        let listed = match recipe.subject {
            SubjectChange::VeryLong => pki::subject_of(&CertificateDer::from(signed.as_slice()))?,
            _ => holder.subject.clone(),
        };
        Ok((certificate::spoiled(signed, recipe.bytes), listed))
    }

    fn extensions(
        &self,
        recipe: &Recipe,
        (holder, face): (&Holder, Face),
        public: &[u8],
        signer: &Signer,
    ) -> Result<Vec<Vec<u8>>, ForgeError> {
        let profile = recipe.profile.unwrap_or(match face {
            Face::PeerIn | Face::PeerOut => Profile::ServSsl,
            Face::Submission | Face::Imap => Profile::OrgAuthCli,
        });
        let (usual_bits, usual_purposes) = usages(profile);
        let bits = recipe.key_usage.as_deref().unwrap_or(usual_bits);
        let purposes = recipe.extended_key_usage.as_deref().unwrap_or(usual_purposes);
        let identifier = if recipe.issuer == IssuerChange::Itself {
            Self::key_id(public)
        } else {
            signer.key_id.clone()
        };
        let mut extensions = Vec::new();
        match recipe.extension {
            ExtensionChange::NoBasicConstraints => {}
            ExtensionChange::Authority => extensions.push(certificate::basic_constraints(true, None)),
            _ => extensions.push(certificate::basic_constraints(false, None)),
        }
        match recipe.extension {
            ExtensionChange::EmptyKeyUsage => extensions.push(certificate::key_usage(&[])),
            _ if bits.is_empty() => {}
            _ => extensions.push(certificate::key_usage(bits)),
        }
        if !purposes.is_empty() {
            extensions.push(certificate::extended_key_usage(purposes));
        }
        let names = recipe.names.as_ref().unwrap_or(&holder.names);
        match recipe.extension {
            ExtensionChange::BrokenNames => extensions.push(certificate::broken_names()),
            _ if names.is_empty() => {}
            _ => extensions.push(certificate::alternative_names(names)?),
        }
        extensions.push(certificate::subject_key(&Self::key_id(public)));
        extensions.push(certificate::authority_key(&identifier));
        extensions.extend(self.addresses.iter().cloned());
        extensions.push(certificate::product_category());
        match recipe.extension {
            ExtensionChange::UnknownCritical => extensions.push(certificate::unknown(true)),
            ExtensionChange::UnknownPlain => extensions.push(certificate::unknown(false)),
            ExtensionChange::Duplicate => extensions.push(certificate::key_usage(bits)),
            _ => {}
        }
        Ok(extensions)
    }

    fn shown(
        &self,
        change: ChainChange,
        leaf: CertificateDer<'static>,
        line: &Line,
    ) -> Result<Vec<CertificateDer<'static>>, ForgeError> {
        let above = line.above.clone();
        let root = line.root.clone();
        let mut chain = vec![leaf];
        match change {
            ChainChange::Right => chain.extend(above),
            ChainChange::WithRoot => {
                chain.extend(above);
                chain.push(root);
            }
            ChainChange::LeafOnly => {}
            ChainChange::WrongIntermediate => chain.extend(self.line(IssuerChange::Foreign)?.above),
            ChainChange::Shuffled => {
                chain.push(root);
                chain.extend(above);
            }
            ChainChange::Unrelated => {
                for other in [IssuerChange::Foreign, IssuerChange::Lookalike, IssuerChange::Twin] {
                    chain.extend(self.line(other)?.above);
                }
                chain.extend(above);
            }
            ChainChange::Flood => {
                let issuer = above.first().cloned().unwrap_or(root);
                chain.extend(std::iter::repeat_n(issuer, FLOOD));
            }
            ChainChange::AuthorityFirst => {
                let mut turned = above;
                turned.append(&mut chain);
                chain = turned;
            }
        }
        Ok(chain)
    }

    fn lists(&self, change: TrustChange, line: &Line) -> Result<Vec<Vec<u8>>, ForgeError> {
        match change {
            TrustChange::DefectIssuer => Ok(vec![self.empty_list(&line.signer)?]),
            _ => Ok(Vec::new()),
        }
    }

    fn trust(&self, change: TrustChange, line: &Line) -> Result<Option<Vec<CertificateDer<'static>>>, ForgeError> {
        let root = self.root.certificate.clone();
        let intermediate = self.intermediate.certificate.clone();
        Ok(Some(match change {
            TrustChange::Usual => return Ok(None),
            TrustChange::RootOnly => vec![root],
            TrustChange::DefectIssuer => vec![root, line.signer.certificate.clone()],
            TrustChange::ExpiredRoot => vec![self.expired_root()?, intermediate],
        }))
    }
}

/// What the registry must hold, and so the CRLs and the OCSP responder say.
fn entries(recipe: &Recipe, leaf: &CertificateDer<'static>, line: &Line) -> Vec<Entry> {
    let standing = match recipe.revocation {
        RevocationChange::Good => Standing::Good,
        RevocationChange::Revoked => Standing::Revoked(RevocationReason::KeyCompromise),
        RevocationChange::OnHold => Standing::Revoked(RevocationReason::CertificateHold),
        RevocationChange::Released => Standing::Released,
    };
    let entry = |certificate: &CertificateDer<'static>, issuer, standing| Entry {
        certificate: certificate.clone(),
        issuer,
        standing,
    };
    match recipe.issuer {
        IssuerChange::Intermediate => vec![entry(leaf, Issuer::Intermediate, standing)],
        IssuerChange::Revoked => {
            let revoked = Standing::Revoked(RevocationReason::CaCompromise);
            vec![entry(&line.signer.certificate, Issuer::Root, revoked)]
        }
        _ => Vec::new(),
    }
}

/// Key usages and purposes of a profile: those of `certs/profiles.toml`.
fn usages(profile: Profile) -> (&'static [KeyUsageBit], &'static [PurposeName]) {
    use KeyUsageBit::{ContentCommitment, DigitalSignature, KeyEncipherment};
    use PurposeName::{ClientAuth, ServerAuth};
    match profile {
        Profile::ServSsl => (&[DigitalSignature, KeyEncipherment], &[ServerAuth, ClientAuth]),
        Profile::ServSslServerOnly => (&[DigitalSignature, KeyEncipherment], &[ServerAuth]),
        Profile::OrgAuthCli => (&[DigitalSignature], &[ClientAuth]),
        Profile::OrgSign => (&[ContentCommitment], &[]),
    }
}

/// Far more certificates than any chain has.
const FLOOD: usize = 30;
