//! Every command in every state: one table, read from `conversation.txt`, says the reply code and the next state.
//!
//! Rows are commands, columns states; a cell is `code>state`, `-` where no reply is due, `=` where the state stays. The test plays each cell
//! in a session of its own. A command or a state that is not in the table, or stands there without a cell, fails the test.

use super::tests::{Play, base64, options};
use super::*;
use crate::smtp::extension::Extensions;

/// The states of a session as a client can tell them apart, each with the shortest way into it.
const STATES: [(&str, Way); 18] = [
    ("clear", Way(Face::Peer, Tls::Required, &[])),
    ("clear-hello", Way(Face::Peer, Tls::Required, &["EHLO a.example"])),
    ("tls", Way(Face::Peer, Tls::Done, &[])),
    ("helo", Way(Face::Peer, Tls::Done, &["HELO a.example"])),
    ("ehlo", Way(Face::Peer, Tls::Done, &["EHLO a.example"])),
    ("anonymous", Way(Face::Submission, Tls::Done, &["EHLO a.example"])),
    ("user", Way(Face::Submission, Tls::Done, &["EHLO a.example", LOGIN])),
    (
        "exchange",
        Way(Face::Submission, Tls::Done, &["EHLO a.example", "AUTH PLAIN"]),
    ),
    (
        "dismissed",
        Way(Face::Submission, Tls::Done, &["EHLO a.example", BAD_TOKEN]),
    ),
    ("from", Way(Face::Peer, Tls::Done, &["EHLO a.example", FROM])),
    (
        "from-refused",
        Way(Face::Peer, Tls::Done, &["EHLO a.example", FROM, NOBODY]),
    ),
    ("to", Way(Face::Peer, Tls::Done, &["EHLO a.example", FROM, TO])),
    (
        "to-full",
        Way(Face::Peer, Tls::Done, &["EHLO a.example", FROM, TO, TO, TO]),
    ),
    (
        "data",
        Way(Face::Peer, Tls::Done, &["EHLO a.example", FROM, TO, "DATA"]),
    ),
    (
        "chunks",
        Way(Face::Peer, Tls::Done, &["EHLO a.example", FROM, TO, "BDAT 2\r\n"]),
    ),
    (
        "failed",
        Way(Face::Peer, Tls::Done, &["EHLO a.example", FROM, TO, "BDAT 3\r\n\n"]),
    ),
    ("turned-away", Way(Face::Peer, Tls::Done, &["EHLO a.example"])),
    ("closed", Way(Face::Peer, Tls::Done, &["QUIT"])),
];

/// Face, TLS, and what the client says.
#[derive(Clone, Copy)]
struct Way(Face, Tls, &'static [&'static str]);

const LOGIN: &str = "AUTH PLAIN AHVzZXIAc2VjcmV0";
const BAD_TOKEN: &str = "AUTH XOAUTH2 dXNlcj1hQGIuZnIBYXV0aD1CZWFyZXIgb2xkAQE=";
const FROM: &str = "MAIL FROM:<a@b.fr>";
const TO: &str = "RCPT TO:<c@d.fr>";
const NOBODY: &str = "RCPT TO:<nobody@d.fr>";

const TABLE: &str = include_str!("conversation.txt");

fn enter(state: &str) -> Play {
    let (_, Way(face, tls, script)) = STATES.iter().find(|(name, _)| *name == state).unwrap();
    let mut settings = options(*face, *tls);
    settings.extensions = Extensions::all();
    let mut play = Play::new(settings).0;
    for line in *script {
        play.send(line);
    }
    if state == "turned-away" {
        let refusal = Refusal::new(Reason::CertificateRevoked, "your certificate is revoked");
        play.session.refuse_all(refusal);
    }
    play
}

