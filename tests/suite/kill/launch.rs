//! The guard and the launcher, killed at every system call by which they change the disk.
//!
//! Never here: what they decide (`crash`).

use std::fs;

use serde_json::{Value, json};

use tidelock_tests::program::bounded;
use tidelock_tests::world::Ran;

use super::{Device, Stage};

/// A device on release one of `app`, as a power cut leaves it in the trial of release two; and the trees of both.
///
/// The app was installed as `web`; records and releases do not name the app that they are of.
fn in_trial(stage: &Stage, app: &str, starts: u32) -> (Device, [String; 2]) {
    let program = "#!/bin/sh\nexit 0\n";
    stage.fleet.write("apps/web/tree/bin/tidelock", program);
    let program = stage.fleet.repository().join("apps/web/tree/bin/tidelock");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(program, mode).unwrap();
    stage.release("one, with a program");
    let device = stage.device("device");
    device.join(stage.served.url(), &stage.fleet);
    device.update().well();
    let one = device.live("web").unwrap();
    stage.release("two");
    device.update().well();
    let two = device.live("web").unwrap();
    if app != "web" {
        fs::rename(device.app("web"), device.app(app)).unwrap();
    }
    let journal = device.root().join("var/lib/tidelock/journal");
    let committed: Value =
        serde_json::from_slice(&fs::read(journal.join("web.committed.json")).unwrap()).unwrap();
    fs::remove_dir_all(&journal).unwrap();
    fs::create_dir(&journal).unwrap();
    let older = json!({ "format": 1, "record": [committed["record"][1]] });
    fs::write(journal.join(format!("{app}.committed.json")), older.to_string()).unwrap();
    let trial = json!({ "format": 1, "record": {
        "serial": 99, "from": { "tree": one }, "to": { "tree": two }, "phase": "opened", "starts": starts, "retry": 0,
        "earlier": null,
    }});
    fs::write(journal.join(format!("{app}.trial.json")), trial.to_string()).unwrap();
    fs::remove_dir_all(device.root().join("run")).unwrap();
    (device, [one, two])
}

fn trial(device: &Device, app: &str) -> Value {
    let path = device.root().join(format!("var/lib/tidelock/journal/{app}.trial.json"));
    serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap()["record"].clone()
}

#[test]
fn a_guard_killed_anywhere_is_finished_by_the_next_boot() {
    let stage = Stage::new("kill-guard");
    let (device, [one, two]) = in_trial(&stage, "web", 3);
    // Recorded already, so that a release with hooks leads back as well.
    let path = device.root().join("var/lib/tidelock/journal/web.trial.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"opened\"", "{\"back\":{\"cause\":\"starts\"}}")).unwrap();
    assert_ne!(one, two);
    stage.everywhere(&device, &["guard"], 0, |device, strike| {
        let ran = device.run(&["guard"]);
        assert_eq!(ran.code, 0, "{strike:?}: {}", ran.said());
        assert_eq!(device.live("web").as_ref(), Some(&one), "{strike:?}");
        assert_eq!(trial(device, "web")["phase"]["back"]["cause"], "starts", "{strike:?}");
    });
}

#[test]
fn a_launcher_killed_anywhere_counts_on_or_goes_back_and_then_becomes_what_was_committed() {
    let stage = Stage::new("kill-launch");
    // Its releases are programs that end at once: who is launched by mistake, or not at all, does not.
    let (device, [one, two]) = in_trial(&stage, "tidelock", 0);
    let run = |device: &Device| Ran::of(&bounded(&mut device.command(&["run"]))).well();
    stage.everywhere(&device, &["run"], 0, |device, strike| {
        let before = trial(device, "tidelock")["starts"].as_u64().unwrap();
        assert!(before <= 1, "{strike:?}");
        run(device);
        assert_eq!(trial(device, "tidelock")["starts"], before + 1, "{strike:?}");
        assert_eq!(device.live("tidelock").as_ref(), Some(&two), "{strike:?}");
    });
    let path = device.root().join("var/lib/tidelock/journal/tidelock.trial.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"starts\":0", "\"starts\":3")).unwrap();
    stage.everywhere(&device, &["run"], 0, |device, strike| {
        run(device);
        assert_eq!(trial(device, "tidelock")["phase"]["back"]["cause"], "starts", "{strike:?}");
        assert_eq!(device.live("tidelock").as_ref(), Some(&one), "{strike:?}");
    });
}
