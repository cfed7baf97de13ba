//! The HTTP and HTTPS faces, asked by curl and by hand: conditional files, autoconfiguration, and bounds on what a client may take.

#![cfg(test)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{Program, Sandbox, folder};

const LIST: &str = "/listeblanchemssante.xml";
const AUTOCONFIG: &str = "/mail/config-v1.1.xml";

/// A response, its headers by lower-case name.
struct Got {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Address of a face, `web` or `web_tls`, without scheme.
fn authority(sandbox: &Sandbox, face: &str) -> String {
    let url = sandbox.space().printed()[face].as_str().unwrap();
    url.split_once("://").unwrap().1.to_owned()
}

/// What curl gets from the HTTPS face with these arguments; the name in the URL is checked against the certificate.
#[track_caller]
fn get(sandbox: &Sandbox, host: &str, path: &str, arguments: &[&str]) -> Got {
    let address = authority(sandbox, "web_tls");
    let port = address.rsplit_once(':').unwrap().1;
    let printed = Program::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--include",
            "--max-time",
            "20",
            "--cacert",
            sandbox.authority(),
        ])
        .args(["--connect-to", &format!("::127.0.0.1:{port}")])
        .args(arguments)
        .arg(format!("https://{host}:{port}{path}"))
        .run()
        .assert_success()
        .stdout;
    parse(&printed)
}

fn parse(text: &str) -> Got {
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    Got {
        status,
        headers: headers
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}

#[test]
fn the_list_is_asked_for_conditionally_over_https() {
    let sandbox = Sandbox::shared();
    let ask = |arguments: &[&str]| get(&sandbox, "espacedeconfiance.localhost", LIST, arguments);
    let whole = ask(&[]);
    assert_eq!(whole.status, 200);
    assert!(
        whole.body.contains("<Nom>ehpad-lilas.mssante.fr</Nom>"),
        "{}",
        whole.body
    );
    assert_eq!(whole.header("content-type"), "application/xml");
    assert_eq!(whole.header("cache-control"), "no-cache");
    assert_eq!(whole.header("content-length"), whole.body.len().to_string());
    let (tag, date) = (whole.header("etag"), whole.header("last-modified"));
    assert!(tag.len() == 66 && date.ends_with(" GMT"), "{tag} {date}");
    for (known, header) in [
        (true, format!("If-None-Match: {tag}")),
        (true, format!("If-None-Match: \"x\", W/{tag}")),
        (true, format!("If-Modified-Since: {date}")),
        (false, "If-None-Match: \"x\"".to_owned()),
        (false, "If-Modified-Since: Sat, 01 Nov 2025 00:00:00 GMT".to_owned()),
    ] {
        let got = ask(&["--header", &header]);
        let expected = if known { (304, "") } else { (200, whole.body.as_str()) };
        assert_eq!((got.status, got.body.as_str()), expected, "{header}");
        assert_eq!(
            (got.header("etag"), got.header("last-modified")),
            (tag, date),
            "{header}"
        );
    }
    let head = ask(&["--head"]);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), whole.header("content-length"));
    assert_eq!(ask(&["--request", "DELETE"]).status, 405);
    assert_eq!(get(&sandbox, "localhost", "/nothing.xml", &[]).status, 404);
}

#[test]
fn the_checksum_beside_the_list_is_right() {
    let sandbox = Sandbox::shared();
    let files = folder();
    let list = get(&sandbox, "localhost", LIST, &[]).body;
    fs::write(files.path().join("listeblanchemssante.xml"), &list).unwrap();
    let checksum = get(&sandbox, "localhost", "/checksum", &[]).body;
    let check = |sum: &str| {
        Program::new("sha256sum")
            .arg("--check")
            .current_dir(files.path())
            .input(sum)
            .run()
    };
    check(&checksum).assert_success();
    fs::write(
        files.path().join("listeblanchemssante.xml"),
        list.replace("lilas", "roses"),
    )
    .unwrap();
    check(&checksum).assert_failure();
}

#[test]
fn the_https_face_shows_a_certificate_of_the_authority_for_its_names_only() {
    let sandbox = Sandbox::shared();
    for host in [
        "espacedeconfiance.localhost",
        "localhost",
        "127.0.0.1",
        "autoconfig.chu-demo.mssante.fr",
    ] {
        assert_eq!(get(&sandbox, host, "/healthz", &[]).body, "ok\n", "{host}");
    }
    let address = authority(&sandbox, "web_tls");
    let curl = |arguments: &[&str]| {
        let port = address.rsplit_once(':').unwrap().1;
        Program::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--max-time",
                "20",
                "--connect-to",
                &format!("::127.0.0.1:{port}"),
            ])
            .args(arguments)
            .run()
            .assert_failure()
            .stderr
    };
    let other = curl(&[
        "--cacert",
        sandbox.authority(),
        &format!("https://ailleurs.example:{address}/").replace("127.0.0.1:", ""),
    ]);
    assert!(other.contains("subject name"), "{other}");
    let unknown = curl(&[&format!("https://{address}/")]);
    assert!(unknown.contains("unable to get local issuer certificate"), "{unknown}");
    let old = curl(&[
        "--cacert",
        sandbox.authority(),
        "--tls-max",
        "1.1",
        &format!("https://{address}/"),
    ]);
    assert!(
        old.contains("protocol version") || old.contains("handshake failure") || old.contains("no protocols available"),
        "{old}"
    );
}

