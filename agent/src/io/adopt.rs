//! An app that ran before the agent knew of it: a release made here, whose hooks are the unit that runs it already.
//!
//! Never here: starting or stopping that unit; it runs on, and the first update stops it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use tidelock_protocol::desired::Tuning;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::index::{BUNDLE_HEAD, bundle_tail};
use tidelock_protocol::names::AppName;
use tidelock_protocol::recipe;
use tidelock_protocol::time::Timestamp;
use tidelock_protocol::tree::{Entry, File, Kind, Mode, Sequence};

use super::fetch::{INDEX, TREE};
use super::journal::{Journal, Running};
use super::lock::Lock;
use super::{activate, clock, disk, release};
use crate::config::Paths;
use crate::decide::model::{Committed, Record, Run, Setup};

/// What people call such a release.
const VERSION: &str = "adopted";
/// The file beside its tree that says that no publisher made it, but whoever may be root here.
const MARK: &str = "adopted";

/// Whether the sealed release in `directory` was made here.
pub fn is_adopted(directory: &Path) -> bool {
    directory.join(MARK).is_file()
}

/// Takes over `app`, which runs as `unit`: from now on it is what this device is on, committed and live.
///
/// Each effect is durable before the next, and a cut in between leaves an app that the next turn brings to its end by
/// starting the unit, which runs.
///
/// # Errors
/// Whatever the system says.
pub fn adopt(
    lock: &Lock,
    paths: &Paths,
    journal: &Journal,
    app: &AppName,
    (unit, enabled): (&str, bool),
    at: Timestamp,
) -> Result<Setup, disk::Error> {
    let setup = seal(lock, paths, app, &text(unit, enabled))?;
    // No trial led here: the first one is number 1.
    let committed = Committed { serial: 0, setup: setup.clone(), at, passed: BTreeMap::new() };
    journal.write(lock, app, &Record::Committed(vec![committed]))?;
    activate::point(lock, paths, app, &setup.tree)?;
    let run = Run::Started { tree: setup.tree, at: clock::since_boot() };
    journal.keep_running(lock, app, &Running { run, ..Running::default() })?;
    Ok(setup)
}

/// The `release.toml`: a unit that boots with the machine must not do so beside its successor, and does so again after
/// a way back.
fn text(unit: &str, enabled: bool) -> String {
    let (start, stop) =
        if enabled { ("\"enable\", \"--now\"", "\"disable\", \"--now\"") } else { ("\"start\"", "\"stop\"") };
    format!(
        "# Made on this device by `tidelock adopt`: the release is the unit that ran before.\nformat = 1\n\n[hooks]\n\
         start = [\"systemctl\", {start}, \"--\", \"{unit}\"]\nstop = [\"systemctl\", {stop}, \"--\", \"{unit}\"]\n\
         timeout = 120\n\n[[check]]\nname = \"active\"\n\
         command = [\"systemctl\", \"is-active\", \"--quiet\", \"--\", \"{unit}\"]\ninterval = 2\ndeadline = 60\n\
         successes = 2\n"
    )
}

/// A sealed release with this `release.toml` and nothing else.
fn seal(lock: &Lock, paths: &Paths, app: &AppName, text: &str) -> Result<Setup, disk::Error> {
    let (tree, index) = listed(text);
    let setup = Setup { tree, tuning: Tuning::default(), version: VERSION.parse().ok() };
    let staged = paths.staged(app, &tree);
    disk::prune(&staged)?;
    disk::create_directories(&staged.join(TREE))?;
    let files = [
        (staged.join(TREE).join(recipe::FILE), text.as_bytes()),
        (staged.join(INDEX), &index),
        (staged.join(MARK), b""),
    ];
    for (path, bytes) in files {
        let mut file = disk::NewFile::create(&path)?;
        file.write_all(bytes).map_err(|source| disk::Error { what: "write", path, source })?;
        file.finish(0o444)?;
    }
    release::write_environment(lock, paths, app, &setup)?;
    disk::prune(&paths.release(app, &tree))?;
    disk::seal(&staged, &paths.release(app, &tree))?;
    Ok(setup)
}

/// The tree digest and the index of it: a listing like any other, of which no bundle has blocks.
fn listed(text: &str) -> (Digest, Vec<u8>) {
    let size = u64::try_from(text.len()).unwrap_or(0);
    let file = File { mode: Mode::Plain, size, sha256: Digest::of(text.as_bytes()) };
    let mut tree = Sequence::new();
    let line =
        recipe::FILE.parse().ok().and_then(|path| tree.write(&Entry { path, kind: Kind::File(file) }).ok());
    let listing = format!("tidelock-index 1 none\n{}\n--\n", line.unwrap_or_default());
    let bytes = listing.as_bytes();
    // One stored block: nothing here compresses.
    let length = u16::try_from(bytes.len()).unwrap_or(0);
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    let tail = bundle_tail(crc.sum(), crc.amount());
    let head = [&BUNDLE_HEAD[..], &[0], &length.to_le_bytes(), &(!length).to_le_bytes()].concat();
    (tree.finish(), [&head, bytes, &tail].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fragment, Merged, Settings};
    use crate::io::fetch;
    use crate::io::release::{Release, Terms};
    use crate::io::service::Supervisor;
    use crate::room::Room;

    #[test]
    fn what_is_adopted_is_a_sealed_release_that_may_be_root_and_is_as_it_was_listed() {
        let room = Room::new();
        let paths = Paths::under(room.path());
        let config = "url = \"http://h\"\nenvironment = \"prod\"\n".to_owned();
        let merged = Merged::of(&[Fragment { path: "c".into(), text: config }]).unwrap();
        let settings = Settings::of(&merged, &paths).unwrap();
        let terms = Terms { paths: &paths, settings: &settings, supervisor: Supervisor::Hooks };
        let (journal, lock) = (Journal::at(&paths).unwrap(), Lock::take(&paths.lock()).unwrap().unwrap());
        let web: AppName = "web".parse().unwrap();
        for enabled in [true, false] {
            let setup =
                adopt(&lock, &paths, &journal, &web, ("old-web.service", enabled), Timestamp::from_unix(7))
                    .unwrap();
            let place = paths.release(&web, &setup.tree);
            assert_eq!(fetch::verify(&place, &setup.tree).unwrap(), []);
            assert!(is_adopted(&place));
            let release = Release::load(terms, &web, &setup.tree).unwrap();
            let start = format!("{:?}", release.recipe.hooks.start);
            assert_eq!(start.contains("enable"), enabled, "{start}");
            assert!(start.contains("old-web.service"));
            let records = journal.read(&web);
            assert_eq!((records.committed[0].serial, &records.committed[0].setup), (0, &setup));
            assert_eq!(activate::current(&paths, &web).unwrap(), Some(setup.tree));
            assert!(matches!(journal.running(&web).run, Run::Started { tree, .. } if tree == setup.tree));
            std::fs::remove_file(place.join(MARK)).unwrap();
            let bare = Release::load(terms, &web, &setup.tree);
            assert!(bare.is_err() || !crate::io::user::is_root(), "a bundle of the same words may not");
        }
    }
}
