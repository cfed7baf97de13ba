//! What each audit peer presents: made once, kept in the data folder, found again. Made by the process that holds the authority, since a
//! revocation must enter its registry.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::audit::{AuditPeer, DEPARTMENT, Party};
use crate::pki::{
    self, Authority, AuthorityError, AuthorityOptions, FileError, Identity, IdentityError, Issued, KeyKind, Names,
    Profile, Request, RevocationReason, Subject,
};

/// Why an audit peer has nothing to present.
#[derive(Debug, thiserror::Error)]
pub enum AuditMaterialError {
    /// The authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate or key file that was changed by hand.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Files of the audit peers.
#[derive(Clone, Debug)]
pub struct AuditFolder {
    root: PathBuf,
}

impl AuditFolder {
    /// The folder of a data folder.
    pub fn of(data: &Path) -> Self {
        Self {
            root: data.join("audit"),
        }
    }

    /// Certificate and key of a peer.
    pub fn peer(&self, peer: AuditPeer) -> (PathBuf, PathBuf) {
        let folder = self.root.join(peer.id());
        (folder.join("cert.pem"), folder.join("key.pem"))
    }

    /// Mail that a peer received.
    pub fn received(&self, peer: AuditPeer) -> PathBuf {
        self.root.join(peer.id()).join("received")
    }

    /// What the peers saw, a JSON line each.
    pub fn visits(&self) -> PathBuf {
        self.root.join("visits.jsonl")
    }

    /// What a peer presents; none for the one without TLS.
    ///
    /// # Errors
    /// It was not made, or its files were changed.
    pub fn identity(&self, peer: AuditPeer) -> Result<Option<Identity>, IdentityError> {
        if peer == AuditPeer::SansTls {
            return Ok(None);
        }
        let (certificate, key) = self.peer(peer);
        Identity::from_files(&certificate, &key).map(Some)
    }

    /// Makes what is missing or about to end.
    ///
    /// # Errors
    /// See [`AuditMaterialError`].
    pub fn make(&self, authority: &Authority, now: Timestamp) -> Result<(), AuditMaterialError> {
        pki::private_folder(&self.root)?;
        for peer in AuditPeer::ALL {
            pki::private_folder(&self.root.join(peer.id()))?;
            pki::private_folder(&self.received(peer))?;
            if peer != AuditPeer::SansTls && !self.is_good(authority, peer, now) {
                self.issue(authority, peer, now)?;
            }
        }
        Ok(())
    }

    /// Whether the files of a peer are still wrong in the right way.
    fn is_good(&self, authority: &Authority, peer: AuditPeer, now: Timestamp) -> bool {
        let Ok(Some(identity)) = self.identity(peer) else {
            return false;
        };
        let held = identity.certificate();
        let record = authority
            .issued()
            .into_iter()
            .find(|record| record.serial == held.serial);
        let lasts = now.saturating_add(RENEW_BEFORE).is_ok_and(|soon| held.not_after > soon);
        match peer {
            AuditPeer::CertNonIgc => record.is_none() && lasts,
            AuditPeer::CertExpire => record.is_some() && held.not_after < now,
            AuditPeer::CertRevoque => record.is_some_and(|record| record.revocation.is_some()) && lasts,
            _ => record.is_some_and(|record| record.revocation.is_none()) && lasts,
        }
    }

    fn issue(&self, authority: &Authority, peer: AuditPeer, now: Timestamp) -> Result<(), AuditMaterialError> {
        let issued = match peer {
            AuditPeer::CertExpire => {
                let then = now.saturating_sub(ISSUED_BEFORE).unwrap_or(now);
                let request = Request {
                    validity_days: Some(EXPIRED_DAYS),
                    ..request(peer)
                };
                authority.issue(&request, then)?
            }
            AuditPeer::CertNonIgc => self.foreign(now)?.issue(&request(peer), now)?,
            _ => authority.issue(&request(peer), now)?,
        };
        if peer == AuditPeer::CertRevoque {
            authority.revoke(&issued.serial, RevocationReason::KeyCompromise, now)?;
        }
        self.write(peer, &issued)
    }

    /// The authority of nobody's space; its certificates have the names of ours, since a name proves nothing.
    fn foreign(&self, now: Timestamp) -> Result<Authority, AuthorityError> {
        let options = AuthorityOptions {
            base_url: "http://127.0.0.1:9".to_owned(),
            key: Some(KeyKind::EcdsaP256),
            ..AuthorityOptions::default()
        };
        Authority::create_or_open(&self.root.join("foreign-authority"), options, now)
    }

