//! `join`: makes this device part of a fleet. Two files in `/etc/tidelock`: the root that it trusts, then the
//! configuration, which is what makes a device a joined one.
//!
//! Never here: what is then wanted of the device.

use std::io::ErrorKind;
use std::path::Path;

use tidelock_protocol::digest::Digest;
use tidelock_protocol::trust::Roots;
use toml::{Table, Value};

use super::arguments::{Join, Trust};
use super::say;
use super::session::{Failure, Status};
use crate::config::{self, Fragment, Merged, Paths, Settings, base_url};
use crate::io::http::Http;
use crate::io::{disk, identity, refresh};
use crate::turn::unsigned_now;

/// Writes `root.json` and `config.toml`, or the file that `--config` names.
pub(super) fn join(paths: &Paths, config: Option<&Path>, join: &Join) -> Result<Status, Failure> {
    let url = base_url(&join.url).map_err(|expected| {
        let shown = join.url.rsplit('@').next().unwrap_or_default();
        Failure::Unusable { what: format!("the address {shown}"), expected: expected.into() }
    })?;
    let target = config.map_or_else(|| paths.config_file(), Path::to_path_buf);
    let before = existing(&target)?;
    let text = configuration(before.as_ref(), &url, join);
    let settings = settings(paths, config, &target, &text)?;
    let root = match &join.trust {
        Trust::File(path) => read(path)?,
        Trust::Sha256(hash) => {
            let http = Http::new(&settings.connection, unsigned_now()).map_err(refresh::Failure::from)?;
            refresh::find_root(&http, hash)?
        }
    };
    is_root(&root)?;
    if before.is_some() && !join.force {
        let same =
            before.as_ref().is_some_and(|table| *table == parsed(&text)) && read(&paths.root_json())? == root;
        if same {
            say("this device is part of that fleet already\n");
            return Ok(Status::Done);
        }
        let why =
            format!("this device is configured already by {}: --force joins another fleet", target.display());
        return Err(Failure::Refused(why));
    }
    establish(paths, &target, &text, &root, &settings)?;
    say("next: tidelock update, or tidelock run\n");
    Ok(Status::Done)
}

/// Makes the device a joined one: the root first, since the configuration is what says so.
pub(super) fn establish(
    paths: &Paths,
    target: &Path,
    text: &str,
    root: &[u8],
    settings: &Settings,
) -> Result<(), Failure> {
    for directory in [paths.etc(), paths.journal()] {
        disk::create_directories(&directory)?;
    }
    disk::replace(&paths.root_json(), root)?;
    disk::replace(target, text.as_bytes())?;
    let id = identity::device_id(paths, settings.id.as_ref())?;
    say(&format!(
        "device {id} is of environment {} at {}\nroot {} is trusted\n",
        settings.environment,
        settings.connection.url,
        Digest::of(root)
    ));
    Ok(())
}

/// What the configuration says once `text` stands in `target`; a key that nobody knows is an error here, since who
/// sets a device up reads what it says.
pub(super) fn settings(
    paths: &Paths,
    config: Option<&Path>,
    target: &Path,
    text: &str,
) -> Result<Settings, Failure> {
    let mut fragments = if config.is_some() { Vec::new() } else { config::read(paths, None)? };
    let place = fragments.iter().position(|fragment| fragment.path == target);
    let own = Fragment { path: target.to_owned(), text: text.to_owned() };
    match place {
        Some(place) => fragments[place] = own,
        // Where it will stand: after what the vendor and this boot say, before the fragments in `config.d` beside it.
        None => {
            let after = |fragment: &Fragment| fragment.path.starts_with(paths.etc());
            let place = fragments.iter().position(after).unwrap_or(fragments.len());
            fragments.insert(place, own);
        }
    }
    let merged = Merged::of(&fragments)?;
    merged.refuse_unknown()?;
    Ok(Settings::of(&merged, paths)?)
}

/// The new configuration: what `join` was told, and whatever else the file said before.
fn configuration(before: Option<&Table>, url: &str, join: &Join) -> String {
    let mut table = before.cloned().unwrap_or_default();
    table.insert("url".into(), Value::String(url.to_owned()));
    table.insert("environment".into(), Value::String(join.environment.to_string()));
    if !join.labels.is_empty() {
        let labels = join.labels.iter().map(|(key, value)| (key.to_string(), Value::String(value.clone())));
        table.insert("labels".into(), Value::Table(labels.collect()));
    }
    table.to_string()
}

pub(super) fn parsed(text: &str) -> Table {
    text.parse().unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "a file that a person named or wrote, before there is a turn")]
pub(super) fn existing(path: &Path) -> Result<Option<Table>, Failure> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(config::Error::Read { path: path.to_owned(), source }.into()),
        Ok(text) => {
            let merged = Merged::of(&[Fragment { path: path.to_owned(), text: text.clone() }])?;
            merged.refuse_unknown()?;
            Ok(Some(parsed(&text)))
        }
    }
}

/// A file that is not a root signed by itself would leave a device that believes nothing.
pub(super) fn is_root(bytes: &[u8]) -> Result<(), Failure> {
    let path = "the root".to_owned();
    let begun = Roots::begin(bytes, unsigned_now());
    begun.map(drop).map_err(|source| refresh::Failure::Trust { path, source }.into())
}

#[expect(clippy::disallowed_methods, reason = "a file that a person named or wrote, before there is a turn")]
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(source) => Err(refresh::Failure::Read { path: path.to_owned(), source }.into()),
    }
}
