//! The unit files of the apps: what a release wants to lie in the service manager's directory, what lies there, and how
//! the one becomes the other.
//!
//! They are copies, made from what was understood of the release's own (`file`) and judged (`rules`), so that nothing
//! outside the sealed tree is read from it at boot. Never here: starting or stopping one (`service`), or when.

mod file;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;
use tidelock_protocol::recipe::{Activate, Recipe};

use super::disk;
use super::lock::Lock;
use crate::config::Paths;
use file::{Line, parse, render};

/// What all of them are called.
const PREFIX: &str = "tidelock-app-";
/// The unit that they all wait for: it goes back from what never came up, before it is started once more.
const GUARD: &str = "tidelock-guard.service";
/// Where a link makes a unit start with another one, by the setting that asks for it.
const INSTALL: [(&str, &str); 3] =
    [("WantedBy", "wants"), ("RequiredBy", "requires"), ("UpheldBy", "upholds")];

/// Whose units they are, and what the owner of the device allows them.
#[derive(Clone, Debug)]
pub struct Owner<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The units that its release brings.
    pub units: &'a [String],
    /// Other units that it may name.
    pub allowed: &'a BTreeSet<String>,
    /// Whether it may do what only root may.
    pub may_be_root: bool,
    /// Whom services run as that do not say so themselves; none: root.
    pub user: Option<&'a str>,
    /// The device's own settings for the app.
    pub app_env: PathBuf,
    /// What else of the device is the app's to read.
    pub places: [PathBuf; 2],
    /// What is read-only to it.
    pub state: PathBuf,
    /// What in there is not.
    pub data: PathBuf,
}

/// What lies, or should lie, in the service manager's directory, by its name there.
pub type Files = BTreeMap<String, Entry>;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A unit file of this text.
    Unit(String),
    /// A symlink to a unit file; none: to something else than the one of its own name.
    Start(Option<String>),
}

/// The name that a unit of an app has on the device.
pub fn prefixed(app: &str, unit: &str) -> String {
    format!("{PREFIX}{app}.{unit}")
}

/// Those of `files` that belong to `app`.
pub fn of(files: &Files, app: &AppName) -> Files {
    let prefix = prefixed(app.as_str(), "");
    let own = files.iter().filter(|(path, _)| name(path).starts_with(&prefix));
    own.map(|(path, entry)| (path.clone(), entry.clone())).collect()
}

/// The units among `files` that start with the device: these are started and stopped, the others by them.
pub fn enabled(files: &Files) -> BTreeSet<String> {
    let links = files.iter().filter(|(_, entry)| matches!(entry, Entry::Start(_)));
    links.map(|(path, _)| name(path).to_owned()).collect()
}

/// All units among `files`; a template stands for all its instances.
pub fn all(files: &Files) -> BTreeSet<String> {
    let units = files.iter().filter(|(_, entry)| matches!(entry, Entry::Unit(_)));
    units.map(|(path, _)| path.replace("@.", "@*.")).collect()
}

/// The digest of all of `files`.
pub fn digest(files: &Files) -> Digest {
    let text = |(path, entry): (&String, &Entry)| match entry {
        Entry::Unit(text) => format!("{path}\0{text}\0"),
        Entry::Start(_) => format!("{path}\0"),
    };
    Digest::of(files.iter().map(text).collect::<String>().as_bytes())
}

/// What the release in `tree` wants to lie there.
///
/// # Errors
/// Why its units cannot be used on this device, in words.
pub fn wanted(owner: &Owner<'_>, recipe: &Recipe, tree: &Path) -> Result<Files, String> {
    let mut files = Files::new();
    for unit in owner.units {
        let failed = |problem: String| format!("{unit}: {problem}");
        let path = tree.join(unit);
        let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        let lines = parse(&text).map_err(failed)?;
        let reloads = lines.iter().any(|line| {
            line.is("Service", "ExecReload") || line.is("Service", "Type") && line.value == "notify-reload"
        });
        let lines = lines.into_iter().map(|line| rules::judged(line, owner));
        let lines = lines.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let installed = links(owner.app, unit, &lines);
        if recipe.activate == Activate::Reload
            && unit.ends_with(".service")
            && !installed.is_empty()
            && !reloads
        {
            return Err(failed("`activate = \"reload\"` needs `ExecReload=`".into()));
        }
        let lines = injected(owner, unit, lines).map_err(failed)?;
        files.extend(installed);
        files.insert(prefixed(owner.app.as_str(), unit), Entry::Unit(render(&lines)));
    }
    if enabled(&files).is_empty() && !owner.units.is_empty() {
        return Err("none of its units has an [Install] section: nothing would start it".into());
    }
    Ok(files)
}

