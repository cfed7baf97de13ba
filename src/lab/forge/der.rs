//! DER by hand: what a library refuses to write wrongly. ITU-T X.690 §8 and §10.

/// Tag, length, content.
pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(length(content.len()));
    bytes.extend_from_slice(content);
    bytes
}

fn length(octets: usize) -> Vec<u8> {
    if let Ok(short @ 0..=0x7f) = u8::try_from(octets) {
        return vec![short];
    }
    let bytes = octets.to_be_bytes();
    let significant: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
    // A length fits in eight octets, so the count fits in seven bits.
    let mut out = vec![0x80 | u8::try_from(significant.len()).unwrap_or(0)];
    out.extend(significant);
    out
}

pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(SEQUENCE, &parts.concat())
}

/// SET OF: DER wants its members in order.
pub(super) fn set(mut members: Vec<Vec<u8>>) -> Vec<u8> {
    members.sort();
    tlv(SET, &members.concat())
}

/// A number that is not negative, from its big-endian octets.
pub(super) fn unsigned(octets: &[u8]) -> Vec<u8> {
    let mut content: Vec<u8> = octets.iter().copied().skip_while(|byte| *byte == 0).collect();
    if content.first().is_none_or(|first| first & 0x80 != 0) {
        content.insert(0, 0);
    }
    tlv(INTEGER, &content)
}

pub(super) fn octets(content: &[u8]) -> Vec<u8> {
    tlv(OCTET_STRING, content)
}

/// A bit string without unused bits.
pub(super) fn bits(content: &[u8]) -> Vec<u8> {
    tlv(BIT_STRING, &[&[0], content].concat())
}

pub(super) fn boolean(value: bool) -> Vec<u8> {
    tlv(BOOLEAN, &[if value { 0xff } else { 0 }])
}

pub(super) fn null() -> Vec<u8> {
    tlv(NULL, &[])
}

/// `[number]`, constructed.
pub(super) fn context(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(0xa0 | number, content)
}

/// `[number]` IMPLICIT of a primitive type.
pub(super) fn context_primitive(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(0x80 | number, content)
}

pub(super) fn oid(arcs: &[u64]) -> Vec<u8> {
    let mut content = Vec::new();
    let first = arcs.first().copied().unwrap_or(0) * 40 + arcs.get(1).copied().unwrap_or(0);
    for arc in std::iter::once(first).chain(arcs.iter().skip(2).copied()) {
        let mut groups = vec![(arc & 0x7f) as u8];
        let mut rest = arc >> 7;
        while rest > 0 {
            groups.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        content.extend(groups.iter().rev());
    }
    tlv(OBJECT_IDENTIFIER, &content)
}

/// Reads what this module, or a library, wrote: PKCS#8 keys and our own certificates.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next element: tag, content, and all its octets.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut size = usize::from(first);
        if first & 0x80 != 0 {
            let count = usize::from(first & 0x7f);
            let octets = rest
                .get(..count)
                .filter(|octets| !octets.is_empty() && octets.len() <= 4)?;
            size = octets.iter().fold(0, |size, octet| size << 8 | usize::from(*octet));
            rest = &rest[count..];
        }
        let content = rest.get(..size)?;
        let after = &rest[size..];
        let whole = &self.0[..self.0.len() - after.len()];
        self.0 = after;
        Some((tag, content, whole))
    }

    /// The content of the next element, if it has this tag.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let (found, content, _) = ahead.next()?;
        (found == tag).then(|| {
            *self = ahead;
            content
        })
    }

    /// All octets of the next element.
    pub(super) fn whole(&mut self) -> Option<&'a [u8]> {
        self.next().map(|(_, _, whole)| whole)
    }
}

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const T61_STRING: u8 = 0x14;
pub(super) const BMP_STRING: u8 = 0x1e;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read_again_whatever_its_size() {
        for size in [0, 1, 127, 128, 255, 256, 65_536] {
            let written = [octets(&vec![7; size]), null()].concat();
            let mut reader = Reader::new(&written);
            assert_eq!(reader.take(INTEGER), None);
            assert_eq!(reader.take(OCTET_STRING).unwrap().len(), size);
            assert_eq!(reader.whole(), Some(&null()[..]));
            assert!(reader.next().is_none());
        }
    }

    #[test]
    fn numbers_and_object_identifiers_are_those_of_the_standard() {
        assert_eq!(unsigned(&[0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(unsigned(&[]), [2, 1, 0]);
        // RFC 8017 appendix C: rsaEncryption.
        assert_eq!(
            oid(&[1, 2, 840, 113_549, 1, 1, 1]),
            [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]
        );
    }
}
