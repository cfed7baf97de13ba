//! Who the catalogue pretends to be: an operator of the sandbox towards a server of another, a login of the sandbox towards its client
//! faces, or whomever the user names.

use std::net::SocketAddr;

use anyhow::Context;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::ProbeArgs;
use crate::cli::order::OrderArgs;
use crate::clock::Clock;
use crate::config::{HostCertificate, Operator, Side, Space};
use crate::identity::{Address, Domain};
use crate::lab::Face;
use crate::lab::play::Service;
use crate::message::synthetic::SyntheticMail;
use crate::pki;
use crate::space::card::{Card, Endpoint};
use crate::space::folder::{Layout, default_root};

/// A role, and what the server under test must have been given for it.
pub(super) struct Speaker {
    pub(super) service: Service,
    /// The face of the catalogue that the server is.
    pub(super) face: Face,
    pub(super) subject: String,
    pub(super) names: Vec<String>,
    pub(super) sender: Address,
    pub(super) recipient: Option<Address>,
    pub(super) login: Option<String>,
    layout: Layout,
    web: String,
}

impl Speaker {
    pub(super) fn choose(order: &OrderArgs, wanted: &ProbeArgs, target: SocketAddr) -> anyhow::Result<Self> {
        let root = order.root().map_or_else(default_root, Ok)?;
        let layout = Layout::existing(&root)?;
        let card: Card = std::fs::read(layout.card())
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .context("the space was never raised: run `vaguemestre up` first, so that there is an authority")?;
        let (space, _) = Space::load(&layout.space())?;
        let endpoint = card.endpoints.iter().find(|one| one.address == target.to_string());
        let service = wanted
            .face
            .or_else(|| endpoint.and_then(service_of))
            .unwrap_or(Service::Smtp);
        let mut speaker = match service {
            Service::Smtp | Service::Tls => Self::as_operator(&layout, &space, wanted, endpoint)?,
            _ => Self::as_login(&layout, &card, wanted, endpoint)?,
        };
        speaker.service = service;
        speaker.web.clone_from(&card.web);
        let own = || {
            let operator = &endpoint?.operator;
            let login = card.logins.iter().find(|login| login.operator == *operator)?;
            login.boxes.first()?.parse().ok()
        };
        speaker.recipient = wanted.recipient.clone().or_else(own);
        Ok(speaker)
    }

    /// Speaks for a domain of the space that is not the server's own.
    fn as_operator(
        layout: &Layout,
        space: &Space,
        wanted: &ProbeArgs,
        endpoint: Option<&Endpoint>,
    ) -> anyhow::Result<Self> {
        let asked = wanted.domain.as_deref().map(str::parse::<Domain>).transpose()?;
        let target = endpoint.map(|endpoint| endpoint.operator.as_str());
        let is_chosen = |one: &&Operator| match &asked {
            Some(domain) => one.domains.contains(domain),
            None => one.is_local() && Some(one.key.as_str()) != target,
        };
        let operator = space.operators.iter().find(is_chosen);
        let domain = asked.or_else(|| operator.and_then(|one| one.domains.first().cloned()));
        let domain = domain.context("no other operator in the space: give --domain and --subject")?;
        let listed = operator.and_then(|operator| listed_of(layout, operator));
        let subject = wanted.subject.clone().or(listed);
        let subject = subject.with_context(|| {
            format!("no operator of the space has {domain}: give the subject that the server's list names for it, --subject DN")
        })?;
        let dn: crate::identity::SubjectDn = subject.parse().with_context(|| format!("--subject {subject}"))?;
        let host = dn.common_name().unwrap_or("localhost").to_owned();
        Ok(Self {
            service: Service::Smtp,
            face: Face::PeerIn,
            subject,
            names: vec![
                format!("dns:{host}"),
                "dns:localhost".to_owned(),
                "ip:127.0.0.1".to_owned(),
            ],
            sender: format!("certlab@{domain}").parse()?,
            recipient: None,
            login: None,
            layout: layout.clone(),
            web: String::new(),
        })
    }

