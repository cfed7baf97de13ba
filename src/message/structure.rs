//! The parts of a message read while it passes: what each part says it is, and how deep they lie in each other. Nothing of the content is
//! kept, so a message of any size is looked at in a few kilobytes; a message that is no multipart costs nothing after its header.

use std::borrow::Cow;

use super::fields::Header;
use super::{lines, parameters};

/// Reads parts from the bytes of a message, handed over piece by piece. No Debug: names of files may be those of patients.
pub struct Structure {
    depth_max: usize,
    state: State,
    /// Multiparts that are open, the innermost last.
    open: Vec<Open>,
    /// Attached messages that the current part lies in, within the innermost multipart.
    nested: usize,
    /// The line that is not complete yet, as far as it is kept.
    line: Vec<u8>,
    line_bytes: usize,
    /// Fields of the current part's header that matter here.
    fields: Vec<u8>,
    keeps_field: bool,
    parts: Vec<Part>,
    deepest: usize,
}

/// What one part says of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    /// Multiparts and attached messages around it.
    pub depth: usize,
    /// Whose part it is.
    pub place: Place,
    /// Type and subtype in lower case; `text/plain` when nothing is said (RFC 2045 §5.2).
    pub content_type: String,
    /// `charset`, in lower case.
    pub charset: Option<String>,
    /// Name of the file, decoded.
    pub file_name: Option<String>,
    /// Whether it is shown as a file beside the text.
    pub is_attachment: bool,
}

/// Whose part something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The message's own.
    Own,
    /// That of a message attached to it.
    Attached,
}

/// An open multipart.
struct Open {
    /// The line that begins its parts: two hyphens and the boundary.
    delimiter: Vec<u8>,
    depth: usize,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Content,
    /// Nothing that follows matters.
    Over,
}

impl Structure {
    /// Reads a message from its first byte; stops where it is nested deeper than `depth_max`.
    pub fn new(depth_max: usize) -> Self {
        Self {
            depth_max,
            state: State::Header,
            open: Vec::new(),
            nested: 0,
            line: Vec::new(),
            line_bytes: 0,
            fields: Vec::with_capacity(FIELDS_BYTES_USUAL),
            keeps_field: false,
            parts: Vec::new(),
            deepest: 0,
        }
    }

