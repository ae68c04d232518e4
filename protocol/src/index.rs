//! The index of a bundle: the listing of its tree, and the table of its blocks.
//!
//! ```text
//! tidelock-index 1 <compressor>
//! <listing>
//! --
//! b COMPRESSED RAW SHA256 [RAW-SHA256]
//! ```
//! Offsets are sums of lengths, so a hole or an overlap cannot be said. It is read as a stream, line by line and with
//! limits; [`Contents`] reads listing and blocks side by side, so that nothing grows with the bundle.
//!
//! Never here: gzip (whoever holds the bytes inflates them), or the choice where to cut (the packer).

mod contents;
mod writer;

use std::io::{self, BufRead, Read};
use std::ops::Range;

use crate::digest::Digest;
use crate::limits::{BLOCK_BYTES, BLOCK_RAW_BYTES, BLOCKS, INDEX_INFLATED_BYTES, PATH_BYTES};
use crate::tree::{self, Entry, Sequence, TreePath, number};

pub use contents::{Contents, Span, Summary};
pub use writer::Writer;

/// A bundle before its first block: a gzip header with no name, no time, "slowest", Unix.
pub const BUNDLE_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3];
/// Ends a deflate stream after any number of flushed blocks: an empty last block.
pub const DEFLATE_END: [u8; 2] = [3, 0];

/// A bundle after its last block: the end of deflate, then CRC-32 and length (modulo 2^32) of the tar stream.
pub fn bundle_tail(crc32: u32, length: u32) -> [u8; 10] {
    let ([a, b], [c, d, e, f], [g, h, i, j]) = (DEFLATE_END, crc32.to_le_bytes(), length.to_le_bytes());
    [a, b, c, d, e, f, g, h, i, j]
}

const HEAD_LENGTH: u64 = BUNDLE_HEAD.len() as u64;
const TAIL_LENGTH: u64 = 10;
const MAGIC: &str = "tidelock-index 1 ";
const DIVIDER: &str = "--";
/// Longest line: a link whose path and target are all escapes.
const LINE_BYTES: usize = 2 * 3 * PATH_BYTES + 16;

/// One block of a bundle: a piece of the tar stream that can be fetched, checked and inflated alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its place in the bundle.
    pub bytes: Range<u64>,
    /// Its place in the tar stream.
    pub raw: Range<u64>,
    /// The digest of its compressed bytes.
    pub sha256: Digest,
    /// The digest of its raw bytes, where it is a piece of one file.
    pub raw_sha256: Option<Digest>,
}

/// Why an index is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes could not be had, or are not gzip.
    #[error("cannot read the index")]
    Read(#[source] io::Error),
    /// Not an index of this format.
    #[error("the index begins with {found:?}, expected `tidelock-index 1 <compressor>`")]
    Header {
        /// Its first line, cut to a readable length.
        found: String,
    },
    /// More than its limit.
    #[error("the index has more than {limit} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: u64,
    },
    /// It ends too early or too late.
    #[error("line {line} of the index: {rule}")]
    Shape {
        /// Counted from 1.
        line: u64,
        /// What was expected.
        rule: &'static str,
    },
    /// An entry that is refused.
    #[error("line {line} of the index")]
    Entry {
        /// Counted from 1.
        line: u64,
        /// Why.
        #[source]
        source: tree::Error,
    },
    /// Blocks and listing tell of different lengths.
    #[error("the blocks of the index make {blocks} bytes of tar stream, its listing needs {listing}")]
    Lengths {
        /// Sum of the raw lengths.
        blocks: u64,
        /// Length that follows from the listing.
        listing: u64,
    },
    /// A block that cuts a file without saying so, or claims more than its file.
    #[error("line {line} of the index: the block of {path}: {rule}")]
    Cut {
        /// Counted from 1.
        line: u64,
        /// The file.
        path: TreePath,
        /// What was expected.
        rule: &'static str,
    },
}

/// The first part of an index, entry by entry.
pub struct Listing<R> {
    lines: Lines<R>,
    compressor: String,
    sequence: Sequence,
    ended: bool,
}

