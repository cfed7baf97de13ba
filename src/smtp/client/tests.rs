//! Tests of the client, against scripted servers.

use super::*;
use crate::policy::Reason;
use crate::policy::Refusal;
use crate::smtp::command::Body;
use crate::smtp::command::ForwardPath;
use crate::smtp::command::Notify;
use crate::smtp::command::Onward;
use crate::smtp::command::OriginalRecipient;
use crate::smtp::command::Ret;
use crate::smtp::command::Xtext;
use crate::smtp::data::DotStuffer;
use crate::smtp::extension::Extension;
use crate::smtp::extension::Extensions;
use crate::smtp::sasl::Mechanism;
use crate::smtp::sasl::Secret;
use crate::smtp::session;
use crate::smtp::session::Answer;
use crate::smtp::session::Question;
use crate::smtp::session::Session;
use crate::smtp::session::Step;
use proptest::prelude::*;

fn options(tls: ClientTls) -> ClientOptions {
    ClientOptions {
        hostname: "out.example".into(),
        tls,
        login: None,
        transfer: Transfer::Data,
    }
}

fn transaction(recipients: &[&str]) -> Transaction {
    let recipient = |text: &&str| RcptTo {
        path: ForwardPath::Address(text.parse().unwrap()),
        notify: None,
        orcpt: None,
    };
    Transaction {
        mail: MailFrom {
            path: Some("a@b.fr".parse().unwrap()),
            size_bytes: Some(TEXT.len() as u64),
            ..MailFrom::default()
        },
        recipients: recipients.iter().map(recipient).collect(),
    }
}

const TEXT: &[u8] = b"Subject: x\r\n\r\n.dot\r\n";

/// Plays a server from a script: what the client wrote since the last answer, then what the server answers.
struct Script {
    client: Client,
    written: String,
    outcomes: Vec<Outcome>,
}

impl Script {
    fn new(options: ClientOptions, transaction: Transaction) -> Self {
        Self {
            client: Client::new(options, transaction),
            written: String::new(),
            outcomes: Vec::new(),
        }
    }

    /// Past greeting and EHLO inside TLS, with these keywords.
    fn greeted(options: ClientOptions, transaction: Transaction, keywords: &str) -> Self {
        let mut script = Self::new(options, transaction);
        assert_eq!(script.answer("220 hi"), "EHLO out.example");
        let lines: Vec<&str> = keywords.split_whitespace().collect();
        let mut answer = String::from("250-mx");
        for line in lines {
            answer.extend(["\r\n250-", line.replace('_', " ").as_str()]);
        }
        script.written = script.answer(&format!("{answer}\r\n250 HELP"));
        script
    }

    /// What the client says after this answer, lines separated by ` | `.
    fn answer(&mut self, line: &str) -> String {
        self.client.input().extend_from_slice(format!("{line}\r\n").as_bytes());
        self.run()
    }

    fn run(&mut self) -> String {
        let mut written = Vec::new();
        for _ in 0..1000 {
            match self.client.step() {
                ClientStep::Read => break,
                ClientStep::Write(bytes) => written.extend(bytes),
                ClientStep::StartTls => {
                    written.extend(b"<tls>\r\n");
                    self.client.tls_started();
                }
                ClientStep::SendBody(framing) => {
                    written.extend(body(framing));
                    self.client.body_sent();
                }
                ClientStep::Done(outcome) => {
                    self.outcomes.push(outcome);
                    if matches!(self.outcomes.last(), Some(Outcome::Finished(_))) {
                        break;
                    }
                }
                ClientStep::Close => {
                    written.extend(b"<close>\r\n");
                    break;
                }
            }
        }
        let text = String::from_utf8(written).unwrap();
        text.trim_end().replace("\r\n", " | ")
    }

    /// One letter for each recipient of the only outcome.
    fn verdicts(&self) -> String {
        let [Outcome::Finished(outcomes)] = self.outcomes.as_slice() else {
            panic!("{:?}", self.outcomes);
        };
        outcomes.iter().map(letter).collect()
    }

    fn failure(&self) -> &Failure {
        let [Outcome::Failed(failure)] = self.outcomes.as_slice() else {
            panic!("{:?}", self.outcomes);
        };
        failure
    }
}

fn letter(outcome: &RecipientOutcome) -> char {
    match outcome {
        RecipientOutcome::Accepted(_) => 'A',
        RecipientOutcome::Deferred(_) => 'D',
        RecipientOutcome::Refused(_) => 'R',
    }
}

fn body(framing: Framing) -> Vec<u8> {
    let mut wire = Vec::new();
    match framing {
        Framing::Counted => wire.extend_from_slice(TEXT),
        Framing::Dots => {
            let mut stuffer = DotStuffer::new();
            stuffer.push(TEXT, &mut wire);
            stuffer.finish(&mut wire);
        }
    }
    wire
}

const BODY_SAID: &str = "Subject: x |  | ..dot | .";

// ---- opening

#[test]
fn a_message_goes_out_inside_tls_after_a_second_ehlo() {
    let mut script = Script::new(options(ClientTls::StartTls), transaction(&["c@d.fr"]));
    assert_eq!(script.answer("220 hi"), "EHLO out.example");
    assert_eq!(script.answer("250-mx\r\n250-PIPELINING\r\n250 STARTTLS"), "STARTTLS");
    assert_eq!(script.answer("220 go"), "<tls> | EHLO out.example");
    // The offer in clear does not count any more: no pipelining now.
    assert_eq!(script.answer("250 mx"), "MAIL FROM:<a@b.fr>");
    assert_eq!(script.answer("250 ok"), "RCPT TO:<c@d.fr>");
    assert_eq!(script.answer("250 ok"), "DATA");
    assert_eq!(script.answer("354 go"), BODY_SAID);
    assert_eq!(script.answer("250 2.0.0 stored"), "");
    assert_eq!(script.verdicts(), "A");
    assert_eq!(script.run(), "QUIT");
    assert_eq!(script.answer("221 bye"), "<close>");
}