    /// The next bytes of the message.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while self.state != State::Over && !bytes.is_empty() {
            if self.state == State::Content && self.line_bytes == 0 {
                bytes = &bytes[lines::without_hyphens(bytes)..];
            }
            let end = memchr::memchr(b'\n', bytes);
            let (piece, rest) = bytes.split_at(end.map_or(bytes.len(), |at| at + 1));
            bytes = rest;
            if self.line_bytes == 0 && end.is_some() {
                // A whole line where it lies: nearly all of them, and nearly all say nothing here.
                self.whole_line(&piece[..piece.len().min(LINE_BYTES_KEPT)]);
                continue;
            }
            let room = LINE_BYTES_KEPT.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            self.line_bytes += piece.len();
            if end.is_some() {
                self.line_bytes = 0;
                let mut line = std::mem::take(&mut self.line);
                self.whole_line(&line);
                line.clear();
                self.line = line;
            }
        }
    }

    /// The parts, in order; those of the whole message after [`Self::finish`].
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Says that the message is complete, and gives its parts in order.
    pub fn finish(&mut self) -> &[Part] {
        if self.line_bytes > 0 {
            self.line_bytes = 0;
            let line = std::mem::take(&mut self.line);
            self.whole_line(&line);
        }
        if self.state == State::Header {
            self.header_ends();
        }
        self.state = State::Over;
        &self.parts
    }

    /// Whether it is nested deeper than allowed.
    pub fn is_too_deep(&self) -> bool {
        self.deepest > self.depth_max
    }

    fn whole_line(&mut self, line: &[u8]) {
        if line.starts_with(b"--") && !self.open.is_empty() && self.delimiter(line) {
            return;
        }
        if self.state == State::Header {
            self.header_line(line);
        }
    }

    /// RFC 2046 §5.1.1: a delimiter of any open multipart ends what is inside it.
    fn delimiter(&mut self, line: &[u8]) -> bool {
        let line = line.trim_ascii_end();
        let found = self.open.iter().rposition(|open| {
            line.strip_prefix(open.delimiter.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest == b"--")
        });
        let Some(at) = found else { return false };
        if self.state == State::Header {
            // A part that is all header still counts.
            self.header_ends();
        }
        let is_last = line.len() > self.open[at].delimiter.len();
        self.open.truncate(if is_last { at } else { at + 1 });
        self.nested = 0;
        self.state = match (is_last, self.open.is_empty()) {
            (false, _) => State::Header,
            (true, false) => State::Content,
            (true, true) => State::Over,
        };
        true
    }

    fn header_line(&mut self, line: &[u8]) {
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            if line.trim_ascii().is_empty() {
                self.header_ends();
                return;
            }
            self.keeps_field = KEPT.iter().any(|name| {
                line.get(..name.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(name))
            });
        }
        if self.keeps_field && self.fields.len() + line.len() <= FIELDS_BYTES_KEPT {
            self.fields.extend_from_slice(line);
            if !line.ends_with(b"\n") {
                // Of a long line the end was cut off; what follows is a field of its own.
                self.fields.push(b'\n');
            }
        }
    }

    fn header_ends(&mut self) {
        let read = Read::of(&self.fields);
        self.fields.clear();
        self.keeps_field = false;
        let around = self.open.last();
        let depth = around.map_or(0, |open| open.depth + 1) + self.nested;
        let place = match around {
            _ if self.nested > 0 => Place::Attached,
            Some(open) => open.place,
            None => Place::Own,
        };
        let part = Part {
            depth,
            place,
            ..read.part
        };
        let is_message = matches!(part.content_type.as_str(), "message/rfc822" | "message/global") && !read.is_encoded;
        if self.parts.len() < PARTS_KEPT {
            self.parts.push(part);
        }
        self.state = if self.open.is_empty() {
            State::Over
        } else {
            State::Content
        };
        self.deepest = self.deepest.max(depth);
        if let Some(delimiter) = read.delimiter {
            self.open.push(Open {
                delimiter,
                depth,
                place,
            });
            self.nested = 0;
            self.state = State::Content;
        } else if is_message {
            self.nested += 1;
            self.state = State::Header;
        }
        if self.is_too_deep() {
            self.state = State::Over;
        }
    }
}

/// The header of a part, read.
struct Read {
    part: Part,
    /// Of a multipart: two hyphens and the boundary.
    delimiter: Option<Vec<u8>>,
    /// Its content is base64 or quoted-printable.
    is_encoded: bool,
}

impl Read {
    fn of(fields: &[u8]) -> Self {
        let (mut content_type, mut disposition, mut encoding) = (None, None, None);
        for field in Header::scan(fields).fields() {
            let first = if field.is("Content-Type") {
                &mut content_type
            } else if field.is("Content-Disposition") {
                &mut disposition
            } else if field.is("Content-Transfer-Encoding") {
                &mut encoding
            } else {
                continue;
            };
            first.get_or_insert(field);
        }
        let content_type = content_type.and_then(|field| parameters::read(&field, ["boundary", "charset", "name"]));
        let (kind, [boundary, charset, name]) = content_type.map_or_else(
            || (Cow::Borrowed("text/plain"), [const { None }; 3]),
            |found| (found.value, found.parameters),
        );
        let disposition = disposition.and_then(|field| parameters::read(&field, ["filename"]));
        let (disposition, [file_name]) = disposition.map_or_else(
            || (Cow::Borrowed(""), [const { None }]),
            |found| (found.value, found.parameters),
        );
        let encoding = encoding.map(|field| field.value()).unwrap_or_default();
        let encoding = encoding.trim();
        let content_type = lower(kind);
        let boundary = boundary.filter(|boundary| {
            content_type.starts_with("multipart/") && (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len())
        });
        Self {
            delimiter: boundary.map(|boundary| [b"--", boundary.as_bytes()].concat()),
            part: Part {
                depth: 0,
                place: Place::Own,
                content_type,
                charset: charset.map(lower),
                file_name: file_name.or(name).map(Cow::into_owned),
                is_attachment: disposition
                    .get(..ATTACHMENT.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(ATTACHMENT)),
            },
            is_encoded: encoding.eq_ignore_ascii_case("base64") || encoding.eq_ignore_ascii_case("quoted-printable"),
        }
    }
}

