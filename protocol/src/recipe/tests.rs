//! `release.toml`: what is read, and how every slip is answered.

use super::*;

/// One of everything.
const WHOLE: &str = r#"
format = 1
user = "web"
units = ["web.service", "backup.timer"]
activate = "reload"
state = ["var/cache"]

[hooks]
start = ["./bin/start", "--fast"]
stop = "kill $(cat pid)"
timeout = 30

[[check]]
name = "answers"
http = "http://127.0.0.1:8080/health?deep=1"
grace = 1
interval = 3
deadline = 90
successes = 2

[[check]]
name = "port"
tcp = "[::1]:8080"

[[check]]
name = "own"
command = ["bin/check"]

[[check]]
name = "runs"
unit = "web.service"

[[check]]
name = "ran"
last-run = "backup.timer"
"#;

fn problems(text: &str) -> Vec<String> {
    match Recipe::parse(text) {
        Ok(release) => panic!("accepted: {release:?}"),
        Err(Error(problems)) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_recorded_file_is_read_as_it_was_meant() {
    let release = Recipe::parse(WHOLE).unwrap();
    assert_eq!(release.user.as_deref(), Some("web"));
    assert_eq!((release.units.len(), release.activate, release.state.len()), (2, Activate::Reload, 1));
    assert_eq!(release.hooks.start.as_ref().unwrap().words(), ["./bin/start", "--fast"]);
    assert_eq!(release.hooks.stop.as_ref().unwrap().words(), ["sh", "-c", "kill $(cat pid)"]);
    let [answers, port, own, runs, ran] = &release.checks[..] else { panic!() };
    assert_eq!(answers.probe, Probe::Http("http://127.0.0.1:8080/health?deep=1".into()));
    assert_eq!((answers.grace, answers.interval, answers.deadline, answers.successes), (1, 3, 90, 2));
    assert_eq!(port.probe, Probe::Tcp("[::1]:8080".into()));
    assert_eq!((port.grace, port.interval, port.deadline, port.successes), (0, 5, 60, 1));
    assert_eq!(own.probe, Probe::Command(Command::Words(vec!["bin/check".into()])));
    assert_eq!(
        (&runs.probe, &ran.probe),
        (&Probe::Unit("web.service".into()), &Probe::LastRun("backup.timer".into()))
    );
    let in_tree = |command: &Command| command.in_tree().map(|path| path.unwrap().to_string());
    assert_eq!(in_tree(release.hooks.start.as_ref().unwrap()).as_deref(), Some("bin/start"));
    assert_eq!(in_tree(release.hooks.stop.as_ref().unwrap()), None);
    let words = |words: &[&str]| Command::Words(words.iter().map(|word| (*word).to_owned()).collect());
    assert_eq!((in_tree(&words(&["python3", "bin/x"])), in_tree(&words(&["/bin/x"]))), (None, None));
}

#[test]
fn the_shortest_file_says_only_its_format() {
    let release = Recipe::parse("format = 1").unwrap();
    assert_eq!(release.hooks, Hooks { start: None, stop: None, timeout: 60 });
    assert!(release.checks.is_empty() && release.units.is_empty() && release.user.is_none());
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_nearest_known_name() {
    assert_eq!(
        problems(
            "format = 1\nusr = \"web\"\n\n[hooks]\nstrat = [\"a\"]\n[[check]]\nname = \"a\"\nhtpp = \"x\"\n"
        ),
        [
            "line 2: unknown key `usr`; did you mean `user`?",
            "line 5: unknown key `strat`; did you mean `start`?",
            "line 7: a check asks exactly one of http, tcp, command, unit, last-run",
            "line 8: unknown key `htpp`; did you mean `http`?",
        ]
    );
    assert_eq!(
        problems("format = 1\n[banana]\n"),
        ["line 2: unknown key `banana`; known here: format, user, units, activate, state, hooks, check"]
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let all = problems(
        "user = \"Root\"\nunits = [\"../x.service\"]\nactivate = \"kick\"\n[hooks]\nstart = []\ntimeout = 0\n\
         [[check]]\ntcp = \"localhost\"\n",
    );
    assert_eq!(all.len(), 8, "{all:#?}");
    assert_eq!(all[0], "line 1: `format = 1` is missing");
    assert_eq!(all[1], "line 1: `user`: expected a user name, found \"Root\"");
    assert!(
        all.iter().any(|p| p == "line 6: `timeout`: expected a whole number from 1 to 3600, found 0"),
        "{all:#?}"
    );
    let error = Recipe::parse("format = 2\nuser = 1").unwrap_err().to_string();
    assert_eq!(
        error,
        "release.toml is refused: line 1: `format` is 2; this version reads format 1; \
         line 2: `user`: expected a string, found 1"
    );
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    assert!(problems("format = 1\nuser = \n")[0].starts_with("line 2: "));
    assert_eq!(problems(&"#".repeat(70_000)), ["line 1: it is longer than 65536 bytes"]);
    assert_eq!(problems(""), ["line 1: `format = 1` is missing"]);
}

#[test]
fn values_that_could_do_harm_are_refused() {
    let base = "format = 1\nunits = [\"web.service\"]\n";
    for bad in [
        "[hooks]\nstart = [\"../../bin/sh\"]",
        "[hooks]\nstart = [\"\"]",
        "[hooks]\nstart = \" \"",
        "[hooks]\nstart = 1",
        "[hooks]\nstart = [\"./../x\"]",
        "[hooks]\nstart = [\"bin/start\", \"a\\u0000b\"]",
        "[hooks]\ntimeout = 3601",
        "[hooks]\ntimeout = -1",
        "[hooks]\ntimeout = 1.5",
        "[[hooks]]\ntimeout = 1",
        "[check]\nname = \"a\"\ntcp = \"h:1\"",
        "[[check]]\nname = \"start\"\ntcp = \"h:1\"",
        "[[check]]\nname = \"A b\"\ntcp = \"h:1\"",
        "[[check]]\ntcp = \"h:1\"",
        "[[check]]\nname = \"a\"\ntcp = \"h:1\"\nhttp = \"http://h\"",
        "[[check]]\nname = \"a\"\ntcp = \"h:0\"",
        "[[check]]\nname = \"a\"\ntcp = \"h:+1\"",
        "[[check]]\nname = \"a\"\ntcp = \"h:65536\"",
        "[[check]]\nname = \"a\"\ntcp = \"[h]:1\"",
        "[[check]]\nname = \"a\"\ntcp = \"h:1\"\nstatus = 200",
        "[[check]]\nname = \"a\"\nhttp = \"file:///etc/passwd\"",
        "[[check]]\nname = \"a\"\nhttp = \"http://\"",
        "[[check]]\nname = \"a\"\nhttp = \"http://user@h/\"",
        "[[check]]\nname = \"a\"\nhttp = \"http://h/ x\"",
        "[[check]]\nname = \"a\"\nunit = \"../other.service\"",
        "[[check]]\nname = \"a\"\nlast-run = \"other\"",
        "[[check]]\nname = \"a\"\nlast-run = \"web.service\"",
        "[[check]]\nname = \"a\"\ntcp = \"h:1\"\nsuccesses = 0",
        "[[check]]\nname = \"a\"\ntcp = \"h:1\"\n[[check]]\nname = \"a\"\ntcp = \"h:1\"",
    ] {
        problems(&format!("{base}{bad}\n"));
    }
    problems("format = 1\nactivate = \"reload\"\n");
    for unit in ["web", ".service", "a/b.service", "web.mount", "we b.service", "..service"] {
        problems(&format!("format = 1\nunits = [{unit:?}]\n"));
    }
    for good in ["http://h", "https://h:8443/x", "http://[::1]/", "http://[::1]:80/", "http://h?x=1"] {
        let text = format!("format = 1\n[[check]]\nname = \"a\"\nhttp = {good:?}\n");
        Recipe::parse(&text).unwrap();
    }
}
