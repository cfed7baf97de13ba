//! Every defect of the catalogue against the faces of the real program: what the table says must happen, happens.

#![cfg(test)]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use vaguemestre::clock::Clock;
use vaguemestre::lab::play::{End, Observation, Service};
use vaguemestre::lab::probe::{Probe, Show, TlsVersions};
use vaguemestre::lab::serve_visit::{self, Showing, Stand, Welcome};
use vaguemestre::lab::{Catalogue, Defect, Face, Forge, Forged, Holder, Offer, Outcome, ServiceFault};
use vaguemestre::pki::{self, Authority, AuthorityOptions, Identity, Issuer, Names, Profile, Request, Subject};
use vaguemestre::policy::Reason;

use common::{Peer, Running, Space, folder, free_port, holds, journal, wait_until};

const PATIENCE: Duration = Duration::from_mins(1);
const BOX: &str = "soins@clinique.mssante.fr";
const PERSON: &str = "accueil@clinique.mssante.fr";

/// An authority, a forge that signs with its keys, and the time.
struct Lab {
    _files: TempDir,
    authority: Arc<Authority>,
    forge: Forge,
    catalogue: Catalogue,
    now: Timestamp,
}

/// What the program under test is told: whom to trust, and which revocation services work. Defects that need the same share a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Setting {
    /// Root, then intermediates, DER; none for the authority's own.
    trust: Option<Vec<Vec<u8>>>,
    /// Beside the authority's own.
    lists: Vec<Vec<u8>>,
    state: Lists,
}

/// How the authority's lists are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Lists {
    #[default]
    Good,
    Late,
    Missing,
}

struct Case<'a> {
    defect: &'a Defect,
    expected: &'a Outcome,
    forged: Forged,
}

/// `serve` on files of its own.
struct Gateway {
    files: TempDir,
    ports: BTreeMap<&'static str, u16>,
    running: Option<Running>,
}

fn holder(face: Face) -> Holder {
    let (subject, name) = match face {
        Face::PeerIn | Face::PeerOut => (
            "CN=mx.voisin.localhost,OU=1990000051,O=OPERATEUR VOISIN,ST=Rhône (69),C=FR",
            "dns:mx.voisin.localhost",
        ),
        Face::Submission | Face::Imap => (
            "CN=DUI D'ESSAI,OU=1990000028,O=CLINIQUE D'ESSAI,ST=Ain (01),C=FR",
            "mail:soins@clinique.mssante.fr",
        ),
    };
    Holder {
        subject: subject.parse().unwrap(),
        names: vec![name.to_owned()],
    }
}

impl Lab {
    fn new() -> Self {
        let files = folder();
        let now = Clock::system().now();
        let birth = now - SignedDuration::from_hours(24 * 500);
        let options = AuthorityOptions {
            base_url: "http://127.0.0.1:9".to_owned(),
            ..AuthorityOptions::default()
        };
        let authority = Authority::create_or_open(&files.path().join("authority"), options, birth).unwrap();
        let authority = Arc::new(authority);
        Self {
            forge: Forge::new(Arc::clone(&authority), now).unwrap(),
            catalogue: Catalogue::embedded().unwrap(),
            _files: files,
            authority,
            now,
        }
    }

