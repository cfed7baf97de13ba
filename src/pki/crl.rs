//! Revocation lists: a complete one and a delta one per issuer (RFC 5280 §5), in one sequence of numbers that only grows.
//!
//! A revocation makes a new complete list at once. The delta list says what changed since its *base*: the complete list of the current
//! period, not the last one, so that whoever fetched at the beginning of the period can follow.

use std::collections::BTreeMap;
use std::time::Duration;

use der::Encode;
use der::asn1::{ObjectIdentifier, Uint};
use jiff::{SignedDuration, Timestamp};
use x509_cert::Version;
use x509_cert::certificate::Rfc5280;
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::dp::IssuingDistributionPoint;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, CrlReason};
use x509_cert::serial_number::SerialNumber;

use super::authority::{AuthorityError, later};
use super::create::CRL_FOLDER;
use super::extension;
use super::files;
use super::registry::{BaseState, CertificateRecord, CrlState, ListState, Registry, RevocationReason};
use super::sign::{self, SealKey};
use super::{Authority, Fault, Issuer};

/// Which of the two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListKind {
    Complete,
    Delta,
}

/// One line of a list.
struct Entry {
    serial: String,
    at: Timestamp,
    reason: CrlReason,
}

impl Authority {
    /// The complete CRL of an issuer, DER. The last one is returned again until a revocation or half of its validity makes a new one due.
    pub fn crl(&self, issuer: Issuer, now: Timestamp) -> Result<Vec<u8>, AuthorityError> {
        self.list(issuer, ListKind::Complete, now)
    }

    /// The delta CRL of an issuer, DER: the changes since the complete list whose number is its base.
    pub fn delta_crl(&self, issuer: Issuer, now: Timestamp) -> Result<Vec<u8>, AuthorityError> {
        self.list(issuer, ListKind::Delta, now)
    }

    /// A list as it is under a fault: what its true state is stays as it was.
    pub(super) fn faulty_list(
        &self,
        issuer: Issuer,
        kind: ListKind,
        (fault, now): (Fault, Timestamp),
    ) -> Result<Vec<u8>, AuthorityError> {
        self.list(issuer, kind, now)?;
        let registry = self.registry();
        let state = registry.crl_state(issuer).cloned();
        let state = state.ok_or_else(|| AuthorityError::Request("no list was made".to_owned()))?;
        let mut list = state.of(kind);
        if fault == Fault::Late {
            let over = later(now, -LATE_BY)?;
            let validity = list.this_update.duration_until(list.next_update);
            (list.this_update, list.next_update) = (later(over, -validity)?, over);
        }
        self.sign_list(issuer, kind, (list, &state), (&registry, Some(fault)))
    }

    fn list(&self, issuer: Issuer, kind: ListKind, now: Timestamp) -> Result<Vec<u8>, AuthorityError> {
        let mut registry = self.registry();
        let changes = registry.changes(issuer);
        let last = registry.crl_state(issuer).cloned();
        if let Some(last) = &last {
            let path = self.list_path(issuer, kind);
            let complete_is_due = !last.complete.is_fresh(changes, now) || last.base.is_none();
            let fresh = !complete_is_due && (kind == ListKind::Complete || last.of(kind).is_fresh(changes, now));
            let made = kind == ListKind::Complete || last.delta.is_some();
            if fresh && made && path.exists() {
                return Ok(files::read(&path, CRL_BYTES_MAX)?);
            }
        }
        let state = self.next_state(issuer, kind, (&registry, last.as_ref()), now)?;
        let mut wanted = Vec::new();
        // The files first: a crash in between makes the next call sign again, never serve an old list as fresh.
        for each in [ListKind::Complete, ListKind::Delta] {
            let is_new = last
                .as_ref()
                .is_none_or(|last| last.of(each).number != state.of(each).number);
            if is_new || each == kind {
                let der = self.sign_list(issuer, each, (state.of(each), &state), (&registry, None))?;
                files::write_public(&self.list_path(issuer, each), &der)?;
                if each == kind {
                    wanted = der;
                }
            }
        }
        registry.set_crl_state(issuer, state)?;
        Ok(wanted)
    }

