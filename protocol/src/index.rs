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

use std::io::{self, BufRead, Read};
use std::ops::Range;

use crate::digest::Digest;
use crate::layout::Layout;
use crate::limits::{BLOCK_BYTES, BLOCK_RAW_BYTES, BLOCKS, INDEX_INFLATED_BYTES, PATH_BYTES};
use crate::tree::{self, Entry, File, Kind, Sequence, TreePath, number};

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

/// A file, or a piece of one, inside a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// How many entries of the listing come before the file.
    pub ordinal: u64,
    /// The file's path.
    pub path: TreePath,
    /// The file.
    pub file: File,
    /// Where the piece begins in the file.
    pub offset: u64,
    /// Where the piece stands in the raw bytes of the block; never empty.
    pub within: Range<usize>,
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

/// What an index says as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The tree digest.
    pub tree: Digest,
    /// Length of the bundle that it belongs to.
    pub bundle_length: u64,
    /// Length of the tar stream.
    pub tar_length: u64,
    /// Sum of the files' sizes.
    pub file_bytes: u64,
    /// Entries of the listing.
    pub entries: u64,
    /// Blocks of the bundle.
    pub blocks: u64,
}

/// The blocks of a bundle with what each holds: listing and blocks of one index read side by side, from two readers of
/// the same bytes.
///
/// Every byte of every file is told exactly once, in order. A file is either whole in one block, among others, or its
/// blocks hold nothing but its own bytes and carry the digest of them.
pub struct Contents<L, B> {
    listing: Listing<L>,
    layout: Layout,
    blocks: Blocks<B>,
    /// The next file of which bytes are still to come, and its place in the tar stream.
    ahead: Option<(Range<u64>, Span)>,
    file_bytes: u64,
}

impl<L: BufRead, B: BufRead> Contents<L, B> {
    /// Begins to read an index, twice.
    ///
    /// # Errors
    /// As [`Listing::open`] and [`Blocks::open`].
    pub fn open(inflated: L, again: B) -> Result<Self, Error> {
        Ok(Self {
            listing: Listing::open(inflated)?,
            layout: Layout::new(),
            blocks: Blocks::open(again)?,
            ahead: None,
            file_bytes: 0,
        })
    }

    /// The next block and the pieces of files that it holds.
    ///
    /// # Errors
    /// Whatever is not an index, and a block that breaks the rule above.
    pub fn next_block(&mut self) -> Result<Option<(Block, Vec<Span>)>, Error> {
        let Some(block) = self.blocks.next_block()? else { return Ok(None) };
        let line = self.blocks.lines.number;
        let mut spans = Vec::new();
        while let Some((place, file)) = self.file_before(block.raw.end)? {
            let piece = place.start.max(block.raw.start)..place.end.min(block.raw.end);
            let whole = piece == *place;
            let alone = piece == block.raw;
            let cut = |rule| Error::Cut { line, path: file.path.clone(), rule };
            match block.raw_sha256 {
                None if !whole => {
                    return Err(cut("a file that runs over several blocks needs their raw digests"));
                }
                Some(_) if !alone => {
                    return Err(cut("a block with a raw digest holds bytes of one file alone"));
                }
                _ => {}
            }
            let within = |at: u64| usize::try_from(at - block.raw.start).unwrap_or(usize::MAX);
            let within = within(piece.start)..within(piece.end);
            let ended = piece.end == place.end;
            spans.push(Span { offset: piece.start - place.start, within, ..file.clone() });
            if !ended {
                break;
            }
            self.ahead = None;
        }
        if block.raw_sha256.is_some() && spans.is_empty() {
            return Err(Error::Shape { line, rule: "a block with a raw digest holds no file" });
        }
        Ok(Some((block, spans)))
    }

    /// What the index says as a whole; what is left of it is read now.
    ///
    /// # Errors
    /// As [`Contents::next_block`], and lengths of listing and blocks that differ.
    pub fn finish(mut self) -> Result<Summary, Error> {
        while self.next_block()?.is_some() {}
        // What the blocks do not reach is still placed, so that the two lengths can be compared.
        while let Some(entry) = self.listing.next_entry()? {
            self.layout.place(&entry);
        }
        let tar_length = self.layout.finish();
        if self.blocks.raw_at != tar_length {
            return Err(Error::Lengths { blocks: self.blocks.raw_at, listing: tar_length });
        }
        Ok(Summary {
            bundle_length: self.blocks.bundle_length(),
            tar_length,
            file_bytes: self.file_bytes,
            entries: self.listing.sequence.count(),
            blocks: self.blocks.count,
            tree: self.listing.sequence.finish(),
        })
    }

    /// The first file of which bytes are still to come, when they begin before `end` of the tar stream.
    fn file_before(&mut self, end: u64) -> Result<Option<(&Range<u64>, &Span)>, Error> {
        while self.ahead.is_none() {
            let ordinal = self.listing.sequence.count();
            let Some(entry) = self.listing.next_entry()? else { break };
            let place = self.layout.place(&entry);
            if let Entry { path, kind: Kind::File(file) } = entry
                && file.size > 0
            {
                self.file_bytes += file.size;
                self.ahead = Some((place, Span { ordinal, path, file, offset: 0, within: 0..0 }));
            }
        }
        Ok(self.ahead.as_ref().filter(|(place, _)| place.start < end).map(|(place, file)| (place, file)))
    }
}

/// Writes an index. It is held in memory: a publisher's trees have thousands of entries, and the limit is 64 MiB.
pub struct Writer {
    text: String,
    sequence: Sequence,
    blocks: String,
    count: u64,
}

impl Writer {
    /// An index of blocks made by `compressor`, such as `zlib-rs-0.6.8`.
    pub fn new(compressor: &str) -> Self {
        let text = format!("{MAGIC}{compressor}\n");
        Self { text, sequence: Sequence::new(), blocks: String::new(), count: 0 }
    }

    /// Adds the next entry.
    ///
    /// # Errors
    /// An entry that may not follow those before it.
    pub fn entry(&mut self, entry: &Entry) -> Result<(), Error> {
        let line = self.sequence.write(entry);
        let line = line.map_err(|source| Error::Entry { line: self.sequence.count() + 2, source })?;
        push_line(&mut self.text, &line);
        Ok(())
    }

    /// Adds the next block; what it says of offsets is what the lengths before it make them, so only its lengths count.
    ///
    /// # Errors
    /// More blocks than their limit.
    pub fn block(&mut self, block: &Block) -> Result<(), Error> {
        if self.count == BLOCKS {
            return Err(Error::Limit { what: "blocks", limit: BLOCKS });
        }
        self.count += 1;
        let length = |range: &Range<u64>| range.end - range.start;
        let mut line = format!("b {} {} {}", length(&block.bytes), length(&block.raw), block.sha256);
        if let Some(raw) = &block.raw_sha256 {
            line = format!("{line} {raw}");
        }
        push_line(&mut self.blocks, &line);
        Ok(())
    }

    /// The index, not compressed yet, and the tree digest.
    ///
    /// # Errors
    /// An index longer than its limit.
    pub fn finish(mut self) -> Result<(String, Digest), Error> {
        push_line(&mut self.text, DIVIDER);
        self.text.push_str(&self.blocks);
        if self.text.len() as u64 > INDEX_INFLATED_BYTES {
            return Err(Error::Limit { what: "bytes", limit: INDEX_INFLATED_BYTES });
        }
        Ok((self.text, self.sequence.finish()))
    }
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
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
