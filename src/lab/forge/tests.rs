//! Every defect before two judges: ours, which must give the reason of the table, and `openssl verify`, which must agree with it or the
//! table says why not.

use std::sync::Arc;

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::lab::catalogue::{Catalogue, Outcome};
use crate::pki::{AuthorityOptions, KeyKind, TrustStore, Usage};

struct Lab {
    folder: TempDir,
    authority: Arc<Authority>,
    forge: Forge,
}

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

impl Lab {
    fn new(key: KeyKind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = AuthorityOptions {
            base_url: "http://127.0.0.1:8080".to_owned(),
            key: Some(key),
            ..AuthorityOptions::default()
        };
        // An authority older than what it signs: some defects begin in the past.
        let birth = now() - SignedDuration::from_hours(24 * 1000);
        let authority = Arc::new(Authority::create_or_open(&folder.path().join("authority"), options, birth).unwrap());
        let forge = Forge::new(authority.clone(), now()).unwrap();
        Self {
            folder,
            authority,
            forge,
        }
    }

    fn holder(face: Face) -> Holder {
        let (text, name) = match face {
            Face::PeerIn | Face::PeerOut => (
                "CN=mx.ehpad-lilas.mssante.fr,OU=1690000017,O=EHPAD LES LILAS,ST=Rhône (69),C=FR",
                "dns:mx.ehpad-lilas.mssante.fr",
            ),
            Face::Submission | Face::Imap => (
                "CN=DUI LOGICIEL,OU=1690000017,O=EHPAD LES LILAS,ST=Rhône (69),C=FR",
                "mail:soins@ehpad-lilas.mssante.fr",
            ),
        };
        Holder {
            subject: text.parse().unwrap(),
            names: vec![name.to_owned()],
        }
    }

    fn crls(&self) -> [Vec<u8>; 2] {
        [Issuer::Root, Issuer::Intermediate].map(|issuer| self.authority.crl(issuer, now()).unwrap())
    }

    fn store(&self, forged: &Forged) -> TrustStore {
        let (roots, intermediates) = match &forged.trust {
            Some(trust) => (trust[..1].to_vec(), trust[1..].to_vec()),
            None => (
                vec![self.authority.certificate(Issuer::Root).clone()],
                vec![self.authority.certificate(Issuer::Intermediate).clone()],
            ),
        };
        let mut store = TrustStore::new(roots, intermediates).unwrap();
        for crl in self.crls() {
            // A CRL of an authority that this store does not know is no use to it.
            store = store.with_crl(&crl).unwrap_or(store);
        }
        store
    }
}

/// What the chain alone deserves; `None` when the chain is not what is wrong.
fn verdict_of_chain(lab: &Lab, forged: &Forged, face: Face) -> Result<(), crate::policy::Reason> {
    let usage = if face == Face::PeerOut {
        Usage::Server
    } else {
        Usage::Client
    };
    let peer = lab
        .store(forged)
        .verify(&forged.chain, usage, now())
        .map_err(|refusal| refusal.reason)?;
    if peer.subject == forged.listed {
        return Ok(());
    }
    Err(match face {
        Face::PeerIn | Face::PeerOut => crate::policy::Reason::CertificateNotForDomain,
        Face::Submission | Face::Imap => crate::policy::Reason::CertificateNotBound,
    })
}

#[test]
fn every_chain_is_refused_for_the_reason_of_the_table() {
    let lab = Lab::new(KeyKind::EcdsaP256);
    let catalogue = Catalogue::embedded().unwrap();
    let mut wrong = Vec::new();
    for face in Face::ALL {
        for (defect, expected) in catalogue.on(face) {
            let forged = match lab.forge.make(defect, &Lab::holder(face), face) {
                Ok(forged) => forged,
                Err(error) => {
                    wrong.push(format!("{} on {face}: {error}", defect.id));
                    continue;
                }
            };
            if !matches!(forged.offer, Offer::Handshake(_)) || defect.recipe.handshake != HandshakeChange::Right {
                continue;
            }
            let found = verdict_of_chain(&lab, &forged, face);
            let fits = match expected {
                Outcome::Accept => found.is_ok(),
                Outcome::Refuse(reason) => found == Err(*reason),
                Outcome::RefuseHandshake | Outcome::Either => true,
            };
            if !fits {
                wrong.push(format!("{} on {face}: {found:?}, expected {expected}", defect.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