    /// What is made anew: both lists under one number, or, between two complete lists, the delta list alone under a number of its own
    /// (RFC 5280 §5.2.3).
    fn next_state(
        &self,
        issuer: Issuer,
        kind: ListKind,
        (registry, last): (&Registry, Option<&CrlState>),
        now: Timestamp,
    ) -> Result<CrlState, AuthorityError> {
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let validity = self.options.validity;
        let changes = registry.changes(issuer);
        let number = last.map_or(1, |last| last.last_number() + 1);
        let list = |validity: Duration| {
            Ok::<_, AuthorityError>(ListState {
                number,
                this_update: now,
                next_update: later(now, SignedDuration::try_from(validity).unwrap_or(SignedDuration::MAX))?,
                changes,
            })
        };
        let delta = Some(list(validity.delta_crl)?);
        match last {
            Some(last) if kind == ListKind::Delta && last.complete.is_fresh(changes, now) && last.base.is_some() => {
                Ok(CrlState { delta, ..last.clone() })
            }
            _ => Ok(CrlState {
                complete: list(validity.crl)?,
                delta,
                base: Some(next_base(issuer, (registry, last), (number, now), validity.crl)),
            }),
        }
    }

    fn sign_list(
        &self,
        issuer: Issuer,
        kind: ListKind,
        (list, state): (ListState, &CrlState),
        (registry, fault): (&Registry, Option<Fault>),
    ) -> Result<Vec<u8>, AuthorityError> {
        let signer = self.signer(issuer);
        let own = sign::decoded(&signer.certificate)?;
        let records = registry.certificates().iter().filter(|record| record.issuer == issuer);
        let entries = match kind {
            ListKind::Complete => records.filter_map(complete_entry).collect(),
            ListKind::Delta => delta_entries(records, state.base.as_ref()),
        };
        let seal = SealKey::under(fault, signer.issuer.key())?;
        let entries = entries.iter().map(encoded).collect::<Result<Vec<_>, _>>()?;
        let tbs = TbsCertList {
            version: Version::V2,
            signature: seal.algorithm(),
            issuer: own.tbs_certificate().subject().clone(),
            this_update: sign::time(list.this_update)?,
            next_update: Some(sign::time(list.next_update)?),
            // RFC 5280 §5.1.2.6: absent rather than empty.
            revoked_certificates: (!entries.is_empty()).then_some(entries),
            crl_extensions: Some(self.list_extensions(issuer, kind, (list, state), fault)?),
        };
        let signature = seal.sign(&tbs.to_der()?, fault)?;
        let signed = CertificateList {
            signature_algorithm: tbs.signature.clone(),
            tbs_cert_list: tbs,
            signature,
        };
        Ok(signed.to_der()?)
    }

    fn list_extensions(
        &self,
        issuer: Issuer,
        kind: ListKind,
        (list, state): (ListState, &CrlState),
        fault: Option<Fault>,
    ) -> Result<Vec<Extension>, AuthorityError> {
        let signer = self.signer(issuer);
        let key = AuthorityKeyIdentifier {
            key_identifier: sign::key_identifier(&sign::decoded(&signer.certificate)?)?,
            ..AuthorityKeyIdentifier::default()
        };
        let mut extensions = vec![
            sign::extension(AUTHORITY_KEY_IDENTIFIER, false, &key)?,
            sign::extension(CRL_NUMBER, false, &Uint::try_from(list.number)?)?,
        ];
        match (kind, &state.base) {
            (ListKind::Complete, _) => {
                let freshest = extension::points(&self.url(&signer.section.delta_crl_path()))?;
                extensions.push(sign::extension(FRESHEST_CRL, false, &freshest)?);
            }
            (ListKind::Delta, Some(base)) => {
                let base = Uint::try_from(base.number)?;
                extensions.push(sign::extension(DELTA_CRL_INDICATOR, true, &base)?);
            }
            (ListKind::Delta, None) => {}
        }
        if fault == Some(Fault::Unknown) {
            extensions.push(sign::extension(
                ISSUING_DISTRIBUTION_POINT,
                true,
                &foreign_scope(issuer),
            )?);
        }
        Ok(extensions)
    }

