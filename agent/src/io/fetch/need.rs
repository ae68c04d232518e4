//! What a tree still needs on disk, known before anything of it is written, and whether there is room for it.
//!
//! Never here: writing anything.

use std::path::Path;

use tidelock_protocol::tree::{Entry, File, Kind, TreePath};

use super::super::disk;
use super::reuse::Old;
use super::staged::{Files, Index};
use super::tree::Tree;
use super::{Error, TREE};
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
/// `running` has at the same path no more is counted than what sharing its blocks takes, where the file system can.
pub(super) fn need(index: &Index, staging: &Path, running: Option<&Path>) -> Result<Space, Error> {
    let place = staging.join(TREE);
    let mut staged = if place.is_dir() { Some(Tree::open(&place)?) } else { None };
    let mut shared = running.and_then(Old::open).map(Shared::of);
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
        let bytes = match &kind {
            Kind::File(file) if file.size <= CLUSTER => file.size.next_multiple_of(CLUSTER),
            Kind::File(file) if shared.as_mut().is_some_and(|old| old.shares(&path, file, staging)) => {
                CLUSTER
            }
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

/// The release that runs, whose blocks may be shared.
struct Shared {
    old: Old,
    files: Files,
    /// Whether the file system can; none until it was tried.
    can: Option<bool>,
}

impl Shared {
    fn of(old: Old) -> Self {
        let files = old.files();
        Self { old, files, can: None }
    }

    /// Whether `file` at `path` can be had without its bytes; asked in the order of a listing.
    fn shares(&mut self, path: &TreePath, file: &File, staging: &Path) -> bool {
        self.can != Some(false)
            && self.files.have(path, file)
            && *self.can.get_or_insert_with(|| self.old.shares_blocks_with(staging, path))
    }
}
