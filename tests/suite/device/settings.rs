//! What the owner of one device sets for an app, and what is deleted only when a person says so.

use std::fs;

use super::stage::Stage;

/// An app that is good unless this device's settings say otherwise.
const RECIPE: &str = r#"format = 1
[hooks]
start = "echo start >> $TIDELOCK_DATA/story; test \"$MODE\" != broken"
stop = "echo stop >> $TIDELOCK_DATA/story"
timeout = 5
[[check]]
name = "mode"
command = "test \"$MODE\" != bad || { echo the mode is bad; exit 1; }"
interval = 1
deadline = 1
"#;

fn set(stage: &Stage, text: &str) {
    let directory = stage.device.root().join("etc/tidelock/apps");
    fs::create_dir_all(&directory).unwrap();
    // As an editor does: a new file takes the place of the old one.
    fs::write(directory.join("web.env.new"), text).unwrap();
    fs::rename(directory.join("web.env.new"), directory.join("web.env")).unwrap();
}

#[test]
fn changed_settings_restart_and_check_an_app_and_degrade_it_when_it_fails_with_them() {
    let stage = Stage::web("device-settings");
    stage.change("web", "release.toml", Some(RECIPE));
    stage.update(0);
    let live = stage.device.live("web");
    set(&stage, "MODE=good\n");
    stage.update(0);
    assert_eq!(stage.story("web"), "start stop start");
    stage.update(0);
    assert_eq!(stage.story("web"), "start stop start", "nothing changed since");
    set(&stage, "MODE=bad\n");
    let said = stage.update(1).stdout;
    assert!(said.starts_with("web: degraded: ") && said.contains("the mode is bad"), "{said}");
    assert!(stage.device.run(&["status"]).stdout.contains("Degraded"));
    assert_eq!(stage.device.live("web"), live, "nothing is rolled back for what the owner set");
    let refused = stage.device.run(&["why", "web"]).stdout;
    assert!(!refused.contains("refused"), "{refused}");
    set(&stage, "MODE=broken\n");
    let said = stage.update(1).stdout;
    assert!(said.starts_with("web: degraded: ") && said.contains("does not start"), "{said}");
    set(&stage, "MODE=good again\n");
    stage.update(0);
    assert!(stage.device.run(&["status"]).stdout.contains("Healthy"));
    let secrets = stage.device.root().join("etc/tidelock/credentials/web");
    fs::create_dir_all(&secrets).unwrap();
    let before = stage.story("web");
    fs::write(secrets.join("token"), "one").unwrap();
    stage.update(0);
    assert_eq!(stage.story("web"), format!("{before} stop start"));
}

#[test]
fn data_outlives_everything_but_a_purge_and_a_purge_waits_until_the_app_is_gone() {
    let stage = Stage::web("device-purge");
    stage.update(0);
    let data = stage.device.app("web").join("data");
    assert_eq!(fs::metadata(&data).map(|found| mode(&found)).unwrap(), 0o750);
    let purge = || stage.device.run(&["purge", "web", "--reason", "moved away"]);
    let refused = purge();
    assert_eq!(refused.code, 3, "{}", refused.said());
    assert!(refused.stderr.contains("wants web"), "{}", refused.stderr);
    stage.fleet.write("environments/staging.toml", "[apps]\n");
    stage.publish("no web any more");
    stage.device.run(&["update"]);
    assert!(data.join("story").exists());
    // Whatever the environment says of apps that it no longer wants: this one is gone now.
    drop(fs::remove_file(stage.device.app("web").join("current")));
    purge().well();
    assert!(!stage.device.app("web").exists());
    let records = fs::read_dir(stage.device.root().join("var/lib/tidelock/journal")).unwrap();
    assert_eq!(records.count(), 0);
    assert_eq!(purge().code, 3);
}

fn mode(found: &fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777
}