    fn list_path(&self, issuer: Issuer, kind: ListKind) -> std::path::PathBuf {
        let section = &self.signer(issuer).section;
        let path = match kind {
            ListKind::Complete => section.crl_path(),
            ListKind::Delta => section.delta_crl_path(),
        };
        let name = path.rsplit('/').next().unwrap_or(&path);
        self.folder.join(CRL_FOLDER).join(name)
    }
}

impl CrlState {
    fn of(&self, kind: ListKind) -> ListState {
        match kind {
            ListKind::Complete => self.complete,
            ListKind::Delta => self.delta.unwrap_or(self.complete),
        }
    }

    fn last_number(&self) -> u64 {
        let delta = self.delta.map_or(0, |delta| delta.number);
        self.complete.number.max(delta)
    }
}

impl ListState {
    fn is_fresh(&self, changes: u64, now: Timestamp) -> bool {
        let half = self.this_update.duration_until(self.next_update) / 2;
        let age = self.this_update.duration_until(now);
        // To the second, as lists have it: the first instant of a list is not before it.
        self.changes == changes && age > -SignedDuration::from_secs(1) && age < half
    }
}

/// The base stays for half the validity of a complete list; then the complete list just made is the next one.
fn next_base(
    issuer: Issuer,
    (registry, last): (&Registry, Option<&CrlState>),
    (number, now): (u64, Timestamp),
    validity: Duration,
) -> BaseState {
    if let Some(base) = last.and_then(|last| last.base.as_ref()) {
        let age = base.this_update.duration_until(now);
        let half = SignedDuration::try_from(validity / 2).unwrap_or(SignedDuration::MAX);
        if !age.is_negative() && age < half {
            return base.clone();
        }
    }
    let records = registry.certificates().iter().filter(|record| record.issuer == issuer);
    let listed: BTreeMap<String, RevocationReason> = records
        .filter_map(|record| Some((record.serial.clone(), record.revocation?.reason)))
        .collect();
    BaseState {
        number,
        this_update: now,
        listed,
    }
}

fn complete_entry(record: &CertificateRecord) -> Option<Entry> {
    let revocation = record.revocation?;
    Some(Entry {
        serial: record.serial.clone(),
        at: revocation.at,
        reason: revocation.reason.encoded(),
    })
}

/// RFC 5280 §5.2.4: whose status differs from what the base says, and who was taken off hold since, wherever the hold was told.
fn delta_entries<'a>(records: impl Iterator<Item = &'a CertificateRecord>, base: Option<&BaseState>) -> Vec<Entry> {
    let entry = |record: &CertificateRecord| {
        let in_base = base.and_then(|base| base.listed.get(&record.serial).copied());
        match record.revocation {
            Some(revocation) if in_base != Some(revocation.reason) => complete_entry(record),
            Some(_) => None,
            None => {
                let released = record.released?;
                let since = base.is_some_and(|base| released >= base.this_update);
                (in_base.is_some() || since).then(|| Entry {
                    serial: record.serial.clone(),
                    at: released,
                    reason: CrlReason::RemoveFromCRL,
                })
            }
        }
    };
    records.filter_map(entry).collect()
}

fn encoded(entry: &Entry) -> der::Result<RevokedCert<Rfc5280>> {
    // RFC 5280 §5.3.1: an unspecified reason is left out.
    let extensions = match entry.reason {
        CrlReason::Unspecified => None,
        reason => Some(vec![sign::extension(REASON_CODE, false, &reason)?]),
    };
    Ok(RevokedCert {
        serial_number: SerialNumber::new(&bytes_of(&entry.serial))?,
        revocation_date: sign::time(entry.at)?,
        crl_entry_extensions: extensions,
    })
}

