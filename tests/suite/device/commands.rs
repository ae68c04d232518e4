//! The commands: what they refuse, what they leave alone, and how they get out of each other's way.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use tidelock_tests::program::{run, terminate, until};
use tidelock_tests::world::Ran;

use super::stage::{RECIPE, Stage};

/// Every file below a directory with its bytes, every link with its target.
fn everything(stage: &Stage, below: &str) -> Vec<(String, Vec<u8>)> {
    let root = stage.device.root().join(below);
    let listed = run("find", &[root.to_str().unwrap(), "!", "-type", "d"]);
    let mut found: Vec<_> = listed.lines().map(str::to_owned).collect();
    found.sort();
    found.into_iter().map(|path| (path.clone(), fs::read(&path).unwrap_or_default())).collect()
}

fn start(stage: &Stage, arguments: &[&str]) -> Child {
    let log = File::create(stage.scratch.join("log")).unwrap();
    let mut command: Command = stage.device.command(arguments);
    command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn().unwrap()
}

/// Ends a daemon by SIGTERM, which is a good end for it wherever it is.
fn end(stage: &Stage, mut daemon: Child) {
    terminate(&mut daemon);
    until("the daemon has ended", || Path::new(&format!("/proc/{}/exe", daemon.id())).read_link().is_err());
    let status = daemon.wait().unwrap();
    assert!(status.success(), "{status}: {}", log(stage));
}

fn log(stage: &Stage) -> String {
    fs::read_to_string(stage.scratch.join("log")).unwrap()
}

#[test]
fn observing_says_what_would_be_done_and_changes_nothing() {
    let stage = Stage::web("device-observe");
    stage.update(0);
    stage.change("web", "page", Some("two"));
    stage.device.configure("z", "mode = \"observe\"\n");
    let before =
        (everything(&stage, "var/lib/tidelock/apps"), everything(&stage, "var/lib/tidelock/journal"));
    let said = stage.update(0).stdout;
    assert!(said.starts_with("web: observe: only watching; would fetch the index app.web."), "{said}");
    assert_eq!(stage.device.run(&["check"]).code, 10);
    assert_eq!(stage.device.run(&["rollback", "web", "--reason", "x"]).code, 3);
    assert_eq!(stage.device.run(&["retry", "web"]).code, 3);
    let after = (everything(&stage, "var/lib/tidelock/apps"), everything(&stage, "var/lib/tidelock/journal"));
    assert!(before == after);
    assert_eq!(stage.story("web"), "start");
}

#[test]
fn joining_again_is_refused_unless_it_is_the_same_or_forced() {
    let stage = Stage::web("device-join");
    let (url, hash) = (stage.served.url().to_owned(), stage.fleet.root_sha256());
    let join = |url: &str, hash: &str, more: &[&str]| -> Ran {
        stage.device.run(&[&["join", url, "--root-sha256", hash, "--env", "staging"], more].concat())
    };
    let etc = || everything(&stage, "etc/tidelock");
    let before = etc();
    assert_eq!(join(&url, &hash, &[]).code, 0, "the same again");
    let other = join(&format!("{url}/other"), &hash, &[]);
    assert_eq!(other.code, 1, "{}", other.said());
    let refused = join(&url, &hash, &["--label", "site=north"]);
    assert_eq!(refused.code, 3, "{}", refused.said());
    assert!(refused.stderr.contains("--force"));
    let wrong = join(&url, &"0".repeat(64), &["--force"]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.stderr.contains("none of the roots 1 to 1"), "{}", wrong.stderr);
    let secret = join("http://user:secret@h/", &hash, &["--force"]);
    assert!(secret.code == 1 && !secret.said().contains("secret"), "{}", secret.said());
    assert!(before == etc());
    assert_eq!(join(&url, &hash, &["--label", "site=north", "--force"]).code, 0);
    assert!(
        fs::read_to_string(stage.device.root().join("etc/tidelock/config.toml")).unwrap().contains("north")
    );
}

#[test]
fn an_unknown_key_stops_join_and_is_a_warning_everywhere_else() {
    let stage = Stage::web("device-keys");
    stage.device.configure("typo", "pol = \"5m\"\n");
    let update = stage.update(0);
    assert!(
        update.stderr.contains("typo.toml:1: unknown key `pol`; did you mean `poll`?"),
        "{}",
        update.stderr
    );
    let hash = stage.fleet.root_sha256();
    let arguments = ["join", stage.served.url(), "--root-sha256", &hash, "--env", "staging", "--force"];
    let join = stage.device.run(&arguments);
    assert!(join.code == 1 && join.stderr.contains("did you mean `poll`?"), "{}", join.stderr);
    stage.device.configure("typo", "poll = \"often\"\n");
    let status = stage.device.run(&["status"]);
    assert!(
        status.code == 1 && status.stderr.contains("typo.toml:1: `poll` is \"often\""),
        "{}",
        status.stderr
    );
}

