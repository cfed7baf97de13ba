//! The sandbox's name server, asked by `dig` as clients and other operators' servers ask it; and mail that finds its way by it.

#![cfg(test)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use common::{Finished, Program, Sandbox, Space, folder, free_port, wait_until};

/// Where a space says that its name server is.
fn server(space: &Space) -> SocketAddr {
    space.printed()["dns"].as_str().unwrap().parse().unwrap()
}

/// What `dig` prints.
#[track_caller]
fn dig(space: &Space, question: &[&str]) -> String {
    let server = server(space);
    let program = Program::new("dig").arg(format!("@{}", server.ip())).args([
        "-p",
        &server.port().to_string(),
        "+norecurse",
        "+tries=1",
        "+time=5",
    ]);
    program.args(question).run().assert_success().stdout
}

/// The answers alone, sorted.
#[track_caller]
fn short(space: &Space, question: &[&str]) -> Vec<String> {
    let printed = dig(space, &[&["+short"], question].concat());
    let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The status, the flags and the numbers of answers and authorities.
#[track_caller]
fn verdict(space: &Space, question: &[&str]) -> String {
    let printed = dig(space, question);
    let between = |before: &str, after: char| {
        let found = printed.split_once(before).and_then(|(_, rest)| rest.split_once(after));
        found.map_or_else(|| panic!("{before:?} in {printed}"), |(text, _)| text.trim().to_owned())
    };
    let counts: Vec<String> = ["ANSWER: ", "AUTHORITY: "].map(|word| between(word, ',')).to_vec();
    format!(
        "{} {} {}",
        between("status: ", ','),
        between("flags: ", ';'),
        counts.join("/")
    )
}

#[test]
fn every_service_of_a_domain_is_found_with_its_real_port() {
    let sandbox = Sandbox::shared();
    let space = sandbox.space();
    let port = |face| sandbox.port("lilas", face);
    for (record, priority, face) in [
        ("_submission._tcp", 0, "submission"),
        ("_submissions._tcp", 10, "submissions"),
        ("_imap._tcp", 0, "imap"),
        ("_imaps._tcp", 10, "imaps"),
        ("_smtp._tcp", 10, "smtp"),
    ] {
        let found = short(space, &["SRV", &format!("{record}.ehpad-lilas.mssante.fr")]);
        assert_eq!(
            found,
            [format!("{priority} 0 {} mx.lilas.localhost.", port(face))],
            "{record}"
        );
    }
    let of_host = short(space, &["SRV", "_smtp._tcp.mx.lilas.localhost"]);
    assert_eq!(of_host, [format!("0 0 {} mx.lilas.localhost.", port("smtp"))]);
    // RFC 6186 §3.4: a service that is not offered is said so.
    assert_eq!(short(space, &["SRV", "_pop3._tcp.lilas.mssante.fr"]), ["0 0 0 ."]);
    assert_eq!(short(space, &["A", "mx.lilas.localhost"]), ["127.0.0.1"]);
    assert_eq!(short(space, &["A", "autoconfig.lilas.mssante.fr"]), ["127.0.0.1"]);
    assert_eq!(
        short(space, &["CAA", "lilas.mssante.fr"]),
        ["0 issue \"espacedeconfiance.localhost\""]
    );
    assert_eq!(short(space, &["TXT", "lilas.mssante.fr"]), ["\"v=spf1 mx -all\""]);
}

#[test]
fn mail_hosts_come_with_their_preference_and_their_addresses() {
    let sandbox = Sandbox::shared();
    let hosts = ["10 mx1.chu.localhost.", "20 mx2.chu.localhost."];
    assert_eq!(short(sandbox.space(), &["MX", "chu-demo.mssante.fr"]), hosts);
    let whole = dig(sandbox.space(), &["MX", "chu-demo.mssante.fr"]);
    let (_, additional) = whole.split_once("ADDITIONAL SECTION:").expect("addresses");
    for host in ["mx1.chu.localhost.", "mx2.chu.localhost."] {
        let line = additional.lines().find(|line| line.starts_with(host)).expect(host);
        assert!(line.ends_with("127.0.0.1"), "{line}");
    }
}

#[test]
fn what_is_not_there_is_told_apart_from_what_is_not_ours() {
    let sandbox = Sandbox::shared();
    let ask = |question: &[&str]| verdict(sandbox.space(), question);
    assert_eq!(ask(&["MX", "lilas.mssante.fr"]), "NOERROR qr aa 1/0");
    // The name exists, the type does not.
    assert_eq!(ask(&["A", "lilas.mssante.fr"]), "NOERROR qr aa 0/1");
    assert_eq!(ask(&["AAAA", "mx.lilas.localhost"]), "NOERROR qr aa 0/1");
    // Nothing but names below it.
    assert_eq!(ask(&["TXT", "_tcp.lilas.mssante.fr"]), "NOERROR qr aa 0/1");
    // No such name, in a zone of ours: a neighbour that nobody listed, and one below a name that exists.
    assert_eq!(ask(&["MX", "inconnu.mssante.fr"]), "NXDOMAIN qr aa 0/1");
    assert_eq!(ask(&["A", "x.mx.lilas.localhost"]), "NXDOMAIN qr aa 0/1");
    let soa = dig(sandbox.space(), &["MX", "inconnu.mssante.fr"]);
    assert!(soa.contains("\nmssante.fr.\t\t5\tIN\tSOA\t"), "{soa}");
    // Not ours.
    for question in [
        ["A", "example.org"],
        ["NS", "fr"],
        ["NS", "."],
        ["PTR", "1.0.0.127.in-addr.arpa"],
    ] {
        assert_eq!(ask(&question), "REFUSED qr 0/0", "{question:?}");
    }
}

#[test]
fn every_zone_has_its_authority_and_names_have_no_case() {
    let sandbox = Sandbox::shared();
    let space = sandbox.space();
    for zone in ["mssante.fr", "localhost"] {
        assert_eq!(
            short(space, &["NS", zone]),
            ["ns.espacedeconfiance.localhost."],
            "{zone}"
        );
        let soa = short(space, &["SOA", zone]);
        assert!(
            soa[0].starts_with("ns.espacedeconfiance.localhost. hostmaster."),
            "{soa:?}"
        );
    }
    assert_eq!(short(space, &["A", "ns.espacedeconfiance.localhost"]), ["127.0.0.1"]);
    let mixed = dig(space, &["MX", "LiLaS.MSSante.FR"]);
    assert!(
        mixed.contains("\nLiLaS.MSSante.FR.\t"),
        "the name comes back as it was asked: {mixed}"
    );
    assert!(mixed.contains("mx.lilas.localhost."), "{mixed}");
}

#[test]
fn questions_that_nobody_should_ask_get_the_error_that_says_so() {
    let sandbox = Sandbox::shared();
    let space = sandbox.space();
    let ask = |question: &[&str]| verdict(space, question);
    assert_eq!(ask(&["CH", "TXT", "lilas.mssante.fr"]), "REFUSED qr 0/0");
    assert_eq!(ask(&["+opcode=NOTIFY", "SOA", "mssante.fr"]), "NOTIMP qr 0/0");
    assert_eq!(ask(&["+edns=1", "+noednsneg", "SOA", "mssante.fr"]), "BADVERS qr 0/0");
    let transfer = Program::new("dig").arg(format!("@{}", server(space).ip())).args([
        "-p",
        &server(space).port().to_string(),
        "AXFR",
        "mssante.fr",
    ]);
    let transfer = transfer.run().stdout;
    assert!(transfer.contains("Transfer failed"), "{transfer}");
}

#[test]
fn tcp_answers_several_questions_over_one_connection_and_udp_says_when_an_answer_is_too_long() {
    let sandbox = Sandbox::shared();
    let space = sandbox.space();
    let both = ["MX", "lilas.mssante.fr", "TXT", "lilas.mssante.fr"];
    let twice = short(space, &[&["+tcp", "+keepopen"][..], &both].concat());
    assert_eq!(twice, ["\"v=spf1 mx -all\"", "10 mx.lilas.localhost."]);
    // A space whose answer exceeds 512 bytes.
    let files = folder();
    let many = space_of_many_hosts(files.path());
    let cut = dig(&many, &["+noedns", "+ignore", "MX", "grand.mssante.fr"]);
    assert!(cut.contains("flags: qr aa tc;"), "{cut}");
    let whole = dig(&many, &["+noedns", "MX", "grand.mssante.fr"]);
    assert!(whole.contains("ANSWER: 24,") && whole.contains("(TCP)"), "{whole}");
    // Addresses are a courtesy: leaving them out truncates nothing.
    let fitting = dig(&many, &["+bufsize=900", "+ignore", "MX", "grand.mssante.fr"]);
    assert!(
        fitting.contains("flags: qr aa;") && fitting.contains("ANSWER: 24,"),
        "{fitting}"
    );
}

/// An operator with 24 mail hosts.
fn space_of_many_hosts(files: &Path) -> Space {
    let host = |number| {
        let port = free_port();
        format!("[[operator.host]]\nname = \"mx{number:02}.grand.localhost\"\nsmtp = {port}\n")
    };
    let hosts = (0..24).map(host).collect::<Vec<_>>().concat();
    let text = format!(
        "[space]\nname = \"essai\"\n[[operator]]\nkey = \"grand\"\nname = \"GRAND OPERATEUR\"\nstructure = \"990000051\"\n\
         department = \"Rhône (69)\"\ndomains = [\"grand.mssante.fr\"]\n{hosts}"
    );
    let file = files.join("space.toml");
    fs::write(&file, text).unwrap();
    Space::up(
        &files.join("data"),
        &["--free-ports", "--space", file.to_str().unwrap()],
    )
}

#[test]
fn garbage_gets_a_format_error_or_silence_and_the_server_goes_on() {
    let sandbox = Sandbox::shared();
    let address = server(sandbox.space());
    let ask = |query: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = u16::try_from(query.len()).unwrap();
        stream.write_all(&[&length.to_be_bytes()[..], query].concat()).unwrap();
        let mut answer = vec![0; 2];
        match stream.read_exact(&mut answer) {
            Ok(()) => {
                answer.resize(usize::from(u16::from_be_bytes([answer[0], answer[1]])), 0);
                stream.read_exact(&mut answer).unwrap();
                answer
            }
            Err(_) => Vec::new(),
        }
    };
    let header = |flags: u8, questions: u8| [0x12, 0x34, flags, 0, 0, questions, 0, 0, 0, 0, 0, 0];
    assert_eq!(ask(b""), b"", "no header, no answer");
    assert_eq!(ask(&header(0x80, 0)), b"", "an answer is not answered");
    for broken in [
        header(0, 0).to_vec(),
        header(0, 1).to_vec(),
        [&header(0, 1)[..], b"\xc0\x0c\0\x01\0\x01"].concat(),
        [&header(0, 1)[..], &[63; 40]].concat(),
    ] {
        let answer = ask(&broken);
        assert_eq!(
            answer.get(..4),
            Some(&[0x12, 0x34, 0x80, 1][..]),
            "{broken:?} gave {answer:?}"
        );
    }
    assert_eq!(
        short(sandbox.space(), &["MX", "lilas.mssante.fr"]),
        ["10 mx.lilas.localhost."]
    );
}

