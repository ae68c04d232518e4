//! Hooks that hang, flood and daemonise, in a real update.

use std::fs;

use tidelock_tests::program::until;

use super::stage::Stage;

fn recipe(start: &str) -> String {
    format!(
        "format = 1\n[hooks]\nstart = '''{start}'''\nstop = 'touch $TIDELOCK_DATA/stopped'\ntimeout = 1\n"
    )
}

fn pid(stage: &Stage, file: &str) -> String {
    fs::read_to_string(stage.device.app("web").join("data").join(file)).unwrap().trim().to_owned()
}

/// Whether the process runs; one that ended and that nobody waited for does not.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn a_start_hook_that_hangs_is_ended_as_a_whole_and_the_stop_hook_clears_up() {
    let stage = Stage::web("device-hang");
    stage.update(0);
    let hang = "sleep 1000 & echo $! > $TIDELOCK_DATA/child; wait";
    stage.change("web", "release.toml", Some(&recipe(hang)));
    let ran = stage.update(3);
    assert!(ran.stdout.contains("did not end within 1 s"), "{}", ran.stdout);
    assert!(!runs(&pid(&stage, "child")));
    assert!(stage.device.app("web").join("data/stopped").exists());
    assert_eq!(stage.page(), "one");
}

#[test]
fn a_hook_that_floods_is_kept_to_the_end_of_what_it_says() {
    let stage = Stage::web("device-flood");
    stage.update(0);
    let flood = "head -c 5000000 /dev/zero | tr '\\0' x; echo the end; exit 7";
    stage.change("web", "release.toml", Some(&recipe(flood)));
    stage.update(3);
    let why = stage.device.run(&["why", "web"]).stdout;
    assert!(why.contains("ended with status 7") && why.contains("the end"), "{why}");
    assert!(why.len() < 20_000, "{}", why.len());
}

#[test]
fn a_service_that_daemonised_outlives_the_agent_and_a_hook_that_ends_well_leaves_its_children() {
    let stage = Stage::web("device-daemon");
    let start = "setsid sleep 30 >/dev/null 2>&1 & echo $! > $TIDELOCK_DATA/daemon";
    stage.change("web", "release.toml", Some(&recipe(start)));
    stage.update(0);
    let daemon = pid(&stage, "daemon");
    assert!(runs(&daemon));
    stage.change("web", "page", Some("two"));
    stage.update(0);
    assert!(runs(&daemon), "only the release's own stop hook ends it");
    for daemon in [daemon, pid(&stage, "daemon")] {
        tidelock_tests::program::run("kill", &[&daemon]);
        until("the service has ended", || !runs(&daemon));
    }
}

#[test]
fn a_hook_knows_its_release_and_the_settings_of_this_device() {
    let stage = Stage::web("device-environment");
    fs::write(stage.device.root().join("etc/tidelock/apps/web.env"), "PORT=81\n").unwrap();
    let start = "pwd > $TIDELOCK_DATA/where; env > $TIDELOCK_DATA/env";
    stage.change("web", "release.toml", Some(&recipe(start)));
    stage.update(0);
    let read = |name: &str| fs::read_to_string(stage.device.app("web").join("data").join(name)).unwrap();
    let release = stage.device.app("web").join("releases").join(stage.device.live("web").unwrap());
    assert_eq!(read("where").trim(), release.join("tree").to_str().unwrap());
    let env = read("env");
    for line in ["PORT=81", "TIDELOCK_APP=web", &format!("TIDELOCK_RELEASE={}", release.display())] {
        assert!(env.lines().any(|found| found == line), "{line}: {env}");
    }
    assert!(!env.contains("CARGO"), "the agent's own environment: {env}");
}
