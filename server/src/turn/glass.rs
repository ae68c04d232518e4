//! Broken glass: for a while an environment need not wait for the one before it. Always with an owner, a reason and an
//! end; loud while it lasts, and a line of the audit for ever.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidelock_protocol::names::EnvironmentName;
use tidelock_protocol::time::Timestamp;

use super::Error;
use super::audit::Audit;
use crate::publish;

/// One pane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Glass {
    /// The environment that need not wait.
    pub environment: EnvironmentName,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub expires: Timestamp,
}

/// Breaks it, or mends it before its end.
///
/// # Errors
/// The state directory cannot be written.
pub fn break_glass(state: &Path, glass: &Glass) -> Result<(), Error> {
    Audit::of(state).glass(glass)?;
    let mut all = read(state)?;
    all.retain(|one| one.environment != glass.environment && one.expires > glass.since);
    all.push(glass.clone());
    let failed =
        |source: serde_json::Error| Error::State { what: "write", path: place(state), source: source.into() };
    let bytes = serde_json::to_vec_pretty(&all).map_err(failed)?;
    Ok(publish::replace(&place(state), &bytes)?)
}

/// What is broken now.
///
/// # Errors
/// The file cannot be read: whoever broke glass must not find it whole by accident.
pub fn broken(state: &Path, now: Timestamp) -> Result<Vec<Glass>, Error> {
    let mut all = read(state)?;
    all.retain(|glass| glass.expires > now);
    Ok(all)
}

fn read(state: &Path) -> Result<Vec<Glass>, Error> {
    let path = place(state);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|source| Error::State { what: "read", path: path.clone(), source })?,
    };
    serde_json::from_slice(&bytes).map_err(|source| Error::State {
        what: "read",
        path,
        source: source.into(),
    })
}

fn place(state: &Path) -> PathBuf {
    state.join("break-glass.json")
}
