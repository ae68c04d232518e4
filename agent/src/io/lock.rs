//! The lock that one process holds for one turn: daemon, hand-run commands and guard exclude each other.
//!
//! Never here: who waits for it, and how long. It is passed as a token to whatever may only be done under it.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::disk;

/// The lock, while it is held; given back with the value, and by the kernel when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at `path` without waiting; none: another process holds it.
    ///
    /// The names that can be seen in the state directory are durable when this returns: a process that was killed
    /// between a rename and its fsync left one that a power cut takes away, and no step may be built on such a name.
    ///
    /// # Errors
    /// The file cannot be made or locked, or the directories cannot be synced.
    pub fn take(path: &Path) -> Result<Option<Self>, disk::Error> {
        let state = path.parent().unwrap_or(path);
        disk::create_directories(state)?;
        let failed = |source| disk::Error { what: "take the lock", path: path.to_owned(), source };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    settle(state)?;
                    return Ok(Some(Self { _file: file }));
                }
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(io::Error::from(error))),
            }
        }
    }
}

/// Syncs each directory whose names steps are built on; next to nothing when they are durable already.
fn settle(state: &Path) -> Result<(), disk::Error> {
    let apps = state.join("apps");
    let of_apps = std::fs::read_dir(&apps).into_iter().flatten().flatten().map(|entry| entry.path());
    let of_apps = of_apps.flat_map(|app| [app.join("releases"), app]);
    let all = [state.join("trust"), state.join("journal"), apps].into_iter().chain(of_apps);
    all.filter(|directory| directory.is_dir()).try_for_each(|directory| disk::settle(&directory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Room;

    #[test]
    fn the_lock_is_held_once_and_given_back_with_its_value() {
        let room = Room::new();
        let path = room.path().join("state/lock");
        let held = Lock::take(&path).unwrap();
        assert!(held.is_some());
        assert!(Lock::take(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::take(&path).unwrap().is_some());
    }
}
