//! One block of a bundle, inflated alone as a device does it: only when its bytes have the digest that an index names.

use std::io;
use std::ops::Range;

use flate2::{Decompress, FlushDecompress, Status};
use tidelock_protocol::digest::Digest;
use tidelock_protocol::index::{Block, DEFLATE_END};

/// Inflates blocks, one after the other; memory is that of one block.
pub struct Inflate(Decompress);

impl Default for Inflate {
    fn default() -> Self {
        Self(Decompress::new(false))
    }
}

impl Inflate {
    /// Has `raw` hold what the block inflates to, if `bytes` are that block.
    ///
    /// # Errors
    /// They are not, or do not come to what the index says.
    pub fn open(&mut self, block: &Block, bytes: &[u8], raw: &mut Vec<u8>) -> io::Result<()> {
        if Digest::of(bytes) != block.sha256 {
            return Err(invalid("a block has another digest"));
        }
        let length = length(&block.raw)?;
        raw.clear();
        raw.reserve_exact(length + 1);
        self.0.reset(false);
        self.0.decompress_vec(bytes, raw, FlushDecompress::None).map_err(io::Error::other)?;
        let whole = raw.len() == length && self.0.total_in() == bytes.len() as u64;
        let status = self.0.decompress_vec(&DEFLATE_END, raw, FlushDecompress::Finish);
        if !whole || status.map_err(io::Error::other)? != Status::StreamEnd || raw.len() != length {
            return Err(invalid("a block does not inflate alone to its raw length"));
        }
        if block.raw_sha256.is_some_and(|digest| digest != Digest::of(raw)) {
            return Err(invalid("a block has another raw digest"));
        }
        Ok(())
    }
}

/// How long a range of a bundle is.
pub(super) fn length(range: &Range<u64>) -> io::Result<usize> {
    usize::try_from(range.end - range.start).map_err(io::Error::other)
}

pub(super) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
