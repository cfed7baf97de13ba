//! Mail finds its way by MX: what each kind of failure of a first host leads to, and a gateway routed by the name server of a sandbox.

#![cfg(test)]

mod common;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use common::{HOSPITAL, Peer, Program, Running, Space, folder, free_port, holds, mails, wait_until};

const PATIENCE: Duration = Duration::from_secs(40);
const SENDER: (&str, &str) = ("chu", "accueil@chu.mssante.fr");

/// A domain somebody else serves, with two hosts.
struct Domain {
    name: &'static str,
    hosts: [Host; 2],
}

/// A host and its behaviour; see `hosts.py`.
struct Host {
    port: u16,
    preference: u16,
    how: &'static str,
}

/// A domain whose first host behaves like this, and whose second one takes everything.
fn first(name: &'static str, how: &'static str) -> Domain {
    two(name, (10, how), (20, TAKES))
}

fn two(name: &'static str, first: (u16, &'static str), second: (u16, &'static str)) -> Domain {
    let host = |(preference, how)| Host {
        port: free_port(),
        preference,
        how,
    };
    Domain {
        name,
        hosts: [host(first), host(second)],
    }
}

/// Nothing special.
const TAKES: &str = "takes";
/// Nobody listens on its port.
const DEAD: &str = "dead";

impl Domain {
    fn host_name(&self, rank: usize) -> String {
        format!("mx{rank}.{}.localhost", self.name)
    }

    fn address(&self) -> String {
        format!("a@{}.mssante.fr", self.name)
    }

    fn section(&self) -> String {
        let mut text = format!(
            "[[operator]]\nkey = \"{0}\"\nkind = \"external\"\nname = \"VOISIN\"\nstructure = \"990000283\"\n\
             department = \"Ain (01)\"\ndomains = [\"{0}.mssante.fr\"]\n",
            self.name
        );
        for (rank, host) in self.hosts.iter().enumerate() {
            let Host { port, preference, .. } = host;
            let name = self.host_name(rank);
            writeln!(
                text,
                "[[operator.host]]\nname = \"{name}\"\npreference = {preference}\nreach = \"127.0.0.1:{port}\"\nissue = true"
            )
            .unwrap();
        }
        text
    }
}

/// A sandbox, and the hosts of the domains around it.
struct Field {
    _files: TempDir,
    space: Space,
    hosts: Running,
}

impl Field {
    #[track_caller]
    fn raise(domains: &[Domain]) -> Self {
        let files = folder();
        let file = files.path().join("space.toml");
        let sections: String = domains.iter().map(Domain::section).collect();
        fs::write(&file, format!("{HOSPITAL}{sections}")).unwrap();
        let space = Space::up(
            &files.path().join("data"),
            &["--free-ports", "--space", file.to_str().unwrap()],
        );
        let hosts = start_hosts(&space, domains);
        Self {
            _files: files,
            space,
            hosts,
        }
    }

    fn send(&self, to: &Domain, subject: &str) {
        let to = to.address();
        let mail = format!(
            "From: <{}>\r\nTo: <{to}>\r\nSubject: {subject}\r\n\r\nBonjour\r\n",
            SENDER.1
        );
        self.space.send(SENDER, &to, &mail);
    }

    /// Ports of the hosts that took a message with this subject.
    fn taken(&self, subject: &str) -> Vec<u16> {
        let said = self.hosts.stdout();
        let lines = said.lines().filter_map(|line| line.split_once(' '));
        lines
            .filter(|(_, found)| *found == subject)
            .map(|(port, _)| port.parse().unwrap())
            .collect()
    }

    #[track_caller]
    fn record(&self, event: &str, domain: &Domain) -> Value {
        self.space.wait_for_record(event, &[&domain.address()])
    }
}

fn start_hosts(space: &Space, domains: &[Domain]) -> Running {
    let mut hosts = Vec::new();
    for domain in domains {
        for (rank, host) in domain.hosts.iter().enumerate().filter(|(_, host)| host.how != DEAD) {
            let issued = space.certificate(domain.name, &domain.host_name(rank));
            let (certificate, key) = if host.how == "shows another's" {
                let other = space.certificate("chu", "mx.chu.localhost");
                (other.certificate, other.key)
            } else {
                (issued.certificate, issued.key)
            };
            hosts.push(json!({ "port": host.port, "how": host.how, "certificate": certificate, "key": key }));
        }
    }
    let running = Program::new("python3")
        .args(["-c", include_str!("routes/hosts.py")])
        .input(json!(hosts).to_string())
        .start();
    wait_until("the hosts listen", PATIENCE, || {
        running.stdout().contains("ready").then_some(())
    });
    running
}

