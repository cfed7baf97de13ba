//! How long a gateway waits for others: senders that drip, sessions that last, handshakes that never end. Each limit ends what it is there
//! for, says why, and leaves alone what keeps within it.

#![cfg(test)]

mod common;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use common::{Clinic, Raw, Running, Sandbox, tls_config, wait_until};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(40);
const BOX: &str = Clinic::BOX;
const SENDER: &str = Clinic::SENDER;

/// The neighbour, proved and greeted.
fn neighbour(clinic: &Clinic) -> Raw {
    let certificate = clinic.pki.issue("peer", Clinic::NEIGHBOUR);
    let mut line = Raw::clear(clinic.smtp);
    line.assert_says("220 ");
    line.ask("EHLO peer.test\r\n", "250");
    line.ask("STARTTLS\r\n", "220 ");
    let mut line = line.encrypt(&tls_config(&clinic.at("root.pem"), Some(&certificate)));
    line.ask("EHLO peer.test\r\n", "250");
    line
}

fn envelope(line: &mut Raw) {
    line.ask(format!("MAIL FROM:<{SENDER}>\r\n"), "250 ");
    line.ask(format!("RCPT TO:<{BOX}>\r\n"), "250 ");
}

/// What the server says while nobody says anything to it for so long; nothing, if it waits.
fn heard_within(line: &mut Raw, time: Duration) -> Option<String> {
    line.tcp.set_read_timeout(Some(time)).unwrap();
    let mut buffer = [0; 4096];
    let heard = match line.wire.read(&mut buffer) {
        Ok(count) => Some(String::from_utf8_lossy(&buffer[..count]).into_owned()),
        Err(error) => {
            let waited = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            (!waited).then(String::new)
        }
    };
    line.tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    heard
}

/// Says `piece` every quarter of a second until the server says something, or `times` over.
fn drip(line: &mut Raw, piece: &str, times: usize) -> Option<String> {
    (0..times).find_map(|_| {
        line.say(piece);
        heard_within(line, Duration::from_millis(250))
    })
}

