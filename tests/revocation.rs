//! Revocation as an operator lives it: CRLs and OCSP answers over HTTP, on every face that asks for a certificate, in both directions.

#![cfg(test)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::routing::post;
use tempfile::TempDir;
use vaguemestre::clock::Clock;
use vaguemestre::pki::ocsp::OcspReply;
use vaguemestre::pki::{
    Authority, AuthorityOptions, Fault, Issued, Issuer, KeyKind, Names, Profile, Request, RevocationReason, Subject,
    trust_bundle, write_private, write_public,
};

use common::{Certificate, Peer, Pki, Program, Running, Space, folder, free_port, holds, journal, mails, wait_until};

const PATIENCE: Duration = Duration::from_secs(40);
const CLINIC_BOX: &str = "accueil@clinique.mssante.fr";
const SENDER: &str = "medecin@voisin.mssante.fr";
const SOFTWARE_BOX: &str = "dui@clinique.mssante.fr";

/// The authority of a field: certificates, and an HTTP server with its lists and its responder.
struct House {
    authority: Arc<Authority>,
    services: Arc<Services>,
    base: String,
    /// The server lives in it: dropped, nobody answers any more.
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
    files: TempDir,
}

#[derive(Default)]
struct Services {
    lists: Mutex<BTreeMap<String, Vec<u8>>>,
    fault: Mutex<Option<Fault>>,
    questions: Mutex<usize>,
}

impl House {
    fn new() -> Self {
        let files = folder();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let options = AuthorityOptions {
            base_url: base.clone(),
            key: Some(KeyKind::EcdsaP256),
            ..AuthorityOptions::default()
        };
        let now = Clock::system().now();
        let authority = Arc::new(Authority::create_or_open(&files.path().join("authority"), options, now).unwrap());
        write_public(&files.path().join("ca.pem"), trust_bundle(&authority).as_bytes()).unwrap();
        let services = Arc::new(Services::default());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let state = (Arc::clone(&authority), Arc::clone(&services));
        let router = Router::new()
            .fallback(list)
            .route("/ocsp", post(answer))
            .with_state(state);
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await
        });
        let house = Self {
            authority,
            services,
            base,
            runtime: Mutex::new(Some(runtime)),
            files,
        };
        house.publish();
        house
    }

    /// Publishes the lists as they are now.
    fn publish(&self) {
        let now = Clock::system().now();
        let mut lists = self.services.lists.lock().unwrap();
        for (path, issuer) in [("/root.crl", Issuer::Root), ("/aci.crl", Issuer::Intermediate)] {
            lists.insert(path.to_owned(), self.authority.crl(issuer, now).unwrap());
        }
    }

    fn fault(&self, fault: Option<Fault>) {
        *self.services.fault.lock().unwrap() = fault;
    }

    /// From now on nobody answers.
    fn close(&self) {
        let runtime = self.runtime.lock().unwrap().take();
        runtime.unwrap().shutdown_background();
    }

    fn questions(&self) -> usize {
        std::mem::take(&mut *self.services.questions.lock().unwrap())
    }

    fn issue(&self, name: &str, profile: Profile) -> (Issued, Certificate) {
        let request = Request {
            profile,
            subject: Subject {
                common_name: name.to_owned(),
                structure: "1990000283".to_owned(),
                organisation: "MAISON D'ESSAI".to_owned(),
                state: "Ain (01)".to_owned(),
                country: "FR".to_owned(),
            },
            names: Names {
                dns: vec!["localhost".to_owned()],
                ip: vec!["127.0.0.1".parse().unwrap()],
                ..Names::default()
            },
            key: Some(KeyKind::EcdsaP256),
            validity_days: None,
        };
        let issued = self.authority.issue(&request, Clock::system().now()).unwrap();
        let at = |ending: &str| self.files.path().join(format!("{name}.{ending}"));
        write_public(&at("pem"), issued.chain_pem().as_bytes()).unwrap();
        write_private(&at("key"), issued.key_pem().as_bytes()).unwrap();
        let files = Certificate {
            certificate: at("pem"),
            key: at("key"),
        };
        (issued, files)
    }

    fn revoke(&self, issued: &Issued) {
        let why = RevocationReason::KeyCompromise;
        self.authority
            .revoke(&issued.serial, why, Clock::system().now())
            .unwrap();
    }

    fn ca(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }
}

