//! The base subject of a message: what is left of a subject when marks of replies and forwards are taken off (RFC 5256 §2.1).

/// A base subject, and whether something was taken off that marks a reply or a forward.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BaseSubject {
    pub(crate) text: String,
    pub(crate) is_reply: bool,
}

/// The base subject of a decoded subject.
pub(crate) fn base_subject(subject: &str) -> BaseSubject {
    let line = one_line(subject);
    let mut text = line.as_str();
    let mut is_reply = false;
    loop {
        text = without_trailers(text, &mut is_reply);
        text = without_leaders(text, &mut is_reply);
        // Step 6: `[fwd: … ]` holds a subject of its own.
        match forwarded(text) {
            Some(inside) => (text, is_reply) = (inside, true),
            None => break,
        }
    }
    BaseSubject {
        text: text.to_owned(),
        is_reply,
    }
}

/// Step 1: tabs and line ends are spaces, and several spaces are one.
fn one_line(subject: &str) -> String {
    let mut line = String::with_capacity(subject.len().min(SUBJECT_BYTES_MAX));
    for character in subject.chars() {
        let character = if matches!(character, '\t' | '\r' | '\n') {
            ' '
        } else {
            character
        };
        if character == ' ' && line.ends_with(' ') {
            continue;
        }
        if line.len() + character.len_utf8() > SUBJECT_BYTES_MAX {
            break;
        }
        line.push(character);
    }
    line
}

/// Step 2: `subj-trailer`, again and again.
fn without_trailers<'a>(mut text: &'a str, is_reply: &mut bool) -> &'a str {
    loop {
        text = text.trim_end_matches(' ');
        match strip_suffix_of_any_case(text, "(fwd)") {
            Some(rest) => (text, *is_reply) = (rest, true),
            None => return text,
        }
    }
}

/// Steps 3 to 5: `subj-leader`, and `subj-blob` unless nothing would be left, again and again.
fn without_leaders<'a>(mut text: &'a str, is_reply: &mut bool) -> &'a str {
    loop {
        if let Some(rest) = leader(text, is_reply) {
            text = rest;
        } else if let Some(rest) = blob(text).filter(|rest| !rest.is_empty()) {
            text = rest;
        } else {
            return text;
        }
    }
}

/// What follows one `subj-leader`.
fn leader<'a>(text: &'a str, is_reply: &mut bool) -> Option<&'a str> {
    if let Some(rest) = text.strip_prefix(' ') {
        return Some(rest);
    }
    let mut after_blobs = text;
    while let Some(rest) = blob(after_blobs) {
        after_blobs = rest;
    }
    let rest = refwd(after_blobs)?;
    *is_reply = true;
    Some(rest)
}

/// What follows a `subj-refwd`: `re`, `fw` or `fwd`, perhaps a blob, and a colon.
fn refwd(text: &str) -> Option<&str> {
    let after = ["fwd", "re", "fw"]
        .iter()
        .find_map(|word| strip_prefix_of_any_case(text, word))?
        .trim_start_matches(' ');
    blob(after).unwrap_or(after).strip_prefix(':')
}

/// What follows a `subj-blob`: brackets without brackets inside, and white space.
fn blob(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('[')?;
    let end = inside.find(['[', ']'])?;
    let rest = inside[end..].strip_prefix(']')?;
    Some(rest.trim_start_matches(' '))
}

/// What is inside a `subj-fwd`.
fn forwarded(text: &str) -> Option<&str> {
    strip_prefix_of_any_case(text, "[fwd:")?.strip_suffix(']')
}

fn strip_prefix_of_any_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn strip_suffix_of_any_case<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let (rest, end) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(rest)
}

/// More of a subject is not looked at: taking off its marks costs the square of its length at worst.
const SUBJECT_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn marks_of_replies_and_forwards_are_taken_off() {
        for (subject, base, is_reply) in [
            ("bilan", "bilan", false),
            ("Re: bilan", "bilan", true),
            ("RE : bilan", "bilan", true),
            ("re: Fwd: FW: re:bilan", "bilan", true),
            ("  \t bilan   de  sortie ", "bilan de sortie", false),
            ("bilan (fwd) (FWD)  ", "bilan", true),
            ("[liste] bilan", "bilan", false),
            ("[liste] Re: [liste] bilan", "bilan", true),
            ("Re[2]: bilan", "bilan", true),
            ("Re [2] : bilan", "bilan", true),
            ("Re [2]: bilan", "bilan", true),
            ("[fwd: bilan]", "bilan", true),
            ("[FWD: Re: [x] bilan (fwd)]", "bilan", true),
            ("[liste]", "[liste]", false),
            ("[a][b]", "[b]", false),
            ("Re: [liste]", "[liste]", true),
            ("Re:", "", true),
            ("", "", false),
            ("   ", "", false),
            ("rebelote: x", "rebelote: x", false),
            ("[un [deux] trois", "[un [deux] trois", false),
            ("Réf: x", "Réf: x", false),
        ] {
            let found = base_subject(subject);
            assert_eq!((found.text.as_str(), found.is_reply), (base, is_reply), "{subject:?}");
        }
    }

    #[test]
    fn hostile_subjects_end_soon() {
        for piece in ["[a]", "re:", "[fwd:", "(fwd)", " ", "[", "re[a]"] {
            base_subject(&piece.repeat(100_000));
        }
    }

    proptest! {
        #[test]
        fn the_base_of_a_base_is_itself(subject in r"(re|fwd?|\[|\]|:|\(fwd\)|[ a-zé]|\[fwd:){0,12}") {
            let base = base_subject(&subject).text;
            let again = base_subject(&base);
            prop_assert_eq!(again.text, base);
            prop_assert!(!again.is_reply);
        }
    }
}
