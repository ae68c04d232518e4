//! A publish that stops after any effect leaves a whole repository behind, and the next one finishes it.

use std::fs;
use std::path::Path;

use tidelock_protocol::digest::Digest;
use tidelock_server::publish::{Directory, Effect, Published};
use tidelock_tests::program::{find, run};
use tidelock_tests::publisher::{Device, Room};

/// A copy with times and links.
fn copy(from: &Path, to: &Path) {
    run(find("cp"), &["-a", from.to_str().unwrap(), to.to_str().unwrap()]);
}

/// Every file of `metadata/` with its digest; of one version there may only ever be one content.
fn versions(out: &Path) -> Vec<(String, Digest)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(out.join("metadata")).into_iter().flatten() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name != "timestamp.json" {
            found.push((name, Digest::of(&fs::read(entry.path()).unwrap())));
        }
    }
    found
}

/// The effects of the publish that would come next, without doing any of them.
fn effects(room: &Room) -> Vec<Effect> {
    tidelock_server::turn::planned(&room.settings()).unwrap().effects
}

#[test]
fn a_publish_stopped_after_any_effect_is_whole_and_the_next_one_finishes() {
    let room = Room::new("crash");
    room.published();
    room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    room.fleet.write("apps/hello/tree/more", vec![1; 400_000]);
    let rules = fs::read_to_string(room.fleet.repository().join("fleet.toml")).unwrap();
    room.fleet
        .write("fleet.toml", format!("{rules}\n[environments.lab]\nowner = \"git\"\nkeys = [\"owner\"]\n"));
    room.fleet.write("environments/lab.toml", "[apps]\nhello = \"follow\"\n");
    let second = room.fleet.commit("second");
    let (out, start) = (room.fleet.out(), room.scratch.join("start"));
    copy(&out, &start);
    let total = effects(&room).len();
    assert!(total > 10, "{total} effects");
    let before = Published::read(&start).unwrap();
    for stop in 0..=total {
        fs::remove_dir_all(&out).unwrap();
        fs::remove_dir_all(room.fleet.state()).ok();
        copy(&start, &out);
        let effects = effects(&room);
        assert_eq!(effects.len(), total);
        let directory = Directory::at(&out);
        let lock = directory.lock().unwrap();
        effects[..stop].iter().for_each(|effect| directory.apply(&lock, effect).unwrap());
        drop(lock);
        let device = Device::read(&out).unwrap_or_else(|error| panic!("after {stop} of {total}: {error}"));
        let now = Published::read(&out).unwrap();
        assert!(now.is_still_in(&out).unwrap());
        assert_eq!(before.is_still_in(&out).unwrap(), now == before, "after {stop} of {total}");
        let serial = device.desired("prod").serial;
        assert_eq!(serial, if stop == total { 2 } else { 1 }, "after {stop} of {total}");
        let before = versions(&out);

        room.published();
        let device = room.device();
        for environment in ["lab", "prod", "staging"] {
            assert_eq!(device.desired(environment).source.commit, second);
        }
        let after = versions(&out);
        assert!(
            before.iter().all(|version| after.contains(version)),
            "a published version was written again"
        );
        assert!(room.published().is_unchanged());
    }
}

#[test]
fn a_first_publish_stopped_after_any_effect_is_finished_by_the_next() {
    let room = Room::new("firstcrash");
    let out = room.fleet.out();
    let total = effects(&room).len();
    for stop in 0..=total {
        fs::remove_dir_all(&out).unwrap();
        let effects = effects(&room);
        let directory = Directory::at(&out);
        let lock = directory.lock().unwrap();
        effects[..stop].iter().for_each(|effect| directory.apply(&lock, effect).unwrap());
        drop(lock);
        assert_eq!(Device::read(&out).is_ok(), stop == total, "after {stop} of {total}");
        room.published();
        room.device().desired("staging");
    }
}

#[test]
fn what_a_crash_left_half_made_is_cleared_away() {
    let room = Room::new("halfmade");
    room.published();
    let half = room.fleet.out().join(".new/half.tar.gz");
    fs::write(&half, "half").unwrap();
    room.published();
    assert!(!half.exists());
}