type Shared = (Arc<Authority>, Arc<Services>);

async fn list(State((_, services)): State<Shared>, uri: Uri) -> (StatusCode, Vec<u8>) {
    match services.lists.lock().unwrap().get(uri.path()) {
        Some(list) => (StatusCode::OK, list.clone()),
        None => (StatusCode::NOT_FOUND, Vec::new()),
    }
}

async fn answer(State((authority, services)): State<Shared>, request: Bytes) -> (StatusCode, Vec<u8>) {
    *services.questions.lock().unwrap() += 1;
    let fault = *services.fault.lock().unwrap();
    match authority.ocsp(&request, Clock::system().now(), fault) {
        OcspReply::Answer { der, .. } => (StatusCode::OK, der),
        OcspReply::Unreachable => (StatusCode::SERVICE_UNAVAILABLE, Vec::new()),
    }
}

/// One operator of the field.
struct Operator<'h> {
    house: &'h House,
    name: &'static str,
    issued: Issued,
    smtp: u16,
    submission: u16,
    imaps: u16,
}

impl<'h> Operator<'h> {
    fn new(house: &'h House, name: &'static str) -> Self {
        let (issued, _) = house.issue(&format!("mx.{name}.localhost"), Profile::ServSsl);
        Self {
            house,
            name,
            issued,
            smtp: free_port(),
            submission: free_port(),
            imaps: free_port(),
        }
    }

    fn folder(&self) -> PathBuf {
        self.house.files.path().join(self.name)
    }

    fn configuration(&self) -> PathBuf {
        self.folder().join("gateway.toml")
    }

    /// Writes its configuration: `trust` are further lines of that section, `more` further sections.
    fn configure(&self, listed: &[(&str, &Issued)], (trust, tls): (&str, &str), more: &str) {
        fs::create_dir_all(self.folder()).unwrap();
        fs::write(self.folder().join("allow-list.xml"), allow_list(listed)).unwrap();
        let Self {
            name,
            smtp,
            submission,
            imaps,
            ..
        } = self;
        let text = format!(
            "[operator]\nhost = \"mx.{name}.localhost\"\ndomains = [\"{name}.mssante.fr\"]\n[data]\nfolder = \"data\"\n\
             [listen]\nsmtp = \"127.0.0.1:{smtp}\"\nsubmission = \"127.0.0.1:{submission}\"\nimaps = \"127.0.0.1:{imaps}\"\n\
             [tls]\ncertificate = \"../mx.{name}.localhost.pem\"\nkey = \"../mx.{name}.localhost.key\"\n{tls}\n\
             [trust]\nca = [\"../ca.pem\"]\nallow_list = \"allow-list.xml\"\n{trust}\n\
             [relay]\nretry = [\"1s\"]\nallow_remote = false\n{more}\n\
             [[entity]]\nfiness = \"990000010\"\nname = \"MAISON D'ESSAI\"\n\
             [[establishment]]\nfiness = \"990000028\"\nentity = \"990000010\"\nname = \"Maison\"\n\
             [[box]]\naddress = \"accueil@{name}.mssante.fr\"\ntype = \"ORG\"\nlabel = \"Accueil\"\nestablishment = \"990000028\"\n\
             [[box]]\naddress = \"dui@{name}.mssante.fr\"\ntype = \"APP\"\nlabel = \"DUI\"\nestablishment = \"990000028\"\n\
             [[login]]\nname = \"accueil\"\nkind = \"password\"\npassword = \"essai\"\nboxes = [\"accueil@{name}.mssante.fr\"]\n"
        );
        fs::write(self.configuration(), text).unwrap();
    }