#[test]
fn whatever_fails_for_now_at_the_first_host_leads_to_the_second_at_once() {
    let domains = [
        first("mort", DEAD),
        first("occupe", "greets 421 4.3.2 too busy"),
        first("ferme", "greets 554 5.3.2 no mail here"),
        first("sanstls", "no STARTTLS"),
        first("tlsplus", "STARTTLS 454 4.7.0 no TLS now"),
        first("tlsfaux", "speaks no TLS"),
        first("autre", "shows another's"),
        first("attente", "MAIL 451 4.3.0 later"),
        first("liste", "RCPT 450 4.2.0 greylisted"),
        first("coupe", "RCPT 421 4.3.2 shutting down"),
        first("plein", "message 452 4.3.1 disk full"),
    ];
    let field = Field::raise(&domains);
    for domain in &domains {
        field.send(domain, domain.name);
    }
    for domain in &domains {
        let relayed = field.record("relayed", domain);
        assert!(
            holds(&relayed, &[&format!("CN={}", domain.host_name(1))]),
            "{}: {relayed}",
            domain.name
        );
        assert_eq!(
            relayed["detail"]["attempts"], 1,
            "{}: fail-over is one attempt",
            domain.name
        );
        assert_eq!(field.taken(domain.name), [domain.hosts[1].port], "{}", domain.name);
    }
    assert!(field.space.journal("deferred").is_empty());
}

#[test]
fn a_firm_refusal_is_final_and_the_second_host_is_not_asked() {
    let domains = [
        first("inconnu", "RCPT 550 5.1.1 no such box"),
        first("refuse", "message 554 5.6.0 not that"),
        first("expediteur", "MAIL 550 5.7.1 not you"),
    ];
    let field = Field::raise(&domains);
    for domain in &domains {
        field.send(domain, domain.name);
    }
    for (domain, words) in domains.iter().zip(["no such box", "not that", "not you"]) {
        let bounced = field.record("bounced", domain);
        assert!(holds(&bounced, &[words]), "{bounced}");
        assert!(field.taken(domain.name).is_empty(), "{}", domain.name);
    }
}

#[test]
fn what_every_host_postpones_is_postponed_with_the_answer_of_the_first() {
    let domains = [
        two(
            "partout",
            (10, "RCPT 450 4.2.0 greylisted"),
            (20, "RCPT 451 4.3.0 later"),
        ),
        two("personne", (10, "RCPT 450 4.2.0 greylisted"), (20, DEAD)),
    ];
    let field = Field::raise(&domains);
    for domain in &domains {
        field.send(domain, domain.name);
    }
    for domain in &domains {
        let deferred = field.record("deferred", domain);
        assert!(holds(&deferred, &["450 4.2.0 greylisted"]), "{deferred}");
        assert_eq!(deferred["detail"]["attempts"], 1, "{deferred}");
    }
}

#[test]
fn a_host_that_vanishes_with_the_message_may_have_it_and_no_other_gets_it_at_once() {
    let domains = [first("vanish", "vanishes")];
    let field = Field::raise(&domains);
    field.send(&domains[0], "vanish");
    let deferred = field.record("deferred", &domains[0]);
    assert!(holds(&deferred, &["4.4.2"]), "{deferred}");
    assert!(field.taken("vanish").is_empty());
}

#[test]
fn hosts_of_one_preference_share_the_mail() {
    let domains = [two("egaux", (10, TAKES), (10, TAKES))];
    let field = Field::raise(&domains);
    let mut ports = Vec::new();
    for number in 0..4 {
        let subject = format!("egal-{number}");
        field.send(&domains[0], &subject);
        ports.push(wait_until("the mail is taken", PATIENCE, || {
            field.taken(&subject).first().copied()
        }));
    }
    for host in &domains[0].hosts {
        let share = ports.iter().filter(|port| **port == host.port).count();
        assert_eq!(share, 2, "{ports:?}");
    }
}

/// A gateway of its own that takes part in a sandbox, and finds everybody by the sandbox's name server.
struct Clinic {
    files: TempDir,
    smtp: u16,
    submission: u16,
    imaps: u16,
}

const BOX: &str = "accueil@clinique.mssante.fr";

impl Clinic {
    fn section(&self) -> String {
        format!(
            "[[operator]]\nkey = \"clinique\"\nkind = \"external\"\nname = \"CLINIQUE\"\nstructure = \"990000283\"\n\
             department = \"Ain (01)\"\ndomains = [\"clinique.mssante.fr\"]\n\
             [[operator.host]]\nname = \"mx.clinique.localhost\"\nreach = \"127.0.0.1:{}\"\nissue = true\n",
            self.smtp
        )
    }

