//! A `.tar.gz` that somebody else made, taken apart by a parser alone: names choose no place on this disk, contents are
//! written to files with numbers, and what a release cannot hold is refused with the entry's name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};
use tidelock_protocol::tree::TreePath;

use super::gather::{Piece, Pieces, add, mode, refused};
use super::{Error, failed};

/// Up to here an archive may grow whatever its length.
const ALWAYS: u64 = 1 << 30;
/// Beyond, to so many times its length: more is no release, it is a bomb.
const RATIO: u64 = 200;

/// The entries of the archive at `path`; contents go to files in `scratch`.
pub(super) fn pieces(path: &Path, scratch: &Path) -> Result<Pieces, Error> {
    fs::create_dir_all(scratch).map_err(failed("make the directory", scratch))?;
    let file = File::open(path).map_err(failed("open", path))?;
    let length = file.metadata().map_err(failed("look at", path))?.len();
    let limit = length.saturating_mul(RATIO).max(ALWAYS);
    let inflated =
        Bounded { inner: MultiGzDecoder::new(BufReader::with_capacity(1 << 20, file)), left: limit };
    let mut archive = Archive::new(inflated);
    let mut pieces = Pieces::new();
    let broken = |source| Error::Archive { path: path.to_owned(), source };
    for (number, entry) in archive.entries().map_err(broken)?.enumerate() {
        let mut entry = entry.map_err(broken)?;
        let bytes = entry.path_bytes().into_owned();
        let Ok(name) = String::from_utf8(bytes) else {
            let shown = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            return Err(refused(path, &shown, "its name is not UTF-8"));
        };
        let trimmed = name.trim_start_matches("./").trim_end_matches('/');
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader || (matches!(trimmed, "" | ".") && kind.is_dir()) {
            continue;
        }
        let tree = trimmed.parse::<TreePath>().map_err(|error| refused(path, &name, &error.to_string()))?;
        let piece = piece(path, &name, &mut entry, &scratch.join(number.to_string()))?;
        // Archives seldom name the directories above, and may name one after what is in it.
        parents(&mut pieces, path, &tree)?;
        let is_known = matches!((&piece, pieces.get(&tree)), (Piece::Directory, Some(Piece::Directory)));
        if !is_known {
            add(&mut pieces, path, tree, piece)?;
        }
    }
    Ok(pieces)
}

fn piece(archive: &Path, name: &str, entry: &mut Entry<'_, impl Read>, place: &Path) -> Result<Piece, Error> {
    let kind = entry.header().entry_type();
    let broken = |source| Error::Archive { path: archive.to_owned(), source };
    Ok(match kind {
        EntryType::Directory => Piece::Directory,
        EntryType::Symlink => {
            let target = entry.link_name_bytes().map(|bytes| bytes.into_owned()).unwrap_or_default();
            Piece::Link(
                String::from_utf8(target).map_err(|_| refused(archive, name, "its target is not UTF-8"))?,
            )
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            if kind == EntryType::GNUSparse {
                return Err(refused(archive, name, "it is a sparse file; pack it whole"));
            }
            let bits = entry.header().mode().map_err(broken)?;
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place);
            let size = io::copy(entry, &mut file.map_err(failed("create", place))?).map_err(broken)?;
            Piece::File { mode: mode(bits), size, at: place.to_owned() }
        }
        EntryType::Link => {
            return Err(refused(archive, name, "it is a hard link; a release has none, copy the file"));
        }
        EntryType::Char | EntryType::Block => return Err(refused(archive, name, "it is a device")),
        EntryType::Fifo => return Err(refused(archive, name, "it is a pipe")),
        _ => return Err(refused(archive, name, "it is no file, directory or link")),
    })
}

/// The directories above `path`, where no entry named them yet; something else in their place is refused.
fn parents(pieces: &mut Pieces, archive: &Path, path: &TreePath) -> Result<(), Error> {
    for (at, _) in path.as_str().match_indices('/') {
        let above = &path.as_str()[..at];
        let above = above.parse::<TreePath>().map_err(|error| refused(archive, above, &error.to_string()))?;
        match pieces.get(&above) {
            Some(Piece::Directory) => {}
            Some(_) => {
                return Err(refused(archive, path.as_str(), &format!("{above} above it is no directory")));
            }
            None => add(pieces, archive, above, Piece::Directory)?,
        }
    }
    Ok(())
}

/// A reader that gives at most so many bytes.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let read = u64::try_from(n).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(read).ok_or_else(|| {
            io::Error::other(format!("it inflates to more than {RATIO} times its length: no release does"))
        })?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests;
