//! A packed release on its way to the server: what the server lacks is sent, and what it holds already is not even packed.
//!
//! Never here: registering it (`push`), or taking files apart (`gather`).

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::index::{Block, Contents};
use tidelock_protocol::names::AppName;

use super::http::Server;
use super::push::{Progress, TRIES, again};
use super::{Error, failed, gather};
use crate::bundle::{self, Earlier, Inflate, MADE, Packed, Part, PartsWriter, inflated};

/// Bytes of blocks in one request.
const REQUEST: u64 = 8 << 20;
/// Blocks that follow each other and are longer go as they are: as parts they would be compressed twice, for nothing.
const RUN: u64 = 1 << 20;

#[derive(Deserialize)]
struct LackingAnswer {
    lacking: Vec<[u64; 2]>,
    bytes: u64,
    /// An older server does not say it, and takes no parts.
    #[serde(default)]
    held: Vec<[u64; 2]>,
}

/// An index that the server holds too.
pub(super) struct Basis {
    sha256: Digest,
    text: Vec<u8>,
}

impl Basis {
    /// That of an index as served; none when it is no index.
    pub(super) fn of(index: &[u8]) -> Option<Self> {
        Some(Self { sha256: Digest::of(index), text: inflated(index).ok()? })
    }
}

/// A packed release.
pub(super) struct Parcel {
    source: PathBuf,
    scratch: PathBuf,
    pub(super) packed: Packed,
    /// The blocks that were packed, one after the other.
    file: PathBuf,
    /// By what the index is told; none: it is sent whole.
    basis: Option<Basis>,
    /// Whether blocks may be told by their files.
    in_parts: bool,
}

impl Parcel {
    /// Packs the directory or archive at `source`, except blocks that `earlier` names.
    pub(super) fn pack(
        source: &Path,
        scratch: &Path,
        earlier: Earlier,
        basis: Option<Basis>,
    ) -> Result<Self, Error> {
        let (packed, file) = gather::packed(source, scratch, earlier)?;
        Ok(Self {
            source: source.to_owned(),
            scratch: scratch.to_owned(),
            packed,
            file,
            basis,
            in_parts: true,
        })
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
            let lacking = self.begin(server, app)?;
            if lacking.lacking.is_empty() {
                return Ok(sent);
            }
            if self.left_out(&lacking) {
                // The earlier release is gone there, or damaged.
                *self = Self::pack(&self.source, &self.scratch, Earlier::default(), self.basis.take())?;
                continue;
            }
            match self.send(server, app, lacking, (&mut sent, tell)) {
                Ok(()) => return Ok(sent),
                Err(error) if error.is_refusal() => return Err(error),
                Err(_) => self.in_parts = false,
            }
        }
        Err(Error::TimedOut(format!("the server still lacks blocks of {app} after {TRIES} tries")))
    }

    /// Begins the upload, or takes it up again.
    fn begin(&mut self, server: &Server, app: &AppName) -> Result<LackingAnswer, Error> {
        let index = Digest::of(&self.packed.index);
        let path = format!("apps/{app}/uploads/{index}");
        if let Some(Basis { sha256, text }) = self.basis.take() {
            let patch = bundle::patch(&text, &inflated(&self.packed.index)?)?;
            match again(|| server.put(&format!("{path}/from/{sha256}"), &patch)) {
                Err(error @ Error::Unreachable { .. }) => return Err(error),
                Err(error) if error.is_refusal() => return Err(error),
                // An older server, or one that lost that release, or compresses otherwise.
                Err(_) => {}
                Ok(lacking) => {
                    self.basis = Some(Basis { sha256, text });
                    return Ok(lacking);
                }
            }
        }
        again(|| server.put(&path, &self.packed.index))
    }

    /// Whether the server lacks a block that was not packed.
    fn left_out(&self, lacking: &LackingAnswer) -> bool {
        lacking.lacking.iter().any(|[first, end]| self.packed.left_out.range(first..end).next().is_some())
    }

    fn send(
        &self,
        server: &Server,
        app: &AppName,
        lacking: LackingAnswer,
        (sent, tell): (&mut u64, &mut dyn FnMut(Progress)),
    ) -> Result<(), Error> {
        let upload = format!("apps/{app}/uploads/{}", Digest::of(&self.packed.index));
        let contents = Packs::read(&self.packed, &self.file)?;
        let held = if self.in_parts { lacking.held } else { Vec::new() };
        let (parts, runs) = contents.sorted(&lacking.lacking, &held);
        // What is told by files is less than this.
        let mut total = *sent + lacking.bytes;
        let mut at = 0;
        while at < parts.len() {
            let before = *sent;
            let (bytes, next) = contents.parts(&parts, at, &held)?;
            again(|| server.put::<serde_json::Value>(&format!("{upload}/parts"), &bytes))?;
            *sent += bytes.len() as u64;
            let told: u64 = parts[at..next].iter().map(|number| contents.length(*number)).sum();
            total = (total + (*sent - before)).saturating_sub(told);
            tell(Progress::Sent(*sent, total));
            at = next;
        }
        for Range { start, end } in runs {
            let mut at = start;
            while at < end {
                let (bytes, next) = contents.run(at, end)?;
                again(|| server.put::<serde_json::Value>(&format!("{upload}/blocks/{at}"), &bytes))?;
                *sent += bytes.len() as u64;
                tell(Progress::Sent(*sent, total));
                at = next;
            }
        }
        Ok(())
    }
}

