//! Header fields read where they lie: no copy, no MIME parse, every byte accounted for.
//!
//! [`Header::parse`] is the strict door for what enters this operator; [`Header::scan`] reads whatever is already stored and
//! never fails. Both give fields whose raw bytes, put end to end, are the header block again: relaying changes nothing.

use std::borrow::Cow;

use memchr::memchr;

/// What a header block may hold at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderLimits {
    /// Longest header block in bytes, empty line included. Default 256 KiB: far above any real mail, far below what hurts.
    pub header_bytes_max: usize,
    /// Most fields. Default 1,000: thirty hops with their trace and signature fields stay under 200.
    pub fields_max: usize,
    /// What the transaction allows in a header.
    pub charset: Charset,
}

impl Default for HeaderLimits {
    fn default() -> Self {
        Self {
            header_bytes_max: HEADER_BYTES_MAX,
            fields_max: FIELDS_MAX,
            charset: Charset::Ascii,
        }
    }
}

/// Characters that a header may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// RFC 5322 §2.2: ASCII only.
    Ascii,
    /// RFC 6532 §3: UTF-8, when MAIL said SMTPUTF8.
    Utf8,
}

/// What is wrong with a header block. Lines count from 1; no text of the message is repeated (invariant 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderDefect {
    /// The block does not end within the limit.
    #[error("the header is longer than {bytes_max} bytes")]
    TooLong {
        /// The limit.
        bytes_max: usize,
    },
    /// More fields than the limit.
    #[error("the header has more than {fields_max} fields")]
    TooManyFields {
        /// The limit.
        fields_max: usize,
    },
    /// RFC 5322 §2.2: a line that is neither a field nor the continuation of one.
    #[error("header line {line} is not a field: no colon after a name")]
    NotAField {
        /// The line.
        line: usize,
    },
    /// A byte above 127 in a transaction without SMTPUTF8.
    #[error("header line {line} has 8-bit characters: encode them (RFC 2047) or send with SMTPUTF8")]
    EightBit {
        /// The line.
        line: usize,
    },
    /// SMTPUTF8 was announced but the line is not UTF-8.
    #[error("header line {line} is not UTF-8")]
    NotUtf8 {
        /// The line.
        line: usize,
    },
    /// RFC 5321 §2.3.8: CR without LF.
    #[error("header line {line} has a CR without LF")]
    BareCr {
        /// The line.
        line: usize,
    },
    /// RFC 5321 §2.3.8: LF without CR.
    #[error("header line {line} ends with LF without CR")]
    BareLf {
        /// The line.
        line: usize,
    },
    /// RFC 5322 §4: NUL is not even obsolete syntax we take.
    #[error("header line {line} has a NUL byte")]
    Nul {
        /// The line.
        line: usize,
    },
}

/// The header block of a message, borrowed.
#[derive(Clone, Copy)]
pub struct Header<'a> {
    /// Fields without the empty line.
    block: &'a [u8],
    /// Length with the empty line.
    len: usize,
}

impl<'a> Header<'a> {
    /// Reads the header block of `message` and checks it against RFC 5322 §2.2 and `limits`. Obsolete folding and spaces before
    /// the colon are taken (§4.5). A message without empty line is all header.
    ///
    /// `message` may be the first part only, if it reaches past `header_bytes_max` or past the empty line.
    pub fn parse(message: &'a [u8], limits: &HeaderLimits) -> Result<Self, HeaderDefect> {
        let too_long = HeaderDefect::TooLong {
            bytes_max: limits.header_bytes_max,
        };
        let mut at = 0;
        let mut fields = 0;
        for (number, line) in lines(message).enumerate() {
            if at + line.len() > limits.header_bytes_max {
                return Err(too_long);
            }
            check_line(line, number + 1, limits.charset)?;
            if is_empty_line(line) {
                return Ok(Self {
                    block: &message[..at],
                    len: at + line.len(),
                });
            }
            if is_continuation(line) && fields > 0 {
                at += line.len();
                continue;
            }
            if name_length(line).is_none() {
                return Err(HeaderDefect::NotAField { line: number + 1 });
            }
            fields += 1;
            if fields > limits.fields_max {
                return Err(HeaderDefect::TooManyFields {
                    fields_max: limits.fields_max,
                });
            }
            at += line.len();
        }
        Ok(Self {
            block: message,
            len: at,
        })
    }

