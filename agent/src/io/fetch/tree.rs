//! A tree on disk, worked on relative to a handle of its root: no step of a path is ever followed out of it through a
//! link. Files are created and never opened for writing again once they have their final mode.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tidelock_protocol::tree::{self, TreePath};

use super::super::{disk, trace};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// A tree, and the directory last worked in.
pub(super) struct Tree {
    root: OwnedFd,
    place: PathBuf,
    is_new: bool,
    near: Option<(String, OwnedFd)>,
}

/// What the system said of `path`.
pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> disk::Error {
    move |source| disk::Error { what, path: path.to_owned(), source }
}

impl Tree {
    /// The tree at `place`, which is made when it is not there.
    pub(super) fn create(place: &Path) -> Result<Self, disk::Error> {
        let is_new = match rustix::fs::mkdir(place, Mode::from_raw_mode(0o755)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(failed("create the directory", place)(error.into())),
        };
        if is_new {
            trace::note("mkdir", &[place]);
        }
        Ok(Self { is_new, ..Self::open(place)? })
    }

    /// The tree at `place`.
    pub(super) fn open(place: &Path) -> Result<Self, disk::Error> {
        let root = rustix::fs::open(place, DIRECTORY, Mode::empty())
            .map_err(|error| failed("open the directory", place)(error.into()))?;
        Ok(Self { root, place: place.to_owned(), is_new: false, near: None })
    }

    /// Whether this process made the tree: nothing is in it but what it put there.
    pub(super) const fn is_new(&self) -> bool {
        self.is_new
    }

    /// Where `path` is, for messages.
    pub(super) fn place(&self, path: &TreePath) -> PathBuf {
        self.place.join(path.as_str())
    }

    /// Makes a directory; one that is there is fine.
    pub(super) fn make_directory(&mut self, path: &TreePath) -> Result<(), disk::Error> {
        if !self.is_new {
            if self.has_directory(path) {
                return Ok(());
            }
            self.remove(path)?;
        }
        let made =
            self.at(path, |parent| rustix::fs::mkdirat(parent, path.name(), Mode::from_raw_mode(0o755)));
        match made {
            // Asked for before, by another file in it: nobody else puts anything here.
            Err(error) if self.is_new && error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            made => made.map_err(failed("create the directory", &self.place(path)))?,
        }
        trace::note("mkdir", &[&self.place(path)]);
        Ok(())
    }

    /// Gives a directory the mode 0755 that the umask may have taken from it.
    pub(super) fn finish_directory(&mut self, path: &TreePath) -> Result<(), disk::Error> {
        let mode = Mode::from_raw_mode(0o755);
        let set = self.at(path, |parent| {
            let handle = rustix::fs::openat(parent, path.name(), DIRECTORY, Mode::empty())?;
            if mode_of(&rustix::fs::fstat(&handle)?) == 0o755 {
                Ok(())
            } else {
                rustix::fs::fchmod(&handle, mode)
            }
        });
        set.map_err(failed("set the mode of", &self.place(path)))
    }

    /// Creates a file, which must not exist.
    pub(super) fn create_file(&mut self, path: &TreePath) -> Result<File, disk::Error> {
        let flags = FILE | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = self
            .at(path, |parent| rustix::fs::openat(parent, path.name(), flags, Mode::from_raw_mode(0o600)));
        let file = file.map_err(failed("create", &self.place(path)))?;
        trace::note("create", &[&self.place(path)]);
        Ok(File::from(file))
    }

    /// Creates a file, or opens the one that an earlier attempt created and did not finish. What has another name as
    /// well is of another tree, and never opened for writing.
    pub(super) fn create_or_resume(&mut self, path: &TreePath) -> Result<File, disk::Error> {
        match self.create_file(path) {
            Err(error) if error.source.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created,
        }
        let is_alone = self.stat(path).is_some_and(|found| found.st_nlink == 1);
        if is_alone
            && let Some(file) = self.open_as(path, OFlags::RDWR).map_err(failed("open", &self.place(path)))?
        {
            return Ok(file);
        }
        self.remove(path)?;
        self.create_file(path)
    }

    /// Opens a file for reading; `None` where there is no regular file.
    pub(super) fn open_file(&mut self, path: &TreePath) -> Result<Option<File>, disk::Error> {
        self.open_as(path, OFlags::RDONLY).map_err(failed("open", &self.place(path)))
    }