    #[track_caller]
    fn serve(&self) -> Running {
        let mut running = self.run("serve").start();
        wait_until("the gateway serves", PATIENCE, || {
            assert!(!running.has_ended(), "serve ended: {}", running.stderr());
            running.stderr().contains("is serving").then_some(())
        });
        running
    }

    fn run(&self, command: &str) -> Program {
        Space::program().args([command, "--config"]).arg(self.configuration())
    }

    fn peer(&self, certificate: &Certificate) -> Peer {
        Peer {
            port: self.smtp,
            authority: self.house.ca(),
            certificate: Some(certificate.clone()),
        }
    }

    /// What the peer face says to a mail of the neighbour's: `250`, or code and reason.
    fn hears(&self, certificate: &Certificate) -> String {
        let to = format!("accueil@{}.mssante.fr", self.name);
        let replies = self.peer(certificate).offer(SENDER, &[&to], &mail(SENDER, &to));
        replies.0.last().unwrap().1.clone()
    }

    /// The whole of what openssl says while it speaks to a TLS port, with `lines` typed.
    fn s_client(&self, port: u16, arguments: &[&str], lines: &str) -> String {
        Program::new("openssl")
            .args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-CAfile"])
            .arg(self.house.ca())
            .args(arguments)
            .input(lines.to_owned())
            .run()
            .text()
    }

    /// The same of the IMAP port, with this certificate.
    fn imap(&self, files: &Certificate, lines: &str) -> String {
        let (certificate, key) = (files.certificate.display().to_string(), files.key.display().to_string());
        let arguments = [
            "-quiet",
            "-cert",
            &certificate,
            "-cert_chain",
            &certificate,
            "-key",
            &key,
            "-ign_eof",
        ];
        self.s_client(self.imaps, &arguments, lines)
    }

    fn records(&self, event: &str) -> Vec<serde_json::Value> {
        let file = self.configuration();
        journal([
            "--event".as_ref(),
            event.as_ref(),
            "--config".as_ref(),
            file.as_os_str(),
        ])
    }
}

fn allow_list(listed: &[(&str, &Issued)]) -> String {
    let entry = |(domain, issued): &(&str, &Issued)| {
        format!(
            "<Domaine><Nom>{domain}</Nom><Description>d</Description><DNCertificatOperateur>{}</DNCertificatOperateur>\
             <ResponsableContact>a@{domain}</ResponsableContact><SupportContact>a@{domain}</SupportContact>\
             <DateMAJ>2026-11-01T00:00:00Z</DateMAJ></Domaine>",
            issued.subject
        )
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListeBlancheMSSante xmlns=\"https://listeblanche.mssante.fr/schema\">\
         <DateDeGeneration>2026-11-01T00:00:00Z</DateDeGeneration><ListeDomaines>{}</ListeDomaines></ListeBlancheMSSante>\n",
        listed.iter().map(entry).collect::<String>()
    )
}

fn mail(from: &str, to: &str) -> String {
    format!("From: <{from}>\r\nTo: <{to}>\r\nSubject: essai\r\n\r\nBonjour\r\n")
}

