//! What an earlier bundle holds already: raw bytes that are alike come to the same compressed bytes under one compressor,
//! so its index alone says what they come to, and nothing is compressed twice.
//!
//! Never here: which bundle is an earlier one.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use tidelock_protocol::digest::{Digest, Hasher};
use tidelock_protocol::index::{Block, Blocks, Listing};
use tidelock_protocol::layout::{END, Layout, padded};
use tidelock_protocol::tree::{self, Entry, Kind};

use super::compare::inflated;
use super::compress::Compressed;
use super::pack::SHARED;
use super::{COMPRESSOR, Error};

/// The blocks of an earlier bundle, by what they hold.
#[derive(Debug, Default)]
pub struct Earlier {
    /// By the digest of their raw bytes, where they are pieces of one file.
    pieces: BTreeMap<Digest, Block>,
    /// By their [`Parts`].
    shared: BTreeMap<Digest, Block>,
    /// The bundle; without it, blocks that it holds are left out of what is packed.
    bundle: Option<File>,
}

impl Earlier {
    /// That of the index of a bundle, as served. Under another compressor nothing is alike.
    ///
    /// # Errors
    /// It is no index.
    pub fn of(index: &[u8]) -> Result<Self, Error> {
        let text = inflated(index)?;
        let mut listing = Listing::open(&text[..]).map_err(Error::Tree)?;
        if listing.compressor() != COMPRESSOR {
            return Ok(Self::default());
        }
        let mut walk = Walk::begin(&text)?;
        let mut layout = Layout::new();
        while let Some(entry) = listing.next_entry().map_err(Error::Tree)? {
            let content = layout.place(&entry);
            let end = padded(content.end);
            if is_large(&entry) {
                walk.parts.head(&entry);
                walk.reach(content.start)?;
                walk.reach(content.end)?;
                walk.parts.zeros(end - content.end);
            } else {
                walk.parts.entry(&entry);
            }
            walk.reach(end)?;
        }
        walk.parts.zeros(END);
        walk.reach(layout.finish())?;
        Ok(walk.earlier)
    }

    /// The same, and the bundle itself to take blocks from.
    #[must_use]
    pub fn with(mut self, bundle: File) -> Self {
        self.bundle = Some(bundle);
        self
    }

    /// Whether there is any use in asking for pieces.
    pub(super) fn has_pieces(&self) -> bool {
        !self.pieces.is_empty()
    }

    pub(super) fn piece(&self, raw: &Digest, length: usize) -> Option<Compressed> {
        self.taken(self.pieces.get(raw)?, length)
    }

    pub(super) fn shared(&self, parts: &Digest, length: usize) -> Option<Compressed> {
        self.taken(self.shared.get(parts)?, length)
    }

    /// A block that is compressed already; none when the bundle does not hold it as its index says.
    fn taken(&self, block: &Block, raw_length: usize) -> Option<Compressed> {
        let of = |range: &std::ops::Range<u64>| usize::try_from(range.end - range.start).ok();
        let length = of(&block.bytes)?;
        let bytes = match &self.bundle {
            None => Vec::new(),
            Some(bundle) => {
                let mut bytes = vec![0; length];
                bundle.read_exact_at(&mut bytes, block.bytes.start).ok()?;
                (Digest::of(&bytes) == block.sha256).then_some(bytes)?
            }
        };
        let Block { sha256, raw_sha256, .. } = *block;
        (of(&block.raw)? == raw_length).then_some(Compressed {
            bytes,
            length,
            raw_length,
            sha256,
            raw_sha256,
        })
    }
}

/// Whether an entry is a file that has blocks of its own.
pub(super) fn is_large(entry: &Entry) -> bool {
    matches!(&entry.kind, Kind::File(file) if file.size > SHARED)
}

/// What a block that is no piece of one file is made of, as a digest. A line of a listing says every byte of its entry, so
/// the same parts are the same bytes.
#[derive(Default)]
pub(super) struct Parts(Hasher);

impl Parts {
    /// An entry: its head, its content, and the zeros after it.
    pub(super) fn entry(&mut self, entry: &Entry) {
        self.0.update(format!("{entry}\n").as_bytes());
    }

    /// The head of a large file, which says nothing of its content.
    pub(super) fn head(&mut self, entry: &Entry) {
        let kind = match &entry.kind {
            Kind::File(file) => Kind::File(tree::File { sha256: Digest::from([0; 32]), ..*file }),
            other => other.clone(),
        };
        self.0.update(format!("head {}\n", Entry { path: entry.path.clone(), kind }).as_bytes());
    }

    /// So many zeros.
    pub(super) fn zeros(&mut self, count: u64) {
        if count > 0 {
            self.0.update(format!("zeros {count}\n").as_bytes());
        }
    }

    /// The digest of what was noted; the next block begins.
    pub(super) fn take(&mut self) -> Digest {
        std::mem::take(&mut self.0).finish()
    }
}

/// Walks along the tar stream of an index and notes what each block is made of.
struct Walk<'a> {
    blocks: Blocks<&'a [u8]>,
    block: Option<Block>,
    parts: Parts,
    /// Whether the parts began where the block begins.
    is_whole: bool,
    earlier: Earlier,
}

impl<'a> Walk<'a> {
    fn begin(text: &'a [u8]) -> Result<Self, Error> {
        let mut blocks = Blocks::open(text).map_err(Error::Tree)?;
        let block = blocks.next_block().map_err(Error::Tree)?;
        Ok(Self { blocks, block, parts: Parts::default(), is_whole: true, earlier: Earlier::default() })
    }

    /// The parts reach up to here. A block that ends anywhere else holds half a part, which the parts cannot tell.
    fn reach(&mut self, at: u64) -> Result<(), Error> {
        while let Some(block) = self.block.take_if(|block| block.raw.end <= at) {
            let parts = self.parts.take();
            let ends_here = block.raw.end == at;
            match block.raw_sha256 {
                Some(raw) => drop(self.earlier.pieces.insert(raw, block)),
                None if ends_here && self.is_whole => drop(self.earlier.shared.insert(parts, block)),
                None => {}
            }
            self.is_whole = ends_here;
            self.block = self.blocks.next_block().map_err(Error::Tree)?;
        }
        Ok(())
    }
}
