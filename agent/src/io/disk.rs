//! The one door to durable effects on the file system: what is done here survives a power cut, in this order.
//!
//! Never here: what the bytes mean.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

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

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error { what, path: path.to_owned(), source }
}

/// Puts `bytes` at `path`, whole or not at all: temporary file beside it, fsync, rename, fsync of the directory.
///
/// # Errors
/// Whatever the system says; the file at `path` is then the old one or the new one, never a part.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    let mut file = File::create(&temporary).map_err(failed("create", &temporary))?;
    file.write_all(bytes).map_err(failed("write", &temporary))?;
    file.sync_all().map_err(failed("fsync", &temporary))?;
    std::fs::rename(&temporary, path).map_err(failed("rename a new file to", path))?;
    sync_directory(path.parent().unwrap_or(Path::new("/")))
}

/// Makes what was created, renamed or removed in `directory` durable.
///
/// # Errors
/// Whatever the system says.
pub fn sync_directory(directory: &Path) -> Result<(), Error> {
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(failed("fsync", directory))
}
