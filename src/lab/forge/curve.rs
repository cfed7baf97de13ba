//! ECDSA on curves written out as numbers, those no TLS stack takes included. As [`super::rsa`]: for what must be refused, never for use.

use num_bigint::BigUint;

use super::der::{self, Reader};
use super::digest::Digest;
use super::{ForgeError, random};

/// y² = x³ + ax + b modulo p, with a base point of order n (SEC 2).
pub(super) struct Curve {
    pub(super) oid: &'static [u64],
    octets: usize,
    p: &'static str,
    a: &'static str,
    n: &'static str,
    base: (&'static str, &'static str),
}

/// A key pair.
#[derive(Clone)]
pub(super) struct CurveKey {
    curve: &'static Curve,
    d: BigUint,
    public: (BigUint, BigUint),
}

/// A point; none is the one at infinity.
type Point = Option<(BigUint, BigUint)>;

impl CurveKey {
    /// A new key.
    pub(super) fn generate(curve: &'static Curve) -> Result<Self, ForgeError> {
        let mut octets = vec![0; curve.octets + 8];
        random(&mut octets)?;
        // Eight octets more than the order has: no bias worth a thought.
        let n = number(curve.n);
        let d = BigUint::from_bytes_be(&octets) % (n - 1_u8) + 1_u8;
        Self::of(curve, d).ok_or(ForgeError::Key)
    }

    fn of(curve: &'static Curve, d: BigUint) -> Option<Self> {
        let public = curve.multiply(curve.base_point(), &d)?;
        Some(Self { curve, d, public })
    }

    /// From PKCS#8's algorithm (its content) and key field (RFC 5915 §3).
    pub(super) fn read(algorithm: &[u8], private: &[u8]) -> Option<Self> {
        let curve = CURVES
            .into_iter()
            .find(|curve| algorithm.ends_with(&der::oid(curve.oid)))?;
        let mut fields = Reader::new(Reader::new(private).take(der::SEQUENCE)?);
        fields.take(der::INTEGER)?;
        Self::of(curve, BigUint::from_bytes_be(fields.take(der::OCTET_STRING)?))
    }

    /// RFC 5915 §3, with the public key, which some readers want.
    pub(super) fn private_der(&self) -> Vec<u8> {
        let public = der::context(1, &der::bits(&self.point()));
        der::sequence(&[&der::unsigned(&[1]), &der::octets(&self.fixed(&self.d)), &public])
    }

    pub(super) fn curve(&self) -> &'static Curve {
        self.curve
    }

    /// The public point, uncompressed (SEC 1 §2.3.3).
    pub(super) fn point(&self) -> Vec<u8> {
        [vec![4], self.fixed(&self.public.0), self.fixed(&self.public.1)].concat()
    }

    fn fixed(&self, value: &BigUint) -> Vec<u8> {
        let octets = value.to_bytes_be();
        [vec![0; self.curve.octets.saturating_sub(octets.len())], octets].concat()
    }

    /// SEC 1 §4.1.3, as `Ecdsa-Sig-Value` of RFC 3279 §2.2.3.
    pub(super) fn sign(&self, digest: Digest, message: &[u8]) -> Result<Vec<u8>, ForgeError> {
        let n = number(self.curve.n);
        let hashed = digest.of(message);
        let excess = (hashed.len() as u64 * 8).saturating_sub(n.bits());
        let z = BigUint::from_bytes_be(&hashed) >> excess;
        for _ in 0..TRIES_MAX {
            let nonce = Self::generate(self.curve)?;
            let r = &nonce.public.0 % &n;
            let inverse = nonce.d.modinv(&n).ok_or(ForgeError::Key)?;
            let s = (inverse * (&z + &r * &self.d)) % &n;
            if r != BigUint::ZERO && s != BigUint::ZERO {
                return Ok(der::sequence(&[
                    &der::unsigned(&r.to_bytes_be()),
                    &der::unsigned(&s.to_bytes_be()),
                ]));
            }
        }
        Err(ForgeError::Key)
    }
}

