//! The Luhn check that FINESS, RPPS, SIREN and SIRET share.

/// Whether the digits pass Luhn: from the right, every second digit doubled (less 9 when above 9), the sum a multiple of 10.
pub(super) fn passes(digits: impl DoubleEndedIterator<Item = u8>) -> bool {
    let sum: u32 = digits
        .rev()
        .enumerate()
        .map(
            |(place, digit)| match u32::from(digit) * if place % 2 == 1 { 2 } else { 1 } {
                doubled @ 10.. => doubled - 9,
                value => value,
            },
        )
        .sum();
    sum.is_multiple_of(10)
}

/// The value of an ASCII digit; `2A` and `2B` (Corsica) count their letter as 1 and 2, an inference that real numbers confirm.
pub(super) fn value(byte: u8) -> u8 {
    match byte {
        b'A' => 1,
        b'B' => 2,
        digit => digit.wrapping_sub(b'0'),
    }
}
