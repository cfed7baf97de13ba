//! The name of a session or of a delivery attempt, as replies, logs and the journal carry it.

use std::fmt;

use aws_lc_rs::rand;

/// Ten characters that a person can read out on the telephone (Crockford's base 32: no I, L, O, U); 50 random bits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(String);

impl SessionId {
    /// A new name.
    pub fn new() -> Self {
        let mut bytes = [0_u8; LENGTH];
        if rand::fill(&mut bytes).is_err() {
            // The name only has to be findable; without randomness the session still goes on.
            tracing::warn!("the system gave no random bytes: session ids repeat");
        }
        Self(
            bytes
                .iter()
                .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
                .collect(),
        )
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for SessionId {
    fn default() -> Self {
        Self::new()
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

const LENGTH: usize = 10;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
