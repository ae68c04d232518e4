//! Hooks that hang, flood, daemonise, fail, and want to know where they are.

use super::*;
use crate::room::Room;

struct Stage {
    room: Room,
    wake: Wake,
}

impl Stage {
    fn new() -> Self {
        keep_descriptors_to_ourselves();
        let room = Room::new();
        let wake = Wake::listen().unwrap();
        Self { room, wake }
    }

    fn run(&self, script: &str, timeout: Duration, rest: Rest) -> Ended {
        let command = ["sh", "-c", script].map(String::from);
        let environment = BTreeMap::from([("TIDELOCK_APP".to_owned(), "web".to_owned())]);
        let directory = self.room.path().to_owned();
        run(
            &Job { command: &command, directory, environment, user: None, timeout, rest, unit: None },
            &self.wake,
        )
        .unwrap()
    }

    /// The process whose id a script wrote to `file`, as the first letter of its state; none when it is gone.
    fn state(&self, file: &str) -> Option<char> {
        let id = std::fs::read_to_string(self.room.path().join(file)).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).ok()?;
        stat.rsplit(") ").next()?.chars().next().filter(|state| *state != 'Z')
    }
}

const SOON: Duration = Duration::from_millis(300);
const LATE: Duration = Duration::from_secs(60);

#[test]
fn a_command_runs_in_the_tree_with_a_small_environment_and_no_input() {
    let stage = Stage::new();
    // The descriptors without a pipe: a shell may still hold its end of one while the first command of it looks.
    let script = "pwd; env | cut -d= -f1 | sort | tr '\\n' ' '; cat; ls -m /proc/$$/fd; :";
    let said = stage.run(script, LATE, Rest::Ends);
    assert_eq!(said.outcome, Outcome::Passed);
    let lines: Vec<_> = said.output.lines().collect();
    assert_eq!(lines[0], stage.room.path().to_str().unwrap());
    assert!(lines[1].starts_with("LANG PATH PWD TIDELOCK_APP"), "{}", lines[1]);
    assert!(lines[1].ends_with("0, 1, 2"), "descriptors of the agent: {}", lines[1]);
}

#[test]
fn a_failure_says_the_status_first_and_then_the_output() {
    let stage = Stage::new();
    assert_eq!(
        stage.run("echo no config >&2; exit 3", LATE, Rest::LivesOn),
        Ended::failed("ended with status 3: no config")
    );
    assert_eq!(stage.run("kill -9 $$", LATE, Rest::Ends), Ended::failed("was ended by signal 9"));
    let job = Job {
        command: &["./no/such".to_owned()],
        directory: stage.room.path().to_owned(),
        environment: BTreeMap::new(),
        user: None,
        timeout: LATE,
        rest: Rest::Ends,
        unit: None,
    };
    let said = run(&job, &stage.wake).unwrap();
    assert!(said.output.starts_with("cannot run ./no/such: "), "{}", said.output);
}

#[test]
fn a_command_that_hangs_is_ended_with_all_its_children() {
    let stage = Stage::new();
    let script = "sleep 1000 & echo $! > child; trap '' TERM; while :; do sleep 1000; done";
    let begun = clock::since_boot();
    let said = stage.run(script, SOON, Rest::LivesOn);
    assert!(said.output.starts_with("did not end within 0 s and was ended"), "{}", said.output);
    assert_eq!(stage.state("child"), None);
    assert!(clock::since_boot() - begun < Duration::from_secs(30));
}

#[test]
fn what_a_check_leaves_behind_ends_and_what_a_start_hook_leaves_lives_on() {
    let stage = Stage::new();
    stage.run("sleep 1000 > /dev/null 2>&1 & echo $! > check", LATE, Rest::Ends);
    assert_eq!(stage.state("check"), None);
    stage.run("sleep 3 > /dev/null 2>&1 & echo $! > service", LATE, Rest::LivesOn);
    assert!(stage.state("service").is_some());
    stage.run("setsid sleep 3 > /dev/null 2>&1 & echo $! > daemon", LATE, Rest::Ends);
}

#[test]
fn a_service_that_keeps_the_output_open_does_not_keep_the_agent() {
    let stage = Stage::new();
    let said = stage.run("setsid sleep 5 & echo started", LATE, Rest::LivesOn);
    assert_eq!(said, Ended { outcome: Outcome::Passed, output: "started".into() });
}

#[test]
fn a_flood_is_kept_to_its_end_and_stripped_of_what_terminals_obey() {
    let stage = Stage::new();
    let said = stage.run(
        "head -c 3000000 /dev/zero | tr '\\0' x; printf '\\033[2Jlast\\n'; exit 1",
        LATE,
        Rest::Ends,
    );
    assert!(said.output.len() < 2 * OUTPUT);
    assert!(said.output.ends_with("x\u{fffd}[2Jlast"), "{}", &said.output[said.output.len() - 40..]);
    let said = stage.run("yes", SOON, Rest::Ends);
    assert!(said.output.starts_with("did not end within"));
}

#[test]
fn another_user_is_taken_with_its_groups_where_the_agent_is_root() {
    if !crate::io::user::is_root() {
        return;
    }
    let stage = Stage::new();
    let user = User { name: "x".into(), uid: 65_432, gid: 65_431, groups: vec![20, 44] };
    let command = ["sh", "-c", "id -u; id -g; id -G; echo x > /etc/tidelock-never"].map(String::from);
    let job = Job {
        command: &command,
        directory: "/".into(),
        environment: BTreeMap::new(),
        user: Some(user),
        timeout: LATE,
        rest: Rest::Ends,
        unit: None,
    };
    let said = run(&job, &stage.wake).unwrap().output;
    assert!(said.contains("65432\n65431\n65431 20 44"), "{said}");
    assert!(said.starts_with("ended with status"), "{said}");
    assert_eq!(rustix::process::geteuid().as_raw(), 0);
}

#[test]
fn an_environment_file_is_read_line_by_line_and_a_bad_line_costs_only_itself() {
    let room = Room::new();
    let path = room.path().join("web.env");
    assert!(environment_file(&path).unwrap().is_empty());
    std::fs::write(&path, "# note\n\nPORT=80\nNAME=\"a b\"\n  MORE = 'x'\nnonsense\n1X=2\nEMPTY=\n").unwrap();
    let found: Vec<_> =
        environment_file(&path).unwrap().into_iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(found, ["EMPTY=", "NAME=a b", "PORT=80"]);
}

#[test]
fn work_aside_gives_its_answer() {
    let stage = Stage::new();
    assert_eq!(aside(|| Ended::failed("no"), &stage.wake).unwrap(), Ended::failed("no"));
}
