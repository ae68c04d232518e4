//! The staged index: opened only when its bytes are the signed ones, read as a stream, as often as it takes.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use tidelock_protocol::digest::Hasher;
use tidelock_protocol::index::Listing;
use tidelock_protocol::release;
use tidelock_protocol::tree::{Entry, File as Content, Kind, TreePath};

use super::Error;
use super::tree::failed;

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

    /// The files of its listing.
    pub(super) fn files(&self) -> Files {
        Files { listing: self.listing().ok(), ahead: None }
    }
}

/// The files of a release in the order of its listing, as far as that can be read.
pub(super) struct Files {
    listing: Option<Listing<Inflated>>,
    ahead: Option<(TreePath, Content)>,
}

impl Iterator for Files {
    type Item = (TreePath, Content);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Entry { path, kind: Kind::File(file) } = self.listing.as_mut()?.next_entry().ok()?? {
                return Some((path, file));
            }
        }
    }
}

impl Files {
    /// The file at `path` when it has the content of `file`; asked in the order of a listing.
    pub(super) fn same(&mut self, path: &TreePath, file: &Content) -> Option<&Content> {
        while self.ahead.as_ref().is_none_or(|(ahead, _)| ahead < path) {
            self.ahead = self.next();
            self.ahead.as_ref()?;
        }
        let (ahead, found) = self.ahead.as_ref()?;
        (ahead == path && found.sha256 == file.sha256).then_some(found)
    }
}
