//! The agent as an app of its own: the packaged one launches, and is behind whatever it becomes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tidelock_tests::program::{run, until};
use tidelock_tests::programs::Ours;
use tidelock_tests::world::Device;

use super::stage::Stage;

/// A release that is the packaged agent again.
const GOOD: &str = "#!/bin/sh\nexec \"$TIDELOCK_LAUNCHER\" \"$@\"\n";

/// A supervisor that knows nothing: it starts the agent again whenever it ended. Ends on drop, the agent with it.
struct Supervised(Child, PathBuf);

impl Supervised {
    fn start(stage: &Stage, device: &Device) -> Self {
        let loop_ = "while [ ! -e stop ]; do \"$@\" >>log 2>&1 & echo $! >pid; wait $!; sleep 0.1; done";
        let agent = device.command(&["run"]);
        let mut shell = Command::new("sh");
        shell.args(["-c", loop_, "sh"]).arg(agent.get_program()).args(agent.get_args());
        let envs = agent.get_envs().filter_map(|(key, value)| Some((key, value?)));
        let place = stage.scratch.path().to_owned();
        Self(shell.envs(envs).current_dir(&place).stdin(Stdio::null()).spawn().unwrap(), place)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.1.join("log")).unwrap_or_default()
    }

    fn pid(&self) -> String {
        fs::read_to_string(self.1.join("pid")).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        fs::write(self.1.join("stop"), "").unwrap();
        let _ = Command::new("kill").args(["-KILL", &self.pid()]).status();
        self.0.wait().unwrap();
        if std::thread::panicking() {
            println!("{}", self.log());
        }
    }
}

/// A fleet whose devices run a release of the agent, with `program` for its program.
fn stage(name: &str, program: &[u8]) -> Stage {
    let stage = Stage::with(name, &[("tidelock", &[])]);
    stage.fleet.write("apps/tidelock/tree/release.toml", "format = 1\n");
    release(&stage, program, 0o755);
    stage
}

/// Publishes another release of the agent.
fn release(stage: &Stage, program: &[u8], mode: u32) {
    let path = "apps/tidelock/tree/bin/tidelock";
    stage.fleet.write(path, program);
    fs::set_permissions(stage.fleet.repository().join(path), fs::Permissions::from_mode(mode)).unwrap();
    stage.publish("another agent");
}

fn synced(stage: &Stage, what: &str) -> String {
    until(what, || stage.device.state("tidelock") == "Synced Healthy");
    stage.device.live("tidelock").unwrap()
}

/// Waits until the agent says `code` of itself and is on `home` again; gives why.
fn until_it_says(stage: &Stage, code: &str, home: Option<&str>) -> String {
    let reason = || stage.device.status()["apps"]["tidelock"]["reason"]["code"].as_str().map(str::to_owned);
    until(&format!("it says {code}"), || {
        reason().as_deref() == Some(code) && stage.device.live("tidelock").as_deref() == home
    });
    stage.device.run(&["why", "tidelock"]).stdout
}

#[test]
fn the_agent_becomes_the_next_one_and_commands_are_its_own_and_a_person_goes_back() {
    let stage = stage("itself-good", GOOD.as_bytes());
    let said = stage.device.update();
    assert!(
        said.stdout.contains("tidelock: observe: only watching; would have"),
        "a command leaves it alone: {}",
        said.said()
    );
    let supervised = Supervised::start(&stage, &stage.device);
    let first = synced(&stage, "the first release of itself");
    let pid = supervised.pid();
    let marked = "#!/bin/sh\necho by the release >&2\nexec \"$TIDELOCK_LAUNCHER\" \"$@\"\n";
    release(&stage, marked.as_bytes(), 0o755);
    until("the second release of itself", || stage.device.live("tidelock") != Some(first.clone()));
    let second = synced(&stage, "the second release is committed");
    assert_eq!(supervised.pid(), pid, "one process after the other, in the same one");
    let said = |words: &[&str]| stage.device.run(words).said().contains("by the release");
    assert!(
        said(&["status"]) && said(&["a-command-of-tomorrow"]),
        "commands are those of what was committed"
    );
    assert!(!said(&["guard"]), "the guard is the packaged one");
    let ran = stage.device.run(&["rollback", "tidelock", "--reason", "too new"]);
    assert_eq!(ran.code, 0, "{}", ran.said());
    assert_eq!(stage.device.live("tidelock").unwrap(), first);
    assert!(until_it_says(&stage, "refused", Some(&first)).contains("too new"));
    assert_ne!(first, second);
    assert!(!supervised.log().contains("error: "), "{}", supervised.log());
}

#[test]
fn an_agent_that_cannot_be_run_is_refused_and_the_one_before_goes_on() {
    let stage = stage("itself-cannot", GOOD.as_bytes());
    let supervised = Supervised::start(&stage, &stage.device);
    let home = synced(&stage, "the first release of itself");
    release(&stage, format!("{GOOD}# not executable\n").as_bytes(), 0o644);
    let why = until_it_says(&stage, "refused", Some(&home));
    assert!(why.contains("Permission denied"), "{why}");
    let mut other = fs::read("/bin/true").unwrap();
    other[18] ^= 0x55;
    release(&stage, &other, 0o755);
    until("the other one is refused too", || {
        let why = stage.device.run(&["why", "tidelock"]).stdout;
        why.contains("refused: ") && why.contains("no program of this processor")
    });
    assert_eq!(stage.device.live("tidelock").unwrap(), home);
    release(&stage, format!("{GOOD}# again\n").as_bytes(), 0o755);
    assert_ne!(synced(&stage, "the next good one"), home);
    drop(supervised);
}

