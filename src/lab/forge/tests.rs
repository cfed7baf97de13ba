//! Every defect before two judges: ours, which must give the reason of the table, and `openssl verify`, which must agree with it or the
//! table says why not.

use std::sync::Arc;

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::lab::catalogue::{Catalogue, Group, Outcome, SecondJudge};
use crate::pki::{AuthorityOptions, KeyKind, TrustStore, Usage};

struct Lab {
    _folder: TempDir,
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
            _folder: folder,
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

    /// What the authority serves under the defect's fault.
    fn crls(&self, forged: &Forged) -> Vec<Vec<u8>> {
        let faults = forged.fault.map(ServiceFault::faults).unwrap_or_default();
        let publications = self.authority.publications(now(), &faults).unwrap();
        let complete = publications
            .into_iter()
            .filter(|file| file.media_type == "application/pkix-crl");
        let own = complete.filter_map(|file| file.bytes);
        own.chain(forged.lists.iter().cloned()).collect()
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
        for crl in self.crls(forged) {
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
    for key in [KeyKind::Rsa2048, KeyKind::EcdsaP256] {
        judge_all(&Lab::new(key));
    }
}

fn judge_all(lab: &Lab) {
    let catalogue = Catalogue::embedded().unwrap();
    let mut wrong = Vec::new();
    for face in Face::ALL {
        for (defect, expected) in catalogue.on(face) {
            let forged = match lab.forge.make(defect, &Lab::holder(face), face) {
                Ok(forged) => forged,
                Err(ForgeError::Impossible(_)) => continue,
                Err(error) => {
                    wrong.push(format!("{} on {face}: {error}", defect.id));
                    continue;
                }
            };
            if !matches!(forged.offer, Offer::Handshake(_))
                || defect.recipe.handshake != HandshakeChange::Right
                || defect.group == Group::Ocsp
            {
                continue;
            }
            let found = verdict_of_chain(lab, &forged, face);
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

/// `openssl verify` with the same authorities and CRLs: whether it finds the chain good.
fn openssl_finds_it_good(lab: &Lab, forged: &Forged, face: Face) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, certificates: &[CertificateDer<'_>]| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem("CERTIFICATE", certificates.iter().map(AsRef::as_ref))).unwrap();
        path
    };
    let trust = forged.trust.clone().unwrap_or_else(|| {
        let certificate = |issuer| lab.authority.certificate(issuer).clone();
        vec![certificate(Issuer::Root), certificate(Issuer::Intermediate)]
    });
    let crls = folder.path().join("crls.pem");
    let published = lab.crls(forged);
    std::fs::write(&crls, pem("X509 CRL", published.iter().map(Vec::as_slice))).unwrap();
    let mut others = forged.chain[1..].to_vec();
    others.extend_from_slice(&trust[1..]);
    let purpose = if face == Face::PeerOut {
        "sslserver"
    } else {
        "sslclient"
    };
    let output = std::process::Command::new("openssl")
        .args([
            "verify",
            "-x509_strict",
            "-crl_check_all",
            "-purpose",
            purpose,
            "-attime",
        ])
        .arg(now().as_second().to_string())
        .arg("-CAfile")
        .arg(file("root.pem", &trust[..1]))
        .arg("-untrusted")
        .arg(file("others.pem", &others))
        .arg("-CRLfile")
        .arg(&crls)
        .arg(file("leaf.pem", &forged.chain[..1]))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), said)
}

fn pem<'a>(label: &str, blocks: impl Iterator<Item = &'a [u8]>) -> String {
    use base64::Engine;
    let block = |der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    };
    blocks.map(block).collect()
}

#[test]
fn openssl_agrees_or_the_table_says_why_not() {
    let lab = Lab::new(KeyKind::Rsa2048);
    let catalogue = Catalogue::embedded().unwrap();
    let mut wrong = Vec::new();
    for face in [Face::PeerIn, Face::PeerOut] {
        for (defect, expected) in catalogue.on(face) {
            let Ok(forged) = lab.forge.make(defect, &Lab::holder(face), face) else {
                continue;
            };
            let shows = matches!(forged.offer, Offer::Handshake(_)) && !forged.chain.is_empty();
            let want = match (defect.openssl, expected) {
                (SecondJudge::Silent, _) => continue,
                (SecondJudge::Good, _) | (SecondJudge::Agrees, Outcome::Accept | Outcome::Either) => true,
                (SecondJudge::Bad, _) | (SecondJudge::Agrees, Outcome::Refuse(_) | Outcome::RefuseHandshake) => false,
            };
            assert!(shows, "{} shows no certificate: openssl = \"silent\"", defect.id);
            let (good, said) = openssl_finds_it_good(&lab, &forged, face);
            if good != want {
                let said = said.lines().find(|line| line.contains("error")).unwrap_or(&said);
                wrong.push(format!(
                    "{} on {face}: good = {good}, the table says {want}: {said}",
                    defect.id
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