    /// Speaks as the software that a login of the server belongs to.
    fn as_login(layout: &Layout, card: &Card, wanted: &ProbeArgs, endpoint: Option<&Endpoint>) -> anyhow::Result<Self> {
        let login = card.logins.iter().find(|login| {
            let here = endpoint.is_none_or(|endpoint| endpoint.operator == login.operator);
            let named = wanted.login.as_ref().is_none_or(|name| login.boxes.contains(name));
            login.certificate.is_some() && here && named
        });
        let of_card = || {
            let pem = std::fs::read(login?.certificate.as_deref()?).ok()?;
            let der = CertificateDer::from_pem_slice(&pem).ok()?;
            pki::subject_of(&der).ok().map(|subject| subject.to_string())
        };
        let subject = wanted.subject.clone().or_else(of_card);
        let subject =
            subject.context("give the subject that the server's login is bound to: --subject DN, and --login BOX")?;
        let mailbox = wanted
            .login
            .clone()
            .or_else(|| login.and_then(|login| login.boxes.first().cloned()));
        let mailbox = mailbox.context("give the box to open: --login BOX")?;
        Ok(Self {
            service: Service::Submission,
            face: Face::Submission,
            subject,
            names: vec![format!("mail:{mailbox}")],
            sender: mailbox.parse()?,
            recipient: None,
            login: Some(mailbox),
            layout: layout.clone(),
            web: String::new(),
        })
        .map(|speaker| speaker.on(wanted.face.or_else(|| endpoint.and_then(service_of))))
    }

    fn on(mut self, service: Option<Service>) -> Self {
        if matches!(service, Some(Service::Imap | Service::Imaps)) {
            self.face = Face::Imap;
        }
        self
    }

    /// The message to leave behind.
    pub(super) fn message(&self) -> anyhow::Result<Vec<u8>> {
        let now = Clock::system().now();
        let to = self.recipient.clone().unwrap_or_else(|| self.sender.clone());
        let mail = SyntheticMail {
            from: &self.sender,
            label: Some("certlab"),
            to: std::slice::from_ref(&to),
            reply_to: None,
            subject: "certlab",
            date: now,
            message_id: &format!("certlab.{}@{}", now.as_millisecond(), self.sender.domain()),
            fields: &[("Auto-Submitted", "auto-generated")],
            text: "The server accepted the certificate that came with this message.\r\n",
            attachments: &[],
        };
        Ok(mail.build()?)
    }

    /// What to give to the server under test.
    pub(super) fn files(&self) -> String {
        format!(
            "The server must trust the authority in {ca}, read the allow list {list} ({web}/listeblanchemssante.xml) and the CRLs of \
             {web}/ that the certificates name; {domain} must be listed there with {subject}.",
            ca = self.layout.ca().display(),
            list = self.layout.allow_list().display(),
            web = self.web,
            domain = self.sender.domain(),
            subject = self.subject,
        )
    }
}

fn service_of(endpoint: &Endpoint) -> Option<Service> {
    Some(match endpoint.face.as_str() {
        "smtp" => Service::Smtp,
        "submission" => Service::Submission,
        "submissions" => Service::Submissions,
        "imap" => Service::Imap,
        "imaps" => Service::Imaps,
        _ => return None,
    })
}

/// The subject that the list names for the first host of an operator.
fn listed_of(layout: &Layout, operator: &Operator) -> Option<String> {
    let of_file = |host: &Domain| {
        let path = layout.operator(&operator.key).join(host.as_str()).join("cert.pem");
        let der = CertificateDer::from_pem_slice(&std::fs::read(path).ok()?).ok()?;
        pki::subject_of(&der).ok().map(|subject| subject.to_string())
    };
    match &operator.side {
        Side::Local { hosts, .. } => of_file(&hosts.first()?.name),
        Side::External { hosts } => {
            let host = hosts.first()?;
            match &host.certificate {
                HostCertificate::Issued => of_file(&host.name),
                HostCertificate::Subject(subject) => Some(subject.to_string()),
            }
        }
    }
}
