//! The server killed at every change of the disk, while it publishes a commit and takes a push: what lies there is whole for
//! a device and for python-tuf, and the next server and the same push end it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tidelock_tests::client::Client;
use tidelock_tests::program::{find, run};
use tidelock_tests::publisher::Device;
use tidelock_tests::pushing::Stage;
use tidelock_tests::strace::{killing, places, struck, told};

use super::eighth;
use super::push::{copy, restore};
use crate::foreign;

/// Ends the server that strace runs, as systemd would.
fn terminate(strace: &mut Child) {
    let children = format!("/proc/{0}/task/{0}/children", strace.id());
    for server in fs::read_to_string(children).unwrap_or_default().split_whitespace() {
        run(find("kill"), &["-TERM", server]);
    }
    strace.wait().unwrap();
}

/// A push to a server that may be killed meanwhile; whether the push was done.
fn served(stage: &Stage, serve: &mut Command, files: &Path) -> bool {
    let log = fs::File::create(stage.room.scratch.join("killed.log")).unwrap();
    let serve = serve.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut server = serve.spawn().unwrap();
    let ended = |child: &mut Child| {
        sleep(Duration::from_millis(20));
        child.try_wait().unwrap()
    };
    while Client::connect(stage.address, None).is_err() {
        if ended(&mut server).is_some() {
            return false;
        }
    }
    let mut push = stage.pushing(&stage.token, "1.0", files, &["--env", "staging", "--timeout", "30s"]);
    let mut push = push.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let done = loop {
        if let Some(status) = ended(&mut push) {
            break status.success();
        }
        if server.try_wait().unwrap().is_some() {
            push.kill().unwrap();
            push.wait().unwrap();
            return false;
        }
    };
    terminate(&mut server);
    done
}

#[test]
fn a_server_killed_anywhere_leaves_it_whole_and_the_next_one_ends_what_it_began() {
    let mut stage = Stage::new("kill-serve");
    stage.room.published();
    stage.room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    stage.room.fleet.commit("second");
    let files = stage.build("one", "hello");
    let scratch = stage.room.scratch.path().to_owned();
    let saved = scratch.join("saved");
    fs::create_dir(&saved).unwrap();
    let (out, state) = (stage.room.fleet.out(), stage.room.fleet.state());
    copy(&out, &saved.join("out"));
    copy(&state, &saved.join("state"));

    let log = scratch.join("strace.log");
    assert!(served(&stage, &mut told(&stage.serve(), &log), &files), "an undisturbed one");
    let all = places(&log, &[&out, &state]);
    assert!(all.len() > 60, "{} places", all.len());
    // Each takes seconds: where nobody asks for more, a third of the eighth, another one each time the eighths are through.
    let third = if std::env::var_os("TIDELOCK_KILL").is_some() { 1 } else { 3 };
    let weeks = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / (8 * 86_400);
    let skipped = usize::try_from(weeks).unwrap() % third;
    let chosen: Vec<_> = eighth(&all).into_iter().skip(skipped).step_by(third).collect();
    let (mut killed, mut unharmed) = (0, 0);
    for strike in &chosen {
        restore(&stage, &saved);
        let log = scratch.join("kill.log");
        // A `git` that is killed is another story than its server: it is asked again.
        unharmed += usize::from(served(&stage, &mut killing(&stage.serve(), strike, &log), &files));
        killed += usize::from(struck(&log));
        Device::read(&out).unwrap_or_else(|error| panic!("{strike:?}: {error}"));
        foreign::verifies(&stage.room);
        stage.start();
        stage.push("1.0", &files, &["--env", "staging"]).well();
        stage.stop();
        let device = Device::read(&out).unwrap();
        assert_eq!(device.version("staging", "web"), "1.0", "{strike:?}");
        assert_eq!(device.desired("prod").source.subject, "second", "{strike:?}");
        let left = state.join("uploads").read_dir().unwrap().count();
        assert_eq!(left, 0, "{strike:?}: uploads are left over");
        let again = stage.room.publish().unwrap();
        assert!(again.is_unchanged(), "{strike:?}: {again}");
    }
    println!(
        "kill serve: {killed} of {} kills struck, of {} places; {unharmed} pushes were done all the same",
        chosen.len(),
        all.len()
    );
    assert!(killed * 2 >= chosen.len(), "most kills strike: {killed} of {}", chosen.len());
}