    /// The cases of a face by the setting they need. The authority knows of each what it must.
    fn cases(&self, face: Face) -> BTreeMap<Setting, Vec<Case<'_>>> {
        let mut by_setting: BTreeMap<Setting, Vec<Case<'_>>> = BTreeMap::new();
        for (defect, expected) in self.catalogue.on(face) {
            let forged = self.forge.make(defect, &holder(face), face);
            let forged = forged.unwrap_or_else(|error| panic!("{}: {error}", defect.id));
            let mut setting = Setting {
                trust: forged
                    .trust
                    .as_ref()
                    .map(|trust| trust.iter().map(|der| der.to_vec()).collect()),
                lists: forged.lists.clone(),
                ..Setting::default()
            };
            match forged.fault {
                None => {}
                Some(ServiceFault::CrlLate) => setting.state = Lists::Late,
                Some(ServiceFault::CrlUnreachable) => setting.state = Lists::Missing,
                // A list that its issuer did not sign is refused when it is read: src/lab/forge/tests.rs. OCSP: src/sync.
                Some(_) => continue,
            }
            by_setting.entry(setting).or_default().push(Case {
                defect,
                expected,
                forged,
            });
        }
        by_setting
    }

    /// A gateway in this setting, whose list and logins name the holders; each domain of `routes` is served on that port.
    fn gateway(&self, setting: &Setting, routes: &[(String, u16, String)]) -> Gateway {
        let files = folder();
        let put = |name: &str, bytes: &[u8]| fs::write(files.path().join(name), bytes).unwrap();
        let own = [Issuer::Root, Issuer::Intermediate].map(|issuer| self.authority.certificate(issuer).to_vec());
        let trust = setting.trust.clone().unwrap_or_else(|| own.to_vec());
        put("ca.pem", pem(&trust).as_bytes());
        put("client-ca.pem", pem(&own[..1]).as_bytes());
        let lists = self.put_lists(setting, &trust, files.path());
        let identity = self.server_identity();
        put("server.pem", pem(&identity.0).as_bytes());
        put("server.key", identity.1.as_bytes());
        put("allow-list.xml", allow_list(routes).as_bytes());
        let ports: BTreeMap<&str, u16> = ["smtp", "submission", "imap"].map(|face| (face, free_port())).into();
        let login = holder(Face::Imap).subject.to_string();
        let mut text = format!(
            "[operator]\nhost = \"mx.clinique.localhost\"\ndomains = [\"clinique.mssante.fr\"]\n[data]\nfolder = \"data\"\n\
             [listen]\nsmtp = \"127.0.0.1:{}\"\nsubmission = \"127.0.0.1:{}\"\nimap = \"127.0.0.1:{}\"\n\
             [tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n\
             [trust]\nca = [\"ca.pem\"]\ncrl = [{}]\nallow_list = \"allow-list.xml\"\n\
             [relay]\nretry = [\"1h\"]\nallow_remote = false\n\
             [limits]\nconnections_per_address_max = 1000\n\
             [[entity]]\nfiness = \"990000010\"\nname = \"CLINIQUE D'ESSAI\"\n\
             [[establishment]]\nfiness = \"990000028\"\nentity = \"990000010\"\nname = \"Clinique\"\n\
             [[box]]\naddress = \"{BOX}\"\ntype = \"APP\"\nlabel = \"Soins\"\nestablishment = \"990000028\"\n\
             [[box]]\naddress = \"{PERSON}\"\ntype = \"ORG\"\nlabel = \"Accueil\"\nestablishment = \"990000028\"\n\
             [[login]]\nname = \"dui\"\nkind = \"certificate\"\nsubject = \"{}\"\nboxes = [\"{BOX}\"]\n\
             [[login]]\nname = \"accueil\"\nkind = \"password\"\npassword = \"essai\"\nboxes = [\"{PERSON}\"]\n",
            ports["smtp"],
            ports["submission"],
            ports["imap"],
            lists.join(", "),
            login.replace('\\', "\\\\"),
        );
        for (domain, port, _) in routes {
            writeln!(
                text,
                "[[relay.route]]\ndomain = \"{domain}\"\nhosts = [\"127.0.0.1:{port}\"]"
            )
            .unwrap();
        }
        put("gateway.toml", text.as_bytes());
        let running = Space::program()
            .args(["serve", "--config"])
            .arg(files.path().join("gateway.toml"))
            .start();
        let mut gateway = Gateway {
            files,
            ports,
            running: Some(running),
        };
        gateway.wait_until_it_serves();
        gateway
    }

    /// Writes the revocation lists of the configured authorities, as this setting has them; their names, quoted.
    fn put_lists(&self, setting: &Setting, trust: &[Vec<u8>], folder: &Path) -> Vec<String> {
        let put = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
        let intermediate = self.authority.certificate(Issuer::Intermediate).to_vec();
        let faults = if setting.state == Lists::Late {
            ServiceFault::CrlLate.faults()
        } else {
            pki::Faults::default()
        };
        let mut lists = Vec::new();
        for file in self.authority.publications(self.now, &faults).unwrap() {
            let is_list = file.media_type == "application/pkix-crl" && !file.path.contains("delta");
            // A list of an authority that is not configured is refused at start.
            let is_own = trust.contains(&intermediate) || !file.path.contains("ACI");
            if let Some(bytes) = file
                .bytes
                .filter(|_| is_list && is_own && setting.state != Lists::Missing)
            {
                let name = format!("list{}.crl", lists.len());
                put(&name, &bytes);
                lists.push(format!("{name:?}"));
            }
        }
        for (place, bytes) in setting.lists.iter().enumerate() {
            let name = format!("false{place}.crl");
            put(&name, bytes);
            lists.push(format!("{name:?}"));
        }
        lists
    }

    fn server_identity(&self) -> (Vec<Vec<u8>>, String) {
        let request = Request {
            profile: Profile::ServSsl,
            subject: Subject {
                common_name: "mx.clinique.localhost".to_owned(),
                structure: "1990000028".to_owned(),
                organisation: "CLINIQUE D'ESSAI".to_owned(),
                state: "Ain (01)".to_owned(),
                country: "FR".to_owned(),
            },
            names: Names {
                dns: vec!["localhost".to_owned()],
                ..Names::default()
            },
            key: None,
            validity_days: None,
        };
        let issued = self.authority.issue(&request, self.now).unwrap();
        let _ready: Identity = issued.identity().unwrap();
        (
            issued.chain.iter().map(|der| der.to_vec()).collect(),
            issued.key_pem().to_owned(),
        )
    }
}

