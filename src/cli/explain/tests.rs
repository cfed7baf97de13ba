//! What is told of sessions made by hand.

use clap::Parser;

use super::*;
use crate::cli::open::tests::{Printed, operator};
use crate::indicator::fake::block_on;
use crate::journal::{Bounced, CheckOutcome, Event, Examined, Refused, ShownCertificate, sample};
use crate::policy::{Reason, Refusal};
use crate::space::card::Endpoint;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: ExplainArgs,
}

fn explain(words: &[&str], operators: &[OpenOperator]) -> (u8, Printed) {
    let args = Cli::try_parse_from([&["explain"], words].concat()).unwrap().args;
    let places = Places {
        endpoints: vec![Endpoint {
            operator: "chu".into(),
            face: "smtp".into(),
            host: "mx1.chu.fr".into(),
            address: "127.0.0.1:2526".into(),
            security: String::new(),
        }],
        authority: "/data/ca.pem".into(),
    };
    let mut printed = Printed::default();
    let code = block_on(run_explain(
        &args,
        operators,
        (&places, sample::moment()),
        printed.output(),
    ))
    .unwrap();
    (code, printed)
}

/// A peer that shows the right CN with another OU.
fn other_unit() -> Vec<Event> {
    let refusal = Refusal::new(
        Reason::CertificateNotForDomain,
        "certificate is not listed for lilas.mssante.fr",
    );
    vec![
        Event::Refused(Refused {
            peer_ip: "127.0.0.1".into(),
            peer_subject: "CN=mx.lilas.fr,OU=1990000028,O=LES LILAS,C=FR".into(),
            ..Refused::new("smtp", "mail", &refusal)
        }),
        Event::Examined(Box::new(Examined {
            face: "smtp".into(),
            rule: "certificate-not-for-domain".into(),
            domain: "lilas.mssante.fr".into(),
            chain: vec![ShownCertificate {
                subject: "CN=mx.lilas.fr,OU=1990000028,O=LES LILAS,C=FR".into(),
                ..ShownCertificate::default()
            }],
            checks: vec![CheckOutcome {
                id: "allow-list".into(),
                outcome: "failed".into(),
                detail: "not listed".into(),
            }],
            listed: vec!["CN=mx.lilas.fr,OU=1990000010,O=LES LILAS,C=FR".into()],
            list_generated: "2026-11-21T09:00:00Z".into(),
            ..Examined::default()
        })),
    ]
}

#[test]
fn the_name_shown_stands_beside_the_name_listed_in_french() {
    let (code, printed) = explain(&["s-4", "--lang", "fr"], &[operator("chu", other_unit())]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(printed.out());
}

#[test]
fn the_same_in_english_and_for_scripts() {
    let chu = [operator("chu", other_unit())];
    let (_, printed) = explain(&["s-42", "--lang", "en"], &chu);
    insta::assert_snapshot!(printed.out());
    let (_, printed) = explain(&["s-42", "--json", "--lang", "en"], &chu);
    let story: serde_json::Value = serde_json::from_str(&printed.out()).unwrap();
    let refusal = &story["sessions"][0]["refusals"][0];
    assert_eq!(refusal["reason"], "certificate-not-for-domain");
    assert_eq!(refusal["compared"][0][1]["same"], false);
    assert_eq!(story["sessions"][0]["examined"][0]["checks"][0]["outcome"], "failed");
}

#[test]
fn a_name_nobody_has_says_where_names_are_found() {
    let (code, printed) = explain(&["K3F7Q2ABCD", "--lang", "en"], &[operator("chu", other_unit())]);
    assert_eq!((code, printed.out()), (1, String::new()));
    assert!(printed.notes().contains("Journals read: chu"), "{}", printed.notes());
    assert!(printed.notes().contains("end of every refusal"));
}

#[test]
fn a_refusal_at_an_operator_whose_journal_is_not_here_is_told_from_its_reply() {
    let bounced = Event::Bounced(Bounced {
        recipient: sample::masked("x@chu.mssante.fr"),
        reply: "550 5.1.1 no such box (box-unknown, session K3F7Q2ABCD)".into(),
        ..Bounced::default()
    });
    let lilas = [operator("lilas", vec![bounced])];
    for asked in ["s-42", "K3F7Q2ABCD"] {
        let (code, printed) = explain(&[asked, "--lang", "en"], &lilas);
        assert_eq!(code, 0, "{asked}: {}", printed.notes());
        assert!(printed.out().contains("There is no such box."), "{}", printed.out());
    }
}

#[test]
fn every_event_is_told_in_both_languages() {
    for language in ["fr", "en"] {
        let (code, printed) = explain(&["s-42", "--lang", language], &[operator("chu", sample::every_event())]);
        assert_eq!(code, 0);
        assert!(!printed.out().contains(sample::INS), "{}", printed.out());
    }
}

#[test]
fn a_message_is_found_by_its_id() {
    let operators = [operator("chu", sample::every_event())];
    let (code, printed) = explain(&["<1@chu>", "--lang", "en"], &operators);
    assert_eq!(code, 0);
    assert!(
        printed.out().contains("delivered to ssiad@ssiad-lilas.mssante.fr"),
        "{}",
        printed.out()
    );
    assert_eq!(explain(&["<2@chu>"], &operators).0, 1);
}