/// Whether a check of the release may ask about the unit of this name.
pub fn may_ask(owner: &Owner<'_>, unit: &str) -> bool {
    owner.names(unit)
}

/// What the unit of this name is called on the device: one of the app's own has its prefix.
pub fn on_device(app: &AppName, units: &[String], unit: &str) -> String {
    rules::own(app.as_str(), units, unit).unwrap_or_else(|| unit.to_owned())
}

/// The lines of a unit with those that the agent adds: they stand last, and so count.
fn injected(owner: &Owner<'_>, unit: &str, mut lines: Vec<Line>) -> Result<Vec<Line>, String> {
    let state = owner.state.display();
    if unit.ends_with(".service") {
        let says = |key| lines.iter().any(|line| line.is("Service", key) && !line.value.is_empty());
        match owner.user {
            _ if says("User") || says("DynamicUser") => {}
            Some(user) => lines.push(Line::new("Service", "User", user)),
            None if owner.may_be_root => {}
            None => {
                return Err(format!(
                    "it would run as root: let it or release.toml name a user, or name {} in `allow_root_apps` here",
                    owner.app
                ));
            }
        }
        lines.push(Line::new("Service", "ReadOnlyPaths", &state));
        lines.push(Line::new("Service", "ReadWritePaths", format!("-{}", owner.data.display())));
    }
    lines.push(Line::new("Unit", "RequiresMountsFor", &state));
    lines.push(Line::new("Unit", "After", GUARD));
    Ok(lines)
}

/// The links that the `[Install]` section of a unit asks for.
fn links(app: &AppName, unit: &str, lines: &[Line]) -> Files {
    let own = prefixed(app.as_str(), unit);
    let asks = |line: &Line| {
        let (_, kind) = INSTALL.iter().find(|(key, _)| line.is("Install", key))?;
        let link = |by: &str| (format!("{by}.{kind}/{own}"), Entry::Start(Some(own.clone())));
        Some(line.value.split_whitespace().map(link).collect::<Vec<_>>())
    };
    if unit.contains("@.") { Files::new() } else { lines.iter().filter_map(asks).flatten().collect() }
}

/// Everything of any app that lies there.
///
/// # Errors
/// A directory that cannot be listed, a file that cannot be read.
pub fn found(paths: &Paths) -> Result<Files, disk::Error> {
    let directory = paths.units();
    let mut files = Files::new();
    for path in list(&directory)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) && !path.is_dir() {
            let text = std::fs::read_to_string(&path);
            files.insert(name, Entry::Unit(text.unwrap_or_else(|error| error.to_string())));
        } else if INSTALL.iter().any(|(_, kind)| name.ends_with(&format!(".{kind}"))) {
            for link in list(&path)? {
                let own = link.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if own.starts_with(PREFIX) {
                    let target = std::fs::read_link(&link).ok();
                    let target = target.filter(|target| *target == target_of(&own)).map(|_| own.clone());
                    files.insert(format!("{name}/{own}"), Entry::Start(target));
                }
            }
        }
    }
    Ok(files)
}

/// Makes what lies there of `app` be `wanted`, file by file and each whole or not at all; gives whether anything was
/// another one before.
///
/// # Errors
/// Whatever the system says; what is left to be done is done by the next call.
pub fn place(_lock: &Lock, paths: &Paths, app: &AppName, wanted: &Files) -> Result<bool, disk::Error> {
    let directory = paths.units();
    let found = of(&found(paths)?, app);
    for (name, entry) in wanted.iter().filter(|(name, entry)| found.get(*name) != Some(*entry)) {
        let path = directory.join(name);
        disk::create_directories(path.parent().unwrap_or(&directory))?;
        match entry {
            Entry::Unit(text) => disk::replace(&path, text.as_bytes())?,
            Entry::Start(own) => disk::point(&path, &target_of(own.as_deref().unwrap_or_default()))?,
        }
    }
    for name in found.keys().filter(|name| !wanted.contains_key(*name)) {
        disk::remove(&directory.join(name))?;
    }
    Ok(found != *wanted)
}

fn target_of(unit: &str) -> PathBuf {
    Path::new("..").join(unit)
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The paths in a directory, sorted; none where there is none.
fn list(directory: &Path) -> Result<BTreeSet<PathBuf>, disk::Error> {
    let failed = |source| disk::Error { what: "list", path: directory.to_owned(), source };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(BTreeSet::new());
        }
        entries => entries.map_err(failed)?,
    };
    entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect()
}

#[cfg(test)]
mod tests;
