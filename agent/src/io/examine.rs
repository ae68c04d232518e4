//! What a doctor looks at: the file system under a directory, who may write a file, which units are enabled.
//!
//! Never here: whether that is well.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::disk::NewFile;

/// A file system that forgets, or that shows a file of the image until somebody writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// It lives in memory: gone at the next boot.
    Memory,
    /// An overlay: what is written may go to memory, or to a layer that the next image throws away.
    Overlay,
    /// Neither.
    Other,
}

/// Who may do what with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whether it belongs to somebody other than root and this process.
    pub foreign: bool,
    /// Permission bits.
    pub mode: u32,
}

/// The kind of file system that `path`, or what of it is there already, lies on.
///
/// # Errors
/// Whatever the system says.
pub fn file_system(path: &Path) -> io::Result<FileSystem> {
    const TMPFS: u32 = 0x0102_1994;
    const RAMFS: u32 = 0x8584_58f6;
    const OVERLAY: u32 = 0x794c_7630;
    let there = path.ancestors().find(|path| path.is_dir()).unwrap_or(path);
    // The number is 32 bits wide; how wide the field is, and whether it has a sign, differs from processor to processor.
    let [a, b, c, d, ..] = rustix::fs::statfs(there)?.f_type.to_le_bytes();
    Ok(match u32::from_le_bytes([a, b, c, d]) {
        TMPFS | RAMFS => FileSystem::Memory,
        OVERLAY => FileSystem::Overlay,
        _ => FileSystem::Other,
    })
}

/// Who may do what with the file at `path`; none where there is none.
///
/// # Errors
/// Whatever the system says.
pub fn access(path: &Path) -> io::Result<Option<Access>> {
    match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => {
            let found = found?;
            let own = [0, rustix::process::geteuid().as_raw()].contains(&found.uid());
            Ok(Some(Access { foreign: !own, mode: found.mode() & 0o7777 }))
        }
    }
}

/// Whether this process can make a file in `directory`: it makes one and removes it.
///
/// # Errors
/// Why it cannot.
pub fn try_to_write(directory: &Path) -> io::Result<()> {
    let probe = directory.join(".doctor");
    let removed = |probe: &PathBuf| std::fs::remove_file(probe);
    match NewFile::create(&probe).map_err(|error| error.source) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => removed(&probe),
        made => made.and_then(|_| removed(&probe)),
    }
}

/// Whether the service manager is systemd, and which of `units` nothing asks it to start at boot.
pub fn not_enabled<'a>(units: &[&'a str]) -> Option<Vec<&'a str>> {
    Path::new("/run/systemd/system").is_dir().then(|| {
        let wanted = |unit: &&str| {
            let targets = std::fs::read_dir("/etc/systemd/system").into_iter().flatten().flatten();
            let vendor = std::fs::read_dir("/usr/lib/systemd/system").into_iter().flatten().flatten();
            let named = targets.chain(vendor).map(|entry| entry.path()).filter(|path| {
                path.extension().is_some_and(|extension| extension == "wants" || extension == "requires")
            });
            named.map(|target| target.join(unit)).any(|link| link.symlink_metadata().is_ok())
        };
        units.iter().copied().filter(|unit| !wanted(unit)).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::room::Room;

    #[test]
    fn what_forgets_and_who_may_write_is_seen() {
        let room = Room::new();
        assert_eq!(file_system(Path::new("/dev/shm/not/made/yet")).unwrap(), FileSystem::Memory);
        let file = room.path().join("file");
        assert_eq!(access(&file).unwrap(), None);
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(access(&file).unwrap(), Some(Access { foreign: false, mode: 0o640 }));
        std::fs::write(room.path().join(".doctor"), "left by a doctor that was killed").unwrap();
        try_to_write(room.path()).unwrap();
        try_to_write(room.path()).unwrap();
        assert_eq!(room.names(), ["file"]);
        assert!(try_to_write(Path::new("/proc/nowhere")).is_err());
    }
}
