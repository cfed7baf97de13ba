//! Where to send and as whom: a login of the running sandbox, or the files of another operator.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::args::{RouteArgs, ServerArgs, ServerName};
use crate::clock::Clock;
use crate::identity::Address;
use crate::pki::{
    Expectation, HostNameCheck, Identity, MissingRevocation, RevocationPolicy, TlsMinimum, TrustStore, client_config,
};
use crate::relay::{ConnectionError, Target};
use crate::smtp::Credentials;
use crate::smtp::client::{ClientOptions, ClientTls, Transfer};
use crate::space::card::{Card, LoginCard};
use crate::space::folder::{Layout, default_root};

/// A submission server, the certificate to show there, and the box to send from.
#[derive(Debug)]
pub(super) struct Route {
    /// The box.
    pub(super) from: Address,
    target: Target,
    tls: ClientTls,
    /// Data folder of the sandbox that should be running.
    sandbox: Option<PathBuf>,
}

/// Files that make a TLS client.
struct Files<'a> {
    certificate: &'a Path,
    key: &'a Path,
    ca: &'a Path,
}

impl Route {
    /// From what was typed. Reads every file; connects to nothing.
    pub(super) fn choose(args: &RouteArgs, clock: &Clock) -> anyhow::Result<Self> {
        let tls = if args.starttls {
            ClientTls::StartTls
        } else {
            ClientTls::Implicit
        };
        match &args.server.server {
            Some(server) => Self::to_server(args, server, tls, clock),
            None => Self::to_sandbox(args, tls, clock),
        }
    }

    /// A copy of where to connect.
    pub(super) fn target(&self) -> Target {
        self.target.clone()
    }

    /// How to speak there: SASL EXTERNAL for the box, whether or not the certificate opens others too.
    pub(super) fn options(&self) -> ClientOptions {
        ClientOptions {
            hostname: EHLO_NAME.to_owned(),
            tls: self.tls,
            login: Some(Credentials::External {
                authzid: Some(self.from.as_str().to_owned()),
            }),
            transfer: Transfer::BdatWhenOffered,
        }
    }

    /// Why the server could not be used, with the remedy where there is one.
    pub(super) fn explain(&self, error: &ConnectionError) -> String {
        match (&self.sandbox, error) {
            (Some(data), ConnectionError::Unreachable { .. }) => {
                format!("{error}: is `vaguemestre up` running on {}?", data.display())
            }
            _ => error.to_string(),
        }
    }

    fn to_sandbox(args: &RouteArgs, tls: ClientTls, clock: &Clock) -> anyhow::Result<Self> {
        let root = args.data.clone().map_or_else(default_root, Ok)?;
        let layout = Layout::existing(&root)?;
        let card = read_card(&layout)?;
        let (login, from) = choose_login(&card, args.from.as_ref())?;
        let face = match tls {
            ClientTls::StartTls => "submission",
            ClientTls::Implicit => "submissions",
        };
        let endpoints = &card.endpoints;
        let endpoint = endpoints
            .iter()
            .find(|e| e.operator == login.operator && e.face == face);
        let endpoint = endpoint.with_context(|| format!("operator {} has no {face} address", login.operator))?;
        let address: SocketAddr = endpoint
            .address
            .parse()
            .with_context(|| format!("{} is not an address to connect to", endpoint.address))?;
        let (Some(certificate), Some(key)) = (&login.certificate, &login.key) else {
            anyhow::bail!("login {} has no certificate files", login.name);
        };
        let files = Files {
            certificate: certificate.as_ref(),
            key: key.as_ref(),
            ca: card.ca.as_ref(),
        };
        let tls_config = files.client_config(HostNameCheck::Off, clock)?;
        Ok(Self {
            from,
            target: Target {
                name: endpoint.host.clone(),
                address,
                tls: tls_config,
            },
            tls,
            sandbox: Some(root),
        })
    }

    fn to_server(args: &RouteArgs, server: &ServerName, tls: ClientTls, clock: &Clock) -> anyhow::Result<Self> {
        let ServerArgs {
            cert,
            key,
            ca,
            check_name,
            ..
        } = &args.server;
        // clap asked for all four already.
        let (Some(certificate), Some(key), Some(ca), Some(from)) = (cert, key, ca, &args.from) else {
            anyhow::bail!("--server needs --cert, --key, --ca and --from");
        };
        let check = if *check_name {
            HostNameCheck::On
        } else {
            HostNameCheck::Off
        };
        let tls_config = Files { certificate, key, ca }.client_config(check, clock)?;
        let ServerName { host, port } = server;
        let mut addresses = (host.as_str(), *port)
            .to_socket_addrs()
            .with_context(|| format!("cannot find the address of {host}"))?;
        let address = addresses.next().with_context(|| format!("{host} has no address"))?;
        Ok(Self {
            from: from.clone(),
            target: Target {
                name: host.clone(),
                address,
                tls: tls_config,
            },
            tls,
            sandbox: None,
        })
    }
}

