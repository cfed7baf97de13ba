//! The allow list, indexed both ways.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::identity::{Domain, SubjectDn};

use super::document::{AllowListDocument, ListedDomain};

/// Which certificates may speak for which domains. Immutable; look-ups take constant time whatever the size of the list.
///
/// There is no wildcard and no suffix rule: `a.b.mssante.fr` is listed on its own or not at all.
#[derive(Clone, Debug)]
pub struct AllowList {
    document: AllowListDocument,
    by_domain: HashMap<Domain, Vec<SubjectDn>>,
    by_subject: HashMap<SubjectDn, Vec<Domain>>,
}

impl AllowList {
    /// Indexes a document.
    pub fn new(document: AllowListDocument) -> Self {
        let mut by_domain: HashMap<Domain, Vec<SubjectDn>> = HashMap::new();
        let mut by_subject: HashMap<SubjectDn, Vec<Domain>> = HashMap::new();
        for entry in &document.entries {
            let subjects = by_domain.entry(entry.domain.clone()).or_default();
            // At most a handful of certificates per domain: a scan is cheaper than a set.
            if subjects.contains(&entry.certificate) {
                continue;
            }
            subjects.push(entry.certificate.clone());
            by_subject
                .entry(entry.certificate.clone())
                .or_default()
                .push(entry.domain.clone());
        }
        Self {
            document,
            by_domain,
            by_subject,
        }
    }

    /// Whether the domain is in the trust space at all.
    pub fn lists(&self, domain: &Domain) -> bool {
        self.by_domain.contains_key(domain)
    }

    /// The certificates that may speak for a domain; empty when it is not listed.
    pub fn certificates_of(&self, domain: &Domain) -> &[SubjectDn] {
        self.by_domain.get(domain).map_or(&[], Vec::as_slice)
    }

    /// The domains a certificate may speak for; empty when it is not listed.
    pub fn domains_of(&self, certificate: &SubjectDn) -> &[Domain] {
        self.by_subject.get(certificate).map_or(&[], Vec::as_slice)
    }

    /// When the authority made this list.
    pub fn generated(&self) -> Timestamp {
        self.document.generated
    }

    /// The entries in the order of the file.
    pub fn entries(&self) -> &[ListedDomain] {
        &self.document.entries
    }

    /// How many domains are listed.
    pub fn domain_count(&self) -> usize {
        self.by_domain.len()
    }

    /// How many certificates are listed.
    pub fn certificate_count(&self) -> usize {
        self.by_subject.len()
    }
}