    fn open_as(&mut self, path: &TreePath, access: OFlags) -> io::Result<Option<File>> {
        let opened =
            self.at(path, |parent| rustix::fs::openat(parent, path.name(), FILE | access, Mode::empty()));
        let file = match opened.map_err(|error| Errno::from_io_error(&error).ok_or(error)) {
            Ok(file) => File::from(file),
            // Nothing, a link, a directory opened for writing, a socket, or something that is no directory on the way.
            Err(Ok(Errno::NOENT | Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::NOTDIR)) => {
                return Ok(None);
            }
            Err(Ok(error)) => return Err(error.into()),
            Err(Err(error)) => return Err(error),
        };
        Ok(Some(file).filter(|file| file.metadata().is_ok_and(|found| found.is_file())))
    }

    /// Gives a file its final mode: 0444 or 0555.
    pub(super) fn finish_file(
        &self,
        path: &TreePath,
        file: &File,
        mode: tree::Mode,
    ) -> Result<(), disk::Error> {
        let wanted = final_mode(mode);
        let set = || {
            if mode_of(&rustix::fs::fstat(file)?) == wanted {
                return Ok(());
            }
            rustix::fs::fchmod(file, Mode::from_raw_mode(wanted))
        };
        set().map_err(|error| failed("set the mode of", &self.place(path))(error.into()))
    }

    /// Makes a link; one that is there and right is fine.
    pub(super) fn make_link(&mut self, path: &TreePath, target: &str) -> Result<(), disk::Error> {
        if self.target_of(path).is_some_and(|found| found == target.as_bytes()) {
            return Ok(());
        }
        self.remove(path)?;
        let made = self.at(path, |parent| rustix::fs::symlinkat(target, parent, path.name()));
        made.map_err(failed("create the link", &self.place(path)))?;
        trace::note("symlink", &[Path::new(target), &self.place(path)]);
        Ok(())
    }

    /// Makes the bytes and the mode of an open file durable.
    pub(super) fn sync_file(&self, path: &TreePath, file: &File) -> Result<(), disk::Error> {
        let place = self.place(path);
        file.sync_all().map_err(failed("fsync", &place))?;
        trace::note("fsync", &[&place]);
        Ok(())
    }

    /// Makes the names in a directory of the tree durable; the empty path is its root.
    pub(super) fn sync_directory(&self, path: &Path) -> Result<(), disk::Error> {
        disk::sync_directory(&self.place.join(path))
    }

    /// Moves what `other` has at `from` to `path` here, over what stands there.
    pub(super) fn take(
        &mut self,
        path: &TreePath,
        other: &mut Self,
        from: &TreePath,
    ) -> Result<(), disk::Error> {
        let moved =
            self.with(path, other, from, |old, new| rustix::fs::renameat(old, from.name(), new, path.name()));
        let (from, to) = (other.place(from), self.place(path));
        moved.map_err(failed("rename a mended file to", &to))?;
        trace::note("rename", &[&from, &to]);
        Ok(())
    }

    /// Gives the file that `other` has at `from` the name `path` here as well.
    pub(super) fn link(&mut self, path: &TreePath, other: &mut Self, from: &TreePath) -> io::Result<()> {
        self.with(path, other, from, |old, new| {
            rustix::fs::linkat(old, from.name(), new, path.name(), AtFlags::empty())
        })?;
        trace::note("link", &[&other.place(from), &self.place(path)]);
        Ok(())
    }

    /// Calls `act` with handles of the directories of `from` in `other` and of `path` here.
    fn with(
        &mut self,
        path: &TreePath,
        other: &mut Self,
        from: &TreePath,
        act: impl FnOnce(BorrowedFd<'_>, BorrowedFd<'_>) -> rustix::io::Result<()>,
    ) -> io::Result<()> {
        other.at(from, |old| {
            let done = self.at(path, |new| act(old, new));
            done.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        })
    }

