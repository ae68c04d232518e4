//! The rig itself: it must see a careless program lose its file, and a careful one never.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tidelock_tests::power::nbd::{Ended, Server};
use tidelock_tests::power::{Boots, Cut, Disk, Loss, Mounted, System, shared};
use tidelock_tests::program::find;
use tidelock_tests::scratch::Scratch;

use super::systems;

const OLD: &str = "old";
const NEW: &str = "new, and long enough that no inode holds it; ";

/// How a program replaces a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saver {
    /// Writes beside it and renames.
    Nothing,
    /// Makes only the names durable.
    Directory,
    /// Makes only the bytes durable.
    File,
    /// Everything, in order.
    Both,
}

impl Saver {
    fn save(self, path: &Path, text: &str) {
        let beside = path.with_extension("new");
        let mut file = File::create(&beside).unwrap();
        file.write_all(text.repeat(200).as_bytes()).unwrap();
        if [Self::File, Self::Both].contains(&self) {
            file.sync_all().unwrap();
        }
        fs::rename(&beside, path).unwrap();
        if [Self::Directory, Self::Both].contains(&self) {
            File::open(path.parent().unwrap()).unwrap().sync_all().unwrap();
        }
    }
}

/// Which file, whether the program had ended, how the file is: so many times.
type Found = BTreeMap<(&'static str, bool, &'static str), usize>;

/// A file that was there and one that was not, as every cut of a run of `saver` leaves them.
fn cut_everywhere(system: System, saver: Saver) -> Found {
    let _boots = Boots::begin();
    let scratch = Scratch::new("power-rig");
    let mounted = Mounted::new(system.make(&scratch), system).unwrap();
    fs::create_dir(mounted.path().join("d")).unwrap();
    Saver::Both.save(&mounted.path().join("d/there"), OLD);
    let mounted = Mounted::new(mounted.unmount(), system).unwrap();
    let recording = mounted.record(|root| {
        saver.save(&root.join("d/there"), NEW);
        saver.save(&root.join("d/fresh"), NEW);
    });
    drop(mounted);
    let mut found = Found::new();
    for after in 0..=recording.length() {
        for loss in [Loss::Everything, Loss::Some(1)] {
            let cut = Cut { after, loss };
            let mounted = Mounted::new(recording.image(cut), system)
                .unwrap_or_else(|error| panic!("{system:?} {cut:?}: {error}"));
            for name in ["there", "fresh"] {
                let state = state(&mounted.path().join("d").join(name));
                *found.entry((name, recording.had_ended(cut), state)).or_default() += 1;
            }
        }
    }
    println!("{system:?} {saver:?}: {found:?}");
    found
}

fn state(path: &Path) -> &'static str {
    match fs::read_to_string(path) {
        Err(_) => "absent",
        Ok(text) if text == OLD.repeat(200) => "old",
        Ok(text) if text == NEW.repeat(200) => "new",
        Ok(text) if text.is_empty() => "empty",
        Ok(_) => "torn",
    }
}

#[test]
fn a_file_that_was_saved_with_every_fsync_is_never_lost() {
    at_once(systems().into_iter().map(|system| (system, Saver::Both)), |system, found| {
        for (what, count) in found {
            let (name, ended, state) = what;
            let fine = if *ended { *state == "new" } else { ["new", "old", "absent"].contains(state) };
            assert!(fine && !(*name == "there" && *state == "absent"), "{system:?}: {what:?} {count} times");
        }
        assert!(found.contains_key(&("there", false, "old")), "{system:?}: no cut came early: {found:?}");
        assert!(found.contains_key(&("there", false, "new")), "{system:?}: no cut came late: {found:?}");
    });
}

#[test]
fn a_file_that_was_renamed_without_fsync_is_seen_to_be_lost() {
    for saver in [Saver::Nothing, Saver::File] {
        at_once(systems().into_iter().map(|system| (system, saver)), |system, found| {
            assert!(found.contains_key(&("fresh", true, "absent")), "{system:?} {saver:?}: {found:?}");
        });
    }
    let eager = systems().into_iter().filter(|system| [System::Ext4Bare, System::Xfs].contains(system));
    at_once(eager.map(|system| (system, Saver::Directory)), |system, found| {
        assert!(found.contains_key(&("there", true, "empty")), "{system:?}: {found:?}");
    });
}

/// Cuts several at a time (most of an image's time is waiting for the kernel), and judges each.
fn at_once(runs: impl Iterator<Item = (System, Saver)>, judge: impl Fn(System, &Found) + Sync) {
    std::thread::scope(|scope| {
        for (system, saver) in runs {
            let judge = &judge;
            scope.spawn(move || judge(system, &cut_everywhere(system, saver)));
        }
    });
}

#[test]
fn a_virtual_machine_that_is_killed_loses_what_it_did_not_flush() {
    let scratch = Scratch::new("power-nbd");
    fs::write(scratch.join("base"), vec![b'.'; 1 << 20]).unwrap();
    let disk = shared(Disk::over(&scratch.join("base")).unwrap());
    let socket = scratch.join("socket");
    let server = Server::start(disk.clone(), &socket);
    let url = format!("nbd+unix:///?socket={}", socket.display());
    let client = |commands: &[&str]| {
        let commands = commands.iter().flat_map(|command| ["-c", command]);
        Command::new(find("qemu-io")).args(["-f", "raw", "-t", "writeback"]).args(commands).arg(&url).output()
    };
    client(&["write -P 1 0 64k", "flush", "write -P 2 0 64k", "abort"]).unwrap();
    assert_eq!(server.ended(Duration::from_secs(10)), Ended::Cut);
    let lost = disk.lock().unwrap().cut(Loss::Everything).unwrap();
    assert_eq!((lost.pending, lost.lost), (16, 16));
    let ran = client(&["read -P 1 0 64k", "read -P 46 64k 64k", "write -f -P 3 0 4k", "write -P 4 4k 4k"]);
    let said = String::from_utf8(ran.unwrap().stdout).unwrap();
    assert!(said.contains("read 65536/65536") && !said.contains("failed"), "{said}");
    assert_eq!(server.ended(Duration::from_secs(10)), Ended::Well);
    assert_eq!(disk.lock().unwrap().cut(Loss::Everything).unwrap().pending, 0);
    let mut bytes = [0; 8192];
    disk.lock().unwrap().read(0, &mut bytes).unwrap();
    assert_eq!((bytes[0], bytes[8191]), (3, 4));
}
