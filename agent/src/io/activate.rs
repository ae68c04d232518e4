//! What `current` names: the one swap that makes a release live, and its undoing.
//!
//! The unit files of a release are part of the same swap; a device without systemd has none. Never here: stopping and
//! starting (`service`), or which release.

use std::io::ErrorKind;
use std::path::Path;

use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;

use super::disk;
use super::lock::Lock;
use crate::config::Paths;

/// The tree that `current` names, sealed or not; none where there is no link.
///
/// # Errors
/// There is something else than a link to a release.
pub fn current(paths: &Paths, app: &AppName) -> Result<Option<Digest>, disk::Error> {
    let link = paths.current(app);
    let target = match std::fs::read_link(&link) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        target => {
            target.map_err(|source| disk::Error { what: "read the link", path: link.clone(), source })?
        }
    };
    let name = target.strip_prefix("releases").ok().and_then(|name| name.to_str());
    let foreign = || {
        let source = std::io::Error::other(format!("it names {}, which is no release", target.display()));
        disk::Error { what: "read the link", path: link, source }
    };
    name.and_then(|name| name.parse().ok()).map(Some).ok_or_else(foreign)
}

/// Makes `current` name the sealed `tree`, in one step that survives a power cut whole or not at all.
///
/// # Errors
/// Whatever the system says; the link is then the old one or the new one.
pub fn point(_lock: &Lock, paths: &Paths, app: &AppName, tree: &Digest) -> Result<(), disk::Error> {
    disk::point(&paths.current(app), &Path::new("releases").join(tree.to_string()))
}

/// Removes `current`: nothing of the app is live any more.
///
/// # Errors
/// Whatever the system says.
pub fn unlink(_lock: &Lock, paths: &Paths, app: &AppName) -> Result<(), disk::Error> {
    disk::remove(&paths.current(app))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Room;

    #[test]
    fn the_link_names_what_it_was_pointed_at_and_nothing_foreign() {
        let room = Room::new();
        let paths = Paths::under(room.path());
        let lock = Lock::take(&paths.lock()).unwrap().unwrap();
        let web: AppName = "web".parse().unwrap();
        disk::create_directories(&paths.app(&web)).unwrap();
        assert_eq!(current(&paths, &web).unwrap(), None);
        let tree = Digest::of(b"tree");
        point(&lock, &paths, &web, &tree).unwrap();
        assert_eq!(current(&paths, &web).unwrap(), Some(tree));
        disk::point(&paths.current(&web), Path::new("/bin")).unwrap();
        let error = current(&paths, &web).unwrap_err();
        assert!(error.source.to_string().contains("/bin"));
        unlink(&lock, &paths, &web).unwrap();
        assert_eq!(current(&paths, &web).unwrap(), None);
    }
}
