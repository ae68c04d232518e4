//! What people ask for, killed at every system call that changes the disk: a wish that was written down is not lost.
//!
//! Never here: what a wish means (`device`).

use std::fs;
use std::path::Path;

use tidelock::io::fetch;
use tidelock_protocol::digest::Digest;
use tidelock_tests::strace::Strike;

use super::{Device, Stage, leftovers, page};

/// A device that was updated to release one and then to release two, if that is not left for later.
fn updated(stage: &Stage, to_two: bool) -> Device {
    let device = stage.device("device");
    device.join(stage.served.url(), &stage.fleet);
    device.update().well();
    stage.release("two");
    if to_two {
        device.update().well();
    }
    device
}

fn is_written(device: &Device, record: &str) -> bool {
    device.root().join(format!("var/lib/tidelock/journal/web.{record}.json")).exists()
}

#[test]
fn a_rollback_killed_anywhere_is_not_lost_once_it_is_written_down() {
    let stage = Stage::new("kill-rollback");
    let device = updated(&stage, true);
    let arguments = ["rollback", "web", "--reason", "too blue"];
    stage.everywhere(&device, &arguments, 0, |device, strike| {
        let written = is_written(device, "rollback");
        let ran = device.update();
        assert!([0, 3].contains(&ran.code), "{strike:?}: {}", ran.said());
        if page(device) == "two" {
            assert!(!written, "{strike:?}: the wish was written down and forgotten");
            device.run(&arguments).well();
        }
        assert_eq!(page(device), "one", "{strike:?}");
        assert_eq!(device.update().code, 3, "{strike:?}: the next poll does not undo it");
        assert_eq!(device.state("web"), "OutOfSync Healthy", "{strike:?}");
    });
}

#[test]
fn a_pin_killed_anywhere_is_not_lost_once_it_is_written_down() {
    let stage = Stage::new("kill-pin");
    let device = stage.device("device");
    device.join(stage.served.url(), &stage.fleet);
    device.update().well();
    let version = device.status()["apps"]["web"]["current"]["version"].as_str().unwrap().to_owned();
    stage.release("two");
    device.update().well();
    let arguments = ["pin", "web", &version, "--reason", "too blue", "--for", "1h"];
    stage.everywhere(&device, &arguments, 0, |device, strike| {
        let written = is_written(device, "pin");
        let ran = device.update();
        assert_eq!(ran.code, if written { 3 } else { 0 }, "{strike:?}: {}", ran.said());
        assert_eq!(page(device), if written { "one" } else { "two" }, "{strike:?}");
        device.run(&arguments).well();
        assert_eq!(
            (page(device), device.state("web")),
            ("one".into(), "OutOfSync Healthy".into()),
            "{strike:?}"
        );
    });
}

#[test]
fn a_hold_killed_anywhere_is_not_lost_once_it_is_written_down() {
    let stage = Stage::new("kill-hold");
    let device = updated(&stage, false);
    let arguments = ["hold", "web", "--reason", "the fair", "--for", "1h"];
    stage.everywhere(&device, &arguments, 0, |device, strike| {
        let written = is_written(device, "hold");
        let ran = device.update();
        assert_eq!(ran.code, if written { 3 } else { 0 }, "{strike:?}: {}", ran.said());
        let left = if written { ("one", "OutOfSync Suspended") } else { ("two", "Synced Healthy") };
        assert_eq!((page(device).as_str(), device.state("web").as_str()), left, "{strike:?}");
        device.run(&arguments).well();
        assert!(device.state("web").ends_with("Suspended"), "{strike:?}");
    });
}

#[test]
fn a_resume_killed_anywhere_lets_the_app_go_on_or_can_be_asked_for_again() {
    let stage = Stage::new("kill-resume");
    let device = updated(&stage, false);
    device.run(&["hold", "web", "--reason", "the fair", "--for", "1h"]).well();
    stage.everywhere(&device, &["resume", "web"], 0, |device, strike| {
        let held = is_written(device, "hold");
        let ran = device.update();
        assert_eq!(ran.code, if held { 3 } else { 0 }, "{strike:?}: {}", ran.said());
        assert_eq!(page(device), if held { "one" } else { "two" }, "{strike:?}");
        device.run(&["resume", "web"]).well();
        device.update().well();
        assert_eq!(
            (page(device), device.state("web")),
            ("two".into(), "Synced Healthy".into()),
            "{strike:?}"
        );
    });
}

/// What differs in the live tree.
fn differing(device: &Device) -> Vec<String> {
    let tree = device.live("web").unwrap();
    let place = device.app("web").join("releases").join(&tree);
    let found = fetch::verify(&place, &tree.parse::<Digest>().unwrap()).unwrap();
    found.iter().map(|found| found.path.to_str().unwrap().to_owned()).collect()
}

#[test]
fn a_healing_killed_anywhere_makes_nothing_worse_and_the_next_one_ends_it() {
    let stage = Stage::new("kill-heal");
    let device = updated(&stage, true);
    let live = device.app("web").join("current/tree");
    fs::write(live.join("page"), "what an intruder wrote").unwrap();
    fs::remove_file(live.join("kept/much")).unwrap();
    fs::write(live.join("stranger"), "who came along").unwrap();
    let damage = differing(&device);
    assert_eq!(damage.len(), 3, "{damage:?}");
    stage.anywhere(&device, &["verify", "--heal"], 0, |device: &Device, strike: &Strike| {
        for path in differing(device) {
            // A file on its way has its name still to get.
            let on_its_way = Path::new(&path).extension().is_some_and(|kind| kind == "heal");
            assert!(on_its_way || damage.contains(&path), "{strike:?}: {path}");
        }
        device.run(&["verify", "--heal"]).well();
        assert_eq!(differing(device), [""; 0], "{strike:?}");
        assert_eq!(
            (page(device), device.state("web")),
            ("two".into(), "Synced Healthy".into()),
            "{strike:?}"
        );
        assert_eq!(leftovers(device), [""; 0], "{strike:?}");
    });
}
