//! Clients that nobody here wrote read what `publish` wrote: python-tuf and tuf-js. A missing one fails.

use std::path::Path;
use std::process::Command;

use tidelock_tests::program::output;
use tidelock_tests::publisher::{Old, Room};

/// A repository with two releases and two rotations of the root, and the names of all its targets.
fn repository(name: &str) -> (Room, Vec<String>) {
    let room = Room::new(name);
    room.published();
    room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    room.fleet.commit("second");
    room.published();
    for file in ["online/timestamp.pem", "offline/offline.pem"] {
        room.rotate(file, Old::AtHand);
        room.published();
    }
    let entries = std::fs::read_dir(room.fleet.out().join("targets")).unwrap();
    let all = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = all.map(|name| name.split_once('.').unwrap().1.to_owned()).collect();
    names.sort();
    names.dedup();
    (room, names)
}

fn read(room: &Room, names: &[String], program: &str, script: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(script);
    let mut client = Command::new(program);
    client.arg(script).arg(room.fleet.out()).arg(room.scratch.path()).args(names);
    let said = String::from_utf8_lossy(&output(&mut client).stdout).into_owned();
    assert!(said.contains(&format!("root 3, {} targets", names.len())), "{said}");
}

#[test]
fn python_tuf_follows_the_roots_and_reads_every_target() {
    let (room, names) = repository("python");
    let python = std::env::var("TIDELOCK_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    read(&room, &names, &python, "read.py");
}

#[test]
fn tuf_js_follows_the_roots_and_reads_every_target() {
    let (room, names) = repository("node");
    read(&room, &names, "node", "read.js");
}
