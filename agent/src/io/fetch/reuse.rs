//! What need not be fetched: files and blocks that an earlier attempt staged, and those of the release that runs.
//! Everything is hashed before it counts; no size, time or record is believed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Seek};
use std::os::unix::fs::{FileExt, MetadataExt};

use tidelock_protocol::digest::{Digest, Hasher};
use tidelock_protocol::index::{Contents, Summary};
use tidelock_protocol::tree::{Entry, File, Kind, TreePath};

use super::super::disk;
use super::bits::Bits;
use super::old::Old;
use super::staged::Index;
use super::tree::{Tree, final_mode};
use super::{Error, Job, Report};

/// Bytes read at once from a file.
const BUFFER: usize = 64 * 1024;

/// What is here, and what is not.
pub(super) struct Plan {
    /// Per entry: staged whole and verified.
    pub(super) have: Bits,
    /// Per block: to be fetched.
    pub(super) wanted: Bits,
    /// Per block: a piece of a file, staged where it belongs.
    pub(super) staged: Bits,
    /// Sum of the wanted blocks, as served.
    pub(super) wanted_bytes: u64,
    /// Sum of the files that are written anew; counted where room must be found for them.
    pub(super) raw_bytes: u64,
    pub(super) report: Report,
}

/// How much of a file an earlier attempt staged.
#[derive(PartialEq, Eq)]
pub(super) enum Kept {
    Whole,
    Unfinished,
    Nothing,
}

/// Stages directories and whatever is already on this device, and says what is left to fetch.
pub(super) fn plan(
    index: &Index,
    summary: &Summary,
    staged: &mut Tree,
    job: &Job<'_>,
    stop: &dyn Fn() -> bool,
) -> Result<(Plan, Option<Old>), Error> {
    let mut plan = Plan::nothing(summary);
    let mut old = job.running.and_then(|place| Old::open(place, job.share));
    let missing = plan.by_path(index, staged, old.as_mut(), stop)?;
    if let Some(old) = old.as_mut().filter(|_| !missing.is_empty()) {
        plan.by_digest(index, staged, old, missing, stop)?;
        old.load_pieces();
    }
    plan.blocks(index, staged, old.as_mut(), stop)?;
    Ok((plan, old))
}

impl Plan {
    /// Nothing is here, and nothing is asked for yet.
    pub(super) fn nothing(summary: &Summary) -> Self {
        Self {
            have: Bits::none(summary.entries),
            wanted: Bits::none(summary.blocks),
            staged: Bits::none(summary.blocks),
            wanted_bytes: 0,
            raw_bytes: 0,
            report: Report::default(),
        }
    }

