//! The staged index: opened only when its bytes are the signed ones, read as a stream, as often as it takes.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use tidelock_protocol::digest::Hasher;
use tidelock_protocol::index::Listing;
use tidelock_protocol::release;
use tidelock_protocol::tree::{Entry, Kind};

use super::tree::{Tree, failed};
use super::{Error, TREE};
use crate::decide::model::Space;

/// What file systems give out: an entry costs at least this.
const CLUSTER: u64 = 4096;
/// Longest link target that costs no cluster on the file systems in use.
const INLINE_TARGET: usize = 59;

/// An index on disk.
pub(super) struct Index {
    path: PathBuf,
    file: File,
}

/// Its text.
pub(super) type Inflated = BufReader<GzDecoder<BufReader<File>>>;

impl Index {
    /// The index at `path`, when it is the signed one.
    pub(super) fn open(path: &Path, signed: &release::File) -> Result<Self, Error> {
        let index = Self::of_sealed(path)?;
        let mut bytes = (&index.file).take(signed.length + 1);
        let (mut hasher, mut buffer, mut length) = (Hasher::new(), vec![0; 32 * 1024], 0);
        loop {
            let read = bytes.read(&mut buffer).map_err(failed("read", path))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            length += read as u64;
        }
        let found = hasher.finish();
        if length == signed.length && found == signed.sha256 {
            Ok(index)
        } else {
            Err(Error::Digest { name: path.display().to_string(), found })
        }
    }

    /// The index at `path`, whatever it holds.
    pub(super) fn of_sealed(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(failed("open", path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Its text from the beginning. Each reader has its own handle, so several may be read side by side.
    pub(super) fn inflate(&self) -> Result<Inflated, Error> {
        let mut file = File::open(&self.path).map_err(failed("open", &self.path))?;
        file.rewind().map_err(failed("read", &self.path))?;
        Ok(BufReader::new(GzDecoder::new(BufReader::new(file))))
    }

    /// Its listing from the beginning.
    pub(super) fn listing(&self) -> Result<Listing<Inflated>, Error> {
        Listing::open(self.inflate()?).map_err(Error::Index)
    }
}

/// What the tree of `index` still needs on disk. Files that are staged with their size count as there; whether they are
/// right is found out later, and a wrong one is removed before it is written again.
pub(super) fn need(index: &Index, staging: &Path) -> Result<Space, Error> {
    let place = staging.join(TREE);
    let mut staged = if place.is_dir() { Some(Tree::open(&place)?) } else { None };
    let mut need = Space { bytes: CLUSTER, inodes: 1 };
    let mut listing = index.listing()?;
    while let Some(Entry { path, kind }) = listing.next_entry().map_err(Error::Index)? {
        let bytes = match &kind {
            Kind::Directory => CLUSTER,
            Kind::File(file) => file.size.next_multiple_of(CLUSTER),
            Kind::Link(target) if target.len() > INLINE_TARGET => CLUSTER,
            Kind::Link(_) => 0,
        };
        let there = match (&mut staged, &kind) {
            (Some(tree), Kind::File(file)) => tree.size_of(&path) == Some(file.size),
            (Some(tree), Kind::Directory) => tree.has_directory(&path),
            _ => false,
        };
        if !there {
            need.bytes = need.bytes.saturating_add(bytes);
            need.inodes += 1;
        }
    }
    Ok(need)
}
