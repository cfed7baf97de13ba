//! Case and form of characters made one, as `i;unicode-casemap` does (RFC 5051 §2): capitals, then decomposed.

use unicode_normalization::UnicodeNormalization;

/// Adds the folded form of a text. Folding what is folded changes nothing, and the folded form of a part of a text, cut between letters, is part of
/// that of the whole.
pub(crate) fn fold(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while !rest.is_empty() {
        let plain = rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
        out.extend(rest.as_bytes()[..plain].iter().map(u8::to_ascii_uppercase));
        rest = &rest[plain..];
        let other = rest.bytes().position(|byte| byte.is_ascii()).unwrap_or(rest.len());
        fold_beyond_ascii(&rest[..other], out);
        rest = &rest[other..];
    }
}

/// The folded form of a text.
pub(crate) fn folded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    fold(text, &mut out);
    out
}

/// The same as text.
pub(crate) fn folded_text(text: &str) -> String {
    // It is made of whole characters.
    String::from_utf8(folded(text)).unwrap_or_default()
}

fn fold_beyond_ascii(text: &str, out: &mut Vec<u8>) {
    // Decomposed first, so that a ligature's letters become capitals too; and after, since some capitals can be decomposed.
    for character in text.nfkd().map(capital).nfkd() {
        let mut bytes = [0; 4];
        out.extend_from_slice(character.encode_utf8(&mut bytes).as_bytes());
    }
}

/// The one capital of a letter; a letter with several, or none, stays.
fn capital(letter: char) -> char {
    let mut capitals = letter.to_uppercase();
    match (capitals.next(), capitals.next()) {
        (Some(capital), None) => capital,
        _ => letter,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        String::from_utf8(folded(text)).unwrap()
    }

    #[test]
    fn case_and_form_make_no_difference() {
        assert_eq!(shown("Résumé"), shown("RE\u{301}SUME\u{301}"));
        assert_eq!(shown("ς"), shown("Σ"));
        assert_eq!(shown("\u{fb01}n"), "FIN");
        assert_eq!(shown("a\u{a0}b"), "A B", "a no-break space is a space");
        assert_ne!(shown("é"), shown("e"));
        assert_eq!(shown("ß"), "ß");
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(text in ".{0,40}") {
            let once = shown(&text);
            prop_assert_eq!(shown(&once), once);
        }

        #[test]
        fn any_case_is_found(text in "[a-zàâçéèêëîïôûùüœæ ]{1,20}") {
            prop_assert_eq!(shown(&text.to_uppercase()), shown(&text));
        }
    }
}