#[test]
fn a_port_taken_for_either_transport_is_told() {
    let (udp, tcp) = (
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap(),
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    for port in [udp.local_addr().unwrap().port(), tcp.local_addr().unwrap().port()] {
        let files = folder();
        let text = include_str!("../config/sandbox.toml").replace("dns = 10053", &format!("dns = {port}"));
        let text = text
            .replace("port_base = 10000", "port_base = 31000")
            .replace("= 10080", "= 31080")
            .replace("= 10443", "= 31443");
        let file = files.path().join("space.toml");
        fs::write(&file, text).unwrap();
        let refused: Finished = Space::program()
            .args(["up", "--data"])
            .arg(files.path().join("data"))
            .arg("--space")
            .arg(&file)
            .run()
            .assert_failure();
        let told = format!("cannot listen on 127.0.0.1:{port} (dns)");
        assert!(refused.stderr.contains(&told), "{}", refused.stderr);
    }
}

#[test]
fn the_zones_follow_the_space_while_it_runs() {
    let sandbox = Sandbox::up();
    let space = sandbox.space();
    let order = |words: &[&str]| {
        let data = space.data();
        let program = Space::program().arg("domain").args(words).arg("--data").arg(&data);
        program.run().assert_success();
    };
    let autoconfig = || {
        let web = space.printed()["web"].as_str().unwrap();
        let url = format!("{web}/mail/config-v1.1.xml?emailaddress=a@neuf.mssante.fr");
        Program::new("curl").args(["-s", &url]).run().stdout
    };
    let serial = || -> u64 {
        short(space, &["SOA", "mssante.fr"])[0]
            .split(' ')
            .nth(2)
            .unwrap()
            .parse()
            .unwrap()
    };
    let before = serial();
    assert!(verdict(space, &["MX", "neuf.mssante.fr"]).starts_with("NXDOMAIN "));
    assert!(!autoconfig().contains("clientConfig"));
    order(&["add", "neuf.mssante.fr", "--to", "lilas"]);
    assert_eq!(short(space, &["MX", "neuf.mssante.fr"]), ["10 mx.lilas.localhost."]);
    assert!(autoconfig().contains("<hostname>mx.lilas.localhost</hostname>"));
    assert!(serial() > before, "a new version of the zone has a greater serial");
    order(&["move", "neuf.mssante.fr", "--to", "chu"]);
    let moved = ["10 mx1.chu.localhost.", "20 mx2.chu.localhost."];
    assert_eq!(short(space, &["MX", "neuf.mssante.fr"]), moved);
    let imap = short(space, &["SRV", "_imap._tcp.neuf.mssante.fr"]);
    assert_eq!(
        imap,
        [format!("0 0 {} mx1.chu.localhost.", sandbox.port("chu", "imap"))]
    );
    order(&["add", "bref.mssante.fr", "--to", "lilas"]);
    assert!(verdict(space, &["MX", "bref.mssante.fr"]).starts_with("NOERROR "));
    order(&["remove", "bref.mssante.fr"]);
    assert!(verdict(space, &["MX", "bref.mssante.fr"]).starts_with("NXDOMAIN "));
}

#[test]
fn the_name_server_ends_with_the_space() {
    let files = folder();
    let space = Space::up(&files.path().join("data"), &["--free-ports"]);
    let address = server(&space);
    // A client that stays: the end must not wait for it.
    let _idle = TcpStream::connect(address).unwrap();
    space.interrupt().assert_success();
    wait_until("both sockets are closed", Duration::from_secs(5), || {
        let tcp = std::net::TcpListener::bind(address).is_ok();
        (tcp && std::net::UdpSocket::bind(address).is_ok()).then_some(())
    });
}
