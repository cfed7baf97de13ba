//! The name of a session or of a delivery attempt, as replies, logs and the journal carry it.

use std::fmt;

use aws_lc_rs::rand;
use jiff::Timestamp;

/// Twelve characters that a person can read out on the telephone (Crockford's base 32: no I, L, O, U): six of the second it began in,
/// then 30 random bits. Names of one time lie together in the journal's index, so that a commit writes one page of it, not one for
/// each session.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(String);

impl SessionId {
    /// Characters of every name.
    pub const LENGTH: usize = TIME + RANDOM;

    /// A new name, for what begins at `now`.
    pub fn new(now: Timestamp) -> Self {
        let mut bytes = [0_u8; Self::LENGTH];
        let (time, random) = bytes.split_at_mut(TIME);
        // It begins again after 34 years.
        let mut seconds = now.as_second();
        for byte in time.iter_mut().rev() {
            *byte = ALPHABET[usize::try_from(seconds.rem_euclid(32)).unwrap_or_default()];
            seconds = seconds.div_euclid(32);
        }
        if rand::fill(random).is_err() {
            // The name only has to be findable; without randomness the session still goes on.
            tracing::warn!("the system gave no random bytes: session ids repeat");
        }
        for byte in random {
            *byte = ALPHABET[usize::from(*byte % 32)];
        }
        Self(bytes.iter().copied().map(char::from).collect())
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Characters that tell the time, and random ones.
const TIME: usize = 6;
const RANDOM: usize = 6;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_time_and_differ_within_a_second() {
        let at = |second| SessionId::new(Timestamp::from_second(second).unwrap());
        assert!(at(1_795_000_000).as_str() < at(1_795_000_001).as_str());
        assert!(at(1_795_000_031).as_str() < at(1_795_000_032).as_str());
        let (one, other) = (at(1_795_000_000), at(1_795_000_000));
        assert_eq!(one.as_str()[..TIME], other.as_str()[..TIME]);
        assert_ne!(one, other);
        assert!(one.as_str().bytes().all(|byte| ALPHABET.contains(&byte)));
        assert_eq!(one.as_str().len(), SessionId::LENGTH);
        assert_eq!(&at(-1).as_str()[..TIME], "ZZZZZZ");
    }
}
