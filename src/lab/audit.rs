//! The audit peers of the trust space: the domains that the field's list holds for checking operators, each with the one thing that is
//! wrong about it. Which name stands for which fault is published; what exactly the field's tool presents is our reading.
//!
//! A peer is listed like any operator (its section of the space file is that of an external operator on this machine), so the allow list
//! and the zone need nothing special. What it *presents* differs from what is listed, and that is the audit.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::play::Expected;
use crate::config::Space;
use crate::identity::{Address, Domain};

/// One peer of the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditPeer {
    /// Nothing is wrong: mail must pass in both directions.
    CertValide,
    /// Presents an expired certificate.
    CertExpire,
    /// Presents a revoked certificate.
    CertRevoque,
    /// Presents the listed subject, from an authority of another space.
    CertNonIgc,
    /// Presents a certificate whose subject is listed for no domain.
    CertNoMatch,
    /// Presents the listed common name under another subject.
    CertCnDiffDn,
    /// Offers no TLS, and sends in clear.
    SansTls,
}

impl AuditPeer {
    /// All of them, the control first.
    pub const ALL: [Self; 7] = [
        Self::CertValide,
        Self::CertExpire,
        Self::CertRevoque,
        Self::CertNonIgc,
        Self::CertNoMatch,
        Self::CertCnDiffDn,
        Self::SansTls,
    ];

    /// What its domain begins with, in the field's list.
    pub fn id(self) -> &'static str {
        match self {
            Self::CertValide => "cert-valide",
            Self::CertExpire => "cert-expire",
            Self::CertRevoque => "cert-revoque",
            Self::CertNonIgc => "cert-non-igc",
            Self::CertNoMatch => "cert-no-match",
            Self::CertCnDiffDn => "cert-cn-diff-dn",
            Self::SansTls => "sans-tls",
        }
    }

    /// One line: what is wrong with it.
    pub fn what(self) -> &'static str {
        match self {
            Self::CertValide => "nothing is wrong: mail passes in both directions",
            Self::CertExpire => "presents an expired certificate",
            Self::CertRevoque => "presents a revoked certificate",
            Self::CertNonIgc => "presents the listed subject from another authority",
            Self::CertNoMatch => "presents a subject that is not listed for its domain",
            Self::CertCnDiffDn => "presents the listed CN under another O and OU",
            Self::SansTls => "offers no TLS and sends in clear",
        }
    }

    /// What an operator must do with its mail, and before sending to it.
    pub fn expected(self) -> Expected {
        match self {
            Self::CertValide => Expected::Accepted,
            _ => Expected::Refused,
        }
    }

    /// Its mail domain, as text.
    pub fn domain(self) -> String {
        format!("{}-audit.{AUDIT_PARENT}", self.id())
    }

    /// The name of its server: the CN that is listed.
    pub fn host(self) -> String {
        format!("mx.{}-audit.localhost", self.id())
    }

    /// Its one box, from which and to which it writes.
    pub fn address(self) -> String {
        format!("controle@{}", self.domain())
    }

    /// Key of its section in the space file.
    pub fn key(self) -> String {
        format!("audit-{}", self.id())
    }

    /// The peer whose domain this is.
    pub fn of_domain(domain: &Domain) -> Option<Self> {
        Self::ALL.into_iter().find(|peer| peer.domain() == domain.as_str())
    }

    /// The peer of a section of the space file.
    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|peer| peer.key() == key)
    }

    /// What the list says of it.
    pub fn listed(self) -> Party {
        match self {
            Self::CertExpire | Self::CertNonIgc => Party::TestStructure,
            Self::SansTls => Party::Hosting,
            _ => Party::Auditor,
        }
    }

    /// The subject that the list names, in the order of the list.
    pub fn listed_subject(self) -> String {
        let (structure, organisation) = self.listed().structure();
        format!(
            "CN={},OU={structure},O={organisation},ST={DEPARTMENT},C=FR",
            self.host()
        )
    }

    /// Its section of the space file, with its server at this address.
    pub fn section(self, address: SocketAddr) -> String {
        format!(
            "# Audit peer: {}. Added by `vaguemestre audit raise`, taken out by `audit stop`.\n\
             [[operator]]\nkey = \"{}\"\nname = \"{AUDIT_NAME} {}\"\nstructure = \"{AUDIT_SIRET}\"\ndepartment = \"{DEPARTMENT}\"\n\
             kind = \"external\"\ndomains = [\"{}\"]\n\n\
             [[operator.host]]\nname = \"{}\"\nreach = \"{address}\"\nsubject = \"{}\"\n",
            self.what(),
            self.key(),
            self.id(),
            self.domain(),
            self.host(),
            self.listed_subject()
        )
    }
}