    /// Reads the header block of a message that is already here, whatever it looks like: LF line ends are taken, and a line
    /// that is no field is a field without name.
    pub fn scan(message: &'a [u8]) -> Self {
        let mut at = 0;
        for line in lines(message) {
            if is_empty_line(line) {
                return Self {
                    block: &message[..at],
                    len: at + line.len(),
                };
            }
            at += line.len();
        }
        Self {
            block: message,
            len: at,
        }
    }

    /// Length in bytes, empty line included: where the body begins.
    #[expect(
        clippy::len_without_is_empty,
        reason = "an empty header is not a question anybody asks"
    )]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The fields' bytes, without the empty line.
    pub fn block(&self) -> &'a [u8] {
        self.block
    }

    /// Every field, in order.
    pub fn fields(&self) -> Fields<'a> {
        Fields { rest: self.block }
    }

    /// The first field of that name, compared without case.
    pub fn first(&self, name: &str) -> Option<Field<'a>> {
        self.fields().find(|field| field.is(name))
    }

    /// All fields of that name, compared without case, in order.
    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = Field<'a>> + use<'a, 'n> {
        self.fields().filter(move |field| field.is(name))
    }

    /// The unfolded value of the first field of that name.
    pub fn value(&self, name: &str) -> Option<Cow<'a, str>> {
        self.first(name).map(|field| field.value())
    }
}

/// Fields hold subjects and identities: Debug shows only the size.
impl std::fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Header({} bytes)", self.len)
    }
}

/// Iterator over fields; see [`Header::fields`].
#[derive(Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let mut lines = lines(self.rest);
        let first = lines.next()?;
        let mut end = first.len();
        while is_continuation(&self.rest[end..]) {
            end += lines.next().map_or(0, <[u8]>::len);
        }
        let (raw, rest) = self.rest.split_at(end);
        self.rest = rest;
        let (name_len, value_at) = name_length(first).unwrap_or((0, 0));
        Some(Field {
            raw,
            name_len,
            value_at,
        })
    }
}

/// One field with its continuation lines, borrowed.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    raw: &'a [u8],
    name_len: usize,
    value_at: usize,
}

impl<'a> Field<'a> {
    /// Every byte of it, last line end included.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Its name as written; empty when the line is no field.
    pub fn name(&self) -> &'a str {
        std::str::from_utf8(&self.raw[..self.name_len]).unwrap_or_default()
    }

    /// Whether it has that name, compared without case (RFC 5322 §1.2.2).
    pub fn is(&self, name: &str) -> bool {
        self.raw[..self.name_len].eq_ignore_ascii_case(name.as_bytes()) && self.name_len > 0
    }

    /// What stands after the colon, still folded, line end included.
    pub fn folded_value(&self) -> &'a [u8] {
        &self.raw[self.value_at..]
    }

    /// The value unfolded (RFC 5322 §2.2.3: line ends go, the space after them stays) and without space around it.
    /// Bytes that are not UTF-8 become U+FFFD. Copies only when it must.
    pub fn value(&self) -> Cow<'a, str> {
        let trimmed = self.folded_value().trim_ascii();
        if !trimmed.contains(&b'\n') && !trimmed.contains(&b'\r') {
            return String::from_utf8_lossy(trimmed);
        }
        let unfolded: Vec<u8> = trimmed
            .iter()
            .copied()
            .filter(|b| !matches!(b, b'\r' | b'\n'))
            .collect();
        Cow::Owned(String::from_utf8_lossy(&unfolded).into_owned())
    }
}

/// Values are subjects and identities: Debug shows only the name.
impl std::fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Field({}, {} bytes)", self.name(), self.raw.len())
    }
}

/// Lines with their line ends; the last may have none.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let end = memchr(b'\n', rest).map_or(rest.len(), |feed| feed + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        (!line.is_empty()).then_some(line)
    })
}

