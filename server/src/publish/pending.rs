//! What waits for somebody's signature: `pending/<env>.json` in the state directory, one whole environment each.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidelock_protocol::desired::Desired;
use tidelock_protocol::names::EnvironmentName;
use tidelock_protocol::time::Timestamp;

use super::Error;
use super::dir;
use crate::keys::Keyring;

/// A role that lacks signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Its name, such as `env.prod`.
    pub role: String,
    /// How many keys of it are at hand.
    pub present: u32,
    /// How many it takes.
    pub threshold: u32,
    /// Whose keys are not at hand, by the names of `fleet.toml`.
    pub people: Vec<String>,
}

/// An environment that waits whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What it will want.
    pub desired: Desired,
    /// Whose signatures it waits for.
    pub missing: Vec<Missing>,
}

/// One file `pending/<env>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Always 1.
    pub format: u32,
    /// Since when this very wish waits.
    pub since: Timestamp,
    /// Whose signatures it waits for.
    pub missing: Vec<Missing>,
    /// What the environment will want.
    pub desired: Desired,
    /// That the publisher wrote this, by its own keys: whoever else may write here must not be believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
}

/// The directory of these files.
#[derive(Clone, Debug)]
pub struct PendingFiles {
    directory: PathBuf,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, present, threshold, people } = self;
        write!(
            f,
            "{role} is signed by {present} of the {threshold} it takes; still missing: {}",
            people.join(", ")
        )
    }
}

impl PendingFiles {
    /// Those of the state directory `state`.
    pub fn of(state: &Path) -> Self {
        Self { directory: state.join("pending") }
    }

    /// What waits, by environment. A file that is not of this form is reported as an error, never dropped.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&self) -> Result<BTreeMap<EnvironmentName, Pending>, Error> {
        let failed = |source| Error::Io { what: "list", path: self.directory.clone(), source };
        let mut found = BTreeMap::new();
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let bytes = fs::read(&path).map_err(|source| Error::Io {
                    what: "read",
                    path: path.clone(),
                    source,
                })?;
                let pending: Pending = serde_json::from_slice(&bytes)
                    .map_err(|error| Error::Damaged { path: path.clone(), found: error.to_string() })?;
                found.insert(pending.desired.environment.clone(), pending);
            }
        }
        Ok(found)
    }

    /// The commit that each environment waits with, of the files that bear the mark of whoever has `keyring`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn commits(&self, keyring: &Keyring) -> Result<BTreeMap<EnvironmentName, String>, Error> {
        let is_ours = |file: &Pending| {
            let (words, mark) = (words(&file.desired), file.mark.as_ref());
            words.zip(mark).is_some_and(|(words, mark)| keyring.is_marked(&words, mark))
        };
        let ours = self.read()?.into_iter().filter(|(_, file)| is_ours(file));
        Ok(ours.map(|(environment, file)| (environment, file.desired.source.commit)).collect())
    }

    /// Leaves exactly `waiting` behind; what waited before keeps its `since` and its file.
    ///
    /// # Errors
    /// A file cannot be written or removed.
    pub fn settle(&self, waiting: &[Waiting], keyring: &Keyring, now: Timestamp) -> Result<(), Error> {
        let before = self.read()?;
        let path = |environment: &EnvironmentName| self.directory.join(format!("{environment}.json"));
        for Waiting { desired, missing } in waiting {
            let known = before.get(&desired.environment).filter(|known| known.desired == *desired);
            let since = known.map_or(now, |known| known.since);
            let (missing, desired) = (missing.clone(), desired.clone());
            let mark = words(&desired).and_then(|words| keyring.mark(&words));
            let pending = Pending { format: 1, since, missing, desired, mark };
            if known != Some(&pending) {
                let role = format!("env.{}", pending.desired.environment);
                let bytes =
                    serde_json::to_vec_pretty(&pending).map_err(|source| Error::Json { role, source })?;
                dir::make(&self.directory)?;
                dir::replace(&path(&pending.desired.environment), &bytes)?;
            }
        }
        for environment in before.keys() {
            if !waiting.iter().any(|waiting| waiting.desired.environment == *environment) {
                let path = path(environment);
                fs::remove_file(&path).map_err(|source| Error::Io { what: "remove", path, source })?;
            }
        }
        Ok(())
    }
}

/// What is marked of a wish.
fn words(desired: &Desired) -> Option<Vec<u8>> {
    serde_json::to_vec(&("pending", desired)).ok()
}
