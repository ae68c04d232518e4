//! The agent replaces itself under systemd, and is back from whatever cannot be an agent.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tidelock_tests::power::{Cut, Dice, Loss};
use tidelock_tests::programs::Ours;

use super::stage::Stage;

/// A release that is the packaged agent again; with a mark, another one.
const GOOD: &str = "#!/bin/sh\nexec \"$TIDELOCK_LAUNCHER\" \"$@\"\n";

/// How often the plug is pulled.
const CUTS: u64 = 4;

/// A machine whose agent is the first release of itself, watched impatiently.
fn stage(name: &str, program: &[u8]) -> Stage {
    let stage = Stage::new(name);
    stage.fleet.write("apps/tidelock/app.toml", "path = \"apps/tidelock/tree\"\n");
    stage.fleet.write("apps/tidelock/tree/release.toml", "format = 1\n");
    let wanted = "tidelock = { release = \"follow\", tuning = { deadline = 30 } }";
    stage.fleet.write("environments/staging.toml", format!("[apps]\n{wanted}\n"));
    release(&stage, program, 0o755);
    let patience = "[Service]\nWatchdogSec=10s\nTimeoutStartSec=10s\nTimeoutAbortSec=2s\nRestartSec=1s\n";
    stage.machine.write("/etc/systemd/system/tidelock.service.d/test.conf", patience);
    stage.start_daemon();
    stage
        .machine
        .until("the first release of itself", "tidelock status | grep -E '^tidelock +Synced +Healthy '");
    stage
}

/// Publishes another release of the agent, and says so.
fn release(stage: &Stage, program: &[u8], mode: u32) {
    let path = "apps/tidelock/tree/bin/tidelock";
    stage.fleet.write(path, program);
    fs::set_permissions(stage.fleet.repository().join(path), fs::Permissions::from_mode(mode)).unwrap();
    stage.fleet.commit("Another agent");
    stage.fleet.publish().well();
}

/// Waits until what `why` says of the agent matches, with `NEW` for the release that is wanted, and it is `home` again.
fn goes_back(stage: &Stage, home: &str, said: &str) {
    let tree = stage.fleet.git(&["rev-parse", "HEAD:apps/tidelock/tree"]);
    // What is said of the one before it still stands there.
    let said = &said.replace("NEW", &format!("git-{}", &tree[..12]));
    stage.poke();
    let asked = format!("tidelock why tidelock | grep -E '{said}' && [ \"$({LIVE})\" = {home} ]");
    stage.machine.until(said, &asked);
}

/// Which release of the agent is linked.
const LIVE: &str = "basename $(readlink /var/lib/tidelock/apps/tidelock/current)";

fn live(stage: &Stage) -> String {
    stage.machine.run(LIVE).well().stdout.trim().to_owned()
}

/// What systemd says of the agent: the id of its process and how often it was started again.
fn process(stage: &Stage) -> String {
    stage.machine.run("systemctl show --property=MainPID,NRestarts tidelock.service").well().stdout
}

#[test]
fn the_agent_becomes_the_next_one_in_its_process_and_a_hanging_one_is_started_again() {
    let stage = stage("itself", GOOD.as_bytes());
    let (first, before) = (live(&stage), process(&stage));
    assert!(before.contains("NRestarts=0\n"), "{before}");
    release(&stage, &fs::read(Ours::AgentAsShipped.path()).unwrap(), 0o755);
    stage.poke();
    let other =
        format!("[ \"$({LIVE})\" != {first} ] && tidelock status | grep -E '^tidelock +Synced +Healthy '");
    stage.machine.until("the next release of itself", &other);
    assert_eq!(process(&stage), before, "one process after the other, in the same one");
    let home = live(&stage);
    let runs = "readlink /proc/$(systemctl show --property=MainPID --value tidelock.service)/exe";
    let runs = stage.machine.run(runs).well().stdout;
    assert_eq!(runs.trim(), format!("/var/lib/tidelock/apps/tidelock/releases/{home}/tree/bin/tidelock"));
    release(&stage, format!("{GOOD}# not executable\n").as_bytes(), 0o644);
    goes_back(&stage, &home, "refused: NEW .*Permission denied");
    let mut other = fs::read("/bin/true").unwrap();
    other[18] ^= 0x55;
    release(&stage, &other, 0o755);
    goes_back(&stage, &home, "refused: NEW .*no program of this processor");
    assert_eq!(process(&stage), before, "nothing had to start it");
    stage.machine.run("systemctl kill --kill-whom=main --signal=STOP tidelock.service").well();
    let again = "systemctl show --property=NRestarts tidelock.service | grep 1 && tidelock status && systemctl is-active tidelock.service";
    stage.machine.until("the watchdog starts it again", again);
    release(&stage, format!("{GOOD}# the last\n").as_bytes(), 0o755);
    stage.poke();
    let other =
        format!("[ \"$({LIVE})\" != {home} ] && tidelock status | grep -E '^tidelock +Synced +Healthy '");
    stage.machine.until("the last release of itself", &other);
    stage.is_well();
}

