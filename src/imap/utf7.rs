//! Modified UTF-7, in which IMAP4rev1 writes folder names (RFC 3501 §5.1.3).

/// Why bytes are not a folder name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the folder name is neither modified UTF-7 nor UTF-8")]
pub(crate) struct NameError;

/// The wire form of a name.
pub(crate) fn encode(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut shifted: Vec<u16> = Vec::new();
    for character in name.chars() {
        if (' '..='~').contains(&character) {
            flush(&mut shifted, &mut out);
            out.push(character as u8);
            if character == '&' {
                out.push(b'-');
            }
        } else {
            let mut units = [0; 2];
            shifted.extend_from_slice(character.encode_utf16(&mut units));
        }
    }
    flush(&mut shifted, &mut out);
    out
}

/// The name of a wire form. A name has one wire form only: another one is refused, since the client would not find again what it made.
/// UTF-8 sent as it is by clients that know no better is taken as UTF-8.
pub(crate) fn decode(wire: &[u8]) -> Result<String, NameError> {
    let name = decode_any(wire)?;
    // RFC 3501 §5.1.3: printable ASCII is never coded, and shifts are not broken up.
    if wire.contains(&b'&') && encode(&name) != wire {
        return Err(NameError);
    }
    Ok(name)
}

fn decode_any(wire: &[u8]) -> Result<String, NameError> {
    let mut name = String::with_capacity(wire.len());
    let mut rest = std::str::from_utf8(wire).map_err(|_| NameError)?;
    if rest.chars().any(|c| c.is_ascii_control()) {
        return Err(NameError);
    }
    while let Some(at) = rest.find('&') {
        name.push_str(&rest[..at]);
        let (coded, after) = rest[at + 1..].split_once('-').ok_or(NameError)?;
        if coded.is_empty() {
            name.push('&');
        } else {
            decode_shifted(coded.as_bytes(), &mut name)?;
        }
        rest = after;
    }
    name.push_str(rest);
    Ok(name)
}

fn flush(units: &mut Vec<u16>, out: &mut Vec<u8>) {
    if units.is_empty() {
        return;
    }
    out.push(b'&');
    let (mut bits, mut held) = (0_u32, 0_u32);
    for unit in units.drain(..) {
        bits = (bits << 16) | u32::from(unit);
        held += 16;
        while held >= 6 {
            held -= 6;
            out.push(ALPHABET[((bits >> held) & 0x3f) as usize]);
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        out.push(ALPHABET[((bits << (6 - held)) & 0x3f) as usize]);
    }
    out.push(b'-');
}

fn decode_shifted(coded: &[u8], name: &mut String) -> Result<(), NameError> {
    let (mut bits, mut held) = (0_u32, 0_u32);
    let mut units = Vec::with_capacity(coded.len());
    for byte in coded {
        let value = ALPHABET.iter().position(|a| a == byte).ok_or(NameError)?;
        bits = (bits << 6) | u32::try_from(value).map_err(|_| NameError)?;
        held += 6;
        if held >= 16 {
            held -= 16;
            units.push(u16::try_from((bits >> held) & 0xffff).map_err(|_| NameError)?);
            bits &= (1 << held) - 1;
        }
    }
    if held >= 6 || bits != 0 {
        return Err(NameError);
    }
    for character in char::decode_utf16(units) {
        let character = character.map_err(|_| NameError)?;
        if character.is_control() {
            return Err(NameError);
        }
        name.push(character);
    }
    Ok(())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_the_standard_read_both_ways() {
        for (name, wire) in [
            ("INBOX", "INBOX"),
            ("Éléments envoyés", "&AMk-l&AOk-ments envoy&AOk-s"),
            ("R&D", "R&-D"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("😀", "&2D3eAA-"),
        ] {
            assert_eq!(String::from_utf8(encode(name)).unwrap(), wire);
            assert_eq!(decode(wire.as_bytes()).unwrap(), name);
        }
    }

    #[test]
    fn broken_names_are_refused_and_raw_utf_8_is_understood() {
        for wire in [
            &b"&AOk"[..],
            b"&=-",
            b"&2D0-",
            b"a\0b",
            b"\xff",
            b"&AAo-",
            b"&AGE-",
            b"&AOk-&AOk-",
            b"&AOkAQQ-",
            b"&-&AOk",
        ] {
            assert_eq!(decode(wire), Err(NameError), "{wire:?}");
        }
        assert_eq!(decode("été".as_bytes()).unwrap(), "été");
    }

    proptest! {
        #[test]
        fn any_printable_name_survives_the_wire(name in "\\PC{0,40}") {
            prop_assert_eq!(decode(&encode(&name)), Ok(name));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(wire in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(name) = decode(&wire) {
                prop_assert!(!name.contains('\0'));
                prop_assert!(wire == name.as_bytes() || wire == encode(&name));
            }
        }
    }
}
