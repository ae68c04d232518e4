//! Files that no role names any more: removed from `targets/` once the longest sleeper has surely woken up.
//!
//! Never here: metadata. Every root stays published for ever, and so does every version of every role.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::TargetName;
use tidelock_protocol::time::Timestamp;

use super::dir::{make, replace};
use super::{Directory, Error, Lock, Published};

/// Between two looks at the whole directory.
const PAUSE: Duration = Duration::from_secs(3600);

/// The record `unnamed.json` of the state directory: since when which files are named by nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Unnamed {
    /// Always 1.
    format: u32,
    /// When the directory was looked at last.
    looked: Timestamp,
    /// The files.
    since: BTreeMap<String, Timestamp>,
}

/// Removes what nothing of `published` has named for `grace`; the names of what was removed. A record that is lost or
/// cannot be read lets every grace begin anew.
///
/// # Errors
/// The directory cannot be listed, a file not removed, or the record not written.
pub fn sweep(
    directory: &Directory,
    _lock: &Lock,
    published: &Published,
    state: &Path,
    grace: Duration,
    now: Timestamp,
) -> Result<Vec<String>, Error> {
    let record = state.join("unnamed.json");
    let before = fs::read(&record).ok().and_then(|bytes| serde_json::from_slice::<Unnamed>(&bytes).ok());
    let before = before.filter(|before| before.format == 1);
    // A clock that was set back must not stop this for ever.
    let is_young = |before: &&Unnamed| before.looked <= now && now.since(before.looked) < PAUSE;
    if before.as_ref().filter(is_young).is_some() {
        return Ok(Vec::new());
    }
    let known = before.map(|before| before.since).unwrap_or_default();
    let named = named(published);
    let (mut since, mut removed) = (BTreeMap::new(), Vec::new());
    for name in files(directory)?.into_iter().filter(|name| !named.contains(name) && is_target(name)) {
        let first = known.get(&name).copied().unwrap_or(now);
        if now.since(first) < grace {
            since.insert(name, first);
            continue;
        }
        let path = directory.target(&name);
        fs::remove_file(&path).map_err(|source| Error::Io { what: "remove", path, source })?;
        removed.push(name);
    }
    let bytes = serde_json::to_vec(&Unnamed { format: 1, looked: now, since });
    let bytes = bytes.map_err(|source| Error::Json { role: "unnamed.json".into(), source })?;
    make(state)?;
    replace(&record, &bytes)?;
    Ok(removed)
}

/// Every file of `targets/` that a published role names.
fn named(published: &Published) -> BTreeSet<String> {
    let roles = published.delegated.values().map(|kept| &kept.value);
    let targets =
        published.targets.iter().map(|kept| &kept.value).chain(roles).flat_map(|role| &role.targets);
    targets.filter_map(|(name, target)| Some(format!("{}.{name}", target.sha256()?))).collect()
}

/// Whether this is the name of a file that a publisher puts there.
fn is_target(name: &str) -> bool {
    let parts = name.split_once('.');
    parts.is_some_and(|(digest, name)| digest.parse::<Digest>().is_ok() && name.parse::<TargetName>().is_ok())
}

fn files(directory: &Directory) -> Result<Vec<String>, Error> {
    let path = directory.target("");
    let failed = |source| Error::Io { what: "list", path: path.clone(), source };
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let names = entries.map(|entry| Ok(entry.map_err(failed)?.file_name().into_string().ok()));
    Ok(names.collect::<Result<Vec<_>, Error>>()?.into_iter().flatten().collect())
}