/// The text in lower case.
fn lower(text: Cow<'_, str>) -> String {
    let mut text = text.into_owned();
    text.make_ascii_lowercase();
    text
}

/// Fields that say what a part is.
const KEPT: [&[u8]; 3] = [b"content-type", b"content-disposition", b"content-transfer-encoding"];
/// How the disposition of a file beside the text begins (RFC 2183 §2.2).
const ATTACHMENT: &str = "attachment";
/// As much of a line is looked at; RFC 5322 §2.1.1 allows 998 characters.
const LINE_BYTES_KEPT: usize = 4096;
/// As much of a part's header is looked at.
const FIELDS_BYTES_KEPT: usize = 8192;
/// Room for the fields of most parts.
const FIELDS_BYTES_USUAL: usize = 512;
/// As many parts are told of; deeper or later ones still count for the depth.
const PARTS_KEPT: usize = 256;
/// RFC 2046 §5.1.1 allows 70; software errs.
const BOUNDARY_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::samples;

    fn read(message: &str, piece: usize) -> (Vec<Part>, usize, bool) {
        let mut structure = Structure::new(20);
        for bytes in message.as_bytes().chunks(piece) {
            structure.feed(bytes);
        }
        let parts = structure.finish().to_vec();
        (parts, structure.deepest, structure.is_too_deep())
    }

    fn shown(parts: &[Part]) -> Vec<String> {
        let show = |part: &Part| {
            let inside = if part.place == Place::Attached { " inside" } else { "" };
            let name = part.file_name.as_deref().unwrap_or("-");
            let charset = part.charset.as_deref().unwrap_or("-");
            format!("{} {} {charset} {name}{inside}", part.depth, part.content_type)
        };
        parts.iter().map(show).collect()
    }

    const DOCUMENT: &str = "Subject: x\r\nContent-Type: multipart/mixed;\r\n boundary=\"a b\"\r\n\r\npreamble\r\n--a b\r\n\
        Content-Type: multipart/alternative; boundary=in\r\n\r\n--in\r\n\r\ntext\r\n--in\r\nContent-Type: TEXT/html; charset=UTF-8\r\n\r\n<p>\r\n--in--\r\n\
        --a b\r\nContent-Type: application/zip\r\nContent-Disposition: attachment; filename*0=IHE_; filename*1=XDM.zip\r\n\r\nAAAA\r\n\
        --a b\r\nContent-Type: message/rfc822\r\n\r\nSubject: y\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nold\r\n--a b--\r\nepilogue\r\n--a b\r\n\r\n";

    #[test]
    fn parts_are_told_in_order_however_the_bytes_come() {
        for piece in [1, 7, 64, 100_000] {
            let (parts, deepest, is_too_deep) = read(DOCUMENT, piece);
            assert_eq!(
                shown(&parts),
                [
                    "0 multipart/mixed - -",
                    "1 multipart/alternative - -",
                    "2 text/plain - -",
                    "2 text/html utf-8 -",
                    "1 application/zip - IHE_XDM.zip",
                    "1 message/rfc822 - -",
                    "2 text/plain iso-8859-1 - inside",
                ],
                "in pieces of {piece}"
            );
            assert_eq!((deepest, is_too_deep), (2, false));
        }
    }

    #[test]
    fn a_simple_message_is_one_part_and_is_not_looked_at_further() {
        let mut structure = Structure::new(1);
        structure.feed(b"Subject: x\r\n\r\n--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n");
        assert!(structure.state == State::Over);
        assert_eq!(shown(structure.finish()), ["0 text/plain - -"]);
        assert_eq!(shown(&read("", 1).0), ["0 text/plain - -"]);
        assert_eq!(shown(&read("Content-Type: text/html", 3).0), ["0 text/html - -"]);
    }

    #[test]
    fn nesting_is_measured_up_to_the_limit() {
        let nested = |levels: usize| {
            let mut message = String::new();
            for level in 0..levels {
                message.push_str(&format!(
                    "Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n"
                ));
            }
            message + "\r\ntext\r\n"
        };
        assert!(!read(&nested(20), 1000).2);
        assert!(read(&nested(21), 1000).2);
        let messages = "Content-Type: message/rfc822\r\n\r\n";
        assert!(!read(&messages.repeat(20), 1000).2);
        assert!(read(&messages.repeat(21), 1000).2);
        assert!(read(&messages.repeat(100_000), 1000).0.len() <= 22);
    }

    #[test]
    fn an_inner_part_that_is_never_closed_ends_with_the_outer() {
        let message = "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\nx\r\n--o\r\nContent-Type: text/html\r\n\r\n";
        assert_eq!(
            shown(&read(message, 9).0),
            [
                "0 multipart/mixed - -",
                "1 multipart/mixed - -",
                "2 text/plain - -",
                "1 text/html - -"
            ]
        );
    }

    #[test]
    fn a_long_line_is_cut_the_same_however_it_comes_and_hides_no_other() {
        let long = "x".repeat(LINE_BYTES_KEPT);
        let message = format!(
            "Content-Type: text/html; y={long}; charset=utf-8\r\nContent-Disposition: attachment; filename=a.exe\r\n\r\n"
        );
        let (whole, ..) = read(&message, usize::MAX);
        assert_eq!(shown(&whole), ["0 text/html - a.exe"]);
        assert!(whole[0].is_attachment);
        for piece in [1, 7, 4000] {
            assert!(read(&message, piece).0 == whole, "{piece}");
        }
        // One that is not cut is read to its end.
        let message = message.replace(&long, &long[..LINE_BYTES_KEPT - 100]);
        for piece in [7, usize::MAX] {
            assert_eq!(shown(&read(&message, piece).0), ["0 text/html utf-8 a.exe"]);
        }
    }

    #[test]
    fn what_is_read_is_what_was_recorded() {
        let usual = String::from_utf8(samples::usual()).unwrap();
        assert_eq!(
            shown(&read(&usual, usize::MAX).0),
            [
                "0 multipart/mixed - -",
                "1 text/plain utf-8 -",
                "1 application/pdf - 20261122_Synthese_TEST_Alix.pdf"
            ]
        );
        for piece in [usize::MAX, 7] {
            let told = samples::any(4000).map(|message| {
                let mut structure = Structure::new(3);
                message.chunks(piece).for_each(|piece| structure.feed(piece));
                let parts = shown(structure.finish()).join("|");
                let attachments = structure.parts.iter().filter(|part| part.is_attachment).count();
                format!(
                    "{parts} {attachments} {} {}",
                    structure.deepest,
                    structure.is_too_deep()
                )
            });
            assert_eq!(samples::digest(told), 3_241_627_179, "in pieces of {piece}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_in_bounded_memory(bytes in proptest::collection::vec(any::<u8>(), 0..3000), piece in 1usize..50) {
            let mut structure = Structure::new(5);
            structure.feed(b"Content-Type: multipart/mixed; boundary=\"-\"\r\n\r\n");
            for piece in bytes.chunks(piece) {
                structure.feed(piece);
                prop_assert!(structure.line.len() <= LINE_BYTES_KEPT && structure.fields.len() <= FIELDS_BYTES_KEPT);
            }
            prop_assert!(structure.finish().len() <= PARTS_KEPT);
        }
    }
}
