//! What an index alone says of a shared block: its heads and zeros, and which files go between them. With the contents of
//! those the block is made anew, wherever they come from.
//!
//! Never here: where contents come from. Whether a block that was made is the right one, its digest says.

use std::ops::Range;

use tidelock_protocol::digest::Digest;
use tidelock_protocol::index::{Block, Blocks, Listing};
use tidelock_protocol::layout::{END, head_length, padded};
use tidelock_protocol::tree::{Entry, Kind};

use super::Error;
use super::compress::{Compressors, Raw};
use super::header::head;
use super::inflate::length;

/// A shared block without the contents of its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// The block, zeros where contents go.
    pub raw: Vec<u8>,
    /// Its files, in their order; those of no bytes are left out.
    pub files: Vec<Slot>,
}

/// Where the content of a file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// How many entries of the listing come before the file.
    pub ordinal: u64,
    /// The digest of the content.
    pub sha256: Digest,
    /// Where in the block.
    pub within: Range<usize>,
}

/// The templates of an index, in the order of its blocks.
pub struct Templates<'a> {
    listing: Listing<&'a [u8]>,
    ordinal: u64,
    blocks: Blocks<&'a [u8]>,
    number: u64,
    /// What is left of the entry under way, the next piece last.
    pieces: Vec<Piece>,
    ended: bool,
}

/// A piece of the tar stream.
enum Piece {
    Bytes(Vec<u8>),
    Zeros(u64),
    Content { ordinal: u64, sha256: Digest, size: u64, left: u64 },
}

impl<'a> Templates<'a> {
    /// Those of an index with this text, which was found to be one.
    ///
    /// # Errors
    /// It is none.
    pub fn of(text: &'a [u8]) -> Result<Self, Error> {
        let listing = Listing::open(text).map_err(Error::Tree)?;
        let blocks = Blocks::open(text).map_err(Error::Tree)?;
        Ok(Self { listing, ordinal: 0, blocks, number: 0, pieces: Vec::new(), ended: false })
    }

    /// The template of block `number`, which comes after those that were asked for before.
    ///
    /// # Errors
    /// There is no such block, or it is not a shared one.
    pub fn template(&mut self, number: u64) -> Result<Template, Error> {
        let none = |what| Err(Error::Disagree(format!("block {number} {what}")));
        if number < self.number {
            return none("comes too late: they come in their order");
        }
        loop {
            let Some(block) = self.blocks.next_block().map_err(Error::Tree)? else {
                return none("is none of this bundle");
            };
            let is_it = self.number == number;
            self.number += 1;
            let template = self.block(&block, is_it)?;
            match (is_it, block.raw_sha256) {
                (false, _) => {}
                (true, None) => return Ok(template),
                (true, Some(_)) => return none("is a piece of one file, and is sent as it is"),
            }
        }
    }

    /// Walks over one block; what it is made of is noted only where it `counts`.
    fn block(&mut self, block: &Block, counts: bool) -> Result<Template, Error> {
        let mut template = Template::default();
        let whole = length(&block.raw).map_err(Error::ReadBack)?;
        let mut left = whole as u64;
        while left > 0 {
            let Some(piece) = self.piece()? else {
                return Err(Error::Disagree("its blocks are longer than its listing".into()));
            };
            let taken = piece.left().min(left);
            if counts {
                template.take(piece, taken);
            }
            left -= taken;
            piece.pass(taken);
        }
        Ok(template)
    }

    /// The piece under way, of which something is left.
    fn piece(&mut self) -> Result<Option<&mut Piece>, Error> {
        while self.pieces.last().is_none_or(|piece| piece.left() == 0) {
            if self.pieces.pop().is_some() {
                continue;
            }
            match self.listing.next_entry().map_err(Error::Tree)? {
                Some(entry) => self.pieces = self.entry(&entry),
                None if self.ended => return Ok(None),
                None => {
                    self.ended = true;
                    self.pieces.push(Piece::Zeros(END));
                }
            }
        }
        Ok(self.pieces.last_mut())
    }

    /// The pieces of an entry, the first one last.
    fn entry(&mut self, entry: &Entry) -> Vec<Piece> {
        let ordinal = self.ordinal;
        self.ordinal += 1;
        let head = head(entry);
        debug_assert_eq!(head.len() as u64, head_length(entry), "{}", entry.path);
        match &entry.kind {
            Kind::File(file) => {
                let (sha256, size) = (file.sha256, file.size);
                let content = Piece::Content { ordinal, sha256, size, left: size };
                vec![Piece::Zeros(padded(size) - size), content, Piece::Bytes(head)]
            }
            Kind::Directory | Kind::Link(_) => vec![Piece::Bytes(head)],
        }
    }
}

impl Piece {
    fn left(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(left) | Self::Content { left, .. } => *left,
        }
    }

    /// So many bytes of it are done.
    fn pass(&mut self, taken: u64) {
        match self {
            Self::Bytes(bytes) => drop(bytes.drain(..usize::try_from(taken).unwrap_or(bytes.len()))),
            Self::Zeros(left) | Self::Content { left, .. } => *left -= taken,
        }
    }
}

impl Template {
    /// Notes the next `taken` bytes of a piece. Of a file that is cut nothing is noted: it is in no shared block.
    fn take(&mut self, piece: &Piece, taken: u64) {
        let taken = usize::try_from(taken).unwrap_or(0);
        let end = self.raw.len() + taken;
        match piece {
            Piece::Bytes(bytes) => self.raw.extend_from_slice(&bytes[..taken]),
            Piece::Zeros(_) => self.raw.resize(end, 0),
            Piece::Content { ordinal, sha256, size, left } => {
                if size == left && *left == taken as u64 {
                    let (ordinal, sha256, within) = (*ordinal, *sha256, self.raw.len()..end);
                    self.files.push(Slot { ordinal, sha256, within });
                }
                self.raw.resize(end, 0);
            }
        }
    }
}

/// Compresses blocks that were made anew; they come back in order, with their numbers.
pub struct Making {
    compressors: Compressors,
    numbers: std::collections::VecDeque<u64>,
}

impl Default for Making {
    fn default() -> Self {
        Self { compressors: Compressors::start(), numbers: std::collections::VecDeque::new() }
    }
}

impl Making {
    /// Takes a block; gives an earlier one back when enough are under way.
    ///
    /// # Errors
    /// Compressing failed.
    pub fn push(&mut self, number: u64, raw: Vec<u8>) -> Result<Option<(u64, Vec<u8>)>, Error> {
        self.numbers.push_back(number);
        let made = self.compressors.push(Raw { bytes: raw, is_piece: false })?;
        Ok(made.and_then(|made| Some((self.numbers.pop_front()?, made.bytes))))
    }

    /// The next of those under way; none: that was all.
    ///
    /// # Errors
    /// Compressing failed.
    pub fn next_block(&mut self) -> Result<Option<(u64, Vec<u8>)>, Error> {
        let made = self.compressors.next()?;
        Ok(made.and_then(|made| Some((self.numbers.pop_front()?, made.bytes))))
    }
}
