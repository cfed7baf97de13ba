//! A refusal explained: what it means, what should have been there, who has to do what, and how to see it again.

use serde::Serialize;

use crate::cli::words::Words;
use crate::identity::SubjectDn;
use crate::journal::{Examined, Excerpt};
use crate::policy::Reason;
use crate::space::card::Endpoint;

/// One refusal.
#[derive(Serialize)]
pub(super) struct Verdict {
    /// Stable id.
    pub(super) reason: &'static str,
    /// Reply code and status.
    pub(super) code: String,
    /// Where in the dialogue.
    pub(super) stage: String,
    /// What was answered.
    pub(super) said: String,
    /// What it means.
    pub(super) meaning: &'static str,
    /// Number of the national requirement; empty where it is a rule of mail.
    pub(super) requirement: &'static str,
    /// Where it is documented.
    pub(super) page: String,
    /// What should have been there; may be empty.
    pub(super) expected: &'static str,
    /// Mail domain whose list entries are compared; may be empty.
    pub(super) domain: String,
    /// The certificate's name beside each listed one.
    pub(super) compared: Vec<Vec<Compared>>,
    /// What to do.
    pub(super) remedy: &'static str,
    /// Who has to do it.
    pub(super) who: &'static str,
    /// Lines to type.
    pub(super) commands: Vec<String>,
}

/// One attribute of two names.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Compared {
    /// `CN`, `OU`…
    pub(in crate::cli) kind: String,
    /// In the certificate.
    pub(in crate::cli) shown: Option<String>,
    /// On the list.
    pub(in crate::cli) listed: Option<String>,
    /// Whether they are the same to a comparison.
    pub(in crate::cli) same: bool,
}

/// What is known of a refusal.
pub(in crate::cli) struct Facts<'a> {
    pub(in crate::cli) reason: Reason,
    pub(in crate::cli) operator: &'a str,
    /// `smtp`, `submission`, …, `relay`.
    pub(in crate::cli) face: &'a str,
    pub(in crate::cli) stage: &'a str,
    pub(in crate::cli) said: &'a str,
    pub(in crate::cli) recipient: Option<&'a str>,
    /// Whether it answered a login: other codes say so.
    pub(in crate::cli) is_login: bool,
    /// The evidence beside it.
    pub(in crate::cli) examined: Option<&'a Examined>,
}

/// Where to connect to.
pub(in crate::cli) struct Places {
    /// Listening addresses of the operators whose journals are read.
    pub(in crate::cli) endpoints: Vec<Endpoint>,
    /// PEM file of the authority; empty when not known.
    pub(in crate::cli) authority: String,
}

impl Verdict {
    /// Explains in the words of a language.
    pub(in crate::cli) fn of(facts: &Facts<'_>, places: &Places, words: &Words) -> Self {
        let said = words.reason(facts.reason);
        let (code, status) = if facts.is_login {
            facts.reason.login_code()
        } else {
            facts.reason.code()
        };
        let about_list = matches!(
            facts.reason,
            Reason::CertificateNotForDomain | Reason::SenderDomainUnlisted | Reason::RecipientDomainUnlisted
        );
        let examined = facts.examined.filter(|_| about_list);
        Self {
            reason: facts.reason.id(),
            code: format!("{code} {status}"),
            stage: facts.stage.to_owned(),
            said: facts.said.to_owned(),
            meaning: said.meaning,
            requirement: requirement(facts.reason),
            page: format!("docs/reasons.md#{}", facts.reason.id()),
            expected: said.expected,
            domain: examined.map(|e| e.domain.to_string()).unwrap_or_default(),
            compared: examined.map(compared).unwrap_or_default(),
            remedy: said.remedy,
            who: who(facts, words),
            commands: places.commands(facts),
        }
    }
}

/// The name that was shown beside each name of the list.
fn compared(examined: &Examined) -> Vec<Vec<Compared>> {
    let name = |text: &Excerpt| text.as_str().parse::<SubjectDn>().ok();
    let Some(shown) = examined.chain.first().and_then(|leaf| name(&leaf.subject)) else {
        return Vec::new();
    };
    let listed = examined.listed.iter().filter_map(name);
    listed.map(|listed| differences(&shown, &listed)).collect()
}

/// Attribute by attribute; those of one type are paired in their order.
pub(in crate::cli) fn differences(shown: &SubjectDn, listed: &SubjectDn) -> Vec<Compared> {
    let shown = shown.attributes();
    let mut listed = listed.attributes();
    let mut pairs = Vec::new();
    for attribute in shown {
        let place = listed.iter().position(|other| other.kind == attribute.kind);
        let other = place.map(|place| listed.remove(place));
        pairs.push(Compared {
            same: other.as_ref().is_some_and(|other| other.compared == attribute.compared),
            kind: attribute.kind,
            shown: Some(attribute.value),
            listed: other.map(|other| other.value),
        });
    }
    pairs.extend(listed.into_iter().map(|other| Compared {
        kind: other.kind,
        shown: None,
        listed: Some(other.value),
        same: false,
    }));
    pairs
}

