//! What the relay does with hosts that misbehave in every way, with connections kept open, and with what a peer offers or lacks.

#![cfg(test)]

mod common;
mod mail_host;
mod relay_handover;

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use common::{Program, wait_until};
use mail_host::{Field, Host, Mail, Options};
use vaguemestre::queue::Parameters;
use vaguemestre::relay::Reuse;
use vaguemestre::smtp::command::{Notify, Onward, Ret};

const PATIENCE: Duration = Duration::from_secs(20);
const ALL: &[&str] = &[
    "PIPELINING",
    "SIZE 50000000",
    "8BITMIME",
    "SMTPUTF8",
    "CHUNKING",
    "DSN",
    "REQUIRETLS",
];
const PLAIN: &[&str] = &["8BITMIME"];
/// In minutes: longer than a certificate is good for.
const FIVE_YEARS: i64 = 5 * 366 * 24 * 60;

#[track_caller]
fn wait_for_taken(host: &Host, count: usize) {
    wait_until(&format!("{count} messages"), PATIENCE, || {
        (host.taken().len() >= count).then_some(())
    });
}

fn field() -> Field {
    Field::raise(&Options::default())
}

/// Where connections are counted: a loaded machine must not end one by being slow.
fn patient() -> Options {
    let mut options = Options::default();
    let relay = &mut options.relay;
    (relay.connect, relay.reply, relay.delivery) = (PATIENCE, PATIENCE, PATIENCE);
    options
}

/// How an attempt ends whose first host follows a rule, and who is left with the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The second host has it.
    Second,
    /// The first host has it.
    First,
    /// Nobody has it, the second was not asked: later.
    Later,
    /// Nobody has it, the second was not asked: never.
    Never,
}

/// One row: what the first host does, and what comes of it. The rules hold with and without PIPELINING and CHUNKING.
const OUTCOMES: &[(&str, End)] = &[
    ("greeting: close", End::Second),
    ("greeting: mute", End::Second),
    ("greeting: garbage", End::Second),
    ("greeting: 421 4.3.2 busy & close", End::Second),
    ("greeting: 554 5.3.2 no mail here", End::Second),
    ("greeting: 220 hello|there|and again", End::First),
    ("clear: close", End::Second),
    ("clear: 421 4.3.2 busy", End::Second),
    ("clear: 502 5.5.1 no EHLO here", End::Second),
    ("clear: 250 host.test", End::Second),
    ("clear: 250 host.test|X-ODD a b c|STARTTLS|", End::First),
    ("STARTTLS: close", End::Second),
    ("STARTTLS: 454 4.7.0 not now", End::Second),
    ("STARTTLS: 220 go|250 injected", End::Second),
    ("handshake: close", End::Second),
    ("handshake: garbage", End::Second),
    ("handshake: mute", End::Second),
    ("EHLO: close", End::Second),
    ("EHLO: mute", End::Second),
    ("EHLO: 421 4.7.0 not you & close", End::Second),
    ("EHLO: 454 4.7.0 revocation unknown", End::Second),
    ("MAIL: close", End::Second),
    ("MAIL: mute", End::Second),
    ("MAIL: garbage", End::Second),
    ("MAIL: 354 what", End::Second),
    ("MAIL: 421 4.3.2 closing & close", End::Second),
    ("MAIL: 451 4.3.0 later", End::Second),
    ("MAIL: 550 5.7.1 not you", End::Never),
    ("MAIL: 250-ok|250 still ok", End::First),
    ("RCPT: close", End::Second),
    ("RCPT: mute", End::Second),
    ("RCPT: 421 4.3.2 closing & close", End::Second),
    ("RCPT: 450 4.2.0 greylisted", End::Second),
    ("RCPT: 452 4.5.3 too many", End::Second),
    ("RCPT: 550 5.1.1 no such box", End::Never),
    ("RCPT: 251 2.1.5 will forward", End::First),
    ("text: 421 4.3.2 closing & close", End::Second),
    ("text: 452 4.3.1 disk full", End::Second),
    ("text: 554 5.6.0 not that", End::Never),
    ("text: 250 2.0.0 taken|as number|42", End::First),
    ("text: close", End::Later),
    ("text: mute", End::Later),
    ("text: garbage", End::Later),
    ("text: 354 what", End::Later),
    ("idle: close", End::First),
    ("QUIT: close", End::First),
];

/// Only where DATA is said.
const DATA_OUTCOMES: &[(&str, End)] = &[
    ("DATA: close", End::Second),
    ("DATA: mute", End::Second),
    ("DATA: 250 2.0.0 what", End::Second),
    ("DATA: 421 4.3.2 closing & close", End::Second),
    ("DATA: 451 4.3.0 later", End::Second),
    ("DATA: 554 5.5.1 no", End::Never),
    // All of it was on its way.
    ("body: close", End::Later),
];

