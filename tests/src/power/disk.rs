//! A disk with a volatile write cache: what was written since the last flush may be lost, each 4 KiB block by itself.
//!
//! Never here: who writes (`fuse`: the host's kernel; `nbd`: a virtual machine's).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a disk writes whole or not at all.
const BLOCK: usize = 4096;

type Block = Arc<[u8; BLOCK]>;

/// The disk. A clone is a disk of its own, made without copying: as cheap as the number of blocks that were written.
#[derive(Clone, Debug)]
pub struct Disk {
    base: Arc<File>,
    size: u64,
    /// What a reader sees.
    seen: BTreeMap<u64, Block>,
    /// What survives.
    settled: BTreeMap<u64, Block>,
    /// Written and not flushed, the oldest first.
    pending: Vec<Piece>,
    log: Vec<Operation>,
}

/// Something that the disk was asked to do.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Bytes for an offset; they may be lost until the next flush.
    Write(u64, Arc<[u8]>),
    /// Bytes for an offset that survive as soon as they are acknowledged.
    WriteThrough(u64, Arc<[u8]>),
    /// Everything so far is to survive.
    Flush,
}

/// What a cut takes of that which is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// All of it.
    Everything,
    /// Each block of each write by its own coin, thrown from this seed: that is loss, reordering and tearing.
    Some(u64),
    /// None of it.
    Nothing,
}

/// What a cut took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Blocks that were pending.
    pub pending: usize,
    /// Blocks of them that are lost.
    pub lost: usize,
}

/// A part of one write, within one block.
#[derive(Clone, Debug)]
struct Piece {
    block: u64,
    within: Range<usize>,
    bytes: Arc<[u8]>,
    at: usize,
}

/// A disk that several threads use.
pub type Shared = Arc<Mutex<Disk>>;

/// A disk for several threads.
pub fn shared(disk: Disk) -> Shared {
    Arc::new(Mutex::new(disk))
}

/// Takes a shared disk; whoever panicked over it left it whole.
pub(super) fn locked(disk: &Shared) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// A disk that begins as the file `base` is, which is only read; its size is the file's.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn over(base: &Path) -> io::Result<Self> {
        let base = File::open(base)?;
        let size = base.metadata()?.len();
        let (seen, settled) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { base: Arc::new(base), size, seen, settled, pending: Vec::new(), log: Vec::new() })
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `bytes` from `offset` on; what lies beyond the end reads as zeroes.
    ///
    /// # Errors
    /// The base cannot be read.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        for (block, within, at) in pieces(offset, bytes.len()) {
            let part = &mut bytes[at..at + within.len()];
            match self.seen.get(&block) {
                Some(found) => part.copy_from_slice(&found[within]),
                None => self.read_base(block * BLOCK as u64 + within.start as u64, part)?,
            }
        }
        Ok(())
    }

    /// Writes bytes that may be lost until the next flush.
    ///
    /// # Errors
    /// The base cannot be read.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.perform(Operation::Write(offset, bytes.into()))
    }

    /// Makes everything that was written survive.
    ///
    /// # Errors
    /// None today.
    pub fn flush(&mut self) -> io::Result<()> {
        self.perform(Operation::Flush)
    }

    /// Does what an operation says, and notes it.
    ///
    /// # Errors
    /// The base cannot be read.
    pub fn perform(&mut self, operation: Operation) -> io::Result<()> {
        match &operation {
            Operation::Write(offset, bytes) => {
                for (block, within, at) in pieces(*offset, bytes.len()) {
                    let piece = Piece { block, within, bytes: bytes.clone(), at };
                    let whole = self.altered(self.seen.get(&block), &piece)?;
                    self.seen.insert(block, whole);
                    self.pending.push(piece);
                }
            }
            Operation::WriteThrough(offset, bytes) => self.write_through(*offset, bytes)?,
            Operation::Flush => {
                for piece in std::mem::take(&mut self.pending) {
                    self.settled.insert(piece.block, self.seen[&piece.block].clone());
                }
            }
        }
        self.log.push(operation);
        Ok(())
    }

    /// The power goes: of what is pending, only what `loss` leaves is there at the next start. The log begins anew.
    ///
    /// # Errors
    /// The base cannot be read.
    pub fn cut(&mut self, loss: Loss) -> io::Result<Lost> {
        let pending = std::mem::take(&mut self.pending);
        let kept = kept(pending.len(), loss);
        for place in &kept {
            let piece = &pending[*place];
            let whole = self.altered(self.settled.get(&piece.block), piece)?;
            self.settled.insert(piece.block, whole);
        }
        self.seen.clone_from(&self.settled);
        self.log.clear();
        Ok(Lost { pending: pending.len(), lost: pending.len() - kept.len() })
    }

    /// What it was asked to do since it was made, cut, or last asked for this.
    pub fn take_log(&mut self) -> Vec<Operation> {
        std::mem::take(&mut self.log)
    }

    /// How much it was asked to do so far, in operations.
    pub fn asked(&self) -> usize {
        self.log.len()
    }

    fn write_through(&mut self, offset: u64, bytes: &Arc<[u8]>) -> io::Result<()> {
        let touched: BTreeSet<u64> = pieces(offset, bytes.len()).map(|(block, ..)| block).collect();
        // What is older than these bytes must not come back over them: of these blocks everything survives.
        self.pending.retain(|piece| !touched.contains(&piece.block));
        for (block, within, at) in pieces(offset, bytes.len()) {
            let piece = Piece { block, within, bytes: bytes.clone(), at };
            let whole = self.altered(self.seen.get(&block), &piece)?;
            self.seen.insert(block, whole.clone());
            self.settled.insert(block, whole);
        }
        Ok(())
    }

    /// The block of a piece as it is with the piece in it.
    fn altered(&self, before: Option<&Block>, piece: &Piece) -> io::Result<Block> {
        let mut whole = match before {
            Some(block) => **block,
            None => {
                let mut block = [0; BLOCK];
                if piece.within.len() < BLOCK {
                    self.read_base(piece.block * BLOCK as u64, &mut block)?;
                }
                block
            }
        };
        let bytes = &piece.bytes[piece.at..piece.at + piece.within.len()];
        whole[piece.within.clone()].copy_from_slice(bytes);
        Ok(Arc::new(whole))
    }

    fn read_base(&self, offset: u64, mut bytes: &mut [u8]) -> io::Result<()> {
        let mut offset = offset;
        while !bytes.is_empty() {
            let count = self.base.read_at(bytes, offset)?;
            if count == 0 {
                bytes.fill(0);
                break;
            }
            bytes = &mut bytes[count..];
            offset += count as u64;
        }
        Ok(())
    }
}

