//! `release.toml`, at the root of a tree: how the release is run and how one sees that it works.
//!
//! The builder's word, signed with the tree; an environment may tune only its numbers. Never here: running anything.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::limits::{self, tuning as bound};
use crate::names::LabelKey;

/// Name of the file at the tree's root.
pub const FILE: &str = "release.toml";
/// The one format that this code reads.
pub const FORMAT: u32 = 1;
/// A check may not have this name: it is what a failed start hook is called.
pub const START: &str = "start";

/// How a release is run and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// The user of hooks and checks; none: root, where the device's owner allows that to the app.
    pub user: Option<String>,
    /// Units of systemd that lie in the tree.
    pub units: Vec<String>,
    /// What happens to running units when the release changes.
    pub activate: Activate,
    /// Reserved: what of the app's data belongs to a release.
    pub state: Vec<String>,
    /// Commands that start and stop the app.
    pub hooks: Hooks,
    /// What must hold before the release is committed.
    pub checks: Vec<Check>,
}

/// What happens to running units when the release changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activate {
    /// They are stopped before and started after.
    #[default]
    Restart,
    /// They run on and are told to read their files again.
    Reload,
}

/// Commands that start and stop the app; run in the tree.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// Ends with status 0 once the app is started; none: there is nothing to start.
    pub start: Option<Command>,
    /// Ends once the app is stopped; none: there is nothing to stop.
    pub stop: Option<Command>,
    /// Seconds that either may take.
    #[serde(default = "timeout")]
    pub timeout: u32,
}

/// A command: a text for the shell, or program and arguments for nobody but the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Command {
    /// `sh -c` of this text.
    Shell(String),
    /// Program and arguments.
    Words(Vec<String>),
}

/// One health test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name; no other check of the release has it.
    pub name: String,
    /// What is asked.
    pub probe: Probe,
    /// Seconds after the start in which a failing run is not counted.
    pub grace: u32,
    /// Seconds between two runs.
    pub interval: u32,
    /// Seconds after the start by when it must have passed.
    pub deadline: u32,
    /// Passes in a row that it needs.
    pub successes: u32,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// A GET of this address is answered with a status from 200 to 299. A certificate is not judged: the app's own
    /// is rarely in its own name.
    Http(String),
    /// This `host:port` takes a connection.
    Tcp(String),
    /// This command ends with status 0; run in the tree.
    Command(Command),
    /// This unit is active.
    Unit(String),
    /// The last run of this timer's unit succeeded.
    LastRun(String),
}

/// Why a `release.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Longer than any recipe needs to be.
    #[error("it is longer than {} bytes", limits::RELEASE_BYTES)]
    Long,
    /// Not TOML of this shape.
    #[error("line {line}: {message}")]
    Toml {
        /// The line, counted from 1.
        line: usize,
        /// What the parser said.
        message: String,
    },
    /// Written for a newer agent.
    #[error("its format is {found}, and this version reads format {FORMAT}")]
    Format {
        /// The format it names.
        found: u32,
    },
    /// A value that its key does not take.
    #[error("{key} is {found}: expected {expected}")]
    Value {
        /// The key.
        key: String,
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "format")]
    _format: u32,
    user: Option<String>,
    #[serde(default)]
    units: Vec<String>,
    #[serde(default)]
    activate: Activate,
    #[serde(default)]
    state: Vec<String>,
    #[serde(default)]
    hooks: Hooks,
    #[serde(default, rename = "check")]
    checks: Vec<RawCheck>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawCheck {
    name: String,
    http: Option<String>,
    tcp: Option<String>,
    command: Option<Command>,
    unit: Option<String>,
    last_run: Option<String>,
    #[serde(default)]
    grace: u32,
    #[serde(default = "interval")]
    interval: u32,
    #[serde(default = "deadline")]
    deadline: u32,
    #[serde(default = "successes")]
    successes: u32,
}

const fn timeout() -> u32 {
    60
}

const fn interval() -> u32 {
    5
}

const fn deadline() -> u32 {
    60
}

const fn successes() -> u32 {
    1
}

impl Default for Hooks {
    fn default() -> Self {
        Self { start: None, stop: None, timeout: timeout() }
    }
}

impl Command {
    /// Program and arguments.
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Shell(text) => vec!["sh".into(), "-c".into(), text.clone()],
            Self::Words(words) => words.clone(),
        }
    }
}

