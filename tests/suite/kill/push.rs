//! A release on its way from a pipeline, and whoever works on it killed at every change of the disk: the publish,
//! the pipeline itself. What lies there is whole for a device and for python-tuf, the next run finishes it, and
//! nothing that was handed in is lost.

use std::fs;
use std::path::Path;

use tidelock_tests::program::{find, run};
use tidelock_tests::publisher::Device;
use tidelock_tests::pushing::Stage;
use tidelock_tests::strace::{Strike, kill, strikes};

use super::eighth;
use crate::foreign;

pub(super) fn copy(from: &Path, to: &Path) {
    run(find("cp"), &["-a", from.to_str().unwrap(), to.to_str().unwrap()]);
}

/// Out and state as they were.
pub(super) fn restore(stage: &Stage, saved: &Path) {
    for (name, place) in [("out", stage.room.fleet.out()), ("state", stage.room.fleet.state())] {
        let _ = fs::remove_dir_all(&place);
        copy(&saved.join(name), &place);
    }
}

#[test]
fn a_publish_of_a_pushed_release_killed_anywhere_is_whole_and_the_next_one_finishes_it() {
    let mut stage = Stage::new("kill-push");
    stage.room.published();
    // Without the builder's key it is handed in and waits; nothing of it is published.
    let key = stage.room.fleet.keys().join("builder/builder.pem");
    let elsewhere = stage.room.scratch.join("builder.pem");
    fs::rename(&key, &elsewhere).unwrap();
    stage.start();
    let files = stage.build("one", "hello");
    assert_eq!(stage.push("1.0", &files, &["--timeout", "2s"]).code, 4);
    let (status, said) =
        stage.ask("POST", "environments/staging/pushes", &stage.token, r#"{"app":"web","version":"1.0"}"#);
    assert_eq!(status, 202, "{said}");
    stage.stop();
    fs::rename(&elsewhere, &key).unwrap();
    let saved = stage.room.scratch.join("saved");
    fs::create_dir(&saved).unwrap();
    copy(&stage.room.fleet.out(), &saved.join("out"));
    copy(&stage.room.fleet.state(), &saved.join("state"));

    let (out, state) = (stage.room.fleet.out(), stage.room.fleet.state());
    let command = stage.room.fleet.command("publish");
    let all = strikes(&command, 0, &[&out, &state], stage.room.scratch.path());
    assert!(all.len() > 40, "{} places", all.len());
    let chosen = eighth(&all);
    let mut killed = 0;
    for strike in &chosen {
        restore(&stage, &saved);
        killed += usize::from(kill(&command, strike, stage.room.scratch.path()));
        Device::read(&out).unwrap_or_else(|error| panic!("{strike:?}: {error}"));
        foreign::verifies(&stage.room);
        stage.room.fleet.publish().well();
        let device = Device::read(&out).unwrap();
        assert_eq!(device.version("staging", "web"), "1.0", "{strike:?}");
        let again = stage.room.publish().unwrap();
        assert!(again.is_unchanged(), "{strike:?}: {again}");
    }
    println!("kill publish of a push: {killed} of {} kills struck, of {} places", chosen.len(), all.len());
    assert!(killed * 10 >= chosen.len() * 9, "most kills strike: {killed} of {}", chosen.len());
}

#[test]
fn a_pipeline_killed_at_any_change_of_its_disk_or_any_request_is_ended_by_its_second_run() {
    let stage = Stage::new("kill-client").serving();
    let scratch = stage.room.scratch.path().to_owned();
    let temporary = scratch.join("tmp");
    fs::create_dir(&temporary).unwrap();
    let push = |n: usize| {
        let files = stage.build("files", &format!("hello {n}"));
        let version = format!("1.{n}");
        let mut command = stage.pushing(&stage.token, &version, &files, &["--env", "staging"]);
        command.env("TMPDIR", &temporary);
        (version, files, command)
    };
    let mut all = strikes(&push(0).2, 0, &[&temporary], &scratch);
    // Between two requests the server is as far as between two changes of a disk.
    let log = fs::read_to_string(scratch.join("strace.log")).unwrap();
    let requests = u32::try_from(log.matches(" sendto(").count()).unwrap();
    assert!(requests > 5, "{requests} requests");
    // How often it asks whether it is done is another each time.
    all.extend((1..=requests / 2).map(|number| Strike { call: "sendto".into(), number }));
    let chosen = eighth(&all);
    let mut killed = 0;
    for (n, strike) in chosen.iter().enumerate() {
        let (version, files, command) = push(n + 1);
        killed += usize::from(kill(&command, strike, &scratch));
        foreign::verifies(&stage.room);
        stage.push(&version, &files, &["--env", "staging"]).well();
        assert_eq!(stage.room.device().version("staging", "web"), version, "{strike:?}");
    }
    println!("kill the pipeline: {killed} of {} kills struck, of {} places", chosen.len(), all.len());
    assert!(killed * 2 >= chosen.len(), "most kills strike: {killed} of {}", chosen.len());
}