    fn configuration(&self, space: &Space) -> String {
        let own = space.certificate("clinique", "mx.clinique.localhost");
        let shown = |path: &Path| path.display().to_string();
        let Self {
            smtp,
            submission,
            imaps,
            ..
        } = self;
        format!(
            "[operator]\nhost = \"mx.clinique.localhost\"\ndomains = [\"clinique.mssante.fr\"]\n[data]\nfolder = \"data\"\n\
             [listen]\nsmtp = \"127.0.0.1:{smtp}\"\nsubmission = \"127.0.0.1:{submission}\"\nimaps = \"127.0.0.1:{imaps}\"\n\
             [tls]\ncertificate = \"{}\"\nkey = \"{}\"\n\
             [trust]\nca = [\"{}\"]\nallow_list = \"{}\"\nmissing_revocation = \"accept\"\n\
             [relay]\nretry = [\"1s\"]\nport = \"srv\"\nresolvers = [\"{}\"]\nallow_remote = false\n\
             [[entity]]\nfiness = \"990000010\"\nname = \"CLINIQUE\"\n\
             [[establishment]]\nfiness = \"990000028\"\nentity = \"990000010\"\nname = \"Clinique\"\n\
             [[box]]\naddress = \"{BOX}\"\ntype = \"ORG\"\nlabel = \"Accueil\"\nestablishment = \"990000028\"\n\
             [[login]]\nname = \"accueil\"\nkind = \"password\"\npassword = \"essai\"\nboxes = [\"{BOX}\"]\n",
            shown(&own.certificate),
            shown(&own.key),
            shown(&space.authority()),
            shown(&space.data().join("listeblanchemssante.xml")),
            space.printed()["dns"].as_str().unwrap(),
        )
    }

    #[track_caller]
    fn serve(&self, space: &Space) -> Running {
        let file: PathBuf = self.files.path().join("gateway.toml");
        fs::write(&file, self.configuration(space)).unwrap();
        let mut running = Space::program().args(["serve", "--config"]).arg(&file).start();
        wait_until("the gateway serves", PATIENCE, || {
            assert!(!running.has_ended(), "serve ended: {}", running.stderr());
            running.stderr().contains("is serving").then_some(())
        });
        running
    }

    fn send(&self, space: &Space, to: &str, subject: &str) {
        let client = Peer {
            port: self.submission,
            authority: space.authority(),
            certificate: None,
        };
        let mail = format!("From: <{BOX}>\r\nTo: <{to}>\r\nSubject: {subject}\r\n\r\nBonjour\r\n");
        client.submit((BOX, "essai"), to, &mail).assert_accepted();
    }
}

#[test]
fn a_gateway_finds_its_way_into_a_sandbox_and_back_by_its_name_server() {
    let files = folder();
    let clinic = Clinic {
        files: folder(),
        smtp: free_port(),
        submission: free_port(),
        imaps: free_port(),
    };
    let relief = two("relief", (10, DEAD), (20, TAKES));
    let file = files.path().join("space.toml");
    fs::write(&file, format!("{HOSPITAL}{}{}", clinic.section(), relief.section())).unwrap();
    let space = Space::up(
        &files.path().join("data"),
        &["--free-ports", "--space", file.to_str().unwrap()],
    );
    let relief = [relief];
    let hosts = start_hosts(&space, &relief);
    let _running = clinic.serve(&space);
    clinic.send(&space, SENDER.1, "aller");
    space.wait_for_mail(SENDER, &["Subject: aller"]);
    let back = format!(
        "From: <{}>\r\nTo: <{BOX}>\r\nSubject: retour\r\n\r\nBonjour\r\n",
        SENDER.1
    );
    space.send(SENDER, BOX, &back);
    wait_until("the answer arrives", PATIENCE, || {
        let found = mails(clinic.imaps, &space.authority(), (BOX, "essai"));
        found.iter().any(|mail| holds(mail, &["Subject: retour"])).then_some(())
    });
    // By MX: the first host is dead, the second has a port of its own.
    clinic.send(&space, &relief[0].address(), "secours");
    wait_until("the second host takes it", PATIENCE, || {
        hosts
            .stdout()
            .contains(&format!("{} secours", relief[0].hosts[1].port))
            .then_some(())
    });
    // A neighbour on no list is refused at once; nobody asks the name server.
    let client = Peer {
        port: clinic.submission,
        authority: space.authority(),
        certificate: None,
    };
    let stray = format!("From: <{BOX}>\r\nTo: <a@inconnu.mssante.fr>\r\n\r\nBonjour\r\n");
    client
        .submit((BOX, "essai"), "a@inconnu.mssante.fr", &stray)
        .assert_refused("rcpt", &["recipient-domain-unlisted"]);
}
