//! Why a turn published nothing.

use std::io;
use std::path::PathBuf;

use tidelock_protocol::time::Timestamp;

use crate::config::Problems;
use crate::{bundle, git, look, publish, store};

/// Why a turn published nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The fleet repository cannot be read.
    #[error("cannot read the fleet repository")]
    Git(#[from] git::Error),
    /// The fleet repository says something wrong; all of it is listed.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// Keys or repository cannot be looked at.
    #[error(transparent)]
    Look(#[from] look::Trouble),
    /// It cannot be published.
    #[error(transparent)]
    Publish(#[from] publish::Error),
    /// A tree cannot be packed.
    #[error("cannot pack a release")]
    Bundle(#[source] bundle::Error),
    /// What was handed in cannot be looked at.
    #[error("cannot look at what was handed in")]
    Store(#[from] store::Error),
    /// The state directory cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    State {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// `require_sync`, and the clock is not.
    #[error(
        "refused to sign: this machine's clock ({now}) is not synchronised, and --require-sync is set; start an NTP client"
    )]
    ClockUnsynchronised {
        /// What it says.
        now: Timestamp,
    },
    /// The first commit that would be published is not signed as it must be.
    #[error(
        "refused: {branch} at {commit} is not taken, because {reason}; commits must be signed here, and no environment \
         goes on without it"
    )]
    Unsigned {
        /// The branch of `fleet.toml`.
        branch: String,
        /// Its head.
        commit: String,
        /// What is wrong with its signature.
        reason: String,
    },
    /// The branch of `fleet.toml` was rewritten, and what was taken last is gone, or every environment is owned by push.
    #[error(
        "refused: the branch {branch} does not descend from commit {from}, which was taken last and cannot \
         stand in for it; look at what happened, then `publish --accept-rewrite REASON`"
    )]
    Rewritten {
        /// The branch.
        branch: String,
        /// The commit that was published last.
        from: String,
    },
}

/// An error with its causes, on one line where each is one.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
