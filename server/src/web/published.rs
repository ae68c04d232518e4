//! Which names are published, parsed once, and how such a file is opened: below the root, never through a link.
//!
//! Never here: what is said about a file over HTTP.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// A name that a published tree can hold. What does not parse is not served, whatever lies in the directory:
/// temporary files, dot files, and everything with a slash, a percent sign or a NUL in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// `metadata/timestamp.json`: the one file that changes.
    Timestamp,
    /// `metadata/<version>.root.json`
    Root(String),
    /// `metadata/<version>.<role>.json`, every other role.
    Role(String),
    /// `targets/<sha256>.<name>`
    Target {
        /// The file.
        name: String,
        /// The SHA-256 in front, in hex.
        sha256: String,
    },
}

impl Published {
    /// Reads a name below `metadata/`.
    pub fn metadata(name: &str) -> Option<Self> {
        if name == "timestamp.json" {
            return Some(Self::Timestamp);
        }
        let (version, role) = name.strip_suffix(".json")?.split_once('.')?;
        let is_version = version.bytes().all(|b| b.is_ascii_digit()) && !version.is_empty();
        if !is_version || version.starts_with('0') || !is_flat(role) {
            return None;
        }
        Some(if role == "root" { Self::Root(name.to_owned()) } else { Self::Role(name.to_owned()) })
    }

    /// Reads a name below `targets/`.
    pub fn target(name: &str) -> Option<Self> {
        let (sha256, rest) = name.split_once('.')?;
        let is_digest =
            sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
        (is_digest && is_flat(rest))
            .then(|| Self::Target { name: name.to_owned(), sha256: sha256.to_owned() })
    }

    /// Opens the file below `root` for reading, with its length.
    ///
    /// # Errors
    /// `NotFound` when it is not there or not a regular file, or a symbolic link stands in its way: a published tree
    /// holds none, so whoever planted one wants to lead outside. Otherwise what the system says.
    pub(super) fn open(&self, root: &Path) -> io::Result<(File, u64)> {
        let (directory, name) = match self {
            Self::Timestamp => ("metadata", "timestamp.json"),
            Self::Root(name) | Self::Role(name) => ("metadata", name.as_str()),
            Self::Target { name, .. } => ("targets", name.as_str()),
        };
        let root = rustix::fs::open(root, PLAIN | OFlags::DIRECTORY, Mode::empty())?;
        let directory = inside(root, directory, OFlags::DIRECTORY)?;
        // NONBLOCK: opening a named pipe would wait for its writer.
        let file = File::from(inside(directory, name, OFlags::NONBLOCK)?);
        let found = file.metadata()?;
        if found.is_file() { Ok((file, found.len())) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// What to call the bytes.
    pub(super) fn content_type(&self) -> &'static str {
        match self {
            Self::Timestamp | Self::Root(_) | Self::Role(_) => "application/json",
            Self::Target { name, .. } if name.ends_with(".json") => "application/json",
            // The bundle is a gzip file; it is not an answer that was compressed on its way.
            Self::Target { name, .. } if name.ends_with(".gz") => "application/gzip",
            Self::Target { .. } => "application/octet-stream",
        }
    }
}

const PLAIN: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

/// Opens `name` in `directory`, not through a link.
fn inside(directory: OwnedFd, name: &str, more: OFlags) -> io::Result<OwnedFd> {
    match rustix::fs::openat(directory, name, PLAIN | OFlags::NOFOLLOW | more, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) => Err(io::ErrorKind::NotFound.into()),
        other => Ok(other?),
    }
}

/// Whether a name stays in its directory, is seen by `ls`, and is not a file that is still being written.
fn is_flat(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= 255 && name.bytes().all(fits) && !name.ends_with(".new")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_the_timestamp_or_carries_a_version() {
        assert_eq!(Published::metadata("timestamp.json"), Some(Published::Timestamp));
        assert_eq!(Published::metadata("1.root.json"), Some(Published::Root("1.root.json".into())));
        let role = "12.env.prod.json";
        assert_eq!(Published::metadata(role), Some(Published::Role(role.into())));
        for bad in [
            "",
            "root.json",
            ".root.json",
            "01.root.json",
            "1.json",
            "1..json/..",
            "1.root.json.new",
            "timestamp.json.new",
            "1.a/b.json",
            "1.a%2fb.json",
            "1.a\0.json",
            "1.ä.json",
            "x.root.json",
            "..",
        ] {
            assert_eq!(Published::metadata(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_target_begins_with_its_digest() {
        let digest = "a0".repeat(32);
        let good = format!("{digest}.app.web.1.4.2.any.tar.gz");
        assert!(
            matches!(Published::target(&good), Some(Published::Target { sha256, .. }) if sha256 == digest)
        );
        for bad in [
            digest.clone(),
            format!("{digest}."),
            format!("{digest}.app.web.1.any.index.new"),
            format!("{digest}.a/b"),
            format!("{}.x", "A0".repeat(32)),
            format!("{}.x", "a0".repeat(31)),
            format!("../{good}"),
            format!("{digest}.{}", "x".repeat(256)),
        ] {
            assert_eq!(Published::target(&bad), None, "{bad:?}");
        }
    }
}