impl<R: BufRead> Listing<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// Another format, or no compressor named.
    pub fn open(inflated: R) -> Result<Self, Error> {
        let mut lines = Lines { reader: inflated, line: Vec::new(), number: 0, bytes: 0 };
        let first = lines.next()?.unwrap_or_default();
        let compressor = first.strip_prefix(MAGIC).filter(|name| is_compressor(name));
        let Some(compressor) = compressor.map(str::to_owned) else {
            return Err(Error::Header { found: first.chars().take(80).collect() });
        };
        Ok(Self { lines, compressor, sequence: Sequence::new(), ended: false })
    }

    /// The program that compressed the blocks, such as `zlib-rs-0.6.8`.
    pub fn compressor(&self) -> &str {
        &self.compressor
    }

    /// The next entry; none at the end of the listing.
    ///
    /// # Errors
    /// Whatever is not a listing within its limits.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        if self.ended {
            return Ok(None);
        }
        let number = self.lines.number + 1;
        match self.lines.next()? {
            None => Err(Error::Shape { line: number, rule: "expected an entry or `--`, found the end" }),
            Some(DIVIDER) => {
                self.ended = true;
                Ok(None)
            }
            Some(line) => {
                self.sequence.read(line).map(Some).map_err(|source| Error::Entry { line: number, source })
            }
        }
    }

    /// The tree digest of the entries read, the rest being read now, and the blocks that follow.
    ///
    /// # Errors
    /// As [`Listing::next_entry`].
    pub fn finish(mut self) -> Result<(Digest, Blocks<R>), Error> {
        while self.next_entry()?.is_some() {}
        let blocks = Blocks { lines: self.lines, count: 0, at: HEAD_LENGTH, raw_at: 0 };
        Ok((self.sequence.finish(), blocks))
    }
}

/// The second part of an index, block by block.
pub struct Blocks<R> {
    lines: Lines<R>,
    count: u64,
    at: u64,
    raw_at: u64,
}

impl<R: BufRead> Blocks<R> {
    /// Goes to the blocks without looking at the entries before them.
    ///
    /// # Errors
    /// An end before the blocks.
    pub fn open(inflated: R) -> Result<Self, Error> {
        let mut lines = Lines { reader: inflated, line: Vec::new(), number: 0, bytes: 0 };
        loop {
            match lines.next()? {
                Some(DIVIDER) => return Ok(Self { lines, count: 0, at: HEAD_LENGTH, raw_at: 0 }),
                Some(_) => {}
                None => {
                    return Err(Error::Shape {
                        line: lines.number + 1,
                        rule: "expected `--`, found the end",
                    });
                }
            }
        }
    }

    /// The next block; none at the end of the index.
    ///
    /// # Errors
    /// Whatever is not a table of blocks within its limits.
    pub fn next_block(&mut self) -> Result<Option<Block>, Error> {
        let Some(line) = self.lines.next()? else { return Ok(None) };
        let parsed = parse_block(line);
        let line = self.lines.number;
        let (length, raw_length, sha256, raw_sha256) = parsed.map_err(|rule| Error::Shape { line, rule })?;
        if self.count == BLOCKS {
            return Err(Error::Limit { what: "blocks", limit: BLOCKS });
        }
        self.count += 1;
        let bytes = self.at..self.at + u64::from(length);
        let raw = self.raw_at..self.raw_at + u64::from(raw_length);
        (self.at, self.raw_at) = (bytes.end, raw.end);
        Ok(Some(Block { bytes, raw, sha256, raw_sha256 }))
    }

    /// The length of a bundle that ends after the blocks read.
    pub fn bundle_length(&self) -> u64 {
        self.at + TAIL_LENGTH
    }
}

fn parse_block(line: &str) -> Result<(u32, u32, Digest, Option<Digest>), &'static str> {
    const RULE: &str = "expected `b COMPRESSED RAW SHA256 [RAW-SHA256]`";
    let mut fields = line.split(' ');
    if fields.next() != Some("b") {
        return Err(RULE);
    }
    let mut length = |limit: u32, rule| {
        let number =
            fields.next().and_then(number).and_then(|number| u32::try_from(number).ok()).ok_or(RULE)?;
        if (1..=limit).contains(&number) { Ok(number) } else { Err(rule) }
    };
    let compressed = length(BLOCK_BYTES, "a block has 1 to 327680 compressed bytes")?;
    let raw = length(BLOCK_RAW_BYTES, "a block has 1 to 262144 raw bytes")?;
    let sha256 = fields.next().and_then(|text| text.parse().ok()).ok_or(RULE)?;
    let raw_sha256 = fields.next().map(|text| text.parse().map_err(|_| RULE)).transpose()?;
    if fields.next().is_some() {
        return Err(RULE);
    }
    Ok((compressed, raw, sha256, raw_sha256))
}

fn is_compressor(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

/// Lines of bounded length, of a text of bounded length.
struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
}

impl<R: BufRead> Lines<R> {
    /// The next line without its newline; none at the end.
    fn next(&mut self) -> Result<Option<&str>, Error> {
        self.line.clear();
        let most = LINE_BYTES as u64 + 1;
        let read = self.reader.by_ref().take(most).read_until(b'\n', &mut self.line).map_err(Error::Read)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.bytes += read as u64;
        if self.bytes > INDEX_INFLATED_BYTES {
            return Err(Error::Limit { what: "bytes", limit: INDEX_INFLATED_BYTES });
        }
        let refused = |rule| Error::Shape { line: self.number, rule };
        if self.line.pop() != Some(b'\n') {
            return Err(refused("expected a newline at the end of a line of at most 24592 bytes"));
        }
        std::str::from_utf8(&self.line).map(Some).map_err(|_| refused("expected UTF-8"))
    }
}

#[cfg(test)]
mod tests;
