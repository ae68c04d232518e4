//! Clients that nobody here wrote read what `publish` wrote: python-tuf. A missing one fails.

use std::path::Path;
use std::process::Command;

use tidelock_tests::program::output;

use super::Room;

/// The names of all targets in the published directory, without their digests.
fn names(out: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(out.join("targets")).unwrap();
    let all = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = all.map(|name| name.split_once('.').unwrap().1.to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn python_tuf_reads_every_target_and_follows_two_root_rotations() {
    let room = Room::new("python");
    room.published();
    room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    room.fleet.commit("second");
    room.published();
    for (file, name) in [("online/timestamp.pem", "timestamp"), ("offline/offline.pem", "offline")] {
        super::keys::rotate_keeping_the_old(&room, file, name);
        room.published();
    }
    let python = std::env::var("TIDELOCK_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/read.py");
    let wanted = names(&room.fleet.out());
    let said =
        output(Command::new(python).arg(script).arg(room.fleet.out()).arg(room.scratch.path()).args(&wanted));
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains(&format!("root 3, {} targets", wanted.len())), "{said}");
}
