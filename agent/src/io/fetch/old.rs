//! The release that runs, as a source of files and blocks for the next one: hashed before anything of it counts.
//!
//! Never here: which of them are asked for (`reuse`).

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::index::{Contents, Span};
use tidelock_protocol::tree::{File, TreePath};

use super::super::trace;
use super::reuse::{Kept, hash, piece};
use super::staged::{Files, Index};
use super::tree::{Tree, failed, final_mode};
use super::{Error, INDEX, Share, TREE};

/// The release that runs, as a source.
pub(super) struct Old {
    index: Index,
    tree: Tree,
    /// Whether inodes may be shared, and the file system was not seen to refuse that yet.
    links: bool,
    /// Whether the file system was not seen to refuse reflinks yet.
    reflinks: bool,
    /// Blocks of split files: raw digest, file in `paths`, offset, length; sorted.
    pieces: Vec<(Digest, usize, u64, usize)>,
    paths: Vec<TreePath>,
}

impl Old {
    /// The sealed release at `place`; `None` when it cannot be read, which only costs bytes.
    pub(super) fn open(place: &Path, share: Share) -> Option<Self> {
        let opened = Index::of_sealed(&place.join(INDEX))
            .and_then(|index| Ok((index, Tree::open(&place.join(TREE))?)));
        match opened {
            Ok((index, tree)) => {
                let (links, reflinks) = (share == Share::Inodes, true);
                Some(Self { index, tree, links, reflinks, pieces: Vec::new(), paths: Vec::new() })
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
    pub(super) fn take_over(
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
        if self.may_link(&source, file) {
            let is_right = hash(&source, |_| Ok(()))? == Some(file.sha256);
            if is_right && self.link(&source, from, staged, to)? {
                return Ok(true);
            }
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

    /// Whether `source` may be a file of the next release too: it is the agent's own, and has the mode that it gets there,
    /// with which nobody writes.
    fn may_link(&self, source: &fs::File, file: &File) -> bool {
        let fits = |found: fs::Metadata| {
            found.uid() == geteuid().as_raw() && found.mode() & 0o7777 == final_mode(file.mode)
        };
        self.links && source.metadata().is_ok_and(fits)
    }

    /// Lets `to` be the very file `source`, which stands at `from`; false where it cannot be.
    fn link(
        &mut self,
        source: &fs::File,
        from: &TreePath,
        staged: &mut Tree,
        to: &TreePath,
    ) -> Result<bool, Error> {
        if let Err(error) = staged.link(to, &mut self.tree, from) {
            // One file may have no more names; everything else is so for all of them.
            self.links = Errno::from_io_error(&error) == Some(Errno::MLINK);
            return Ok(false);
        }
        let hashed = source.metadata().map_err(failed("look at", &self.tree.place(from)))?;
        let linked =
            staged.stat(to).is_some_and(|found| (found.st_dev, found.st_ino) == (hashed.dev(), hashed.ino()));
        if !linked {
            staged.remove(to)?;
        }
        Ok(linked)
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
