//! Lines of a message's content: nearly all say nothing about its parts, so they are passed over together.

use std::sync::LazyLock;

use memchr::{memmem, memrchr};

/// Length of the whole lines at the front of which none begins with two hyphens, so that none separates parts (RFC 2046 §5.1.1), in bytes.
/// `bytes` begin where a line does.
pub(crate) fn without_hyphens(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"--") {
        return 0;
    }
    let end = SEPARATOR.find(bytes).or_else(|| memrchr(b'\n', bytes));
    end.map_or(0, |feed| feed + 1)
}

/// Made once, not for each piece of each message.
static SEPARATOR: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\n--"));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_end_before_two_hyphens_and_before_what_is_not_complete() {
        for (bytes, front) in [
            ("", ""),
            ("--b\r\n", ""),
            ("-", ""),
            ("a", ""),
            ("a\r\n--b", "a\r\n"),
            ("a\r\n-", "a\r\n"),
            ("a--\r\n-b\n\r\n--c\r\n--d", "a--\r\n-b\n\r\n"),
            ("a\r\nb\r\nc--", "a\r\nb\r\n"),
        ] {
            assert_eq!(&bytes[..without_hyphens(bytes.as_bytes())], front, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_passed_over_is_what_a_look_at_each_line_passes_over(text in "[-ab\r\n]{0,40}") {
            let lines = text.split_inclusive('\n');
            let passed = lines.take_while(|line| line.ends_with('\n') && !line.starts_with("--"));
            prop_assert_eq!(without_hyphens(text.as_bytes()), passed.map(str::len).sum::<usize>());
        }
    }
}