#[test]
fn a_peer_without_starttls_gets_no_mail() {
    for (answers, cause) in [
        (&["220 hi", "250-mx\r\n250 PIPELINING"][..], Cause::StartTlsAbsent),
        (
            &["220 hi", "250-mx\r\n250 STARTTLS", "454 4.7.0 not now"],
            Cause::Refused,
        ),
        (
            &["220 hi", "250-mx\r\n250 STARTTLS", "220 go\r\n250 injected"],
            Cause::Protocol,
        ),
    ] {
        let mut script = Script::new(options(ClientTls::StartTls), transaction(&["c@d.fr"]));
        let said: Vec<String> = answers.iter().map(|line| script.answer(line)).collect();
        assert!(!said.join(" ").contains("MAIL"), "{said:?}");
        assert_eq!((script.failure().cause, script.failure().stage), (cause, Stage::Tls));
        assert!(script.failure().temporary);
        assert!(said.last().unwrap().ends_with("<close>"), "{said:?}");
    }
}

#[test]
fn a_refused_greeting_or_ehlo_is_the_failure() {
    let mut script = Script::new(options(ClientTls::Implicit), transaction(&["c@d.fr"]));
    assert_eq!(script.answer("554 5.7.0 your certificate is revoked"), "QUIT | <close>");
    let failure = script.failure().clone();
    assert_eq!((failure.stage, failure.temporary), (Stage::Greeting, false));
    assert_eq!(failure.text, "554 5.7.0 your certificate is revoked");
    let mut script = Script::new(options(ClientTls::Implicit), transaction(&["c@d.fr"]));
    script.answer("220 hi");
    script.answer("454 4.7.0 revocation unknown");
    assert_eq!(
        (script.failure().stage, script.failure().temporary),
        (Stage::Hello, true)
    );
}

#[test]
fn what_is_not_smtp_ends_the_connection() {
    for line in ["SSH-2.0", "250-a\r\n251 b", &"x".repeat(5000), &"220-x\r\n".repeat(200)] {
        let mut script = Script::new(options(ClientTls::Implicit), transaction(&["c@d.fr"]));
        assert_eq!(script.answer(line), "<close>");
        assert_eq!(
            (script.failure().cause, script.failure().temporary),
            (Cause::Protocol, true)
        );
    }
}

#[test]
fn a_client_logs_in_before_it_sends() {
    let plain = Credentials::Plain {
        mechanism: Mechanism::Plain,
        authzid: None,
        user: "user".into(),
        password: Secret::new("secret".into()),
    };
    let external = |authzid: Option<&str>| Credentials::External {
        authzid: authzid.map(Into::into),
    };
    let bearer = Credentials::Bearer {
        user: Some("a@b.fr".into()),
        token: Secret::new("t".into()),
    };
    for (login, line) in [
        (plain, "AUTH PLAIN AHVzZXIAc2VjcmV0"),
        (external(None), "AUTH EXTERNAL ="),
        (external(Some("a@b.fr")), "AUTH EXTERNAL YUBiLmZy"),
        (bearer, "AUTH XOAUTH2 dXNlcj1hQGIuZnIBYXV0aD1CZWFyZXIgdAEB"),
    ] {
        let settings = ClientOptions {
            login: Some(login),
            ..options(ClientTls::Implicit)
        };
        let keywords = "AUTH_PLAIN_EXTERNAL_XOAUTH2";
        let mut script = Script::greeted(settings.clone(), transaction(&["c@d.fr"]), keywords);
        assert_eq!(script.written, line);
        assert_eq!(script.answer("235 2.7.0 ok"), "MAIL FROM:<a@b.fr>");
        let mut refused = Script::greeted(settings.clone(), transaction(&["c@d.fr"]), keywords);
        refused.answer("535 5.7.8 no");
        assert_eq!(
            (refused.failure().stage, refused.failure().temporary),
            (Stage::Login, false)
        );
        let absent = Script::greeted(settings, transaction(&["c@d.fr"]), "AUTH_CRAM-MD5");
        assert_eq!(absent.failure().cause, Cause::LoginAbsent);
    }
}

#[test]
fn a_long_token_waits_for_the_challenge_and_a_refused_one_for_the_verdict() {
    let settings = ClientOptions {
        login: Some(Credentials::Bearer {
            user: None,
            token: Secret::new("t".repeat(2000)),
        }),
        ..options(ClientTls::Implicit)
    };
    let mut script = Script::greeted(settings, transaction(&["c@d.fr"]), "AUTH_XOAUTH2");
    assert_eq!(script.written, "AUTH XOAUTH2");
    assert!(script.answer("334").len() > 2000);
    assert_eq!(script.answer("334 eyJzdGF0dXMiOiI0MDEifQ=="), "");
    script.answer("535 5.7.8 no");
    assert_eq!(script.failure().text, "535 5.7.8 no");
}

// ---- envelope

fn pipelined(recipients: &[&str]) -> Script {
    Script::greeted(options(ClientTls::Implicit), transaction(recipients), "PIPELINING")
}

#[test]
fn the_envelope_is_one_flight_where_the_peer_offers_pipelining() {
    let mut script = pipelined(&["c@d.fr", "e@f.fr"]);
    assert_eq!(
        script.written,
        "MAIL FROM:<a@b.fr> | RCPT TO:<c@d.fr> | RCPT TO:<e@f.fr> | DATA"
    );
    assert_eq!(script.answer("250 ok\r\n550 5.1.1 no\r\n250 ok\r\n354 go"), BODY_SAID);
    script.answer("250 ok");
    assert_eq!(script.verdicts(), "RA");
}

#[test]
fn data_accepted_for_nobody_is_ended_at_once() {
    let mut script = pipelined(&["c@d.fr", "e@f.fr"]);
    assert_eq!(script.answer("250 ok\r\n550 no\r\n450 later\r\n354 go"), ".");
    script.answer("554 nobody");
    assert_eq!(script.verdicts(), "RD");
}