fn check_outcomes(offers: &'static [&'static str], rows: &[(&str, End)]) {
    let mut field = field();
    let domain = |row: usize| format!("d{row}.mssante.fr");
    let mut hosts = Vec::new();
    for (row, (rule, _)) in rows.iter().enumerate() {
        let first = field.host(&domain(row), 10, offers, &[rule]);
        let second = field.host(&domain(row), 20, PLAIN, &[]);
        hosts.push((first, second));
    }
    for row in 0..rows.len() {
        field.send_one(&format!("a@{}", domain(row)), "essai");
    }
    for (row, (rule, expected)) in rows.iter().enumerate() {
        let (first, second) = &hosts[row];
        let (fate, record) = field.fate(&format!("a@{}", domain(row)));
        let taken = (first.taken().len(), second.taken().len());
        let end = match (fate, taken) {
            ("relayed", (1, 0)) => End::First,
            ("relayed", (0, 1)) => End::Second,
            ("deferred", (0, 0)) => End::Later,
            ("bounced", (0, 0)) => End::Never,
            other => panic!("{rule}: {other:?} {record}"),
        };
        assert_eq!(end, *expected, "{rule}: {record}");
        assert!(record.contains("\"attempts\":1"), "{rule}: one attempt: {record}");
        if matches!(expected, End::Later | End::Never) {
            assert_eq!(second.connections(), 0, "{rule}: the second host was asked");
        }
        if *expected == End::Later {
            assert!(record.contains("4.4.2"), "{rule}: {record}");
        }
    }
}

#[test]
fn each_way_to_fail_has_its_outcome_with_a_modern_host() {
    check_outcomes(ALL, OUTCOMES);
}

#[test]
fn each_way_to_fail_has_its_outcome_with_an_old_host() {
    check_outcomes(PLAIN, OUTCOMES);
    check_outcomes(PLAIN, DATA_OUTCOMES);
    check_outcomes(&["PIPELINING", "8BITMIME"], DATA_OUTCOMES);
}

#[test]
fn a_chunk_that_is_not_taken_has_its_outcome_too() {
    check_outcomes(
        ALL,
        &[
            ("BDAT: close", End::Later),
            ("BDAT: 421 4.3.2 closing & close", End::Second),
            ("BDAT: 554 5.3.4 too much", End::Never),
        ],
    );
}

// ---- several recipients

#[test]
fn each_recipient_has_its_own_end() {
    for offers in [ALL, PLAIN] {
        let mut field = field();
        let rules = ["RCPT no@: 550 5.1.1 no such box", "RCPT later@: 450 4.2.0 greylisted"];
        let host = field.host("d.mssante.fr", 10, offers, &rules);
        field.send(&Mail::new(
            &[
                "yes@d.mssante.fr",
                "no@d.mssante.fr",
                "later@d.mssante.fr",
                "also@d.mssante.fr",
            ],
            "partage",
        ));
        for (recipient, fate) in [
            ("yes", "relayed"),
            ("also", "relayed"),
            ("no", "bounced"),
            ("later", "deferred"),
        ] {
            assert_eq!(field.fate(&format!("{recipient}@d.mssante.fr")).0, fate, "{recipient}");
        }
        let taken = host.taken();
        assert_eq!((taken.len(), taken[0].recipients.len()), (1, 2), "{taken:?}");
        assert_eq!(field.queued().len(), 1);
        field.pass(2);
        wait_until("a second attempt", PATIENCE, || {
            (host.lines().iter().filter(|line| line.contains("later@")).count() == 2).then_some(())
        });
        assert_eq!(host.taken().len(), 1, "those who have it do not get it again");
    }
}

#[test]
fn nobody_gets_a_text_when_everybody_is_refused_or_the_text_is() {
    let mut field = field();
    let nobody = field.host("a.mssante.fr", 10, PLAIN, &["RCPT: 550 5.1.1 no such box"]);
    let refused = field.host(
        "b.mssante.fr",
        10,
        PLAIN,
        &["DATA: 554 5.5.1 no", "RCPT later@: 450 4.2.0 greylisted"],
    );
    field.send(&Mail::new(&["x@a.mssante.fr", "y@a.mssante.fr"], "personne"));
    field.send(&Mail::new(&["x@b.mssante.fr", "later@b.mssante.fr"], "texte"));
    for recipient in ["x@a", "y@a", "x@b"] {
        assert_eq!(field.fate(&format!("{recipient}.mssante.fr")).0, "bounced");
    }
    // The reply to DATA is for those who were taken; it says nothing of the others.
    assert_eq!(field.fate("later@b.mssante.fr").0, "deferred");
    assert!(!nobody.lines().iter().any(|line| line == "DATA"));
    assert!(nobody.taken().is_empty() && refused.taken().is_empty());
}

#[test]
fn what_was_refused_for_good_is_final_though_the_connection_ends_then() {
    let mut field = field();
    let first = field.host(
        "d.mssante.fr",
        10,
        PLAIN,
        &[
            "RCPT no@: 550 5.1.1 no such box",
            "RCPT yes@: 421 4.3.2 closing & close",
        ],
    );
    let second = field.host("d.mssante.fr", 20, PLAIN, &[]);
    field.send(&Mail::new(&["no@d.mssante.fr", "yes@d.mssante.fr"], "fin"));
    assert_eq!(field.fate("no@d.mssante.fr").0, "bounced");
    assert_eq!(field.fate("yes@d.mssante.fr").0, "relayed");
    assert!(first.taken().is_empty());
    assert_eq!(second.taken()[0].recipients, ["RCPT TO:<yes@d.mssante.fr>"]);
}