impl Files<'_> {
    fn client_config(&self, check: HostNameCheck, clock: &Clock) -> anyhow::Result<Arc<rustls::ClientConfig>> {
        let identity = Identity::from_files(self.certificate, self.key)?;
        let bundle = fs::read(self.ca).with_context(|| format!("cannot read {}", self.ca.display()))?;
        let trust =
            TrustStore::from_pem(&bundle).with_context(|| format!("{} cannot be trusted", self.ca.display()))?;
        // No CRL lies in the data folder (the sandbox publishes it over HTTP) nor comes with --ca, and a simulator that refused every
        // server for that would be of no use. Chain, dates and usage are judged all the same.
        let policy = RevocationPolicy {
            missing: MissingRevocation::Accept,
            ..RevocationPolicy::default()
        };
        let expectation = Expectation::new(Arc::new(trust.with_revocation(policy))).with_host_name(check);
        Ok(client_config(
            Some(&identity),
            expectation,
            TlsMinimum::default(),
            clock,
        )?)
    }
}

fn read_card(layout: &Layout) -> anyhow::Result<Card> {
    let path = layout.card();
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read {}: has `vaguemestre up` finished starting?",
            path.display()
        )
    })?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged: start `vaguemestre up` again", path.display()))
}

/// The certificate login that opens the box, with the box; without a wish, the first one and its first box.
fn choose_login<'a>(card: &'a Card, from: Option<&Address>) -> anyhow::Result<(&'a LoginCard, Address)> {
    let mut opened = card
        .logins
        .iter()
        .filter(|login| login.kind == "certificate")
        .flat_map(|login| login.boxes.iter().map(move |name| (login, name)))
        .filter_map(|(login, name)| Some((login, name.parse::<Address>().ok()?)));
    let Some(from) = from else {
        return opened
            .next()
            .context("no login of this space has a certificate, and a DUI sends with one");
    };
    let boxes: Vec<(&LoginCard, Address)> = opened.collect();
    if let Some((login, _)) = boxes.iter().find(|(_, address)| address == from) {
        return Ok((login, from.clone()));
    }
    let mut names: Vec<&str> = boxes.iter().map(|(_, address)| address.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    anyhow::bail!(
        "no certificate of this space opens {from}; a DUI can send from: {}",
        names.join(", ")
    )
}

/// The simulator's own name in EHLO; operators do not judge it.
const EHLO_NAME: &str = "dui.localhost";

#[cfg(test)]
mod tests {
    use super::super::args::tests::parse;
    use super::*;

    fn card() -> Card {
        let login = |kind: &str, name: &str, boxes: &[&str]| LoginCard {
            name: name.to_owned(),
            kind: kind.to_owned(),
            boxes: boxes.iter().map(|name| (*name).to_owned()).collect(),
            ..LoginCard::default()
        };
        Card {
            logins: vec![
                login("password", "person", &["soins@x.mssante.fr"]),
                login("certificate", "dui", &["noreply@x.mssante.fr"]),
                login("certificate", "both", &["dui@x.mssante.fr", "noreply@x.mssante.fr"]),
            ],
            ..Card::default()
        }
    }

    fn chosen(from: Option<&str>) -> anyhow::Result<(String, String)> {
        let from = from.map(|text| text.parse().unwrap());
        let card = card();
        let (login, from) = choose_login(&card, from.as_ref())?;
        Ok((login.name.clone(), from.to_string()))
    }

    #[test]
    fn the_first_certificate_is_taken_unless_a_box_is_named() {
        let pair = |login: &str, name: &str| (login.to_owned(), name.to_owned());
        assert_eq!(chosen(None).unwrap(), pair("dui", "noreply@x.mssante.fr"));
        assert_eq!(
            chosen(Some("DUI@x.mssante.fr")).unwrap(),
            pair("both", "DUI@x.mssante.fr")
        );
    }

    #[test]
    fn a_box_without_certificate_is_refused_with_those_that_have_one() {
        for name in ["soins@x.mssante.fr", "nobody@x.mssante.fr"] {
            let error = chosen(Some(name)).err().unwrap().to_string();
            assert!(error.contains(name), "{error}");
            assert!(error.ends_with("dui@x.mssante.fr, noreply@x.mssante.fr"), "{error}");
        }
        assert!(choose_login(&Card::default(), None).is_err());
    }

    #[test]
    fn a_folder_without_space_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_str().unwrap();
        let args = parse(&["--to", "a@x.fr", "--data", data]).unwrap();
        let error = Route::choose(&args.route, &Clock::system()).err().unwrap();
        assert!(format!("{error:#}").contains("vaguemestre up"), "{error:#}");
    }
}
