//! `release.toml`, at the root of every tree: how the release is started, stopped and checked.
//!
//! ```toml
//! format = 1
//! user = "web"                        # who runs hooks and checks
//! units = ["web.service"]             # under systemd; they lie beside this file
//! activate = "restart"                # or "reload"
//! state = []                          # reserved
//!
//! [hooks]                             # run in the tree
//! start = ["./bin/start", "--fast"]   # program and arguments, or one string for the shell
//! stop = "kill $(cat run/pid)"
//! timeout = 60
//!
//! [[check]]                           # asks exactly one of http, tcp, command, unit, last-run
//! name = "answers"
//! http = "http://127.0.0.1:8080/health"
//! grace = 0
//! interval = 5
//! deadline = 60
//! successes = 1
//!
//! [[check]]
//! name = "port"
//! tcp = "127.0.0.1:8080"
//! ```
//! Numbers are seconds, `successes` counts; those above are the defaults. Only `format` is required, and of each check
//! its name and its question.
//!
//! The builder's word, signed with the tree; an environment may tune only the numbers. The publisher reads it before it
//! signs, the device before it activates. Never here: running any of it.

mod read;

use std::fmt;

use serde::Serialize;

use crate::tree::{self, TreePath};

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
    /// Units of systemd that lie at the tree's root.
    pub units: Vec<String>,
    /// What happens to running units when the release changes.
    pub activate: Activate,
    /// Reserved: what of the app's data belongs to a release.
    pub state: Vec<String>,
    /// Commands that start and stop the app.
    pub hooks: Hooks,
    /// What must hold before the release is committed, in the order of the file; names are unique.
    pub checks: Vec<Check>,
}

/// What happens to running units when the release changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Activate {
    /// They are stopped before and started after.
    #[default]
    Restart,
    /// They run on and are told to read their files again.
    Reload,
}

/// Commands that start and stop the app; run in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// Ends with status 0 once the app is started; none: there is nothing to start.
    pub start: Option<Command>,
    /// Ends once the app is stopped; none: there is nothing to stop.
    pub stop: Option<Command>,
    /// Seconds that either may take.
    pub timeout: u32,
}

/// A command: a text for the shell, or program and arguments for nobody but the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Command {
    /// `sh -c` of this text.
    Shell(String),
    /// Program and arguments.
    Words(Vec<String>),
}

/// One health test. Its numbers lie within [`crate::limits::tuning`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name, `[a-z0-9][a-z0-9-]{0,62}` and not [`START`]; no other check of the release has it.
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
    /// This unit is active: one of the release's own, or another one where the device's owner allows that.
    Unit(String),
    /// What this timer starts ran since the release was started, and succeeded.
    LastRun(String),
}

/// Everything that is wrong with a `release.toml`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("release.toml is refused: {}", listed(.0))]
pub struct Error(pub Vec<Problem>);

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// What was found and what was expected.
    pub message: String,
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl Recipe {
    /// Reads a `release.toml`.
    ///
    /// # Errors
    /// Every problem in it, each with its line: unknown keys too, with the nearest known one.
    pub fn parse(text: &str) -> Result<Self, Error> {
        read::recipe(text).map_err(Error)
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

    /// The path of a program that is named relative to the tree, or why it cannot be one. `None` for a shell, an
    /// absolute path, and a bare name, which the system looks for.
    ///
    /// # Errors
    /// A path that leads out of the tree; a recipe with such a command is refused.
    pub fn in_tree(&self) -> Option<Result<TreePath, tree::Error>> {
        let Self::Words(words) = self else { return None };
        let program = words.first().filter(|program| program.contains('/') && !program.starts_with('/'))?;
        Some(program.strip_prefix("./").unwrap_or(program).parse())
    }
}

#[cfg(test)]
mod tests;
