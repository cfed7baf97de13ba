//! A list of positions, as it is stored: differences for a few, bits for many.

/// Ascending positions below `count` as bytes.
pub(super) fn encode(positions: &[u32], count: u32) -> Vec<u8> {
    let bits = count.div_ceil(8) as usize;
    let mut out = Vec::with_capacity(positions.len() + 2);
    out.push(DIFFERENCES);
    let mut next = 0;
    for &position in positions {
        number(&mut out, position - next);
        next = position + 1;
        if out.len() > bits {
            return encode_bits(positions, bits);
        }
    }
    out
}

fn encode_bits(positions: &[u32], bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes + 1];
    out[0] = BITS;
    for &position in positions {
        out[1 + (position / 8) as usize] |= 1 << (position % 8);
    }
    out
}

/// The positions again; what is damaged reads as fewer of them or others, all below `count`.
pub(super) fn decode(bytes: &[u8], count: u32, out: &mut Vec<u32>) {
    out.clear();
    match bytes.split_first() {
        Some((&BITS, bits)) => {
            for (at, &byte) in (0_u32..).zip(bits) {
                let mut left = byte;
                while left != 0 {
                    out.push(at * 8 + left.trailing_zeros());
                    left &= left - 1;
                }
            }
            out.retain(|position| *position < count);
        }
        Some((_, mut rest)) => {
            let mut next = 0_u32;
            while let Some(difference) = take(&mut rest) {
                let position = next.saturating_add(difference);
                if position >= count {
                    return;
                }
                out.push(position);
                next = position + 1;
            }
        }
        None => {}
    }
}

/// Seven bits in a byte, the lowest first.
fn number(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(low_byte(value & 0x7F) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

fn low_byte(value: u32) -> u8 {
    value.to_le_bytes()[0]
}

fn take(rest: &mut &[u8]) -> Option<u32> {
    let (mut value, mut shift) = (0_u32, 0);
    loop {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u32::from(byte & 0x7F).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
        shift += 7;
    }
}

const DIFFERENCES: u8 = 0;
const BITS: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], count: u32) -> Vec<u32> {
        let mut out = vec![7];
        decode(bytes, count, &mut out);
        out
    }

    #[test]
    fn many_positions_take_a_bit_each() {
        let all: Vec<u32> = (0..8192).collect();
        let bytes = encode(&all, 8192);
        assert_eq!(bytes.len(), 1025);
        assert_eq!(read(&bytes, 8192), all);
        assert_eq!(encode(&[8191], 8192).len(), 3);
    }

    proptest! {
        #[test]
        fn positions_read_back(set in proptest::collection::btree_set(0_u32..3000, 0..400), more in 0_u32..100) {
            let positions: Vec<u32> = set.into_iter().collect();
            let count = positions.last().map_or(0, |last| last + 1) + more;
            prop_assert_eq!(read(&encode(&positions, count), count), positions);
        }

        #[test]
        fn damage_is_read_as_some_positions(bytes in proptest::collection::vec(any::<u8>(), 0..40), count in 0_u32..5000) {
            let positions = read(&bytes, count);
            prop_assert!(positions.is_sorted() && positions.iter().all(|p| *p < count));
        }
    }
}
