//! The pipeline: one thread asks and checks, one inflates, the caller's writes. Between them stand short queues, so a
//! slow stage makes the others wait and memory stays flat. Each stage hands its error on and ends; none waits for a
//! stage that is gone.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use flate2::{Decompress, FlushDecompress, Status};
use tidelock_protocol::index::DEFLATE_END;

use super::Error;
use super::ranges::{Fetched, Source};

/// Blocks that wait between two stages: 2 × (320 + 256) KiB at most.
const WAITING: usize = 2;

/// The wanted blocks, inflated, in their order.
pub(super) struct Incoming {
    blocks: Receiver<Result<(u64, Vec<u8>), Error>>,
    /// Buffers that were read, on their way back.
    spare: SyncSender<Vec<u8>>,
}

/// Runs the pipeline while `consume` takes blocks.
pub(super) fn with_blocks<T>(
    source: &Source<'_>,
    consume: impl FnOnce(Incoming) -> Result<T, Error>,
) -> Result<T, Error> {
    thread::scope(|scope| {
        let (fetched, to_inflate) = sync_channel(WAITING);
        let (inflated, blocks) = sync_channel(WAITING);
        let (spare, spares) = sync_channel(WAITING + 2);
        let begin = |name: &str| thread::Builder::new().name(name.to_owned());
        let fetch = move || {
            if let Err(error) = source.send(&fetched) {
                // Nobody there: an earlier error is on its way already.
                let _ = fetched.send(Err(error));
            }
        };
        begin("fetch").spawn_scoped(scope, fetch).map_err(|_| Error::Thread("could not begin"))?;
        let inflate = move || stage(&to_inflate, &inflated, &spares);
        begin("inflate").spawn_scoped(scope, inflate).map_err(|_| Error::Thread("could not begin"))?;
        consume(Incoming { blocks, spare })
    })
}

impl Incoming {
    /// The next wanted block, which must be block `number`.
    pub(super) fn take(&self, number: u64) -> Result<Vec<u8>, Error> {
        match self.blocks.recv() {
            Ok(Ok((found, raw))) if found == number => Ok(raw),
            Ok(Ok(_)) => Err(Error::Thread("lost a block")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Thread("ended without a word")),
        }
    }

    /// Gives a buffer back for the next block.
    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        // The other stage may have ended with the last block.
        let _ = self.spare.try_send(buffer);
    }
}

fn stage(
    fetched: &Receiver<Result<Fetched, Error>>,
    inflated: &SyncSender<Result<(u64, Vec<u8>), Error>>,
    spares: &Receiver<Vec<u8>>,
) {
    let mut state = Decompress::new(false);
    for block in fetched {
        let raw = block.and_then(|block| {
            let mut raw = spares.try_recv().unwrap_or_default();
            raw.resize(block.raw_length, 0);
            if inflate(&mut state, &block.bytes, &mut raw) {
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
