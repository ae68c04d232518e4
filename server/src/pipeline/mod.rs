//! What runs in a pipeline and not on the server: packs a release where it was built, hands it in, moves an environment,
//! waits.
//!
//! Never here: the server's side of it (`web`, `turn`), or words for people beyond errors (`cli`).

mod archive;
mod gather;
mod http;
mod mirror;
mod parcel;
mod push;
mod sign;
mod wait;

use std::io;
use std::path::PathBuf;

use crate::{bundle, keys};

pub use http::{Server, Speaking};
pub use mirror::{mirror, soaks, target_file};
pub use push::{Build, Done, Moved, Progress, Pushing, push};
pub use sign::Signer;
pub use wait::{Awaited, Waiting, wait};

/// Why a command of a pipeline failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file on this machine.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An entry of a directory or archive that cannot be in a release.
    #[error("{entry} of {} cannot be in a release: {reason}", of.display())]
    Entry {
        /// The entry, as it is named there.
        entry: String,
        /// The directory or archive.
        of: PathBuf,
        /// Why.
        reason: String,
    },
    /// No archive.
    #[error("cannot read the archive {}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The release says wrongly how it is run.
    #[error("{}:\n{}", path.display(), problems.join("\n"))]
    Recipe {
        /// Its `release.toml`.
        path: PathBuf,
        /// What is wrong with it.
        problems: Vec<String>,
    },
    /// Packing.
    #[error("cannot pack the release")]
    Bundle(#[from] bundle::Error),
    /// A key.
    #[error("cannot use the signer's key")]
    Key(#[from] keys::Error),
    /// The signing command.
    #[error("the signer {command:?} failed: {said}")]
    Signer {
        /// The command.
        command: String,
        /// What it said.
        said: String,
    },
    /// The server cannot be reached.
    #[error("cannot reach {url}")]
    Unreachable {
        /// Its address.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The server answered with something else.
    #[error("{url} answered {status}: {said}")]
    Answered {
        /// The address.
        url: String,
        /// The status.
        status: u16,
        /// In the server's words.
        said: String,
    },
    /// The server refuses, and would again.
    #[error("refused: {0}")]
    Refused(String),
    /// It took too long.
    #[error("{0}")]
    TimedOut(String),
    /// Nothing is reported.
    #[error("no reports yet: devices do not report to this server, so what they committed is not known")]
    NoReports,
    /// The token.
    #[error(
        "no token: set TIDELOCK_TOKEN, or name a file with --token-file; `tidelock-server token create` makes one"
    )]
    NoToken,
}

impl Error {
    /// Whether doing the same again would be refused again.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_)) || matches!(self, Self::Answered { status: 401 | 403 | 409, .. })
    }
}

fn failed(what: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { what, path: path.to_owned(), source }
}
