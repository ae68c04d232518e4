//! Where a sealed release came from: the two signed files, kept beside its tree so that what is lost of it can be
//! fetched again with no metadata at all.
//!
//! Never here: fetching (`fetch`).

use std::fs::File;
use std::io::{Read, Write};

use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;

use super::disk;
use super::lock::Lock;
use crate::config::Paths;
use crate::decide::model::Files;

/// No record of it is nearly as long.
const LIMIT: u64 = 16 * 1024;

/// Writes where a staged release came from; it becomes durable with the tree.
///
/// # Errors
/// Whatever the system says.
pub fn write(
    _lock: &Lock,
    paths: &Paths,
    app: &AppName,
    tree: &Digest,
    files: &Files,
) -> Result<(), disk::Error> {
    let path = paths.staged(app, tree).join("source.json");
    disk::remove(&path)?;
    let failed = |source| disk::Error { what: "write", path: path.clone(), source };
    let bytes = serde_json::to_vec(files).map_err(|error| failed(error.into()))?;
    let mut file = disk::NewFile::create(&path)?;
    file.write_all(&bytes).map_err(failed)?;
    file.finish(0o444)
}

/// Where a sealed release came from; none where that cannot be read.
pub fn read(paths: &Paths, app: &AppName, tree: &Digest) -> Option<Files> {
    let mut bytes = Vec::new();
    let file = File::open(paths.source(app, tree)).ok()?;
    file.take(LIMIT).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}
