//! Packs a tree, entry by entry, into blocks of one gzip member. Memory does not grow with a file.
//!
//! Small entries share a block of up to 128 KiB. A file above that runs over blocks of its own, cut by its content
//! (64 to 256 KiB), so that a change moves few cuts: its tar header ends the block before, its padding opens the next.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use fastcdc::v2020::FastCDC;
use flate2::Crc;
use tidelock_protocol::digest::{Digest, Hasher};
use tidelock_protocol::index::{self, BUNDLE_HEAD, Block, Writer, bundle_tail};
use tidelock_protocol::layout::{self, END};
use tidelock_protocol::limits::{BLOCK_RAW_BYTES, INDEX_BYTES};
use tidelock_protocol::tree::{Entry, File, Kind, Mode, TreePath};

use super::compress::{Compressed, Compressors, Raw};
use super::earlier::{Earlier, Parts, is_large};
use super::header::head;
use super::patch::served;
use super::{COMPRESSOR, Error};

/// A shared block is closed before an entry that would make it longer; a file above this has blocks of its own.
pub(super) const SHARED: u64 = 128 * 1024;
/// Where the content of a large file may be cut, in bytes after the cut before.
const CUT_MIN: usize = 64 * 1024;
const CUT_AVERAGE: usize = 128 * 1024;
const CUT_MAX: usize = BLOCK_RAW_BYTES as usize;

/// A packed tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The index as it is served: gzip.
    pub index: Vec<u8>,
    /// The tree digest.
    pub tree: Digest,
    /// Length of the bundle in bytes.
    pub length: u64,
    /// SHA-256 of the bundle; none where blocks of it were left out.
    pub sha256: Option<Digest>,
    /// The numbers of blocks that were left out of the output: an earlier bundle holds them.
    pub left_out: BTreeSet<u64>,
}

/// Packs one tree. Entries come in the bytewise order of their whole paths, parents before children.
pub struct Packer<W> {
    output: W,
    bundle: Hasher,
    length: u64,
    index: Writer,
    compressors: Compressors,
    /// The tar stream since the last cut, and what it is made of.
    shared: Vec<u8>,
    parts: Parts,
    earlier: Earlier,
    blocks: u64,
    left_out: BTreeSet<u64>,
    /// Over the whole tar stream, for the gzip trailer.
    crc: Crc,
}

impl<W: Write> Packer<W> {
    /// Begins a bundle.
    ///
    /// # Errors
    /// An output that cannot be written.
    pub fn new(output: W) -> Result<Self, Error> {
        Self::after(Earlier::default(), output)
    }

    /// Begins a bundle of which an earlier one may hold some blocks: they are taken from it, or left out where it is not at
    /// hand. Its index is the same in either case.
    ///
    /// # Errors
    /// An output that cannot be written.
    pub fn after(earlier: Earlier, output: W) -> Result<Self, Error> {
        let mut packer = Self {
            output,
            bundle: Hasher::new(),
            length: 0,
            index: Writer::new(COMPRESSOR),
            compressors: Compressors::start(),
            shared: Vec::new(),
            parts: Parts::default(),
            earlier,
            blocks: 0,
            left_out: BTreeSet::new(),
            crc: Crc::new(),
        };
        packer.write(&BUNDLE_HEAD)?;
        Ok(packer)
    }

