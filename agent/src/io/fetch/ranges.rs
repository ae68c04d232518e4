//! Bytes of signed files from the publisher: whole, or by ranges of wanted blocks with small gaps bridged.
//!
//! Where most is wanted it is one plain request, read as a stream; a server that ignores ranges is read so too. Every
//! block is checked here, before anything looks into it.

use std::io::Read;
use std::ops::Range;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tidelock_protocol::digest::Digest;
use tidelock_protocol::index::Blocks;
use tidelock_protocol::limits::BLOCK_BYTES;
use tidelock_protocol::release::File;

use super::super::http::{self, Answer, Ask, Body, Http};
use super::bits::Bits;
use super::inflate::{Buffer, Spares};
use super::staged::{Index, Inflated};
use super::{Error, Traffic};

/// Unwanted bytes that are fetched rather than asking again: about what a round trip costs on a slow link.
const GAP: u64 = 32 * 1024;
/// Rest of an answer that is read to keep the connection for the next question.
const REST: u64 = 64 * 1024;

/// Time for a whole file: patient with slow links (2 KiB/s), not endless.
fn deadline(length: u64) -> Duration {
    Duration::from_secs(600 + length / 2048)
}

/// Where blocks come from, and which.
pub(super) struct Source<'a> {
    pub(super) http: &'a Http,
    pub(super) bundle: &'a File,
    pub(super) index: &'a Index,
    pub(super) wanted: &'a Bits,
    /// Whether most of the bundle is wanted.
    pub(super) most: bool,
    pub(super) traffic: &'a Traffic,
    pub(super) stop: &'a (dyn Fn() -> bool + Sync),
}

/// A block as it was served, and what it is.
pub(super) struct Fetched {
    pub(super) number: u64,
    pub(super) bytes: Buffer,
    pub(super) raw_length: usize,
}

/// A signed file as a whole, in memory, verified.
pub(super) fn verified(http: &Http, file: &File) -> Result<Vec<u8>, Error> {
    let ask = Ask { limit: file.length, deadline: deadline(file.length), ..Ask::default() };
    let answer = http.get(&file.path(), &ask)?;
    let bytes = plain(file, answer)?.into_bytes()?;
    let found = Digest::of(&bytes);
    match bytes.len() as u64 {
        other if other != file.length => Err(length(file, other)),
        _ if found != file.sha256 => Err(Error::Digest { name: file.name.clone(), found }),
        _ => Ok(bytes),
    }
}

/// The body of an answer that is the whole file.
fn plain(file: &File, answer: Answer) -> Result<Body, Error> {
    match answer {
        Answer::Whole { length: Some(found), .. } if found != file.length => Err(length(file, found)),
        Answer::Whole { body, .. } => Ok(body),
        _ => Err(Error::Missing { name: file.name.clone() }),
    }
}

fn length(file: &File, found: u64) -> Error {
    Error::Length { name: file.name.clone(), found, signed: file.length }
}

