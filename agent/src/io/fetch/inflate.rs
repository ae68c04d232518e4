//! The pipeline: one thread asks and checks, one inflates, the caller's writes. Blocks go from hand to hand, so a slow
//! stage makes the others wait, and two buffers of each kind go round until the last block: memory stays flat. Each
//! stage hands its error on and ends; none waits for a stage that is gone.

use std::ops::{Deref, DerefMut};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use flate2::{Decompress, FlushDecompress, Status};
use tidelock_protocol::index::DEFLATE_END;
use tidelock_protocol::limits::BLOCK_RAW_BYTES;

use super::Error;
use super::ranges::{Fetched, Source};

/// Blocks that wait between two stages, beside the one that each has at hand: what comes before is queued by the socket
/// already, what comes after by the page cache. Two made the peak of large blocks 0.6 MiB higher.
const WAITING: usize = 0;
/// Buffers of one kind at most: one being filled, one being emptied.
const BUFFERS: usize = WAITING + 2;

/// The bytes of a block in a buffer that goes round: it keeps its length, for making it longer again fills it with zeros
/// (3 % of an install).
pub(super) struct Buffer {
    room: Vec<u8>,
    filled: usize,
}

/// Buffers that were emptied, on their way back to the stage that fills them: freed and asked for again, they would be
/// scattered over the heap of each thread.
pub(super) struct Spares(Receiver<Buffer>);

/// The wanted blocks, inflated, in their order.
pub(super) struct Incoming {
    blocks: Receiver<Result<(u64, Buffer), Error>>,
    emptied: SyncSender<Buffer>,
}

/// Runs the pipeline while `consume` takes blocks.
pub(super) fn with_blocks<T>(
    source: &Source<'_>,
    consume: impl FnOnce(Incoming) -> Result<T, Error>,
) -> Result<T, Error> {
    thread::scope(|scope| {
        let (fetched, to_inflate) = sync_channel(WAITING);
        let (inflated, blocks) = sync_channel(WAITING);
        let (read, compressed) = sync_channel(BUFFERS);
        let (emptied, raw) = sync_channel(BUFFERS);
        let begin = |name: &str| thread::Builder::new().name(name.to_owned());
        let fetch = move || {
            if let Err(error) = source.send(&fetched, &Spares(compressed)) {
                // Nobody there: an earlier error is on its way already.
                let _ = fetched.send(Err(error));
            }
        };
        begin("fetch").spawn_scoped(scope, fetch).map_err(|_| Error::Thread("could not begin"))?;
        let inflate = move || stage(&to_inflate, &read, &inflated, &Spares(raw));
        begin("inflate").spawn_scoped(scope, inflate).map_err(|_| Error::Thread("could not begin"))?;
        consume(Incoming { blocks, emptied })
    })
}

impl Incoming {
    /// The next wanted block, which must be block `number`.
    pub(super) fn take(&self, number: u64) -> Result<Buffer, Error> {
        match self.blocks.recv() {
            Ok(Ok((found, raw))) if found == number => Ok(raw),
            Ok(Ok(_)) => Err(Error::Thread("lost a block")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Thread("ended without a word")),
        }
    }

    /// Gives a buffer back for the next block.
    pub(super) fn give_back(&self, buffer: Buffer) {
        // The other stage may have ended with the last block.
        let _ = self.emptied.try_send(buffer);
    }
}

