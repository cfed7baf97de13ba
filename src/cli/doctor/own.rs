//! What the one who connects brings along: the authority, the allow list, and its own certificate, judged as the other end will judge it.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

use super::report::{Report, StepId, Stop};
use super::{FaceArg, Patient};
use crate::cli::explain::differences;
use crate::clock::Clock;
use crate::identity::{Domain, SubjectDn};
use crate::pki::{
    Check, CheckId, Examination, Identity, MissingRevocation, Outcome, RevocationPolicy, TrustStore, Usage,
};
use crate::sync::{FetchOptions, Fetched, Fetcher, Validators};
use crate::trust::{AllowList, Mode};

/// What was brought and found good.
pub(super) struct Own {
    pub(super) trust: Arc<TrustStore>,
    pub(super) identity: Option<Identity>,
    pub(super) list: Option<Arc<AllowList>>,
}

impl Own {
    /// Reads every file and judges the certificate.
    pub(super) async fn read(patient: &Patient, clock: &Clock, report: &mut Report) -> Result<Self, Stop> {
        let now = clock.now();
        let trust = trust(patient, report)?;
        let list = match &patient.files.list {
            Some(from) => Some(Arc::new(list(from, (&trust, clock), report).await?)),
            None => None,
        };
        let identity = identity(patient, report)?;
        match &identity {
            Some(identity) => judge(identity, &trust, now, report)?,
            None => report.skipped(StepId::OwnCertificate, report.texts().no_certificate),
        }
        match (&identity, &list, &patient.person.domain) {
            (Some(identity), Some(list), Some(domain)) if patient.face == FaceArg::Smtp => {
                let subject = &identity.certificate().subject;
                listed((StepId::OwnListed, subject), list, domain, report)?;
            }
            _ => report.skipped(StepId::OwnListed, report.texts().no_list),
        }
        Ok(Self {
            trust: Arc::new(trust),
            identity,
            list,
        })
    }
}

fn trust(patient: &Patient, report: &mut Report) -> Result<TrustStore, Stop> {
    let texts = report.texts();
    let ca = patient.files.ca.clone().unwrap_or_default();
    let bundle = read(&ca, report)?;
    let store = TrustStore::from_pem(&bundle).map_err(|error| {
        report.failed(
            StepId::OwnCertificate,
            format!("{}: {error}", ca.display()),
            texts.fix_ca,
        )
    })?;
    let mut store = if patient.files.crl.is_empty() {
        store.with_revocation(RevocationPolicy {
            missing: MissingRevocation::Accept,
            ..RevocationPolicy::default()
        })
    } else {
        store
    };
    for path in &patient.files.crl {
        let bytes = read(path, report)?;
        let der = CertificateRevocationListDer::from_pem_slice(&bytes).map_or(bytes, |der| der.as_ref().to_vec());
        store = store.with_crl(&der).map_err(|error| {
            report.failed(
                StepId::OwnCertificate,
                format!("{}: {error}", path.display()),
                texts.fix_crl,
            )
        })?;
    }
    Ok(store)
}

fn identity(patient: &Patient, report: &mut Report) -> Result<Option<Identity>, Stop> {
    let texts = report.texts();
    let files = &patient.files;
    let read = match (&files.cert, &files.key, &files.pkcs12) {
        (Some(certificate), Some(key), _) => Identity::from_files(certificate, key),
        (_, _, Some(pkcs12)) => Identity::from_pkcs12(&read(pkcs12, report)?, &files.pkcs12_password),
        _ => return Ok(None),
    };
    let read = read.map_err(|error| report.failed(StepId::OwnCertificate, error.to_string(), texts.fix_own));
    read.map(Some)
}

fn judge(identity: &Identity, trust: &TrustStore, now: Timestamp, report: &mut Report) -> Result<(), Stop> {
    let examination = examine(trust, identity.chain(), (Usage::Client, now), report);
    let found = told(&examination, report);
    match &examination.verdict {
        Ok(_) => {
            report.passed(StepId::OwnCertificate, found);
            Ok(())
        }
        Err(refusal) => {
            let words = report.words.reason(refusal.reason);
            let remedy = format!("{} ({})", words.remedy, refusal.reason);
            Err(report.failed(StepId::OwnCertificate, found, remedy))
        }
    }
}

