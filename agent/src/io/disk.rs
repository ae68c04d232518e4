//! The one door to durable effects on the file system: what is done here survives a power cut, in this order.
//!
//! Never here: what the bytes mean. Every effect is noted in [`trace`], so that the crash suite can replay real runs
//! with any subset of the effects lost.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::io::trace;

#[cfg(test)]
mod tests;

/// A durable effect that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}")]
pub struct Error {
    /// What was being done.
    pub what: &'static str,
    /// To what.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// What a file system still takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Bytes that this process may still write.
    pub bytes: u64,
    /// Files that may still be created; `u64::MAX` where the file system counts none.
    pub inodes: u64,
}

/// A file of a tree that is not sealed yet: created, never opened; durable only with [`seal`].
#[derive(Debug)]
pub struct NewFile {
    file: File,
    path: PathBuf,
}

/// Puts `bytes` at `path`, whole or not at all: temporary file beside it, fsync, rename, fsync of the directory.
///
/// # Errors
/// Whatever the system says; the file at `path` is then the old one or the new one, never a part.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace_as(path, bytes, 0o644)
}

/// The same for a secret: nobody but its owner ever reads it.
///
/// # Errors
/// As [`replace`].
pub fn replace_for_owner(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace_as(path, bytes, 0o600)
}

fn replace_as(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let (temporary, file) = written_beside(path, bytes, mode)?;
    file.file.sync_all().map_err(failed("fsync", &temporary))?;
    trace::note("fsync", &[&temporary]);
    rename(&temporary, path)?;
    sync_directory(parent(path))
}

/// Puts `bytes` at `path`, whole or not at all as long as the machine keeps its power: for what means nothing after
/// the next boot.
///
/// # Errors
/// Whatever the system says.
pub fn replace_for_boot(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let (temporary, _) = written_beside(path, bytes, 0o644)?;
    rename(&temporary, path)
}

/// Makes the symlink at `link` name `target`, in one step: a new link beside it, rename, fsync of the directory.
///
/// # Errors
/// Whatever the system says; the link is then the old one or the new one.
pub fn point(link: &Path, target: &Path) -> Result<(), Error> {
    let temporary = beside(link, ".new");
    remove_if_there(&temporary)?;
    symlink(target, &temporary).map_err(failed("create the link", &temporary))?;
    trace::note("symlink", &[target, &temporary]);
    rename(&temporary, link)?;
    sync_directory(parent(link))
}

/// Makes `directory` and what leads to it; each new name is durable before the next one is made in it.
///
/// # Errors
/// Whatever the system says.
pub fn create_directories(directory: &Path) -> Result<(), Error> {
    if directory.is_dir() {
        return Ok(());
    }
    let above = parent(directory);
    create_directories(above)?;
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => made.map_err(failed("create the directory", directory))?,
    }
    trace::note("mkdir", &[directory]);
    sync_directory(above)
}

/// Makes everything in `staged` durable and only then gives it the name `sealed`, in the same directory.
///
/// One `syncfs` for the whole tree: an fsync per file took 93 s where this took 3 s. Before Linux 5.8 `syncfs`
/// reports no write error, so there every file is synced by itself.
///
/// # Errors
/// Whatever the system says; `sealed` then does not exist.
pub fn seal(staged: &Path, sealed: &Path) -> Result<(), Error> {
    if syncfs_reports_errors() {
        let handle = File::open(staged).map_err(failed("open", staged))?;
        rustix::fs::syncfs(&handle).map_err(io::Error::from).map_err(failed("syncfs", staged))?;
        trace::note("syncfs", &[staged]);
    } else {
        sync_tree(staged)?;
    }
    rename(staged, sealed)?;
    sync_directory(parent(sealed))
}

/// Removes the file or link at `path`; fine when there is none.
///
/// # Errors
/// Whatever the system says.
pub fn remove(path: &Path) -> Result<(), Error> {
    if remove_if_there(path)? { sync_directory(parent(path)) } else { Ok(()) }
}

/// Removes the tree at `path`: it first loses its name, durably, so that no cut leaves half a tree under it.
/// Fine when there is none; what an earlier cut left of the removal goes too.
///
/// # Errors
/// Whatever the system says.
pub fn prune(path: &Path) -> Result<(), Error> {
    let gone = beside(path, ".gone");
    discard(&gone)?;
    if path.symlink_metadata().is_ok() {
        rename(path, &gone)?;
        sync_directory(parent(path))?;
        discard(&gone)?;
    }
    Ok(())
}

/// Removes each of these directories that is there and empty; nothing is built on whether this is durable.
///
/// # Errors
/// Whatever the system says.
pub fn remove_if_empty(directories: &[PathBuf]) -> Result<(), Error> {
    for directory in directories {
        match std::fs::remove_dir(directory) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {}
            removed => removed.map_err(failed("remove the directory", directory))?,
        }
    }
    Ok(())
}

