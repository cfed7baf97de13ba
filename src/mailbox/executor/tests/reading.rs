//! What a client reads of messages, byte for byte.

use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::super::*;
use super::{Client, world};
use crate::identity::Address;

/// A client that has INBOX open, with these messages in it, however large.
async fn reading(messages: &[&[u8]]) -> Client {
    let (_, mailboxes) = world();
    let address: Address = "jean@chu.fr".parse().unwrap();
    let owner = mailboxes.ensure(&address).await.unwrap();
    let inbox = mailboxes.inbox(owner).await.unwrap();
    for message in messages {
        let acceptance = Acceptance {
            message: Some(deliver::new_message(Arc::new(message.to_vec()), Vec::new())),
            deliveries: vec![deliver::unread(inbox, "2026-11-21T10:00:00Z".parse().unwrap())],
            ..Acceptance::default()
        };
        mailboxes.store().accept(acceptance).await.unwrap();
    }
    Client::selected(&mailboxes).await
}

#[tokio::test]
async fn literals_stand_in_the_middle_of_a_response() {
    let message = "Subject: \u{e9}t\u{e9} \"1\"\r\nFrom: Zo\u{e9} <z@b.fr>\r\nTo: a@b.fr\r\n\r\nl'\u{e9}t\u{e9}\r\n";
    let mut c = reading(&[message.as_bytes()]).await;
    assert_eq!(
        c.say("a FETCH 1 (UID ENVELOPE BODY.PEEK[HEADER.FIELDS (SUBJECT)] FLAGS BODY[TEXT]<2.2> RFC822.SIZE)")
            .await,
        "* 1 FETCH (UID 1 ENVELOPE (NIL {9}\r\n\u{e9}t\u{e9} \"1\" (({4}\r\nZo\u{e9} NIL \"z\" \"b.fr\")) \
         (({4}\r\nZo\u{e9} NIL \"z\" \"b.fr\")) (({4}\r\nZo\u{e9} NIL \"z\" \"b.fr\")) ((NIL NIL \"a\" \"b.fr\")) NIL NIL NIL NIL) \
         BODY[HEADER.FIELDS (SUBJECT)] {22}\r\nSubject: \u{e9}t\u{e9} \"1\"\r\n\r\n FLAGS (\\Seen \\Recent) \
         BODY[TEXT]<2> {2}\r\n\u{e9} RFC822.SIZE 64)\r\na OK fetched\r\n"
    );
}

#[tokio::test]
async fn reports_show_what_is_inside_them() {
    let report = b"Subject: r\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n\
        --b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nNon.\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
        Reporting-MTA: dns; x\r\n\r\nAction: failed\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\
        Content-Description: original\r\n\r\nSubject: avant\r\nFrom: a@b.fr\r\n\r\nun\r\ndeux\r\n\r\n--b--\r\n";
    let mut c = reading(&[report]).await;
    assert_eq!(
        c.say("a FETCH 1 BODYSTRUCTURE").await,
        "* 1 FETCH (BODYSTRUCTURE ((\"TEXT\" \"PLAIN\" (\"charset\" \"utf-8\") NIL NIL \"7BIT\" 6 1 NIL NIL NIL NIL)\
         (\"MESSAGE\" \"DELIVERY-STATUS\" NIL NIL NIL \"7BIT\" 41 NIL NIL NIL NIL)\
         (\"MESSAGE\" \"RFC822\" NIL NIL \"original\" \"7BIT\" 42 (NIL \"avant\" ((NIL NIL \"a\" \"b.fr\")) ((NIL NIL \"a\" \"b.fr\")) \
         ((NIL NIL \"a\" \"b.fr\")) NIL NIL NIL NIL NIL) (\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 10 2 NIL NIL NIL NIL) \
         5 NIL NIL NIL NIL) \"REPORT\" (\"report-type\" \"delivery-status\" \"boundary\" \"b\") NIL NIL NIL))\r\na OK fetched\r\n"
    );
    assert_eq!(
        c.say("b FETCH 1 (BODY.PEEK[3.HEADER] BODY.PEEK[3.1]<1.3>)").await,
        "* 1 FETCH (BODY[3.HEADER] {32}\r\nSubject: avant\r\nFrom: a@b.fr\r\n\r\n BODY[3.1]<1> {3}\r\nn\r\n)\r\nb OK fetched\r\n"
    );
}

#[tokio::test]
async fn what_the_server_knows_of_a_message_is_told_in_one_line() {
    let mut c = reading(&[b"\r\nx"]).await;
    assert_eq!(
        c.say("a FETCH 1 (EMAILID THREADID SAVEDATE MODSEQ)").await,
        "* 1 FETCH (EMAILID (M1) THREADID NIL SAVEDATE \"21-Nov-2026 10:00:00 +0000\" MODSEQ (2))\r\na OK fetched\r\n"
    );
    // RFC 7162 §3.1.4.1: the modification sequence comes unasked.
    assert_eq!(
        c.say("b FETCH 1 FLAGS (CHANGEDSINCE 1)").await,
        "* 1 FETCH (FLAGS (\\Recent) MODSEQ (2))\r\nb OK fetched\r\n"
    );
    assert_eq!(c.say("c FETCH 1 FLAGS (CHANGEDSINCE 2)").await, "c OK fetched\r\n");
}