/// What was packed, block by block.
struct Packs {
    path: PathBuf,
    file: File,
    blocks: Vec<Pack>,
    /// Where the bundle's end lies in the file.
    end: Range<u64>,
}

/// One block.
struct Pack {
    block: Block,
    /// The places of its files in the listing, and of their contents in its raw bytes.
    files: Vec<(u64, Range<usize>)>,
    /// Where it lies in the file; a block that was left out has no length there.
    place: Range<u64>,
}

impl Packs {
    fn read(packed: &Packed, path: &Path) -> Result<Self, Error> {
        let text = inflated(&packed.index)?;
        let mut contents = Contents::open(&text[..], &text[..]).map_err(bundle::Error::Tree)?;
        let mut blocks: Vec<Pack> = Vec::new();
        let (mut at, mut end) = (None, 0);
        while let Some((block, spans)) = contents.next_block().map_err(bundle::Error::Tree)? {
            end = block.bytes.end;
            let start = at.unwrap_or(block.bytes.start);
            let left_out = packed.left_out.contains(&(blocks.len() as u64));
            let close = start + if left_out { 0 } else { end - block.bytes.start };
            at = Some(close);
            let files = spans.into_iter().map(|span| (span.ordinal, span.within)).collect();
            blocks.push(Pack { block, files, place: start..close });
        }
        let at = at.unwrap_or(end);
        let file = File::open(path).map_err(failed("open", path))?;
        Ok(Self { path: path.to_owned(), file, blocks, end: at..at + packed.length - end })
    }

    fn block(&self, number: u64) -> Option<&Pack> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    /// Where a block, or the end, lies in the file.
    fn place(&self, number: u64) -> &Range<u64> {
        self.block(number).map_or(&self.end, |pack| &pack.place)
    }

    fn length(&self, number: u64) -> u64 {
        let Range { start, end } = self.place(number);
        end - start
    }

    /// Of what is lacking, the numbers that are sent as parts, and the runs that are sent as they are.
    fn sorted(&self, lacking: &[[u64; 2]], held: &[[u64; 2]]) -> (Vec<u64>, Vec<Range<u64>>) {
        let (mut parts, mut runs) = (Vec::new(), Vec::new());
        for [first, end] in lacking {
            let mut at = *first;
            while at < *end {
                if self.is_told(at, held) {
                    parts.push(at);
                    at += 1;
                    continue;
                }
                let start = at;
                while at < *end && !self.is_told(at, held) {
                    at += 1;
                }
                let bytes: u64 = (start..at).map(|number| self.length(number)).sum();
                if held.is_empty() || bytes > RUN {
                    runs.push(start..at);
                } else {
                    parts.extend(start..at);
                }
            }
        }
        (parts, runs)
    }

    /// Whether a block is told by its files: the server holds some of them.
    fn is_told(&self, number: u64, held: &[[u64; 2]]) -> bool {
        self.block(number).is_some_and(|Pack { block, files, .. }| {
            block.raw_sha256.is_none() && files.iter().any(|(ordinal, _)| is_in(held, *ordinal))
        })
    }

    /// Parts from the one at `at` on, as many as fit one request, and where the next one begins.
    fn parts(&self, numbers: &[u64], at: usize, held: &[[u64; 2]]) -> Result<(Vec<u8>, usize), Error> {
        let (mut writer, mut inflate, mut raw) = (PartsWriter::default(), Inflate::default(), Vec::new());
        let broken = |source| failed("read", &self.path)(source);
        let (mut bytes, mut made, mut next) = (0, 0, at);
        for number in &numbers[at..] {
            let packed = self.bytes(self.place(*number))?;
            match self.block(*number).filter(|_| self.is_told(*number, held)) {
                None => {
                    writer.add(Part::Block(*number), &packed).map_err(broken)?;
                    bytes += packed.len() as u64;
                }
                Some(Pack { block, files, .. }) => {
                    inflate.open(block, &packed, &mut raw).map_err(broken)?;
                    writer.add(Part::Files(*number), b"").map_err(broken)?;
                    for (ordinal, within) in files.iter().filter(|(ordinal, _)| !is_in(held, *ordinal)) {
                        writer.add(Part::File(*ordinal), &raw[within.clone()]).map_err(broken)?;
                        bytes += within.len() as u64;
                    }
                    made += 1;
                }
            }
            next += 1;
            if bytes >= REQUEST || made >= MADE {
                break;
            }
        }
        Ok((writer.finish().map_err(broken)?, next))
    }

    /// The bytes of blocks from `at` on, as many as fit one request, and the number after them.
    fn run(&self, at: u64, end: u64) -> Result<(Vec<u8>, u64), Error> {
        let start = self.place(at).start;
        let mut next = at;
        while next < end && (next == at || self.place(next).end - start <= REQUEST) {
            next += 1;
        }
        Ok((self.bytes(&(start..self.place(next - 1).end))?, next))
    }

    fn bytes(&self, place: &Range<u64>) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; usize::try_from(place.end - place.start).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, place.start).map_err(failed("read", &self.path))?;
        Ok(bytes)
    }
}

/// Whether one of the rising ranges has this number.
fn is_in(ranges: &[[u64; 2]], number: u64) -> bool {
    let after = ranges.partition_point(|[first, _]| *first <= number);
    after > 0 && number < ranges[after - 1][1]
}
