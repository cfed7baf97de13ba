//! A gateway as an administrator sets one up: `serve --config`, one operator of a field whose authority is elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{Certificate, Named, Peer, Pki, Program, Running, Space, folder, free_port, holds, journal, mails};
use super::{Finished, wait_until};

/// Until another process has done its part, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// Files of a gateway, and where what runs on them listens.
pub(crate) struct Clinic {
    pub(crate) files: TempDir,
    pub(crate) pki: Pki,
    pub(crate) smtp: u16,
    pub(crate) submission: u16,
    pub(crate) submissions: u16,
    pub(crate) imaps: u16,
    pub(crate) metrics: u16,
    /// Where the neighbour would listen.
    pub(crate) neighbour: u16,
    setup: Setup,
}

/// What is not as usual in its configuration.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Lines of `[limits]`.
    pub(crate) limits: &'static str,
    /// Lines of `[operator]`.
    pub(crate) operator: &'static str,
    /// Waits of `[relay] retry`, and lines behind it.
    pub(crate) retry: &'static str,
    /// Its data folder.
    pub(crate) data: PathBuf,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: "",
            operator: "",
            retry: "[\"1s\"]",
            data: "data".into(),
        }
    }
}

impl Clinic {
    /// Its one box.
    pub(crate) const BOX: &str = "accueil@clinique.mssante.fr";
    /// Password of its one login, whose name is the box.
    pub(crate) const PASSWORD: &str = "mot-de-passe-secret";
    /// Somebody at the neighbour.
    pub(crate) const SENDER: &str = "medecin@voisin.mssante.fr";
    /// Its own certificate.
    pub(crate) const SUBJECT: Named<'static> = Named {
        department: "Ain (01)",
        organisation: "CLINIQUE D'ESSAI",
        structure: "1990000283",
        name: "mx.clinique.localhost",
    };
    /// The neighbour's.
    pub(crate) const NEIGHBOUR: Named<'static> = Named {
        department: "Rhône (69)",
        organisation: "OPERATEUR VOISIN",
        structure: "1990000051",
        name: "mx.voisin.localhost",
    };

    /// As usual, with these lines of `[limits]`.
    pub(crate) fn new(limits: &'static str) -> Self {
        Self::set_up(Setup {
            limits,
            ..Setup::default()
        })
    }

    pub(crate) fn set_up(setup: Setup) -> Self {
        let files = folder();
        let pki = Pki::root(files.path(), "root");
        pki.issue("server", Self::SUBJECT);
        let clinic = Self {
            files,
            pki,
            smtp: free_port(),
            submission: free_port(),
            submissions: free_port(),
            imaps: free_port(),
            metrics: free_port(),
            neighbour: free_port(),
            setup,
        };
        clinic.write("allow-list.xml", &Self::list(Self::NEIGHBOUR));
        clinic.write("gateway.toml", &clinic.configuration());
        clinic
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    /// Where its data is.
    pub(crate) fn data(&self) -> PathBuf {
        self.files.path().join(&self.setup.data)
    }

    /// Ports that it listens on.
    pub(crate) fn ports(&self) -> [u16; 5] {
        [self.smtp, self.submission, self.submissions, self.imaps, self.metrics]
    }

    pub(crate) fn configuration(&self) -> String {
        let [smtp, submission, submissions, imaps, metrics] = self.ports();
        let Setup {
            limits,
            operator,
            retry,
            data,
        } = &self.setup;
        let (name, password, neighbour, data) = (Self::BOX, Self::PASSWORD, self.neighbour, data.display());
        format!(
            "[operator]\nhost = \"mx.clinique.localhost\"\ndomains = [\"clinique.mssante.fr\"]\n{operator}\n\
             [data]\nfolder = \"{data}\"\n\
             [listen]\nsmtp = \"127.0.0.1:{smtp}\"\nsubmission = \"127.0.0.1:{submission}\"\n\
             submissions = \"127.0.0.1:{submissions}\"\nimaps = \"127.0.0.1:{imaps}\"\nmetrics = \"127.0.0.1:{metrics}\"\n\
             [tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n\
             [trust]\nca = [\"root.pem\"]\nallow_list = \"allow-list.xml\"\nmissing_revocation = \"accept\"\n\
             [relay]\nretry = {retry}\nallow_remote = false\n\
             [[relay.route]]\ndomain = \"voisin.mssante.fr\"\nhosts = [\"127.0.0.1:{neighbour}\"]\n\
             [limits]\n{limits}\n\
             [[entity]]\nfiness = \"990000010\"\nname = \"CLINIQUE D'ESSAI\"\n\
             [[establishment]]\nfiness = \"990000028\"\nentity = \"990000010\"\nname = \"Clinique\"\n\
             [[box]]\naddress = \"{name}\"\ntype = \"ORG\"\nlabel = \"Accueil\"\nestablishment = \"990000028\"\n\
             [[login]]\nname = \"accueil\"\nkind = \"password\"\npassword = \"{password}\"\nboxes = [\"{name}\"]\n"
        )
    }

    /// An allow list with the clinic, and the neighbour under this subject.
    pub(crate) fn list(neighbour: Named<'_>) -> String {
        let entry = |domain: &str, subject: Named<'_>| {
            format!(
                "<Domaine><Nom>{domain}</Nom><Description>{}</Description><DNCertificatOperateur>{}</DNCertificatOperateur>\
                 <ResponsableContact>a@{domain}</ResponsableContact><SupportContact>a@{domain}</SupportContact>\
                 <DateMAJ>2026-11-01T00:00:00Z</DateMAJ></Domaine>",
                subject.organisation,
                subject.listed()
            )
        };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ListeBlancheMSSante xmlns=\"https://listeblanche.mssante.fr/schema\">\
             <DateDeGeneration>2026-11-01T00:00:00Z</DateDeGeneration><ListeDomaines>{}{}</ListeDomaines></ListeBlancheMSSante>\n",
            entry("clinique.mssante.fr", Self::SUBJECT),
            entry("voisin.mssante.fr", neighbour)
        )
    }

    /// A short mail to its box.
    pub(crate) fn mail(from: &str, subject: &str) -> String {
        let to = Self::BOX;
        format!("From: <{from}>\r\nTo: <{to}>\r\nSubject: {subject}\r\n\r\nBonjour\r\n")
    }

    /// A command of the program on its configuration.
    pub(crate) fn run(&self, command: &str) -> Program {
        self.command(&[command])
    }

    /// The same with more words before `--config`.
    pub(crate) fn command(&self, words: &[&str]) -> Program {
        Space::program()
            .args(words)
            .arg("--config")
            .arg(self.at("gateway.toml"))
    }

    #[track_caller]
    pub(crate) fn serve(&self) -> Running {
        self.serve_with(&[])
    }

    /// Starts it, and waits until it serves.
    #[track_caller]
    pub(crate) fn serve_with(&self, more: &[&str]) -> Running {
        Self::serving(self.command(&[more, &["serve"]].concat()).start())
    }

    /// Waits until it serves.
    #[track_caller]
    pub(crate) fn serving(mut running: Running) -> Running {
        wait_until("the gateway serves", PATIENCE, || {
            assert!(!running.has_ended(), "serve ended: {}", running.stderr());
            running.stderr().contains("is serving").then_some(())
        });
        running
    }

    /// Another operator, with this certificate.
    pub(crate) fn peer(&self, certificate: Option<Certificate>) -> Peer {
        Peer {
            port: self.smtp,
            authority: self.at("root.pem"),
            certificate,
        }
    }

    /// The neighbour, as the allow list names it.
    pub(crate) fn listed_peer(&self) -> Peer {
        self.peer(Some(self.pki.issue("peer", Self::NEIGHBOUR)))
    }

    /// A person.
    pub(crate) fn client(&self) -> Peer {
        Peer {
            port: self.submission,
            ..self.peer(None)
        }
    }

    /// Who its login is.
    pub(crate) fn login() -> (&'static str, &'static str) {
        (Self::BOX, Self::PASSWORD)
    }

    /// What is in its box.
    pub(crate) fn mails(&self) -> Vec<Value> {
        mails(self.imaps, &self.at("root.pem"), Self::login())
    }

    pub(crate) fn records(&self, event: &str) -> Vec<Value> {
        let file = self.at("gateway.toml");
        journal([
            "--event".as_ref(),
            event.as_ref(),
            "--config".as_ref(),
            file.as_os_str(),
        ])
    }

    #[track_caller]
    pub(crate) fn wait_for_record(&self, event: &str, words: &[&str]) -> Value {
        wait_until(&format!("{event} with {words:?}"), PATIENCE, || {
            self.records(event).into_iter().find(|record| holds(record, words))
        })
    }

    /// What `queue` answers.
    pub(crate) fn queue(&self, words: &[&str]) -> Finished {
        self.command(&[&["queue"], words].concat()).run()
    }

    /// The same with `--json`, a line each.
    #[track_caller]
    pub(crate) fn queue_lines(&self, words: &[&str]) -> Vec<Value> {
        let printed = self.queue(&[words, &["--json"]].concat()).assert_success().stdout;
        let lines = printed.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    /// A page of its metrics face.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(self.metrics, path).unwrap()
    }

    /// Status and body of `/readyz`.
    pub(crate) fn ready(&self) -> (u16, Value) {
        let (status, text) = self.get("/readyz");
        (status, serde_json::from_str(&text).unwrap())
    }

    /// Readiness, once it holds.
    #[track_caller]
    pub(crate) fn wait_ready(&self, what: &str, holds: impl Fn(u16, &Value) -> bool) -> Value {
        wait_until(what, PATIENCE, || {
            let (status, told) = self.ready();
            holds(status, &told).then_some(told)
        })
    }

    /// The value of a series of its operator, 0 when there is none: `vaguemestre_x_total`, `face="smtp"`.
    #[track_caller]
    pub(crate) fn counted(&self, name: &str, labels: &str) -> f64 {
        let comma = if labels.is_empty() { "" } else { "," };
        let key = format!("{name}{{operator=\"mx.clinique.localhost\"{comma}{labels}}} ");
        let (_, text) = self.get("/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(&key));
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// One request over HTTP.
pub(crate) fn get(port: u16, path: &str) -> std::io::Result<(u16, String)> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
}

/// Body files of a store, whatever their folders.
pub(crate) fn body_files(store: &Path) -> Vec<PathBuf> {
    let Ok(folders) = fs::read_dir(store.join("bodies")) else {
        return Vec::new();
    };
    let folders = folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap());
    files.map(|entry| entry.unwrap().path()).collect()
}