    /// Goes through both listings side by side; gives the digests (their first eight bytes) of what was not found.
    fn by_path(
        &mut self,
        index: &Index,
        staged: &mut Tree,
        mut old: Option<&mut Old>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<u64>, Error> {
        let mut files = old.as_ref().map(|old| old.files());
        let mut missing = Vec::new();
        let mut listing = index.listing()?;
        let mut ordinal = 0;
        while let Some(Entry { path, kind }) = listing.next_entry().map_err(Error::Index)? {
            if stop() {
                return Err(Error::Stopped);
            }
            let this = ordinal;
            ordinal += 1;
            let file = match kind {
                Kind::Directory => {
                    staged.make_directory(&path)?;
                    continue;
                }
                // Links come last: until then nothing in the staged tree leads anywhere.
                Kind::Link(_) => continue,
                Kind::File(file) => file,
            };
            self.report.files += u64::from(file.size > 0);
            let kept = kept(staged, &path, &file)?;
            if kept == Kept::Whole {
                self.report.resumed += u64::from(file.size > 0);
                self.have.set(this);
                continue;
            }
            let same = files.as_mut().is_some_and(|files| files.same(&path, &file).is_some());
            let taken = match &mut old {
                Some(old) if same => old.take_over(&path, staged, &path, &file, kept)?,
                _ => false,
            };
            if taken {
                self.report.reused += 1;
                self.have.set(this);
            } else {
                self.report.spoilt += u64::from(same);
                missing.push(prefix(&file.sha256));
            }
        }
        Ok(missing)
    }

    /// Finds files that moved: the same content under another path.
    fn by_digest(
        &mut self,
        index: &Index,
        staged: &mut Tree,
        old: &mut Old,
        mut missing: Vec<u64>,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        missing.sort_unstable();
        let mut moved: BTreeMap<Digest, TreePath> = BTreeMap::new();
        for (path, file) in old.files() {
            if file.size > 0 && missing.binary_search(&prefix(&file.sha256)).is_ok() {
                moved.insert(file.sha256, path);
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        let mut listing = index.listing()?;
        let mut ordinal = 0;
        while let Some(Entry { path, kind }) = listing.next_entry().map_err(Error::Index)? {
            if stop() {
                return Err(Error::Stopped);
            }
            if let Kind::File(file) = kind
                && !self.have.has(ordinal)
                && let Some(from) = moved.get(&file.sha256)
                && old.take_over(from, staged, &path, &file, Kept::Unfinished)?
            {
                self.report.reused += 1;
                self.have.set(ordinal);
            }
            ordinal += 1;
        }
        Ok(())
    }

    /// Says of each block whether it must be fetched.
    pub(super) fn blocks(
        &mut self,
        index: &Index,
        staged: &mut Tree,
        mut old: Option<&mut Old>,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let mut contents = Contents::open(index.inflate()?, index.inflate()?).map_err(Error::Index)?;
        let mut number = 0;
        while let Some((block, spans)) = contents.next_block().map_err(Error::Index)? {
            if stop() {
                return Err(Error::Stopped);
            }
            let this = number;
            number += 1;
            // True of a block that holds only headers, too: it is never needed.
            if spans.iter().all(|span| self.have.has(span.ordinal)) {
                continue;
            }
            if let (Some(raw), [span]) = (block.raw_sha256, &spans[..]) {
                let is_staged = piece(staged, &span.path, span.offset, span.within.len(), &raw).is_some();
                if is_staged {
                    self.staged.set(this);
                }
                if is_staged || old.as_mut().is_some_and(|old| old.piece(&raw).is_some()) {
                    self.report.reused_blocks += 1;
                    continue;
                }
            }
            self.wanted.set(this);
            self.wanted_bytes += block.bytes.end - block.bytes.start;
        }
        Ok(())
    }
}

/// Part of a file, when it has the digest `raw`.
pub(super) fn piece(
    tree: &mut Tree,
    path: &TreePath,
    offset: u64,
    length: usize,
    raw: &Digest,
) -> Option<Vec<u8>> {
    let file = tree.open_file(path).ok().flatten()?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).ok()?;
    (Digest::of(&bytes) == *raw).then_some(bytes)
}

/// What an earlier attempt left of a file. An empty one is made here; what can be of no use is removed.
fn kept(staged: &mut Tree, path: &TreePath, file: &File) -> Result<Kept, Error> {
    // Two calls less for each file of a first install.
    let found = if staged.is_new() { None } else { staged.open_file(path)? };
    let is_whole = match &found {
        Some(found) if found.metadata().is_ok_and(|found| found.len() == file.size) => {
            hash(found, |_| Ok(()))? == Some(file.sha256)
        }
        _ => false,
    };
    // What is a file of another tree as well is taken as it is, or not at all.
    let as_it_is = |found: fs::Metadata| found.nlink() == 1 || found.mode() & 0o7777 == final_mode(file.mode);
    let unfinished = |found: fs::Metadata| found.nlink() == 1 && found.mode() & 0o200 != 0;
    match found {
        Some(found) if is_whole && found.metadata().is_ok_and(as_it_is) => {
            staged.finish_file(path, &found, file.mode)?;
            return Ok(Kept::Whole);
        }
        // Created and not finished: its blocks may be right.
        Some(found) if found.metadata().is_ok_and(unfinished) && file.size > 0 => {
            return Ok(Kept::Unfinished);
        }
        Some(_) => staged.remove(path)?,
        None if !staged.is_new() && staged.stat(path).is_some() => staged.remove(path)?,
        None => {}
    }
    if file.size > 0 {
        return Ok(Kept::Nothing);
    }
    if file.sha256 != Digest::of(b"") {
        return Err(Error::File { path: path.clone() });
    }
    let empty = staged.create_file(path)?;
    staged.finish_file(path, &empty, file.mode)?;
    Ok(Kept::Whole)
}

/// Reads a file from its beginning to its end, gives each piece to `each`, and gives the digest; `None` when it cannot
/// be read.
pub(super) fn hash(
    mut file: &fs::File,
    mut each: impl FnMut(&[u8]) -> Result<(), disk::Error>,
) -> Result<Option<Digest>, Error> {
    let length = file.metadata().map_or(0, |found| usize::try_from(found.len()).unwrap_or(BUFFER));
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; length.clamp(512, BUFFER)]);
    if file.rewind().is_err() {
        return Ok(None);
    }
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Some(hasher.finish())),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                each(&buffer[..read])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Ok(None),
        }
    }
}

fn prefix(digest: &Digest) -> u64 {
    digest.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