impl Curve {
    fn base_point(&self) -> Point {
        Some((number(self.base.0), number(self.base.1)))
    }

    fn multiply(&self, point: Point, by: &BigUint) -> Point {
        let (p, a) = (number(self.p), number(self.a));
        let mut sum = None;
        for bit in (0..by.bits()).rev() {
            sum = add(&sum.clone(), &sum, &p, &a);
            if by.bit(bit) {
                sum = add(&sum, &point, &p, &a);
            }
        }
        sum
    }
}

/// Affine addition: slow and plain.
fn add(left: &Point, right: &Point, p: &BigUint, a: &BigUint) -> Point {
    let (Some((x1, y1)), Some((x2, y2))) = (left, right) else {
        return left.clone().or_else(|| right.clone());
    };
    let slope = if x1 == x2 {
        if (y1 + y2) % p == BigUint::ZERO {
            return None;
        }
        (x1 * x1 * 3_u8 + a) * (y1 * 2_u8).modinv(p)?
    } else {
        let run = (x2 + p - x1) % p;
        (y2 + p - y1) * run.modinv(p)?
    } % p;
    let x3 = (&slope * &slope + p * 2_u8 - x1 - x2) % p;
    let y3 = (slope * (x1 + p - &x3) + p - y1) % p;
    Some((x3, y3))
}

/// The constants below are hexadecimal, so this never fails; zero would make every use of it an error.
fn number(hex: &str) -> BigUint {
    BigUint::parse_bytes(hex.as_bytes(), 16).unwrap_or_default()
}

pub(super) static P224: Curve = Curve {
    oid: &[1, 3, 132, 0, 33],
    octets: 28,
    p: "ffffffffffffffffffffffffffffffff000000000000000000000001",
    a: "fffffffffffffffffffffffffffffffefffffffffffffffffffffffe",
    n: "ffffffffffffffffffffffffffff16a2e0b8f03e13dd29455c5c2a3d",
    base: (
        "b70e0cbd6bb4bf7f321390b94a03c1d356c21122343280d6115c1d21",
        "bd376388b5f723fb4c22dfe6cd4375a05a07476444d5819985007e34",
    ),
};
pub(super) static P256: Curve = Curve {
    oid: &[1, 2, 840, 10_045, 3, 1, 7],
    octets: 32,
    p: "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
    a: "ffffffff00000001000000000000000000000000fffffffffffffffffffffffc",
    n: "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    base: (
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    ),
};
pub(super) static P384: Curve = Curve {
    oid: &[1, 3, 132, 0, 34],
    octets: 48,
    p: "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
    a: "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000fffffffc",
    n: "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    base: (
        "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
        "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
    ),
};
pub(super) static P521: Curve = Curve {
    oid: &[1, 3, 132, 0, 35],
    octets: 66,
    p: "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    a: "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffc",
    n: "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
    base: (
        "00c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66",
        "011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650",
    ),
};
pub(super) static K256: Curve = Curve {
    oid: &[1, 3, 132, 0, 10],
    octets: 32,
    p: "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f",
    a: "0",
    n: "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
    base: (
        "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8",
    ),
};
static CURVES: [&Curve; 5] = [&P224, &P256, &P384, &P521, &K256];
const TRIES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P521_SHA512_ASN1, UnparsedPublicKey};

    use super::*;

    #[test]
    fn the_order_of_every_base_point_is_the_one_written_down() {
        for curve in CURVES {
            assert_eq!(
                curve.multiply(curve.base_point(), &number(curve.n)),
                None,
                "{:?}",
                curve.oid
            );
        }
    }

    #[test]
    fn what_a_library_knows_it_verifies() {
        let key = CurveKey::generate(&P256).unwrap();
        let signature = key.sign(Digest::Sha256, b"message").unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.point());
        public.verify(b"message", &signature).unwrap();
        assert!(public.verify(b"massage", &signature).is_err());

        let key = CurveKey::generate(&P521).unwrap();
        let signature = key.sign(Digest::Sha512, b"message").unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P521_SHA512_ASN1, key.point());
        public.verify(b"message", &signature).unwrap();
    }
}
