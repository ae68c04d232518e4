//! Blocks are compressed on two threads and come back in order. One call of zlib-rs per block at level 9, from a fresh
//! state: level and feeding decide the bytes, so the same block is the same bytes under one version of zlib-rs.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::{Compress, Compression, FlushCompress};
use tidelock_protocol::digest::Digest;

use super::Error;

/// What the index names as the maker of the blocks. The manifest pins this very version of zlib-rs.
pub const COMPRESSOR: &str = "zlib-rs-0.6.8";

/// Publishers are small machines too; more threads than this would only fill their memory.
const THREADS: usize = 2;
/// Blocks under way: enough that no thread waits for a slow neighbour, at most 4 MiB.
const UNDER_WAY: usize = 8;

/// A block of the tar stream as it is cut.
pub(super) struct Raw {
    pub(super) bytes: Vec<u8>,
    /// Whether it is a piece of one file, whose raw digest the index carries.
    pub(super) is_piece: bool,
}

/// A block as it is served.
pub(super) struct Compressed {
    /// None of them, where they lie in an earlier bundle and are not at hand.
    pub(super) bytes: Vec<u8>,
    pub(super) length: usize,
    pub(super) raw_length: usize,
    pub(super) sha256: Digest,
    pub(super) raw_sha256: Option<Digest>,
}

type Reply = Result<Compressed, Error>;

/// Compressing threads; they end when this is dropped.
pub(super) struct Compressors {
    jobs: SyncSender<(Raw, SyncSender<Reply>)>,
    under_way: VecDeque<Pending>,
}

/// A block whose turn has not come.
enum Pending {
    Worked(Receiver<Reply>),
    Ready(Compressed),
}

impl Compressors {
    pub(super) fn start() -> Self {
        let (jobs, queue) = sync_channel::<(Raw, SyncSender<Reply>)>(UNDER_WAY);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..THREADS {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let mut state = Compress::new(Compression::new(9), false);
                // The lock is held while waiting and let go before the work begins.
                let next = || queue.lock().ok()?.recv().ok();
                while let Some((raw, reply)) = next() {
                    // Nobody waiting: the packer gave up, and will drop the queue too.
                    let _ = reply.send(compress(&mut state, &raw));
                }
            });
        }
        Self { jobs, under_way: VecDeque::new() }
    }

    /// Takes a block to compress; gives back the oldest one when enough are under way.
    pub(super) fn push(&mut self, raw: Raw) -> Result<Option<Compressed>, Error> {
        let (reply, answer) = sync_channel(1);
        self.jobs.send((raw, reply)).map_err(|_| stopped())?;
        self.wait_for(Pending::Worked(answer))
    }

    /// Takes a block that is compressed already, as [`Compressors::push`] does.
    pub(super) fn ready(&mut self, block: Compressed) -> Result<Option<Compressed>, Error> {
        self.wait_for(Pending::Ready(block))
    }

    fn wait_for(&mut self, block: Pending) -> Result<Option<Compressed>, Error> {
        self.under_way.push_back(block);
        if self.under_way.len() < UNDER_WAY { Ok(None) } else { self.next() }
    }

    /// Waits for the oldest block under way; none when there is none.
    pub(super) fn next(&mut self) -> Result<Option<Compressed>, Error> {
        match self.under_way.pop_front() {
            None => Ok(None),
            Some(Pending::Ready(block)) => Ok(Some(block)),
            Some(Pending::Worked(answer)) => answer.recv().map_err(|_| stopped())?.map(Some),
        }
    }
}

fn stopped() -> Error {
    Error::Compress("its thread ended".into())
}

fn compress(state: &mut Compress, raw: &Raw) -> Reply {
    state.reset();
    // Stored blocks cost five bytes per 16 KiB at worst, the flush five more.
    let mut bytes = Vec::with_capacity(raw.bytes.len() + raw.bytes.len() / 1024 + 64);
    state
        .compress_vec(&raw.bytes, &mut bytes, FlushCompress::Full)
        .map_err(|error| Error::Compress(error.to_string()))?;
    let whole = state.total_in() == raw.bytes.len() as u64 && bytes.len() < bytes.capacity();
    if !whole || !bytes.ends_with(&[0, 0, 0xff, 0xff]) {
        return Err(Error::Compress(format!("zlib-rs left {} bytes unfinished", raw.bytes.len())));
    }
    let raw_sha256 = raw.is_piece.then(|| Digest::of(&raw.bytes));
    let (sha256, length) = (Digest::of(&bytes), bytes.len());
    Ok(Compressed { sha256, length, bytes, raw_length: raw.bytes.len(), raw_sha256 })
}