#[test]
fn what_is_wrong_ends_in_one_sentence_and_the_right_status() {
    let stage = Stage::web("device-wrong");
    for (arguments, code, said) in [
        (&["frobnicate"][..], 2, "no such command"),
        (&["rollback", "web"], 2, "--reason R is needed"),
        (&["rollback", "nothing", "--reason", "x"], 3, "not installed"),
        (&["why", "nothing"], 3, "nothing is known"),
        (&["--config", "/nowhere.toml", "status"], 1, "/nowhere.toml"),
    ] {
        let ran = stage.device.run(arguments);
        assert!(ran.code == code && ran.stderr.contains(said), "{arguments:?}: {} {}", ran.code, ran.stderr);
    }
    fs::remove_file(stage.device.root().join("etc/tidelock/root.json")).unwrap();
    let ran = stage.device.run(&["update"]);
    assert!(ran.code == 1 && ran.stderr.contains("tidelock join"), "{}", ran.stderr);
}

#[test]
fn a_server_that_is_down_fails_the_poll_and_leaves_what_runs() {
    let stage = Stage::web("device-down");
    stage.update(0);
    stage.apart(|device| {
        let ran = device.update();
        assert_eq!(ran.code, 1);
        assert!(ran.stdout.contains("web: synced"), "{}", ran.said());
        assert_eq!(ran.stderr.matches("the connection was refused").count(), 1, "{}", ran.said());
        assert_eq!(device.state("web"), "Synced Healthy");
        assert!(device.run(&["status"]).stdout.contains("poll failed"), "{:?}", device.status());
    });
}

