//! Orders to the authority: issue, renew, revoke, release and show certificates; play faults of its services.
//!
//! Keys are written to the folder that the order names, never into an answer.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::keeper::{InForce, Keeper};
use super::order::{Answer, Order, OrderError};
use crate::identity::SubjectDn;
use crate::pki::{
    self, Authority, CertificateRecord, Chain, Fault, Faults, Issuer, KeyKind, Names, Profile, Request, Revocation,
    RevocationReason, Revoked, Service, SigningRequest, SubjectParts,
};
use crate::trust::{AllowList, Mode};

/// A certificate to issue, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewCertificate {
    /// Profile, by its name.
    pub profile: String,
    /// CN; from the request when there is one.
    pub common_name: Option<String>,
    /// OU.
    pub structure: Option<String>,
    /// O.
    pub organisation: Option<String>,
    /// ST.
    pub department: Option<String>,
    /// C.
    pub country: Option<String>,
    /// Alternative names.
    pub dns: Vec<String>,
    /// Alternative names.
    pub mail: Vec<String>,
    /// Alternative names.
    pub ip: Vec<std::net::IpAddr>,
    /// Kind of key, by its name; none for the profile's.
    pub key: Option<String>,
    /// Validity in days; none for the profile's.
    pub days: Option<u32>,
    /// The bytes of a PKCS#10 request, PEM or DER.
    pub signing_request: Option<Vec<u8>>,
    /// Folder for the files, absolute.
    pub folder: String,
    /// Password of the PKCS#12 file.
    pub password: String,
    /// From the chain that this space refuses.
    pub other_chain: bool,
}

/// Which certificates to show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertFilter {
    /// Of this profile.
    pub profile: Option<String>,
    /// Whose subject contains this, in any case.
    pub subject: Option<String>,
    /// `valid`, `revoked`, `expired`.
    pub state: Option<String>,
    /// That end within so many days.
    pub ends_within_days: Option<u32>,
}

/// Carries one of these orders out.
pub(super) fn execute(keeper: &Keeper, in_force: &InForce, order: Order) -> Result<Answer, OrderError> {
    let answer = match order {
        Order::CertIssue(new) => issue(keeper, &new),
        Order::CertRevoke { which, reason, at } => revoke(keeper, &which, &reason, at.as_deref()),
        Order::CertRelease { which } => release(keeper, &which),
        Order::CertList(filter) => list(keeper, &filter),
        Order::CertStatus { which, subject } => Ok(status(keeper, in_force, &which, subject.as_deref())),
        Order::AuthorityFault { service, fault } => set_fault(keeper, service.as_deref(), fault.as_deref()),
        Order::AuthorityFaults => Ok(show_faults(**keeper.authority().faults().load())),
        _ => Err(OrderError::Refused("not an order to the authority".to_owned())),
    }?;
    // Revocations and faults are published, and judged by, at once.
    keeper.renew(in_force)?;
    Ok(answer)
}

fn issue(keeper: &Keeper, new: &NewCertificate) -> Result<Answer, OrderError> {
    let now = keeper.now();
    let twin;
    let authority: &Authority = if new.other_chain {
        twin = keeper.authority().twin(now)?;
        &twin
    } else {
        keeper.authority()
    };
    let signing_request = new.signing_request.as_deref().map(SigningRequest::read).transpose()?;
    let request = request_of(new, signing_request.as_ref())?;
    let folder = Path::new(&new.folder);
    let (chain, root, key) = if let Some(signing_request) = &signing_request {
        let certified = authority.sign_request(&request, signing_request, now)?;
        (certified.chain, certified.root, None)
    } else {
        let issued = authority.issue(&request, now)?;
        let file = pki::pkcs12(&issued, &request.subject.common_name, &new.password).map_err(refused)?;
        let key = issued.key_pem().to_owned();
        (issued.chain, issued.root, Some((key, file)))
    };
    write(folder, &chain, &root, key)?;
    Ok(issued_answer("issued", authority.chain(), &chain, folder))
}