#[test]
fn a_client_finds_its_servers_by_address_or_by_host() {
    let sandbox = Sandbox::shared();
    let by_address = get(
        &sandbox,
        "localhost",
        &format!("{AUTOCONFIG}?emailaddress=soins%40ehpad-lilas.mssante.fr"),
        &[],
    );
    assert_eq!(
        (by_address.status, by_address.header("content-type")),
        (200, "text/xml; charset=utf-8")
    );
    let host = "autoconfig.ehpad-lilas.mssante.fr";
    assert_eq!(get(&sandbox, host, AUTOCONFIG, &[]).body, by_address.body);
    assert_eq!(
        get(&sandbox, host, "/.well-known/autoconfig/mail/config-v1.1.xml", &[]).body,
        by_address.body
    );
    let read = Program::new("python3")
        .args(["-c", include_str!("web/autoconfig.py")])
        .input(by_address.body)
        .run()
        .assert_success();
    let expected: Vec<String> = [
        ("imap", "imap", "STARTTLS"),
        ("imap", "imaps", "SSL"),
        ("smtp", "submission", "STARTTLS"),
        ("smtp", "submissions", "SSL"),
    ]
    .iter()
    .map(|(kind, face, socket)| {
        let port = sandbox.port("lilas", face);
        format!("{kind} mx.lilas.localhost {port} {socket} password-cleartext,TLS-client-cert %EMAILADDRESS%")
    })
    .collect();
    assert_eq!(read.stdout.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn nobody_is_told_where_the_clients_of_another_space_connect() {
    let sandbox = Sandbox::shared();
    for query in [
        "?emailaddress=a%40example.org",
        "?emailaddress=a",
        "?emailaddress=%",
        "",
        "?emailaddress=",
    ] {
        let got = get(&sandbox, "localhost", &format!("{AUTOCONFIG}{query}"), &[]);
        assert_eq!(got.status, 404, "{query}");
        assert!(got.body.contains("?emailaddress=box@domain"), "{}", got.body);
    }
}

/// A connection to the clear face.
fn connect(sandbox: &Sandbox) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(authority(sandbox, "web")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    BufReader::new(stream)
}

/// The status line and the body of the next response.
fn response(stream: &mut BufReader<TcpStream>) -> (String, String) {
    let (mut status, mut length) = (String::new(), 0);
    stream.read_line(&mut status).unwrap();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (status.trim().to_owned(), String::from_utf8(body).unwrap())
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let sandbox = Sandbox::shared();
    let mut stream = connect(&sandbox);
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let ahead = ["/healthz", "/nothing", "/readyz"].map(request).concat();
    stream.get_mut().write_all(ahead.as_bytes()).unwrap();
    let answers = [(); 3].map(|()| response(&mut stream).1);
    assert_eq!(answers[..2], ["ok\n", "nothing is published here\n"]);
    let ready: serde_json::Value = serde_json::from_str(&answers[2]).unwrap();
    assert_eq!(ready["ready"], true);
}

#[test]
fn a_head_without_end_and_a_body_without_limit_are_cut() {
    let sandbox = Sandbox::shared();
    let mut long = connect(&sandbox);
    let endless = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(40_000));
    // The server may close before it has read all of it.
    let sent = long.get_mut().write_all(endless.as_bytes());
    let mut told = String::new();
    let read = long.read_line(&mut told);
    assert!(
        told.contains("431") || told.contains("400") || read.is_err(),
        "{told} {sent:?}"
    );
    // Slow: the head never ends; the server does not wait for ever.
    let mut slow = connect(&sandbox);
    slow.get_mut().write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    let mut rest = String::new();
    slow.read_to_string(&mut rest)
        .expect("the server closes it within the limit");
    assert!(rest.is_empty() || rest.contains("408"), "{rest}");
}

#[test]
fn clients_that_say_nothing_do_not_keep_others_out() {
    let sandbox = Sandbox::up();
    let silent: Vec<_> = (0..256).map(|_| connect(&sandbox)).collect();
    // All places are taken: this one waits in line until the first silent ones are cut.
    let mut patient = connect(&sandbox);
    patient
        .get_mut()
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert_eq!(response(&mut patient).1, "ok\n");
    drop(silent);
}
