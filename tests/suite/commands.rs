//! The publisher's commands as people meet them: what they print works as printed, and exit codes mean what the table says.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tidelock_server::config;
use tidelock_tests::program::{find, terminate, until};
use tidelock_tests::programs::Ours;
use tidelock_tests::publisher::{Device, Room, listing};
use tidelock_tests::scratch::Scratch;
use tidelock_tests::world::Serve;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn server(arguments: &[&str]) -> Output {
    Command::new(Ours::Server.path()).args(arguments).output().unwrap()
}

/// The lines that `init` prints to be run.
fn printed(room: &Scratch, more: &[&str]) -> (PathBuf, Vec<String>) {
    let directory = room.join("it's a fleet");
    let made = server(&[&["init", directory.to_str().unwrap()], more].concat());
    assert!(made.status.success(), "{}", text(&made.stderr));
    let lines =
        text(&made.stdout).lines().filter_map(|line| line.strip_prefix("  ").map(str::to_owned)).collect();
    (directory, lines)
}

#[test]
fn the_three_commands_that_init_prints_for_pipelines_work_and_nothing_else_moves_what_they_own() {
    let room = Scratch::new("printed-push");
    let (directory, lines) = printed(&room, &["--push", "staging", "--push", "prod"]);
    assert_eq!(lines.len(), 3, "{lines:?}");
    let shell = |line: &str| Command::new(find("sh")).args(["-c", line]).output().unwrap();
    for line in [&lines[0], &lines[2]] {
        let ran = shell(line);
        assert!(ran.status.success(), "{line}: {}", text(&ran.stderr));
    }
    let owners = std::fs::read_to_string(directory.join("fleet/fleet.toml")).unwrap();
    assert_eq!(owners.matches("owner = \"push\"").count(), 2, "{owners}");
    assert!(
        !directory.join("fleet/environments").exists() && directory.join("fleet/apps/web/app.toml").exists()
    );
    assert!(
        Device::read(&directory.join("out")).unwrap().find("env.staging.desired.json").unwrap().is_none()
    );
    assert!(text(&shell(&lines[2]).stderr).contains("there is a token \"ci\" already"));
}

