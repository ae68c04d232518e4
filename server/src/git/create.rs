//! A new repository around files that are there already: the one time that this room writes.

use std::path::Path;

use super::Error;
use super::command::{Git, LOCAL};

/// Whether the program `git` can be run.
///
/// # Errors
/// [`Error::NoGit`]
pub fn available() -> Result<(), Error> {
    Git::at(Path::new("."), "this machine").run("say its version", &["version"], LOCAL).map(drop)
}

/// Makes `directory` a repository whose branch `branch` has one commit of all that lies there.
///
/// # Errors
/// Git failed.
pub fn create(directory: &Path, branch: &str, subject: &str) -> Result<(), Error> {
    let git = Git::at(&directory.join(".git"), &directory.display().to_string());
    let work_tree = directory.as_os_str();
    let head = format!("--initial-branch={branch}");
    git.ask("make the repository", &["init".as_ref(), "--quiet".as_ref(), head.as_ref(), work_tree])?;
    let work_tree = format!("--work-tree={}", directory.display());
    // Whatever the person's own settings are, the bytes that were written are the bytes of the commit.
    let add =
        [&work_tree, "-c", "core.autocrlf=false", "-c", "core.excludesFile=", "add", "--all", "--", ":/"];
    git.ask("add the files", &add)?;
    let commit = [
        work_tree.as_str(),
        "-c",
        "user.name=tidelock-server init",
        "-c",
        "user.email=init@tidelock.invalid",
        "-c",
        "commit.gpgSign=false",
        "commit",
        "--quiet",
        "--no-verify",
        "--message",
        subject,
    ];
    git.ask("commit the files", &commit).map(drop)
}
