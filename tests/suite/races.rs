//! Two at once: servers on one directory, pipelines on one app. Nothing is lost, nothing is half done.

use std::fs;
use std::process::{Command, Stdio};

use tidelock_tests::client::Client;
use tidelock_tests::program::{free_address, terminate, until};
use tidelock_tests::publisher::Device;
use tidelock_tests::pushing::Stage;
use tidelock_tests::world::Ran;

use crate::foreign;

/// Runs all of them at once.
fn together(commands: impl IntoIterator<Item = Command>) -> Vec<Ran> {
    let started: Vec<_> = commands
        .into_iter()
        .map(|mut command| command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    started.into_iter().map(|child| Ran::of(&child.wait_with_output().unwrap())).collect()
}

#[test]
fn two_servers_on_one_directory_take_pushes_at_once_and_publish_each_of_them_once() {
    let mut stage = Stage::new("two-servers").serving();
    let (first, second) = (stage.address, free_address());
    let mut other = stage.room.fleet.command("serve");
    other.arg("--listen").arg(second.to_string()).args(["--poll", "1s"]);
    other.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    let mut other = other.spawn().unwrap();
    until("the second one answers", || Client::connect(second, None).is_ok());
    let builds: Vec<_> = (0..6).map(|n| stage.build(&format!("b{n}"), &format!("hello {n}"))).collect();
    let pushes: Vec<Command> = builds
        .iter()
        .enumerate()
        .map(|(n, files)| {
            stage.address = if n % 2 == 0 { first } else { second };
            stage.pushing(&stage.token, &format!("1.{n}"), files, &["--env", "staging"])
        })
        .collect();
    stage.address = first;
    for ran in together(pushes) {
        // A newer push of the app may supersede one that still waits: then that is said.
        let superseded = ran.code == 3 && ran.stderr.contains("newer");
        assert!(ran.code == 0 || superseded, "{}", ran.said());
    }
    foreign::verifies(&stage.room);
    let device = Device::read(&stage.room.fleet.out()).unwrap();
    for n in 0..6 {
        let name = format!("app.web.1.{n}.any.index");
        assert!(device.find(&name).unwrap().is_some(), "{name} is registered");
    }
    let serial = device.desired("staging").serial;
    let audit = fs::read_to_string(stage.room.fleet.state().join("audit.jsonl")).unwrap();
    let moves = |line: &&str| line.contains("\"published\"") && line.contains("\"environment\":\"staging\"");
    assert_eq!(audit.lines().filter(moves).count() as u64, serial, "{audit}");
    terminate(&mut other);
    other.wait().unwrap();
}

#[test]
fn two_pipelines_on_one_app_end_well_or_are_told_what_the_other_one_did() {
    let stage = Stage::new("two-pipelines").serving();
    let (one, two) = (stage.build("one", "one"), stage.build("two", "two"));
    let push = |version: &str, files| stage.pushing(&stage.token, version, files, &["--env", "staging"]);
    // The same files under one version: both have pushed it.
    for ran in together([push("1.0", &one), push("1.0", &one)]) {
        ran.well();
    }
    // Other files: one of them has, and the other is told both digests.
    let mut codes: Vec<i32> = together([push("2.0", &one), push("2.0", &two)])
        .iter()
        .map(|ran| {
            let digests = ran.stderr.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 64);
            assert!(ran.code == 0 || digests.count() == 2, "{}", ran.said());
            ran.code
        })
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 3]);
    foreign::verifies(&stage.room);
    assert_eq!(stage.room.device().version("staging", "web"), "2.0");
}
