//! Bytes read from the peer and not yet understood: a buffer that gives out lines.

use std::fmt;

use memchr::memchr;

/// The buffer. It is only filled when everything complete in it has been used, so it never holds more than one partial line plus
/// one read.
#[derive(Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    /// The line being read is over the limit: what there was of it is gone, its end has not come yet.
    overlong: bool,
}

/// Lines may be passwords or message text: debug output shows only how much there is (invariant 9).
impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({} bytes)", self.rest().len())
    }
}

/// Why a line is not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineFault {
    /// Longer than the limit.
    TooLong,
    /// It holds a CR that no LF follows, or ends with an LF that no CR precedes (RFC 5321 §2.3.8).
    BareLineEnd,
}

impl Input {
    /// The buffer to append to, with room for at least `room_bytes`.
    pub(super) fn buffer(&mut self, room_bytes: usize) -> &mut Vec<u8> {
        self.bytes.drain(..self.start);
        self.start = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES_MAX.max(room_bytes) {
            // An idle connection does not keep the room that a burst of commands needed.
            self.bytes = Vec::with_capacity(room_bytes);
        }
        if self.bytes.capacity() - self.bytes.len() < room_bytes {
            self.bytes.reserve(room_bytes);
        }
        &mut self.bytes
    }

    /// What has not been used yet.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Marks the first bytes of `rest` as used.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.start = self.bytes.len().min(self.start + bytes);
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next line, without its end. `None`: its end has not come yet.
    pub(super) fn next_line(&mut self, line_bytes_max: usize) -> Option<Result<Vec<u8>, LineFault>> {
        let Some(end) = memchr(b'\n', self.rest()) else {
            if self.rest().len() > line_bytes_max {
                self.overlong = true;
            }
            if self.overlong {
                self.consume(self.rest().len());
            }
            return None;
        };
        let overlong = std::mem::take(&mut self.overlong) || end + 1 > line_bytes_max;
        let line = &self.rest()[..end];
        let result = match line.strip_suffix(b"\r") {
            _ if overlong => Err(LineFault::TooLong),
            Some(line) if !line.contains(&b'\r') => Ok(line.to_vec()),
            _ => Err(LineFault::BareLineEnd),
        };
        self.consume(end + 1);
        Some(result)
    }

    /// The next line for a tolerant reader: LF alone ends it too. A line over the limit is a fault as soon as it is.
    pub(super) fn next_line_tolerant(&mut self, line_bytes_max: usize) -> Option<Result<Vec<u8>, LineFault>> {
        let Some(end) = memchr(b'\n', self.rest()) else {
            let long = self.rest().len() > line_bytes_max;
            return long.then_some(Err(LineFault::TooLong));
        };
        if end > line_bytes_max {
            return Some(Err(LineFault::TooLong));
        }
        let line = &self.rest()[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
        self.consume(end + 1);
        Some(Ok(line))
    }
}

/// Room that is kept between a message and the next: allocating it anew for each costs more than it is worth.
const KEPT_BYTES_MAX: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> Input {
        let mut input = Input::default();
        input.buffer(0).extend_from_slice(bytes);
        input
    }

    #[test]
    fn lines_come_out_one_by_one_and_a_partial_one_waits() {
        let mut input = input(b"one\r\ntwo\r\nthr");
        assert_eq!(input.next_line(10), Some(Ok(b"one".to_vec())));
        assert_eq!(input.next_line(10), Some(Ok(b"two".to_vec())));
        assert_eq!(input.next_line(10), None);
        input.buffer(0).extend_from_slice(b"ee\r\n");
        assert_eq!(input.next_line(10), Some(Ok(b"three".to_vec())));
        assert_eq!(input.rest(), b"");
    }

    #[test]
    fn a_line_over_the_limit_is_dropped_as_it_comes_and_reported_once() {
        let mut input = input(b"0123456789abcdef");
        assert_eq!(input.next_line(10), None);
        assert_eq!(input.rest(), b"");
        input.buffer(0).extend_from_slice(b"more\r\nnext\r\n");
        assert_eq!(input.next_line(10), Some(Err(LineFault::TooLong)));
        assert_eq!(input.next_line(10), Some(Ok(b"next".to_vec())));
    }

    #[test]
    fn bare_line_ends_are_faults_for_a_server_and_tolerated_from_one() {
        for bytes in [&b"a\n"[..], b"a\rb\r\n", b"a\r\r\n"] {
            assert_eq!(input(bytes).next_line(10), Some(Err(LineFault::BareLineEnd)));
        }
        assert_eq!(input(b"a\n").next_line_tolerant(10), Some(Ok(b"a".to_vec())));
    }
}