#[test]
fn who_meets_the_lock_waits_and_then_says_busy() {
    let stage = Stage::web("device-busy");
    stage.update(0);
    let lock = File::create(stage.device.root().join("var/lib/tidelock/lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    for arguments in [&["update"][..], &["check"], &["trust", "reset", "--reason", "x"], &["retry", "web"]] {
        let ran = stage.device.run(&[arguments, &["--wait", "0"]].concat());
        assert_eq!(ran.code, 5, "{arguments:?}: {}", ran.said());
    }
    for arguments in [&["status"][..], &["why"], &["verify"]] {
        assert_eq!(stage.device.run(arguments).code, 0, "{arguments:?} only looks");
    }
    drop(lock);
    let said = stage.update(0).said();
    assert!(said.contains("forget refusals and back-off"), "the wish was written down: {said}");
}

#[test]
fn a_reset_trust_begins_again_from_the_root() {
    let stage = Stage::web("device-reset");
    stage.update(0);
    assert_eq!(stage.device.run(&["trust", "reset", "--reason", "new mirror"]).code, 0);
    assert_eq!(stage.device.state("web"), "Unknown Healthy");
    stage.apart(|device| assert_eq!(device.update().code, 1));
    let told = stage.device.run(&["status"]).stdout;
    assert!(told.contains("trust-reset: ") && told.contains(": new mirror; "), "{told}");
    assert_eq!(stage.device.status()["trust_reset"]["reason"], "new mirror");
    stage.update(0);
    assert_eq!(stage.device.state("web"), "Synced Healthy");
    assert!(!stage.device.run(&["status"]).stdout.contains("trust-"));
}

#[test]
fn a_lost_trust_is_reported_until_the_next_complete_walk_and_a_new_one_is_not() {
    let stage = Stage::web("device-lost");
    let told = || {
        (
            stage.device.run(&["status"]).stdout.contains("trust-lost: "),
            stage.device.status()["trust_lost"] == true,
        )
    };
    assert_eq!(told(), (false, false), "nothing was trusted yet");
    stage.update(0);
    assert_eq!(told(), (false, false));
    fs::write(stage.device.root().join("var/lib/tidelock/trust/walk"), "{\"form").unwrap();
    assert_eq!(told(), (true, true));
    stage.apart(|device| {
        let ran = device.update();
        assert!(ran.code == 1 && ran.stderr.contains("(trust-lost)"), "{}", ran.said());
    });
    assert_eq!(told(), (true, true), "no walk has mended it");
    stage.update(0);
    assert_eq!(told(), (false, false));
}

#[test]
fn the_daemon_follows_the_fleet_hears_a_person_and_ends_cleanly() {
    let stage = Stage::web("device-daemon-run");
    let daemon = start(&stage, &["run"]);
    until("the first release is live", || stage.device.state("web") == "Synced Healthy");
    stage.change("web", "page", Some("two"));
    until("the second one is live", || {
        stage.device.state("web") == "Synced Healthy" && stage.page() == "two"
    });
    let ran = stage.device.run(&["rollback", "web", "--reason", "too blue"]);
    assert_eq!(ran.code, 0, "{}{}", ran.said(), log(&stage));
    assert_eq!(stage.page(), "one");
    end(&stage, daemon);
    assert!(!log(&stage).contains("error"), "{}", log(&stage));
}

#[test]
fn a_poke_polls_at_once() {
    let stage = Stage::web("device-poke");
    stage.update(0);
    stage.device.configure("test", "poll = \"7d\"\nallow_root_apps = [\"web\"]\n");
    let daemon = start(&stage, &["run"]);
    until("the daemon has begun", || log(&stage).contains("asks http://"));
    stage.change("web", "page", Some("two"));
    run("kill", &["-USR1", &daemon.id().to_string()]);
    until("the new release is live", || stage.page() == "two");
    end(&stage, daemon);
}

#[test]
fn a_newer_wish_ends_a_long_trial_and_refuses_nothing() {
    let stage = Stage::web("device-newer");
    stage.update(0);
    let patient = RECIPE.replace("deadline = 1", "deadline = 3600");
    let bad = "test -e never";
    stage.change("web", "release.toml", Some(&patient.replace("test -e good", bad)));
    let daemon = start(&stage, &["run"]);
    until("the trial is open", || stage.device.state("web") == "OutOfSync Progressing");
    stage.fleet.write("apps/web/tree/page", "two");
    stage.change("web", "release.toml", Some(RECIPE));
    until("the newer release is live", || {
        stage.page() == "two" && stage.device.state("web") == "Synced Healthy"
    });
    end(&stage, daemon);
    assert!(!stage.device.run(&["why"]).stdout.contains("refused"), "{}", log(&stage));
}

#[test]
fn a_publisher_that_falls_silent_does_not_keep_the_agent_from_ending() {
    let stage = Stage::web("device-silent");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = stage.device.root().join("etc/tidelock/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    fs::write(&config, text.replace(stage.served.url(), &url)).unwrap();
    let daemon = start(&stage, &["run"]);
    let (mut asked, _) = silent.accept().unwrap();
    asked.read_exact(&mut [0; 10]).unwrap();
    end(&stage, daemon);
}

#[test]
fn a_record_that_cannot_be_read_is_moved_aside_and_the_release_proves_itself_again() {
    let stage = Stage::web("device-record");
    stage.update(0);
    let record = stage.device.root().join("var/lib/tidelock/journal/web.committed.json");
    fs::write(&record, "{\"format\":1,\"record\":[{\"ser").unwrap();
    assert_eq!(stage.device.state("web"), "OutOfSync Progressing");
    assert!(stage.device.run(&["why"]).stdout.contains("unreadable: "));
    let said = stage.update(0).said();
    assert!(said.contains("a record cannot be read") && said.contains("open the trial"), "{said}");
    assert!(record.with_extension("json.unreadable").exists());
    assert_eq!(
        (stage.device.state("web").as_str(), stage.story("web").as_str()),
        ("Synced Healthy", "start")
    );
}

#[test]
fn sigterm_in_a_trial_ends_at_once_and_the_next_turn_goes_on() {
    let stage = Stage::web("device-term");
    let slow =
        "format = 1\n[hooks]\nstart = \"touch $TIDELOCK_DATA/began; sleep $(cat wait)\"\ntimeout = 60\n";
    stage.fleet.write("apps/web/tree/wait", "30");
    stage.change("web", "release.toml", Some(slow));
    let daemon = start(&stage, &["run"]);
    until("the start hook runs", || stage.device.app("web").join("data/began").exists());
    assert_eq!(stage.device.state("web"), "OutOfSync Progressing");
    end(&stage, daemon);
    stage.change("web", "wait", Some("0"));
    stage.update(0);
    assert_eq!(stage.device.state("web"), "Synced Healthy");
}
