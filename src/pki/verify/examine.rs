//! Every check of a chain, one by one, for explanations: where [`TrustStore::verify`] stops at the first refusal, this goes on as far as
//! it can. The verdict is that of `verify`, always; what is found beside it never changes it.

use serde::{Deserialize, Serialize};

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::revoked::{Demand, Question};
use super::{Authorities, SENT_CERTIFICATES_MAX, TrustStore, Usage, UsageCheck, certificate, day, shown};
use crate::pki::certificate::MaySign;
use crate::pki::revocation::Link;
use crate::pki::{PeerCertificate, Presented};
use crate::policy::{Reason, Refusal};

/// What was shown, what was looked at, and the verdict.
#[derive(Clone, Debug)]
pub struct Examination {
    /// The certificates as shown, leaf first.
    pub chain: Vec<Presented>,
    /// Every check, in the order of [`CheckId::ALL`].
    pub checks: Vec<Check>,
    /// Exactly what [`TrustStore::verify`] says.
    pub verdict: Result<PeerCertificate, Refusal>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Which.
    pub id: CheckId,
    /// How it went.
    pub outcome: Outcome,
    /// What was found, in one line.
    pub detail: String,
}

/// What is checked. The id is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckId {
    /// A certificate was shown and can be read.
    Certificate,
    /// It was signed by the configured authority, link by link.
    Chain,
    /// Now lies between the dates of every certificate of the chain.
    Dates,
    /// Its key may sign handshakes, and it is not the certificate of an authority.
    KeyUsage,
    /// The purposes it states include this use.
    ExtendedKeyUsage,
    /// Nobody revoked it.
    RevocationLeaf,
    /// Nobody revoked an authority above it.
    RevocationIntermediate,
    /// It is the certificate of the host that was asked for. Looked at where no allow list speaks.
    HostName,
    /// Its subject is listed for the domain. Looked at by whoever knows the domain.
    AllowList,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As it must be.
    Passed,
    /// Not as it must be: with this alone the certificate is refused.
    Failed,
    /// Not looked at: something before it failed, or nobody asked.
    Skipped,
}

impl CheckId {
    /// In the order in which they are made.
    pub const ALL: [Self; 9] = [
        Self::Certificate,
        Self::Chain,
        Self::Dates,
        Self::KeyUsage,
        Self::ExtendedKeyUsage,
        Self::RevocationLeaf,
        Self::RevocationIntermediate,
        Self::HostName,
        Self::AllowList,
    ];

    /// The stable id: `extended-key-usage`.
    pub fn id(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Chain => "chain",
            Self::Dates => "dates",
            Self::KeyUsage => "key-usage",
            Self::ExtendedKeyUsage => "extended-key-usage",
            Self::RevocationLeaf => "revocation-leaf",
            Self::RevocationIntermediate => "revocation-intermediate",
            Self::HostName => "host-name",
            Self::AllowList => "allow-list",
        }
    }

    /// The check that says no for this reason; none for a reason that is not about a certificate.
    pub fn of(reason: Reason) -> Option<Self> {
        match reason {
            Reason::CertificateMissing | Reason::CertificateMalformed => Some(Self::Certificate),
            Reason::CertificateUntrusted => Some(Self::Chain),
            Reason::CertificateExpired | Reason::CertificateNotYetValid => Some(Self::Dates),
            Reason::CertificateUsage => Some(Self::KeyUsage),
            Reason::CertificateRevoked | Reason::RevocationUnknown => Some(Self::RevocationLeaf),
            Reason::SenderDomainUnlisted
            | Reason::CertificateNotForDomain
            | Reason::PeerUnlisted
            | Reason::RecipientDomainUnlisted => Some(Self::AllowList),
            _ => None,
        }
    }
}

impl std::fmt::Display for CheckId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id())
    }
}

impl Check {
    /// A check that was made.
    pub fn new(id: CheckId, outcome: Outcome, detail: impl Into<String>) -> Self {
        Self {
            id,
            outcome,
            detail: detail.into(),
        }
    }
}

impl Examination {
    /// The check of that id.
    pub fn check(&self, id: CheckId) -> Option<&Check> {
        self.checks.iter().find(|check| check.id == id)
    }

    /// Puts the outcome of a check that somebody else made in its place.
    pub fn set(&mut self, check: Check) {
        match self.checks.iter_mut().find(|held| held.id == check.id) {
            Some(held) => *held = check,
            None => self.checks.push(check),
        }
    }

    /// Puts a refusal that came after the certificate was found valid in its place: the allow list's, for instance.
    #[must_use]
    pub fn refused(mut self, refusal: Refusal) -> Self {
        if let Some(id) = CheckId::of(refusal.reason) {
            self.set(Check::new(id, Outcome::Failed, refusal.text.clone()));
        }
        self.verdict = Err(refusal);
        self
    }
}