#[test]
fn a_refused_sender_is_the_verdict_for_everyone() {
    let mut script = pipelined(&["c@d.fr", "e@f.fr"]);
    script.answer("550 5.7.1 not listed\r\n503 MAIL first\r\n503 MAIL first\r\n503 MAIL first");
    assert_eq!(script.verdicts(), "RR");
    let Outcome::Finished(outcomes) = &script.outcomes[0] else {
        panic!()
    };
    assert!(matches!(&outcomes[1], RecipientOutcome::Refused(reply) if reply.to_string() == "550 5.7.1 not listed"));
    let mut one_by_one = Script::greeted(options(ClientTls::Implicit), transaction(&["c@d.fr"]), "");
    one_by_one.answer("451 4.3.0 later");
    assert_eq!(one_by_one.verdicts(), "D");
}

#[test]
fn without_pipelining_nothing_is_said_for_nobody() {
    let mut script = Script::greeted(options(ClientTls::Implicit), transaction(&["c@d.fr", "e@f.fr"]), "");
    assert_eq!(script.answer("250 ok"), "RCPT TO:<c@d.fr>");
    assert_eq!(script.answer("552 5.5.3 too many"), "RCPT TO:<e@f.fr>");
    assert_eq!(script.answer("552 5.2.2 full"), "");
    assert_eq!(script.verdicts(), "DR");
}

#[test]
fn the_reply_to_data_or_to_the_text_is_for_those_not_refused_before() {
    for (at_data, at_end, verdicts) in [
        ("451 later", "", "RD"),
        ("554 no", "", "RR"),
        ("354 go", "452 4.3.1 full", "RD"),
        ("354 go", "554 5.4.6 loop", "RR"),
    ] {
        let mut script = pipelined(&["c@d.fr", "e@f.fr"]);
        script.answer(&format!("250 ok\r\n550 no\r\n250 ok\r\n{at_data}"));
        if !at_end.is_empty() {
            script.answer(at_end);
        }
        assert_eq!(script.verdicts(), verdicts, "{at_data} {at_end}");
    }
}

