//! Peers and clients that keep to no protocol: each gets a proper reply or a closed session, and the program goes on serving, with
//! no task and no socket left over.

#![cfg(test)]

mod common;

use std::fs;
use std::io::Read;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection};
use tempfile::TempDir;

use common::{Certificate, Peer, Raw as Line, Space, folder, tls_config, wait_until};

/// Longer than any reply takes on a loaded machine, shorter than the idle limits of the program.
const PATIENCE: Duration = Duration::from_secs(40);
const MEGABYTE: usize = 1 << 20;
const SENDER: &str = "soins@ehpad-lilas.mssante.fr";
const BOX: &str = "urgences@chu-demo.mssante.fr";

/// A sandbox under attack.
struct Target {
    space: Space,
    /// Sockets it holds when nobody is connected.
    sockets: usize,
    /// Mails in the box that is written to.
    mails: usize,
    _data: TempDir,
}

impl Target {
    fn raise() -> Self {
        let data = folder();
        let space = Space::up(&data.path().join("data"), &["--free-ports"]);
        let mut target = Self {
            space,
            sockets: 0,
            mails: 0,
            _data: data,
        };
        target.sockets = target.open_sockets();
        target
    }

    fn port(&self, face: &str) -> u16 {
        self.space.port("chu", face)
    }

    fn certificate(&self) -> Certificate {
        self.space.certificate("lilas", "mx.lilas.localhost")
    }

    fn clear(&self, face: &str) -> Line {
        Line::clear(self.port(face))
    }

    /// A line of a proved peer, after EHLO.
    fn peer(&self) -> Line {
        let mut line = self.clear("smtp");
        line.assert_says("220 ");
        line.ask("EHLO peer.test\r\n", "250");
        line.ask("STARTTLS\r\n", "220 ");
        let mut line = line.encrypt(&self.client_config(Some(&self.certificate())));
        line.ask("EHLO peer.test\r\n", "250");
        line
    }

    /// A line of a proved peer that has come to the text of a message.
    fn peer_at_data(&self) -> Line {
        let mut line = self.peer();
        line.ask(format!("MAIL FROM:<{SENDER}>\r\n"), "250 ");
        line.ask(format!("RCPT TO:<{BOX}>\r\n"), "250 ");
        line.ask("DATA\r\n", "354 ");
        line
    }

    /// A line to the reading face, greeted.
    fn reader(&self) -> Line {
        let mut line = self.clear("imaps").encrypt(&self.client_config(None));
        line.assert_says("* OK");
        line
    }

    fn client_config(&self, certificate: Option<&Certificate>) -> Arc<ClientConfig> {
        tls_config(&self.space.authority(), certificate)
    }

    fn open_sockets(&self) -> usize {
        let files = fs::read_dir(format!("/proc/{}/fd", self.space.pid())).unwrap();
        files
            .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
            .filter(|file| file.to_string_lossy().starts_with("socket:"))
            .count()
    }