#[test]
fn an_agent_that_exits_at_once_goes_back_to_the_packaged_one_after_three_starts() {
    let stage = stage("itself-exits", b"#!/bin/sh\necho begun >>$HOME/begun\nexit 1\n");
    let home = stage.scratch.join("home");
    fs::create_dir(&home).unwrap();
    let device = stage.device.clone().with("HOME", home.to_str().unwrap());
    let supervised = Supervised::start(&stage, &device);
    let why = until_it_says(&stage, "backing-off", None);
    assert!(why.contains("as often as a trial may be"), "{why}");
    assert_eq!(fs::read_to_string(home.join("begun")).unwrap().lines().count(), 3);
    release(&stage, GOOD.as_bytes(), 0o755);
    synced(&stage, "a good one after it");
    drop(supervised);
}

#[test]
fn a_committed_agent_that_ends_at_every_start_is_begun_three_times_and_then_the_packaged_one_polls() {
    let program = "#!/bin/sh\n[ ! -e \"$HOME/broken\" ] || { echo \"$*\" >>\"$HOME/begun\"; exit 1; }\n\
                   exec \"$TIDELOCK_LAUNCHER\" \"$@\"\n";
    let mut stage = stage("itself-later", program.as_bytes());
    let home = stage.scratch.join("home");
    fs::create_dir(&home).unwrap();
    stage.device = stage.device.clone().with("HOME", home.to_str().unwrap());
    let supervised = Supervised::start(&stage, &stage.device);
    let first = synced(&stage, "the first release of itself");
    fs::write(home.join("broken"), "").unwrap();
    run("kill", &["-KILL", &supervised.pid()]);
    // A command is done by it as well, until it was begun in vain.
    let said = || stage.device.run(&["why", "tidelock"]).stdout;
    until("the packaged one", || said().contains("it ended 3 times in a row without having polled"));
    let begun = fs::read_to_string(home.join("begun")).unwrap();
    assert_eq!(begun.lines().filter(|line| line.ends_with(" run")).count(), 3, "{begun}");
    release(&stage, GOOD.as_bytes(), 0o755);
    until("a better one arrives", || stage.device.live("tidelock") != Some(first.clone()));
    synced(&stage, "and stays");
    drop(supervised);
}

/// Has the device's time pass faster: `poll` of its time is a few seconds of ours.
fn fast(stage: &mut Stage, times: &str, poll: &str) -> Device {
    let device = Device::new(stage.device.root(), Ours::AgentWithTestClock);
    device.configure("z", &format!("poll = \"{poll}\"\n"));
    stage.device = device.with("TIDELOCK_TEST_SPEED", times);
    stage.device.clone()
}

#[test]
fn an_agent_that_hangs_is_ended_by_the_kernel_where_no_supervisor_watches() {
    let mut stage = stage("itself-hangs", GOOD.as_bytes());
    let device = fast(&mut stage, "300", "10m");
    let supervised = Supervised::start(&stage, &device);
    synced(&stage, "the first release of itself");
    release(&stage, b"#!/bin/sh\nexec sleep 600\n", 0o755);
    until("the hanging one had all of its starts", || supervised.log().contains("count start 3"));
    until("the way back is recorded and gone", || supervised.log().contains("without verdict (try 1)"));
    let why = stage.device.run(&["why", "tidelock"]).stdout;
    assert!(why.contains("as often as a trial may be"), "{why}");
}

#[test]
fn an_agent_that_cannot_poll_goes_back_by_itself_and_is_refused() {
    let agent = Ours::AgentWithTestClock.path();
    let mut stage = stage("itself-mute", GOOD.as_bytes());
    let device = fast(&mut stage, "60", "2m");
    let stripped = stage.scratch.join("stripped");
    run("strip", &["-o", stripped.to_str().unwrap(), agent.to_str().unwrap()]);
    let good = fs::read(&stripped).unwrap();
    release(&stage, &good, 0o755);
    let supervised = Supervised::start(&stage, &device);
    let home = synced(&stage, "a real program as a release of itself");
    release(&stage, &asking_elsewhere(good), 0o755);
    until("the mute one is in trial", || stage.device.live("tidelock") != Some(home.clone()));
    let why = until_it_says(&stage, "refused", Some(&home));
    assert!(why.contains("check poll failed"), "{why}");
    drop(supervised);
}

/// The same program, which asks for a file that no publisher has.
fn asking_elsewhere(mut program: Vec<u8>) -> Vec<u8> {
    let asked = b"metadata/timestamp.json";
    let places: Vec<usize> = program
        .windows(asked.len())
        .enumerate()
        .filter(|(_, found)| found == asked)
        .map(|(place, _)| place)
        .collect();
    assert!(!places.is_empty(), "the program asks for the timestamp under its name");
    for place in places {
        program[place + "metadata/".len()] = b'T';
    }
    program
}