/// The requirement that a refusal serves (see the list of requirements of the field).
fn requirement(reason: Reason) -> &'static str {
    match reason {
        Reason::TlsRequired => "OP-5",
        Reason::CertificateMissing => "OP-2",
        Reason::CertificateUntrusted
        | Reason::CertificateExpired
        | Reason::CertificateNotYetValid
        | Reason::CertificateRevoked
        | Reason::CertificateUsage
        | Reason::CertificateMalformed
        | Reason::RevocationUnknown => "OP-6",
        Reason::SenderDomainUnlisted
        | Reason::CertificateNotForDomain
        | Reason::PeerUnlisted
        | Reason::RecipientDomainUnlisted => "OP-4",
        Reason::BoxUnknown | Reason::BoxClosed | Reason::BoxSuspended => "OP-16",
        Reason::AuthenticationRequired
        | Reason::CredentialsInvalid
        | Reason::CertificateNotBound
        | Reason::BoxAmbiguous => "OP-10",
        _ => "",
    }
}

fn who(facts: &Facts<'_>, words: &Words) -> &'static str {
    let texts = &words.texts;
    match facts.reason {
        Reason::RevocationUnknown | Reason::StorageFailed | Reason::StorageFull | Reason::BoxSuspended => {
            texts.actor_operator
        }
        Reason::SenderDomainUnlisted | Reason::CertificateNotForDomain | Reason::PeerUnlisted => texts.actor_authority,
        Reason::OverQuota => texts.actor_holder,
        Reason::TooManyRecipients | Reason::TooManyTransactions => texts.actor_nobody,
        _ if matches!(facts.face, "smtp" | "relay") => texts.actor_peer,
        _ => texts.actor_client,
    }
}

impl Places {
    /// What a person types to see the refusal again, from the side of the one who was refused.
    fn commands(&self, facts: &Facts<'_>) -> Vec<String> {
        let host = facts
            .examined
            .map(|examined| examined.host.as_str())
            .unwrap_or_default();
        let at = if facts.face == "relay" {
            (!host.is_empty()).then_some(host)
        } else {
            let mut endpoints = self.endpoints.iter();
            endpoints
                .find(|e| e.operator == facts.operator && e.face == facts.face)
                .map(|e| e.address.as_str())
        };
        let Some(at) = at else { return Vec::new() };
        let starttls = match facts.face {
            "smtp" | "submission" | "relay" => " -starttls smtp",
            "imap" => " -starttls imap",
            _ => "",
        };
        let authority = if self.authority.is_empty() {
            "CA.pem"
        } else {
            &self.authority
        };
        let face = if facts.face == "relay" { "smtp" } else { facts.face };
        let domain = facts
            .examined
            .map(|examined| examined.domain.as_str())
            .filter(|domain| !domain.is_empty());
        let domain = domain.map(|domain| format!(" --domain {domain}")).unwrap_or_default();
        let to = facts.recipient.map(|to| format!(" --to {to}")).unwrap_or_default();
        vec![
            format!("openssl s_client -connect {at}{starttls} -CAfile {authority} -cert CERT.pem -key KEY.pem"),
            format!(
                "vaguemestre doctor --host {at} --face {face} --ca {authority} --cert CERT.pem --key KEY.pem{domain}{to}"
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_part_by_part_as_the_list_compares_them() {
        let shown: SubjectDn = "CN=mx.chu.fr,OU=1990000028,O=CHU  DES Collines,C=FR".parse().unwrap();
        let listed: SubjectDn = "cn=MX.chu.fr,ou=1990000010,O=CHU DES COLLINES,ST=Paris (75),C=FR"
            .parse()
            .unwrap();
        let pairs = differences(&shown, &listed);
        let told: Vec<(&str, bool)> = pairs.iter().map(|pair| (pair.kind.as_str(), pair.same)).collect();
        assert_eq!(
            told,
            [("CN", true), ("OU", false), ("O", true), ("C", true), ("ST", false)]
        );
        assert_eq!(
            (pairs[4].shown.as_deref(), pairs[4].listed.as_deref()),
            (None, Some("Paris (75)"))
        );
    }

    #[test]
    fn every_reason_says_who_acts_and_cites_a_known_requirement() {
        let known = include_str!("../../../docs/reasons.md");
        for reason in Reason::ALL {
            let facts = Facts {
                reason,
                operator: "chu",
                face: "smtp",
                stage: "mail",
                said: "",
                recipient: None,
                is_login: false,
                examined: None,
            };
            let places = Places {
                endpoints: Vec::new(),
                authority: String::new(),
            };
            let verdict = Verdict::of(&facts, &places, crate::cli::words::Language::Fr.words());
            assert!(!verdict.who.is_empty() && !verdict.meaning.is_empty());
            assert!(
                known.contains(&format!("<a id=\"{}\"></a>", verdict.reason)),
                "{}",
                verdict.page
            );
        }
    }
}