/// The certificates that this issuer does not issue: the root signs authorities, the intermediate end entities.
fn foreign_scope(issuer: Issuer) -> IssuingDistributionPoint {
    IssuingDistributionPoint {
        distribution_point: None,
        only_contains_user_certs: issuer == Issuer::Root,
        only_contains_ca_certs: issuer == Issuer::Intermediate,
        only_some_reasons: None,
        indirect_crl: false,
        only_contains_attribute_certs: false,
    }
}

pub(super) fn bytes_of(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks_exact(2);
    pairs
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// Beyond every tolerance of an expired list.
pub(super) const LATE_BY: SignedDuration = SignedDuration::from_hours(48);
const CRL_BYTES_MAX: u64 = 64 << 20;
const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const DELTA_CRL_INDICATOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");
const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
const FRESHEST_CRL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.46");
const REASON_CODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");

#[cfg(test)]
mod tests {
    use super::super::testing::{Space, days_later, now, number_after, openssl, options, put, server, try_openssl};
    use super::super::{Faults, Issued, Publication, Revocation, Revoked, Service};
    use super::*;

    fn text(space: &Space, der: &[u8]) -> String {
        put(space.folder.path(), "list.crl", der);
        openssl(
            space.folder.path(),
            &["crl", "-inform", "DER", "-in", "list.crl", "-noout", "-text"],
        )
    }

    fn numbers(space: &Space, at: Timestamp) -> (u64, u64, u64) {
        let complete = text(space, &space.authority.crl(Issuer::Intermediate, at).unwrap());
        let delta = text(space, &space.authority.delta_crl(Issuer::Intermediate, at).unwrap());
        assert!(!complete.contains("Delta CRL Indicator"), "{complete}");
        assert!(delta.contains("Delta CRL Indicator: critical"), "{delta}");
        (
            number_after(&complete, "X509v3 CRL Number:"),
            number_after(&delta, "X509v3 CRL Number:"),
            number_after(&delta, "Delta CRL Indicator: critical"),
        )
    }

    fn revoke(space: &Space, issued: &Issued, reason: RevocationReason, at: Timestamp) -> Revoked {
        let revocation = Revocation { at, reason };
        space.authority.revoke_since(&issued.serial, revocation, at).unwrap()
    }

    #[test]
    fn a_delta_list_says_what_changed_since_its_base() {
        let space = Space::new();
        let (one, two, three) = (
            space.issue(&server("one.chu.fr")),
            space.issue(&server("two.chu.fr")),
            space.issue(&server("three.chu.fr")),
        );
        revoke(&space, &one, RevocationReason::KeyCompromise, now());
        revoke(&space, &two, RevocationReason::CertificateHold, now());
        assert_eq!(numbers(&space, now()), (1, 1, 1));
        let delta = |at| text(&space, &space.authority.delta_crl(Issuer::Intermediate, at).unwrap());
        assert!(delta(now()).contains("No Revoked Certificates"), "{}", delta(now()));

        revoke(&space, &three, RevocationReason::CertificateHold, days_later(1));
        space.authority.release(&two.serial, days_later(1)).unwrap();
        assert_eq!(numbers(&space, days_later(1)), (2, 2, 1));
        let said = delta(days_later(1));
        let serial = |issued: &Issued| issued.serial.to_uppercase();
        assert!(!said.contains(&serial(&one)), "the base has it: {said}");
        assert!(
            said.contains(&serial(&two)) && said.contains("Remove From CRL"),
            "{said}"
        );
        assert!(
            said.contains(&serial(&three)) && said.contains("Certificate Hold"),
            "{said}"
        );

        // Held and released since the base: whoever saw the hold must learn of its end.
        space.authority.release(&three.serial, days_later(2)).unwrap();
        let said = delta(days_later(2));
        assert_eq!(said.matches("Remove From CRL").count(), 2, "{said}");
        let complete = text(
            &space,
            &space.authority.crl(Issuer::Intermediate, days_later(2)).unwrap(),
        );
        assert!(
            complete.contains(&serial(&one)) && !complete.contains(&serial(&two)),
            "{complete}"
        );
        assert!(complete.contains("X509v3 Freshest CRL"), "{complete}");

        // Half of the period has passed: the next complete list is the next base, and nothing has changed since.
        let (complete, number, base) = numbers(&space, days_later(6));
        assert_eq!((complete, base), (number, number));
        assert!(delta(days_later(6)).contains("No Revoked Certificates"));
    }

    #[test]
    fn numbers_only_grow_across_restarts_and_a_delta_alone_has_its_own() {
        let space = Space::new();
        assert_eq!(numbers(&space, now()), (1, 1, 1));
        let half_day = now() + SignedDuration::from_hours(13);
        assert_eq!(numbers(&space, half_day), (1, 2, 1));
        let again = Authority::create_or_open(&space.folder.path().join("authority"), options(), half_day);
        let again = Space {
            authority: again.unwrap(),
            folder: tempfile::tempdir().unwrap(),
        };
        assert_eq!(numbers(&again, half_day), (1, 2, 1));
        assert_eq!(numbers(&again, half_day + SignedDuration::from_hours(13)), (1, 3, 1));
        // A clock that went back signs anew, and never with a number of the past.
        assert_eq!(numbers(&again, now() - SignedDuration::from_hours(24)), (4, 4, 4));
    }

    #[test]
    fn a_registry_of_the_first_version_is_read_on() {
        let space = Space::new();
        space.authority.crl(Issuer::Intermediate, now()).unwrap();
        let path = space.folder.path().join("authority/issued.json");
        let mut registry: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        registry["crls"]["intermediate"] = serde_json::json!({
            "number": 7, "this_update": "2026-11-20T10:00:00Z", "next_update": "2026-11-27T10:00:00Z", "revoked": 0
        });
        registry.as_object_mut().unwrap().remove("responders");
        registry.as_object_mut().unwrap().remove("changes");
        std::fs::write(&path, registry.to_string()).unwrap();
        let authority = Authority::create_or_open(&space.folder.path().join("authority"), options(), now());
        let again = Space {
            authority: authority.unwrap(),
            folder: tempfile::tempdir().unwrap(),
        };
        assert_eq!(
            numbers(&again, days_later(1)).0,
            8,
            "its delta list is due, and so is a base"
        );
    }

    #[test]
    fn a_second_revocation_changes_nothing_unless_the_first_was_a_hold() {
        let space = Space::new();
        let issued = space.issue(&server("one.chu.fr"));
        let held = Revocation {
            at: now(),
            reason: RevocationReason::CertificateHold,
        };
        assert_eq!(revoke(&space, &issued, held.reason, now()), Revoked::Now);
        assert_eq!(
            revoke(&space, &issued, held.reason, days_later(1)),
            Revoked::Before(held)
        );
        let compromised = RevocationReason::KeyCompromise;
        assert_eq!(
            revoke(&space, &issued, compromised, days_later(2)),
            Revoked::AfterHold(held)
        );
        assert!(matches!(
            revoke(&space, &issued, RevocationReason::Superseded, days_later(3)),
            Revoked::Before(first) if first.reason == compromised
        ));
        let error = space.authority.release(&issued.serial, now()).unwrap_err().to_string();
        assert!(error.contains("is not on hold but key-compromise"), "{error}");
        let tomorrow = Revocation {
            at: days_later(1),
            reason: compromised,
        };
        let error = space
            .authority
            .revoke_since(&issued.serial, tomorrow, now())
            .unwrap_err();
        assert!(error.to_string().contains("in the future"), "{error}");
    }

    /// The publications of a moment, as openssl takes them: both lists in one PEM file, and the chain.
    fn verified(space: &Space, faults: Faults, at: Timestamp) -> (bool, String) {
        let folder = space.folder.path();
        let publications = space.authority.publications(at, &faults).unwrap();
        let mut lists = String::new();
        for Publication { path, bytes, .. } in publications {
            let Some(der) = bytes.filter(|_| path.starts_with("/crl/")) else {
                continue;
            };
            let delta = path.ends_with("-delta.crl");
            put(folder, "one.crl", &der);
            let pem = openssl(folder, &["crl", "-inform", "DER", "-in", "one.crl"]);
            if !delta {
                lists.push_str(&pem);
            }
        }
        put(folder, "lists.pem", lists.as_bytes());
        put(
            folder,
            "ca.pem",
            super::super::trust_bundle(&space.authority).as_bytes(),
        );
        let epoch = at.as_second().to_string();
        let mut arguments = vec!["verify", "-attime", &epoch, "-crl_check_all", "-CAfile", "ca.pem"];
        if !lists.is_empty() {
            arguments.extend(["-CRLfile", "lists.pem"]);
        }
        arguments.extend(["-untrusted", "leaf.pem", "leaf.pem"]);
        try_openssl(folder, &arguments)
    }

    #[test]
    fn openssl_sees_each_fault_of_the_lists_as_what_it_is() {
        let space = Space::new();
        let issued = space.issue(&server("one.chu.fr"));
        put(space.folder.path(), "leaf.pem", issued.chain_pem().as_bytes());
        let (good, text) = verified(&space, Faults::default(), now());
        assert!(good, "{text}");
        for (fault, said) in [
            (Fault::Late, "CRL has expired"),
            (Fault::Unsigned, "CRL signature failure"),
            (Fault::WrongSigner, "CRL signature failure"),
            (Fault::Unknown, "Different CRL scope"),
            (Fault::Unreachable, "unable to get certificate CRL"),
        ] {
            let faults = Faults::default().with(Service::Crl, Some(fault));
            let (good, text) = verified(&space, faults, now());
            let text = text.to_lowercase();
            assert!(!good && text.contains(&said.to_lowercase()), "{fault}: {text}");
        }
        // Cleared, everything is as before; and a revoked certificate is seen to be.
        assert!(verified(&space, Faults::default(), now()).0);
        revoke(&space, &issued, RevocationReason::KeyCompromise, now());
        let (good, text) = verified(&space, Faults::default(), now());
        assert!(!good && text.contains("certificate revoked"), "{text}");
    }

    #[test]
    fn a_delta_list_revokes_before_the_next_complete_one_is_fetched() {
        let space = Space::new();
        let folder = space.folder.path();
        let issued = space.issue(&server("one.chu.fr"));
        let old = [Issuer::Root, Issuer::Intermediate].map(|issuer| space.authority.crl(issuer, now()).unwrap());
        revoke(&space, &issued, RevocationReason::KeyCompromise, days_later(1));
        let delta = [Issuer::Root, Issuer::Intermediate]
            .map(|issuer| space.authority.delta_crl(issuer, days_later(1)).unwrap());
        let pem = |ders: &[Vec<u8>]| {
            let each = ders.iter().map(|der| {
                put(folder, "one.crl", der);
                openssl(folder, &["crl", "-inform", "DER", "-in", "one.crl"])
            });
            each.collect::<String>()
        };
        put(folder, "leaf.pem", issued.chain_pem().as_bytes());
        put(
            folder,
            "ca.pem",
            super::super::trust_bundle(&space.authority).as_bytes(),
        );
        put(folder, "old.pem", pem(&old).as_bytes());
        put(folder, "both.pem", pem(&[old, delta].concat()).as_bytes());
        let epoch = days_later(1).as_second().to_string();
        let verify = |lists| {
            let arguments = [
                "verify",
                "-attime",
                &epoch,
                "-crl_check_all",
                "-extended_crl",
                "-use_deltas",
                "-CAfile",
                "ca.pem",
                "-CRLfile",
                lists,
                "leaf.pem",
            ];
            try_openssl(folder, &arguments)
        };
        let (good, text) = verify("old.pem");
        assert!(good, "{text}");
        let (good, text) = verify("both.pem");
        assert!(!good && text.contains("certificate revoked"), "{text}");
    }
}