/// Every check of a chain. Without a revocation list nothing is known of revocation, which is no check that passed.
pub(super) fn examine(
    trust: &TrustStore,
    chain: &[CertificateDer<'_>],
    (usage, now): (Usage, Timestamp),
    report: &Report,
) -> Examination {
    let mut examination = trust.examine(chain, usage, now);
    if trust.next_crl_update().is_some() {
        return examination;
    }
    for id in [CheckId::RevocationLeaf, CheckId::RevocationIntermediate] {
        let has_passed = examination
            .check(id)
            .is_some_and(|check| check.outcome == Outcome::Passed);
        if has_passed {
            examination.set(Check::new(id, Outcome::Skipped, report.texts().no_crl));
        }
    }
    examination
}

/// The name of a certificate and how its checks went, in lines; those that nobody could make are left out.
pub(super) fn told(examination: &Examination, report: &Report) -> String {
    let mut lines: Vec<String> = examination
        .chain
        .iter()
        .take(1)
        .map(|leaf| leaf.subject.clone())
        .collect();
    let checks = examination
        .checks
        .iter()
        .filter(|check| check.id != CheckId::Certificate);
    for check in checks {
        let mark = match check.outcome {
            Outcome::Passed => '✓',
            Outcome::Failed => '✗',
            Outcome::Skipped if check.detail.is_empty() => continue,
            Outcome::Skipped => '–',
        };
        lines.push(format!(
            "{mark} {}: {}",
            report.words.check(check.id.id()),
            check.detail
        ));
    }
    lines.join("\n")
}

/// Whether the list names a subject for a domain; if not, which parts differ.
pub(super) fn listed(
    (id, subject): (StepId, &SubjectDn),
    list: &AllowList,
    domain: &Domain,
    report: &mut Report,
) -> Result<(), Stop> {
    let texts = report.texts();
    let known = list.certificates_of(domain);
    if known.contains(subject) {
        report.passed(id, format!("{domain}: {subject}"));
        return Ok(());
    }
    if known.is_empty() {
        return Err(report.failed(
            id,
            format!("{domain}: {}", report.words.texts.nothing_listed),
            texts.fix_unlisted,
        ));
    }
    let mut lines = vec![format!("{domain}: {subject}")];
    for other in known {
        let parts = differences(subject, other).into_iter().filter(|part| !part.same);
        let parts: Vec<String> = parts
            .map(|part| {
                let value = |value: Option<String>| value.unwrap_or_else(|| report.words.texts.absent.to_owned());
                format!("{} {:?} ≠ {:?}", part.kind, value(part.shown), value(part.listed))
            })
            .collect();
        lines.push(format!("≠ {other}: {}", parts.join(", ")));
    }
    Err(report.failed(id, lines.join("\n"), texts.fix_unlisted))
}

async fn list(from: &str, (trust, clock): (&TrustStore, &Clock), report: &mut Report) -> Result<AllowList, Stop> {
    let texts = report.texts();
    let bytes = if from.contains("://") {
        match fetch(from, trust, clock).await {
            Ok(bytes) => bytes,
            Err(error) => return Err(report.failed(StepId::OwnListed, format!("{error:#}"), texts.fix_list)),
        }
    } else {
        read(Path::new(from), report)?
    };
    let parsed = AllowList::parse(&bytes, Mode::Salvage);
    parsed
        .map(|parsed| parsed.list)
        .map_err(|error| report.failed(StepId::OwnListed, format!("{from}: {error}"), texts.fix_list))
}

/// A document of the authority.
pub(super) async fn fetch(url: &str, trust: &TrustStore, clock: &Clock) -> anyhow::Result<Vec<u8>> {
    let fetcher = Fetcher::new(Some(trust), clock, FetchOptions::default())?;
    match fetcher.get(url, &Validators::default()).await? {
        Fetched::Document(document) => Ok(document.bytes),
        Fetched::NotModified => anyhow::bail!("{url}: nothing was sent"),
    }
}

fn read(path: &Path, report: &mut Report) -> Result<Vec<u8>, Stop> {
    let texts = report.texts();
    std::fs::read(path).map_err(|error| {
        report.failed(
            StepId::OwnCertificate,
            format!("{}: {error}", path.display()),
            texts.fix_file,
        )
    })
}