fn stop(running: Running) {
    let ended = running.stop("TERM", PATIENCE).assert_success();
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn a_text_that_drips_ends_with_its_reason_and_one_that_is_slow_but_steady_arrives() {
    let clinic = Clinic::new("data_rate_min_bytes_per_second = 1000\ndata_rate_grace = \"2s\"");
    let running = clinic.serve();
    let piece = format!("{}\r\n", "x".repeat(62));
    for command in ["DATA", "BDAT 100000", "BDAT 64"] {
        let mut line = neighbour(&clinic);
        envelope(&mut line);
        line.say(format!("{command}\r\n"));
        if command == "DATA" {
            line.assert_says("354 ");
        }
        if command == "BDAT 64" {
            // Each chunk is small and complete; waiting between them is waiting for the text.
            line.say(&piece);
            line.assert_says("250 ");
            let said = drip(&mut line, "", 40).expect("an end");
            assert!(said.starts_with("421 4.4.2 "), "{said}");
            continue;
        }
        let said = drip(&mut line, &piece, 40).expect("an end");
        assert!(
            said.starts_with("421 4.4.2 this takes too long: the message comes at less than")
                && said.contains("(too-slow, session "),
            "{command}: {said}"
        );
        line.assert_ends();
    }
    let refused = clinic.wait_for_record("refused", &["too-slow", "this takes too long"]);
    let detail = &refused["detail"];
    assert_eq!(
        (detail["face"].as_str(), detail["stage"].as_str()),
        (Some("smtp"), Some("data")),
        "{refused}"
    );
    let refused = "face=\"smtp\",stage=\"data\",reason=\"too-slow\"";
    assert!((clinic.counted("vaguemestre_refusals_total", refused) - 3.0).abs() < 0.1);
    assert!(clinic.mails().is_empty());

    // Four times as long as the grace, at twice the rate.
    let mut line = neighbour(&clinic);
    envelope(&mut line);
    line.ask("DATA\r\n", "354 ");
    line.say(format!("From: <{SENDER}>\r\nSubject: patient\r\n\r\n"));
    assert_eq!(drip(&mut line, &piece.repeat(8), 32), None, "it is fast enough");
    line.ask(".\r\n", "250 ");
    assert_eq!(clinic.mails().len(), 1);
    stop(running);
}

#[test]
fn an_appended_message_that_drips_ends_the_session_and_one_that_is_steady_is_there() {
    let clinic = Clinic::new("data_rate_min_bytes_per_second = 1000\ndata_rate_grace = \"2s\"");
    let running = clinic.serve();
    let (user, password) = Clinic::login();
    let begin = |size: usize| {
        let mut line = Raw::clear(clinic.imaps).encrypt(&tls_config(&clinic.at("root.pem"), None));
        line.assert_says("* OK");
        line.say(format!("l LOGIN {user} {password}\r\n"));
        assert!(line.answer("l").starts_with("l OK"));
        line.say(format!("a APPEND INBOX {{{size}}}\r\n"));
        assert!(line.answer("a").starts_with('+'));
        line
    };
    let piece = format!("{}\r\n", "x".repeat(62));
    let mut line = begin(100_000);
    let said = drip(&mut line, &piece, 40).expect("an end");
    assert!(
        said.starts_with("* BYE [LIMIT] this takes too long") && said.contains("(too-slow"),
        "{said}"
    );
    line.assert_ends();
    clinic.wait_for_record("refused", &["too-slow", "imaps", "data"]);
    assert!(clinic.mails().is_empty());

    let head = "Subject: patient\r\n\r\n";
    let mut line = begin(head.len() + 64 * 8 * 20);
    line.say(head);
    assert_eq!(drip(&mut line, &piece.repeat(8), 19), None, "it is fast enough");
    line.say(format!("{}\r\n", piece.repeat(8)));
    assert!(line.answer("a").starts_with("a OK"));
    assert_eq!(clinic.mails().len(), 1);
    // Between commands nothing has to come at a rate.
    assert_eq!(heard_within(&mut line, Duration::from_secs(3)), None);
    line.say("n NOOP\r\n");
    assert!(line.answer("n").starts_with("n OK"));
    stop(running);
}

#[test]
fn replies_leave_together_when_the_whole_message_is_there_and_wait_for_none_of_it() {
    let clinic = Clinic::new("");
    let running = clinic.serve();
    let mut line = neighbour(&clinic);
    let head = format!("From: <{SENDER}>\r\nSubject: d'un trait\r\n\r\n");
    // One record of TLS, more than a read of commands takes.
    let text = head + &format!("{}\r\n", "x".repeat(70)).repeat(150);
    let flight = |text: &str, said: usize| {
        let envelope = format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<{BOX}>\r\n");
        format!("{envelope}BDAT {} LAST\r\n{}", text.len(), &text[..said])
    };
    let codes = |said: Option<String>| -> Vec<String> {
        let said = said.expect("replies");
        said.lines().map(|line| line[..9].to_owned()).collect()
    };
    line.say(flight(&text, text.len()));
    let heard = codes(heard_within(&mut line, PATIENCE));
    assert_eq!(heard, ["250 2.1.0", "250 2.1.5", "250 2.0.0"], "one record each way");
    // A part of the text is still to come: those who wait for the envelope's replies get them.
    line.say(flight(&text, 7_000));
    let heard = codes(heard_within(&mut line, PATIENCE));
    assert_eq!(heard, ["250 2.1.0", "250 2.1.5"]);
    line.ask(&text[7_000..], "250 2.0.0");
    // Nobody was taken: the text is passed over, not obeyed.
    line.say(flight(&text, text.len()).replace(BOX, "personne@clinique.mssante.fr"));
    let heard = codes(heard_within(&mut line, PATIENCE));
    assert_eq!(heard[0], "250 2.1.0");
    assert!(
        heard.len() == 3 && heard[1..].iter().all(|reply| reply.starts_with("55")),
        "{heard:?}"
    );
    line.ask("RSET\r\n", "250 ");
    assert_eq!(clinic.mails().len(), 2);
    stop(running);
}

#[test]
fn a_session_that_is_too_old_ends_between_commands_and_finishes_the_text_that_has_begun() {
    let clinic = Clinic::new("smtp_session_max = \"2s\"");
    let running = clinic.serve();
    let over = "421 4.3.2 this session has lasted long enough";
    let mut silent = neighbour(&clinic);
    let mut half = neighbour(&clinic);
    envelope(&mut half);
    for line in [&mut silent, &mut half] {
        let said = heard_within(line, PATIENCE).expect("an end");
        assert!(said.starts_with(over), "{said}");
        line.assert_ends();
    }
    // One that drips a command, and one that repeats a harmless one.
    let mut dripping = neighbour(&clinic);
    let said = drip(&mut dripping, "N", 40).expect("an end");
    assert!(said.starts_with(over), "{said}");
    let mut busy = neighbour(&clinic);
    let said = wait_until("the end of a busy session", PATIENCE, || {
        busy.say("NOOP\r\n");
        let said = busy.reply();
        (!said.starts_with("250 ")).then_some(said)
    });
    assert!(said.starts_with(over), "{said}");

    for chunked in [false, true] {
        let mut writing = neighbour(&clinic);
        envelope(&mut writing);
        let text = format!("From: <{SENDER}>\r\nSubject: commence\r\n\r\n");
        if chunked {
            writing.ask(format!("BDAT {}\r\n{text}", text.len()), "250 ");
        } else {
            writing.ask("DATA\r\n", "354 ");
            writing.say(&text);
        }
        assert_eq!(heard_within(&mut writing, Duration::from_secs(3)), None, "it may go on");
        writing.ask(
            if chunked {
                "BDAT 4 LAST\r\nfin\r\n".replace("fin", "fi")
            } else {
                "fin\r\n.\r\n".into()
            },
            "250 ",
        );
        writing.ask("NOOP\r\n", over);
    }
    assert_eq!(clinic.mails().len(), 2);
    stop(running);
}

#[test]
fn silence_ends_a_session_whatever_is_awaited_and_a_word_now_and_then_keeps_it() {
    let clinic = Clinic::new("smtp_idle_timeout = \"2s\"\nlogin_idle_timeout = \"2s\"\nimap_idle_timeout = \"2s\"");
    let running = clinic.serve();
    for commands in [&[][..], &["DATA"], &["BDAT 100000"]] {
        let mut line = neighbour(&clinic);
        for command in commands {
            envelope(&mut line);
            line.say(format!("{command}\r\n"));
            if *command == "DATA" {
                line.assert_says("354 ");
            }
            line.say("Subject: inacheve\r\n");
        }
        let said = heard_within(&mut line, PATIENCE).expect("an end");
        assert!(
            said.starts_with("421 4.4.2 this takes too long, connect again"),
            "{commands:?}: {said}"
        );
        line.assert_ends();
    }
    let (user, password) = Clinic::login();
    for is_known in [false, true] {
        let mut line = Raw::clear(clinic.imaps).encrypt(&tls_config(&clinic.at("root.pem"), None));
        line.assert_says("* OK");
        if is_known {
            line.say(format!("l LOGIN {user} {password}\r\n"));
            assert!(line.answer("l").starts_with("l OK"));
        }
        let said = heard_within(&mut line, PATIENCE).expect("an end");
        assert!(said.starts_with("* BYE idle for too long"), "{is_known}: {said}");
        line.assert_ends();
    }
    // Longer than the limit in all.
    let mut line = neighbour(&clinic);
    assert_eq!(drip(&mut line, "N", 12), None);
    line.ask("\r\n", "500 ");
    assert!(clinic.mails().is_empty());
    stop(running);
}

/// A connection from an address of this machine that is not the usual one.
fn connect_from(last: u8, port: u16) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))
            .unwrap();
        socket
            .connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .await
            .unwrap()
    });
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn handshakes_that_never_end_are_bounded_from_one_address_and_in_all_and_give_their_places_back() {
    let clinic = Clinic::new("connections_max = 12\nconnections_per_address_max = 4\nhandshake_timeout = \"3s\"");
    let running = clinic.serve();
    let turned_away = |limit: &str| {
        let labels = format!("face=\"submissions\",limit=\"{limit}\"");
        clinic.counted("vaguemestre_connections_turned_away_total", &labels)
    };
    let open = || clinic.counted("vaguemestre_sessions_open", "face=\"submissions\"");
    // The first byte of a TLS record, and never the rest.
    let hello = |mut stream: TcpStream| {
        use std::io::Write;
        stream.write_all(&[0x16]).unwrap();
        stream
    };
    let crowd: Vec<TcpStream> = (2..=5)
        .flat_map(|last| [last; 10])
        .map(|last| hello(connect_from(last, clinic.submissions)))
        .collect();
    wait_until("all were looked at", PATIENCE, || {
        (turned_away("address") + turned_away("total") + open() > 39.5).then_some(())
    });
    assert!(open() < 12.5, "{}", open());
    assert!(turned_away("address") > 17.5, "six of ten, from three addresses");
    assert!(turned_away("total") > 0.5);
    // Somebody from elsewhere finds no place for as long as that lasts, and one after it: without anybody leaving.
    wait_until("there is room again", PATIENCE, || {
        use std::io::{BufRead, BufReader};
        let mut line = String::new();
        let heard = BufReader::new(connect_from(9, clinic.smtp)).read_line(&mut line);
        (heard.is_ok() && line.starts_with("220 ")).then_some(())
    });
    let late = "face=\"submissions\",cause=\"time\"";
    wait_until("they are counted as too slow", PATIENCE, || {
        (clinic.counted("vaguemestre_tls_handshakes_failed_total", late) > 11.5).then_some(())
    });
    assert!(open() < 0.5);
    drop(crowd);
    let mail = Clinic::mail(SENDER, "apres");
    clinic.listed_peer().offer(SENDER, &[BOX], &mail).assert_accepted();
    stop(running);
}

#[test]
fn a_sender_that_lets_tcp_gather_its_writes_is_not_kept_waiting() {
    let clinic = Clinic::new("");
    let running = clinic.serve();
    let (user, password) = Clinic::login();
    let task = json!({
        "imaps": clinic.imaps, "submissions": clinic.submissions, "ca": clinic.at("root.pem"),
        "user": user, "password": password, "count": 10,
    });
    // Acknowledgements that wait cost 40 ms each. A machine that is busy with something else may cost as much, but not every time.
    let spared = wait_until("no message waits for an acknowledgement", PATIENCE, || {
        let told = Sandbox::python("gathering.py", &task).assert_success().stdout;
        let told: Value = serde_json::from_str(&told).unwrap();
        let spared = |face: &str| told[face][0].as_f64().unwrap() < told[face][1].as_f64().unwrap() + 20.0;
        (spared("imap") && spared("smtp")).then_some(told)
    });
    assert!(spared.is_object());
    stop(running);
}
