//! Postfix as another operator of the space, in both directions: mail passes with the certificate that the allow list names, and is
//! refused with the reason in every other case.

#![cfg(test)]

mod common;

use std::fmt::Write;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;

use common::{Certificate, HOSPITAL, Named, Pki, Postfix, PostfixOptions, Route, Space, folder, free_port, holds};
use tempfile::TempDir;

const BOX: (&str, &str) = ("chu", "accueil@chu.mssante.fr");
const VOISIN: Named<'_> = Named {
    department: "Ain (01)",
    organisation: "OPERATEUR VOISIN",
    structure: "1990000283",
    name: "mx.voisin.localhost",
};

/// More boxes of the hospital, in every state, and a second operator, a home.
const LOCAL: &str = r#"
[[operator.box]]
address = "travaux@chu.mssante.fr"
type = "ORG"
label = "En travaux"
establishment = "990000069"
state = "suspended"
[[operator.box]]
address = "ancien@chu.mssante.fr"
type = "ORG"
label = "Ancien service"
establishment = "990000069"
state = "closed"

[[operator]]
key = "lilas"
name = "OPERATEUR DES LILAS"
structure = "99999999900017"
department = "Rhône (69)"
domains = ["lilas.mssante.fr"]
[[operator.host]]
name = "mx.lilas.localhost"
[[operator.entity]]
finess = "990000010"
name = "ASSOCIATION LES LILAS"
[[operator.establishment]]
finess = "990000028"
entity = "990000010"
name = "EHPAD Les Lilas"
[[operator.box]]
address = "soins@lilas.mssante.fr"
type = "ORG"
label = "Soins"
establishment = "990000028"
[[operator.login]]
name = "soins"
kind = "password"
password = "sandbox"
boxes = ["soins@lilas.mssante.fr"]
"#;

/// An operator that somebody else runs: its domain, and its hosts with their ports, by preference.
struct External<'a> {
    domain: &'a str,
    hosts: &'a [(&'a str, u16)],
    /// The subject on the allow list; none: the sandbox issues the certificate.
    subject: Option<Named<'a>>,
}

impl External<'_> {
    fn section(&self) -> String {
        let key = self.domain.replace('.', "-");
        let mut text = format!(
            "\n[[operator]]\nkey = \"{key}\"\nkind = \"external\"\nname = \"OPERATEUR VOISIN\"\nstructure = \"990000283\"\n\
             department = \"Ain (01)\"\ndomains = [\"{}\"]\n",
            self.domain
        );
        let certificate = match &self.subject {
            Some(subject) => format!("subject = \"{}\"", subject.listed()),
            None => "issue = true".to_owned(),
        };
        for (rank, (name, port)) in self.hosts.iter().enumerate() {
            let preference = 10 * (rank + 1);
            writeln!(
                text,
                "[[operator.host]]\nname = \"{name}\"\npreference = {preference}\nreach = \"127.0.0.1:{port}\"\n{certificate}"
            )
            .unwrap();
        }
        text
    }
}

/// A sandbox and what its external operators need.
struct Field {
    files: TempDir,
    space: Space,
}