#[tokio::test]
async fn a_window_is_cut_out_of_what_is_asked() {
    let mut c = reading(&[b"\r\n1", b"\r\n2", b"\r\n3", b"\r\n4"]).await;
    let uids = |heard: String| heard.matches("(UID ").count();
    assert_eq!(
        c.say("a UID FETCH 1:* UID (PARTIAL 2:3)").await,
        "* 2 FETCH (UID 2)\r\n* 3 FETCH (UID 3)\r\na OK fetched\r\n"
    );
    assert_eq!(
        c.say("b UID FETCH 1:3 UID (PARTIAL -1:-1)").await,
        "* 3 FETCH (UID 3)\r\nb OK fetched\r\n"
    );
    assert_eq!(uids(c.say("c UID FETCH 1:* UID (PARTIAL 9:12)").await), 0);
    assert_eq!(uids(c.say("d UID FETCH 1:* UID (PARTIAL -100:-1)").await), 4);
}

const ENCODED: &[u8] =
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
    un=3D=\r\ndeux\r\n--b\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\nYQBi\r\n--b\r\n\
    Content-Transfer-Encoding: x-odd\r\n\r\nabc\r\n--b--\r\n";

#[tokio::test]
async fn parts_are_decoded_by_the_server() {
    let mut c = reading(&[ENCODED]).await;
    assert_eq!(
        c.say("a FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[1] BINARY.PEEK[1]<2.3> BINARY.PEEK[9] BINARY.SIZE[9])")
            .await,
        "* 1 FETCH (BINARY[1] {7}\r\nun=deux BINARY.SIZE[1] 7 BINARY[1]<2> {3}\r\n=de BINARY[9] NIL BINARY.SIZE[9] 0)\r\na OK fetched\r\n"
    );
    // RFC 3516 §4.2: NUL comes as literal8. Reading marks as read, as BODY[] does.
    assert_eq!(
        c.say("b FETCH 1 (BINARY[2] BINARY.SIZE[2])").await,
        "* 1 FETCH (BINARY[2] ~{3}\r\na\0b BINARY.SIZE[2] 3 FLAGS (\\Seen \\Recent))\r\nb OK fetched\r\n"
    );
    let whole = ENCODED.len();
    assert!(
        c.say("c FETCH 1 BINARY.PEEK[]")
            .await
            .starts_with(&format!("* 1 FETCH (BINARY[] {{{whole}}}\r\nContent-Type"))
    );
}

#[tokio::test]
async fn an_encoding_that_nobody_knows_is_said_and_the_rest_is_told() {
    let mut c = reading(&[ENCODED, b"\r\nx"]).await;
    let refused = "NO [UNKNOWN-CTE] a part is written in an encoding that is not known here\r\n";
    assert_eq!(
        c.say("a FETCH 1:2 (UID BINARY.PEEK[3] BINARY.SIZE[1])").await,
        format!(
            "* 1 FETCH (UID 1 BINARY.SIZE[1] 7)\r\n* 2 FETCH (UID 2 BINARY[3] NIL BINARY.SIZE[1] 1)\r\na {refused}"
        )
    );
    assert_eq!(
        c.say("b FETCH 1 BINARY.SIZE[3]").await,
        format!("* 1 FETCH ()\r\nb {refused}")
    );
}

#[tokio::test]
async fn first_words_are_computed_when_first_asked_and_kept() {
    let (store, mailboxes) = world();
    let mut c = Client::new(&mailboxes).await;
    c.append("Subject: x\r\n\r\nBonjour,\r\n le  patient\r\n").await;
    c.append("Content-Type: text/plain; charset=utf-8\r\n\r\n\u{e9}t\u{e9}\r\n")
        .await;
    c.append("Content-Type: image/png\r\n\r\nx").await;
    c.say("s EXAMINE INBOX").await;
    assert_eq!(
        c.say("a FETCH 1 (UID PREVIEW (LAZY))").await,
        "* 1 FETCH (UID 1 PREVIEW NIL)\r\na OK fetched\r\n"
    );
    assert_eq!(store.reads.load(Ordering::Relaxed), 0, "LAZY reads nothing");
    let all = "* 1 FETCH (PREVIEW \"Bonjour, le patient\")\r\n* 2 FETCH (PREVIEW {5}\r\n\u{e9}t\u{e9})\r\n* 3 FETCH (PREVIEW \"\")\r\n";
    assert_eq!(c.say("b FETCH 1:3 PREVIEW").await, format!("{all}b OK fetched\r\n"));
    let read = store.reads.load(Ordering::Relaxed);
    assert_eq!(
        c.say("c FETCH 1:3 PREVIEW (LAZY)").await,
        format!("{all}c OK fetched\r\n")
    );
    assert_eq!(c.say("d FETCH 1:3 PREVIEW").await, format!("{all}d OK fetched\r\n"));
    assert_eq!(
        store.reads.load(Ordering::Relaxed),
        read,
        "what is kept is not computed again"
    );
}

