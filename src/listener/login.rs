//! Logging in, the same for SMTP and IMAP: a client certificate bound to a box, or a sandbox password.

use std::net::IpAddr;

use jiff::Timestamp;

use super::link::Handshake;
use super::{Face, Parts, SessionId, Snapshot};
use crate::directory::BoxState;
use crate::identity::Address;
use crate::journal::{Event, Excerpt, Login, LoginRefused};
use crate::pki::Usage;
use crate::policy::{Reason, Refusal, submission};

/// What a client offers.
pub(super) struct Attempt<'a> {
    /// `EXTERNAL`, `PLAIN`, `LOGIN`.
    pub(super) mechanism: &'static str,
    /// The box it wants to act as, when it names one (RFC 4422 §3.4.1 authorisation identity).
    pub(super) authorisation: Option<&'a str>,
    /// User name and password; `None`: the certificate speaks.
    pub(super) password: Option<(&'a str, &'a str)>,
}

/// A login that succeeded.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    /// Who is behind it: certificate subject or user name.
    pub(super) name: String,
    /// The box it acts as.
    pub(super) own: Address,
    /// Boxes it may send from; `own` is one of them.
    pub(super) boxes: Vec<Address>,
}

/// Has a certificate that is about to be used asked about, if nobody can tell yet whether it is revoked.
pub(super) async fn ask(parts: &Parts, snapshot: &Snapshot, handshake: &Handshake, attempt: &Attempt<'_>) {
    if attempt.password.is_none() && !handshake.chain.is_empty() && snapshot.authority.asks_ocsp() {
        let chain = &handshake.chain;
        let responders = &parts.responders;
        responders
            .ask(&snapshot.authority, chain, Usage::Client, &parts.clock)
            .await;
    }
}

/// Checks an attempt against the session's snapshot.
pub(super) fn open(
    snapshot: &Snapshot,
    handshake: &Handshake,
    attempt: &Attempt<'_>,
    now: Timestamp,
) -> Result<Opened, Refusal> {
    let mut opened = match attempt.password {
        Some((user, password)) => by_password(snapshot, attempt.authorisation, user, password),
        None => by_certificate(snapshot, handshake, attempt.authorisation, now),
    }?;
    // A suspended box may still be read; a closed one is gone.
    let is_closed = |address: &Address| {
        let mailbox = snapshot.directory.find(address);
        mailbox.is_none_or(|mailbox| mailbox.state == BoxState::Closed)
    };
    if is_closed(&opened.own) {
        return Err(Refusal::new(Reason::BoxClosed, "the box is closed for good"));
    }
    opened.boxes.retain(|address| !is_closed(address));
    Ok(opened)
}

fn by_certificate(
    snapshot: &Snapshot,
    handshake: &Handshake,
    authorisation: Option<&str>,
    now: Timestamp,
) -> Result<Opened, Refusal> {
    if handshake.chain.is_empty() {
        let text = "EXTERNAL needs a client certificate: present the ORG AUTH_CLI certificate of the box during the TLS handshake";
        return Err(Refusal::new(Reason::CertificateMissing, text));
    }
    let certificate = snapshot.authority.verify(&handshake.chain, Usage::Client, now)?;
    let bound = snapshot.directory.boxes_of_certificate(&certificate.subject);
    let own = submission::login(bound, authorisation.unwrap_or_default())?;
    Ok(Opened {
        name: certificate.subject.to_string(),
        boxes: vec![own.clone()],
        own,
    })
}

fn by_password(
    snapshot: &Snapshot,
    authorisation: Option<&str>,
    user: &str,
    password: &str,
) -> Result<Opened, Refusal> {
    let wrong = || Refusal::new(Reason::CredentialsInvalid, "user name or password is wrong");
    let login = snapshot.directory.password_login(user).ok_or_else(wrong)?;
    if !login.password.matches(password) {
        return Err(wrong());
    }
    // The user name is usually the box itself; a shared user name opens its first box unless another is named.
    let named = authorisation.or_else(|| {
        login
            .boxes
            .iter()
            .any(|address| address.key() == user.to_lowercase())
            .then_some(user)
    });
    let first = login.boxes.first().map(Address::key).unwrap_or_default();
    let own = submission::login(&login.boxes, named.unwrap_or(first))?;
    Ok(Opened {
        name: login.user.clone(),
        own,
        boxes: login.boxes.clone(),
    })
}

/// Where an attempt happened.
pub(super) struct Place<'a> {
    pub(super) parts: &'a Parts,
    pub(super) session: &'a SessionId,
    pub(super) face: Face,
    pub(super) ip: IpAddr,
}

