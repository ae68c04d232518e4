//! What a server publishes, copied as far as a commit is compared with it: the newest metadata and what each environment
//! wants; of targets else only an index that is asked for.
//!
//! Never here: trust. Whoever compares believes the server, as TLS shows it.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tidelock_protocol::names::TargetName;

use super::http::Server;
use super::{Error, failed};

#[derive(Deserialize)]
struct Soaks {
    soak: Value,
    glass: Value,
}

/// Copies the newest metadata and what environments want into the directory `to`.
///
/// # Errors
/// The server has no such file, or it cannot be written.
pub fn mirror(server: &Server, to: &Path) -> Result<(), Error> {
    for directory in ["metadata", "targets"] {
        let path = to.join(directory);
        fs::create_dir_all(&path).map_err(failed("make the directory", &path))?;
    }
    let copy = |file: &str| -> Result<Value, Error> {
        let bytes = copied(server, to, file)?;
        serde_json::from_slice(&bytes).map_err(|error| failed("read", Path::new(file))(error.into()))
    };
    let timestamp = copy("metadata/timestamp.json")?;
    let root = timestamp["signed"]["x-tidelock-root"].as_u64().unwrap_or(1);
    for version in root.saturating_sub(1).max(1)..=root {
        copy(&format!("metadata/{version}.root.json"))?;
    }
    let snapshot = &timestamp["signed"]["meta"]["snapshot.json"]["version"];
    let snapshot = copy(&format!("metadata/{snapshot}.snapshot.json"))?;
    let roles = snapshot["signed"]["meta"].as_object().into_iter().flatten();
    for (file, meta) in roles.filter(|(file, _)| is_plain(file)) {
        let role = copy(&format!("metadata/{}.{file}", meta["version"]))?;
        let targets = role["signed"]["targets"].as_object().into_iter().flatten();
        for (name, target) in targets {
            if let Ok(TargetName::Desired(_)) = name.parse() {
                let digest = target["hashes"]["sha256"].as_str().unwrap_or_default();
                target_file(server, to, digest, name)?;
            }
        }
    }
    Ok(())
}

/// Copies one file of `targets/`.
///
/// # Errors
/// As [`mirror`].
pub fn target_file(server: &Server, to: &Path, digest: &str, name: &str) -> Result<(), Error> {
    let file = format!("{digest}.{name}");
    // It becomes a path on this disk.
    if name.parse::<TargetName>().is_err() || !is_plain(&file) {
        return Err(Error::Refused(format!("the server names a file {file:?}")));
    }
    copied(server, to, &format!("targets/{file}")).map(drop)
}

/// Copies what the server knows of soaks and broken glass, as a state directory holds it.
///
/// # Errors
/// The token is refused, or a file cannot be written.
pub fn soaks(server: &Server, state: &Path) -> Result<(), Error> {
    let Soaks { soak, glass } = server.get("soaks")?;
    fs::create_dir_all(state).map_err(failed("make the directory", state))?;
    for (file, value) in [("published.json", soak), ("break-glass.json", glass)] {
        let path = state.join(file);
        fs::write(&path, value.to_string()).map_err(failed("write", &path))?;
    }
    Ok(())
}

fn copied(server: &Server, to: &Path, file: &str) -> Result<Vec<u8>, Error> {
    let bytes = server.file(file)?;
    let bytes = bytes.ok_or_else(|| Error::Refused(format!("the server publishes no {file}")))?;
    let path = to.join(file);
    fs::write(&path, &bytes).map_err(failed("write", &path))?;
    Ok(bytes)
}

/// Whether it is one component of a path, and no hidden one.
fn is_plain(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    !name.starts_with('.') && name.bytes().all(plain)
}