#[test]
fn a_peer_is_heard_refused_or_put_off_by_what_the_responder_says() {
    let house = House::new();
    let clinic = Operator::new(&house, "clinique");
    let (good, good_files) = house.issue("mx.bon.localhost", Profile::ServSsl);
    let (bad, bad_files) = house.issue("mx.revoque.localhost", Profile::ServSsl);
    let (late, late_files) = house.issue("mx.tard.localhost", Profile::ServSsl);
    house.revoke(&bad);
    let listed = [
        ("clinique.mssante.fr", &clinic.issued),
        ("voisin.mssante.fr", &good),
        ("voisin.mssante.fr", &bad),
        ("voisin.mssante.fr", &late),
    ];
    clinic.configure(&listed, ("revocation = \"ocsp\"\nocsp_wait = \"2s\"", ""), "");
    let running = clinic.serve();
    assert!(clinic.hears(&good_files).starts_with("250 "));
    assert_eq!(house.questions(), 2, "the leaf and the authority above it");
    assert!(clinic.hears(&good_files).starts_with("250 "));
    assert_eq!(house.questions(), 0, "the answer is remembered");
    let refused = clinic.hears(&bad_files);
    assert!(
        refused.starts_with("554 ") && refused.contains("certificate-revoked"),
        "{refused}"
    );
    for fault in [Fault::Unsigned, Fault::Unreachable] {
        house.fault(Some(fault));
        let put_off = clinic.hears(&late_files);
        assert!(
            put_off.starts_with("454 ") && put_off.contains("revocation-unknown"),
            "{fault:?}: {put_off}"
        );
        // What is known stays known meanwhile, for good and for bad.
        assert!(clinic.hears(&good_files).starts_with("250 "));
        assert!(clinic.hears(&bad_files).starts_with("554 "));
        clinic_pause(&clinic, &late_files, fault);
    }
    house.fault(None);
    wait_until("the responder is asked again", PATIENCE, || {
        clinic.hears(&late_files).starts_with("250 ").then_some(())
    });
    drop(running);
}

/// A responder that failed is not asked again at once: waits until it is.
fn clinic_pause(clinic: &Operator<'_>, files: &Certificate, fault: Fault) {
    clinic.house.questions();
    wait_until("the responder may be asked again", PATIENCE, || {
        let said = clinic.hears(files);
        assert!(said.starts_with("454 "), "{fault:?}: {said}");
        (clinic.house.questions() > 0).then_some(())
    });
}

#[test]
fn a_fetched_list_refuses_a_revoked_peer_even_after_a_restart_without_network() {
    let house = House::new();
    let clinic = Operator::new(&house, "clinique");
    let (good, good_files) = house.issue("mx.bon.localhost", Profile::ServSsl);
    let (bad, bad_files) = house.issue("mx.revoque.localhost", Profile::ServSsl);
    let listed = [
        ("clinique.mssante.fr", &clinic.issued),
        ("voisin.mssante.fr", &good),
        ("voisin.mssante.fr", &bad),
    ];
    let trust = format!(
        "revocation = \"crl\"\ncrl_url = [\"{0}/root.crl\", \"{0}/aci.crl\"]\ncrl_period = \"1s\"",
        house.base
    );
    clinic.configure(&listed, (&trust, ""), "");
    let running = clinic.serve();
    let heard = |files: &Certificate| clinic.hears(files);
    wait_until("the lists are there", PATIENCE, || {
        heard(&bad_files).starts_with("250 ").then_some(())
    });
    house.revoke(&bad);
    house.publish();
    wait_until("the new list is there", PATIENCE, || {
        heard(&bad_files).contains("certificate-revoked").then_some(())
    });
    assert!(heard(&good_files).starts_with("250 "));
    assert_eq!(house.questions(), 0, "nobody was asked by OCSP");
    running.stop("TERM", PATIENCE);
    house.close();
    let _running = clinic.serve();
    assert!(clinic.hears(&bad_files).contains("certificate-revoked"));
    assert!(clinic.hears(&good_files).starts_with("250 "));
}

