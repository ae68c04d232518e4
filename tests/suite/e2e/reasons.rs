//! Every reason, with the real programs: what makes it appear, and what makes it go away.
//!
//! `reasons` of the fast suites refuses a code that no test here names.

use std::fs;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use tidelock_tests::filesystem::{Kind, Mounted};
use tidelock_tests::program::{run, until};
use tidelock_tests::programs::Ours;
use tidelock_tests::repository::{Repository, Site as Wire};
use tidelock_tests::scratch::Scratch;
use tidelock_tests::world::{Daemon, Device};

use super::stage::{RECIPE, Stage};

/// Why `app` is where it is, as `check` says it; nothing moves.
fn code(device: &Device, app: &str) -> String {
    said(&device.run(&["check"]).stdout, app)
}

fn said(text: &str, app: &str) -> String {
    let own = format!("{app}: ");
    let line = text.lines().find_map(|line| line.strip_prefix(&own));
    line.and_then(|line| line.split(": ").next()).unwrap_or("nothing").to_owned()
}

/// `expected` is said of `web` by `check`.
#[track_caller]
fn shows(stage: &Stage, expected: &str) {
    assert_eq!(code(&stage.device, "web"), expected, "{}", stage.device.run(&["why"]).said());
}

/// `expected` is what an update of `web` ends with.
#[track_caller]
fn ends(stage: &Stage, expected: &str) {
    let ran = stage.device.update();
    assert_eq!(said(&ran.stdout, "web"), expected, "{}", ran.said());
}

fn config(stage: &Stage) -> PathBuf {
    stage.device.root().join("etc/tidelock/config.toml")
}

/// A device whose app `web` has the release `one`.
fn settled(name: &str) -> Stage {
    let stage = Stage::web(&format!("reasons-{name}"));
    ends(&stage, "synced");
    stage
}

#[test]
fn synced_and_installing() {
    let stage = settled("synced");
    shows(&stage, "synced");
    stage.change("web", "page", Some("two"));
    shows(&stage, "installing");
    ends(&stage, "synced");
}

#[test]
fn no_manifest() {
    let stage = settled("no-manifest");
    let kept = fs::read_to_string(config(&stage)).unwrap();
    stage.device.run(&["trust", "reset", "--reason", "x"]).well();
    fs::write(config(&stage), kept.replace(stage.served.url(), "http://127.0.0.1:1")).unwrap();
    ends(&stage, "no-manifest");
    fs::write(config(&stage), kept).unwrap();
    ends(&stage, "synced");
}

#[test]
fn not_wanted_and_orphan() {
    let stage = settled("orphan");
    let wants = |text: &str| {
        stage.fleet.write("environments/staging.toml", text);
        stage.publish("another wish");
    };
    wants("[apps]\n");
    ends(&stage, "orphan");
    fs::create_dir_all(stage.device.root().join("var/lib/tidelock/apps/other/data")).unwrap();
    assert_eq!(code(&stage.device, "other"), "not-wanted");
    wants("[apps]\nweb = \"follow\"\n");
    ends(&stage, "synced");
    fs::remove_dir_all(stage.device.root().join("var/lib/tidelock/apps/other")).unwrap();
    assert_eq!(code(&stage.device, "other"), "nothing");
}

/// A device of a fleet that is signed here, word by word.
fn signed(name: &str, change: impl Fn(&mut Repository), undo: impl Fn(&mut Repository), expected: &str) {
    let scratch = Scratch::new(&format!("reasons-{name}"));
    let wire = Wire::serve(Repository::tidelock());
    let root = scratch.join("root.json");
    fs::write(&root, wire.repository().signed("root")).unwrap();
    let device = Device::new(&scratch.join("device"), Ours::Agent);
    device.run(&["join", &wire.url(), "--root-file", root.to_str().unwrap(), "--env", "prod"]).well();
    for (change, expected) in [(&change as &dyn Fn(&mut Repository), expected), (&undo, "installing")] {
        {
            let mut repository = wire.repository();
            change(&mut repository);
            repository.publish_release();
        }
        assert_eq!(code(&device, "web"), expected, "{}", device.run(&["check"]).said());
    }
}