#[test]
fn an_agent_that_ends_or_hangs_or_never_polls_is_left_and_the_one_before_goes_on() {
    let agent = fs::read(Ours::AgentAsShipped.path()).unwrap();
    let stage = stage("itself-bad", &agent);
    let home = live(&stage);
    release(&stage, b"#!/bin/sh\necho no agent >&2\nexit 1\n", 0o755);
    goes_back(&stage, &home, "no verdict .* try 1: NEW ");
    release(&stage, b"#!/bin/sh\nexec sleep 98763\n", 0o755);
    goes_back(&stage, &home, "no verdict .* try 1: NEW ");
    release(&stage, &asking_elsewhere(agent), 0o755);
    goes_back(&stage, &home, "refused: NEW .*check poll failed");
    // It reads all that the others wrote, and goes on from there.
    release(&stage, GOOD.as_bytes(), 0o755);
    stage.poke();
    let other =
        format!("[ \"$({LIVE})\" != {home} ] && tidelock status | grep -E '^tidelock +Synced +Healthy '");
    stage.machine.until("a good one after them", &other);
    stage.is_well();
}

#[test]
fn a_cut_while_the_agent_replaces_itself_leaves_one_that_becomes_the_next() {
    let mut stage = stage("itself-cut", GOOD.as_bytes());
    let first = live(&stage);
    stage.machine.run("systemctl stop tidelock.service").well();
    release(&stage, format!("{GOOD}# the next\n").as_bytes(), 0o755);
    let start = stage.machine.disk();
    stage.machine.run("systemctl start tidelock.service").well();
    stage.poke();
    let other =
        format!("[ \"$({LIVE})\" != {first} ] && tidelock status | grep -E '^tidelock +Synced +Healthy '");
    stage.machine.until("the next release of itself", &other);
    let recording = stage.machine.recording(start);
    let mut dice = Dice::new(u64::from(std::process::id()));
    let length = u64::try_from(recording.length()).unwrap();
    for cut in 0..CUTS {
        let after = length * cut / CUTS + dice.throw(length / CUTS + 1);
        let cut = Cut { after: usize::try_from(after).unwrap(), loss: Loss::Some(dice.throw(u64::MAX)) };
        println!("{} of {}", cut.after, recording.told());
        stage.machine.replace_disk(recording.image(cut));
        stage.machine.power_on(None);
        assert!(stage.machine.boots(std::time::Duration::from_secs(400)), "{cut:?}");
        stage.machine.until("an agent is at work", "systemctl is-active tidelock.service && tidelock status");
        stage.poke();
        stage.machine.until("the next release of itself", &other);
        stage.is_well();
    }
}

/// The same program, which asks for a file that no publisher has.
fn asking_elsewhere(mut program: Vec<u8>) -> Vec<u8> {
    let asked = b"metadata/timestamp.json";
    let found = program.windows(asked.len()).enumerate().filter(|(_, found)| found == asked);
    let places: Vec<usize> = found.map(|(place, _)| place).collect();
    assert!(!places.is_empty(), "the program asks for the timestamp under its name");
    places.iter().for_each(|place| program[place + "metadata/".len()] = b'T');
    program
}