#[test]
fn the_relay_asks_about_a_server_before_it_gives_it_mail() {
    let house = House::new();
    let (sender, receiver) = (Operator::new(&house, "clinique"), Operator::new(&house, "voisin"));
    let listed = [
        ("clinique.mssante.fr", &sender.issued),
        ("voisin.mssante.fr", &receiver.issued),
    ];
    let by_ocsp = "revocation = \"ocsp\"\nocsp_wait = \"2s\"";
    receiver.configure(&listed, (by_ocsp, ""), "");
    let route = format!(
        "[[relay.route]]\ndomain = \"voisin.mssante.fr\"\nhosts = [\"127.0.0.1:{}\"]",
        receiver.smtp
    );
    sender.configure(&listed, (by_ocsp, ""), &route);
    let (sending, _receiving) = (sender.serve(), receiver.serve());
    let client = Peer {
        port: sender.submission,
        authority: house.ca(),
        certificate: None,
    };
    let to = "accueil@voisin.mssante.fr";
    client
        .submit((CLINIC_BOX, "essai"), to, &mail(CLINIC_BOX, to))
        .assert_accepted();
    let arrived = || mails(receiver.imaps, &house.ca(), (to, "essai")).len();
    wait_until("the mail is there", PATIENCE, || (arrived() == 1).then_some(()));
    // Both asked: the relay about the server, the server about the relay, each about the authority too.
    assert!(house.questions() >= 4);
    assert!(
        sender.records("deferred").is_empty(),
        "the second connection came at once"
    );

    // A restart forgets the answers; then the server's certificate is revoked.
    drop(sending);
    house.revoke(&receiver.issued);
    let _sending = sender.serve();
    client
        .submit((CLINIC_BOX, "essai"), to, &mail(CLINIC_BOX, to))
        .assert_accepted();
    wait_until("the refusal is written down", PATIENCE, || {
        let found = sender.records("deferred");
        found
            .iter()
            .any(|record| holds(record, &["certificate-revoked"]))
            .then_some(())
    });
    assert_eq!(arrived(), 1, "nothing was given to a revoked server");
}

#[test]
fn a_client_certificate_is_asked_about_and_a_foreign_one_never_ends_a_session() {
    let house = House::new();
    let clinic = Operator::new(&house, "clinique");
    let (software, software_files) = house.issue("DUI Essai", Profile::OrgAuthCli);
    let (revoked, revoked_files) = house.issue("DUI Perdu", Profile::OrgAuthCli);
    let (late, late_files) = house.issue("DUI Tardif", Profile::OrgAuthCli);
    house.revoke(&revoked);
    let listed = [("clinique.mssante.fr", &clinic.issued)];
    let login = |name: &str, issued: &Issued| {
        format!(
            "[[login]]\nname = \"{name}\"\nkind = \"certificate\"\nsubject = \"{}\"\nboxes = [\"{SOFTWARE_BOX}\"]\n",
            issued.subject.to_string().replace('"', "\\\"")
        )
    };
    let logins = [login("dui", &software), login("perdu", &revoked), login("tard", &late)].concat();
    clinic.configure(&listed, ("revocation = \"ocsp\"\nocsp_wait = \"2s\"", ""), &logins);
    let _running = clinic.serve();
    let imap = |files: &Certificate, lines: &str| clinic.imap(files, lines);
    let external = "a AUTHENTICATE EXTERNAL =\r\nb LOGOUT\r\n";
    let said = imap(&software_files, external);
    assert!(said.contains("a OK"), "{said}");
    assert!(house.questions() >= 1);
    let said = imap(&revoked_files, external);
    assert!(
        said.contains("a NO [AUTHENTICATIONFAILED]") && said.contains("certificate-revoked"),
        "{said}"
    );
    // Nobody can tell: RFC 5530 §3, a failure for the moment, which says nothing of the credentials.
    for fault in [Fault::Unreachable, Fault::Unsigned] {
        house.fault(Some(fault));
        let said = imap(&late_files, external);
        assert!(
            said.contains("a NO [UNAVAILABLE]") && said.contains("revocation-unknown"),
            "{fault:?}: {said}"
        );
        assert!(!said.contains("AUTHENTICATIONFAILED"), "{said}");
        // What is known stays known meanwhile.
        assert!(imap(&software_files, external).contains("a OK"));
        assert!(imap(&revoked_files, external).contains("a NO [AUTHENTICATIONFAILED]"));
    }
    house.fault(None);
    wait_until("the responder is asked again", PATIENCE, || {
        imap(&late_files, external).contains("a OK").then_some(())
    });
    // A certificate of nobody's: EXTERNAL is refused, the password of a person is not.
    let elsewhere = folder();
    let foreign = common::Authority::new(elsewhere.path()).issue("dui.example");
    house.questions();
    let both = format!("a AUTHENTICATE EXTERNAL =\r\nb LOGIN {CLINIC_BOX} essai\r\nc SELECT INBOX\r\nd LOGOUT\r\n");
    let said = imap(&foreign, &both);
    assert!(
        said.contains("a NO") && said.contains("certificate-untrusted"),
        "{said}"
    );
    assert!(
        said.contains("b OK") && said.contains("c OK") && said.contains("d OK"),
        "{said}"
    );
    assert_eq!(house.questions(), 0, "a stranger's certificate sends us nowhere");
    let refused = clinic.records("login-refused");
    assert!(
        refused.iter().any(|record| holds(record, &["certificate-untrusted"])),
        "{refused:?}"
    );
}