fn request_of(new: &NewCertificate, signing_request: Option<&SigningRequest>) -> Result<Request, OrderError> {
    let profile = by_name(&Profile::ALL, Profile::name, "profile", &new.profile)?;
    let typed = SubjectParts {
        common_name: new.common_name.clone(),
        structure: new.structure.clone(),
        organisation: new.organisation.clone(),
        state: new.department.clone(),
        country: new.country.clone(),
    };
    let asked = signing_request
        .map(|request| request.subject.clone())
        .unwrap_or_default();
    let subject = typed.or(asked).complete().map_err(|missing| {
        let options: Vec<&str> = missing.iter().map(|part| option_of(part)).collect();
        OrderError::Refused(format!(
            "the subject has no {}: every certificate of the field has C, ST, O, OU and CN; give {}",
            missing.join(", "),
            options.join(" ")
        ))
    })?;
    let typed = Names {
        dns: new.dns.clone(),
        rfc822: new.mail.clone(),
        ip: new.ip.clone(),
    };
    let names = match signing_request {
        Some(request) if typed == Names::default() => request.names.clone(),
        _ => typed,
    };
    let key = new
        .key
        .as_deref()
        .map(|key| by_name(&KeyKind::ALL, KeyKind::name, "kind of key", key));
    Ok(Request {
        profile,
        subject,
        names,
        key: key.transpose()?,
        validity_days: new.days,
    })
}

fn option_of(part: &str) -> &'static str {
    match part {
        "CN" => "--cn",
        "OU" => "--structure",
        "O" => "--organisation",
        _ => "--department",
    }
}