impl Gateway {
    fn wait_until_it_serves(&mut self) {
        let running = self.running.as_mut().unwrap();
        wait_until("the gateway serves", PATIENCE, || {
            assert!(!running.has_ended(), "serve ended: {}", running.stderr());
            running.stderr().contains("is serving").then_some(())
        });
    }

    fn probe(&self, face: Face) -> Probe {
        let (service, port) = match face {
            Face::PeerIn => (Service::Smtp, self.ports["smtp"]),
            Face::Submission => (Service::Submission, self.ports["submission"]),
            _ => (Service::Imap, self.ports["imap"]),
        };
        Probe {
            name: "mx.clinique.localhost".to_owned(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            face: service,
            sender: "medecin@voisin.mssante.fr".parse().unwrap(),
            recipient: Some(BOX.parse().unwrap()),
            login: None,
            message: None,
            wait: PATIENCE,
        }
    }

    fn records(&self) -> Vec<Value> {
        let file = self.files.path().join("gateway.toml");
        journal(["--config".as_ref(), file.as_os_str()])
    }

    /// It must end as it was asked to, whatever it was shown.
    fn stop(&mut self) {
        let ended = self.running.take().unwrap().stop("TERM", PATIENCE).assert_success();
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}

fn show(forged: &Forged) -> Show {
    match (&forged.offer, forged.certified()) {
        (Offer::Clear, _) => Show::Clear,
        (Offer::Hello(hello), _) => Show::Hello(hello.clone()),
        (Offer::Handshake(versions), Some(key)) => Show::Certificate(key, *versions),
        (Offer::Handshake(_), None) => Show::NoCertificate,
    }
}

/// Whether the program did what the table says.
fn is_right(expected: &Outcome, seen: &Observation) -> bool {
    match (expected, &seen.end) {
        (_, End::Unreachable(_) | End::Silent) => false,
        (Outcome::Either, _)
        | (Outcome::Accept, End::Allowed)
        | (Outcome::RefuseHandshake, End::Alert(_) | End::Closed | End::Broken(_)) => true,
        // RFC 3501 §6.2.1 and RFC 5530 §3 have words of their own for it.
        (Outcome::Refuse(Reason::TlsRequired), End::Reply { text, .. }) => {
            text.contains("PRIVACYREQUIRED") || text.contains(Reason::TlsRequired.id())
        }
        // A reply in the protocol, so the session is alive, with the reason's id in it.
        (Outcome::Refuse(reason), End::Reply { text, .. }) => text.contains(reason.id()),
        _ => false,
    }
}

async fn play(face: Face) {
    let lab = Lab::new();
    let mut wrong = Vec::new();
    let mut played = 0;
    for (setting, cases) in lab.cases(face) {
        let subject = cases[0].forged.listed.to_string();
        let mut gateway = lab.gateway(
            &setting,
            &[("voisin.mssante.fr".to_owned(), free_port(), subject.clone())],
        );
        for case in &cases {
            if case.forged.listed.to_string() != subject {
                // It is listed under a name of its own: the outgoing test has one domain for each.
                continue;
            }
            let seen = gateway.probe(face).play(&show(&case.forged)).await;
            played += 1;
            if !is_right(case.expected, &seen) {
                wrong.push(format!("{}: expected {}, {seen}", case.defect.id, case.expected));
            }
        }
        gateway.stop();
    }
    assert!(played > 40, "{played} cases played");
    assert!(wrong.is_empty(), "{face}, {played} cases:\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_shows_a_defect_is_refused_for_its_reason() {
    play(Face::PeerIn).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_software_that_shows_a_defect_is_not_logged_in_to_send_and_its_session_lives() {
    play(Face::Submission).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_software_that_shows_a_defect_is_not_logged_in_to_read_and_its_session_lives() {
    play(Face::Imap).await;
}

/// A server with one defect, on a port of its own, that keeps nothing of what it takes.
async fn stand(forged: &Forged) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let showing = match (&forged.offer, forged.certified()) {
        (Offer::Handshake(versions), Some(key)) => Showing::Certificate(server_config(key, *versions)),
        _ => Showing::Clear,
    };
    let stand = Arc::new(Stand {
        service: Service::Smtp,
        host: "mx.voisin.localhost".to_owned(),
        showing,
        mail: Welcome::Take(Arc::new(|_| Ok(()))),
        wait: PATIENCE,
    });
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let stand = Arc::clone(&stand);
            tokio::spawn(async move { serve_visit::visit(&stand, tcp).await });
        }
    });
    port
}

#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn server_config(key: Arc<CertifiedKey>, versions: TlsVersions) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = match versions {
        TlsVersions::All => rustls::ALL_VERSIONS,
        TlsVersions::Tls12 => &[&rustls::version::TLS12],
        TlsVersions::Tls13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap();
    Arc::new(builder.with_no_client_auth().with_cert_resolver(Arc::new(Shown(key))))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_shows_a_defect_is_given_no_mail() {
    let lab = Lab::new();
    let mut wrong = Vec::new();
    let mut played = 0;
    for (setting, cases) in lab.cases(Face::PeerOut) {
        let mut routes = Vec::new();
        for case in &cases {
            let domain = format!("{}.mssante.fr", case.defect.id);
            routes.push((domain, stand(&case.forged).await, case.forged.listed.to_string()));
        }
        let mut gateway = lab.gateway(&setting, &routes);
        for some in routes.chunks(50) {
            let to: Vec<String> = some.iter().map(|(domain, ..)| format!("medecin@{domain}")).collect();
            let to: Vec<&str> = to.iter().map(String::as_str).collect();
            let authority = gateway.files.path().join("client-ca.pem");
            let client = Peer {
                port: gateway.ports["submission"],
                authority,
                certificate: None,
            };
            let mail =
                format!("From: <{PERSON}>\r\nTo: <medecin@voisin.mssante.fr>\r\nSubject: essai\r\n\r\nBonjour\r\n");
            let login = (PERSON, "essai");
            let replies = tokio::task::spawn_blocking({
                let to: Vec<String> = to.iter().map(|one| (*one).to_owned()).collect();
                move || client.submit_to_all(login, &to, &mail)
            });
            replies.await.unwrap().assert_accepted();
        }
        let settled = tokio::task::block_in_place(|| {
            wait_until("every mail is settled or deferred", PATIENCE, || {
                let records = gateway.records();
                let ends: Vec<&Value> = records.iter().filter(|record| is_end(record)).collect();
                let all = routes
                    .iter()
                    .all(|(domain, ..)| ends.iter().any(|end| holds(end, &[&format!("@{domain}")])));
                all.then(|| ends.into_iter().cloned().collect::<Vec<_>>())
            })
        });
        for case in &cases {
            let domain = format!("@{}.mssante.fr", case.defect.id);
            let end = settled.iter().find(|end| holds(end, &[&domain])).unwrap();
            played += 1;
            let relayed = end["event"] == "relayed";
            let right = match case.expected {
                Outcome::Accept => relayed,
                // No certificate is at fault: the mail waits for a peer that speaks TLS, and says so.
                Outcome::Refuse(Reason::TlsRequired) => !relayed && holds(end, &["does not offer STARTTLS"]),
                Outcome::Refuse(reason) => !relayed && holds(end, &[reason.id()]),
                Outcome::RefuseHandshake => !relayed,
                Outcome::Either => true,
            };
            if !right {
                wrong.push(format!("{}: expected {}, {end}", case.defect.id, case.expected));
            }
        }
        gateway.stop();
    }
    assert!(played > 40, "{played} cases played");
    assert!(wrong.is_empty(), "{played} cases:\n{}", wrong.join("\n"));
}

/// Whether the record tells how an attempt ended.
fn is_end(record: &Value) -> bool {
    ["relayed", "deferred", "bounced"]
        .iter()
        .any(|event| record["event"] == *event)
}

fn allow_list(routes: &[(String, u16, String)]) -> String {
    let clinic = "CN=mx.clinique.localhost,OU=1990000028,O=CLINIQUE D'ESSAI,ST=Ain (01),C=FR";
    let own = [("clinique.mssante.fr".to_owned(), 0, clinic.to_owned())];
    let entries = own.iter().chain(routes).map(|(domain, _, subject)| {
        format!(
            "<Domaine><Nom>{domain}</Nom><Description>essai</Description><DNCertificatOperateur>{subject}</DNCertificatOperateur>\
             <ResponsableContact>a@{domain}</ResponsableContact><SupportContact>a@{domain}</SupportContact>\
             <DateMAJ>2026-11-01T00:00:00Z</DateMAJ></Domaine>"
        )
    });
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListeBlancheMSSante xmlns=\"https://listeblanche.mssante.fr/schema\">\
         <DateDeGeneration>2026-11-01T00:00:00Z</DateDeGeneration><ListeDomaines>{}</ListeDomaines></ListeBlancheMSSante>\n",
        entries.collect::<String>()
    )
}

fn pem(certificates: &[Vec<u8>]) -> String {
    use base64::Engine;
    let block = |der: &Vec<u8>| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            lines.join("\n")
        )
    };
    certificates.iter().map(block).collect()
}
