//! RSA with big integers: the sizes, exponents and digests that no library makes any more. For certificates that must be refused;
//! nothing here is constant-time, and nothing here protects anything.

use num_bigint::BigUint;

use super::der::{self, Reader};
use super::digest::Digest;
use super::{ForgeError, random};

/// A key pair.
#[derive(Clone)]
pub(super) struct RsaKey {
    n: BigUint,
    e: BigUint,
    d: BigUint,
    /// p, q, d mod p-1, d mod q-1, 1/q mod p.
    factors: [BigUint; 5],
}

impl RsaKey {
    /// A new key of `bits` bits.
    pub(super) fn generate(bits: usize, exponent: u32) -> Result<Self, ForgeError> {
        let e = BigUint::from(exponent);
        let one = BigUint::from(1_u8);
        // Chance decides whether e divides p-1 (never for 65537, two times in three for 3): the bound only ends a broken generator.
        for _ in 0..TRIES_MAX {
            let (p, q) = (prime(bits / 2)?, prime(bits - bits / 2)?);
            let (p, q) = if p > q { (p, q) } else { (q, p) };
            let phi = (&p - &one) * (&q - &one);
            let (Some(d), Some(inverse)) = (e.modinv(&phi), q.modinv(&p)) else {
                continue;
            };
            let factors = [p.clone(), q.clone(), &d % (&p - &one), &d % (&q - &one), inverse];
            return Ok(Self {
                n: p * q,
                e,
                d,
                factors,
            });
        }
        Err(ForgeError::Key)
    }

    /// From the content of PKCS#8's key field (RFC 8017 appendix A.1.2).
    pub(super) fn read(private: &[u8]) -> Option<Self> {
        let mut fields = Reader::new(Reader::new(private).take(der::SEQUENCE)?);
        fields.take(der::INTEGER)?;
        let mut number = || fields.take(der::INTEGER).map(BigUint::from_bytes_be);
        let (n, e, d) = (number()?, number()?, number()?);
        let factors = [number()?, number()?, number()?, number()?, number()?];
        Some(Self { n, e, d, factors })
    }

    /// RFC 8017 appendix A.1.2.
    pub(super) fn private_der(&self) -> Vec<u8> {
        let mut parts = vec![der::unsigned(&[])];
        let numbers = [&self.n, &self.e, &self.d].into_iter().chain(&self.factors);
        parts.extend(numbers.map(|number| der::unsigned(&number.to_bytes_be())));
        der::tlv(der::SEQUENCE, &parts.concat())
    }

    /// RFC 8017 appendix A.1.1.
    pub(super) fn public_der(&self) -> Vec<u8> {
        der::sequence(&[
            &der::unsigned(&self.n.to_bytes_be()),
            &der::unsigned(&self.e.to_bytes_be()),
        ])
    }

    pub(super) fn bits(&self) -> u64 {
        self.n.bits()
    }

    /// RFC 8017 §8.2.1: RSASSA-PKCS1-v1_5.
    pub(super) fn sign(&self, digest: Digest, message: &[u8]) -> Result<Vec<u8>, ForgeError> {
        let size = usize::try_from(self.n.bits().div_ceil(8)).map_err(|_| ForgeError::Key)?;
        let info = digest.info(message);
        let padding = size.checked_sub(info.len() + 3).filter(|padding| *padding >= 8);
        let padding = padding.ok_or(ForgeError::Key)?;
        let mut block = vec![0, 1];
        block.extend(std::iter::repeat_n(0xff, padding));
        block.push(0);
        block.extend(info);
        let signature = self.power(&BigUint::from_bytes_be(&block)).to_bytes_be();
        Ok([vec![0; size - signature.len()], signature].concat())
    }

    /// RFC 8017 §5.1.2, with the factors: four times quicker than without.
    fn power(&self, m: &BigUint) -> BigUint {
        let [p, q, d_p, d_q, inverse] = &self.factors;
        let (m_p, m_q) = (m.modpow(d_p, p), m.modpow(d_q, q));
        let h = ((m_p + p - (&m_q % p)) * inverse) % p;
        m_q + q * h
    }
}

/// A probable prime whose two highest bits are set, so that a product of two has all its bits.
fn prime(bits: usize) -> Result<BigUint, ForgeError> {
    for _ in 0..CANDIDATES_MAX {
        let mut octets = vec![0; bits.div_ceil(8)];
        random(&mut octets)?;
        let mut candidate = BigUint::from_bytes_be(&octets) % (BigUint::from(1_u8) << bits);
        for bit in [bits - 1, bits - 2, 0] {
            candidate.set_bit(bit as u64, true);
        }
        if is_prime(&candidate)? {
            return Ok(candidate);
        }
    }
    Err(ForgeError::Key)
}

/// Small divisors, then Miller and Rabin's test.
fn is_prime(n: &BigUint) -> Result<bool, ForgeError> {
    let (one, two, zero) = (BigUint::from(1_u8), BigUint::from(2_u8), BigUint::ZERO);
    if (3_u32..SMALL_DIVISOR_MAX).step_by(2).any(|divisor| n % divisor == zero) {
        return Ok(false);
    }
    let below = n - &one;
    let shift = below.trailing_zeros().unwrap_or(0);
    let odd = &below >> shift;
    for _ in 0..ROUNDS {
        let mut octets = [0; 16];
        random(&mut octets)?;
        let mut x = (BigUint::from_bytes_be(&octets) + &two).modpow(&odd, n);
        let mut witness = x != one && x != below;
        for _ in 1..shift {
            x = x.modpow(&two, n);
            witness &= x != below;
        }
        if witness {
            return Ok(false);
        }
    }
    Ok(true)
}

const TRIES_MAX: usize = 200;
/// A number of 1024 bits is prime once in 355 odd ones.
const CANDIDATES_MAX: usize = 20_000;
const SMALL_DIVISOR_MAX: u32 = 2_000;
const ROUNDS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weak_key_signs_what_its_public_half_verifies() {
        for (bits, exponent) in [(512, 65_537), (512, 3)] {
            let key = RsaKey::generate(bits, exponent).unwrap();
            assert_eq!(key.bits(), bits as u64);
            let signature = key.sign(Digest::Sha1, b"message").unwrap();
            let opened = BigUint::from_bytes_be(&signature).modpow(&key.e, &key.n).to_bytes_be();
            assert_eq!(opened[0], 1);
            assert!(opened.ends_with(&Digest::Sha1.info(b"message")));
            let again = RsaKey::read(&key.private_der()).unwrap();
            assert_eq!(again.sign(Digest::Sha1, b"message").unwrap(), signature);
            assert_eq!(again.public_der(), key.public_der());
        }
    }

    #[test]
    fn a_digest_that_does_not_fit_the_key_is_an_error() {
        assert!(RsaKey::generate(512, 3).unwrap().sign(Digest::Sha512, b"").is_err());
    }
}