impl Recipe {
    /// Reads a `release.toml`.
    ///
    /// # Errors
    /// The first thing in it that cannot be used.
    pub fn parse(text: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Peek {
            format: u32,
        }
        if u64::try_from(text.len()).map_or(true, |length| length > limits::RELEASE_BYTES) {
            return Err(Error::Long);
        }
        let toml = |error: toml::de::Error| {
            let before = text.bytes().take(error.span().map_or(0, |span| span.start));
            let line = 1 + before.filter(|byte| *byte == b'\n').count();
            Error::Toml { line, message: error.message().to_owned() }
        };
        let Peek { format } = toml::from_str(text).map_err(toml)?;
        if format != FORMAT {
            return Err(Error::Format { found: format });
        }
        let raw: Raw = toml::from_str(text).map_err(toml)?;
        let Raw { user, units, activate, state, hooks, checks, .. } = raw;
        require(user.iter().all(|user| is_user(user)), "user", &user, "the name of a user of the device")?;
        for unit in &units {
            require(is_unit(unit), "units", unit, "names of units, such as web.service")?;
        }
        bounded("hooks.timeout", hooks.timeout, &bound::TIMEOUT)?;
        for (key, hook) in [("hooks.start", &hooks.start), ("hooks.stop", &hooks.stop)] {
            require(hook.iter().all(is_command), key, hook, "a command")?;
        }
        let checks: Vec<Check> = checks.into_iter().map(RawCheck::read).collect::<Result<_, _>>()?;
        let mut names = BTreeSet::new();
        for check in &checks {
            require(names.insert(&check.name), "check.name", &check.name, "a name that no other check has")?;
        }
        Ok(Self { user, units, activate, state, hooks, checks })
    }
}

impl RawCheck {
    fn read(self) -> Result<Check, Error> {
        let Self { name, http, tcp, command, unit, last_run, grace, interval, deadline, successes } = self;
        let fits = name.parse::<LabelKey>().is_ok() && name != START;
        require(fits, "check.name", &name, "[a-z0-9][a-z0-9-]{0,62}, and not `start`")?;
        let mut probes: Vec<Probe> = [
            http.map(Probe::Http),
            tcp.map(Probe::Tcp),
            command.map(Probe::Command),
            unit.map(Probe::Unit),
            last_run.map(Probe::LastRun),
        ]
        .into_iter()
        .flatten()
        .collect();
        let (Some(probe), true) = (probes.pop(), probes.is_empty()) else {
            let expected = "exactly one of http, tcp, command, unit, last-run".into();
            let found = if probes.is_empty() { "without a question" } else { "several questions" };
            return Err(Error::Value { key: format!("check {name}"), found: found.into(), expected });
        };
        let (fits, expected) = match &probe {
            Probe::Http(url) => (is_address(url), "an http:// or https:// address"),
            Probe::Tcp(place) => (is_place(place), "host:port"),
            Probe::Command(command) => (is_command(command), "a command"),
            Probe::Unit(unit) => (is_unit(unit), "the name of a unit"),
            Probe::LastRun(unit) => (is_unit(unit) && unit.ends_with(".timer"), "the name of a timer"),
        };
        require(fits, &format!("check {name}"), &probe, expected)?;
        bounded("check.grace", grace, &bound::GRACE)?;
        bounded("check.interval", interval, &bound::INTERVAL)?;
        bounded("check.deadline", deadline, &bound::DEADLINE)?;
        bounded("check.successes", successes, &bound::SUCCESSES)?;
        Ok(Check { name, probe, grace, interval, deadline, successes })
    }
}

fn require(fits: bool, key: &str, found: &impl std::fmt::Debug, expected: &str) -> Result<(), Error> {
    let found = || format!("{found:?}").chars().take(120).collect();
    if fits {
        return Ok(());
    }
    Err(Error::Value { key: key.to_owned(), found: found(), expected: expected.to_owned() })
}

fn bounded(key: &str, number: u32, bounds: &std::ops::RangeInclusive<u32>) -> Result<(), Error> {
    let expected = format!("a number from {} to {}", bounds.start(), bounds.end());
    require(bounds.contains(&number), key, &number, &expected)
}

fn is_user(name: &str) -> bool {
    let first = |b: u8| b.is_ascii_lowercase() || b == b'_';
    let other = |b: u8| first(b) || b.is_ascii_digit() || b == b'-';
    name.len() <= 32 && name.bytes().next().is_some_and(first) && name.bytes().all(other)
}

fn is_unit(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b":-_.@".contains(&b);
    let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
    !stem.is_empty() && name.len() <= 200 && name.bytes().all(plain)
}

fn is_command(command: &Command) -> bool {
    match command {
        Command::Shell(text) => !text.trim().is_empty() && !text.contains('\0'),
        Command::Words(words) => {
            words.first().is_some_and(|program| !program.is_empty())
                && words.iter().all(|word| !word.contains('\0'))
        }
    }
}