impl Source<'_> {
    /// Sends the wanted blocks in order; returns early when nobody takes them.
    pub(super) fn send(
        &self,
        out: &SyncSender<Result<Fetched, Error>>,
        spares: &Spares,
    ) -> Result<(), Error> {
        let mut runs = Runs { blocks: self.blocks()?, wanted: self.wanted, number: 0, ahead: None };
        let mut blocks = self.blocks()?;
        let mut stream: Option<Stream<'_>> = None;
        let mut next = 0;
        while let Some(block) = blocks.next_block().map_err(Error::Index)? {
            let number = next;
            next += 1;
            if !self.wanted.has(number) {
                continue;
            }
            if (self.stop)() {
                return Err(Error::Stopped);
            }
            if stream.as_ref().is_none_or(|stream| stream.end < block.bytes.end) {
                stream.take().map_or(Ok(()), Stream::finish)?;
                stream = Some(self.ask(&mut runs)?);
            }
            let Some(stream) = &mut stream else { continue };
            let length = usize::try_from(block.bytes.end - block.bytes.start).unwrap_or(0);
            let mut bytes = spares.take(length, BLOCK_BYTES);
            stream.read(block.bytes.start, &mut bytes)?;
            if Digest::of(&bytes) != block.sha256 {
                let (name, Range { start, end }) = (self.bundle.name.clone(), block.bytes);
                return Err(Error::Block { name, number, start, end });
            }
            let raw_length = usize::try_from(block.raw.end - block.raw.start).unwrap_or(0);
            if out.send(Ok(Fetched { number, bytes, raw_length })).is_err() {
                return Ok(());
            }
        }
        stream.map_or(Ok(()), Stream::finish)
    }

    fn blocks(&self) -> Result<Blocks<Inflated>, Error> {
        Blocks::open(self.index.inflate()?).map_err(Error::Index)
    }

    /// Asks for the next run of blocks, or for the whole bundle.
    fn ask(&self, runs: &mut Runs<'_>) -> Result<Stream<'_>, Error> {
        let file = self.bundle;
        let range = if self.most { None } else { runs.next()? };
        // The limit is that of the whole file: a server may ignore the range.
        let ask =
            Ask { etag: None, range: range.clone(), limit: file.length, deadline: deadline(file.length) };
        self.traffic.add(0, 1);
        let answer = self.http.get(&file.path(), &ask)?;
        let (body, part) = match (answer, range) {
            (Answer::Part { total: Some(total), .. }, _) if total != file.length => {
                return Err(length(file, total));
            }
            (Answer::Part { range: part, body, .. }, Some(asked)) if part == asked => (body, part),
            (Answer::Part { .. }, _) => return Err(Error::Part { name: file.name.clone() }),
            (Answer::OutOfRange, Some(Range { start, end })) => {
                return Err(Error::OutOfRange { name: file.name.clone(), start, end });
            }
            (answer, _) => (plain(file, answer)?, 0..file.length),
        };
        Ok(Stream { body, at: part.start, end: part.end, path: file.path(), traffic: self.traffic })
    }
}

/// Wanted blocks merged where they are near enough to each other, one range after the other.
struct Runs<'a> {
    blocks: Blocks<Inflated>,
    wanted: &'a Bits,
    number: u64,
    /// The first wanted block of the next run.
    ahead: Option<Range<u64>>,
}

impl Runs<'_> {
    fn next(&mut self) -> Result<Option<Range<u64>>, Error> {
        let mut run = self.ahead.take();
        while let Some(block) = self.blocks.next_block().map_err(Error::Index)? {
            let is_wanted = self.wanted.has(self.number);
            self.number += 1;
            match &mut run {
                _ if !is_wanted => {}
                None => run = Some(block.bytes),
                Some(run) if block.bytes.start - run.end <= GAP => run.end = block.bytes.end,
                Some(_) => {
                    self.ahead = Some(block.bytes);
                    break;
                }
            }
        }
        Ok(run)
    }
}

/// An answer that is being read.
struct Stream<'a> {
    body: Body,
    at: u64,
    end: u64,
    path: String,
    traffic: &'a Traffic,
}

impl Stream<'_> {
    /// The bytes from `start` on; what lies before them is skipped.
    fn read(&mut self, start: u64, bytes: &mut [u8]) -> Result<(), Error> {
        self.skip(start)?;
        let read = self.body.read_exact(bytes);
        self.note(bytes.len() as u64);
        Ok(read.map_err(|error| http::Error::from_io(&self.path, error))?)
    }

    fn skip(&mut self, to: u64) -> Result<(), Error> {
        let mut buffer = [0; 4096];
        while self.at < to {
            let most = usize::try_from(to - self.at).unwrap_or(usize::MAX).min(buffer.len());
            let skipped = self.body.read_exact(&mut buffer[..most]);
            self.note(most as u64);
            skipped.map_err(|error| http::Error::from_io(&self.path, error))?;
        }
        Ok(())
    }

    /// Reads a short rest, so that the connection can be used again.
    fn finish(mut self) -> Result<(), Error> {
        if self.end - self.at <= REST {
            self.skip(self.end)?;
            self.body.read(&mut [0]).map_err(|error| http::Error::from_io(&self.path, error))?;
        }
        Ok(())
    }

    fn note(&mut self, bytes: u64) {
        self.at += bytes;
        self.traffic.add(bytes, 0);
    }
}
