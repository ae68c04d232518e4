//! A published repository as a directory: the lock, and each effect done so that a crash leaves it whole.
//!
//! Never here: which effects, or in which order (`order`).

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use super::Error;
use super::order::{Content, Effect};

/// The directory that a web server serves: `metadata/` and `targets/`. Work in progress lies in `.new/`.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

/// How long the lock is waited for: a child that was just forked holds it until it runs its program.
const PATIENCE: Duration = Duration::from_secs(2);

/// The right to publish to a directory, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _directory: File,
}

impl Directory {
    /// The repository at `root`.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Its root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes the lock, and makes the directories.
    ///
    /// # Errors
    /// [`Error::Busy`] when another process holds it.
    pub fn lock(&self) -> Result<Lock, Error> {
        for directory in ["metadata", "targets", ".new"] {
            make(&self.root.join(directory))?;
        }
        let directory = File::open(&self.root).map_err(failed("open", &self.root))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => sleep(PATIENCE / 50),
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Busy { path: self.root.clone() }),
                result => break result.map_err(|errno| failed("lock", &self.root)(errno.into()))?,
            }
        }
        Ok(Lock { _directory: directory })
    }

    /// Clears away what a crash left in `.new/`.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn clear(&self, _lock: &Lock) -> Result<(), Error> {
        let scratch = self.root.join(".new");
        for entry in fs::read_dir(&scratch).map_err(failed("list", &scratch))? {
            let path = entry.map_err(failed("list", &scratch))?.path();
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        Ok(())
    }

    /// A place for a file that is being made, on the same file system as the repository.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.root.join(".new").join(name)
    }

    /// Where the target with this whole name (digest, dot, name) lies.
    pub fn target(&self, name: &str) -> PathBuf {
        self.root.join("targets").join(name)
    }

    /// Does one effect.
    ///
    /// # Errors
    /// Whatever the system says; the repository is then as it was before.
    pub fn apply(&self, _lock: &Lock, effect: &Effect) -> Result<(), Error> {
        match effect {
            Effect::Target { name, content } => self.put_target(name, content),
            Effect::SyncTargets => sync(&self.root.join("targets")),
            Effect::Metadata { name, bytes } => {
                let new = self.scratch(name);
                write(&new, bytes, None)?;
                create(&new, &self.root.join("metadata").join(name))
            }
            Effect::SyncMetadata => sync(&self.root.join("metadata")),
            Effect::Timestamp { bytes, second } => {
                let (new, path) = (self.scratch("timestamp.json"), self.root.join("metadata/timestamp.json"));
                write(&new, bytes, Some(*second))?;
                fs::rename(&new, &path).map_err(failed("rename a new file to", &path))?;
                sync(&self.root.join("metadata"))
            }
        }
    }

    /// A target's name says its content: one that is there already is left as it is.
    fn put_target(&self, name: &str, content: &Content) -> Result<(), Error> {
        let path = self.target(name);
        if path.exists() {
            return Ok(());
        }
        let new = self.scratch(name);
        match content {
            Content::Bytes(bytes) => write(&new, bytes, None)?,
            Content::Moved(from) => {
                File::open(from).and_then(|file| file.sync_all()).map_err(failed("fsync", from))?;
                return create(from, &path);
            }
            Content::Linked(other) => {
                let other = self.target(other);
                if fs::hard_link(&other, &new).is_err() {
                    // Not every file system has links.
                    fs::copy(&other, &new).map_err(failed("copy", &other))?;
                    File::open(&new).and_then(|file| file.sync_all()).map_err(failed("fsync", &new))?;
                }
            }
        }
        create(&new, &path)
    }
}

/// Makes `directory` and what leads to it, durably.
pub(super) fn make(directory: &Path) -> Result<(), Error> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory).map_err(failed("make the directory", directory))?;
    directory.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync)
}

/// Puts `bytes` at `path`, whole or not at all, whatever was there; its directory is made when it is missing.
///
/// # Errors
/// Whatever the system says; what was there is still there then.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    path.parent().map_or(Ok(()), make)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    write(&new, bytes, None)?;
    fs::rename(&new, path).map_err(failed("rename a new file to", path))?;
    path.parent().map_or(Ok(()), sync)
}

/// Writes a new file that everybody may read, and makes its bytes durable.
fn write(path: &Path, bytes: &[u8], mtime: Option<i64>) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path);
    let mut file = file.map_err(failed("create", path))?;
    file.write_all(bytes).map_err(failed("write", path))?;
    if let Some(second) = mtime {
        let since = Duration::from_secs(u64::try_from(second).unwrap_or(0));
        let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + since);
        file.set_times(times).map_err(failed("set the time of", path))?;
    }
    file.sync_all().map_err(failed("fsync", path))
}

/// Gives `new` its final name, which nobody may have yet.
fn create(new: &Path, path: &Path) -> Result<(), Error> {
    match renameat_with(CWD, new, CWD, path, RenameFlags::NOREPLACE) {
        // Not every file system knows the flag; the lock keeps other publishers away.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !path.exists() => {
            fs::rename(new, path).map_err(failed("rename a new file to", path))
        }
        result => result.map_err(|errno| failed("create", path)(errno.into())),
    }
}

fn sync(directory: &Path) -> Result<(), Error> {
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(failed("fsync", directory))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { what, path: path.to_owned(), source }
}
