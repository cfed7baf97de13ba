//! Choices that a seed repeats.

/// A small generator (`SplitMix64`): the same seed gives the same choices on every machine. Not for secrets.
#[derive(Clone, Debug)]
pub(super) struct Dice {
    state: u64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Dice of their own for one part of the work, so that parts do not disturb each other's choices.
    pub(super) fn part(seed: u64, number: u64) -> Self {
        let mut dice = Self::new(seed ^ number.wrapping_mul(0xD1B5_4A32_D192_ED03));
        dice.next();
        dice
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end`, which is not reached; 0 for an empty range.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    /// From `low` to `high`, both possible.
    pub(super) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True so many times of a hundred.
    pub(super) fn percent(&mut self, of_hundred: usize) -> bool {
        self.below(100) < of_hundred
    }

    /// Letters, digits and line ends: text that nothing on the way has to change.
    pub(super) fn text(&mut self, length: usize) -> Vec<u8> {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz012345";
        let mut text = Vec::with_capacity(length + 2);
        while text.len() + 2 < length {
            // The last line end needs room too.
            if text.len() % LINE == LINE - 2 && text.len() + 4 <= length {
                text.extend_from_slice(b"\r\n");
            } else {
                let letter = LETTERS.get(self.below(LETTERS.len()));
                text.push(letter.copied().unwrap_or(b'x'));
            }
        }
        text.extend_from_slice(b"\r\n");
        text
    }
}

/// Bytes of a line, its end included.
const LINE: usize = 78;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_choices_and_parts_differ() {
        let rolls = |mut dice: Dice| (0..20).map(|_| dice.below(1000)).collect::<Vec<_>>();
        assert_eq!(rolls(Dice::new(7)), rolls(Dice::new(7)));
        assert_ne!(rolls(Dice::part(7, 1)), rolls(Dice::part(7, 2)));
        assert!(rolls(Dice::new(1)).iter().all(|roll| *roll < 1000));
    }

    #[test]
    fn text_has_its_length_and_lines_that_smtp_takes() {
        for length in [2, 3, 77, 78, 79, 1000, 20_000] {
            let text = Dice::new(3).text(length);
            assert_eq!(text.len(), length);
            assert!(text.ends_with(b"\r\n"));
            let lines = String::from_utf8(text).unwrap();
            assert!(
                lines
                    .split("\r\n")
                    .all(|line| line.len() <= 80 && !line.contains(['\r', '\n']))
            );
        }
    }
}