    fn write(&self, peer: AuditPeer, issued: &Issued) -> Result<(), AuditMaterialError> {
        let (certificate, key) = self.peer(peer);
        pki::write_private(&key, issued.key_pem().as_bytes())?;
        pki::write_public(&certificate, issued.chain_pem().as_bytes())?;
        Ok(())
    }
}

/// What a peer presents differs from what is listed where that is the fault.
fn request(peer: AuditPeer) -> Request {
    let (common_name, party) = match peer {
        AuditPeer::CertNoMatch => ("mx.societe-inconnue.localhost".to_owned(), Party::Stranger),
        AuditPeer::CertCnDiffDn => (peer.host(), Party::Hosting),
        _ => (peer.host(), peer.listed()),
    };
    let (structure, organisation) = party.structure();
    Request {
        profile: Profile::ServSsl,
        subject: Subject {
            common_name,
            structure: structure.to_owned(),
            organisation: organisation.to_owned(),
            state: DEPARTMENT.to_owned(),
            country: "FR".to_owned(),
        },
        names: Names {
            dns: vec!["localhost".to_owned()],
            ip: vec![std::net::IpAddr::from([127, 0, 0, 1])],
            ..Names::default()
        },
        key: Some(KeyKind::Rsa2048),
        validity_days: None,
    }
}

/// A certificate that ends within this time is made anew.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// When the expired one was issued, before now.
const ISSUED_BEFORE: SignedDuration = SignedDuration::from_hours(400 * 24);
/// For how long it was good.
const EXPIRED_DAYS: u32 = 365;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SubjectDn;
    use crate::pki::{Issuer, TrustStore, Usage};
    use crate::policy::Reason;

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn authority(folder: &Path) -> Authority {
        let options = AuthorityOptions {
            base_url: "http://127.0.0.1:1".to_owned(),
            key: Some(KeyKind::EcdsaP256),
            ..AuthorityOptions::default()
        };
        Authority::create_or_open(folder, options, now()).unwrap()
    }

    #[test]
    fn each_peer_presents_what_its_name_says_and_finds_it_again() {
        let data = tempfile::tempdir().unwrap();
        let authority = authority(&data.path().join("authority"));
        let folder = AuditFolder::of(data.path());
        folder.make(&authority, now()).unwrap();
        let crl = |issuer| authority.crl(issuer, now()).unwrap();
        let store = TrustStore::from_pem(pki::trust_bundle(&authority).as_bytes())
            .unwrap()
            .with_crl(&crl(Issuer::Root))
            .unwrap()
            .with_crl(&crl(Issuer::Intermediate))
            .unwrap();
        let verdict = |peer| {
            let identity = folder.identity(peer).unwrap().unwrap();
            let judged = store.verify(identity.chain(), Usage::Client, now());
            judged.map(|peer| peer.subject).map_err(|refusal| refusal.reason)
        };
        let listed = |peer: AuditPeer| peer.listed_subject().parse::<SubjectDn>().unwrap();
        let valid = verdict(AuditPeer::CertValide).unwrap();
        assert_eq!(valid, listed(AuditPeer::CertValide));
        assert_eq!(verdict(AuditPeer::CertExpire).unwrap_err(), Reason::CertificateExpired);
        assert_eq!(verdict(AuditPeer::CertRevoque).unwrap_err(), Reason::CertificateRevoked);
        assert_eq!(
            verdict(AuditPeer::CertNonIgc).unwrap_err(),
            Reason::CertificateUntrusted
        );
        for peer in [AuditPeer::CertExpire, AuditPeer::CertRevoque, AuditPeer::CertNonIgc] {
            let presented = folder.identity(peer).unwrap().unwrap();
            assert_eq!(
                presented.certificate().subject,
                listed(peer),
                "nothing but {peer} is wrong"
            );
        }
        let stranger = verdict(AuditPeer::CertNoMatch).unwrap();
        assert!(AuditPeer::ALL.iter().all(|peer| listed(*peer) != stranger));
        let other = verdict(AuditPeer::CertCnDiffDn).unwrap();
        let named = listed(AuditPeer::CertCnDiffDn);
        assert!(other != named && other.common_name() == named.common_name());
        assert!(folder.identity(AuditPeer::SansTls).unwrap().is_none());

        let before: Vec<_> = AuditPeer::ALL
            .iter()
            .map(|peer| std::fs::read(folder.peer(*peer).0).ok())
            .collect();
        folder.make(&authority, now()).unwrap();
        let after: Vec<_> = AuditPeer::ALL
            .iter()
            .map(|peer| std::fs::read(folder.peer(*peer).0).ok())
            .collect();
        assert_eq!(before, after);
    }
}