impl Spares {
    /// A buffer of `length` bytes, whatever they are; a new one has room for `most`, so that it never moves.
    pub(super) fn take(&self, length: usize, most: u32) -> Buffer {
        let most = usize::try_from(most).unwrap_or(length).max(length);
        let spare = self.0.try_recv().ok().filter(|spare| spare.room.len() >= length);
        Buffer { filled: length, ..spare.unwrap_or_else(|| vec![0; most].into()) }
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(room: Vec<u8>) -> Self {
        Self { filled: room.len(), room }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.room[..self.filled]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.room[..self.filled]
    }
}

fn stage(
    fetched: &Receiver<Result<Fetched, Error>>,
    read: &SyncSender<Buffer>,
    inflated: &SyncSender<Result<(u64, Buffer), Error>>,
    spares: &Spares,
) {
    let mut state = Decompress::new(false);
    for block in fetched {
        let raw = block.and_then(|block| {
            let mut raw = spares.take(block.raw_length, BLOCK_RAW_BYTES);
            let fits = inflate(&mut state, &block.bytes, &mut raw);
            // The other stage may have ended with the last block.
            let _ = read.try_send(block.bytes);
            if fits {
                Ok((block.number, raw))
            } else {
                Err(Error::Inflate { number: block.number, raw: block.raw_length })
            }
        });
        let failed = raw.is_err();
        if inflated.send(raw).is_err() || failed {
            return;
        }
    }
}

/// Inflates a block alone into exactly `raw`; false when it has more bytes, or fewer, or goes on.
///
/// The length that was stated is the guard against bombs: there is never room for a byte more.
fn inflate(state: &mut Decompress, bytes: &[u8], raw: &mut [u8]) -> bool {
    state.reset(false);
    // A block that ends the stream by itself is not one of several: nothing could follow it in the bundle.
    let filled =
        state.decompress(bytes, raw, FlushDecompress::None).is_ok_and(|status| status != Status::StreamEnd);
    let all = state.total_in() == bytes.len() as u64 && state.total_out() == raw.len() as u64;
    let end = state.decompress(&DEFLATE_END, &mut [], FlushDecompress::Finish);
    filled && all && matches!(end, Ok(Status::StreamEnd))
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    fn deflate(raw: &[u8], flush: FlushCompress) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(raw.len() + 1024);
        Compress::new(Compression::best(), false).compress_vec(raw, &mut bytes, flush).unwrap();
        bytes
    }

    fn fits(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
        let mut raw = vec![0; length];
        inflate(&mut Decompress::new(false), bytes, &mut raw).then_some(raw)
    }

    #[test]
    fn a_block_fills_its_stated_length_exactly_or_is_refused() {
        let texts: [Vec<u8>; 4] =
            [b"x".to_vec(), vec![0; 262_144], (0..=255).collect(), b"abc".repeat(40_000)];
        for raw in texts {
            let bytes = deflate(&raw, FlushCompress::Full);
            assert_eq!(fits(&bytes, raw.len()).as_ref(), Some(&raw), "{}", raw.len());
            assert!(fits(&bytes, raw.len() - 1).is_none(), "too small");
            assert!(fits(&bytes, raw.len() + 1).is_none(), "too large");
            assert!(fits(&bytes[..bytes.len() - 1], raw.len()).is_none(), "cut");
            assert!(fits(&[&bytes[..], &bytes[..]].concat(), raw.len()).is_none(), "twice");
            assert!(fits(&[&bytes[..], b"\0"].concat(), raw.len()).is_none(), "more");
            assert!(fits(&deflate(&raw, FlushCompress::Finish), raw.len()).is_none(), "an end of its own");
        }
    }

    #[test]
    fn a_bomb_inflates_no_further_than_its_stated_length() {
        let bomb = deflate(&vec![0; 8 << 20], FlushCompress::Full);
        assert!(fits(&bomb, 262_144).is_none());
        assert!(fits(b"\xff\xff\xff", 10).is_none());
        assert!(fits(b"", 1).is_none());
    }

    #[test]
    fn a_state_that_met_garbage_reads_the_next_block() {
        let mut state = Decompress::new(false);
        let mut raw = [0; 3];
        assert!(!inflate(&mut state, b"\xff\xff\xff", &mut raw));
        assert!(inflate(&mut state, &deflate(b"abc", FlushCompress::Full), &mut raw));
        assert_eq!(&raw, b"abc");
    }
}