#[test]
fn a_full_transaction_is_followed_by_another_at_once() {
    let recipients: Vec<String> = (0..5).map(|n| format!("r{n}@d.mssante.fr")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let announced = ["PIPELINING", "8BITMIME", "LIMITS RCPTMAX=2"];
    for (offers, rules) in [
        (&announced[..], &[][..]),
        (PLAIN, &["RCPT r3@: 452 4.5.3 too many", "RCPT r4@: 452 4.5.3 too many"]),
    ] {
        let mut field = field();
        let host = field.host("d.mssante.fr", 10, offers, rules);
        field.send(&Mail::new(&recipients, "nombreux"));
        let settled = if rules.is_empty() { 5 } else { 3 };
        field.wait_for("relayed", "@d.mssante.fr", settled);
        if rules.is_empty() {
            let sizes: Vec<usize> = host.taken().iter().map(|taken| taken.recipients.len()).collect();
            assert_eq!(sizes, [2, 2, 1]);
        } else {
            // Refused alone as well: nothing is gained by asking a third time.
            field.wait_for("deferred", "@d.mssante.fr", 2);
            assert_eq!(host.lines().iter().filter(|line| line.contains("r4@")).count(), 2);
        }
        assert_eq!(host.connections(), 1);
    }
}

#[test]
fn more_than_a_hundred_recipients_travel_in_several_transactions() {
    let mut field = field();
    let host = field.host("d.mssante.fr", 10, ALL, &[]);
    let recipients: Vec<String> = (0..150).map(|n| format!("r{n}@d.mssante.fr")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    field.send(&Mail::new(&recipients, "liste"));
    field.wait_for("relayed", "@d.mssante.fr", 150);
    let taken = host.taken();
    assert_eq!(taken.iter().map(|one| one.recipients.len()).sum::<usize>(), 150);
    assert!(taken.iter().all(|one| one.recipients.len() <= 100));
}

// ---- after the final dot

#[test]
fn a_message_without_an_answer_is_tried_later_and_its_recipients_once_each() {
    let mut field = field();
    let first = field.host("d.mssante.fr", 10, PLAIN, &["text#1: close"]);
    let second = field.host("d.mssante.fr", 20, PLAIN, &[]);
    field.send_one("a@d.mssante.fr", "un");
    assert_eq!(field.fate("a@d.mssante.fr").0, "deferred");
    assert_eq!((first.taken().len(), second.connections()), (0, 0));
    field.pass(2);
    field.record("relayed", "a@d.mssante.fr");
    assert_eq!((first.taken().len(), second.taken().len()), (1, 0));
}

#[test]
fn what_the_peer_has_is_settled_as_soon_as_the_store_can_and_not_sent_again() {
    let mut field = field();
    let host = field.host("chu.mssante.fr", 10, PLAIN, &[]);
    field.tell_database("CREATE TRIGGER stuck BEFORE DELETE ON queue BEGIN SELECT RAISE(ABORT, 'stuck'); END");
    field.send_one("a@chu.mssante.fr", "essai");
    wait_until("the store has failed", PATIENCE, || {
        (host.taken().len() == 1 && field.store_has_failed()).then_some(())
    });
    field.tell_database("DROP TRIGGER stuck");
    // Well before the lease runs out, which is when the message would leave again.
    assert_eq!(field.fate("a@chu.mssante.fr").0, "relayed");
    assert_eq!(host.taken().len(), 1);
}

#[test]
fn a_report_waits_for_its_original_while_the_store_cannot_read_it() {
    let mut field = field();
    let back = field.host("retour.mssante.fr", 10, ALL, &[]);
    let mut mail = Mail::new(&["x@parti.mssante.fr"], "entete");
    mail.sender = "y@retour.mssante.fr".parse().ok();
    // Large enough for a file of its own.
    mail.text.resize(100_000, b'a');
    field.queue(&mail);
    let body = field.body_file();
    let aside = body.with_extension("aside");
    fs::rename(&body, &aside).unwrap();
    Program::new("mkfifo").arg(&body).run().assert_success();
    field.wake();
    // A pipe lets a writer in once somebody reads: the relay has asked for the header. What it gets is an error, since nobody can seek there.
    let writer = wait_until("the original is read", PATIENCE, || {
        let mut options = fs::OpenOptions::new();
        options.write(true).custom_flags(NONBLOCK).open(&body).ok()
    });
    fs::rename(&aside, &body).unwrap();
    drop(writer);
    field.record("bounced", "x@parti.mssante.fr");
    field.record("relayed", "y@retour.mssante.fr");
    let report = String::from_utf8(back.taken().remove(0).text).unwrap();
    assert!(report.contains("Subject: entete"), "{report}");
}

#[test]
fn an_original_that_is_gone_holds_up_no_report() {
    let mut field = field();
    let back = field.host("retour.mssante.fr", 10, ALL, &[]);
    let mut mail = Mail::new(&["x@parti.mssante.fr"], "perdu");
    mail.sender = "y@retour.mssante.fr".parse().ok();
    mail.text.resize(100_000, b'a');
    field.queue(&mail);
    fs::remove_file(field.body_file()).unwrap();
    field.wake();
    field.record("relayed", "y@retour.mssante.fr");
    let report = String::from_utf8(back.taken().remove(0).text).unwrap();
    assert!(
        report.contains("x@parti.mssante.fr") && !report.contains("Subject: perdu"),
        "{report}"
    );
}

/// `O_NONBLOCK` on Linux.
const NONBLOCK: i32 = 0o4000;

/// Messages of which one attempt carries all, the second of which gets no answer for `silence`.
fn silent_second(silence: Duration) -> (Field, Host, Host) {
    let mut options = Options::default();
    options.relay.delivery = silence;
    let mut field = Field::raise(&options);
    let first = field.host("d.mssante.fr", 10, PLAIN, &["text deuxieme: mute"]);
    let second = field.host("d.mssante.fr", 20, PLAIN, &[]);
    for subject in ["premier", "deuxieme", "troisieme"] {
        field.queue(&Mail::new(&[&format!("{subject}@d.mssante.fr")], subject));
    }
    field.wake();
    (field, first, second)
}

#[test]
fn what_the_peer_has_is_settled_before_the_attempt_ends() {
    let (field, first, _) = silent_second(PATIENCE);
    field.record("relayed", "premier@d.mssante.fr");
    assert_eq!((field.queued().len(), first.taken().len()), (2, 1));
    assert!(field.records("deferred", "").is_empty());
}

#[test]
fn the_rest_of_an_attempt_goes_to_the_next_host_but_not_what_may_have_arrived() {
    let (field, first, second) = silent_second(Duration::from_millis(300));
    field.record("deferred", "deuxieme@d.mssante.fr");
    field.record("relayed", "troisieme@d.mssante.fr");
    assert_eq!((first.taken().len(), second.taken().len()), (1, 1));
    assert_eq!(second.taken()[0].recipients, ["RCPT TO:<troisieme@d.mssante.fr>"]);
}

/// Messages of one attempt, for one recipient or two each; the host takes the first at once.
fn conversation(rules: &[&str], mails: &[(&str, &[&str])]) -> (Field, Host, Host) {
    let mut field = Field::raise(&patient());
    let first = field.host("d.mssante.fr", 10, ALL, rules);
    let second = field.host("d.mssante.fr", 20, PLAIN, &[]);
    for (subject, to) in mails {
        field.queue(&Mail::new(to, subject));
    }
    field.wake();
    (field, first, second)
}

#[test]
fn in_the_middle_of_a_conversation_the_text_waits_for_no_reply() {
    // Who said RCPT and waited would wait for ever.
    let (field, first, second) = conversation(
        &["RCPT deuxieme@: hold", "RCPT troisieme@: hold"],
        &[
            ("un", &["premier@d.mssante.fr"]),
            ("deux", &["deuxieme@d.mssante.fr"]),
            ("trois", &["troisieme@d.mssante.fr", "aussi@d.mssante.fr"]),
        ],
    );
    field.wait_for("relayed", "@d.mssante.fr", 4);
    assert_eq!((first.connections(), first.taken().len()), (1, 3));
    assert_eq!(second.connections(), 0);
}

#[test]
fn a_message_whose_text_went_along_may_have_arrived_whatever_was_answered() {
    let (field, first, second) = conversation(
        &[
            "RCPT deuxieme@: hold",
            "RCPT non@: 550 5.1.1 no such box",
            "text deux: close",
        ],
        &[
            ("un", &["premier@d.mssante.fr"]),
            ("deux", &["non@d.mssante.fr", "deuxieme@d.mssante.fr"]),
            ("trois", &["troisieme@d.mssante.fr"]),
        ],
    );
    field.record("relayed", "premier@d.mssante.fr");
    field.record("bounced", "non@d.mssante.fr");
    let record = field.record("deferred", "deuxieme@d.mssante.fr");
    assert!(record.contains("4.4.2"), "{record}");
    // The rest goes to the next host, what may have arrived does not.
    field.record("relayed", "troisieme@d.mssante.fr");
    assert_eq!((first.taken().len(), second.taken().len()), (1, 1));
    assert_eq!(second.taken()[0].recipients, ["RCPT TO:<troisieme@d.mssante.fr>"]);
}

#[test]
fn a_text_that_went_along_for_nobody_changes_nothing() {
    let (field, first, _) = conversation(
        &["RCPT non@: 550 5.1.1 no such box"],
        &[
            ("un", &["premier@d.mssante.fr"]),
            ("deux", &["non@d.mssante.fr"]),
            ("trois", &["troisieme@d.mssante.fr"]),
        ],
    );
    field.record("bounced", "non@d.mssante.fr");
    field.wait_for("relayed", "@d.mssante.fr", 2);
    let lines = first.lines();
    let count = |verb: &str| lines.iter().filter(|line| line.starts_with(verb)).count();
    assert_eq!(
        (count("BDAT"), count("RSET"), first.taken().len()),
        (3, 1, 2),
        "{lines:?}"
    );
    assert_eq!(first.connections(), 1);
}

#[test]
fn an_attempt_begins_nothing_more_once_the_process_is_to_end() {
    let (mut field, first, second) = silent_second(Duration::from_secs(2));
    wait_until("the second message is under way", PATIENCE, || {
        (said_mail(&first) == 2).then_some(())
    });
    field.drain();
    assert_eq!((said_mail(&first), second.connections()), (2, 0));
    let third = field
        .queued()
        .into_iter()
        .find(|item| item.recipient.as_str().starts_with("troisieme"));
    assert_eq!(third.unwrap().attempts, 0, "what was not tried is not counted");
}

#[test]
fn draining_ends_after_the_message_under_way() {
    let mut field = field();
    let host = field.host("d.mssante.fr", 10, PLAIN, &[]);
    field.send_one("a@d.mssante.fr", "avant");
    field.record("relayed", "a@d.mssante.fr");
    field.drain();
    assert_eq!(
        host.lines().last().map(String::as_str),
        Some("QUIT"),
        "an idle connection is closed politely"
    );
    field.send_one("b@d.mssante.fr", "apres");
    assert_eq!(field.queued().len(), 1);
    assert_eq!(host.taken().len(), 1);
}

// ---- connections that stay open

fn said_mail(host: &Host) -> usize {
    host.lines().iter().filter(|line| line.starts_with("MAIL")).count()
}

fn send_and_wait(field: &Field, host: &Host, domain: &str, number: usize) {
    field.send_one(&format!("n{number}@{domain}"), &format!("numero {number}"));
    field.record("relayed", &format!("n{number}@{domain}"));
    wait_for_taken(host, number);
}

#[test]
fn messages_for_one_host_share_a_connection_and_so_do_its_domains() {
    let mut field = Field::raise(&patient());
    let host = field.host("a.mssante.fr", 10, ALL, &[]);
    field.also("b.mssante.fr", &host, "a.mssante.fr");
    for number in 1..=3 {
        send_and_wait(&field, &host, "a.mssante.fr", number);
    }
    send_and_wait(&field, &host, "b.mssante.fr", 4);
    assert_eq!(host.connections(), 1);
    let lines = host.lines();
    assert!(
        !lines
            .iter()
            .any(|line| line == "RSET" || line == "NOOP" || line == "QUIT"),
        "{lines:?}"
    );
}

#[test]
fn a_connection_ends_after_so_many_messages() {
    let mut options = patient();
    options.relay.reuse.messages_max = 2;
    let mut field = Field::raise(&options);
    let ours = field.host("a.mssante.fr", 10, ALL, &[]);
    let theirs = field.host("b.mssante.fr", 10, &["8BITMIME", "LIMITS MAILMAX=1"], &[]);
    for number in 1..=4 {
        send_and_wait(&field, &ours, "a.mssante.fr", number);
    }
    assert_eq!(ours.connections(), 2);
    for number in 1..=3 {
        send_and_wait(&field, &theirs, "b.mssante.fr", number);
    }
    assert_eq!(theirs.connections(), 3);
}

#[test]
fn a_connection_too_many_costs_its_mail_no_attempt() {
    let mut options = patient();
    options.relay.batch_max = 2;
    let mut field = Field::raise(&options);
    let rules = [
        "text deuxieme: wait",
        "greeting#2: 421 4.7.0 too many connections & close",
    ];
    let host = field.host("d.mssante.fr", 10, ALL, &rules);
    let queue = |subject: &str| field.queue(&Mail::new(&[&format!("{subject}@d.mssante.fr")], subject));
    queue("premier");
    queue("deuxieme");
    field.wake();
    field.record("relayed", "premier@d.mssante.fr");
    queue("troisieme");
    queue("quatrieme");
    field.wake();
    wait_until("the second connection is turned away", PATIENCE, || {
        (host.connections() == 2).then_some(())
    });
    host.let_go();
    wait_for_taken(&host, 4);
    field.wait_for("relayed", "", 4);
    assert_eq!(
        field.records("deferred", ""),
        Vec::<String>::new(),
        "nothing was late for it"
    );
    let relayed = field.records("relayed", "");
    assert!(
        relayed.iter().all(|record| record.contains("\"attempts\":1")),
        "{relayed:?}"
    );
    assert_eq!(host.connections(), 2, "the first connection carried the rest");
}

#[test]
fn an_idle_or_old_connection_is_closed_politely() {
    for reuse in [
        Reuse {
            idle: Duration::from_millis(200),
            ..Reuse::default()
        },
        Reuse {
            age: Duration::from_millis(200),
            ..Reuse::default()
        },
    ] {
        let mut options = Options::default();
        options.relay.reuse = reuse;
        let mut field = Field::raise(&options);
        let host = field.host("a.mssante.fr", 10, ALL, &[]);
        send_and_wait(&field, &host, "a.mssante.fr", 1);
        wait_until("QUIT", PATIENCE, || {
            host.lines().iter().any(|line| line == "QUIT").then_some(())
        });
        send_and_wait(&field, &host, "a.mssante.fr", 2);
        assert_eq!(host.connections(), 2);
    }
}

#[test]
fn a_transaction_that_ended_in_no_message_is_reset_before_the_next() {
    let mut field = field();
    let host = field.host("a.mssante.fr", 10, PLAIN, &["RCPT no@: 550 5.1.1 no such box"]);
    for recipient in ["no@a.mssante.fr", "n1@a.mssante.fr"] {
        field.queue(&Mail::new(&[recipient], "essai"));
    }
    field.wake();
    field.record("bounced", "no@a.mssante.fr");
    field.record("relayed", "n1@a.mssante.fr");
    assert_eq!(host.connections(), 1);
    assert_eq!(host.lines().iter().filter(|line| *line == "RSET").count(), 1);
}

#[test]
fn a_connection_over_which_a_peer_said_not_now_is_not_kept() {
    let mut field = field();
    let host = field.host("a.mssante.fr", 10, PLAIN, &["RCPT#1: 450 4.2.0 greylisted"]);
    field.send_one("x@a.mssante.fr", "essai");
    field.record("deferred", "x@a.mssante.fr");
    field.pass(2);
    field.record("relayed", "x@a.mssante.fr");
    assert_eq!(host.connections(), 2);
}

#[test]
fn a_kept_connection_that_died_costs_no_attempt_and_doubles_nothing() {
    for (rule, offers) in [
        // The peer went away while nobody looked.
        ("idle#1: close", ALL),
        ("idle#1: 421 4.4.2 idle for too long & close", ALL),
        // It dies when it is used: at each step before the end of the text.
        ("MAIL#1 BODY=7BIT: close", ALL),
        ("RCPT#1 n2@: close", ALL),
        ("RCPT#1 n2@: close", PLAIN),
        ("RCPT#1 n2@: mute", PLAIN),
        ("body#2: 250 never used", PLAIN),
    ] {
        let mut field = field();
        let host = field.host("a.mssante.fr", 10, offers, &[rule]);
        let other = field.host("a.mssante.fr", 20, PLAIN, &[]);
        send_and_wait(&field, &host, "a.mssante.fr", 1);
        let mut second = Mail::new(&["n2@a.mssante.fr"], "deux");
        second.parameters.body = Some(vaguemestre::smtp::command::Body::SevenBit);
        field.send(&second);
        let record = field.record("relayed", "n2@a.mssante.fr");
        assert!(record.contains("\"attempts\":1"), "{rule}: {record}");
        assert!(field.records("deferred", "").is_empty(), "{rule}");
        assert_eq!((host.taken().len(), other.connections()), (2, 0), "{rule}");
        let expected = if rule.starts_with("body") { 1 } else { 2 };
        assert_eq!(host.connections(), expected, "{rule}");
    }
}

#[test]
fn a_kept_connection_is_no_younger_for_a_message_that_it_was_not_told_of() {
    for rule in [
        "MAIL#1 BODY=7BIT: close",
        "MAIL#1 BODY=7BIT: mute",
        "MAIL#1 BODY=7BIT: 421 4.4.2 idle for too long & close",
        "RCPT#1 n3@: close",
    ] {
        let mut field = field();
        // Neither SMTPUTF8 nor SIZE.
        let host = field.host("a.mssante.fr", 10, &["PIPELINING", "8BITMIME", "CHUNKING"], &[rule]);
        let other = field.host("a.mssante.fr", 20, PLAIN, &[]);
        send_and_wait(&field, &host, "a.mssante.fr", 1);
        let mut impossible = Mail::new(&["n2@a.mssante.fr"], "deux");
        impossible.text.extend_from_slice("é\r\n".as_bytes());
        impossible.parameters.smtputf8 = true;
        let mut third = Mail::new(&["n3@a.mssante.fr"], "trois");
        third.parameters.body = Some(vaguemestre::smtp::command::Body::SevenBit);
        // Both in one attempt.
        field.queue(&impossible);
        field.queue(&third);
        field.wake();
        let record = field.record("bounced", "n2@a.mssante.fr");
        assert!(record.contains("5.6.7"), "{record}");
        let record = field.record("relayed", "n3@a.mssante.fr");
        assert!(record.contains("\"attempts\":1"), "{rule}: {record}");
        assert!(field.records("deferred", "").is_empty(), "{rule}");
        assert_eq!(
            (host.taken().len(), host.connections(), other.connections()),
            (2, 2, 0),
            "{rule}"
        );
    }
}

#[test]
fn a_kept_connection_that_dies_after_the_text_is_not_tried_again_at_once() {
    let mut field = field();
    let host = field.host("a.mssante.fr", 10, PLAIN, &["text#1 numero 2: close"]);
    send_and_wait(&field, &host, "a.mssante.fr", 1);
    field.send_one("n2@a.mssante.fr", "numero 2");
    let record = field.record("deferred", "n2@a.mssante.fr");
    assert!(record.contains("4.4.2"), "{record}");
    assert_eq!((host.connections(), host.taken().len()), (1, 1));
}

#[test]
fn whoever_lost_our_trust_gets_nothing_over_an_open_connection() {
    type Change = fn(&mut Field);
    let cases: [(Change, &str, &str); 4] = [
        (|field| field.revoke("a.mssante.fr"), "deferred", "certificate-revoked"),
        // Nothing changes but the time.
        (|field| field.pass(FIVE_YEARS), "deferred", "certificate-expired"),
        (
            |field| field.list_another("a.mssante.fr"),
            "bounced",
            "certificate-not-for-domain",
        ),
        (
            |field| field.unlist("a.mssante.fr"),
            "bounced",
            "recipient-domain-unlisted",
        ),
    ];
    for (change, fate, reason) in cases {
        let mut field = Field::raise(&patient());
        let host = field.host("a.mssante.fr", 10, ALL, &[]);
        // At the second one it is judged on the open connection, and remembered.
        for number in 1..=2 {
            send_and_wait(&field, &host, "a.mssante.fr", number);
        }
        assert_eq!(host.connections(), 1);
        change(&mut field);
        field.send_one("n3@a.mssante.fr", "trois");
        let record = field.record(fate, "n3@a.mssante.fr");
        assert!(record.contains(reason), "{record}");
        assert_eq!(
            (host.taken().len(), said_mail(&host)),
            (2, 2),
            "{reason}: something was said"
        );
    }
}

// ---- our certificate

#[test]
fn our_certificate_is_shown_to_the_trust_space_only() {
    let mut field = field();
    let member = field.host("a.mssante.fr", 10, ALL, &[]);
    let foreign = field.stranger("b.mssante.fr", true);
    let unlisted = field.stranger("c.mssante.fr", false);
    for domain in ["a", "b", "c"] {
        field.send_one(&format!("x@{domain}.mssante.fr"), "certificat");
    }
    field.record("relayed", "x@a.mssante.fr");
    field.record("deferred", "x@b.mssante.fr");
    field.record("bounced", "x@c.mssante.fr");
    assert_eq!(member.certificates(), [true]);
    for host in [&foreign, &unlisted] {
        assert!(host.connections() > 0);
        assert!(!host.certificates().contains(&true), "our certificate went outside");
        let lines = host.lines();
        assert!(
            lines.iter().all(|line| line.starts_with("EHLO") || line == "STARTTLS"),
            "{lines:?}"
        );
    }
}

// ---- what a peer offers

fn asking() -> Parameters {
    Parameters {
        ret: Some(Ret::Headers),
        envid: "QQ314159".parse().ok(),
        notify: Some(Notify::SUCCESS.with(Notify::FAILURE)),
        orcpt: "rfc822;avant@lilas.mssante.fr".parse().ok(),
        ..Parameters::default()
    }
}

#[test]
fn what_the_sender_asked_for_goes_to_peers_that_know_it() {
    let mut field = field();
    let knows = field.host("a.mssante.fr", 10, ALL, &[]);
    let ignores = field.host("b.mssante.fr", 10, PLAIN, &[]);
    for domain in ["a", "b"] {
        let to = format!("x@{domain}.mssante.fr");
        let to = [to.as_str()];
        let mut mail = Mail::new(&to, "accuse");
        mail.parameters = asking();
        field.send(&mail);
        field.record("relayed", to[0]);
    }
    let lines = knows.lines();
    let size = Mail::new(&[], "accuse").text.len();
    let mail = format!("MAIL FROM:<soins@lilas.mssante.fr> SIZE={size} RET=HDRS ENVID=QQ314159");
    assert!(lines.contains(&mail), "{lines:?}");
    let rcpt = "RCPT TO:<x@a.mssante.fr> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;avant@lilas.mssante.fr";
    assert!(lines.iter().any(|line| line == rcpt), "{lines:?}");
    assert!(
        lines.iter().any(|line| line == &format!("BDAT {size} LAST")),
        "{lines:?}"
    );
    let lines = ignores.lines();
    assert!(
        lines.iter().any(|line| line == "MAIL FROM:<soins@lilas.mssante.fr>"),
        "{lines:?}"
    );
    assert!(lines.iter().any(|line| line == "RCPT TO:<x@b.mssante.fr>"), "{lines:?}");
    assert!(lines.iter().any(|line| line == "DATA"), "{lines:?}");
}

#[test]
fn recipients_with_different_wishes_share_a_transaction() {
    let mut field = field();
    let host = field.host("a.mssante.fr", 10, ALL, &[]);
    let mut mail = Mail::new(&["x@a.mssante.fr", "y@a.mssante.fr"], "ensemble");
    mail.parameters.notify = Some(Notify::NEVER);
    field.send(&mail);
    field.wait_for("relayed", "@a.mssante.fr", 2);
    assert_eq!(host.taken().len(), 1);
    assert_eq!(
        host.lines()
            .iter()
            .filter(|line| line.ends_with("NOTIFY=NEVER"))
            .count(),
        2
    );
}

#[test]
fn what_a_message_cannot_do_without_is_a_final_failure_where_it_lacks() {
    type Need = fn(&mut Mail<'_>);
    let needs: [(&str, Need, &str); 4] = [
        (
            "8BITMIME",
            |mail| mail.text.extend_from_slice("é\r\n".as_bytes()),
            "5.6.3",
        ),
        (
            "SMTPUTF8",
            |mail| {
                mail.text.extend_from_slice("é\r\n".as_bytes());
                mail.parameters.smtputf8 = true;
            },
            "5.6.7",
        ),
        (
            "REQUIRETLS",
            |mail| mail.parameters.onward = Onward::TlsRequired,
            "5.7.30",
        ),
        ("SIZE 50000000", |mail| mail.text.resize(2000, b'a'), "5.3.4"),
    ];
    let mut field = field();
    for (row, (offer, need, status)) in needs.into_iter().enumerate() {
        let (with, without) = (format!("avec{row}.mssante.fr"), format!("sans{row}.mssante.fr"));
        let lacking: Vec<&str> = ALL.iter().filter(|word| **word != offer).copied().collect();
        let lacking = if offer.starts_with("SIZE") {
            vec!["8BITMIME", "SIZE 1000"]
        } else {
            lacking
        };
        let able = field.host(&with, 10, ALL, &[]);
        let unable = field.host(&without, 10, &lacking, &[]);
        for domain in [&with, &without] {
            let to = format!("x@{domain}");
            let to = [to.as_str()];
            let mut mail = Mail::new(&to, "besoin");
            need(&mut mail);
            field.send(&mail);
        }
        field.record("relayed", &with);
        let record = field.record("bounced", &without);
        assert!(record.contains(status), "{offer}: {record}");
        assert_eq!((able.taken().len(), said_mail(&unable)), (1, 0), "{offer}");
    }
}

#[test]
fn the_report_on_a_message_that_demands_tls_demands_it_and_gives_back_its_header_alone() {
    let mut field = field();
    field.host("refuse.mssante.fr", 10, ALL, &["RCPT: 550 5.1.1 no such box"]);
    for (back, offers, onward, is_whole) in [
        ("simple.mssante.fr", ALL, Onward::Unsaid, true),
        ("exigeant.mssante.fr", ALL, Onward::TlsRequired, false),
        ("ancien.mssante.fr", PLAIN, Onward::TlsRequired, false),
    ] {
        let host = field.host(back, 10, offers, &[]);
        let mut mail = Mail::new(&["x@refuse.mssante.fr"], "exigence");
        let sender = format!("y@{back}");
        mail.sender = sender.parse().ok();
        mail.parameters.ret = Some(Ret::Full);
        mail.parameters.onward = onward;
        field.send(&mail);
        field.record("relayed", &sender);
        let report = host.taken().remove(0);
        let text = String::from_utf8(report.text).unwrap();
        assert!(text.contains("Subject: exigence"), "{text}");
        assert_eq!(text.contains("\r\nBonjour\r\n"), is_whole, "{back}: {text}");
        let lines = host.lines();
        let line = lines.iter().find(|line| line.starts_with("MAIL FROM:<>")).unwrap();
        let said = offers.len() > 1 && onward == Onward::TlsRequired;
        assert_eq!(line.ends_with(" REQUIRETLS"), said, "{back}: {line}");
    }
}

#[test]
fn what_was_asked_for_without_need_keeps_no_peer_from_taking_it() {
    let mut field = field();
    let host = field.host("a.mssante.fr", 10, &[], &[]);
    let mut mail = Mail::new(&["x@a.mssante.fr"], "ascii");
    mail.parameters.smtputf8 = true;
    mail.parameters.body = Some(vaguemestre::smtp::command::Body::EightBitMime);
    field.send(&mail);
    field.record("relayed", "x@a.mssante.fr");
    assert_eq!(host.taken()[0].text, mail.text);
}

// ---- large messages

#[test]
fn a_large_message_arrives_as_it_is_by_dots_and_by_chunks() {
    let line = b".a line that begins with a dot and goes on for a while, as base64 does not\r\n";
    let text = [&b"Subject: grand\r\n\r\n"[..], &line.repeat(50_000)].concat();
    assert!(text.len() > 3_000_000);
    for offers in [ALL, PLAIN] {
        let mut options = Options::default();
        options.relay.delivery = PATIENCE;
        let mut field = Field::raise(&options);
        let host = field.host("a.mssante.fr", 10, offers, &[]);
        let mut mail = Mail::new(&["x@a.mssante.fr"], "");
        mail.text.clone_from(&text);
        field.send(&mail);
        field.record("relayed", "x@a.mssante.fr");
        assert!(host.taken()[0].text == text);
    }
}

#[test]
fn a_large_message_that_breaks_off_in_the_middle_goes_to_the_next_host() {
    for offers in [ALL, PLAIN] {
        let mut field = field();
        let first = field.host("a.mssante.fr", 10, offers, &["body: close"]);
        let second = field.host("a.mssante.fr", 20, PLAIN, &[]);
        let mut mail = Mail::new(&["x@a.mssante.fr"], "grand");
        // More than sockets hold.
        mail.text.resize(24_000_000, b'a');
        field.send(&mail);
        wait_until("the second host is asked", PATIENCE, || {
            (second.connections() == 1).then_some(())
        });
        assert!(first.taken().is_empty());
    }
}

#[test]
fn several_hosts_of_which_one_is_dead_are_asked_in_their_order() {
    let mut field = field();
    field.dead("a.mssante.fr", 5);
    let first = field.host("a.mssante.fr", 10, ALL, &[]);
    let second = field.host("a.mssante.fr", 20, ALL, &[]);
    send_and_wait(&field, &first, "a.mssante.fr", 1);
    send_and_wait(&field, &first, "a.mssante.fr", 2);
    assert_eq!((first.connections(), second.connections()), (1, 0));
}
