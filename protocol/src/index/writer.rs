//! Writing an index.

use std::ops::Range;

use super::{Block, DIVIDER, Error, MAGIC};
use crate::digest::Digest;
use crate::limits::{BLOCKS, INDEX_INFLATED_BYTES};
use crate::tree::{Entry, Sequence};

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
