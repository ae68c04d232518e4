//! What the team edits in Git, as types that cannot be wrong: `fleet.toml`, `apps/<app>/app.toml`,
//! `environments/<name>.toml`; and what the publisher's owner says on its own machine. Every problem is found at once,
//! with file and line; an unknown key is a problem.
//!
//! Never here: Git itself (texts come in as arguments), or what a release brings along (`protocol::release`).

mod app;
mod document;
mod edit;
mod environment;
mod fleet;
mod release;
mod service;
mod span;

use std::collections::BTreeMap;
use std::fmt;

use tidelock_protocol::names::{AppName, EnvironmentName};
use tidelock_protocol::nearest::nearest;

pub use app::{App, Origin};
pub use edit::with_release;
pub use environment::{Choice, Environment, Wish};
pub use fleet::{EnvironmentRole, Fleet, Owner, Requires, Role};
pub use release::{Pinned, PinnedBuild, pinned};
pub use service::{Service, service};
pub use span::span;

/// Longest configuration file that is read, in bytes.
pub const FILE_BYTES: u64 = 1 << 20;

/// Where something stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as a path in the repository.
    pub file: String,
    /// The line, counted from 1; 0: the file as a whole.
    pub line: usize,
    /// The character in the line, counted from 1; 0: the line as a whole.
    pub column: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it was read.
    pub place: Place,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, in one sentence without a full stop.
    pub message: String,
}

/// Everything that is wrong; never empty when it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{} in the fleet repository; nothing was signed:\n{}", count(.0.len()), lines(.0))]
pub struct Problems(pub Vec<Problem>);

impl Place {
    /// The file as a whole.
    pub fn of_file(file: impl Into<String>) -> Self {
        Self { file: file.into(), ..Self::default() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        let numbers = [self.line, self.column].into_iter().take_while(|number| *number > 0);
        numbers.into_iter().try_for_each(|number| write!(f, ":{number}"))
    }
}

impl Problems {
    /// Notes that `message` is wrong at `place`.
    pub fn add(&mut self, place: Place, message: impl Into<String>) {
        self.0.push(Problem { place, message: message.into() });
    }

    /// Everything noted, a line each.
    pub fn lines(&self) -> String {
        lines(&self.0)
    }

    /// `Ok` when nothing was noted.
    ///
    /// # Errors
    /// Everything noted, in the order of files and lines, each once.
    pub fn settle(self) -> Result<(), Self> {
        let sorted = self.sorted();
        if sorted.0.is_empty() { Ok(()) } else { Err(sorted) }
    }

    /// Everything noted, in the order of files and lines, each once.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.0.sort();
        self.0.dedup();
        self
    }
}

/// The texts of one commit that make up the configuration, by path: `fleet.toml`, `apps/<app>/app.toml`,
/// `environments/<name>.toml`.
pub type Texts = BTreeMap<String, Vec<u8>>;

/// Which configuration file a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum File {
    /// `fleet.toml`
    Fleet,
    /// `apps/<app>/app.toml`, with the name as it is written.
    App(String),
    /// `environments/<name>.toml`, with the name as it is written.
    Environment(String),
}

impl File {
    /// What `path` is; `None` for all other files of the repository.
    pub fn of(path: &str) -> Option<Self> {
        let one_part = |part: &str| !part.is_empty() && !part.contains('/');
        if path == "fleet.toml" {
            return Some(Self::Fleet);
        }
        if let Some(name) = path.strip_prefix("apps/").and_then(|rest| rest.strip_suffix("/app.toml")) {
            return one_part(name).then(|| Self::App(name.to_owned()));
        }
        let name = path.strip_prefix("environments/")?.strip_suffix(".toml")?;
        one_part(name).then(|| Self::Environment(name.to_owned()))
    }
}

/// The apps of one commit.
pub fn apps(texts: &Texts, problems: &mut Problems) -> BTreeMap<AppName, App> {
    let mut apps = BTreeMap::new();
    for (path, bytes) in texts {
        let Some(File::App(name)) = File::of(path) else { continue };
        let read = app::read(path, bytes, problems);
        match name.parse() {
            Ok(name) => drop(read.map(|app| apps.insert(name, app))),
            Err(error) => problems.add(Place::of_file(path), format!("{error}")),
        }
    }
    apps
}

/// The file `environments/<name>.toml` of one commit; with problems, what could be read beside them.
pub fn environment(
    texts: &Texts,
    name: &EnvironmentName,
    apps: &BTreeMap<AppName, App>,
    problems: &mut Problems,
) -> Option<Environment> {
    let path = format!("environments/{name}.toml");
    let Some(bytes) = texts.get(&path) else {
        let place = Place::of_file(path);
        problems.add(place, format!("is missing: fleet.toml names the environment {name}, owned by git"));
        return None;
    };
    environment::read(&path, bytes, apps, problems)
}

/// `fleet.toml`, and whether the environments it names are those that have files.
pub fn fleet(texts: &Texts, problems: &mut Problems) -> Option<Fleet> {
    let Some(bytes) = texts.get("fleet.toml") else {
        problems.add(
            Place::of_file("fleet.toml"),
            "is missing: is this a fleet repository? `tidelock-server init DIR` makes one",
        );
        return None;
    };
    let fleet = fleet::read("fleet.toml", bytes, problems)?;
    for (name, role) in &fleet.environments {
        let Some(Requires { environment, .. }) = &role.requires else { continue };
        if environment == name || !fleet.environments.contains_key(environment) {
            let meant = nearest(environment.as_str(), fleet.environments.keys().map(EnvironmentName::as_str));
            let hint = meant.filter(|meant| *meant != name.as_str());
            let hint = hint.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
            problems.add(
                role.place.clone(),
                format!("{name} requires {environment}, which is no other environment{hint}"),
            );
        }
    }
    for path in texts.keys() {
        let Some(File::Environment(name)) = File::of(path) else { continue };
        let place = Place::of_file(path);
        match name.parse::<EnvironmentName>().map(|name| fleet.environments.get(&name)) {
            Err(error) => problems.add(place, error.to_string()),
            Ok(None) => problems.add(place, format!("fleet.toml has no [environments.{name}]")),
            Ok(Some(role)) if role.owner == Owner::Push => {
                problems.add(
                    place,
                    format!(
                        "the environment {name} is owned by push, and `tidelock-server push --env {name}` moves it; \
                         for commits to move it, say owner = \"git\" in fleet.toml, otherwise delete this file"
                    ),
                );
            }
            Ok(Some(_)) => {}
        }
    }
    Some(fleet)
}

fn count(problems: usize) -> String {
    if problems == 1 { "1 problem".into() } else { format!("{problems} problems") }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> =
        problems.iter().map(|problem| format!("  {}: {}", problem.place, problem.message)).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;