#[test]
fn more_recipients_than_a_flight_holds_go_in_several() {
    let many: Vec<String> = (0..250).map(|n| format!("u{n}@d.fr")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut script = pipelined(&many);
    assert_eq!(script.written.split(" | ").count(), 100);
    let second = script.answer(&["250 ok"; 100].join("\r\n"));
    assert_eq!(second.split(" | ").count(), 100);
    let third = script.answer(&["250 ok"; 100].join("\r\n"));
    assert!(third.ends_with("RCPT TO:<u249@d.fr> | DATA"), "{third}");
    script.answer(&format!("{}\r\n354 go", ["250 ok"; 51].join("\r\n")));
    script.answer("250 ok");
    assert_eq!(script.verdicts(), "A".repeat(250));
}

#[test]
fn what_the_peer_cannot_take_is_not_tried() {
    let mut large = transaction(&["c@d.fr"]);
    large.mail.size_bytes = Some(1001);
    let mut utf8 = transaction(&["c@d.fr"]);
    utf8.mail.utf8 = true;
    let mut eight_bit = transaction(&["c@d.fr"]);
    eight_bit.mail.body = Some(Body::EightBitMime);
    let mut demanding = transaction(&["c@d.fr"]);
    demanding.mail.onward = Onward::TlsRequired;
    for (needy, lacking, enough, code) in [
        (large, "SIZE_1000", "SIZE_1001", 552),
        (utf8, "8BITMIME", "SMTPUTF8", 553),
        (eight_bit, "SMTPUTF8", "8BITMIME", 554),
        (demanding, "DSN", "REQUIRETLS", 550),
    ] {
        let script = Script::greeted(options(ClientTls::Implicit), needy.clone(), lacking);
        let Outcome::Finished(outcomes) = &script.outcomes[0] else {
            panic!()
        };
        assert!(matches!(&outcomes[0], RecipientOutcome::Refused(reply) if reply.code == code));
        assert_eq!(script.written, "");
        let script = Script::greeted(options(ClientTls::Implicit), needy, enough);
        assert!(script.written.starts_with("MAIL FROM:<a@b.fr>"), "{}", script.written);
    }
}

#[test]
fn a_report_demands_tls_of_those_who_know_it_and_is_not_lost_at_others() {
    let mut report = transaction(&["c@d.fr"]);
    report.mail.path = None;
    report.mail.onward = Onward::TlsRequired;
    for (offered, said) in [("REQUIRETLS", "MAIL FROM:<> REQUIRETLS"), ("DSN", "MAIL FROM:<>")] {
        let script = Script::greeted(options(ClientTls::Implicit), report.clone(), offered);
        assert_eq!(script.written, said);
    }
}

#[test]
fn a_session_has_recipients_of_no_more_domains_than_the_peer_takes() {
    let answer = |script: &mut Script| {
        script.answer("250 ok\r\n250 ok\r\n354 go");
        script.answer("250 ok");
    };
    let offer = "PIPELINING LIMITS_RCPTDOMAINMAX=2";
    let mut script = Script::greeted(options(ClientTls::Implicit), transaction(&["c@d.fr"]), offer);
    answer(&mut script);
    for (to, is_taken) in [("x@D.fr", true), ("x@e.fr", true), ("x@f.fr", false), ("y@d.fr", true)] {
        assert_eq!(script.client.next_transaction(transaction(&[to])), is_taken, "{to}");
        if is_taken {
            script.run();
            answer(&mut script);
        }
    }
    // Nobody minds where nothing is said.
    let mut script = Script::greeted(options(ClientTls::Implicit), transaction(&["c@d.fr"]), "PIPELINING");
    answer(&mut script);
    assert!(script.client.next_transaction(transaction(&["x@e.fr"])));
}

#[test]
fn a_transaction_has_no_more_recipients_than_the_peer_takes() {
    let many = ["c@d.fr", "e@f.fr", "g@h.fr"];
    let mut script = Script::greeted(
        options(ClientTls::Implicit),
        transaction(&many),
        "PIPELINING LIMITS_RCPTMAX=2_MAILMAX=2",
    );
    assert_eq!(
        script.written,
        "MAIL FROM:<a@b.fr> | RCPT TO:<c@d.fr> | RCPT TO:<e@f.fr> | DATA"
    );
    script.answer("250 ok\r\n250 ok\r\n550 no\r\n354 go");
    script.answer("250 ok");
    assert_eq!(script.verdicts(), "ARD");
    let Outcome::Finished(outcomes) = &script.outcomes[0] else {
        panic!()
    };
    let another: Vec<bool> = outcomes
        .iter()
        .map(RecipientOutcome::wants_another_transaction)
        .collect();
    assert_eq!(another, [false, false, true]);
    // And no more messages than it takes.
    assert!(script.client.next_transaction(transaction(&["g@h.fr"])));
    script.run();
    script.answer("250 ok\r\n250 ok\r\n354 go");
    script.answer("250 ok");
    assert!(!script.client.is_worth_keeping());
    assert!(!script.client.next_transaction(transaction(&["i@j.fr"])));
    assert_eq!(script.run(), "QUIT");
}

#[test]
fn limits_that_cannot_be_read_bind_nobody() {
    for words in [
        "LIMITS",
        "LIMITS_RCPTMAX=0_MAILMAX=many",
        "LIMITS_RCPTDOMAINMAX=no_ODDMAX=1",
        "LIMITS_RCPTMAX",
    ] {
        let mut script = Script::greeted(options(ClientTls::Implicit), transaction(&["c@d.fr", "e@f.fr"]), words);
        assert_eq!(script.client.offer().limits, Limits::default(), "{words}");
        script.answer("250 ok");
        assert_eq!(script.answer("250 ok"), "RCPT TO:<e@f.fr>");
    }
}

#[test]
fn only_too_many_recipients_asks_for_another_transaction() {
    for (line, expected) in [
        ("452 4.5.3 too many recipients", true),
        ("452 too many", true),
        ("552 5.5.3 too many", true),
        ("552 too many", true),
        ("452 4.3.1 disk full", false),
        ("450 4.2.0 greylisted", false),
        ("451 later", false),
        ("552 5.2.2 box full", false),
    ] {
        let mut script = pipelined(&["c@d.fr", "e@f.fr"]);
        script.answer(&format!("250 ok\r\n250 ok\r\n{line}\r\n354 go"));
        script.answer("250 ok");
        let Outcome::Finished(outcomes) = &script.outcomes[0] else {
            panic!()
        };
        assert_eq!(outcomes[1].wants_another_transaction(), expected, "{line}");
    }
}

#[test]
fn what_was_refused_for_good_stays_so_when_the_connection_ends() {
    for (answers, lost, stage, arrived) in [
        ("250 ok\r\n550 5.1.1 no\r\n421 closing", false, Stage::Recipient, false),
        (
            "250 ok\r\n550 5.1.1 no\r\n250 ok\r\n421 closing",
            false,
            Stage::Data,
            false,
        ),
        ("250 ok\r\n550 5.1.1 no", true, Stage::Recipient, false),
        ("250 ok\r\n550 5.1.1 no\r\n250 ok\r\n354 go", true, Stage::Verdict, true),
        (
            "250 ok\r\n550 5.1.1 no\r\n250 ok\r\n354 go\r\n421 closing",
            false,
            Stage::Verdict,
            false,
        ),
        ("250 ok\r\n550 5.1.1 no\r\n451 no\r\n354 go", true, Stage::Data, false),
        ("250 ok\r\n550 5.1.1 no\r\nwhat", false, Stage::Recipient, false),
    ] {
        let mut script = pipelined(&["c@d.fr", "e@f.fr"]);
        script.answer(answers);
        let failure = if lost {
            script.client.lost("gone").unwrap()
        } else {
            script.failure().clone()
        };
        let places: Vec<usize> = failure.refused.iter().map(|(place, _)| *place).collect();
        assert_eq!((failure.stage, places.as_slice()), (stage, &[0][..]), "{answers}");
        assert_eq!(failure.may_have_arrived(), arrived, "{answers}");
    }
}

#[test]
fn parameters_are_handed_on_where_the_peer_knows_them() {
    let mut transaction = transaction(&["c@d.fr"]);
    transaction.mail.ret = Some(Ret::Headers);
    transaction.mail.envid = Xtext::of("a+b");
    transaction.mail.body = Some(Body::SevenBit);
    transaction.recipients[0].notify = Some(Notify::SUCCESS.with(Notify::FAILURE));
    transaction.recipients[0].orcpt = Some("rfc822;x+2By@d.fr".parse::<OriginalRecipient>().unwrap());
    let knows = "PIPELINING SIZE 8BITMIME DSN";
    let script = Script::greeted(options(ClientTls::Implicit), transaction.clone(), knows);
    assert_eq!(
        script.written,
        "MAIL FROM:<a@b.fr> SIZE=20 BODY=7BIT RET=HDRS ENVID=a+2Bb | \
         RCPT TO:<c@d.fr> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+2By@d.fr | DATA"
    );
    transaction.mail.path = None;
    let script = Script::greeted(options(ClientTls::Implicit), transaction, "PIPELINING");
    assert_eq!(script.written, "MAIL FROM:<> | RCPT TO:<c@d.fr> | DATA");
}

#[test]
fn a_chunk_carries_the_text_as_it_is() {
    let settings = ClientOptions {
        transfer: Transfer::BdatWhenOffered,
        ..options(ClientTls::Implicit)
    };
    let mut script = Script::greeted(settings.clone(), transaction(&["c@d.fr"]), "PIPELINING CHUNKING");
    assert_eq!(script.written, "MAIL FROM:<a@b.fr> | RCPT TO:<c@d.fr>");
    assert_eq!(script.answer("250 ok\r\n250 ok"), "BDAT 20 LAST | Subject: x |  | .dot");
    script.answer("250 ok");
    assert_eq!(script.verdicts(), "A");
    let mut refused = Script::greeted(settings, transaction(&["c@d.fr"]), "PIPELINING CHUNKING");
    assert_eq!(refused.answer("250 ok\r\n550 no"), "");
    assert_eq!(refused.verdicts(), "R");
}

#[test]
fn a_driver_knows_which_command_the_text_stands_behind() {
    let settings = ClientOptions {
        transfer: Transfer::BdatWhenOffered,
        ..options(ClientTls::Implicit)
    };
    let mut script = Script::greeted(settings, transaction(&["c@d.fr"]), "PIPELINING CHUNKING");
    assert!(!script.client.text_is_next(), "the envelope is not answered");
    script.client.input().extend_from_slice(b"250 ok\r\n250 ok\r\n");
    assert_eq!(script.client.step(), ClientStep::Write(b"BDAT 20 LAST\r\n".to_vec()));
    assert!(script.client.text_is_next());
    assert_eq!(script.client.step(), ClientStep::SendBody(Framing::Counted));
    script.client.body_sent();
    assert!(!script.client.text_is_next());
}

// ---- one flight

const ONE_FLIGHT: &str = "PIPELINING CHUNKING";

fn chunked() -> ClientOptions {
    ClientOptions {
        transfer: Transfer::BdatWhenOffered,
        ..options(ClientTls::Implicit)
    }
}

/// Past a first message, which was taken.
fn under_way(keywords: &str) -> Script {
    let mut script = Script::greeted(chunked(), transaction(&["c@d.fr"]), keywords);
    while script.outcomes.is_empty() {
        let commands = script
            .written
            .split(" | ")
            .take_while(|line| !line.starts_with("Subject"));
        let answers = commands.map(|line| match line {
            "DATA" => "354 go",
            _ => "250 ok",
        });
        let answers: Vec<&str> = answers.collect();
        let answers = answers.join("\r\n");
        let answers = if answers.is_empty() { "250 ok" } else { &answers };
        script.written = script.answer(answers);
    }
    assert_eq!(script.verdicts(), "A");
    script.outcomes.clear();
    script
}

impl Script {
    /// What is said when another transaction begins whose text is at hand.
    fn follow(&mut self, transaction: Transaction) -> String {
        assert!(self.client.next_transaction_with_text(transaction));
        self.run()
    }
}

/// A second transaction, all of it said, nothing answered.
fn in_one_flight(recipients: &[&str]) -> Script {
    let mut script = under_way(ONE_FLIGHT);
    let said = script.follow(transaction(recipients));
    assert!(said.ends_with("BDAT 20 LAST | Subject: x |  | .dot"), "{said}");
    script
}

#[test]
fn in_the_middle_of_a_conversation_a_message_is_one_flight() {
    let mut script = under_way(ONE_FLIGHT);
    assert!(
        script
            .client
            .next_transaction_with_text(transaction(&["e@f.fr", "g@h.fr"]))
    );
    let flight = b"MAIL FROM:<a@b.fr>\r\nRCPT TO:<e@f.fr>\r\nRCPT TO:<g@h.fr>\r\nBDAT 20 LAST\r\n";
    assert_eq!(script.client.step(), ClientStep::Write(flight.to_vec()));
    assert!(script.client.text_is_next());
    assert_eq!(script.client.step(), ClientStep::SendBody(Framing::Counted));
    script.client.body_sent();
    assert!(!script.client.text_is_next());
    assert_eq!(script.client.step(), ClientStep::Read);
    assert_eq!(script.answer("250 ok\r\n250 ok\r\n250 ok\r\n250 2.0.0 taken"), "");
    assert_eq!(script.verdicts(), "AA");
    // And so does the next one.
    let said = script.follow(transaction(&["i@j.fr"]));
    assert!(said.starts_with("MAIL FROM:<a@b.fr> | RCPT TO:<i@j.fr> | BDAT 20 LAST | "));
}

#[test]
fn each_reply_to_a_flight_has_its_meaning_however_it_arrives() {
    for (answers, verdicts) in [
        ("250 ok\r\n250 ok\r\n250 ok\r\n250 ok", "AA"),
        ("250 ok\r\n550 no\r\n250 ok\r\n250 ok", "RA"),
        ("250 ok\r\n250 ok\r\n450 later\r\n554 not that", "RD"),
        ("250 ok\r\n550 no\r\n250 ok\r\n452 4.3.1 full", "RD"),
        ("250 ok\r\n250 ok\r\n452 4.5.3 too many\r\n250 ok", "AD"),
        ("250 ok\r\n250 ok\r\n552 too many\r\n250 ok", "AD"),
        // The sender is refused: that is the verdict, not what follows from it.
        ("550 not you\r\n503 no\r\n503 no\r\n503 no", "RR"),
        ("451 later\r\n503 no\r\n503 no\r\n554 no", "DD"),
        ("451 later\r\n250 ok\r\n250 ok\r\n250 ok", "DD"),
        // All recipients are: the reply to BDAT is nobody's.
        ("250 ok\r\n550 no\r\n450 later\r\n503 nobody", "RD"),
        ("250 ok\r\n450 later\r\n550 no\r\n554-nobody\r\n554 at all", "DR"),
        ("250 ok\r\n550 no\r\n450 later\r\n250 taken all the same", "RD"),
        ("250 ok\r\n550 no\r\n450 later\r\n354 what", "RD"),
    ] {
        let answers = format!("{answers}\r\n");
        for size in [1, 2, 7, answers.len()] {
            let mut script = in_one_flight(&["c@d.fr", "e@f.fr"]);
            for piece in answers.as_bytes().chunks(size) {
                assert!(
                    script.outcomes.is_empty(),
                    "{answers}: an outcome before the last reply"
                );
                script.client.input().extend_from_slice(piece);
                assert_eq!(script.run(), "");
            }
            assert_eq!(script.verdicts(), verdicts, "{answers}");
            // RSET, unless the message was taken; one flight, where it was for everybody.
            let said = script.follow(transaction(&["g@h.fr"]));
            let was_taken = verdicts.contains('A');
            assert_eq!(said.starts_with("RSET | MAIL"), !was_taken, "{answers}: {said}");
            assert_eq!(said.contains("BDAT"), verdicts == "AA", "{answers}: {said}");
        }
    }
}

#[test]
fn an_answer_to_quit_that_is_no_reply_is_no_second_outcome() {
    for farewell in ["600-", "what?", "421 4.3.2 closing", "221-bye\r\n250 bye"] {
        let mut script = in_one_flight(&["c@d.fr"]);
        assert_eq!(script.answer("250 ok\r\n250 ok\r\n250 taken"), "");
        let said = script.answer(farewell);
        assert_eq!(said, "QUIT | <close>", "{farewell}");
        assert_eq!(script.verdicts(), "A", "{farewell}");
    }
}

#[test]
fn who_had_no_room_in_a_flight_wants_another_transaction() {
    let mut script = in_one_flight(&["c@d.fr", "e@f.fr"]);
    script.answer("250 ok\r\n250 ok\r\n452 4.5.3 too many\r\n250 ok");
    let Outcome::Finished(outcomes) = &script.outcomes[0] else {
        panic!()
    };
    assert!(outcomes[1].wants_another_transaction() && !outcomes[0].wants_another_transaction());
    let mut script = under_way("PIPELINING CHUNKING LIMITS_RCPTMAX=1");
    let said = script.follow(transaction(&["c@d.fr", "e@f.fr"]));
    assert!(
        said.starts_with("MAIL FROM:<a@b.fr> | RCPT TO:<c@d.fr> | BDAT 20 LAST | "),
        "{said}"
    );
    script.answer("250 ok\r\n250 ok\r\n250 ok");
    assert_eq!(script.verdicts(), "AD");
}

#[test]
fn a_text_waits_for_its_envelope_unless_one_flight_is_safe() {
    let waits = |script: &mut Script, transaction: Transaction, why: &str| {
        let said = script.follow(transaction);
        let last = said.split(" | ").last().unwrap_or_default();
        assert!(!said.contains("BDAT") && !last.is_empty(), "{why}: {said}");
    };
    // What the peer offers.
    for keywords in ["PIPELINING", "CHUNKING", ""] {
        waits(&mut under_way(keywords), transaction(&["e@f.fr"]), keywords);
    }
    // What is to be sent.
    let sized = |size_bytes| {
        let mut transaction = transaction(&["e@f.fr"]);
        transaction.mail.size_bytes = size_bytes;
        transaction
    };
    waits(&mut under_way(ONE_FLIGHT), sized(Some(64 * 1024 + 1)), "large");
    waits(&mut under_way(ONE_FLIGHT), sized(None), "of no known size");
    assert!(
        under_way(ONE_FLIGHT)
            .follow(sized(Some(64 * 1024)))
            .contains("BDAT 65536 LAST")
    );
    let many: Vec<String> = (0..99).map(|n| format!("u{n}@d.fr")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    waits(
        &mut under_way(ONE_FLIGHT),
        transaction(&many),
        "more than a flight holds",
    );
    assert!(under_way(ONE_FLIGHT).follow(transaction(&many[..98])).contains("BDAT"));
    // What was before: nothing, something that is long ago, a refusal.
    let mut first = Script::new(chunked(), transaction(&["c@d.fr"]));
    first.answer("220 hi");
    assert_eq!(
        first.answer("250-mx\r\n250-PIPELINING\r\n250 CHUNKING"),
        "MAIL FROM:<a@b.fr> | RCPT TO:<c@d.fr>"
    );
    let mut kept = under_way(ONE_FLIGHT);
    assert!(kept.client.is_worth_keeping());
    assert!(kept.client.next_transaction(transaction(&["e@f.fr"])));
    assert_eq!(kept.run(), "MAIL FROM:<a@b.fr> | RCPT TO:<e@f.fr>");
    for answers in ["550 no\r\n503 no\r\n503 no", "250 ok\r\n250 ok\r\n452 4.3.1 full"] {
        let mut script = in_one_flight(&["c@d.fr"]);
        script.answer(answers);
        waits(&mut script, transaction(&["e@f.fr"]), answers);
    }
    // Nothing was said at all: what was true before may not be any more.
    let mut kept = under_way(ONE_FLIGHT);
    let mut utf8 = transaction(&["e@f.fr"]);
    utf8.mail.utf8 = true;
    assert!(kept.client.next_transaction(utf8.clone()));
    assert_eq!(kept.run(), "");
    waits(&mut kept, transaction(&["g@h.fr"]), "after one that could not be tried");
}

#[test]
fn a_flight_that_is_lost_may_have_arrived_from_the_first_reply_on() {
    for (answers, refused, arrived) in [
        ("", &[][..], true),
        ("250 ok", &[], true),
        ("250 ok\r\n550 no", &[0], true),
        ("250 ok\r\n450 later\r\n250 ok", &[], true),
        ("250 ok\r\n550 no\r\n250 ok", &[0], true),
        ("250 ok\r\n550 no\r\n250 o", &[0], true),
        // Nobody can have got it.
        ("550 not you", &[0, 1], false),
        ("451 later\r\n503 no", &[], false),
        ("250 ok\r\n550 no\r\n450 later", &[0], false),
    ] {
        let mut script = in_one_flight(&["c@d.fr", "e@f.fr"]);
        script.client.input().extend_from_slice(answers.as_bytes());
        if !answers.is_empty() && !answers.ends_with(" o") {
            script.client.input().extend_from_slice(b"\r\n");
        }
        assert_eq!(script.run(), "");
        let failure = script.client.lost("gone").unwrap();
        let places: Vec<usize> = failure.refused.iter().map(|(place, _)| *place).collect();
        assert_eq!((places.as_slice(), failure.temporary), (refused, true), "{answers}");
        assert_eq!(failure.may_have_arrived(), arrived, "{answers}");
        assert_eq!(failure.stage == Stage::Verdict, arrived, "{answers}");
        assert_eq!(script.run(), "<close>");
    }
    // Before all of the text was written nothing can have.
    let mut script = under_way(ONE_FLIGHT);
    assert!(script.client.next_transaction_with_text(transaction(&["c@d.fr"])));
    while script.client.step() != ClientStep::SendBody(Framing::Counted) {}
    let failure = script.client.lost("gone").unwrap();
    assert_eq!((failure.stage, failure.may_have_arrived()), (Stage::Text, false));
}

#[test]
fn a_peer_that_ends_a_flight_itself_says_whether_it_has_the_message() {
    for (answers, refused, cause, arrived) in [
        ("421 closing", &[][..], Cause::Refused, false),
        ("250 ok\r\n421 closing", &[], Cause::Refused, false),
        ("250 ok\r\n550 no\r\n421 closing", &[0], Cause::Refused, false),
        ("250 ok\r\n550 no\r\n250 ok\r\n421 closing", &[0], Cause::Refused, false),
        ("354 go", &[], Cause::Protocol, true),
        ("what", &[], Cause::Protocol, true),
        ("250 ok\r\n550 no\r\nwhat", &[0], Cause::Protocol, true),
        ("250 ok\r\n550 no\r\n250 ok\r\n354 go", &[0], Cause::Protocol, true),
        ("250 ok\r\n550 no\r\n450 later\r\nwhat", &[0], Cause::Protocol, false),
    ] {
        let mut script = in_one_flight(&["c@d.fr", "e@f.fr"]);
        let said = script.answer(answers);
        let farewell = if cause == Cause::Refused {
            "QUIT | <close>"
        } else {
            "<close>"
        };
        assert_eq!(said, farewell, "{answers}");
        let failure = script.failure();
        let places: Vec<usize> = failure.refused.iter().map(|(place, _)| *place).collect();
        assert_eq!((failure.cause, places.as_slice()), (cause, refused), "{answers}");
        assert_eq!(
            (failure.temporary, failure.may_have_arrived()),
            (true, arrived),
            "{answers}"
        );
    }
}

// ---- connection

#[test]
fn a_connection_carries_several_messages_and_says_rset_only_after_a_broken_one() {
    let mut script = pipelined(&["c@d.fr"]);
    script.answer("250 ok\r\n250 ok\r\n354 go");
    script.answer("250 ok");
    assert!(script.client.is_worth_keeping());
    assert!(script.client.next_transaction(transaction(&["e@f.fr"])));
    assert_eq!(script.run(), "MAIL FROM:<a@b.fr> | RCPT TO:<e@f.fr> | DATA");
    assert!(!script.client.is_worth_keeping());
    script.answer("250 ok\r\n550 no\r\n554 nobody");
    assert!(!script.client.is_worth_keeping());
    assert!(script.client.next_transaction(transaction(&["g@h.fr"])));
    assert_eq!(script.run(), "RSET | MAIL FROM:<a@b.fr> | RCPT TO:<g@h.fr> | DATA");
    script.answer("250 ok\r\n250 ok\r\n250 ok\r\n354 go");
    script.answer("250 ok");
    assert_eq!(script.outcomes.len(), 3);
    assert_eq!(script.run(), "QUIT");
    assert!(!script.client.next_transaction(transaction(&["i@j.fr"])));
}

#[test]
fn a_peer_that_closes_with_421_defers_everything() {
    let mut script = pipelined(&["c@d.fr"]);
    script.answer("250 ok\r\n421 4.3.2 shutting down");
    assert_eq!(
        (script.failure().stage, script.failure().temporary),
        (Stage::Recipient, true)
    );
    assert_eq!(script.run(), "<close>");
}

#[test]
fn an_answer_that_cannot_be_one_is_a_failure() {
    for answers in ["354 go", "250 ok\r\n354 go", "250 ok\r\n250 ok\r\n250 ok"] {
        let mut script = pipelined(&["c@d.fr"]);
        script.answer(answers);
        assert_eq!(script.failure().cause, Cause::Protocol, "{answers}");
    }
}

#[test]
fn a_lost_connection_says_what_it_was_at() {
    let mut script = pipelined(&["c@d.fr"]);
    assert_eq!(script.client.lost("timed out").unwrap().stage, Stage::Mail);
    assert_eq!(script.run(), "<close>");
    let mut script = pipelined(&["c@d.fr"]);
    script.answer("250 ok\r\n250 ok\r\n354 go");
    assert_eq!(script.client.lost("timed out").unwrap().stage, Stage::Verdict);
    let mut script = pipelined(&["c@d.fr"]);
    script.answer("250 ok\r\n250 ok\r\n354 go");
    script.answer("250 ok");
    assert_eq!(script.client.lost("gone"), None);
}

// ---- both ends

/// A client and a server joined in memory; bytes travel in pieces of the given sizes.
struct Pair {
    client: Client,
    server: Session,
    pieces: Vec<usize>,
    turn: usize,
    body: Vec<u8>,
    received: Vec<Vec<u8>>,
    outcomes: Vec<Outcome>,
    more: Vec<Transaction>,
    /// The texts of those are at hand.
    at_hand: bool,
}

impl Pair {
    fn new(client: ClientOptions, server: session::Options, transaction: Transaction, pieces: Vec<usize>) -> Self {
        Self {
            client: Client::new(client, transaction),
            server: Session::new(server),
            pieces,
            turn: 0,
            body: Vec::new(),
            received: Vec::new(),
            outcomes: Vec::new(),
            more: Vec::new(),
            at_hand: false,
        }
    }

    fn piece(&mut self, left: usize) -> usize {
        self.turn += 1;
        left.min(self.pieces[self.turn % self.pieces.len()])
    }

    /// Until both have closed.
    fn play(&mut self) {
        let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
        let (mut client_open, mut server_open) = (true, true);
        for _ in 0..100_000 {
            if !client_open && !server_open {
                return;
            }
            if server_open {
                server_open = self.serve(&mut to_server, &mut to_client);
            }
            if client_open {
                client_open = self.send(&mut to_client, &mut to_server);
            }
            if !client_open && to_server.is_empty() {
                server_open = false;
            }
        }
        panic!("the two ends wait for each other");
    }

    fn serve(&mut self, from: &mut Vec<u8>, to: &mut Vec<u8>) -> bool {
        match self.server.step() {
            Step::Read => {
                let piece = self.piece(from.len());
                self.server.input().extend(from.drain(..piece));
            }
            Step::Write(bytes) => to.extend(bytes),
            Step::Ask(question) => {
                let answer = match question {
                    Question::Recipient(rcpt) if rcpt.path.to_string().starts_with("nobody") => {
                        Answer::Refused(Refusal::new(Reason::BoxUnknown, "no such box"))
                    }
                    Question::Message => {
                        self.received.push(std::mem::take(&mut self.body));
                        Answer::Accepted
                    }
                    _ => Answer::Accepted,
                };
                self.server.answer(answer);
            }
            Step::Body(bytes) => self.body.extend(bytes),
            Step::StartTls => self.server.tls_started(),
            Step::Refused(_) => {}
            Step::Abandon => self.body.clear(),
            Step::Close => return false,
        }
        true
    }

    fn send(&mut self, from: &mut Vec<u8>, to: &mut Vec<u8>) -> bool {
        match self.client.step() {
            ClientStep::Read => {
                let piece = self.piece(from.len());
                self.client.input().extend(from.drain(..piece));
            }
            ClientStep::Write(bytes) => to.extend(bytes),
            ClientStep::StartTls => self.client.tls_started(),
            ClientStep::SendBody(framing) => {
                to.extend(body(framing));
                self.client.body_sent();
            }
            ClientStep::Done(outcome) => {
                self.outcomes.push(outcome);
                if let Some(next) = self.more.pop() {
                    if self.at_hand {
                        self.client.next_transaction_with_text(next);
                    } else {
                        self.client.next_transaction(next);
                    }
                }
            }
            ClientStep::Close => return false,
        }
        true
    }
}

fn server_options(face: session::Face, extensions: Extensions) -> session::Options {
    session::Options {
        hostname: "mx.example".into(),
        session_id: "S1".into(),
        face,
        tls: session::Tls::Required,
        mechanisms: vec![Mechanism::External, Mechanism::Plain],
        extensions,
        limits: session::Limits::default(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_ends_agree_however_the_bytes_travel(
        pieces in proptest::collection::vec(1usize..50, 1..20),
        off in 0usize..8,
        chunks in any::<bool>(),
        submission in any::<bool>(),
        at_hand in any::<bool>(),
    ) {
        let face = if submission { session::Face::Submission } else { session::Face::Peer };
        let extensions = Extensions::all().without(Extension::ALL[off]);
        let client = ClientOptions {
            login: submission.then_some(Credentials::External { authzid: None }),
            transfer: if chunks { Transfer::BdatWhenOffered } else { Transfer::Data },
            ..options(ClientTls::StartTls)
        };
        let first = transaction(&["c@d.fr", "nobody@d.fr", "e@f.fr"]);
        let mut pair = Pair::new(client, server_options(face, extensions), first, pieces);
        pair.at_hand = at_hand;
        let some = ["last@d.fr", "nobody@d.fr"];
        pair.more = [&some[..1], &some, &some[1..], &some[..1], &some[1..]].map(transaction).into();
        pair.play();
        let letters: Vec<String> = pair
            .outcomes
            .iter()
            .map(|outcome| match outcome {
                Outcome::Finished(verdicts) => verdicts.iter().map(letter).collect(),
                Outcome::Failed(failure) => failure.to_string(),
            })
            .collect();
        prop_assert_eq!(letters, ["ARA", "R", "A", "R", "AR", "A"]);
        prop_assert_eq!(pair.received, [TEXT; 4]);
    }

    #[test]
    fn no_answer_to_a_flight_makes_a_client_panic_or_count_twice(
        answers in proptest::collection::vec(
            prop_oneof![
                Just("250 ok".to_owned()), Just("354 go".into()), Just("550 no".into()), Just("450 later".into()),
                Just("421 bye".into()), Just("250-more".into()), "[0-9]{3}[ -]\\PC{0,10}",
            ],
            0..8,
        ),
    ) {
        let mut script = in_one_flight(&["c@d.fr", "e@f.fr"]);
        for answer in &answers {
            script.answer(answer);
        }
        prop_assert!(script.outcomes.len() <= 1);
        let is_taken = |outcome: &RecipientOutcome| matches!(outcome, RecipientOutcome::Accepted(_));
        if let Some(Outcome::Finished(outcomes)) = script.outcomes.first() {
            prop_assert_eq!(outcomes.len(), 2);
            prop_assert!(!outcomes.iter().any(is_taken) || answers.iter().filter(|one| one.starts_with('2')).count() >= 3);
        }
    }

    #[test]
    fn no_server_makes_a_client_panic_or_send_in_clear(
        answers in proptest::collection::vec(
            prop_oneof![
                Just("220 hi".to_owned()), Just("250 ok".into()), Just("250-mx\r\n250 STARTTLS".into()), Just("354 go".into()),
                Just("250-mx\r\n250-PIPELINING\r\n250 CHUNKING".into()), Just("550 no".into()), Just("421 bye".into()),
                "[0-9]{3}[ -]\\PC{0,10}",
            ],
            0..20,
        ),
    ) {
        let mut script = Script::new(options(ClientTls::StartTls), transaction(&["c@d.fr", "e@f.fr"]));
        let mut said = String::new();
        for answer in answers {
            said.push_str(&script.answer(&answer));
        }
        let clear = said.split("<tls>").next().unwrap_or_default();
        prop_assert!(!clear.contains("MAIL") && !clear.contains("RCPT"));
        prop_assert!(script.outcomes.len() <= 1);
    }
}
