//! The lines that `up` prints, typed as they are printed.

#![cfg(test)]

mod common;

use std::time::Duration;

use common::{Finished, Sandbox, received, wait_until};
use serde_json::Value;

const DUI: &str = "noreply@ehpad-lilas.mssante.fr";
const HOSPITAL: &str = "urgences@chu-demo.mssante.fr";
const PATIENT: &str = "279035121518989@patient.mssante.fr";
const EHPAD: &str = "990000028";
const SUBJECT: &str = "Subject: Premier message du bac a sable";
const DELIVERY_LIMIT: Duration = Duration::from_secs(30);

#[track_caller]
fn typed(sandbox: &Sandbox, name: &str) -> Finished {
    Sandbox::shell(&sandbox.space().command_line(name))
        .run()
        .assert_success()
}

#[track_caller]
fn arrives(sandbox: &Sandbox, operator: &str, user: &str, count: usize) {
    wait_until("the first mails arrive", DELIVERY_LIMIT, || {
        let found = received(sandbox, operator, user, SUBJECT).len();
        assert!(found <= count, "{found} messages at {user}");
        (found == count).then_some(())
    });
}

#[test]
fn the_printed_lines_send_read_and_count_two_messages() {
    let sandbox = Sandbox::up();
    typed(&sandbox, "send-curl");
    typed(&sandbox, "send-patient-curl");
    arrives(&sandbox, "chu", HOSPITAL, 1);
    arrives(&sandbox, "patient", PATIENT, 1);

    let read = typed(&sandbox, "read-curl");
    assert!(read.stdout.contains(SUBJECT), "{read:?}");
    assert!(read.stdout.contains("Ce message a été préparé le"), "{read:?}");

    let indicator = typed(&sandbox, "indicator").stdout;
    assert!(indicator.contains("EHPAD Les Lilas"), "{indicator}");
    let counted = Sandbox::shell(&format!("{} --json", sandbox.space().command_line("indicator")))
        .run()
        .assert_success();
    let counted: Value = serde_json::from_str(&counted.stdout).unwrap();
    assert_eq!(sent_for(&counted, EHPAD), 2, "{counted}");

    let journal = typed(&sandbox, "journal").stdout;
    let submitted = journal
        .lines()
        .filter(|line| line.contains("submitted") && line.contains(DUI));
    assert_eq!(submitted.count(), 2, "{journal}");
    assert!(!journal.contains("279035121518989"), "the journal shows a whole INS");
}

#[test]
fn the_printed_openssl_dialogue_sends() {
    let sandbox = Sandbox::up();
    let said = typed(&sandbox, "send-openssl").stdout;
    assert!(said.contains("235 2.7.0") && said.contains("250 2.0.0"), "{said}");
    assert!(said.contains("221 2.0.0"), "{said}");
    arrives(&sandbox, "chu", HOSPITAL, 1);
}

#[test]
fn the_printed_lines_find_the_servers_of_the_hospital() {
    let sandbox = Sandbox::up();
    let found = typed(&sandbox, "find-dig").stdout;
    let imap = sandbox.port("chu", "imap");
    assert!(found.contains("10 mx1.chu.localhost."), "{found}");
    assert!(found.contains(&format!(" {imap} mx1.chu.localhost.")), "{found}");
    let told = typed(&sandbox, "find-curl").stdout;
    assert!(told.contains(&format!("<port>{imap}</port>")), "{told}");
}

/// Messages sent, in the row of an establishment.
fn sent_for(counted: &Value, finess: &str) -> u64 {
    let rows = counted["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["establishment"] == finess).unwrap();
    row["sent"]["messages"].as_u64().unwrap()
}