impl fmt::Display for AuditPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// Whose structure and organisation a subject names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The auditor.
    Auditor,
    /// The company that hosts the auditor's servers.
    Hosting,
    /// A structure that exists for tests.
    TestStructure,
    /// Somebody whom the list does not name.
    Stranger,
}

impl Party {
    /// OU and O. All of them are invented; the alphanumeric one has the shape of the field's own test entry.
    pub fn structure(self) -> (&'static str, &'static str) {
        match self {
            Self::Auditor => ("399999999900090", "AUDIT DE L'ESPACE DE CONFIANCE"),
            Self::Hosting => ("399999999900108", "HEBERGEUR DE L'AUDIT"),
            Self::TestStructure => ("10B0099999", "STRUCTURE DE TEST"),
            Self::Stranger => ("399999999900116", "SOCIETE INCONNUE DE LA LISTE"),
        }
    }
}

/// The audit peers of a space and where the space file says that they listen.
pub fn raised_in(space: &Space) -> Vec<(AuditPeer, SocketAddr)> {
    use crate::config::{Host, Side};
    let of_section = |operator: &crate::config::Operator| {
        let peer = AuditPeer::of_key(&operator.key)?;
        let Side::External { hosts } = &operator.side else {
            return None;
        };
        let reach = &hosts.first()?.reach;
        match &reach.host {
            Host::Address(ip) => Some((peer, SocketAddr::new(*ip, reach.port))),
            Host::Name(_) => None,
        }
    };
    space.operators.iter().filter_map(of_section).collect()
}

/// The address that a peer writes from.
///
/// # Errors
/// Never in practice: the names are constants, and a test reads them.
pub fn sender(peer: AuditPeer) -> Result<Address, crate::identity::AddressError> {
    peer.address().parse()
}

/// ST of every subject here.
pub const DEPARTMENT: &str = "Paris (75)";
/// The parent of every audit domain.
const AUDIT_PARENT: &str = "espacedeconfiance.mssante.fr";
const AUDIT_NAME: &str = "AUDIT";
/// SIRET of the auditor; given to nobody.
const AUDIT_SIRET: &str = "99999999900090";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SubjectDn;

    #[test]
    fn the_sections_of_all_peers_make_a_valid_space_with_the_default_one() {
        let mut text = Space::DEFAULT_TEXT.to_owned();
        for (index, peer) in (0..).zip(AuditPeer::ALL) {
            text.push('\n');
            text.push_str(&peer.section(SocketAddr::from(([127, 0, 0, 1], 10_900 + index))));
        }
        let (space, _) = Space::parse(&text, "space.toml").unwrap();
        let raised = raised_in(&space);
        assert_eq!(raised.len(), AuditPeer::ALL.len());
        assert_eq!(raised[1].0, AuditPeer::CertExpire);
        assert_eq!(raised[1].1.port(), 10_901);
    }

    #[test]
    fn names_are_those_of_the_field() {
        assert_eq!(
            AuditPeer::CertCnDiffDn.domain(),
            "cert-cn-diff-dn-audit.espacedeconfiance.mssante.fr"
        );
        for peer in AuditPeer::ALL {
            let domain: Domain = peer.domain().parse().unwrap();
            assert_eq!(AuditPeer::of_domain(&domain), Some(peer));
            assert_eq!(AuditPeer::of_key(&peer.key()), Some(peer));
            assert_eq!(sender(peer).unwrap().domain(), &domain);
            let subject: SubjectDn = peer.listed_subject().parse().unwrap();
            assert_eq!(subject.common_name(), Some(peer.host().as_str()));
        }
    }

    #[test]
    fn only_the_control_may_pass() {
        let passing = AuditPeer::ALL
            .iter()
            .filter(|peer| peer.expected() == Expected::Accepted);
        assert_eq!(passing.count(), 1);
    }
}