fn choice(repository: &mut Repository, change: impl Fn(&mut tidelock_protocol::desired::Choice)) {
    repository.want(|desired| desired.apps.values_mut().flatten().for_each(&change));
}

#[test]
fn agent_too_old() {
    let needs = |repository: &mut Repository| {
        choice(repository, |choice| choice.needs.extend(["wings".to_owned()]));
    };
    let undo = |repository: &mut Repository| choice(repository, |choice| choice.needs.clear());
    signed("needs", needs, undo, "agent-too-old");
}

#[test]
fn platform() {
    let foreign = |repository: &mut Repository| {
        choice(repository, |choice| {
            let build = choice.stable.platforms.pop_first().unwrap().1;
            choice.stable.platforms.insert("linux-vax".parse().unwrap(), build);
        });
    };
    signed("platform", foreign, |repository| repository.release("2"), "platform");
}

#[test]
fn below_floor() {
    let raised = |repository: &mut Repository| choice(repository, |choice| choice.floor = 9);
    let undo = |repository: &mut Repository| choice(repository, |choice| choice.floor = 0);
    signed("floor", raised, undo, "below-floor");
}

#[test]
fn disagreed() {
    let other = |repository: &mut Repository| {
        choice(repository, |choice| {
            choice.stable.platforms.values_mut().for_each(|build| build.index.length += 1);
        });
    };
    let undo = |repository: &mut Repository| {
        choice(repository, |choice| {
            choice.stable.platforms.values_mut().for_each(|build| build.index.length -= 1);
        });
    };
    signed("disagreed", other, undo, "disagreed");
}

/// A device that knows of a new release which it has not entered, with a test clock.
fn with_news(name: &str, speed: &str) -> (Stage, Device, PathBuf) {
    let stage = settled(name);
    let clock = stage.scratch.join("clock");
    let device = Device::new(stage.device.root(), Ours::AgentWithTestClock)
        .with("TIDELOCK_TEST_CLOCK", clock.display().to_string());
    let now = run("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ synchronised"]);
    fs::write(&clock, now).unwrap();
    stage.change("web", "page", Some("two"));
    assert_eq!(code(&device, "web"), "installing");
    let device = device.with("TIDELOCK_TEST_SPEED", speed);
    (stage, device, clock)
}

#[test]
fn expired() {
    let (_stage, device, clock) = with_news("expired", "1");
    let now = fs::read_to_string(&clock).unwrap();
    fs::write(&clock, "2100-01-01T00:00:00Z synchronised").unwrap();
    assert_eq!(said(&device.update().stdout, "web"), "expired");
    fs::write(&clock, now).unwrap();
    assert_eq!(said(&device.update().well().stdout, "web"), "synced");
}

#[test]
fn clock() {
    // Since the floor was learnt, years have passed by the time since boot, and nobody keeps the clock.
    let (stage, device, clock) = with_news("clock", "1000000");
    fs::write(&clock, "1970-01-01T00:00:10Z unsynchronised").unwrap();
    assert_eq!(said(&device.update().stdout, "web"), "clock");
    assert_eq!(said(&stage.device.update().well().stdout, "web"), "synced");
}

#[test]
fn refused_and_retrying() {
    let stage = settled("refused");
    stage.change("web", "good", None);
    ends(&stage, "refused");
    with_the_lock_held(&stage, &["retry", "web"]);
    shows(&stage, "retrying");
    ends(&stage, "refused");
    stage.change("web", "good", Some(""));
    ends(&stage, "synced");
}

