//! What is sent of a bundle whose receiver holds most of it: blocks as they are, and of shared blocks only the files that
//! are lacking. One gzip stream of
//!
//! ```text
//! block N        and the compressed bytes of block N; the bundle's end is the number after the last
//! files N        block N is made of files; the next lines are of those that the receiver has not
//! file ORDINAL   and the content of that entry of the listing
//! ```
//! Lengths follow from the index, which both sides have; so does where each byte belongs. Nothing is said of it here, so
//! nothing false can be said.

use std::io::{self, BufRead, BufReader, Read, Write};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

use super::inflate::invalid;

/// Most bytes that one stream may inflate to.
pub const PARTS_BYTES: u64 = 16 << 20;
/// Most blocks of one stream that are made of files: each costs the receiver a compression.
pub const MADE: usize = 256;
/// Longest line: a word and a number.
const LINE: u64 = 32;

/// What comes next in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A block, whose bytes follow.
    Block(u64),
    /// A block that is made of files.
    Files(u64),
    /// A file of it, whose content follows.
    File(u64),
}

/// Reads a stream.
pub struct Parts<'a> {
    stream: io::Take<BufReader<GzDecoder<&'a [u8]>>>,
    ahead: Option<Part>,
}

impl<'a> Parts<'a> {
    /// Begins to read; never more than [`PARTS_BYTES`].
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { stream: BufReader::new(GzDecoder::new(bytes)).take(PARTS_BYTES), ahead: None }
    }

    /// What comes next; none at the end.
    ///
    /// # Errors
    /// Something that is no part.
    pub fn next_part(&mut self) -> io::Result<Option<Part>> {
        if let Some(part) = self.ahead.take() {
            return Ok(Some(part));
        }
        let mut line = Vec::new();
        if (&mut self.stream).take(LINE).read_until(b'\n', &mut line)? == 0 {
            // Too long and at its end look alike to a reader that counts.
            return if self.stream.limit() == 0 { Err(invalid("the parts are too long")) } else { Ok(None) };
        }
        let text = std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix('\n'));
        let (word, number) = text.and_then(|line| line.split_once(' ')).unwrap_or_default();
        match (word, number.parse::<u64>()) {
            ("block", Ok(number)) => Ok(Some(Part::Block(number))),
            ("files", Ok(number)) => Ok(Some(Part::Files(number))),
            ("file", Ok(number)) => Ok(Some(Part::File(number))),
            _ => Err(invalid("there is something that is no part of a bundle")),
        }
    }

    /// The next file of the block that was begun; none where the next part is another.
    ///
    /// # Errors
    /// As [`Parts::next_part`].
    pub fn file(&mut self) -> io::Result<Option<u64>> {
        match self.next_part()? {
            Some(Part::File(ordinal)) => Ok(Some(ordinal)),
            other => {
                self.ahead = other;
                Ok(None)
            }
        }
    }

    /// The bytes that follow a line.
    ///
    /// # Errors
    /// They are not all there.
    pub fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.stream.read_exact(bytes)
    }
}

/// Writes a stream.
pub struct PartsWriter(GzEncoder<Vec<u8>>);

impl Default for PartsWriter {
    fn default() -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::new(9)))
    }
}

impl PartsWriter {
    /// Adds a part and the bytes that follow it.
    ///
    /// # Errors
    /// Compressing fails.
    pub fn add(&mut self, part: Part, bytes: &[u8]) -> io::Result<()> {
        let (word, number) = match part {
            Part::Block(number) => ("block", number),
            Part::Files(number) => ("files", number),
            Part::File(number) => ("file", number),
        };
        writeln!(self.0, "{word} {number}")?;
        self.0.write_all(bytes)
    }

    /// The stream.
    ///
    /// # Errors
    /// Compressing fails.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        self.0.finish()
    }
}
