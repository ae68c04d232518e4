//! `promote`: the change by which one environment wants what another one runs, byte for byte.

use std::path::Path;

use tidelock_protocol::desired::{Choice, Desired};
use tidelock_protocol::names::{AppName, EnvironmentName, Version};

use super::arguments::Promote;
use super::{Exit, say};
use crate::config::{FILE_BYTES, with_release};
use crate::git::{self, Commit, Kind, Repository};
use crate::publish::Published;

/// Why nothing was promoted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository.
    #[error("cannot change the fleet repository")]
    Git(#[from] git::Error),
    /// There is nothing to promote.
    #[error("{environment} does not want {app}: there is nothing to promote")]
    Nothing {
        /// The app.
        app: AppName,
        /// The environment asked.
        environment: EnvironmentName,
    },
    /// Several releases at once.
    #[error(
        "{environment} wants several releases of {app}, by selectors: say by hand which of them is promoted"
    )]
    Several {
        /// The app.
        app: AppName,
        /// The environment asked.
        environment: EnvironmentName,
    },
    /// The file that would change.
    #[error("cannot change {file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
}

/// Prints the change, or commits it.
pub(super) fn promote(arguments: &Promote, published: &Published, scratch: &Path) -> Result<Exit, Error> {
    let Promote { app, from, to, fleet, on, commit, branch, .. } = arguments;
    let nothing = || Error::Nothing { app: app.clone(), environment: from.clone() };
    let desired = published.desired.get(from).ok_or_else(nothing)?;
    let choice = match desired.apps.get(app).map(Vec::as_slice) {
        None | Some([]) => return Err(nothing()),
        Some([choice]) => choice,
        Some(_) => return Err(Error::Several { app: app.clone(), environment: from.clone() }),
    };
    let version = &choice.stable.version;
    let mut repository = Repository::open(fleet, &scratch.join("git"))?;
    let base = repository.head(on)?;
    let file = format!("environments/{to}.toml");
    let text = read_file(&repository, &base, &file)?.unwrap_or_default();
    let changed =
        with_release(&text, app, version).map_err(|reason| Error::File { file: file.clone(), reason })?;
    let pins = format!("apps/{app}/releases/{version}.toml");
    let mut files = Vec::new();
    if read_file(&repository, &base, &pins)?.is_none() {
        files.push((pins, pinned(choice, desired).into_bytes()));
    }
    if changed != text {
        files.push((file, changed.into_bytes()));
    }
    if files.is_empty() {
        say(&format!("{to} wants {app} {version} already"));
        return Ok(Exit::Done);
    }
    let message = format!("Promote {app} {version} from {from} to {to}");
    let target = branch.as_ref().or(commit.then_some(on));
    let Some(target) = target else {
        for (path, bytes) in &files {
            say(&format!("# {path}\n{}", String::from_utf8_lossy(bytes)));
        }
        return Ok(Exit::Done);
    };
    commit_files(&repository, &base, &files, &message, (target, branch.is_none()), scratch)?;
    say(&format!("committed {message:?} to {target} of {}", repository.label()));
    Ok(Exit::Done)
}

pub(super) fn commit_files(
    repository: &Repository,
    base: &Commit,
    files: &[(String, Vec<u8>)],
    message: &str,
    (branch, is_base): (&str, bool),
    scratch: &Path,
) -> Result<(), Error> {
    let new = repository.change(base, files, message, &scratch.join("commit"))?;
    Ok(repository.advance(branch, &new, is_base.then_some(base))?)
}

pub(super) fn read_file(repository: &Repository, base: &Commit, path: &str) -> Result<Option<String>, Error> {
    let Some(entry) = repository.find(&base.id, [path])?.remove(path) else { return Ok(None) };
    let refused = |reason: &str| Error::File { file: path.to_owned(), reason: reason.to_owned() };
    let Kind::File { .. } = entry.kind else { return Err(refused("it is no plain file")) };
    let bytes = repository.blobs()?.read(&entry.id, FILE_BYTES)?.ok_or_else(|| refused("it is too long"))?;
    String::from_utf8(bytes).map(Some).map_err(|_| refused("it is not UTF-8"))
}

/// `apps/<app>/releases/<version>.toml` for this release.
fn pinned(choice: &Choice, desired: &Desired) -> String {
    let version: &Version = &choice.stable.version;
    let mut text = format!("# {version}, as {} runs it.\nformat = 1\n", desired.environment);
    for (platform, build) in &choice.stable.platforms {
        text.push_str(&format!(
            "\n[platforms.{platform}]\nindex = \"{}\"\nsize = {}\ntree = \"{}\"\n",
            build.index.sha256, build.index.length, build.tree
        ));
    }
    text
}