#[test]
fn the_suites_and_versions_of_the_configuration_are_spoken_and_no_others() {
    let house = House::new();
    let clinic = Operator::new(&house, "clinique");
    let listed = [("clinique.mssante.fr", &clinic.issued)];
    let suites = "suites = [\"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\", \"TLS_AES_256_GCM_SHA384\"]";
    clinic.configure(&listed, ("", suites), "");
    let running = clinic.serve();
    let shaken = |arguments: &[&str]| {
        let said = clinic.s_client(clinic.imaps, &[arguments, &["-brief"]].concat(), "a LOGOUT\r\n");
        said.contains("CONNECTION ESTABLISHED")
    };
    assert!(shaken(&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"]));
    assert!(!shaken(&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"]));
    assert!(!shaken(&["-tls1_2", "-cipher", "AES128-SHA:ECDHE-ECDSA-AES128-SHA"]));
    assert!(shaken(&["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"]));
    assert!(!shaken(&["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"]));
    assert!(!shaken(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]));
    drop(running);
    clinic.configure(&listed, ("", "suites = [\"TLS_RSA_WITH_AES_128_CBC_SHA\"]"), "");
    let told = clinic.run("check").run().assert_failure();
    assert!(told.stderr.contains("TLS_RSA_WITH_AES_128_CBC_SHA") && told.stderr.contains("TLS_AES_128_GCM_SHA256"));
    let old_only = "version_min = \"1.3\"\nsuites = [\"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\"]";
    clinic.configure(&listed, ("", old_only), "");
    assert!(clinic.run("check").run().assert_failure().stderr.contains("TLS 1.3"));
}

#[test]
fn client_faces_name_the_authorities_of_now_and_an_error_names_its_file() {
    let house = House::new();
    let clinic = Operator::new(&house, "clinique");
    let listed = [("clinique.mssante.fr", &clinic.issued)];
    clinic.configure(&listed, ("reload = \"1s\"", ""), "");
    let second = Pki::root(&clinic.folder(), "second");
    let both = |text: String| text.replace("ca = [\"../ca.pem\"]", "ca = [\"../ca.pem\", \"second.pem\"]");
    let configuration = both(fs::read_to_string(clinic.configuration()).unwrap());
    fs::write(clinic.configuration(), configuration).unwrap();
    // The second file holds the first authority to begin with.
    let other = fs::read(&second.authority.certificate).unwrap();
    fs::copy(house.ca(), clinic.folder().join("second.pem")).unwrap();
    let _running = clinic.serve();
    let named = || clinic.s_client(clinic.imaps, &["-tls1_2"], "a LOGOUT\r\n");
    let before = named();
    assert!(before.contains("Acceptable client certificate CA names"), "{before}");
    assert!(
        !before.contains("CN = second") && !before.contains("CN=second"),
        "{before}"
    );
    fs::write(clinic.folder().join("second.pem"), other).unwrap();
    wait_until("the new authority is named", PATIENCE, || {
        let said = named();
        (said.contains("CN = second") || said.contains("CN=second")).then_some(())
    });
    fs::write(clinic.folder().join("second.pem"), "no certificate").unwrap();
    let told = clinic.run("check").run().assert_failure();
    assert!(told.stderr.contains("second.pem"), "{}", told.stderr);
}