/// A wish that is written down, and that nobody has come to.
fn with_the_lock_held(stage: &Stage, arguments: &[&str]) {
    let lock = fs::File::create(stage.device.root().join("var/lib/tidelock/lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let ran = stage.device.run(&[arguments, &["--wait", "0"]].concat());
    assert_eq!(ran.code, 5, "{}", ran.said());
}

#[test]
fn hold_and_pin() {
    let stage = settled("hold");
    let version = stage.device.status()["apps"]["web"]["current"]["version"].as_str().unwrap().to_owned();
    stage.change("web", "page", Some("two"));
    let until = ["--reason", "the fair", "--for", "1h"];
    stage.device.run(&[&["hold", "web"][..], &until].concat()).well();
    shows(&stage, "hold");
    stage.device.run(&["resume", "web"]).well();
    ends(&stage, "synced");
    stage.device.run(&[&["pin", "web", &version][..], &until].concat()).well();
    shows(&stage, "pin");
    stage.device.run(&["resume", "web"]).well();
    ends(&stage, "synced");
}

#[test]
fn backing_off() {
    let stage = Stage::with("reasons-backing-off", &[("web", &[])]);
    ends(&stage, "backing-off");
    stage.change("web", "good", Some(""));
    ends(&stage, "synced");
}

#[test]
fn disk() {
    let small = Mounted::new(Kind::Ext4 { megabytes: 16, inodes: 2000 });
    let stage = settled("disk");
    let state = stage.device.root().join("var/lib");
    run("cp", &["-a", &format!("{}/.", state.display()), small.path().to_str().unwrap()]);
    fs::rename(&state, stage.device.root().join("var/elsewhere")).unwrap();
    std::os::unix::fs::symlink(small.path(), &state).unwrap();
    let large = stage.fleet.repository().join("apps/web/tree/large");
    fs::write(large, super::site::noise(1, 20 << 20)).unwrap();
    stage.publish("a large file");
    ends(&stage, "disk");
    stage.change("web", "large", None);
    ends(&stage, "synced");
}

#[test]
fn unavailable() {
    let stage = settled("unavailable");
    stage.change("web", "page", Some("two"));
    let index = stage.fleet.targets("web", ".index").swap_remove(0);
    let kept = fs::read(&index).unwrap();
    fs::remove_file(&index).unwrap();
    ends(&stage, "unavailable");
    fs::write(&index, kept).unwrap();
    ends(&stage, "synced");
}

#[test]
fn fetch() {
    let stage = settled("fetch");
    stage.change("web", "page", Some("two"));
    let bundle = stage.fleet.targets("web", ".tar.gz").swap_remove(0);
    let kept = fs::read(&bundle).unwrap();
    fs::write(&bundle, vec![b'x'; kept.len()]).unwrap();
    ends(&stage, "fetch");
    fs::write(&bundle, kept).unwrap();
    ends(&stage, "synced");
}

/// Two apps, of which `db` waits for its check for a long time.
fn in_trial(name: &str) -> Stage {
    let stage = Stage::with(
        &format!("reasons-{name}"),
        &[
            ("db", &[("release.toml", &RECIPE.replace("deadline = 1", "deadline = 3600"))]),
            ("web", &[("good", "")]),
        ],
    );
    let daemon = Daemon::start(&stage.device, &stage.scratch.join("log"));
    until("the trial is open", || stage.device.state("db") == "OutOfSync Progressing");
    daemon.stop();
    stage
}

#[test]
fn trying_other_trial_and_queued() {
    let stage = Stage::with("reasons-queued", &[("db", &[("good", "")]), ("web", &[("good", "")])]);
    assert_eq!(
        (code(&stage.device, "db"), code(&stage.device, "web")),
        ("installing".into(), "queued".into())
    );
    ends(&stage, "synced");
    let stage = in_trial("trying");
    assert_eq!(
        (code(&stage.device, "db"), code(&stage.device, "web")),
        ("trying".into(), "other-trial".into())
    );
    stage.fleet.write("apps/db/tree/release.toml", RECIPE);
    stage.change("db", "good", Some(""));
    ends(&stage, "synced");
    assert_eq!(code(&stage.device, "db"), "synced");
}

#[test]
fn observe() {
    let stage = settled("observe");
    stage.change("web", "page", Some("two"));
    stage.device.configure("z", "mode = \"observe\"\n");
    ends(&stage, "observe");
    stage.device.configure("z", "mode = \"apply\"\n");
    ends(&stage, "synced");
}

#[test]
fn going_back_and_nothing_to_go_back_to() {
    let stage = settled("going-back");
    with_the_lock_held(&stage, &["rollback", "web", "--reason", "slow"]);
    shows(&stage, "nothing-to-go-back-to");
    ends(&stage, "synced");
    stage.change("web", "page", Some("two"));
    ends(&stage, "synced");
    with_the_lock_held(&stage, &["rollback", "web", "--reason", "slow"]);
    shows(&stage, "going-back");
    ends(&stage, "refused");
}

#[test]
fn restoring_and_tidying() {
    let stage = settled("restoring");
    fs::remove_file(stage.device.app("web").join("current")).unwrap();
    shows(&stage, "restoring");
    ends(&stage, "synced");
    let part = stage.device.app("web").join(format!("releases/{}.part", "0".repeat(64)));
    fs::create_dir_all(&part).unwrap();
    shows(&stage, "tidying");
    ends(&stage, "synced");
    assert!(!part.exists());
}

#[test]
fn down() {
    let stage = Stage::with("reasons-down", &[("web", &[])]);
    let recipe = "format = 1\n[hooks]\nstart = \"test ! -e $TIDELOCK_DATA/broken\"\n";
    stage.change("web", "release.toml", Some(recipe));
    ends(&stage, "synced");
    let broken = stage.device.app("web").join("data/broken");
    fs::write(&broken, "").unwrap();
    fs::remove_file(stage.device.root().join("run/tidelock/web.running.json")).unwrap();
    ends(&stage, "down");
    fs::remove_file(broken).unwrap();
    ends(&stage, "synced");
}

/// A device whose live tree somebody wrote into, days after its commit.
fn written_into(name: &str) -> (Stage, Device) {
    let stage = settled(name);
    let clock = stage.scratch.join("clock");
    let later = run("date", &["-u", "-d", "+2 days", "+%Y-%m-%dT%H:%M:%SZ synchronised"]);
    fs::write(&clock, later).unwrap();
    let device = Device::new(stage.device.root(), Ours::AgentWithTestClock)
        .with("TIDELOCK_TEST_CLOCK", clock.display().to_string());
    let page = stage.device.app("web").join("current/tree/page");
    fs::set_permissions(&page, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&page, "eno").unwrap();
    (stage, device)
}

#[test]
fn drifted() {
    let (stage, device) = written_into("drifted");
    device.configure("drift", "[drift]\nheal = false\n");
    let ran = device.update();
    assert_eq!(said(&ran.stdout, "web"), "drifted", "{}", ran.said());
    stage.device.run(&["verify", "--heal"]).well();
    assert_eq!(said(&device.update().stdout, "web"), "synced");
}

#[test]
fn healing() {
    let (stage, device) = written_into("healing");
    device.configure("drift", "[drift]\nheal = false\n");
    device.update();
    device.configure("drift", "[drift]\nheal = true\n");
    let ran = device.run(&["check"]);
    assert_eq!(said(&ran.stdout, "web"), "healing", "{}", ran.said());
    device.update();
    assert_eq!((said(&device.update().stdout, "web").as_str(), stage.page().as_str()), ("synced", "one"));
}

#[test]
fn settings_and_degraded() {
    let stage = Stage::with("reasons-settings", &[("web", &[("good", "")])]);
    let recipe = RECIPE.replace("test -e good", "test -z $BROKEN");
    stage.change("web", "release.toml", Some(&recipe));
    ends(&stage, "synced");
    let own = stage.device.root().join("etc/tidelock/apps/web.env");
    fs::write(&own, "BROKEN=1\n").unwrap();
    shows(&stage, "settings");
    ends(&stage, "degraded");
    fs::write(&own, "GREETING=hello\n").unwrap();
    ends(&stage, "synced");
}