impl TrustStore {
    /// Judges a chain as [`Self::verify`] does, and says every check by name. Not for the way of a message: it costs several times as
    /// much.
    pub fn examine(&self, chain: &[CertificateDer<'_>], usage: Usage, now: Timestamp) -> Examination {
        let verdict = self.verify(chain, usage, now);
        let mut examination = Examination {
            chain: chain
                .iter()
                .take(SENT_CERTIFICATES_MAX + 1)
                .map(Presented::of)
                .collect(),
            checks: self.checks(chain, usage, now),
            verdict,
        };
        examination.agree();
        examination
    }

    fn checks(&self, chain: &[CertificateDer<'_>], usage: Usage, now: Timestamp) -> Vec<Check> {
        let skipped = |id: &CheckId| Check::new(*id, Outcome::Skipped, "");
        let mut checks: Vec<Check> = CheckId::ALL.iter().map(skipped).collect();
        let mut say = |id: CheckId, result: Result<String, String>| {
            let (outcome, detail) = match result {
                Ok(detail) => (Outcome::Passed, detail),
                Err(detail) => (Outcome::Failed, detail),
            };
            if let Some(check) = checks.iter_mut().find(|check| check.id == id) {
                *check = Check::new(id, outcome, detail);
            }
        };
        let Some((leaf, others)) = chain.split_first() else {
            say(CheckId::Certificate, Err("no certificate was presented".to_owned()));
            return checks;
        };
        let peer = match certificate::read(leaf) {
            Ok(peer) => peer,
            Err(problem) => {
                say(CheckId::Certificate, Err(problem.to_string()));
                return checks;
            }
        };
        say(CheckId::Certificate, Ok(shown(&peer.subject)));
        let path = Path::find(&self.authorities, leaf, others);
        say(CheckId::Chain, path.said());
        say(CheckId::Dates, path.dates(now));
        say(CheckId::KeyUsage, key_usage(leaf, &peer));
        say(CheckId::ExtendedKeyUsage, path.purposes(usage, self.usage));
        if path.broken.is_none() {
            let revocation = |place| self.revocation_said(&path, place, &peer, now);
            say(CheckId::RevocationLeaf, revocation(0));
            let above: Result<Vec<_>, _> = (1..path.links.len() - 1).map(revocation).collect();
            say(CheckId::RevocationIntermediate, above.map(|said| said.join("; ")));
        }
        checks
    }

    fn revocation_said(
        &self,
        path: &Path,
        place: usize,
        peer: &PeerCertificate,
        now: Timestamp,
    ) -> Result<String, String> {
        let unreadable = |error: webpki::Error| error.to_string();
        let (certificate, issuer_der) = (&path.links[place], &path.links[place + 1]);
        let entity = EndEntityCert::try_from(certificate).map_err(unreadable)?;
        let issuer = webpki::anchor_from_trusted_cert(issuer_der).map_err(unreadable)?;
        let link = Link {
            certificate: &entity,
            is_leaf: place == 0,
            issuer: &issuer,
            issuer_der,
        };
        let question = Question {
            now,
            demand: Demand::Usable,
            staple: &[],
        };
        self.judge_revocation(&link, peer, &question)
            .map(str::to_owned)
            .map_err(|refusal| refusal.text)
    }
}

impl Examination {
    /// The verdict decides: the check that it names has failed, and after a good one none has.
    fn agree(&mut self) {
        match &self.verdict {
            // Tests find none; should there be one, it has not decided anything.
            Ok(_) => self
                .checks
                .iter_mut()
                .filter(|check| check.outcome == Outcome::Failed)
                .for_each(|check| check.outcome = Outcome::Skipped),
            Err(refusal) => {
                let candidates: &[CheckId] = match refusal.reason {
                    Reason::CertificateUsage => &[CheckId::KeyUsage, CheckId::ExtendedKeyUsage],
                    Reason::CertificateRevoked | Reason::RevocationUnknown => {
                        &[CheckId::RevocationLeaf, CheckId::RevocationIntermediate]
                    }
                    reason => &CheckId::of(reason).map_or([CheckId::Certificate], |id| [id]),
                };
                let failed = |check: &Check| candidates.contains(&check.id) && check.outcome == Outcome::Failed;
                if !self.checks.iter().any(failed) {
                    let check = Check::new(candidates[0], Outcome::Failed, refusal.text.clone());
                    self.set(check);
                }
            }
        }
    }
}

/// From the leaf to a root, as far as the names and signatures lead.
struct Path {
    /// The leaf first; the root last, when it was reached.
    links: Vec<CertificateDer<'static>>,
    /// Why no root was reached.
    broken: Option<String>,
}

impl Path {
    fn find(authorities: &Authorities, leaf: &CertificateDer<'_>, sent: &[CertificateDer<'_>]) -> Self {
        let roots = &authorities.all[..authorities.anchors.len()];
        let owned: Vec<CertificateDer<'static>> = sent.iter().map(|der| der.clone().into_owned()).collect();
        let intermediates = match authorities.intermediates.as_slice() {
            [] => owned.as_slice(),
            configured => configured,
        };
        let mut path = Self {
            links: vec![leaf.clone().into_owned()],
            broken: None,
        };
        while path.links.len() <= PATH_MAX {
            match path.next(roots, intermediates) {
                Ok((issuer, is_root)) => {
                    let is_short = path.links.len() == 1 && !authorities.intermediates.is_empty();
                    path.links.push(issuer);
                    if is_root {
                        path.broken = is_short.then(|| "it was issued by the root itself".to_owned());
                        return path;
                    }
                }
                Err(broken) => {
                    path.broken = Some(broken);
                    return path;
                }
            }
        }
        path.broken = Some(format!("no root after {PATH_MAX} certificates"));
        path
    }

    /// Who issued the last link, and whether that is a root.
    fn next(
        &self,
        roots: &[CertificateDer<'static>],
        intermediates: &[CertificateDer<'static>],
    ) -> Result<(CertificateDer<'static>, bool), String> {
        let last = self.links.last().ok_or_else(|| "no certificate".to_owned())?;
        let parsed = certificate::parse(last).map_err(|problem| problem.to_string())?;
        let issuer = certificate::name(parsed.issuer(), "issuer").map_err(|problem| problem.to_string())?;
        let known = roots.iter().map(|der| (der, true));
        let known = known.chain(intermediates.iter().map(|der| (der, false)));
        let mut named = false;
        for (der, is_root) in known {
            let Ok(candidate) = certificate::parse(der) else {
                continue;
            };
            if candidate.subject().as_raw() != parsed.issuer().as_raw() {
                continue;
            }
            named = true;
            if signed_by(&parsed, der) {
                return Ok((der.clone(), is_root));
            }
        }
        let whose = if self.links.len() == 1 {
            "it"
        } else {
            "an authority above it"
        };
        Err(if named {
            format!(
                "{whose} names {} as its issuer, whose key did not sign it, or not with an accepted algorithm",
                shown(&issuer)
            )
        } else {
            format!(
                "{whose} was issued by {}, which is not one of our authorities",
                shown(&issuer)
            )
        })
    }

    fn said(&self) -> Result<String, String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let names = self.links.iter().skip(1).filter_map(|der| certificate::read(der).ok());
        let names: Vec<String> = names.map(|read| shown(&read.subject)).collect();
        Ok(format!("issued by {}", names.join(", below ")))
    }

    /// A root's start does not count: whoever configured it decided when.
    fn dates(&self, now: Timestamp) -> Result<String, String> {
        let mut first_end = None;
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        for (place, link) in self.links.iter().enumerate() {
            let Ok(read) = certificate::read(link) else { continue };
            let is_root = self.broken.is_none() && place + 1 == self.links.len();
            let name = shown(&read.subject);
            if now > read.not_after {
                return Err(format!("{name} expired on {}", day(read.not_after)));
            }
            if now < read.not_before && !is_root {
                return Err(format!("{name} is not valid before {}", day(read.not_before)));
            }
            first_end = Some(first_end.map_or(read.not_after, |end: Timestamp| end.min(read.not_after)));
        }
        Ok(first_end
            .map(|end| format!("valid until {}", day(end)))
            .unwrap_or_default())
    }

    /// The purposes of every certificate below the root: an authority that states some limits what it issues.
    fn purposes(&self, usage: Usage, check: UsageCheck) -> Result<String, String> {
        let below = self.links.len() - usize::from(self.broken.is_none());
        for link in self.links.iter().take(below) {
            let presented = Presented::of(link);
            let stated = &presented.extended_key_usage;
            if !stated.is_empty() && !check.fits(usage, stated) {
                return Err(format!(
                    "{} states {}, {} is needed",
                    presented.subject,
                    stated.join(", "),
                    check.expected(usage)
                ));
            }
        }
        let leaf = self.links.first().map(Presented::of).unwrap_or_default();
        Ok(match leaf.extended_key_usage.as_slice() {
            [] => "none stated, so any".to_owned(),
            stated => stated.join(", "),
        })
    }
}

fn key_usage(leaf: &CertificateDer<'_>, peer: &PeerCertificate) -> Result<String, String> {
    let presented = Presented::of(leaf);
    let stated = match presented.key_usage.as_slice() {
        [] => "none stated, so any".to_owned(),
        stated => stated.join(", "),
    };
    if presented.is_authority {
        return Err("it is the certificate of an authority".to_owned());
    }
    if peer.may_sign < MaySign::Handshakes {
        return Err(format!("{stated}: digitalSignature is needed"));
    }
    Ok(stated)
}

/// Whether `issuer`'s key made the signature, with an algorithm that is accepted.
fn signed_by(certificate: &x509_parser::certificate::X509Certificate<'_>, issuer: &CertificateDer<'_>) -> bool {
    let Ok(issuer) = EndEntityCert::try_from(issuer) else {
        return false;
    };
    let (message, signature) = (
        certificate.tbs_certificate.as_ref(),
        certificate.signature_value.data.as_ref(),
    );
    webpki::ALL_VERIFICATION_ALGS
        .iter()
        .any(|algorithm| issuer.verify_signature(*algorithm, message, signature).is_ok())
}

/// Certificates between a leaf and its root, at most.
const PATH_MAX: usize = 8;
