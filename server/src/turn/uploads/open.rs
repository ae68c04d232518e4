//! One upload as it lies there: its index, the file that fills up, and which of its blocks are right.

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use tidelock_protocol::digest::Digest;
use tidelock_protocol::index::{BUNDLE_HEAD, Block, Contents};
use tidelock_protocol::limits::INDEX_BYTES;

use super::{Error, GROWING, Lacking, SEALED, failed};
use crate::bundle::{self, blocks, inflated};

/// A bundle's end: not a block, and taken like one, under the number after the last.
const TAIL: u64 = 10;

/// An upload under way.
pub(super) struct Open {
    pub(super) place: PathBuf,
    pub(super) index: Vec<u8>,
    pub(super) tree: Digest,
    pub(super) blocks: Vec<Block>,
}

impl Open {
    pub(super) fn read(place: PathBuf, index: &[u8]) -> Result<Self, Error> {
        if index.len() as u64 > INDEX_BYTES {
            return Err(Error::Limit { what: "bytes of an index", limit: INDEX_BYTES });
        }
        let text = inflated(index)?;
        let summary =
            Contents::open(&text[..], &text[..]).and_then(Contents::finish).map_err(bundle::Error::Tree)?;
        Ok(Self { place, index: index.to_vec(), tree: summary.tree, blocks: blocks(index)? })
    }

    /// Where the bundle lies once it is whole.
    pub(super) fn sealed(&self) -> PathBuf {
        self.place.join(SEALED)
    }

    /// The bundle on its way, locked until it is dropped; none when it is whole, so that what was read back is what is
    /// published.
    pub(super) fn growing(&self, lock: FlockOperation) -> Result<Option<File>, Error> {
        if self.sealed().exists() {
            return Ok(None);
        }
        let path = self.place.join(GROWING);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed("open", &path))?;
        flock(&file, lock).map_err(|errno| failed("lock", &path)(errno.into()))?;
        // Perhaps while the lock was waited for.
        Ok((!self.sealed().exists()).then_some(file))
    }

    pub(super) fn count(&self) -> u64 {
        self.blocks.len() as u64
    }

    pub(super) fn length(&self) -> u64 {
        self.body_end() + TAIL
    }

    fn body_end(&self) -> u64 {
        self.blocks.last().map_or(u64::try_from(BUNDLE_HEAD.len()).unwrap_or(0), |block| block.bytes.end)
    }

    pub(super) fn block(&self, number: u64) -> Option<&Block> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    pub(super) fn range(&self, number: u64) -> Option<Range<u64>> {
        match self.block(number) {
            Some(block) => Some(block.bytes.clone()),
            None => (number == self.count()).then(|| self.body_end()..self.length()),
        }
    }

    /// Whether these are the bytes of that number. Whether the end is right is seen when all the rest is there.
    pub(super) fn fits(&self, number: u64, bytes: &[u8]) -> bool {
        match self.block(number) {
            Some(block) => Digest::of(bytes) == block.sha256,
            None => bytes.iter().any(|byte| *byte != 0),
        }
    }

    pub(super) fn differs(&self, number: u64, what: String, bytes: &[u8]) -> Error {
        let announced = self.block(number).map_or(Digest::from([0; 32]), |block| block.sha256);
        Error::Digest { what, found: Digest::of(bytes), announced }
    }

    /// The numbers of which the file does not hold the bytes: what lies there is the truth, no record of it is kept.
    pub(super) fn lacking(&self, file: &File) -> Result<Vec<u64>, Error> {
        let mut lacking = Vec::new();
        let mut bytes = Vec::new();
        for number in 0..=self.count() {
            let Some(range) = self.range(number) else { continue };
            bytes.resize(usize::try_from(range.end - range.start).unwrap_or(0), 0);
            let read = file.read_exact_at(&mut bytes, range.start);
            if read.is_err() || bytes.iter().all(|byte| *byte == 0) || !self.fits(number, &bytes) {
                lacking.push(number);
            }
        }
        Ok(lacking)
    }

    pub(super) fn told(&self, numbers: Vec<u64>, held: Vec<u64>) -> Lacking {
        let ranges = numbers.iter().filter_map(|number| self.range(*number));
        let bytes = ranges.map(|range| range.end - range.start).sum();
        Lacking { tree: self.tree, blocks: self.count(), bytes, numbers, held }
    }
}