/// Writes how an attempt ended into the journal.
pub(super) async fn journal(place: &Place<'_>, attempt: &Attempt<'_>, result: &Result<Opened, Refusal>) {
    let peer_ip = Excerpt::new(place.ip.to_string());
    let event = match result {
        Ok(opened) => Event::Login(Login {
            face: Excerpt::new(place.face.name()),
            login: Excerpt::new(&opened.name),
            mailbox: (&opened.own).into(),
            mechanism: Excerpt::new(attempt.mechanism),
            peer_ip,
        }),
        Err(refusal) => Event::LoginRefused(LoginRefused {
            reason: refusal.reason.id().to_owned(),
            face: Excerpt::new(place.face.name()),
            login: Excerpt::new(attempt.password.map(|(user, _)| user).unwrap_or_default()),
            mailbox: attempt
                .authorisation
                .and_then(|text| text.parse::<Address>().ok())
                .as_ref()
                .map(Into::into),
            mechanism: Excerpt::new(attempt.mechanism),
            text: Excerpt::new(&refusal.text),
            peer_ip,
        }),
    };
    place.parts.record(place.session, event).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::directory::{Attachment, BoxType, Directory, MailBox, PasswordLogin, Secret};
    use crate::pki::{Authority, AuthorityOptions, Issuer, KeyKind, TrustStore};
    use crate::trust::{AllowList, AllowListDocument};

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn snapshot(states: &[(&str, BoxState)]) -> Snapshot {
        let mut directory = Directory::new(vec!["lilas.mssante.fr".parse().unwrap()]);
        let mut boxes = Vec::new();
        for (address, state) in states {
            let address: Address = address.parse().unwrap();
            boxes.push(address.clone());
            let mailbox = MailBox {
                address,
                box_type: BoxType::Personal,
                label: String::new(),
                attachment: Attachment::None,
                holder: None,
                state: *state,
            };
            directory.add_box(mailbox).unwrap();
        }
        let user = "jeanne".to_owned();
        directory
            .add_password(PasswordLogin {
                user,
                password: Secret::new("sandbox"),
                boxes,
            })
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options = AuthorityOptions {
            base_url: "http://127.0.0.1".to_owned(),
            key: Some(KeyKind::EcdsaP256),
            ..AuthorityOptions::default()
        };
        let authority = Authority::create_or_open(folder.path(), options, now()).unwrap();
        let certificate = |issuer| vec![authority.certificate(issuer).clone()];
        Snapshot {
            directory: Arc::new(directory),
            inboxes: Arc::default(),
            allow_list: Arc::new(AllowList::new(AllowListDocument {
                generated: now(),
                entries: Vec::new(),
            })),
            authority: Arc::new(TrustStore::new(certificate(Issuer::Root), certificate(Issuer::Intermediate)).unwrap()),
        }
    }

    fn attempt<'a>(authorisation: Option<&'a str>, password: &'a str) -> Attempt<'a> {
        Attempt {
            mechanism: "PLAIN",
            authorisation,
            password: Some(("jeanne", password)),
        }
    }

    #[test]
    fn a_suspended_box_opens_and_a_closed_one_does_not() {
        let snapshot = snapshot(&[
            ("a@lilas.mssante.fr", BoxState::Active),
            ("b@lilas.mssante.fr", BoxState::Suspended),
            ("c@lilas.mssante.fr", BoxState::Closed),
        ]);
        let open = |named| open(&snapshot, &Handshake::default(), &attempt(named, "sandbox"), now());
        let opened = open(None).unwrap();
        assert_eq!(opened.own.key(), "a@lilas.mssante.fr");
        assert_eq!(opened.boxes.len(), 2, "the closed box is not among them");
        assert!(open(Some("b@lilas.mssante.fr")).is_ok());
        assert_eq!(open(Some("c@lilas.mssante.fr")).unwrap_err().reason, Reason::BoxClosed);
    }

    #[test]
    fn a_wrong_secret_or_another_box_opens_nothing() {
        let snapshot = snapshot(&[("a@lilas.mssante.fr", BoxState::Active)]);
        let reason = |attempt: &Attempt<'_>| {
            open(&snapshot, &Handshake::default(), attempt, now())
                .unwrap_err()
                .reason
        };
        assert_eq!(reason(&attempt(None, "guess")), Reason::CredentialsInvalid);
        assert_eq!(
            reason(&attempt(Some("z@lilas.mssante.fr"), "sandbox")),
            Reason::CertificateNotBound
        );
        let external = Attempt {
            mechanism: "EXTERNAL",
            authorisation: None,
            password: None,
        };
        assert_eq!(reason(&external), Reason::CertificateMissing);
    }
}
