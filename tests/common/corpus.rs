//! Messages of every shape that real clients write, made by rule: the same number is always the same message.

/// How many shapes there are.
pub(crate) const SHAPES: usize = 12;

/// `count` different messages, all shapes in turn.
pub(crate) fn corpus(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(message).collect()
}

/// The message of this number.
pub(crate) fn message(number: usize) -> Vec<u8> {
    let head = format!(
        "From: Soins <soins@ehpad-lilas.mssante.fr>\r\nTo: urgences@chu-demo.mssante.fr\r\n\
         Subject: corpus {number}\r\nMessage-ID: <corpus.{number}@ehpad-lilas.mssante.fr>\r\n\
         Date: Sat, 21 Nov 2026 10:{:02}:{:02} +0100\r\n",
        number / 60 % 60,
        number % 60
    );
    let mime = format!("{head}MIME-Version: 1.0\r\n");
    match number % SHAPES {
        0 => format!("{head}\r\nBonjour {number}\r\n").into_bytes(),
        1 => format!("{mime}{}", alternative(number)).into_bytes(),
        2 => format!("{mime}{}", with_attachment(number)).into_bytes(),
        3 => forwarded(&mime, number),
        4 => eight_bits(&mime, number),
        5 => format!("{head}\r\n").into_bytes(),
        6 => format!("{head}{}\r\nlongs champs\r\n", long_fields(number)).into_bytes(),
        7 => format!("\r\nsans champs, numero {number}\r\n").into_bytes(),
        8 => format!("{mime}{}", nested(number)).into_bytes(),
        9 => format!("{head}\r\nsans fin de ligne {number}").into_bytes(),
        10 => format!("{mime}{}", without_end(number)).into_bytes(),
        _ => large(&mime, number),
    }
}

fn alternative(number: usize) -> String {
    format!(
        "Content-Type: multipart/alternative; boundary=\"a {number}\"\r\n\r\npreambule\r\n\
         --a {number}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
         =C3=A9t=C3=A9 {number}=\r\n\r\n--a {number}\r\nContent-Type: text/html\r\n\r\n<p>{number}</p>\r\n\
         --a {number}--\r\nepilogue\r\n"
    )
}

fn with_attachment(number: usize) -> String {
    let lines =
        "JVBERi0xLjQKJcOkw7zDtsOfCjIgMCBvYmoKPDwvTGVuZ3RoIDMgMCBSL0ZpbHRlci9GbGF0ZUR\r\n".repeat(1 + number % 50);
    format!(
        "Content-Type: multipart/mixed; boundary=m{number}\r\n\r\n--m{number}\r\n\r\nVoir la piece jointe.\r\n\
         --m{number}\r\nContent-Type: application/pdf; name=\"=?utf-8?q?r=C3=A9sum=C3=A9.pdf?=\"\r\n\
         Content-Disposition: attachment;\r\n filename*=utf-8''r%C3%A9sum%C3%A9.pdf; size={number}\r\n\
         Content-ID: <piece.{number}@lilas>\r\nContent-Description: piece\r\nContent-Language: fr, en\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{lines}--m{number}--\r\n"
    )
}

/// A message within a message, itself a multipart.
fn forwarded(mime: &str, number: usize) -> Vec<u8> {
    let inner = String::from_utf8(message(number - 1)).unwrap();
    format!(
        "{mime}Content-Type: multipart/mixed; boundary=f\r\n\r\n--f\r\nContent-Type: message/rfc822\r\n\
         Content-Disposition: inline\r\n\r\n{inner}\r\n--f--\r\n"
    )
    .into_bytes()
}

fn eight_bits(mime: &str, number: usize) -> Vec<u8> {
    let mut bytes =
        format!("{mime}Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
            .into_bytes();
    bytes.extend((0x80..=0xFF_u8).flat_map(|byte| [byte, b' ']));
    bytes.extend(format!("\r\nfin {number}\r\n").bytes());
    bytes
}

fn long_fields(number: usize) -> String {
    let references = format!("\r\n <reference.{number}.0123456789012345678901234567890@exemple.mssante.fr>").repeat(60);
    let word = "x".repeat(900);
    let trace = "Received: from a.example by b.example; Sat, 21 Nov 2026 10:00:00 +0100\r\n".repeat(20);
    format!("References:{references}\r\nX-Long: {word}\r\nX-Empty:\r\n{trace}")
}

fn nested(number: usize) -> String {
    let depth = 2 + number % 7;
    let open: String = (0..depth)
        .map(|level| format!("Content-Type: multipart/mixed; boundary=n{level}\r\n\r\n--n{level}\r\n"))
        .collect();
    let close: String = (0..depth).rev().map(|level| format!("\r\n--n{level}--\r\n")).collect();
    format!("{open}Content-Type: text/plain\r\n\r\nau fond {number}{close}")
}

/// A multipart whose last boundary was lost on the way.
fn without_end(number: usize) -> String {
    format!(
        "Content-Type: multipart/mixed; boundary=\"w\"\r\n\r\n--w\r\n\r\nun\r\n--w\r\nContent-Type: image/png\r\n\r\n{number}"
    )
}

fn large(mime: &str, number: usize) -> Vec<u8> {
    let lines = format!("{number:06} {}\r\n", "abcdefghijklmnopqrstuvwxyz".repeat(2)).repeat(2_000);
    format!("{mime}Content-Type: text/plain\r\n\r\n{lines}").into_bytes()
}
