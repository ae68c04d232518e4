//! A packed release on its way to the server: what the server lacks is sent, and what it holds already is not even packed.
//!
//! Never here: registering it (`push`), or taking files apart (`gather`).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;

use super::http::Server;
use super::push::{Progress, TRIES, again};
use super::{Error, failed, gather};
use crate::bundle::{self, Earlier, Packed};

/// Bytes of blocks in one request.
const REQUEST: u64 = 8 << 20;

#[derive(Deserialize)]
struct LackingAnswer {
    lacking: Vec<[u64; 2]>,
    bytes: u64,
}

/// A packed release.
pub(super) struct Parcel {
    source: PathBuf,
    scratch: PathBuf,
    pub(super) packed: Packed,
    /// The blocks that were packed, one after the other.
    file: PathBuf,
}

impl Parcel {
    /// Packs the directory or archive at `source`, except blocks that `earlier` names.
    pub(super) fn pack(source: &Path, scratch: &Path, earlier: Earlier) -> Result<Self, Error> {
        let (packed, file) = gather::packed(source, scratch, earlier)?;
        Ok(Self { source: source.to_owned(), scratch: scratch.to_owned(), packed, file })
    }

    /// Sends what the server lacks; bytes sent.
    pub(super) fn upload(
        &mut self,
        server: &Server,
        app: &AppName,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<u64, Error> {
        let mut sent = 0;
        // What is lacking is asked anew after each try: the server knows best what reached it.
        for _ in 0..TRIES {
            let index = Digest::of(&self.packed.index);
            let lacking: LackingAnswer =
                again(|| server.put(&format!("apps/{app}/uploads/{index}"), &self.packed.index))?;
            if lacking.lacking.is_empty() {
                return Ok(sent);
            }
            if self.left_out(&lacking) {
                // The earlier release is gone there, or damaged.
                *self = Self::pack(&self.source, &self.scratch, Earlier::default())?;
                continue;
            }
            let upload = format!("apps/{app}/uploads/{index}/blocks");
            match self.send(server, &upload, lacking, (&mut sent, tell)) {
                Err(error) if error.is_refusal() => return Err(error),
                _ => {}
            }
        }
        Err(Error::TimedOut(format!("the server still lacks blocks of {app} after {TRIES} tries")))
    }

    /// Whether the server lacks a block that was not packed.
    fn left_out(&self, lacking: &LackingAnswer) -> bool {
        lacking.lacking.iter().any(|[first, end]| self.packed.left_out.range(first..end).next().is_some())
    }

    fn send(
        &self,
        server: &Server,
        upload: &str,
        lacking: LackingAnswer,
        (sent, tell): (&mut u64, &mut dyn FnMut(Progress)),
    ) -> Result<(), Error> {
        let file = File::open(&self.file).map_err(failed("open", &self.file))?;
        let ranges = self.ranges()?;
        let total = *sent + lacking.bytes;
        for [first, end] in lacking.lacking {
            let mut at = first;
            while at < end {
                let (bytes, next) = piece(&file, &ranges, at, end).map_err(failed("read", &self.file))?;
                again(|| server.put::<serde_json::Value>(&format!("{upload}/{at}"), &bytes))?;
                *sent += u64::try_from(bytes.len()).unwrap_or(0);
                tell(Progress::Sent(*sent, total));
                at = next;
            }
        }
        Ok(())
    }

    /// Where each block stands in the file, and then the bundle's end; a block that was left out has no length there.
    fn ranges(&self) -> Result<Vec<(u64, u64)>, Error> {
        let blocks = bundle::blocks(&self.packed.index)?;
        let mut at = blocks.first().map_or(0, |block| block.bytes.start);
        let mut ranges = Vec::with_capacity(blocks.len() + 1);
        let mut end = at;
        for (number, block) in (0..).zip(&blocks) {
            end = block.bytes.end;
            let length = if self.packed.left_out.contains(&number) { 0 } else { end - block.bytes.start };
            ranges.push((at, at + length));
            at += length;
        }
        ranges.push((at, at + self.packed.length - end));
        Ok(ranges)
    }
}

/// The bytes of blocks from `at` on, as many as fit one request, and the number after them.
fn piece(file: &File, ranges: &[(u64, u64)], at: u64, end: u64) -> std::io::Result<(Vec<u8>, u64)> {
    let of = |number: u64| ranges.get(usize::try_from(number).ok()?).copied();
    let start = of(at).map_or(0, |(start, _)| start);
    let (mut next, mut stop) = (at, start);
    while next < end
        && let Some((_, close)) = of(next)
        && (close - start <= REQUEST || next == at)
    {
        (next, stop) = (next + 1, close);
    }
    let mut bytes = vec![0; usize::try_from(stop - start).unwrap_or(0)];
    file.read_exact_at(&mut bytes, start)?;
    Ok((bytes, next.max(at + 1)))
}
