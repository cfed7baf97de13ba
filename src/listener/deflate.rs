//! COMPRESS=DEFLATE (RFC 4978): what a connection sends and reads, as raw deflate (RFC 1951) below the protocol and above TLS.
//!
//! What is kept between two moments is bounded: reading keeps the 32 KiB window that the other end may refer to, and input not
//! yet unpacked; writing keeps nothing at rest, because the dictionary (some 300 KiB) is given up with [`Deflate::rest`]. Every write
//! ends with a flush on a byte boundary, so a fresh compressor goes on where the old one stopped.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Both directions of one connection.
pub(super) struct Deflate {
    unpacker: Decompress,
    packer: Option<Compress>,
    /// Read, not unpacked yet.
    pub(super) input: Vec<u8>,
}

impl Deflate {
    /// From the byte on that follows the tagged OK; `input` was read already.
    pub(super) fn new(input: Vec<u8>) -> Self {
        Self {
            unpacker: Decompress::new(false),
            packer: None,
            input,
        }
    }

    /// Appends what can be unpacked to `buffer`, a bounded piece of it; 0 when more input is needed.
    ///
    /// # Errors
    /// The input is not deflate, or its stream has ended.
    pub(super) fn unpack(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let before = buffer.len();
        let mut piece = [0; PIECE_BYTES];
        loop {
            let (taken, given) = (self.unpacker.total_in(), self.unpacker.total_out());
            let status = self
                .unpacker
                .decompress(&self.input, &mut piece, FlushDecompress::Sync)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let taken = usize::try_from(self.unpacker.total_in() - taken).unwrap_or(usize::MAX);
            let given = usize::try_from(self.unpacker.total_out() - given).unwrap_or(usize::MAX);
            self.input.drain(..taken.min(self.input.len()));
            buffer.extend_from_slice(&piece[..given.min(PIECE_BYTES)]);
            if status == Status::StreamEnd && buffer.len() == before {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let full = buffer.len() - before >= UNPACK_BYTES_MAX;
            if full || status == Status::StreamEnd || (taken == 0 && given == 0) {
                break;
            }
        }
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        Ok(buffer.len() - before)
    }

    /// Packs all of `bytes`, so that the other end can unpack them at once.
    ///
    /// # Errors
    /// None that input can cause.
    pub(super) fn pack(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let packer = self
            .packer
            .get_or_insert_with(|| Compress::new(Compression::fast(), false));
        let mut packed = Vec::with_capacity(bytes.len() / 3 + FLUSH_BYTES);
        let start = packer.total_in();
        loop {
            let done = usize::try_from(packer.total_in() - start).unwrap_or(usize::MAX);
            let rest = bytes.get(done..).unwrap_or_default();
            packer
                .compress_vec(rest, &mut packed, FlushCompress::Sync)
                .map_err(io::Error::other)?;
            // Room left over: everything is taken and flushed.
            if packed.len() < packed.capacity() {
                return Ok(packed);
            }
            packed.reserve(packed.len().max(FLUSH_BYTES));
        }
    }

    /// Gives up what only saves bytes: the connection is about to wait.
    pub(super) fn rest(&mut self) {
        self.packer = None;
    }
}

/// Unpacked at once.
const PIECE_BYTES: usize = 8 * 1024;

/// Most that one read unpacks: a small input may hold a thousand times as much.
const UNPACK_BYTES_MAX: usize = 64 * 1024;

/// Room for the marks of a flush.
const FLUSH_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unpacked(deflate: &mut Deflate, packed: &[u8]) -> Vec<u8> {
        let mut found = Vec::new();
        for piece in packed.chunks(7) {
            deflate.input.extend_from_slice(piece);
            while deflate.unpack(&mut found).unwrap() > 0 {}
        }
        found
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_the_same_across_rests(
            writes in prop::collection::vec((prop::collection::vec(prop::sample::select(b"abc\r\n \0\xff".to_vec()), 0..3000), any::<bool>()), 0..12),
        ) {
            let (mut sender, mut receiver) = (Deflate::new(Vec::new()), Deflate::new(Vec::new()));
            for (bytes, rests) in writes {
                let packed = sender.pack(&bytes).unwrap();
                prop_assert_eq!(unpacked(&mut receiver, &packed), bytes);
                if rests {
                    sender.rest();
                }
            }
        }

        #[test]
        fn anything_else_is_an_error_or_nothing(input in prop::collection::vec(any::<u8>(), 0..500)) {
            let mut deflate = Deflate::new(input);
            let mut buffer = Vec::new();
            for _ in 0..1000 {
                match deflate.unpack(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        }
    }

    #[test]
    fn a_small_input_with_a_large_content_comes_in_pieces() {
        let bomb = Deflate::new(Vec::new()).pack(&vec![0; 20_000_000]).unwrap();
        assert!(bomb.len() < 200_000);
        let mut deflate = Deflate::new(bomb);
        let (mut total, mut buffer) = (0, Vec::new());
        loop {
            buffer.clear();
            match deflate.unpack(&mut buffer).unwrap() {
                0 => break,
                unpacked => total += unpacked,
            }
            assert!(buffer.len() < UNPACK_BYTES_MAX + PIECE_BYTES);
        }
        assert_eq!(total, 20_000_000);
    }

    #[test]
    fn a_stream_that_ends_is_an_end() {
        let mut packer = Compress::new(Compression::fast(), false);
        let mut packed = Vec::with_capacity(100);
        packer
            .compress_vec(b"a NOOP\r\n", &mut packed, FlushCompress::Finish)
            .unwrap();
        let mut deflate = Deflate::new(packed);
        let mut buffer = Vec::new();
        assert_eq!(deflate.unpack(&mut buffer).unwrap(), 8);
        assert!(deflate.unpack(&mut buffer).is_err());
    }
}
