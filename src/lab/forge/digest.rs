//! Digests, the broken ones included.

use aws_lc_rs::digest;

use super::der;

/// A digest function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Digest {
    pub(super) fn of(self, message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Md5 => return md5(message).to_vec(),
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, message).as_ref().to_vec()
    }

    /// `DigestInfo` of RFC 8017 §9.2.
    pub(super) fn info(self, message: &[u8]) -> Vec<u8> {
        let arcs: &[u64] = match self {
            Self::Md5 => &[1, 2, 840, 113_549, 2, 5],
            Self::Sha1 => &[1, 3, 14, 3, 2, 26],
            Self::Sha256 => &[2, 16, 840, 1, 101, 3, 4, 2, 1],
            Self::Sha384 => &[2, 16, 840, 1, 101, 3, 4, 2, 2],
            Self::Sha512 => &[2, 16, 840, 1, 101, 3, 4, 2, 3],
        };
        let algorithm = der::sequence(&[&der::oid(arcs), &der::null()]);
        der::sequence(&[&algorithm, &der::octets(&self.of(message))])
    }
}

/// RFC 1321. No library of ours has it, rightly.
fn md5(message: &[u8]) -> [u8; 16] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((message.len() as u64).wrapping_mul(8).to_le_bytes());
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded.chunks_exact(64) {
        md5_block(&mut state, block);
    }
    let mut out = [0; 16];
    for (place, word) in out.chunks_exact_mut(4).zip(state) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    out
}

fn md5_block(state: &mut [u32; 4], block: &[u8]) {
    let mut words = [0_u32; 16];
    for (word, octets) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = octets.iter().rev().fold(0, |word, octet| word << 8 | u32::from(*octet));
    }
    let [mut a, mut b, mut c, mut d] = *state;
    for step in 0..64 {
        let (mixed, word) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), (5 * step + 1) % 16),
            2 => (b ^ c ^ d, (3 * step + 5) % 16),
            _ => (c ^ (b | !d), (7 * step) % 16),
        };
        let sum = a.wrapping_add(mixed).wrapping_add(sine(step)).wrapping_add(words[word]);
        (a, d, c, b) = (
            d,
            c,
            b,
            b.wrapping_add(sum.rotate_left(MD5_SHIFTS[step / 16][step % 4])),
        );
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(add);
    }
}

/// RFC 1321 §3.4: the integer part of 4294967296 times the sine of the step, from 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the integer part of a number between 0 and 2^32 is what the algorithm asks for"
)]
fn sine(step: usize) -> u32 {
    (((step + 1) as f64).sin().abs() * 4_294_967_296.0) as u32
}

const MD5_SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        data_encoding::HEXLOWER.encode(bytes)
    }

    #[test]
    fn md5_is_the_one_of_its_own_test_suite() {
        // RFC 1321 §A.5.
        assert_eq!(hex(&Digest::Md5.of(b"")), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(
            hex(&Digest::Md5.of(b"message digest")),
            "f96b697d7cb7938d525a2f31aaf161d0"
        );
        let long = "1234567890".repeat(8);
        assert_eq!(
            hex(&Digest::Md5.of(long.as_bytes())),
            "57edf4a22be3c955ac49da2e2107b67a"
        );
    }
}
