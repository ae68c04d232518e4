//! The fleet repository as Git holds it: branches, commits, trees and raw blobs, read through the `git` program.
//!
//! Never here: a work tree, `git archive`, attributes or filters (they change bytes), a hook, a prompt, or what the
//! files mean (`config`).

mod address;
mod blobs;
mod command;
mod create;
mod fetch;
mod pick;
mod repository;
mod signature;
mod tree;
mod write;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use blobs::{Blob, Blobs};
pub use create::{available, create};
pub use pick::{Pick, Published, pick};
pub use repository::{Commit, ObjectId, Repository};
pub use signature::{Signature, Signers};
pub use tree::{Entry, Kind};

/// Why the repository could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No `git` on this machine.
    #[error(
        "cannot run the program `git`: it is needed to read the fleet repository; install the package git"
    )]
    NoGit(#[source] io::Error),
    /// `git` could not be started or spoken to.
    #[error("cannot {what} with git in {repository}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// In which repository.
        repository: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// `git` ended with an error; its own words are kept.
    #[error("git cannot {what} in {repository}: {said}")]
    Failed {
        /// What was being done.
        what: &'static str,
        /// In which repository.
        repository: String,
        /// The last lines of what git said.
        said: String,
    },
    /// `git` took too long and was ended.
    #[error("git did not {what} in {repository} within {} s and was ended", limit.as_secs())]
    TimedOut {
        /// What was being done.
        what: &'static str,
        /// In which repository.
        repository: String,
        /// The time it had.
        limit: Duration,
    },
    /// What `git` answered is not what it documents.
    #[error("git answered something unexpected when asked to {what} in {repository}: {found:?}")]
    Answer {
        /// What was being done.
        what: &'static str,
        /// In which repository.
        repository: String,
        /// The beginning of the answer.
        found: String,
    },
    /// A clone without the files.
    #[error(
        "{repository} is a partial clone and lacks files of the commit: publish from the repository that it was cloned \
         from, or from a clone that was made without --filter"
    )]
    Partial {
        /// The repository.
        repository: String,
    },
    /// Neither a path nor an address.
    #[error(
        "{source_text:?} is no Git repository: expected a directory with a repository (bare or not), or an address file://, \
         http://, https://, ssh:// or user@host:path"
    )]
    NotARepository {
        /// What was given.
        source_text: String,
    },
    /// A name that Git does not take for a branch.
    #[error("{0:?} is no name of a branch")]
    NotABranch(String),
    /// The branch does not exist.
    #[error("{repository} has no branch {branch:?}; it has: {existing}")]
    NoBranch {
        /// The repository.
        repository: String,
        /// The branch asked for.
        branch: String,
        /// Those that exist, with commas.
        existing: String,
    },
    /// The cache below the state directory cannot be made.
    #[error("cannot make the Git cache {}", path.display())]
    Cache {
        /// Its place.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
