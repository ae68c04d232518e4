//! First stage: which files there are, and in which order they count.
//!
//! Never here: what they say.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Error, Paths};

/// One configuration file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where it lies.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// The vendor's files, then those of this boot, then the owner's; a later file wins, key by key.
const LAYERS: [&str; 3] = ["usr/lib/tidelock", "run/tidelock", "etc/tidelock"];

/// Reads every configuration file in the order in which they count: per layer `config.toml`, then `config.d/*.toml`
/// by name. With `only`, that file is the whole configuration.
///
/// # Errors
/// A file that is there and cannot be read, or an `only` that is not there.
pub fn read(paths: &Paths, only: Option<&Path>) -> Result<Vec<Fragment>, Error> {
    if let Some(path) = only {
        let text = std::fs::read_to_string(path).map_err(unreadable(path))?;
        return Ok(vec![Fragment { path: path.to_owned(), text }]);
    }
    let mut fragments = Vec::new();
    for layer in LAYERS {
        let directory = paths.rooted(Path::new(layer));
        fragments.extend(read_if_there(directory.join("config.toml"))?);
        for path in listed(&directory.join("config.d"))? {
            fragments.extend(read_if_there(path)?);
        }
    }
    Ok(fragments)
}

/// `fragments` after one that says what a device is that was never told anything: for what goes on without being
/// part of a fleet.
pub fn before_any(fragments: Vec<Fragment>) -> Vec<Fragment> {
    let text = "url = \"http://localhost\"\nenvironment = \"none\"\n".into();
    [Fragment { path: PathBuf::new(), text }].into_iter().chain(fragments).collect()
}

fn listed(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable(directory))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable(directory))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read_if_there(path: PathBuf) -> Result<Option<Fragment>, Error> {
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => Ok(Some(Fragment { text: text.map_err(unreadable(&path))?, path })),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Read { path: path.to_owned(), source }
}
