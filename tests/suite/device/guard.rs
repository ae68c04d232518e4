//! `tidelock guard`, as a boot runs it: before the apps, without network, once.

use std::fs;
use std::path::PathBuf;

use tidelock_tests::world::Ran;

use super::stage::Stage;

fn trial(stage: &Stage) -> PathBuf {
    stage.device.root().join("var/lib/tidelock/journal/web.trial.json")
}

/// A device on release one, with a trial of release two open and its release pointed at, and the trees of both.
fn in_trial(name: &str) -> (Stage, [String; 2]) {
    let stage = Stage::web(name);
    stage.update(0);
    let one = stage.device.live("web").unwrap();
    stage.change("web", "page", Some("two"));
    stage.update(0);
    let two = stage.device.live("web").unwrap();
    // As a power cut leaves it before the verdict.
    let committed = stage.device.root().join("var/lib/tidelock/journal/web.committed.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&committed).unwrap()).unwrap();
    record["record"].as_array_mut().unwrap().remove(0);
    fs::write(&committed, record.to_string()).unwrap();
    let setup = |tree: &str| serde_json::json!({ "tree": tree });
    let record = serde_json::json!({ "format": 1, "record": {
        "serial": 2, "from": setup(&one), "to": setup(&two), "phase": "opened", "starts": 0, "retry": 0, "earlier": null,
    }});
    fs::write(trial(&stage), record.to_string()).unwrap();
    boots(&stage);
    (stage, [one, two])
}

/// What lasts for one boot is gone.
fn boots(stage: &Stage) {
    fs::remove_dir_all(stage.device.root().join("run")).unwrap();
}

fn guard(stage: &Stage) -> Ran {
    let ran = stage.device.run(&["guard"]);
    assert_eq!(ran.code, 0, "{}", ran.said());
    ran
}

fn starts(stage: &Stage) -> u64 {
    let record: serde_json::Value = serde_json::from_slice(&fs::read(trial(stage)).unwrap()).unwrap();
    record["record"]["starts"].as_u64().unwrap()
}

/// The release in trial starts by itself, as one with units does.
fn starts_by_itself(stage: &Stage, tree: &str) {
    let recipe = stage.device.app("web").join("releases").join(tree).join("tree/release.toml");
    fs::remove_file(&recipe).unwrap();
    fs::write(recipe, "format = 1\nunits = [\"web.service\"]\n").unwrap();
}

#[test]
fn a_boot_is_counted_once_and_at_the_limit_the_link_goes_back_before_anything_starts() {
    let (stage, [one, two]) = in_trial("guard-limit");
    starts_by_itself(&stage, &two);
    for boot in 1..=3 {
        guard(&stage);
        assert_eq!(starts(&stage), boot);
        assert!(guard(&stage).said().contains("guarded already"));
        assert_eq!(starts(&stage), boot, "a second call in one boot counts nothing");
        assert_eq!(stage.device.live("web").unwrap(), two);
        boots(&stage);
    }
    let said = guard(&stage).said();
    assert!(said.contains("record the way back"), "{said}");
    assert_eq!(stage.device.live("web").unwrap(), one);
    stage.update(1);
    assert_eq!(stage.page(), "one");
    let why = stage.device.run(&["why", "web"]).stdout;
    assert!(why.contains("backing-off") && why.contains("as often as a trial may be"), "{why}");
}

#[test]
fn a_start_that_the_agent_makes_is_left_for_it_to_count() {
    let (stage, [_, two]) = in_trial("guard-hooks");
    guard(&stage);
    assert_eq!((starts(&stage), stage.device.live("web").unwrap()), (0, two));
    stage.update(0);
    assert_eq!(stage.page(), "two");
}

#[test]
fn a_way_back_that_was_begun_is_gone_whatever_the_configuration_says() {
    let (stage, [one, _]) = in_trial("guard-back");
    let record = fs::read_to_string(trial(&stage)).unwrap();
    fs::write(trial(&stage), record.replace("\"opened\"", "{\"back\":{\"cause\":\"starts\"}}")).unwrap();
    stage.device.configure("z", "poll = \"soon\"\n");
    let said = guard(&stage).said();
    assert!(said.contains("expected a time") && said.contains("point at tree"), "{said}");
    assert_eq!(stage.device.live("web").unwrap(), one);
}

#[test]
fn a_device_that_only_observes_is_left_as_it_is() {
    let (stage, [_, two]) = in_trial("guard-observe");
    starts_by_itself(&stage, &two);
    stage.device.configure("z", "mode = \"observe\"\n");
    guard(&stage);
    assert_eq!(starts(&stage), 0);
}

#[test]
fn a_device_that_was_never_told_anything_boots() {
    let stage = Stage::web("guard-nothing");
    fs::remove_dir_all(stage.device.root().join("etc")).unwrap();
    fs::remove_dir_all(stage.device.root().join("var")).unwrap();
    guard(&stage);
}