/// More than a chunk: it is never loaded whole.
fn large() -> (Vec<u8>, Vec<u8>) {
    let content: Vec<u8> = (0..1_500_000_u32)
        .map(|n| b'a' + u8::try_from(n % 23).unwrap())
        .collect();
    let mut text = String::new();
    for line in content.chunks(57) {
        text.push_str(&BASE64.encode(line));
        text.push_str("\r\n");
    }
    let message = format!(
        "Subject: grand\r\nX: 1\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\npetit\r\n--b\r\n\
         Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n{text}\r\n--b\r\n\
         Content-Transfer-Encoding: x-odd\r\n\r\nabc\r\n--b--\r\n"
    );
    (message.into_bytes(), content)
}

#[tokio::test]
async fn small_messages_before_a_large_one_are_written_whole() {
    let (message, _) = large();
    let mut c = reading(&[b"\r\nun", b"\r\ndeux", &message]).await;
    let text = String::from_utf8(message).unwrap();
    assert_eq!(
        c.say("a FETCH 1:3 BODY.PEEK[]").await,
        format!(
            "* 1 FETCH (BODY[] {{4}}\r\n\r\nun)\r\n* 2 FETCH (BODY[] {{6}}\r\n\r\ndeux)\r\n\
             * 3 FETCH (BODY[] {{{}}}\r\n{text})\r\na OK fetched\r\n",
            text.len()
        )
    );
}

#[tokio::test]
async fn a_large_message_is_written_as_it_is_read() {
    let (message, content) = large();
    let mut c = reading(&[b"\r\navant", &message, b"\r\napres"]).await;
    let text = String::from_utf8(message.clone()).unwrap();
    let length = message.len();
    assert!(length > 2 * 1024 * 1024 - 100_000);
    assert_eq!(
        c.say("a FETCH 2 BODY.PEEK[]").await,
        format!("* 2 FETCH (BODY[] {{{length}}}\r\n{text})\r\na OK fetched\r\n")
    );
    let part = text
        .split("base64\r\n\r\n")
        .nth(1)
        .unwrap()
        .split("\r\n--b")
        .next()
        .unwrap();
    let decoded = String::from_utf8(content.clone()).unwrap();
    assert_eq!(
        c.say("b FETCH 1:3 (UID BODY.PEEK[2] BODY.PEEK[2]<1000000.7> BODY.PEEK[2.MIME] BODY[HEADER.FIELDS (subject)] BODY.PEEK[7])")
            .await,
        format!(
            "* 1 FETCH (UID 1 BODY[2] NIL BODY[2]<1000000> NIL BODY[2.MIME] NIL BODY[HEADER.FIELDS (subject)] {{2}}\r\n\r\n BODY[7] NIL FLAGS (\\Seen \\Recent))\r\n\
             * 2 FETCH (UID 2 BODY[2] {{{}}}\r\n{part} BODY[2]<1000000> {{7}}\r\n{} BODY[2.MIME] {{68}}\r\n\
             Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n BODY[HEADER.FIELDS (subject)] {{18}}\r\n\
             Subject: grand\r\n\r\n BODY[7] NIL FLAGS (\\Seen \\Recent))\r\n\
             * 3 FETCH (UID 3 BODY[2] NIL BODY[2]<1000000> NIL BODY[2.MIME] NIL BODY[HEADER.FIELDS (subject)] {{2}}\r\n\r\n BODY[7] NIL FLAGS (\\Seen \\Recent))\r\nb OK fetched\r\n",
            part.len(),
            &part[1_000_000..1_000_007]
        )
    );
    assert_eq!(
        c.say("c FETCH 2 (BINARY.PEEK[2] BINARY.SIZE[2] BINARY.PEEK[2]<1499990.99> BINARY.PEEK[2]<3.4> BINARY.PEEK[2]<9999999.4>)")
            .await,
        format!(
            "* 2 FETCH (BINARY[2] {{1500000}}\r\n{decoded} BINARY.SIZE[2] 1500000 BINARY[2]<1499990> {{10}}\r\n{} BINARY[2]<3> {{4}}\r\n{} \
             BINARY[2]<9999999> {{0}}\r\n)\r\nc OK fetched\r\n",
            &decoded[1_499_990..],
            &decoded[3..7]
        )
    );
    let heard = c
        .say("d FETCH 2 (BINARY.PEEK[3] BINARY.SIZE[3] BINARY.PEEK[9] BINARY.SIZE[9] PREVIEW RFC822.SIZE)")
        .await;
    assert_eq!(
        heard,
        format!(
            "* 2 FETCH (BINARY[9] NIL BINARY.SIZE[9] 0 PREVIEW \"petit\" RFC822.SIZE {length})\r\n\
             d NO [UNKNOWN-CTE] a part is written in an encoding that is not known here\r\n"
        )
    );
}