fn is_address(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let clean = url.bytes().all(|b| b.is_ascii_graphic());
    clean && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':', '?', '#']))
}

fn is_place(place: &str) -> bool {
    let clean = |host: &str| !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    place
        .rsplit_once(':')
        .is_some_and(|(host, port)| clean(host) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the first server took it.
    const RECORDED: &str = r#"
        format = 1
        user = "web"
        units = ["web.service", "web-backup@1.timer"]
        activate = "reload"
        state = ["db"]

        [hooks]
        start = "./bin/start --daemon"
        stop = ["./bin/stop", "now"]
        timeout = 20

        [[check]]
        name = "answers"
        http = "http://127.0.0.1:8080/health"
        grace = 2
        interval = 1
        deadline = 30
        successes = 3

        [[check]]
        name = "open"
        tcp = "[::1]:53"

        [[check]]
        name = "own"
        command = ["./check"]

        [[check]]
        name = "active"
        unit = "web.service"

        [[check]]
        name = "backup"
        last-run = "backup.timer"
    "#;

    #[test]
    fn the_recorded_recipe_is_read_with_everything_in_it() {
        let recipe = Recipe::parse(RECORDED).unwrap();
        assert_eq!((recipe.user.as_deref(), recipe.activate), (Some("web"), Activate::Reload));
        assert_eq!(recipe.hooks.start.unwrap().words(), ["sh", "-c", "./bin/start --daemon"]);
        assert_eq!(recipe.hooks.stop.unwrap().words(), ["./bin/stop", "now"]);
        let [answers, open, own, active, backup] = &recipe.checks[..] else { panic!() };
        assert_eq!((answers.grace, answers.interval, answers.deadline, answers.successes), (2, 1, 30, 3));
        assert_eq!((open.grace, open.interval, open.deadline, open.successes), (0, 5, 60, 1));
        assert_eq!(open.probe, Probe::Tcp("[::1]:53".into()));
        assert!(matches!(own.probe, Probe::Command(_)));
        assert!(matches!(active.probe, Probe::Unit(_)));
        assert!(matches!(backup.probe, Probe::LastRun(_)));
    }

    #[test]
    fn a_release_of_files_alone_needs_one_line() {
        let recipe = Recipe::parse("format = 1").unwrap();
        assert!(recipe.hooks == Hooks::default() && recipe.checks.is_empty() && recipe.user.is_none());
    }

    #[test]
    fn what_cannot_be_used_is_said_in_one_sentence() {
        let check = |text: &str| format!("format = 1\n[[check]]\nname = \"a\"\n{text}");
        for (text, said) in [
            ("".to_owned(), "missing field `format`"),
            ("format = 2\nanything = 1".to_owned(), "format is 2"),
            ("format = 1\n\nchek = 1".to_owned(), "line 3: unknown field `chek`"),
            ("format = 1\nuser = \"Web\"".to_owned(), "user"),
            ("format = 1\nunits = [\"../web.service\"]".to_owned(), "units"),
            ("format = 1\nactivate = \"never\"".to_owned(), "unknown variant"),
            ("format = 1\n[hooks]\nstart = \" \"".to_owned(), "hooks.start"),
            ("format = 1\n[hooks]\nstop = []".to_owned(), "hooks.stop"),
            ("format = 1\n[hooks]\ntimeout = 0".to_owned(), "from 1 to 3600"),
            ("format = 1\n[hooks]\nreload = \"x\"".to_owned(), "unknown field `reload`"),
            (check(""), "exactly one of"),
            (check("tcp = \"h:1\"\nunit = \"a.service\""), "several questions"),
            (check("tcp = \"h\""), "host:port"),
            (check("tcp = \"h:0\""), "host:port"),
            (check("http = \"ftp://h\""), "address"),
            (check("http = \"http:///x\""), "address"),
            (check("last-run = \"a.service\""), "timer"),
            (check("tcp = \"h:1\"\ninterval = 0"), "from 1"),
            (check("tcp = \"h:1\"\n[[check]]\nname = \"a\"\ntcp = \"h:1\""), "no other check"),
            ("format = 1\n[[check]]\nname = \"start\"\ntcp = \"h:1\"".to_owned(), "not `start`"),
            (format!("format = 1\n#{}", "x".repeat(70_000)), "longer than"),
        ] {
            let found = Recipe::parse(&text).unwrap_err().to_string();
            assert!(found.contains(said), "{text}: {found}");
        }
    }
}
