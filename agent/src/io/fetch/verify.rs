//! A tree held against its listing: every difference by name.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::fmt;
use std::io::BufRead;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::index::Listing;
use tidelock_protocol::tree::{Entry, Kind, TreePath};

use super::reuse::hash;
use super::staged::Index;
use super::tree::{Tree, final_mode, mode_of};
use super::{Error, INDEX, TREE};

/// One difference between a tree and its listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where, relative to the tree.
    pub path: PathBuf,
    /// What.
    pub change: Change,
}

/// How an entry of a tree differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Listed, and not there.
    Missing,
    /// There, and not listed.
    Extra,
    /// Something else than a file, a directory, or a link, whichever is listed.
    Kind,
    /// Other bytes, or another target.
    Content,
    /// Other permissions.
    Mode,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.change {
            Change::Missing => "is missing",
            Change::Extra => "is not listed",
            Change::Kind => "is of another kind than listed",
            Change::Content => "has other content than listed",
            Change::Mode => "has other permissions than it was given",
        };
        write!(f, "{} {what}", self.path.display())
    }
}

/// How closely a tree is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Names, kinds, sizes, targets and modes.
    Names,
    /// And the content of every file.
    Content,
}

/// Hashes the sealed release at `place` again and names everything that is not as its index lists it.
///
/// # Errors
/// An index that cannot be read, or is not of `tree`: then nothing can be said.
pub fn verify(place: &Path, tree: &Digest) -> Result<Vec<Difference>, Error> {
    let index = Index::of_sealed(&place.join(INDEX))?;
    let (found, _) = index.listing()?.finish().map_err(Error::Index)?;
    if found != *tree {
        return Err(Error::Tree { found, wanted: *tree });
    }
    let mut differences = Vec::new();
    let mut live = Tree::open(&place.join(TREE))?;
    walk(&mut live, index.listing()?, Depth::Content, &mut |difference| differences.push(difference))?;
    Ok(differences)
}

/// Goes through the tree on disk and its listing side by side, both in the order of bytes.
pub(super) fn walk(
    tree: &mut Tree,
    mut listing: Listing<impl BufRead>,
    depth: Depth,
    differs: &mut dyn FnMut(Difference),
) -> Result<(), Error> {
    // Names that are known and not visited yet. A directory's names come in when it is visited, and sort after it: so
    // the least of all is always the next one.
    let mut ahead: BinaryHeap<Reverse<Vec<u8>>> = tree.names(None)?.into_iter().map(Reverse).collect();
    let mut say = |path: &[u8], change| {
        differs(Difference { path: OsStr::from_bytes(path).into(), change });
    };
    let mut listed = listing.next_entry().map_err(Error::Index)?;
    loop {
        let order = match (ahead.peek(), &listed) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(Reverse(found)), Some(entry)) => found.as_slice().cmp(entry.path.as_str().as_bytes()),
        };
        if order == Ordering::Less {
            // An unlisted directory is one difference, not one for everything in it.
            ahead.pop().iter().for_each(|Reverse(found)| say(found, Change::Extra));
            continue;
        }
        let Some(entry) = listed.take() else { return Ok(()) };
        if order == Ordering::Greater {
            say(entry.path.as_str().as_bytes(), Change::Missing);
        } else {
            ahead.pop();
            if let Some(change) = compare(tree, &entry, depth)? {
                say(entry.path.as_str().as_bytes(), change);
            }
            if entry.kind == Kind::Directory && tree.has_directory(&entry.path) {
                let inside = |name: Vec<u8>| Reverse([entry.path.as_str().as_bytes(), b"/", &name].concat());
                ahead.extend(tree.names(Some(&entry.path))?.into_iter().map(inside));
            }
        }
        listed = listing.next_entry().map_err(Error::Index)?;
    }
}

/// The first thing in which an entry differs.
fn compare(tree: &mut Tree, entry: &Entry, depth: Depth) -> Result<Option<Change>, Error> {
    let path: &TreePath = &entry.path;
    let Some(found) = tree.stat(path) else { return Ok(Some(Change::Missing)) };
    let (kind, mode) = match &entry.kind {
        Kind::Directory => (FileType::Directory, Some(0o755)),
        Kind::File(file) => (FileType::RegularFile, Some(final_mode(file.mode))),
        Kind::Link(_) => (FileType::Symlink, None),
    };
    if FileType::from_raw_mode(found.st_mode) != kind {
        return Ok(Some(Change::Kind));
    }
    let is_same = match &entry.kind {
        Kind::Directory => true,
        Kind::Link(target) => tree.target_of(path).is_some_and(|found| found == target.as_bytes()),
        Kind::File(file) if u64::try_from(found.st_size).ok() != Some(file.size) => false,
        Kind::File(_) if depth == Depth::Names => true,
        Kind::File(file) => match tree.open_file(path)? {
            Some(live) => hash(&live, |_| Ok(()))? == Some(file.sha256),
            None => false,
        },
    };
    Ok(match mode {
        _ if !is_same => Some(Change::Content),
        Some(mode) if mode != mode_of(&found) => Some(Change::Mode),
        _ => None,
    })
}
