//! What a server says, taken apart: responses, and the values in them. Knows nothing of the code under test.

/// One response line with its literals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// As it came, for the transcript.
    pub(crate) raw: Vec<u8>,
    /// The parts of it.
    pub(crate) values: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// An atom, with `[…]` and all that is in it.
    Atom(String),
    /// A quoted string or a literal.
    Text(Vec<u8>),
    List(Vec<Self>),
}

impl Value {
    pub(crate) fn atom(&self) -> &str {
        match self {
            Self::Atom(atom) => atom,
            _ => "",
        }
    }

    pub(crate) fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Self::Atom(atom) => atom.clone(),
            Self::List(_) => String::new(),
        }
    }

    pub(crate) fn number(&self) -> Option<u64> {
        self.atom().parse().ok()
    }
}

/// Takes the next whole response off the front.
pub(crate) fn next(input: &mut Vec<u8>) -> Option<Response> {
    let mut end = 0;
    loop {
        let line = input[end..].windows(2).position(|pair| pair == b"\r\n")?;
        end += line + 2;
        let Some(length) = literal(&input[..end - 2]) else {
            break;
        };
        end += length;
        if input.len() < end {
            return None;
        }
    }
    let raw: Vec<u8> = input.drain(..end).collect();
    let values = Parser { input: &raw, at: 0 }.values();
    Some(Response { raw, values })
}

/// Length of the literal that a line announces.
fn literal(line: &[u8]) -> Option<usize> {
    let open = line.iter().rposition(|&byte| byte == b'{')?;
    let digits = line[open + 1..].strip_suffix(b"}")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

struct Parser<'a> {
    input: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn values(&mut self) -> Vec<Value> {
        let mut values = Vec::new();
        while let Some(byte) = self.peek() {
            match byte {
                b')' => {
                    self.at += 1;
                    break;
                }
                b' ' | b'\r' | b'\n' => self.at += 1,
                b'(' => {
                    self.at += 1;
                    values.push(Value::List(self.values()));
                }
                b'"' => values.push(self.quoted()),
                b'{' | b'~' if literal_at(&self.input[self.at..]).is_some() => values.push(self.literal()),
                _ => values.push(self.atom()),
            }
        }
        values
    }

    fn quoted(&mut self) -> Value {
        let mut text = Vec::new();
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'"' => break,
                b'\\' => {
                    text.extend(self.peek());
                    self.at += 1;
                }
                other => text.push(other),
            }
        }
        Value::Text(text)
    }

    fn literal(&mut self) -> Value {
        let (skip, length) = literal_at(&self.input[self.at..]).unwrap();
        let start = self.at + skip;
        self.at = start + length;
        Value::Text(self.input[start..self.at].to_vec())
    }

    fn atom(&mut self) -> Value {
        let start = self.at;
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'[' => depth += 1,
                b']' => depth = depth.saturating_sub(1),
                b' ' | b'(' | b')' if depth == 0 => break,
                b'\r' | b'\n' => break,
                _ => {}
            }
            self.at += 1;
        }
        Value::Atom(String::from_utf8_lossy(&self.input[start..self.at]).into_owned())
    }
}

/// Bytes before a literal's content, and its length.
fn literal_at(input: &[u8]) -> Option<(usize, usize)> {
    let end = input.windows(2).position(|pair| pair == b"\r\n")?;
    let head = input[..end].strip_prefix(b"~").unwrap_or(&input[..end]);
    let digits = head.strip_prefix(b"{")?.strip_suffix(b"}")?;
    Some((end + 2, std::str::from_utf8(digits).ok()?.parse().ok()?))
}

/// Numbers of a set like `1:3,7`.
pub(crate) fn numbers(set: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in set.split(',') {
        let (from, to) = part.split_once(':').unwrap_or((part, part));
        let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
        all.extend(from.min(to)..=from.max(to));
    }
    Some(all)
}

#[test]
fn responses_are_taken_apart() {
    let mut input = b"* 2 FETCH (UID 7 FLAGS (\\Seen a) BODY[HEADER.FIELDS (X-ID)] {9}\r\nX-ID: 5\r\n)\r\na OK [COPYUID 1 2:3 4:5] x\r\n* 1".to_vec();
    let first = next(&mut input).unwrap();
    let items = first.values[3].list();
    assert_eq!(items[1].number(), Some(7));
    assert_eq!(items[3].list().len(), 2);
    assert_eq!(items[4].atom(), "BODY[HEADER.FIELDS (X-ID)]");
    assert_eq!(items[5].text(), "X-ID: 5\r\n");
    assert_eq!(next(&mut input).unwrap().values[2].atom(), "[COPYUID 1 2:3 4:5]");
    assert_eq!(next(&mut input), None);
    assert_eq!(numbers("1:3,7"), Some(vec![1, 2, 3, 7]));
}