    /// Adds a directory.
    ///
    /// # Errors
    /// A path that may not follow those before it, or an output that cannot be written.
    pub fn directory(&mut self, path: TreePath) -> Result<(), Error> {
        self.without_content(&Entry { path, kind: Kind::Directory })
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// As [`Packer::directory`], and a target that could leave the tree.
    pub fn link(&mut self, path: TreePath, target: String) -> Result<(), Error> {
        self.without_content(&Entry { path, kind: Kind::Link(target) })
    }

    /// Adds a file of exactly `size` bytes.
    ///
    /// # Errors
    /// As [`Packer::directory`], and a source that fails or has another size.
    pub fn file(
        &mut self,
        path: TreePath,
        mode: Mode,
        size: u64,
        mut source: impl Read,
    ) -> Result<(), Error> {
        let file = File { mode, size, sha256: Digest::of(b"") };
        let mut entry = Entry { path, kind: Kind::File(file) };
        let head = head(&entry);
        let is_large = is_large(&entry);
        let content = if is_large { 0 } else { layout::padded(size) };
        self.make_room(head.len() as u64 + content)?;
        self.append(&head);
        if is_large {
            self.parts.head(&entry);
        }
        let source = Source { path: &entry.path, size, left: size, read: &mut source, hasher: Hasher::new() };
        let sha256 = if is_large { self.large(source)? } else { self.small(source)? };
        let zeros = layout::padded(size) - size;
        self.pad_to(self.shared.len() as u64 + zeros);
        entry.kind = Kind::File(File { sha256, ..file });
        if is_large {
            self.parts.zeros(zeros)
        } else {
            self.parts.entry(&entry)
        }
        self.index.entry(&entry).map_err(Error::Tree)
    }

    /// Ends the bundle. The output is written, flushed, and not synced.
    ///
    /// # Errors
    /// A tree beyond a limit of the wire, or an output that cannot be written.
    pub fn finish(mut self) -> Result<Packed, Error> {
        self.make_room(END)?;
        self.pad_to(self.shared.len() as u64 + END);
        self.parts.zeros(END);
        self.close_shared()?;
        while let Some(block) = self.compressors.next()? {
            self.block(&block)?;
        }
        self.write(&bundle_tail(self.crc.sum(), self.crc.amount()))?;
        self.output.flush().map_err(Error::Write)?;
        let (text, tree) = self.index.finish().map_err(Error::Tree)?;
        let index = served(text.as_bytes())?;
        if index.len() as u64 > INDEX_BYTES {
            let error = index::Error::Limit { what: "bytes as served", limit: INDEX_BYTES };
            return Err(Error::Tree(error));
        }
        let sha256 = self.left_out.is_empty().then(|| self.bundle.finish());
        Ok(Packed { index, tree, length: self.length, sha256, left_out: self.left_out })
    }

    fn without_content(&mut self, entry: &Entry) -> Result<(), Error> {
        self.index.entry(entry).map_err(Error::Tree)?;
        let head = head(entry);
        self.make_room(head.len() as u64)?;
        self.append(&head);
        self.parts.entry(entry);
        Ok(())
    }

    /// A file that shares its block.
    fn small(&mut self, mut source: Source<'_>) -> Result<Digest, Error> {
        let start = self.shared.len();
        source.fill(&mut self.shared, start + usize::try_from(SHARED).unwrap_or(usize::MAX))?;
        self.crc.update(&self.shared[start..]);
        source.finish()
    }

    /// A file that has blocks of its own.
    fn large(&mut self, mut source: Source<'_>) -> Result<Digest, Error> {
        self.close_shared()?;
        let mut ahead = Vec::with_capacity(CUT_MAX);
        loop {
            source.fill(&mut ahead, CUT_MAX)?;
            if ahead.is_empty() {
                return source.finish();
            }
            // A cut depends on the bytes up to it and on nothing else: the same content is cut alike everywhere.
            let (_, at) = FastCDC::new(&ahead, CUT_MIN, CUT_AVERAGE, CUT_MAX).cut(0, ahead.len());
            let rest = ahead.split_off(at);
            self.crc.update(&ahead);
            let bytes = std::mem::replace(&mut ahead, rest);
            let known = self.earlier.has_pieces().then(|| Digest::of(&bytes));
            let known = known.and_then(|raw| self.earlier.piece(&raw, bytes.len()));
            self.push(Raw { bytes, is_piece: true }, known)?;
        }
    }

    /// Closes the shared block when `length` more bytes would make it too long.
    fn make_room(&mut self, length: u64) -> Result<(), Error> {
        if self.shared.len() as u64 + length > SHARED { self.close_shared() } else { Ok(()) }
    }

    fn close_shared(&mut self) -> Result<(), Error> {
        if self.shared.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.shared);
        let known = self.earlier.shared(&self.parts.take(), bytes.len());
        self.push(Raw { bytes, is_piece: false }, known)
    }

    fn append(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.shared.extend_from_slice(bytes);
    }

    fn pad_to(&mut self, length: u64) {
        let start = self.shared.len();
        self.shared.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        self.crc.update(&self.shared[start..]);
    }

    fn push(&mut self, raw: Raw, known: Option<Compressed>) -> Result<(), Error> {
        let block = match known {
            Some(block) => self.compressors.ready(block)?,
            None => self.compressors.push(raw)?,
        };
        match block {
            Some(block) => self.block(&block),
            None => Ok(()),
        }
    }

    fn block(&mut self, block: &Compressed) -> Result<(), Error> {
        let bytes = self.length..self.length + block.length as u64;
        // The writer counts raw bytes itself.
        let raw = 0..block.raw_length as u64;
        let entry = Block { bytes, raw, sha256: block.sha256, raw_sha256: block.raw_sha256 };
        self.index.block(&entry).map_err(Error::Tree)?;
        let number = self.blocks;
        self.blocks += 1;
        if block.bytes.is_empty() {
            self.left_out.insert(number);
            self.length += block.length as u64;
            return Ok(());
        }
        self.write(&block.bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.bundle.update(bytes);
        self.length += bytes.len() as u64;
        self.output.write_all(bytes).map_err(Error::Write)
    }
}

/// The content of one file, digested while it is read and held to its size.
struct Source<'a> {
    path: &'a TreePath,
    size: u64,
    left: u64,
    read: &'a mut dyn Read,
    hasher: Hasher,
}

impl Source<'_> {
    /// Reads on until `buffer` has `length` bytes, or the announced size is reached.
    fn fill(&mut self, buffer: &mut Vec<u8>, length: usize) -> Result<(), Error> {
        let start = buffer.len();
        let wanted = self.left.min(length.saturating_sub(start) as u64);
        let read =
            (&mut *self.read).take(wanted).read_to_end(buffer).map_err(|source| self.failed(source))?;
        self.hasher.update(&buffer[start..]);
        self.left -= read as u64;
        if read as u64 == wanted { Ok(()) } else { Err(self.size_is(self.size - self.left)) }
    }

    fn finish(self) -> Result<Digest, Error> {
        let more = self.read.read(&mut [0]).map_err(|source| self.failed(source))?;
        if more == 0 { Ok(self.hasher.finish()) } else { Err(self.size_is(self.size + 1)) }
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Read { path: self.path.clone(), source }
    }

    fn size_is(&self, found: u64) -> Error {
        Error::Size { path: self.path.clone(), announced: self.size, found }
    }
}