fn is_empty_line(line: &[u8]) -> bool {
    matches!(line, b"\r\n" | b"\n")
}

fn is_continuation(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

/// Length of the field name, and where the value begins. Spaces before the colon: RFC 5322 §4.5.
fn name_length(line: &[u8]) -> Option<(usize, usize)> {
    let colon = memchr(b':', line)?;
    let name = line[..colon].trim_ascii_end();
    // RFC 5322 §2.2: printable US-ASCII except the colon.
    let printable = !name.is_empty() && name.iter().all(|byte| (33..=126).contains(byte));
    printable.then_some((name.len(), colon + 1))
}

fn check_line(line: &[u8], number: usize, charset: Charset) -> Result<(), HeaderDefect> {
    let content = match line {
        [content @ .., b'\r', b'\n'] => content,
        [.., b'\n'] => return Err(HeaderDefect::BareLf { line: number }),
        // The message ends inside its header.
        content => content,
    };
    if content.contains(&b'\r') {
        return Err(HeaderDefect::BareCr { line: number });
    }
    if content.contains(&0) {
        return Err(HeaderDefect::Nul { line: number });
    }
    if content.is_ascii() {
        return Ok(());
    }
    match charset {
        Charset::Ascii => Err(HeaderDefect::EightBit { line: number }),
        Charset::Utf8 if std::str::from_utf8(content).is_err() => Err(HeaderDefect::NotUtf8 { line: number }),
        Charset::Utf8 => Ok(()),
    }
}

const HEADER_BYTES_MAX: usize = 256 * 1024;
const FIELDS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(message: &[u8]) -> Result<Header<'_>, HeaderDefect> {
        Header::parse(message, &HeaderLimits::default())
    }

    fn limits(header_bytes_max: usize, fields_max: usize) -> HeaderLimits {
        HeaderLimits {
            header_bytes_max,
            fields_max,
            charset: Charset::Ascii,
        }
    }

    #[test]
    fn a_field_is_found_by_name_without_case_and_unfolded_on_demand() {
        let header =
            parse(b"SUBJECT: one\r\n\t two\r\nX-MSS-NIL : DEV1\r\nsubject:three\r\n\r\nSubject: body").unwrap();
        assert_eq!(header.value("Subject").unwrap(), "one\t two");
        assert_eq!(header.all("subject").count(), 2);
        assert_eq!(header.first("x-mss-nil").unwrap().name(), "X-MSS-NIL");
        assert_eq!(header.value("x-mss-nil").unwrap(), "DEV1");
        assert!(header.first("x-mss").is_none());
        assert!(header.first("").is_none());
        assert_eq!(header.len(), header.block().len() + 2);
    }

    #[test]
    fn a_message_may_have_no_header_or_no_body() {
        assert_eq!(parse(b"\r\nbody").unwrap().len(), 2);
        assert_eq!(parse(b"\r\nbody").unwrap().fields().count(), 0);
        assert_eq!(parse(b"").unwrap().len(), 0);
        assert_eq!(parse(b"A: b\r\n").unwrap().fields().count(), 1);
        assert_eq!(parse(b"A: b").unwrap().value("a").unwrap(), "b");
        assert_eq!(parse(b"A:\r\n\r\n").unwrap().value("a").unwrap(), "");
    }

    #[test]
    fn each_defect_has_its_name_and_line() {
        let cases: &[(&[u8], HeaderDefect)] = &[
            (b"A: b\r\nno colon here\r\n\r\n", HeaderDefect::NotAField { line: 2 }),
            (b" orphan: x\r\n\r\n", HeaderDefect::NotAField { line: 1 }),
            (b"two words: x\r\n\r\n", HeaderDefect::NotAField { line: 1 }),
            (b": x\r\n\r\n", HeaderDefect::NotAField { line: 1 }),
            (
                b"From a@b Sat Nov 21\r\nA: b\r\n\r\n",
                HeaderDefect::NotAField { line: 1 },
            ),
            (b"A: b\rC: d\r\n\r\n", HeaderDefect::BareCr { line: 1 }),
            (b"A: b\r\r\n\r\n", HeaderDefect::BareCr { line: 1 }),
            (b"A: b\r\nC: d\n\r\n", HeaderDefect::BareLf { line: 2 }),
            (b"A: b\n\nbody", HeaderDefect::BareLf { line: 1 }),
            (b"A: b\0\r\n\r\n", HeaderDefect::Nul { line: 1 }),
            (b"A: h\xc3\xa9l\xc3\xa8ne\r\n\r\n", HeaderDefect::EightBit { line: 1 }),
        ];
        for (message, defect) in cases {
            assert_eq!(parse(message).err(), Some(*defect), "{}", message.escape_ascii());
        }
    }

    #[test]
    fn smtputf8_allows_utf8_and_nothing_else() {
        let utf8 = HeaderLimits {
            charset: Charset::Utf8,
            ..HeaderLimits::default()
        };
        assert!(Header::parse("A: hélène\r\n\r\n".as_bytes(), &utf8).is_ok());
        assert_eq!(
            Header::parse(b"A: h\xe9l\r\n\r\n", &utf8).err(),
            Some(HeaderDefect::NotUtf8 { line: 1 })
        );
    }

    #[test]
    fn a_header_is_bounded_in_bytes_and_fields() {
        let message = b"A: b\r\nC: d\r\n\r\n";
        assert!(Header::parse(message, &limits(message.len(), 2)).is_ok());
        assert_eq!(
            Header::parse(message, &limits(message.len() - 1, 2)).err(),
            Some(HeaderDefect::TooLong { bytes_max: 13 })
        );
        assert_eq!(
            Header::parse(message, &limits(100, 1)).err(),
            Some(HeaderDefect::TooManyFields { fields_max: 1 })
        );
    }

    #[test]
    fn hostile_headers_end_in_a_defect() {
        let folded_forever = [b"A: b\r\n".as_slice(), &b" c\r\n".repeat(200_000)].concat();
        let megabyte = [b"A: ".as_slice(), &vec![b'x'; 1 << 20], b"\r\n\r\n"].concat();
        let ten_thousand = b"A: b\r\n".repeat(10_000);
        assert!(matches!(parse(&folded_forever), Err(HeaderDefect::TooLong { .. })));
        assert!(matches!(parse(&megabyte), Err(HeaderDefect::TooLong { .. })));
        assert!(matches!(parse(&ten_thousand), Err(HeaderDefect::TooManyFields { .. })));
        assert_eq!(Header::scan(&folded_forever).fields().count(), 1);
        assert_eq!(Header::scan(&ten_thousand).fields().count(), 10_000);
    }

    #[test]
    fn what_is_stored_is_scanned_whatever_it_looks_like() {
        let header = Header::scan(b"no field\nA: b\n c\n\nbody");
        assert_eq!(header.fields().map(|f| f.name()).collect::<Vec<_>>(), ["", "A"]);
        assert_eq!(header.value("a").unwrap(), "b c");
        assert_eq!(header.len(), 18);
    }

    #[test]
    fn debug_output_holds_no_value() {
        let header = parse(b"Subject: secret\r\n\r\n").unwrap();
        assert!(!format!("{header:?} {:?}", header.first("subject")).contains("secret"));
    }

    proptest! {
        #[test]
        fn scanning_gives_every_byte_back(message in proptest::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), Just(b'A'), any::<u8>()], 0..400)) {
            let header = Header::scan(&message);
            let again: Vec<u8> = header.fields().flat_map(|f| f.raw().to_vec()).collect();
            prop_assert_eq!(&again, header.block());
            prop_assert!(header.len() <= message.len());
            for field in header.fields() {
                prop_assert!(!field.value().contains('\n'));
            }
        }

        #[test]
        fn what_is_accepted_reads_the_same_both_ways(message in "([A-Za-z-]{1,8} ?: ?[ -~]{0,20}(\r\n[ \t][ -~]{0,9})?\r\n){0,8}(\r\n[ -~\r\n]{0,30})?") {
            let strict = parse(message.as_bytes()).unwrap();
            let lenient = Header::scan(message.as_bytes());
            prop_assert_eq!(strict.len(), lenient.len());
            prop_assert!(strict.fields().all(|f| !f.name().is_empty()));
        }
    }
}