#[test]
fn the_two_commands_that_init_prints_work_as_printed() {
    let room = Scratch::new("printed");
    let (directory, lines) = printed(&room, &[]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let elsewhere = room.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let shell = |line: &str| {
        let mut shell = Command::new(find("sh"));
        shell.args(["-c", line]).current_dir(&elsewhere);
        shell
    };
    let published = shell(&lines[0]).output().unwrap();
    assert!(published.status.success(), "{}", text(&published.stderr));
    let said = text(&published.stdout);
    assert!(said.contains("published staging (serial 1)") && said.contains("--root-sha256 "), "{said}");
    Device::read(&directory.join("out")).unwrap().desired("staging");

    // Another port than the one of the printed line, which this machine may need for something else.
    let line = format!("exec {}", lines[1].replace("127.0.0.1:8080", "127.0.0.1:0"));
    assert_ne!(line, lines[1]);
    let log = room.join("log");
    let file = std::fs::File::create(&log).unwrap();
    let mut child = shell(&line).stdin(Stdio::null()).stdout(file).spawn().unwrap();
    let said = || std::fs::read_to_string(&log).unwrap();
    until("serve", || said().contains("http://127.0.0.1:"));
    terminate(&mut child);
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", said());
}

#[test]
fn init_touches_nothing_that_is_there() {
    let room = Scratch::new("twice");
    let (directory, _) = printed(&room, &[]);
    let before = listing(&directory);
    let again = server(&["init", directory.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("exists already"), "{}", text(&again.stderr));
    assert_eq!(listing(&directory), before);
}

#[test]
fn the_keys_of_init_are_their_owners_alone() {
    use std::os::unix::fs::MetadataExt;
    let room = Scratch::new("modes");
    let (directory, _) = printed(&room, &[]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    for name in [
        "offline/offline",
        "owner/owner",
        "builder/builder",
        "online/rollout",
        "online/snapshot",
        "online/timestamp",
    ] {
        let path = directory.join(format!("keys/{name}.pem"));
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700), "{name}");
    }
    let fleet = std::fs::read(directory.join("fleet/fleet.toml")).unwrap();
    let mut problems = config::Problems::default();
    let texts = config::Texts::from([("fleet.toml".to_owned(), fleet)]);
    assert!(config::fleet(&texts, &mut problems).is_some(), "{problems}");
}

/// Runs the sample app's program in its tree, as a device would.
fn hello(room: &Room, argument: &str) -> Output {
    let data = room.scratch.join("data");
    std::fs::create_dir_all(&data).unwrap();
    let mut command = Command::new("./hello");
    command.arg(argument).current_dir(room.fleet.repository().join("apps/hello/tree"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("TIDELOCK_DATA", data).output().unwrap()
}

#[test]
fn the_sample_app_runs_is_checked_and_outlives_who_started_it() {
    let room = Room::new("hello");
    let ends = |argument: &str| hello(&room, argument).status.code();
    assert_eq!(ends("check"), Some(1), "it does not run yet");
    assert_eq!(ends("start"), Some(0));
    until("greet", || ends("check") == Some(0));
    // Starting twice is starting once; a check of another release's greeting fails.
    assert_eq!(ends("start"), Some(0));
    let pid = std::fs::read_to_string(room.scratch.join("data/hello.pid")).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap();
    let session = stat.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap();
    assert_eq!(session, pid.trim(), "it leads a session of its own");
    assert_eq!(ends("stop"), Some(0));
    assert_eq!(ends("check"), Some(1));
    assert_eq!(ends("stop"), Some(0), "stopping what is stopped is done");
    // Whoever adopted it may not have buried it yet: a dead process has no command line.
    let left = std::fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
    assert!(left.is_empty(), "{}", text(&left));
}

#[test]
fn a_hook_of_the_sample_app_that_is_run_by_hand_says_what_it_needs() {
    let room = Room::new("by-hand");
    let mut command = Command::new("./hello");
    command.arg("check").current_dir(room.fleet.repository().join("apps/hello/tree"));
    let ran = command.env_remove("TIDELOCK_DATA").output().unwrap();
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(2), "{said}");
    assert!(said.contains("TIDELOCK_DATA is not set. tidelock sets it for hooks and checks"), "{said}");
    assert!(said.contains("TIDELOCK_DATA=/tmp/hello ./hello check"), "{said}");
}

#[test]
fn expiring_lists_every_role_and_its_exit_code_says_whether_to_act() {
    let room = Room::new("expiring");
    let (out, state) = (room.fleet.out(), room.fleet.state());
    let (out, state) = (out.to_str().unwrap(), state.to_str().unwrap());
    assert_eq!(server(&["expiring", "--out", out]).status.code(), Some(10), "nothing is published");
    room.published();
    let fine = server(&["expiring", "--out", out, "--state", state]);
    assert_eq!(fine.status.code(), Some(0));
    let said = text(&fine.stdout);
    let first = said.lines().next().unwrap();
    assert!(
        first.ends_with("timestamp 1") && said.contains("app.hello 1") && said.lines().count() == 9,
        "{said}"
    );
    let soon = server(&["expiring", "--out", out, "--within", "8d"]);
    assert_eq!((soon.status.code(), text(&soon.stdout).matches("SOON").count()), (Some(10), 1));

    std::fs::remove_file(room.fleet.keys().join("owner/owner.pem")).unwrap();
    room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    room.fleet.commit("second");
    assert_eq!(room.fleet.publish().code, 6);
    let waits = server(&["expiring", "--out", out, "--state", state]);
    assert_eq!(waits.status.code(), Some(0));
    assert!(
        text(&waits.stdout).contains("prod: env.prod is signed by 0 of the 1"),
        "{}",
        text(&waits.stdout)
    );
    std::thread::sleep(Duration::from_secs(1));
    let long = server(&["expiring", "--out", out, "--state", state, "--waiting", "1s"]);
    assert_eq!(long.status.code(), Some(10), "{}", text(&long.stdout));
}

#[test]
fn mistakes_on_the_command_line_and_in_the_place_are_one_clear_error() {
    assert_eq!(server(&["publish"]).status.code(), Some(2));
    assert_eq!(server(&["pubish"]).status.code(), Some(2));
    let room = Room::new("mistakes");
    let run = |arguments: &[&str], path: Option<&str>| {
        let mut command = room.fleet.command("publish");
        let path = path.map(|path| ("PATH", path));
        let output = command.args(arguments).envs(path).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let (code, said) = run(&["--branch", "trunk"], None);
    assert!(code == Some(1) && said.contains("has no branch \"trunk\"; it has: main"), "{said}");
    let (code, said) = run(&[], Some("/nowhere"));
    assert!(code == Some(1) && said.contains("install the package git"), "{said}");
    let (code, said) = run(&["--accept-rewrite", " "], None);
    assert!(code == Some(2) && said.contains("say why"), "{said}");
    assert_eq!(run(&[], None).0, Some(0));
}

#[test]
fn serve_publishes_what_is_committed_while_it_runs() {
    let room = Room::new("serve");
    let serve = Serve::start(&room.fleet, None, &room.scratch.join("log"));
    let serial = || Device::read(&room.fleet.out()).map_or(0, |device| device.desired("staging").serial);
    until("publish the first commit", || serial() == 1);
    room.fleet.write("fleet.toml", "format = 1\n");
    room.fleet.commit("a mistake");
    let log = || std::fs::read_to_string(room.scratch.join("log")).unwrap();
    until("tell the mistake", || log().contains("`keys` is missing"));
    room.fleet.git(&["revert", "--no-edit", "HEAD"]);
    room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    room.fleet.commit("second");
    until("publish the second commit", || serial() == 2);
    until("tell that all is well", || log().contains("well again"));
    assert_eq!(serve.stop(), Some(0));
}
