//! What a connection writes to its log, gathered: SQLite writes each page of a commit in two pieces, one behind the other, and asks for a sync
//! when all of them are written. The system gets them as one piece.

/// A run of bytes that SQLite has written and the system does not have yet.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// Where it begins in the file.
    start: u64,
    bytes: Vec<u8>,
}

impl Run {
    /// Whether these bytes would go on where it ends, and have room in it.
    pub(crate) fn is_followed_by(&self, offset: u64, length: usize) -> bool {
        self.bytes.is_empty() || (offset == self.end() && self.bytes.len() + length <= RUN_BYTES_MAX)
    }

    /// Makes it longer. The bytes must follow.
    pub(crate) fn push(&mut self, offset: u64, bytes: &[u8]) {
        if self.bytes.is_empty() {
            self.start = offset;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        // One large page must not keep its room for good.
        self.bytes.shrink_to(RUN_BYTES_MAX);
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it holds frames of a commit. The header of a log that starts over is none: it is to be on the disk before anything behind it.
    pub(crate) fn is_frames(&self) -> bool {
        !self.bytes.is_empty() && self.start > 0
    }

    /// Whether any of this piece of the file is in it.
    pub(crate) fn overlaps(&self, offset: u64, length: u64) -> bool {
        !self.bytes.is_empty() && offset < self.end() && self.start < offset.saturating_add(length)
    }

    fn end(&self) -> u64 {
        self.start
            .saturating_add(u64::try_from(self.bytes.len()).unwrap_or(u64::MAX))
    }
}

/// A commit of a dozen messages of 10 KB fits in one run; a larger one takes several.
const RUN_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_follows_directly_makes_a_run_longer() {
        let mut run = Run::default();
        assert!(run.is_followed_by(32, 24) && !run.is_frames());
        run.push(32, &[1; 24]);
        assert!(run.is_frames());
        assert!(run.is_followed_by(56, 8192));
        for elsewhere in [0, 32, 55, 57] {
            assert!(!run.is_followed_by(elsewhere, 8192), "{elsewhere}");
        }
        run.push(56, &[2; 8192]);
        assert_eq!((run.start(), run.bytes().len()), (32, 8216));
        assert!(run.overlaps(0, 33) && run.overlaps(8247, 1) && run.overlaps(100, 8) && run.overlaps(0, 9000));
        assert!(!run.overlaps(0, 32) && !run.overlaps(8248, 100));
        run.clear();
        assert!(run.is_followed_by(7, 1) && !run.is_frames() && !run.overlaps(0, u64::MAX));
    }

    #[test]
    fn a_run_has_a_bound_and_one_large_piece_is_a_run_of_its_own() {
        let mut run = Run::default();
        run.push(32, &vec![0; RUN_BYTES_MAX - 10]);
        let end = 32 + u64::try_from(RUN_BYTES_MAX).unwrap() - 10;
        assert!(run.is_followed_by(end, 10) && !run.is_followed_by(end, 11));
        run.clear();
        assert!(run.is_followed_by(end, 2 * RUN_BYTES_MAX));
        run.push(end, &vec![0; 2 * RUN_BYTES_MAX]);
        run.clear();
        assert!(run.bytes.capacity() <= RUN_BYTES_MAX);
    }

    #[test]
    fn the_header_of_a_log_is_no_frame() {
        let mut run = Run::default();
        run.push(0, &[0; 32]);
        assert!(!run.is_frames());
    }
}