    /// Everything that was opened is closed again, nothing panicked, nothing arrived that was refused, and honest mail passes.
    #[track_caller]
    fn assert_unharmed(&mut self) {
        wait_until("every socket is closed again", PATIENCE, || {
            (self.open_sockets() <= self.sockets).then_some(())
        });
        let honest = Peer {
            port: self.port("smtp"),
            authority: self.space.authority(),
            certificate: Some(self.certificate()),
        };
        let mail = format!("From: <{SENDER}>\r\nTo: <{BOX}>\r\nSubject: honnete\r\n\r\nBonjour\r\n");
        honest.offer(SENDER, &[BOX], &mail).assert_accepted();
        self.mails += 1;
        let read = self.space.mails("chu", BOX);
        assert_eq!(read.len(), self.mails, "{read:#?}");
        assert_eq!(read.last().unwrap()["subject"], "honnete");
        let log = self.space.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[test]
fn commands_that_are_none_get_a_reply_and_too_many_of_them_an_end() {
    let mut target = Target::raise();
    let mut line = target.clear("smtp");
    line.assert_says("220 ");
    for garbage in [
        b"FOO\r\n".as_slice(),
        b"\r\n",
        b"MAIL\r\n",
        b"\xff\xfe\x00\x01\r\n",
        b"EHLO\r\n",
        b"EHLO \x00\r\n",
        b"NOOP\n",
        b"NO\rOP\r\n",
        b"RCPT TO:<\xc3\xa9@\xc3\xa9>\r\n",
    ] {
        line.ask(garbage, "5");
    }
    for size in [MEGABYTE, 3 * MEGABYTE] {
        let mut long = vec![b'A'; size];
        long.extend(b"\r\n");
        let reply = line.ask(&long, "500 ");
        assert!(reply.contains("too long"), "{reply}");
    }
    line.ask("NOOP\r\n", "250 ");
    for _ in 0..30 {
        line.say("FOO\r\n");
    }
    let mut last = line.reply();
    while !last.is_empty() && !last.starts_with("421 ") {
        last = line.reply();
    }
    assert!(last.starts_with("421 "), "{last:?}");
    line.assert_ends();

    let mut browser = target.clear("submission");
    browser.assert_says("220 ");
    browser.say("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n");
    browser.assert_says("500 ");
    let mut endless = target.clear("smtp");
    endless.assert_says("220 ");
    endless.say(vec![b'x'; 4 * MEGABYTE]);
    drop((browser, endless, line));
    target.assert_unharmed();
}

#[test]
fn a_handshake_that_is_none_or_stops_half_way_ends_the_session() {
    let mut target = Target::raise();
    let hello = client_hello(&target);
    let fragments = [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        b"\x16\x03\x01\xff\xff\x01",
        &[0; 64],
        &hello[..1],
        &hello[..hello.len() / 2],
        &hello,
    ];
    for fragment in fragments {
        for face in ["submissions", "imaps"] {
            let mut line = target.clear(face);
            line.say(fragment);
            line.tcp.shutdown(Shutdown::Write).unwrap();
            assert_silent_end(line);
        }
        let mut line = target.clear("smtp");
        line.assert_says("220 ");
        line.ask("EHLO a.test\r\n", "250");
        line.ask("STARTTLS\r\n", "220 ");
        line.say(fragment);
        line.tcp.shutdown(Shutdown::Write).unwrap();
        assert_silent_end(line);
    }
    target.assert_unharmed();
}

/// After broken TLS nothing may be said in clear: only TLS records, or nothing.
#[track_caller]
fn assert_silent_end(mut line: Line) {
    let mut said = Vec::new();
    // A reset is an end too.
    line.wire.read_to_end(&mut said).ok();
    assert!(
        said.is_empty() || matches!(said[0], 0x15 | 0x16),
        "said in clear: {:?}",
        String::from_utf8_lossy(&said)
    );
}

/// The first record a TLS client sends.
fn client_hello(target: &Target) -> Vec<u8> {
    let mut session = ClientConnection::new(target.client_config(None), "localhost".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn what_was_sent_in_clear_behind_starttls_is_never_obeyed() {
    let mut target = Target::raise();
    let injected = format!("EHLO evil.test\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<{BOX}>\r\n");
    let mut line = target.clear("smtp");
    line.assert_says("220 ");
    line.ask("EHLO a.test\r\n", "250");
    line.ask(format!("STARTTLS\r\n{injected}"), "220 ");
    let mut line = line.encrypt(&target.client_config(Some(&target.certificate())));
    // Without the EHLO of before, and without a transaction (RFC 3207 §4.2).
    line.ask("DATA\r\n", "503 ");
    line.ask("EHLO b.test\r\n", "250");
    line.ask("DATA\r\n", "503 ");
    line.ask("QUIT\r\n", "221 ");
    line.assert_ends();

    let mut line = target.clear("imap");
    line.assert_says("* OK");
    line.say("a STARTTLS\r\nb NOOP\r\n");
    assert!(line.answer("a").starts_with("a OK"));
    let mut line = line.encrypt(&target.client_config(None));
    line.say("c NOOP\r\n");
    let first = line.hear();
    assert!(first.starts_with("c OK"), "{first:?}");
    drop(line);
    target.assert_unharmed();
}

#[test]
fn line_ends_that_smuggle_a_second_message_refuse_the_whole_of_it() {
    let mut target = Target::raise();
    let second =
        format!("MAIL FROM:<{SENDER}>\r\nRCPT TO:<{BOX}>\r\nDATA\r\nSubject: passager\r\n\r\nclandestin\r\n.\r\n");
    for end in ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r.\r\n"] {
        let mut line = target.peer_at_data();
        line.say(format!("From: <{SENDER}>\r\nSubject: porteur\r\n\r\nun{end}{second}"));
        let reply = line.reply();
        assert!(reply.starts_with('5'), "{end:?}: {reply:?}");
        line.ask("NOOP\r\n", "250 ");
    }
    target.assert_unharmed();
}

#[test]
fn texts_beyond_the_limits_are_refused_and_odd_ones_answered() {
    let mut target = Target::raise();
    let mut line = target.peer();
    let reply = line.ask(format!("MAIL FROM:<{SENDER}> SIZE=99999999999\r\n"), "552 ");
    assert!(reply.contains("message-too-large"), "{reply}");
    line.ask(format!("MAIL FROM:<{SENDER}> SIZE=99999999999999999999999\r\n"), "5");
    line.ask(format!("MAIL FROM:<{SENDER}>\r\n"), "250 ");
    line.ask(format!("RCPT TO:<{BOX}>\r\n"), "250 ");
    line.ask("BDAT 99999999999999999999999 LAST\r\n", "5");
    drop(line);

    let mut line = target.peer_at_data();
    let row = [vec![b'x'; 76], b"\r\n".to_vec()].concat();
    line.say(format!("From: <{SENDER}>\r\n\r\n"));
    line.say(row.repeat(27 * MEGABYTE / row.len()));
    let reply = line.ask("\r\n.\r\n", "552 ");
    assert!(reply.contains("message-too-large"), "{reply}");
    line.ask("NOOP\r\n", "250 ");
    drop(line);

    let mut line = target.peer_at_data();
    line.say(format!("From: <{SENDER}>\r\n\r\n"));
    line.say(vec![b'x'; MEGABYTE]);
    let reply = line.ask("\r\n.\r\n", "5");
    assert!(
        reply.contains("too long") || reply.contains("message-malformed"),
        "{reply}"
    );
    drop(line);

    let odd: [&[u8]; 4] = [
        b"Subject: \xe9\xe8\xff\r\nFrom: \xc3\xa9 <a@b>\r\n\r\nBonjour\r\n.\r\n",
        b"\x00\x00\r\n\x00: \x00\r\n\r\n\x00\r\n.\r\n",
        b".\r\n",
        b"Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n--\r\n----\r\n.\r\n",
    ];
    for text in odd {
        let mut line = target.peer_at_data();
        line.say(text);
        let reply = line.reply();
        assert!(
            reply.starts_with("250 ") || reply.starts_with('5'),
            "{text:?}: {reply:?}"
        );
        target.mails += usize::from(reply.starts_with("250 "));
        line.ask("QUIT\r\n", "221 ");
    }
    target.assert_unharmed();
}

#[test]
fn peers_that_vanish_or_stay_silent_leave_nothing_behind() {
    let mut target = Target::raise();
    let mut half = target.peer_at_data();
    half.say(format!("From: <{SENDER}>\r\nSubject: moitie\r\n\r\nje n'ai pas fi"));
    let mut chunk = target.peer();
    chunk.ask(format!("MAIL FROM:<{SENDER}>\r\n"), "250 ");
    chunk.ask(format!("RCPT TO:<{BOX}>\r\n"), "250 ");
    chunk.say("BDAT 1000 LAST\r\nFrom:");
    let mut whole = target.peer_at_data();
    whole.say(format!("From: <{SENDER}>\r\n\r\nsans le point\r\n"));
    drop((half, chunk, whole));

    target.assert_unharmed();
}

#[test]
fn hundreds_of_silent_or_half_open_connections_leave_room_for_others_and_then_nothing() {
    const FACES: [&str; 5] = ["smtp", "submission", "submissions", "imap", "imaps"];
    const OPERATORS: [&str; 5] = ["lilas", "chu", "ville", "region", "patient"];
    let mut target = Target::raise();
    let places = OPERATORS
        .iter()
        .flat_map(|operator| FACES.map(|face| (*operator, face)));
    let silent: Vec<Line> = places
        .cycle()
        .take(200)
        .map(|(operator, face)| Line::clear(target.space.port(operator, face)))
        .collect();
    let mut served = target.peer();
    served.ask("QUIT\r\n", "221 ");
    drop(served);
    for line in &silent {
        line.tcp.shutdown(Shutdown::Write).unwrap();
    }
    drop(silent);

    // More than one operator takes from one address: those beyond are told, or at least not left waiting.
    let mut crowd: Vec<Line> = (0..300)
        .map(|number| target.clear(["smtp", "submission", "imap"][number % 3]))
        .collect();
    for line in &mut crowd {
        let heard = line.hear();
        let known = heard.is_empty()
            || ["220 ", "421 ", "* OK", "* BYE"]
                .iter()
                .any(|start| heard.starts_with(start));
        assert!(known, "{heard:?}");
    }
    drop(crowd);
    target.assert_unharmed();
}

#[test]
fn imap_clients_get_an_answer_or_an_end_whatever_they_send() {
    let mut target = Target::raise();
    let deep = format!("x SEARCH {}ALL{}\r\n", "(".repeat(20_000), ")".repeat(20_000));
    let nots = format!("x SEARCH {}ALL\r\n", "NOT ".repeat(15_000));
    let sections = format!("x FETCH 1 BODY[{}1]\r\n", "1.".repeat(20_000));
    let set = format!("x FETCH {}1 FLAGS\r\n", "1,".repeat(25_000));
    let long = format!("x NOOP {}\r\n", "A".repeat(2 * MEGABYTE));
    let everywhere: [&[u8]; 12] = [
        b"\x00\xff\xfe\r\n",
        b"\r\n",
        b"x\r\n",
        b"* OK\r\n",
        b"x {5}\r\n",
        b"x LOGIN {99999999999}\r\n",
        b"x LOGIN {4294967295+}\r\n",
        b"x LOGIN {18446744073709551616+}\r\n",
        b"x LOGIN \"a\r\n",
        b"x LOGIN {-1}\r\n",
        b"x AUTHENTICATE PLAIN =\r\n",
        long.as_bytes(),
    ];
    let inside: [&[u8]; 10] = [
        b"x APPEND INBOX {99999999999}\r\n",
        b"x APPEND INBOX {4000000000+}\r\n",
        b"x APPEND INBOX {18446744073709551616}\r\n",
        b"x FETCH 0 FLAGS\r\n",
        b"x FETCH 1:4294967296 FLAGS\r\n",
        b"x UID FETCH 4294967295:* (BODY[]<4294967295.4294967295>)\r\n",
        deep.as_bytes(),
        nots.as_bytes(),
        sections.as_bytes(),
        set.as_bytes(),
    ];
    for garbage in everywhere.iter().chain(&inside) {
        let mut stranger = target.reader();
        let mut member = target.reader();
        member.say(format!("l LOGIN {BOX} sandbox\r\ns SELECT INBOX\r\n"));
        assert!(member.answer("s").starts_with("s OK"));
        for line in [&mut stranger, &mut member] {
            line.say(garbage);
            let answer = line.answer("x");
            let start = String::from_utf8_lossy(&garbage[..garbage.len().min(40)]).into_owned();
            assert!(
                !answer.starts_with("x OK") || start.contains("FETCH") || start.contains("NOT"),
                "{start:?}: {answer:?}"
            );
            assert!(
                !answer.starts_with('+') || start.contains("{5}") || start.contains("AUTH"),
                "{start:?}: {answer:?}"
            );
        }
    }
    let mut line = target.reader();
    line.say("x LOGIN {20}\r\n");
    assert!(line.answer("x").starts_with('+'));
    line.say("too short");
    drop(line);
    let mut line = target.reader();
    (0..500).for_each(|_| line.say("garbage\r\n"));
    line.assert_ends();
    target.assert_unharmed();
}