    /// Removes whatever stands at `path`; fine when there is nothing.
    pub(super) fn remove(&mut self, path: &TreePath) -> Result<(), disk::Error> {
        let removed =
            self.at(path, |parent| match rustix::fs::unlinkat(parent, path.name(), AtFlags::empty()) {
                Err(Errno::NOENT) => Ok(false),
                other => other.map(|()| true),
            });
        let place = self.place(path);
        match removed {
            Ok(true) => trace::note("unlink", &[&place]),
            Ok(false) => {}
            Err(_) => {
                // A directory, which only a disturbed tree has here: it may be the one last worked in.
                self.near = None;
                std::fs::remove_dir_all(&place).map_err(failed("remove the tree", &place))?;
                trace::note("discard", &[&place]);
            }
        }
        Ok(())
    }

    /// Removes what stands at `path` and is not of the tree, whatever it is called.
    pub(super) fn remove_stray(&mut self, path: &Path) -> Result<(), disk::Error> {
        let place = self.place.join(path);
        self.near = None;
        let is_directory = place.symlink_metadata().is_ok_and(|found| found.is_dir());
        let removed =
            if is_directory { std::fs::remove_dir_all(&place) } else { std::fs::remove_file(&place) };
        removed.map_err(failed("remove", &place))?;
        trace::note("discard", &[&place]);
        Ok(())
    }

    /// The size of the regular file at `path`.
    pub(super) fn size_of(&mut self, path: &TreePath) -> Option<u64> {
        let found = self.stat(path)?;
        let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        u64::try_from(found.st_size).ok().filter(|_| is_file)
    }

    /// Whether a directory stands at `path`.
    pub(super) fn has_directory(&mut self, path: &TreePath) -> bool {
        self.stat(path).is_some_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory)
    }

    /// The target of the link at `path`.
    pub(super) fn target_of(&mut self, path: &TreePath) -> Option<Vec<u8>> {
        let target = self.at(path, |parent| rustix::fs::readlinkat(parent, path.name(), Vec::new()));
        target.ok().map(|target| target.into_bytes())
    }

    /// What stands at `path`, links not followed.
    pub(super) fn stat(&mut self, path: &TreePath) -> Option<Stat> {
        self.at(path, |parent| rustix::fs::statat(parent, path.name(), AtFlags::SYMLINK_NOFOLLOW)).ok()
    }

    /// The names in a directory of the tree; none: its root.
    pub(super) fn names(&mut self, path: Option<&TreePath>) -> Result<Vec<Vec<u8>>, disk::Error> {
        let place = path.map_or_else(|| self.place.clone(), |path| self.place(path));
        let list = |handle: OwnedFd| -> rustix::io::Result<Vec<Vec<u8>>> {
            let names =
                Dir::new(handle)?.map(|entry| entry.map(|entry| entry.file_name().to_bytes().to_vec()));
            names.filter(|name| !matches!(name.as_deref(), Ok(b"." | b".."))).collect()
        };
        let handle = match path {
            None => rustix::fs::openat(&self.root, ".", DIRECTORY, Mode::empty()).map_err(io::Error::from),
            Some(path) => {
                self.at(path, |parent| rustix::fs::openat(parent, path.name(), DIRECTORY, Mode::empty()))
            }
        };
        handle.and_then(|handle| list(handle).map_err(io::Error::from)).map_err(failed("list", &place))
    }

    /// Calls `act` with a handle of the directory of `path`, reached step by step without following a link.
    fn at<T>(
        &mut self,
        path: &TreePath,
        act: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        let Some(parent) = path.parent() else { return Ok(act(self.root.as_fd())?) };
        let handle = match self.near.take() {
            Some((near, handle)) if near == parent => handle,
            _ => {
                let mut handle = rustix::fs::openat(&self.root, ".", DIRECTORY, Mode::empty())?;
                for step in parent.split('/') {
                    handle = rustix::fs::openat(
                        &handle,
                        OsStr::from_bytes(step.as_bytes()),
                        DIRECTORY,
                        Mode::empty(),
                    )?;
                }
                handle
            }
        };
        let done = act(handle.as_fd());
        self.near = Some((parent.to_owned(), handle));
        Ok(done?)
    }
}

/// The permission bits of a file of a tree on a device.
pub(super) const fn final_mode(mode: tree::Mode) -> u32 {
    match mode {
        tree::Mode::Plain => 0o444,
        tree::Mode::Executable => 0o555,
    }
}

/// All permission bits.
pub(super) const fn mode_of(found: &Stat) -> u32 {
    found.st_mode & 0o7777
}