impl Field {
    fn raise(external: &[External<'_>]) -> Self {
        let files = folder();
        let file = files.path().join("space.toml");
        let sections: String = external.iter().map(External::section).collect();
        fs::write(&file, format!("{HOSPITAL}{LOCAL}{sections}")).unwrap();
        let space = Space::up(
            &files.path().join("data"),
            &["--free-ports", "--space", file.to_str().unwrap()],
        );
        Self { files, space }
    }

    fn certificate(&self, domain: &str, host: &str) -> Certificate {
        self.space.certificate(&domain.replace('.', "-"), host)
    }

    /// What the authority of the space never issued, but could have.
    fn pki(&self) -> Pki {
        Pki::of_sandbox(&self.space.data(), self.files.path())
    }

    /// An authority that has nothing to do with the space.
    fn foreign(&self) -> Pki {
        Pki::root(self.files.path(), "foreign")
    }

    /// A Postfix that serves `voisin.mssante.fr` on `port` and sends everything for the hospital there, whatever the domain.
    fn postfix(&self, port: u16, certificate: &Certificate) -> Postfix {
        let chu = self.space.port("chu", "smtp");
        let route = |domain| Route {
            domain,
            port: chu,
            host: "mx.chu.localhost",
        };
        let routes = [route("chu.mssante.fr"), route("ailleurs.example")];
        Postfix::start_on(
            port,
            &PostfixOptions {
                domain: "voisin.mssante.fr",
                host: VOISIN.name,
                boxes: &["medecin"],
                certificate,
                authority: &self.space.authority(),
                listed_peers: None,
                routes: &routes,
            },
        )
    }

    /// Waits for the refusal in the journal of the hospital, and its words in the log of the peer.
    #[track_caller]
    fn assert_refused(&self, postfix: &Postfix, reason: &str, words: &[&str]) {
        let record = self.space.wait_for_record("refused", &[reason]);
        assert_eq!(record["reason"], reason, "{record}");
        assert!(holds(&record, words), "{words:?} in {record}");
        postfix.wait_for_log(&["status=bounced", reason]);
    }
}

fn message(subject: &str) -> String {
    format!("From: <medecin@voisin.mssante.fr>\nTo: <accueil@chu.mssante.fr>\nSubject: {subject}\n\nBonjour\n")
}

fn reply_mail(to: &str, subject: &str) -> String {
    format!(
        "From: <accueil@chu.mssante.fr>\r\nTo: <{to}>\r\nSubject: {subject}\r\nMessage-ID: <{subject}@chu.test>\r\n\r\nBonjour\r\n"
    )
}

#[test]
fn mail_passes_both_ways_with_the_certificate_that_the_list_names() {
    let port = free_port();
    let field = Field::raise(&[External {
        domain: "voisin.mssante.fr",
        hosts: &[(VOISIN.name, port)],
        subject: None,
    }]);
    let postfix = field.postfix(port, &field.certificate("voisin.mssante.fr", VOISIN.name));

    postfix.send("medecin@voisin.mssante.fr", &[BOX.1], &message("vers le CHU"));
    let mail = field.space.wait_for_mail(BOX, &["vers le CHU"]);
    assert!(
        holds(
            &mail,
            &["Return-Path: <medecin@voisin.mssante.fr>", "mx.voisin.localhost"]
        ),
        "{mail}"
    );
    let record = field.space.wait_for_record("received", &["mx.voisin.localhost"]);
    assert!(holds(&record, &[&VOISIN.listed()]), "{record}");

    field.space.send(
        BOX,
        "medecin@voisin.mssante.fr",
        &reply_mail("medecin@voisin.mssante.fr", "retour"),
    );
    let arrived = postfix.wait_for_mail("medecin", "Subject: retour");
    assert!(arrived.contains("mx.chu.localhost"), "{arrived}");
    let relayed = field.space.wait_for_record("relayed", &["medecin@voisin.mssante.fr"]);
    assert!(holds(&relayed, &[&VOISIN.listed(), "250"]), "{relayed}");
    assert_eq!(relayed["detail"]["attempts"], 1, "{relayed}");
}

#[test]
fn postfix_is_refused_for_domains_boxes_and_relays_that_are_not_its_own() {
    let port = free_port();
    let field = Field::raise(&[
        External {
            domain: "voisin.mssante.fr",
            hosts: &[(VOISIN.name, port)],
            subject: None,
        },
        External {
            domain: "clinique.mssante.fr",
            hosts: &[("mx.clinique.localhost", port)],
            subject: None,
        },
    ]);
    let postfix = field.postfix(port, &field.certificate("voisin.mssante.fr", VOISIN.name));

    postfix.send("medecin@rayee.mssante.fr", &[BOX.1], &message("rayee"));
    field.assert_refused(
        &postfix,
        "sender-domain-unlisted",
        &["rayee.mssante.fr", "mx.voisin.localhost"],
    );
    postfix.send("medecin@clinique.mssante.fr", &[BOX.1], &message("usurpee"));
    field.assert_refused(
        &postfix,
        "certificate-not-for-domain",
        &[
            "CN=mx.voisin.localhost",
            "clinique.mssante.fr",
            "CN=mx.clinique.localhost",
        ],
    );
    let from = "medecin@voisin.mssante.fr";
    postfix.send(from, &["personne@chu.mssante.fr"], &message("inconnue"));
    field.assert_refused(&postfix, "box-unknown", &["personne@chu.mssante.fr", from]);
    postfix.send(from, &["ancien@chu.mssante.fr"], &message("fermee"));
    field.assert_refused(&postfix, "box-closed", &["ancien@chu.mssante.fr"]);
    postfix.send(from, &["quelquun@ailleurs.example"], &message("relais"));
    field.assert_refused(&postfix, "relay-denied", &["ailleurs.example"]);
    postfix.send(from, &["travaux@chu.mssante.fr"], &message("suspendue"));
    field.space.wait_for_record("refused", &["box-suspended"]);
    postfix.wait_for_log(&["status=deferred", "box-suspended"]);
    assert!(field.space.mails(BOX.0, BOX.1).is_empty(), "a refused mail arrived");
    // What Postfix reports to its own users says why.
    postfix.wait_for_mail("medecin", "box-unknown");
}

#[test]
fn postfix_is_refused_with_any_certificate_but_a_valid_one() {
    let port = free_port();
    let field = Field::raise(&[External {
        domain: "voisin.mssante.fr",
        hosts: &[(VOISIN.name, port)],
        subject: None,
    }]);
    let postfix = field.postfix(port, &field.certificate("voisin.mssante.fr", VOISIN.name));
    let other_structure = Named {
        structure: "1990000051",
        ..VOISIN
    };
    let cases = [
        ("certificate-untrusted", field.foreign().issue("foreign-leaf", VOISIN)),
        ("certificate-expired", field.pki().issue_expired("expired", VOISIN)),
        (
            "certificate-not-for-domain",
            field.pki().issue("other", other_structure),
        ),
    ];
    let from = "medecin@voisin.mssante.fr";
    for (reason, certificate) in cases {
        show_as_client(&postfix, Some(&certificate));
        postfix.send(from, &[BOX.1], &message(reason));
        field.assert_refused(&postfix, reason, &[]);
    }
    show_as_client(&postfix, None);
    postfix.send(from, &[BOX.1], &message("sans certificat"));
    field.assert_refused(&postfix, "certificate-missing", &[]);
    postfix.configure(&["smtp_tls_policy_maps=", "smtp_tls_security_level=none"]);
    postfix.send(from, &[BOX.1], &message("en clair"));
    field.assert_refused(&postfix, "tls-required", &[]);
    assert!(field.space.mails(BOX.0, BOX.1).is_empty(), "a refused mail arrived");

    // The same server with its own certificate is heard again.
    let host = format!("smtp_tls_policy_maps=texthash:{}/policies", postfix.etc().display());
    postfix.configure(&["smtp_tls_security_level=secure", &host]);
    show_as_client(&postfix, Some(&field.certificate("voisin.mssante.fr", VOISIN.name)));
    postfix.send(from, &[BOX.1], &message("enfin"));
    field.space.wait_for_mail(BOX, &["enfin"]);
}

fn show_as_client(postfix: &Postfix, certificate: Option<&Certificate>) {
    let path =
        |of: fn(&Certificate) -> &Path| certificate.map_or(String::new(), |files| of(files).display().to_string());
    postfix.configure(&[
        &format!("smtp_tls_cert_file={}", path(|files| &files.certificate)),
        &format!("smtp_tls_key_file={}", path(|files| &files.key)),
    ]);
}

#[test]
fn mail_to_a_certificate_that_the_list_does_not_name_bounces_at_once() {
    let port = free_port();
    let field = Field::raise(&[External {
        domain: "voisin.mssante.fr",
        hosts: &[(VOISIN.name, port)],
        subject: Some(Named {
            structure: "1990000077",
            ..VOISIN
        }),
    }]);
    let _postfix = field.postfix(port, &field.pki().issue("peer", VOISIN));
    let to = "medecin@voisin.mssante.fr";
    field.space.send(BOX, to, &reply_mail(to, "autre-certificat"));
    let bounce = field.space.wait_for_mail(BOX, &["delivery-status"]);
    assert_is_report(&bounce, to, "5.7.1");
    let reason = [
        "certificate-not-for-domain",
        "voisin.mssante.fr",
        "OU=1990000283",
        "OU=1990000077",
    ];
    assert!(holds(&bounce["status"], &reason), "{bounce:#}");
    assert!(holds(&bounce["original"], &["autre-certificat"]), "{bounce:#}");
    let record = field.space.wait_for_record("bounced", &[to]);
    assert!(holds(&record, &["certificate-not-for-domain"]), "{record}");
}

/// A report of RFC 3464 in the frame of RFC 6522, as Python reads it.
#[track_caller]
fn assert_is_report(mail: &Value, recipient: &str, status: &str) {
    assert_eq!(mail["type"], "multipart/report", "{mail:#}");
    assert_eq!(mail["report_type"], "delivery-status", "{mail:#}");
    assert_eq!(mail["auto_submitted"], "auto-replied", "{mail:#}");
    assert_eq!(mail["return_path"], "<>", "{mail:#}");
    assert_eq!(mail["defects"], serde_json::json!([]), "{mail:#}");
    let blocks = mail["status"].as_array().unwrap();
    assert!(holds(&blocks[0]["reporting-mta"], &["mx.chu.localhost"]), "{mail:#}");
    let block = &blocks[1];
    assert_eq!(block["action"], "failed", "{mail:#}");
    assert_eq!(block["status"], status, "{mail:#}");
    assert!(holds(&block["final-recipient"], &[recipient]), "{mail:#}");
}

#[test]
fn what_postfix_refuses_for_good_comes_back_with_its_words() {
    let port = free_port();
    let field = Field::raise(&[
        External {
            domain: "voisin.mssante.fr",
            hosts: &[(VOISIN.name, port)],
            subject: Some(VOISIN),
        },
        // Listed for the same certificate, but this server knows nothing of it.
        External {
            domain: "annexe.mssante.fr",
            hosts: &[("mx.annexe.localhost", port)],
            subject: Some(VOISIN),
        },
    ]);
    let _postfix = field.postfix(port, &field.pki().issue("peer", VOISIN));
    for (to, status, words) in [
        ("personne@voisin.mssante.fr", "5.1.1", "User unknown"),
        ("medecin@annexe.mssante.fr", "5.7.1", "Relay access denied"),
    ] {
        field.space.send(BOX, to, &reply_mail(to, "refus"));
        let bounce = field.space.wait_for_mail(BOX, &["delivery-status", to]);
        assert_is_report(&bounce, to, status);
        assert!(holds(&bounce["status"], &[words, "mx."]), "{bounce:#}");
    }
    let unlisted = "medecin@rayee.mssante.fr";
    let client = common::Peer {
        port: field.space.port("chu", "submission"),
        authority: field.space.authority(),
        certificate: None,
    };
    let replies = client.submit((BOX.1, "sandbox"), unlisted, &reply_mail(unlisted, "rayee"));
    replies.assert_refused("rcpt", &["550", "rayee.mssante.fr", "recipient-domain-unlisted"]);
}

#[test]
fn nothing_is_said_to_a_server_without_tls_or_with_a_certificate_that_proves_nothing() {
    let (clear, foreign, expired) = (free_port(), free_port(), free_port());
    let external = |domain, name, port| (domain, [(name, port)]);
    let peers = [
        external("clair.mssante.fr", "mx.clair.localhost", clear),
        external("etranger.mssante.fr", "mx.etranger.localhost", foreign),
        external("perime.mssante.fr", "mx.perime.localhost", expired),
    ];
    let operators = peers.each_ref().map(|(domain, hosts)| External {
        domain,
        hosts,
        subject: Some(VOISIN),
    });
    let field = Field::raise(&operators);
    let good = field.pki().issue("peer", VOISIN);
    let without_tls = field.postfix(clear, &good);
    without_tls.configure(&["smtpd_tls_security_level=none"]);
    let servers = [
        without_tls,
        field.postfix(foreign, &field.foreign().issue("foreign-leaf", VOISIN)),
        field.postfix(expired, &field.pki().issue_expired("expired", VOISIN)),
    ];
    for ((domain, _), words) in peers
        .iter()
        .zip(["STARTTLS", "certificate-untrusted", "certificate-expired"])
    {
        let to = format!("medecin@{domain}");
        field.space.send(BOX, &to, &reply_mail(&to, "secret"));
        let record = field.space.wait_for_record("deferred", &[&to]);
        assert!(holds(&record, &[words]), "{record}");
        assert!(record["detail"]["due"].is_string(), "{record}");
    }
    for server in &servers {
        let log = server.log();
        assert!(
            !log.contains("from=<") && !log.contains("mail="),
            "something was said: {log}"
        );
    }
    assert!(field.space.mails(BOX.0, BOX.1).is_empty(), "a delay is not a bounce");
    assert!(field.space.journal("bounced").is_empty());
}

#[test]
fn the_second_host_is_asked_when_the_first_is_dead() {
    let (dead, port) = (free_port(), free_port());
    let field = Field::raise(&[External {
        domain: "voisin.mssante.fr",
        hosts: &[("mx.mort.localhost", dead), (VOISIN.name, port)],
        subject: None,
    }]);
    let postfix = field.postfix(port, &field.certificate("voisin.mssante.fr", VOISIN.name));
    let to = "medecin@voisin.mssante.fr";
    field.space.send(BOX, to, &reply_mail(to, "secours"));
    postfix.wait_for_mail("medecin", "Subject: secours");
    let record = field.space.wait_for_record("relayed", &[to]);
    assert!(holds(&record, &["CN=mx.voisin.localhost"]), "{record}");
    assert_eq!(record["detail"]["attempts"], 1, "fail-over is one attempt: {record}");
    assert!(
        TcpListener::bind(("127.0.0.1", dead)).is_ok(),
        "the first host was not dead"
    );
}

#[test]
fn between_operators_of_the_sandbox_a_box_answers_by_its_state() {
    let field = Field::raise(&[]);
    let space = &field.space;
    let sender = ("lilas", "soins@lilas.mssante.fr");
    let send = |to: &str| {
        let mail = format!("From: <{}>\r\nTo: <{to}>\r\nSubject: etat\r\n\r\nBonjour\r\n", sender.1);
        space.send(sender, to, &mail);
    };
    send("accueil@chu.mssante.fr");
    space.wait_for_mail(BOX, &["Subject: etat"]);
    for (to, reason) in [
        ("ancien@chu.mssante.fr", "box-closed"),
        ("personne@chu.mssante.fr", "box-unknown"),
    ] {
        send(to);
        let bounce = space.wait_for_mail(sender, &["delivery-status", to]);
        assert!(holds(&bounce["status"], &["failed", reason, "550"]), "{bounce:#}");
        space.wait_for_record("bounced", &[to, reason]);
    }
    send("travaux@chu.mssante.fr");
    let deferred = space.wait_for_record("deferred", &["travaux@chu.mssante.fr"]);
    assert!(holds(&deferred, &["450", "box-suspended"]), "{deferred}");
    assert_eq!(
        space.mails(sender.0, sender.1).len(),
        2,
        "a suspended box is no bounce yet"
    );
    space.wait_for_record("refused", &["box-suspended", "CN=mx.lilas.localhost"]);
}