/// The key first: a certificate without its key is of no use.
pub(super) fn write(
    folder: &Path,
    chain: &[CertificateDer<'static>],
    root: &CertificateDer<'static>,
    key: Option<(String, Vec<u8>)>,
) -> Result<(), OrderError> {
    if !folder.exists() {
        pki::private_folder(folder)?;
    }
    if let Some((key, pkcs12)) = key {
        pki::write_private(&folder.join("key.pem"), key.as_bytes())?;
        pki::write_private(&folder.join("cert.p12"), &pkcs12)?;
    }
    pki::write_public(&folder.join("cert.pem"), pki::pem(chain).as_bytes())?;
    let authorities: Vec<CertificateDer<'static>> = [root].into_iter().chain(chain.get(1)).cloned().collect();
    Ok(pki::write_public(
        &folder.join("ca.pem"),
        pki::pem(&authorities).as_bytes(),
    )?)
}

pub(super) fn issued_answer(
    done: &str,
    chain: Chain,
    certificates: &[CertificateDer<'static>],
    folder: &Path,
) -> Answer {
    let shown = certificates.first().map(pki::Presented::of).unwrap_or_default();
    let until = shown.not_after.map(|at| at.to_string()).unwrap_or_default();
    let text = format!(
        "{done}: {}\n  serial {}, {}, until {until}, chain {}\n  files in {}\n",
        shown.subject,
        shown.serial,
        shown.key,
        chain_name(chain),
        folder.display()
    );
    let data = json!({
        "serial": shown.serial, "subject": shown.subject, "not_after": until, "chain": chain_name(chain),
        "folder": folder.display().to_string(),
    });
    Answer::new(text, data)
}

fn revoke(keeper: &Keeper, which: &str, reason: &str, at: Option<&str>) -> Result<Answer, OrderError> {
    let now = keeper.now();
    let reason = by_name(&RevocationReason::ALL, RevocationReason::name, "reason", reason)?;
    let at = match at {
        None => now,
        Some(text) => text
            .parse()
            .map_err(|_| OrderError::Refused(format!("{text:?} is not a moment; write it as 2026-11-21T10:00:00Z")))?,
    };
    let record = find(keeper.authority(), which, now)?;
    let outcome = keeper
        .authority()
        .revoke_since(&record.serial, Revocation { at, reason }, now)?;
    let said = match outcome {
        Revoked::Now if reason == RevocationReason::CertificateHold => "put on hold".to_owned(),
        Revoked::Now => format!("revoked ({})", reason.name()),
        Revoked::AfterHold(hold) => format!("revoked for good ({}); it was on hold since {}", reason.name(), hold.at),
        Revoked::Before(first) => format!(
            "was revoked already on {} ({}): nothing has changed",
            first.at,
            first.reason.name()
        ),
    };
    let text = format!("{} {said}\n  {}\n", record.serial, record.subject);
    let changed = !matches!(outcome, Revoked::Before(_));
    let data =
        json!({ "serial": record.serial, "subject": record.subject, "changed": changed, "reason": reason.name() });
    Ok(Answer::new(text, data))
}

fn release(keeper: &Keeper, which: &str) -> Result<Answer, OrderError> {
    let record = find(keeper.authority(), which, keeper.now())?;
    keeper.authority().release(&record.serial, keeper.now())?;
    let text = format!("{} is off hold and good again\n  {}\n", record.serial, record.subject);
    Ok(Answer::new(
        text,
        json!({ "serial": record.serial, "subject": record.subject }),
    ))
}

/// The certificate meant by a serial number, a subject DN or a CN. Several certificates of one subject are told apart by their serial
/// numbers, unless one alone is still good.
pub(super) fn find(authority: &Authority, which: &str, now: Timestamp) -> Result<CertificateRecord, OrderError> {
    if let Some(record) = authority.record(which) {
        return Ok(record);
    }
    let all = named(authority, which);
    let good = |record: &&CertificateRecord| state_of(record, now) == "valid";
    let mut chosen: Vec<&CertificateRecord> = all.iter().filter(good).collect();
    if chosen.is_empty() {
        chosen = all.iter().collect();
    }
    match chosen.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(OrderError::Refused(format!(
            "no certificate {which:?} was issued here: give a serial number, a subject or a CN; see: vaguemestre cert list"
        ))),
        several => Err(OrderError::Refused(format!(
            "{} certificates are named {which:?}; give the serial number of one: {}",
            several.len(),
            several
                .iter()
                .map(|record| record.serial.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ))),
    }
}

/// The certificates with this subject DN or CN.
pub(super) fn named(authority: &Authority, which: &str) -> Vec<CertificateRecord> {
    let subject: Option<SubjectDn> = which.parse().ok();
    let names = |record: &CertificateRecord| {
        let own: Option<SubjectDn> = record.subject.parse().ok();
        let same_name = own.as_ref().and_then(SubjectDn::common_name) == Some(which);
        same_name || (subject.is_some() && own == subject)
    };
    authority.issued().into_iter().filter(names).collect()
}

fn list(keeper: &Keeper, filter: &CertFilter) -> Result<Answer, OrderError> {
    let now = keeper.now();
    let profile = filter
        .profile
        .as_deref()
        .map(|name| by_name(&Profile::ALL, Profile::name, "profile", name));
    let profile = profile.transpose()?;
    let state = filter
        .state
        .as_deref()
        .map(|name| by_name(&STATES, |state| state, "state", name));
    let state = state.transpose()?;
    let wanted = |record: &CertificateRecord| {
        let subject = filter.subject.as_ref();
        let ends = filter
            .ends_within_days
            .map(|days| SignedDuration::from_hours(24 * i64::from(days)));
        profile.is_none_or(|profile| record.profile == Some(profile))
            && state.is_none_or(|state| state_of(record, now) == state)
            && subject.is_none_or(|text| record.subject.to_lowercase().contains(&text.to_lowercase()))
            && ends.is_none_or(|ends| record.not_after > now && now.duration_until(record.not_after) <= ends)
    };
    let records: Vec<CertificateRecord> = keeper.authority().issued().into_iter().filter(wanted).collect();
    let mut text = String::new();
    for record in &records {
        let profile = record.profile.map_or("authority", Profile::name);
        let why = record
            .revocation
            .map(|revocation| format!(" ({}, {})", revocation.reason.name(), revocation.at));
        text.push_str(&format!(
            "{}  {:<20}  {:<7}  until {}  {}{}\n",
            record.serial,
            profile,
            state_of(record, now),
            record.not_after.strftime("%Y-%m-%d"),
            record.subject,
            why.unwrap_or_default()
        ));
    }
    if records.is_empty() {
        text.push_str("no such certificate\n");
    }
    let data = records.iter().map(|record| {
        let mut value = serde_json::to_value(record).unwrap_or(Value::Null);
        value["state"] = Value::from(state_of(record, now));
        value
    });
    Ok(Answer::new(text, Value::Array(data.collect())))
}

fn status(keeper: &Keeper, in_force: &InForce, which: &str, subject: Option<&str>) -> Answer {
    let now = keeper.now();
    let authority = keeper.authority();
    let record = find(authority, which, now).ok();
    let subject = record.as_ref().map(|record| record.subject.as_str()).or(subject);
    let subject: Option<SubjectDn> = subject.and_then(|subject| subject.parse().ok());
    let named = |list: &AllowList| {
        let domains = subject
            .as_ref()
            .map(|subject| list.domains_of(subject))
            .unwrap_or_default();
        domains.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let domains = in_force.made.as_ref().map(|made| named(made.allow_list())).or_else(|| {
        let xml = std::fs::read(keeper.layout().allow_list()).ok()?;
        let parsed = AllowList::parse(&xml, Mode::Salvage).ok()?;
        Some(named(&parsed.list))
    });
    let mut text = String::new();
    match &record {
        Some(record) => {
            let state = state_of(record, now);
            let why = record
                .revocation
                .map(|why| format!(" since {} ({})", why.at, why.reason.name()));
            text.push_str(&format!(
                "authority   issued here, {state}{}\n",
                why.unwrap_or_default()
            ));
        }
        None => text.push_str("authority   not issued by this space's authority, or by the other of its two chains\n"),
    }
    match domains.as_deref() {
        None => text.push_str("allow list  there is none yet\n"),
        Some([]) => text.push_str("allow list  its subject is not listed: no domain may be spoken for with it\n"),
        Some(domains) => {
            text.push_str(&format!("allow list  listed for {}\n", domains.join(", ")));
        }
    }
    let certificate = record
        .as_ref()
        .and_then(|record| authority.issued_certificate(&record.serial));
    let data = json!({
        "chain": chain_name(authority.chain()),
        "state": record.as_ref().map(|record| state_of(record, now)),
        "record": record,
        "domains": domains,
        "pem": certificate.map(|leaf| pki::pem(&[leaf, authority.certificate(Issuer::Intermediate).clone()])),
    });
    Answer::new(text, data)
}

pub(super) fn state_of(record: &CertificateRecord, now: Timestamp) -> &'static str {
    match record.revocation {
        Some(_) => "revoked",
        None if record.not_after <= now => "expired",
        None => "valid",
    }
}

fn set_fault(keeper: &Keeper, service: Option<&str>, fault: Option<&str>) -> Result<Answer, OrderError> {
    let fault: Option<Fault> = fault.map(str::parse).transpose().map_err(refused)?;
    let services = match service {
        Some(service) => vec![service.parse::<Service>().map_err(refused)?],
        None => Service::ALL.to_vec(),
    };
    let before = **keeper.authority().faults().load();
    let after = services
        .into_iter()
        .fold(before, |faults, service| faults.with(service, fault));
    keeper.authority().set_faults(after)?;
    Ok(show_faults(after))
}

fn show_faults(faults: Faults) -> Answer {
    let mut text = String::new();
    for service in Service::ALL {
        let said = match faults.of(service) {
            None => "as it should be".to_owned(),
            Some(fault) => format!("{fault}: {}", fault.meaning(service)),
        };
        text.push_str(&format!("{:<4}  {said}\n", service.name()));
    }
    Answer::new(text, json!(faults))
}

/// One of a few words, or an error that lists them.
fn by_name<T: Copy>(all: &[T], name_of: impl Fn(T) -> &'static str, what: &str, text: &str) -> Result<T, OrderError> {
    let found = all.iter().copied().find(|one| name_of(*one) == text);
    found.ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|one| name_of(*one)).collect();
        OrderError::Refused(format!("there is no {what} {text:?}; there is {}", known.join(", ")))
    })
}

fn chain_name(chain: Chain) -> &'static str {
    match chain {
        Chain::Test => "test",
        Chain::ProductionShaped => "production-shaped",
    }
}

pub(super) fn refused(error: impl std::fmt::Display) -> OrderError {
    OrderError::Refused(error.to_string())
}

const STATES: [&str; 3] = ["valid", "revoked", "expired"];
