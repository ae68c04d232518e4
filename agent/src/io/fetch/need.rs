//! What a tree still needs on disk, known before anything of it is written, and whether there is room for it.
//!
//! Never here: writing anything.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tidelock_protocol::tree::{Entry, File, Kind, TreePath};

use super::super::disk;
use super::old::Old;
use super::staged::{Files, Index};
use super::tree::Tree;
use super::{Error, Share, TREE};
use crate::decide::model::Space;

/// What file systems give out: an entry costs at least this.
const CLUSTER: u64 = 4096;
/// Longest link target that costs no cluster on the file systems in use.
const INLINE_TARGET: usize = 59;

/// Whether there is room for `need` at `place`.
pub(super) fn room(need: Space, place: &Path) -> Result<(), Error> {
    let free = disk::free(place)?;
    if need.bytes <= free.bytes && need.inodes <= free.inodes {
        return Ok(());
    }
    let free = Space { bytes: free.bytes, inodes: free.inodes };
    Err(Error::Room { place: place.to_owned(), need, free })
}

/// What the tree of `index` still needs on disk. Files that are staged with their size count as there; whether they are
/// right is found out later, and a wrong one is removed before it is written again. Of a file that the release at
/// `running` has at the same path nothing is counted where its inode may be shared, and no more than what sharing its
/// blocks takes, where the file system can.
pub(super) fn need(
    index: &Index,
    staging: &Path,
    running: Option<&Path>,
    share: Share,
) -> Result<Space, Error> {
    let place = staging.join(TREE);
    let mut staged = if place.is_dir() { Some(Tree::open(&place)?) } else { None };
    let mut shared = running.and_then(|place| Shared::of(place, staging, share));
    let mut need = Space { bytes: CLUSTER, inodes: 1 };
    let mut listing = index.listing()?;
    while let Some(Entry { path, kind }) = listing.next_entry().map_err(Error::Index)? {
        let there = match (&mut staged, &kind) {
            (Some(tree), Kind::File(file)) => tree.size_of(&path) == Some(file.size),
            (Some(tree), Kind::Directory) => tree.has_directory(&path),
            _ => false,
        };
        if there {
            continue;
        }
        let taken = match (&kind, shared.as_mut()) {
            (Kind::File(file), Some(old)) => old.takes(&path, file, staging),
            _ => Taken::Nothing,
        };
        let bytes = match &kind {
            _ if taken == Taken::Inode => continue,
            Kind::File(_) if taken == Taken::Blocks => CLUSTER,
            Kind::File(file) => file.size.next_multiple_of(CLUSTER),
            Kind::Directory => CLUSTER,
            Kind::Link(target) if target.len() > INLINE_TARGET => CLUSTER,
            Kind::Link(_) => 0,
        };
        need.bytes = need.bytes.saturating_add(bytes);
        need.inodes += 1;
    }
    Ok(need)
}

/// The release that runs, whose files may be shared.
struct Shared {
    old: Old,
    files: Files,
    /// Whether inodes are.
    inodes: bool,
    /// Whether the file system can share blocks; none until it was tried.
    blocks: Option<bool>,
}

/// What of a file need not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Nothing,
    Blocks,
    Inode,
}

impl Shared {
    fn of(place: &Path, staging: &Path, share: Share) -> Option<Self> {
        let device = |path: &Path| path.metadata().map(|found| found.dev()).ok();
        let inodes = share == Share::Inodes && device(place) == device(staging);
        let old = Old::open(place, share)?;
        Some(Self { files: old.files(), old, inodes, blocks: None })
    }

    /// What of `file` at `path` is there already; asked in the order of a listing.
    fn takes(&mut self, path: &TreePath, file: &File, staging: &Path) -> Taken {
        let same = self.files.same(path, file).filter(|_| file.size > 0);
        match same {
            Some(same) if self.inodes && same.mode == file.mode => Taken::Inode,
            Some(_) if *self.blocks.get_or_insert_with(|| self.old.shares_blocks_with(staging, path)) => {
                Taken::Blocks
            }
            _ => Taken::Nothing,
        }
    }
}
