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
use crate::decide::model::{Extent, Rechecked};

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

/// How much of a tree is looked at, and how closely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope<'a> {
    /// Names, kinds, sizes, targets and modes.
    Names,
    /// And the content of every file that has other names as well.
    Shared,
    /// And the content of every file.
    Content,
    /// The same from a path on, until so many bytes were read.
    Piece {
        /// The first path.
        from: &'a str,
        /// Bytes.
        bytes: u64,
    },
}

/// A part of a tree that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The path to go on from; none: it was the last part.
    pub next: Option<String>,
    /// Entries that differ.
    pub differing: u64,
    /// The first of them, in words; at most [`FIRST`].
    pub first: Vec<String>,
}

/// How many differences are told one by one.
pub const FIRST: usize = 3;

/// Hashes the sealed release at `place` again and names everything that is not as its index lists it.
///
/// # Errors
/// An index that cannot be read, or is not of `tree`: then nothing can be said.
pub fn verify(place: &Path, tree: &Digest) -> Result<Vec<Difference>, Error> {
    let mut differences = Vec::new();
    look(place, tree, Scope::Content, &mut |difference| differences.push(difference))?;
    Ok(differences)
}

/// Hashes the sealed release at `place`, or of it what other releases may have reached.
///
/// # Errors
/// As [`verify`].
pub fn recheck(place: &Path, tree: &Digest, extent: Extent) -> Result<Rechecked, Error> {
    let mut found = Rechecked::right(*tree);
    let scope = match extent {
        Extent::Whole => Scope::Content,
        Extent::Shared => Scope::Shared,
    };
    look(place, tree, scope, &mut |difference| {
        found.differing += 1;
        if found.first.len() < FIRST {
            found.first.push(difference.to_string());
        }
    })?;
    Ok(found)
}

/// Hashes the part of the sealed release at `place` that begins at the path `from` and has `bytes` or little more.
///
/// # Errors
/// As [`verify`].
pub fn inspect(place: &Path, tree: &Digest, from: Option<&str>, bytes: u64) -> Result<Piece, Error> {
    let mut piece = Piece { next: None, differing: 0, first: Vec::new() };
    let scope = Scope::Piece { from: from.unwrap_or_default(), bytes };
    piece.next = look(place, tree, scope, &mut |difference| {
        piece.differing += 1;
        if piece.first.len() < FIRST {
            piece.first.push(difference.to_string());
        }
    })?;
    Ok(piece)
}

fn look(
    place: &Path,
    tree: &Digest,
    scope: Scope<'_>,
    differs: &mut dyn FnMut(Difference),
) -> Result<Option<String>, Error> {
    let index = Index::of_sealed(&place.join(INDEX))?;
    let (found, _) = index.listing()?.finish().map_err(Error::Index)?;
    if found != *tree {
        return Err(Error::Tree { found, wanted: *tree });
    }
    walk(&mut Tree::open(&place.join(TREE))?, index.listing()?, scope, differs)
}

/// Goes through the tree on disk and its listing side by side, both in the order of bytes; gives the path that it would
/// go on from.
pub(super) fn walk(
    tree: &mut Tree,
    mut listing: Listing<impl BufRead>,
    scope: Scope<'_>,
    differs: &mut dyn FnMut(Difference),
) -> Result<Option<String>, Error> {
    let (from, mut left) = match scope {
        Scope::Piece { from, bytes } => (from, bytes),
        Scope::Names | Scope::Shared | Scope::Content => ("", u64::MAX),
    };
    // Names that are known and not visited yet. A directory's names come in when it is visited, and sort after it: so
    // the least of all is always the next one.
    let mut ahead: BinaryHeap<Reverse<Vec<u8>>> = tree.names(None)?.into_iter().map(Reverse).collect();
    let mut say = |path: &[u8], change| {
        if path >= from.as_bytes() {
            differs(Difference { path: OsStr::from_bytes(path).into(), change });
        }
    };
    let mut listed = listing.next_entry().map_err(Error::Index)?;
    loop {
        let order = match (ahead.peek(), &listed) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(Reverse(found)), Some(entry)) => found.as_slice().cmp(entry.path.as_str().as_bytes()),
        };
        if order == Ordering::Less {
            // An unlisted directory is one difference, not one for everything in it.
            ahead.pop().iter().for_each(|Reverse(found)| say(found, Change::Extra));
            continue;
        }
        let Some(entry) = listed.take() else { return Ok(None) };
        if left == 0 {
            return Ok(Some(entry.path.as_str().to_owned()));
        }
        if order == Ordering::Greater {
            say(entry.path.as_str().as_bytes(), Change::Missing);
        } else {
            ahead.pop();
            if entry.path.as_str() >= from {
                left = left.saturating_sub(if let Kind::File(file) = &entry.kind { file.size } else { 0 });
                let change = compare(tree, &entry, scope)?;
                change.into_iter().for_each(|change| say(entry.path.as_str().as_bytes(), change));
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
fn compare(tree: &mut Tree, entry: &Entry, scope: Scope<'_>) -> Result<Option<Change>, Error> {
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
        Kind::File(_) if scope == Scope::Names || scope == Scope::Shared && found.st_nlink == 1 => true,
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
