//! What need not be fetched: files and blocks that an earlier attempt staged, and those of the release that runs.
//! Everything is hashed before it counts; no size, time or record is believed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use tidelock_protocol::digest::{Digest, Hasher};
use tidelock_protocol::index::{Contents, Span, Summary};
use tidelock_protocol::tree::{Entry, File, Kind, TreePath};

use super::super::{disk, trace};
use super::bits::Bits;
use super::staged::{Files, Index};
use super::tree::{Tree, failed};
use super::{Error, INDEX, Job, Report, TREE};

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

/// The release that runs, as a source.
pub(super) struct Old {
    index: Index,
    tree: Tree,
    /// Whether the file system was not seen to refuse reflinks yet.
    reflinks: bool,
    /// Blocks of split files: raw digest, file in `paths`, offset, length; sorted.
    pieces: Vec<(Digest, usize, u64, usize)>,
    paths: Vec<TreePath>,
}

/// How much of a file an earlier attempt staged.
#[derive(PartialEq, Eq)]
enum Kept {
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
    let mut old = job.running.and_then(Old::open);
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
            let same = files.as_mut().is_some_and(|files| files.have(&path, &file));
            let taken = match &mut old {
                Some(old) if same => old.take_over(&path, staged, &path, &file, kept)?,
                _ => false,
            };
            if taken {
                self.report.reused += 1;
                self.have.set(this);
            } else {
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

impl Old {
    /// The sealed release at `place`; `None` when it cannot be read, which only costs bytes.
    pub(super) fn open(place: &Path) -> Option<Self> {
        let opened = Index::of_sealed(&place.join(INDEX))
            .and_then(|index| Ok((index, Tree::open(&place.join(TREE))?)));
        match opened {
            Ok((index, tree)) => {
                Some(Self { index, tree, reflinks: true, pieces: Vec::new(), paths: Vec::new() })
            }
            Err(error) => {
                log::warn!("nothing is taken over from {}: {error}", place.display());
                None
            }
        }
    }

    /// Its files one by one, as far as its index can be read.
    pub(super) fn files(&self) -> Files {
        self.index.files()
    }

    /// Whether the file system of `staging` can share the blocks of the file at `path`: tried, with a file that never
    /// gets a name.
    pub(super) fn shares_blocks_with(&mut self, staging: &Path, path: &TreePath) -> bool {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let source = self.tree.open_file(path).ok().flatten();
        let target = rustix::fs::open(staging, flags, Mode::from_raw_mode(0o600)).ok();
        source.zip(target).is_some_and(|(source, target)| rustix::fs::ioctl_ficlone(target, source).is_ok())
    }

    /// Takes over the file at `from` as `to`; false when it is not what `file` says.
    fn take_over(
        &mut self,
        from: &TreePath,
        staged: &mut Tree,
        to: &TreePath,
        file: &File,
        kept: Kept,
    ) -> Result<bool, Error> {
        let Some(source) = self.tree.open_file(from).ok().flatten() else { return Ok(false) };
        if source.metadata().is_ok_and(|found| found.len() != file.size) {
            return Ok(false);
        }
        if kept == Kept::Unfinished {
            staged.remove(to)?;
        }
        let target = staged.create_file(to)?;
        let place = staged.place(to);
        let found = if self.reflink(&source, &target) {
            hash(&target, |bytes| {
                trace::note_bytes(&place, bytes);
                Ok(())
            })
        } else {
            hash(&source, |bytes| {
                trace::note_bytes(&place, bytes);
                (&target).write_all(bytes).map_err(failed("write", &place))
            })
        };
        if found? == Some(file.sha256) {
            staged.finish_file(to, &target, file.mode)?;
            return Ok(true);
        }
        log::warn!("{} is not what its listing states; it is fetched", self.tree.place(from).display());
        staged.remove(to)?;
        Ok(false)
    }

    /// Lets `target` share the blocks of `source`, where the file system can.
    fn reflink(&mut self, source: &fs::File, target: &fs::File) -> bool {
        self.reflinks = self.reflinks && rustix::fs::ioctl_ficlone(target, source).is_ok();
        self.reflinks
    }

    /// Remembers where the blocks of its split files are, as far as its index can be read.
    pub(super) fn load_pieces(&mut self) {
        let inflated = || self.index.inflate().ok();
        let Some(mut contents) =
            inflated().zip(inflated()).and_then(|(one, two)| Contents::open(one, two).ok())
        else {
            return;
        };
        while let Ok(Some((block, spans))) = contents.next_block() {
            if let (Some(raw), Some(Span { path, offset, within, .. })) =
                (block.raw_sha256, spans.into_iter().next())
            {
                let length = within.len();
                if self.paths.last() != Some(&path) {
                    self.paths.push(path);
                }
                self.pieces.push((raw, self.paths.len() - 1, offset, length));
            }
        }
        self.pieces.sort_unstable();
    }

    /// The bytes of a block of a split file, when they are still right.
    pub(super) fn piece(&mut self, raw: &Digest) -> Option<Vec<u8>> {
        let at = self.pieces.partition_point(|(digest, ..)| digest < raw);
        let (_, path, offset, length) = self.pieces.get(at).filter(|(digest, ..)| digest == raw)?;
        piece(&mut self.tree, self.paths.get(*path)?, *offset, *length, raw)
    }
}

/// Part of a file, when it has the digest `raw`.
fn piece(tree: &mut Tree, path: &TreePath, offset: u64, length: usize, raw: &Digest) -> Option<Vec<u8>> {
    let file = tree.open_file(path).ok().flatten()?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).ok()?;
    (Digest::of(&bytes) == *raw).then_some(bytes)
}

/// What an earlier attempt left of a file. An empty one is made here; what can be of no use is removed.
fn kept(staged: &mut Tree, path: &TreePath, file: &File) -> Result<Kept, Error> {
    let found = staged.open_file(path)?;
    let is_whole = match &found {
        Some(found) if found.metadata().is_ok_and(|found| found.len() == file.size) => {
            hash(found, |_| Ok(()))? == Some(file.sha256)
        }
        _ => false,
    };
    match found {
        Some(found) if is_whole => {
            staged.finish_file(path, &found, file.mode)?;
            return Ok(Kept::Whole);
        }
        // Created and not finished: its blocks may be right.
        Some(found) if found.metadata().is_ok_and(|found| found.mode() & 0o200 != 0) && file.size > 0 => {
            return Ok(Kept::Unfinished);
        }
        Some(_) => staged.remove(path)?,
        None if staged.stat(path).is_some() => staged.remove(path)?,
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