/// Removes what earlier cuts left in `directory` of trees that were being removed, of mendings, and of files and links that
/// had not got their names yet.
///
/// # Errors
/// Whatever the system says.
pub fn sweep(directory: &Path) -> Result<(), Error> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed("list", directory))?,
    };
    for entry in entries {
        let path = entry.map_err(failed("list", directory))?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gone" | "heal") => discard(&path)?,
            Some("new") => drop(remove_if_there(&path)?),
            _ => {}
        }
    }
    Ok(())
}

/// Removes a tree that nothing names; not durable by itself, since nobody looks for it. Fine when there is none.
///
/// # Errors
/// Whatever the system says.
pub fn discard(gone: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(gone) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        removed => removed.map_err(failed("remove the tree", gone))?,
    }
    trace::note("discard", &[gone]);
    Ok(())
}

/// Overwrites the file at `path` before it removes it: on a card that is pulled, what was only removed is easily found.
/// Fine when there is none.
///
/// # Errors
/// Whatever the system says.
pub fn erase(path: &Path) -> Result<(), Error> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file.map_err(failed("open", path))?,
    };
    let length = file.metadata().map_err(failed("look at", path))?.len();
    let zeros = io::copy(&mut io::repeat(0).take(length), &mut file).and_then(|_| file.sync_all());
    zeros.map_err(failed("overwrite", path))?;
    trace::note("fsync", &[path]);
    remove(path)
}

/// Moves a file out of the way, beside itself with `suffix`, and gives its new place.
///
/// # Errors
/// Whatever the system says.
pub fn set_aside(path: &Path, suffix: &str) -> Result<PathBuf, Error> {
    let aside = beside(path, suffix);
    rename(path, &aside)?;
    sync_directory(parent(path))?;
    Ok(aside)
}

/// Makes what was created, renamed or removed in `directory` durable.
///
/// # Errors
/// Whatever the system says.
pub fn sync_directory(directory: &Path) -> Result<(), Error> {
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(failed("fsync", directory))?;
    trace::note("fsync", &[directory]);
    Ok(())
}

/// Makes durable what an earlier process changed in `directory`, if it was killed before it did so itself.
///
/// # Errors
/// Whatever the system says.
pub fn settle(directory: &Path) -> Result<(), Error> {
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(failed("fsync", directory))?;
    trace::note("settle", &[directory]);
    Ok(())
}

/// What the file system of `path` still takes.
///
/// # Errors
/// Whatever the system says.
pub fn free(path: &Path) -> Result<Free, Error> {
    let found = rustix::fs::statvfs(path)
        .map_err(io::Error::from)
        .map_err(failed("ask for the free space of", path))?;
    let inodes = if found.f_files == 0 { u64::MAX } else { found.f_favail };
    Ok(Free { bytes: found.f_bavail.saturating_mul(found.f_frsize), inodes })
}

impl NewFile {
    /// Creates the file at `path`, which must not exist; no link is followed.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn create(path: &Path) -> Result<Self, Error> {
        Self::with_mode(path, 0o644)
    }

    fn with_mode(path: &Path, mode: u32) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
            .map_err(failed("create", path))?;
        trace::note("create", &[path]);
        Ok(Self { file, path: path.to_owned() })
    }

    /// Ends the writing and sets the permission bits.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn finish(self, mode: u32) -> Result<(), Error> {
        let permissions = std::fs::Permissions::from_mode(mode);
        self.file.set_permissions(permissions).map_err(failed("set the mode of", &self.path))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        trace::note_bytes(&self.path, &bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error { what, path: path.to_owned(), source }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The directory that holds `path`; `.` for a bare name, itself for `/`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => path,
    }
}

fn written_beside(path: &Path, bytes: &[u8], mode: u32) -> Result<(PathBuf, NewFile), Error> {
    let temporary = beside(path, ".new");
    remove_if_there(&temporary)?;
    let mut file = NewFile::with_mode(&temporary, mode)?;
    file.write_all(bytes).map_err(failed("write", &temporary))?;
    Ok((temporary, file))
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to).map_err(failed("rename a new file to", to))?;
    trace::note("rename", &[from, to]);
    Ok(())
}

fn remove_if_there(path: &Path) -> Result<bool, Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        removed => removed.map_err(failed("remove", path))?,
    }
    trace::note("unlink", &[path]);
    Ok(true)
}

/// Before Linux 5.8 a write error that `syncfs` met was lost.
fn syncfs_reports_errors() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 8)
}

fn sync_tree(path: &Path) -> Result<(), Error> {
    let found = path.symlink_metadata().map_err(failed("look at", path))?;
    if found.is_dir() {
        for entry in std::fs::read_dir(path).map_err(failed("list", path))? {
            sync_tree(&entry.map_err(failed("list", path))?.path())?;
        }
    }
    // A link has no bytes of its own to sync: it is an entry of its directory.
    if found.is_symlink() { Ok(()) } else { sync_directory(path) }
}
