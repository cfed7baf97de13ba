//! A sender written over the library: as a DUI it submits with the certificate of a login, as an operator it hands over to another one.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vaguemestre::clock::Clock;
use vaguemestre::pki::{
    Expectation, Identity, MissingRevocation, RevocationPolicy, TlsMinimum, TrustStore, client_config,
};
use vaguemestre::relay::{Connection, Driven, Target, Text, Waits};
use vaguemestre::smtp::client::{ClientOptions, ClientTls, Outcome, RecipientOutcome, Transaction, Transfer};
use vaguemestre::smtp::{Credentials, ForwardPath, MailFrom, RcptTo};

use super::Space;

/// Whom to connect to, and as whom.
#[derive(Clone)]
pub(crate) struct Sender {
    target: Target,
    options: ClientOptions,
    from: String,
}

/// Its connection, once the first message has opened one.
pub(crate) struct Line {
    sender: Sender,
    connection: Option<Connection>,
}

impl Sender {
    /// The software behind a certificate login, on port 465 of its operator; `from` is its box.
    #[track_caller]
    pub(crate) fn dui(space: &Space, login: (&str, &str), from: &str) -> Self {
        let card = space.login(login.0, login.1);
        let file = |name: &str| Path::new(card[name].as_str().unwrap()).to_owned();
        let credentials = Credentials::External {
            authzid: Some(from.to_owned()),
        };
        let options = ClientOptions {
            hostname: "dui.example".to_owned(),
            tls: ClientTls::Implicit,
            login: Some(credentials),
            transfer: Transfer::Data,
        };
        let identity = (&*file("certificate"), &*file("key"));
        Self {
            target: target(space, identity, space.address(login.0, "submissions")),
            options,
            from: from.to_owned(),
        }
    }

    /// The same software at another operator, which took its box over: its files are those it has.
    #[track_caller]
    pub(crate) fn dui_at(space: &Space, files: (&str, &str), operator: &str, from: &str) -> Self {
        let folder = space.data().join("logins").join(files.0).join(files.1);
        let options = ClientOptions {
            hostname: "dui.example".to_owned(),
            tls: ClientTls::Implicit,
            login: Some(Credentials::External {
                authzid: Some(from.to_owned()),
            }),
            transfer: Transfer::Data,
        };
        let identity = (&*folder.join("cert.pem"), &*folder.join("key.pem"));
        Self {
            target: target(space, identity, space.address(operator, "submissions")),
            options,
            from: from.to_owned(),
        }
    }

    /// The relay of an operator, with the certificate of its host, on port 25 of another one.
    #[track_caller]
    pub(crate) fn operator(space: &Space, (key, host): (&str, &str), from: &str, to: &str) -> Self {
        let folder = space.data().join("operators").join(key).join(host);
        let options = ClientOptions {
            hostname: host.to_owned(),
            tls: ClientTls::StartTls,
            login: None,
            transfer: Transfer::BdatWhenOffered,
        };
        let identity = (&*folder.join("cert.pem"), &*folder.join("key.pem"));
        Self {
            target: target(space, identity, space.address(to, "smtp")),
            options,
            from: from.to_owned(),
        }
    }

    /// A connection of its own.
    pub(crate) fn line(&self) -> Line {
        Line {
            sender: self.clone(),
            connection: None,
        }
    }
}

impl Line {
    /// Sends one message over the same connection as the one before. For each recipient the reply code, which is final; an error when the
    /// connection broke, so that nobody knows.
    pub(crate) async fn send(&mut self, to: &[&str], content: &[u8]) -> Result<Vec<u16>, String> {
        let transaction = self.transaction(to, content);
        let reused = self
            .connection
            .as_mut()
            .is_some_and(|connection| connection.next_transaction(transaction.clone()));
        if !reused {
            let Sender { target, options, .. } = self.sender.clone();
            let opened = Connection::open(target, options, transaction, WAITS).await;
            self.connection = Some(opened.map_err(|error| error.to_string())?);
        }
        let Some(connection) = &mut self.connection else {
            return Err("no connection".to_owned());
        };
        match connection.transact(&Text::from(content.to_vec())).await {
            Driven::Outcome(Outcome::Finished(outcomes)) => Ok(outcomes.iter().map(code).collect()),
            Driven::Outcome(Outcome::Failed(failure)) => Err(failure.to_string()),
            Driven::Unproved(error) => Err(error.to_string()),
        }
    }

    fn transaction(&self, to: &[&str], content: &[u8]) -> Transaction {
        let recipient = |address: &&str| RcptTo {
            path: ForwardPath::Address(address.parse().unwrap()),
            notify: None,
            orcpt: None,
        };
        Transaction {
            mail: MailFrom {
                path: Some(self.sender.from.parse().unwrap()),
                size_bytes: Some(content.len() as u64),
                ..MailFrom::default()
            },
            recipients: to.iter().map(recipient).collect(),
        }
    }
}

fn target(space: &Space, (certificate, key): (&Path, &Path), address: SocketAddr) -> Target {
    let bundle = fs::read(space.printed()["ca"].as_str().unwrap()).unwrap();
    let trust = TrustStore::from_pem(&bundle)
        .unwrap()
        .with_revocation(RevocationPolicy {
            missing: MissingRevocation::Accept,
            ..RevocationPolicy::default()
        });
    let identity = Identity::from_files(certificate, key).unwrap();
    let expectation = Expectation::new(Arc::new(trust));
    let tls = client_config(Some(&identity), expectation, TlsMinimum::Tls12, &Clock::system()).unwrap();
    Target {
        name: "localhost".to_owned(),
        address,
        tls,
    }
}

fn code(outcome: &RecipientOutcome) -> u16 {
    match outcome {
        RecipientOutcome::Accepted(reply) | RecipientOutcome::Deferred(reply) | RecipientOutcome::Refused(reply) => {
            reply.code
        }
    }
}

/// Enough on a loaded machine; a server that hangs fails the test.
const WAITS: Waits = Waits {
    connect: Duration::from_secs(20),
    reply: Duration::from_secs(20),
    delivery: Duration::from_secs(20),
};