/// The state that a session is in, by what it knows and waits for.
fn state_of(play: &Play) -> &'static str {
    let session = &play.session;
    let idle = || match (&session.known.hello, session.known.link, session.options.face) {
        _ if session.known.refused.is_some() => "turned-away",
        (None, Link::Clear, _) => "clear",
        (Some(_), Link::Clear, _) => "clear-hello",
        (None, Link::Encrypted, _) => "tls",
        (Some(Hello { verb: Verb::Helo, .. }), ..) => "helo",
        (_, _, Face::Submission) if session.known.login.is_none() => "anonymous",
        (_, _, Face::Submission) => "user",
        _ => "ehlo",
    };
    match &session.state {
        _ if play.closed => "closed",
        State::Command(Transaction::Idle) => idle(),
        State::Command(Transaction::FromKnown { refused: 0, .. }) => "from",
        State::Command(Transaction::FromKnown { .. }) => "from-refused",
        State::Command(Transaction::ToKnown { accepted, .. }) if *accepted >= session.options.limits.recipients_max => {
            "to-full"
        }
        State::Command(Transaction::ToKnown { .. }) => "to",
        State::Command(Transaction::Chunked(_)) => "chunks",
        State::Command(Transaction::Failed) => "failed",
        State::Exchange(..) => "exchange",
        State::Dismissed(_) => "dismissed",
        State::Data(_) => "data",
        // Inside a chunk nothing is a command: no column, but a place to arrive at.
        State::Chunk(..) => "chunk",
        State::Drain { .. } => "drain",
        other => panic!("a session waits in {other:?}"),
    }
}

/// `code>state` of what happens when `command` is said in `state`.
fn play_cell(command: &str, state: &str) -> String {
    let mut play = enter(state);
    assert_eq!(state_of(&play), state, "the way into a state leads there");
    let bytes = spelled(command);
    let reply = if play.closed { String::new() } else { play.bytes(&bytes) };
    assert_well_formed(command, &reply);
    let last_lines = reply.lines().filter(|line| line.as_bytes().get(3) != Some(&b'-'));
    let codes: Vec<&str> = last_lines.map(|line| &line[..3]).collect();
    let codes = if codes.is_empty() {
        "-".to_owned()
    } else {
        codes.join("+")
    };
    let after = state_of(&play);
    format!("{codes}>{}", if after == state { "=" } else { after })
}

/// RFC 2034 §4: a status of the same class in every reply of class 2, 4 and 5, those to EHLO and HELO apart; RFC 5321 §4.5.3.1.5: 512 bytes.
fn assert_well_formed(command: &str, reply: &str) {
    let greeting = command.starts_with("EHLO") || command.starts_with("HELO");
    for line in reply.lines() {
        let (class, rest) = (&line[..1], line.get(4..).unwrap_or_default());
        assert!(line.len() <= 510 && line.is_ascii(), "{command:?}: {line:?}");
        let status = rest.split(' ').next().and_then(crate::smtp::Status::parse);
        let needed = class != "3" && !(greeting && class == "2");
        assert_eq!(status.is_some(), needed, "{command:?}: {line:?}");
        assert!(
            status.is_none_or(|status| status.0.to_string() == class),
            "{command:?}: {line:?}"
        );
    }
}

/// Bytes of a row's name: `\r`, `\n` and `…` (a very long word) are spelled out; CR LF is added unless the row brings its own octets.
fn spelled(command: &str) -> Vec<u8> {
    let text = command
        .replace("…", &"x".repeat(2100))
        .replace("\\r", "\r")
        .replace("\\n", "\n")
        .replace("<login>", &base64("\0user\0secret"))
        .replace("<wrong>", &base64("\0user\0wrong"));
    match text.strip_suffix('$') {
        Some(octets) => octets.into(),
        None => format!("{text}\r\n").into_bytes(),
    }
}

#[test]
fn every_command_in_every_state_is_answered_as_the_table_says() {
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let columns: Vec<&str> = lines.next().unwrap().split('|').map(str::trim).skip(1).collect();
    let states: Vec<&str> = STATES.iter().map(|(name, _)| *name).collect();
    assert_eq!(columns, states, "the columns are the states");
    let mut wrong = Vec::new();
    let mut actual = String::new();
    for line in lines {
        let mut cells = line.split('|').map(str::trim);
        let command = cells.next().unwrap();
        let cells: Vec<&str> = cells.collect();
        let played: Vec<String> = states.iter().map(|state| play_cell(command, state)).collect();
        actual.push_str(&format!("{command}|{}\n", played.join("|")));
        for ((state, played), cell) in states
            .iter()
            .zip(&played)
            .zip(cells.iter().chain(std::iter::repeat(&"no cell")))
        {
            if played != cell {
                wrong.push(format!("{command:?} in {state}: {played}, the table says {cell}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nThe rows as they are:\n{actual}",
        wrong.join("\n")
    );
}

#[test]
fn the_table_holds_every_command_there_is() {
    let help = Reply::HELP;
    let verbs = help.text.split(' ').chain(["EXPN", "TURN", "ETRN", "NONSENSE"]);
    for verb in verbs {
        let row = TABLE.lines().find(|line| line.split([' ', '|']).next() == Some(verb));
        assert!(row.is_some(), "{verb} has no row");
    }
}