/// Numbers that look thrown, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of `0..sides`.
    pub fn throw(&mut self, sides: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// Which of so many pending pieces a cut leaves.
pub(super) fn kept(pending: usize, loss: Loss) -> Vec<usize> {
    match loss {
        Loss::Everything => Vec::new(),
        Loss::Some(seed) => {
            let mut dice = Dice::new(seed);
            (0..pending).filter(|_| dice.throw(2) == 0).collect()
        }
        Loss::Nothing => (0..pending).collect(),
    }
}

/// A range of the disk by blocks: the block, the part within it, and where that part begins within the range.
pub(super) fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, Range<usize>, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let start = usize::try_from(at % BLOCK as u64).unwrap();
        let end = BLOCK.min(start + length - done);
        let piece = (at / BLOCK as u64, start..end, done);
        done += end - start;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn disk(scratch: &Scratch) -> Disk {
        let base = scratch.join("base");
        std::fs::write(&base, vec![b'.'; 5 * BLOCK]).unwrap();
        Disk::over(&base).unwrap()
    }

    fn text(disk: &Disk, offset: u64, length: usize) -> String {
        let mut bytes = vec![0; length];
        disk.read(offset, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_was_not_flushed_is_lost_and_what_was_is_not() {
        let scratch = Scratch::new("power-disk");
        let mut disk = disk(&scratch);
        disk.write(10, b"old").unwrap();
        disk.flush().unwrap();
        disk.write(11, b"new").unwrap();
        assert_eq!(text(&disk, 9, 6), ".onew.");
        let kept = disk.clone();
        assert_eq!(disk.cut(Loss::Everything).unwrap(), Lost { pending: 1, lost: 1 });
        assert_eq!(text(&disk, 9, 6), ".old..");
        let mut all = kept.clone();
        assert_eq!(all.cut(Loss::Nothing).unwrap(), Lost { pending: 1, lost: 0 });
        assert_eq!(text(&all, 9, 6), ".onew.");
    }

    #[test]
    fn each_block_of_a_write_has_its_own_fate() {
        let scratch = Scratch::new("power-coins");
        let mut whole = disk(&scratch);
        whole.write(BLOCK as u64 / 2, &[b'x'; 3 * BLOCK]).unwrap();
        let images: BTreeSet<String> = (0..200)
            .map(|seed| {
                let mut disk = whole.clone();
                disk.cut(Loss::Some(seed)).unwrap();
                let blocks = (0..5).map(|block| text(&disk, block * BLOCK as u64 + 2048, 1));
                blocks.collect()
            })
            .collect();
        assert_eq!(images.len(), 8, "the last of four blocks is written before its middle only: {images:?}");
        assert_eq!(images.first().unwrap(), ".....");
        assert_eq!(images.last().unwrap(), "xxx..");
    }

    #[test]
    fn what_is_written_through_survives_alone_and_nothing_older_comes_back_over_it() {
        let scratch = Scratch::new("power-through");
        let mut disk = disk(&scratch);
        disk.write(0, b"old").unwrap();
        disk.write(BLOCK as u64, b"lost").unwrap();
        disk.perform(Operation::WriteThrough(0, b"new"[..].into())).unwrap();
        let mut kept = disk.clone();
        disk.cut(Loss::Everything).unwrap();
        assert_eq!((text(&disk, 0, 3), text(&disk, BLOCK as u64, 4)), ("new".into(), "....".into()));
        kept.cut(Loss::Nothing).unwrap();
        assert_eq!((text(&kept, 0, 3), text(&kept, BLOCK as u64, 4)), ("new".into(), "lost".into()));
    }
}
