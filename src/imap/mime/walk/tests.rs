//! Tests of the walk: whole and in pieces, as the standard says and as hostile senders write.

use proptest::prelude::*;

use super::*;
use crate::imap::mime::outline::Outline;

fn text<'a>(message: &'a [u8], number: &[u32]) -> Option<&'a str> {
    let root = Outline::of_message(message);
    let part = root.find(number)?;
    std::str::from_utf8(&message[part.body.clone()]).ok()
}

#[test]
fn parts_are_numbered_as_the_standard_says() {
    let message = b"Content-Type: multipart/mixed; boundary=\"a b\"\r\n\r\npreamble\r\n--a b\r\n\r\none\r\n--a b \r\n\
        Content-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n\
        --in\r\n\r\ntwo.one\r\n--in\r\nContent-Type: text/html\r\n\r\ntwo.two\r\n--in--\r\n\r\n--a b--\r\nepilogue";
    assert_eq!(text(message, &[1]), Some("one"));
    assert_eq!(text(message, &[2, 1]), Some("two.one"));
    assert_eq!(text(message, &[2, 2]), Some("two.two"));
    assert!(text(message, &[2]).unwrap().starts_with("Subject: in\r\n"));
    assert!(text(message, &[2]).unwrap().ends_with("--in--\r\n"));
    assert_eq!(text(message, &[1, 1]), None);
    assert_eq!(text(message, &[3]), None);
    assert_eq!(text(message, &[0]), None);
    let whole = Outline::of_message(message);
    assert_eq!(whole.body.end, message.len(), "the epilogue is the message's");
}

#[test]
fn a_boundary_that_starts_like_another_is_not_it() {
    let message =
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/mixed; boundary=xy\r\n\r\n\
        --xy\r\n\r\ninner\r\n--xy--\r\n--x\r\n\r\nlast";
    assert_eq!(text(message, &[1, 1]), Some("inner"));
    assert_eq!(text(message, &[2]), Some("last"));
    let swapped =
        b"Content-Type: multipart/mixed; boundary=xy\r\n\r\n--xy\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
        --x\r\n\r\ninner\r\n--x--\r\n--xy\r\n\r\nlast\r\n--xy--\r\n";
    assert_eq!(text(swapped, &[1, 1]), Some("inner"));
    assert_eq!(text(swapped, &[2]), Some("last"));
}

#[test]
fn an_inner_multipart_with_the_outer_boundary_is_read_first() {
    let message =
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
        --x\r\n\r\ninner\r\n--x--\r\n--x\r\n\r\nlast\r\n--x--\r\n";
    assert_eq!(text(message, &[1, 1]), Some("inner"));
    assert_eq!(text(message, &[2]), Some("last"));
}

#[test]
fn an_outer_delimiter_ends_what_was_never_closed() {
    let message =
        b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n\
        --i\r\n\r\ninner\r\n--o\r\n\r\nlast\r\n--o--\r\n--i\r\n\r\nnothing";
    assert_eq!(text(message, &[1, 1]), Some("inner"));
    assert_eq!(text(message, &[2]), Some("last"));
    assert_eq!(text(message, &[1, 2]), None);
    assert_eq!(text(message, &[3]), None);
}

#[test]
fn a_delimiter_ends_a_header_that_has_no_empty_line() {
    let message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/png\r\n--b\r\nX: y\r\n\r\n--b\r\n\r\nlast\r\n--b--";
    let root = Outline::of_message(message);
    let header = |number| {
        let part = root.find(&[number]).unwrap();
        (&message[part.header.clone()], part.body.len())
    };
    assert_eq!(header(1), (b"Content-Type: image/png\r\n".as_slice(), 0));
    assert_eq!(header(2), (b"X: y\r\n\r\n".as_slice(), 0));
    assert_eq!(text(message, &[3]), Some("last"));
}

