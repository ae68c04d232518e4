//! Listing and blocks of one index side by side: which block holds which piece of which file.

use std::io::BufRead;
use std::ops::Range;

use super::{Block, Blocks, Error, Listing};
use crate::digest::Digest;
use crate::layout::Layout;
use crate::tree::{Entry, File, Kind, TreePath};

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