#[test]
fn an_outer_delimiter_ends_a_header_within_the_multipart_that_holds_it() {
    for (ending, cut) in [
        ("\r\n", "X: y"),
        ("\n", "X: y"),
        ("\r\nZ: z\r\n\r\n", "X: y\r\nZ: z\r\n"),
    ] {
        let message = format!(
            "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n\
             --i\r\nX: y{ending}--o--\r\n"
        );
        let root = Outline::of_message(message.as_bytes());
        let (multipart, inner) = (root.find(&[1]).unwrap(), root.find(&[1, 1]).unwrap());
        assert_eq!(&message[inner.header.clone()], cut);
        assert_eq!(message[multipart.body.clone()], format!("--i\r\n{cut}"));
        assert!(inner.body.is_empty() && inner.body.end <= multipart.body.end);
    }
}

#[test]
fn a_plain_message_has_one_part_and_an_empty_multipart_too() {
    assert_eq!(text(b"Subject: x\r\n\r\nbody", &[1]), Some("body"));
    assert_eq!(text(b"Subject: x\r\n\r\nbody", &[2]), None);
    for message in [
        &b"Content-Type: multipart/mixed\r\n\r\nbody"[..],
        b"Content-Type: multipart/mixed; boundary=q\r\n\r\nbody",
        b"Content-Type: multipart/mixed; boundary=q\r\n\r\n--q--\r\n",
        b"Content-Type: multipart/mixed; boundary=\"  \"\r\n\r\n--  \r\n\r\nbody",
    ] {
        assert_eq!(text(message, &[1]), Some(""));
        assert_eq!(text(message, &[2]), None);
    }
}

#[test]
fn nesting_and_the_number_of_parts_are_bounded() {
    let message = b"Content-Type: message/rfc822\r\n\r\n".repeat(500);
    let mut part = &Part::of_message(&message);
    let mut depth = 0;
    while let Kind::Message(inner) = &part.kind {
        part = inner;
        depth += 1;
    }
    assert_eq!(depth, DEPTH_MAX);
    assert_eq!(part.media.main(), b"APPLICATION");
    let mut many = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_vec();
    many.extend(b"--b\r\n\r\nx\r\n".repeat(3_000));
    let Kind::Multipart(parts) = Part::of_message(&many).kind else {
        panic!("no multipart")
    };
    assert_eq!(parts.len(), PARTS_MAX - 1);
    assert_eq!(parts[3].body.len(), 1);
}

#[test]
fn header_blocks_beyond_the_bound_are_passed_over() {
    let mut message = format!("X: {}\r\n", "x".repeat(HEADS_BYTES_MAX)).into_bytes();
    message.extend_from_slice(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx");
    let part = Part::of_message(&message);
    assert!(matches!(part.kind, Kind::Leaf));
    assert_eq!(part.body.len(), 8);
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        body in "(--b|--b--|--c|--c--|\r\n|\r|\n|x| |Content-Type: multipart/mixed; boundary=[bc]|Content-Type: message/rfc822|: ){0,60}",
        piece in 1..40_usize,
    ) {
        let message = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{body}");
        let whole = Part::of_message(message.as_bytes());
        let mut walker = Walker::new();
        message.as_bytes().chunks(piece).for_each(|piece| walker.feed(piece));
        let pieces = walker.finish();
        prop_assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
        prop_assert!(matches!(whole.kind, Kind::Multipart(_)));
        prop_assert!(nested_right(&whole, 0..message.len()));
    }
}

/// Parts lie within what holds them, one after the other.
fn nested_right(part: &Part, within: std::ops::Range<usize>) -> bool {
    let inside = part.body.clone();
    let here = within.start <= part.header.start
        && part.header.end == inside.start
        && inside.start <= inside.end
        && inside.end <= within.end;
    here && match &part.kind {
        Kind::Leaf => true,
        Kind::Message(inner) => inner.header.start == inside.start && nested_right(inner, inside),
        Kind::Multipart(children) => {
            let mut from = inside.start;
            children.iter().all(|child| {
                let good = nested_right(child, from..inside.end);
                from = child.body.end;
                good
            })
        }
    }
}
