//! The published repository: what stands in it, what must be signed anew, and writing it so that a reader at any
//! moment sees one that is whole.
//!
//! Never here: where the wishes come from (`config`, `git`), or how a tree is packed (`bundle`).

mod dir;
mod expiry;
mod order;
mod pending;
mod plan;
mod published;
mod releases;
mod retention;
mod rules;
mod sign;

use std::io;
use std::path::PathBuf;

use tidelock_protocol::time::Timestamp;

pub use dir::{Directory, Lock, replace};
pub use expiry::{Expiring, Within, expiring};
pub use order::{Content, Effect, Files, order};
pub use pending::{Missing, Pending, PendingFiles, Waiting};
pub use plan::{Input, Plan, check_clock, plan};
pub use published::{Kept, Published};
pub use releases::{Extra, Known, Registered, Registration, Registrations, Stored, next_counter};
pub use retention::sweep;
pub use rules::{Rule, Rules};

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of the repository or the state could not be read or written.
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
    /// Another publisher works on the same directory.
    #[error("{} is being published to by another process; try again when it is done", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// What stands in the directory is not what a publisher left there.
    #[error("{} is damaged: {found}; restore the directory from a copy (a mirror, or any device's web server)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// The clock went back.
    #[error(
        "refused to sign: this machine's clock says {now}, but the repository was last signed at {signed}; set the clock right"
    )]
    ClockBehind {
        /// The clock.
        now: Timestamp,
        /// When the newest timestamp was signed.
        signed: Timestamp,
    },
    /// A version that is known with other content.
    #[error("{app} {version} for {platform} is already published with another tree; versions are immutable")]
    OtherTree {
        /// The app.
        app: String,
        /// The version.
        version: String,
        /// The platform.
        platform: String,
    },
    /// A value of ours has no JSON form.
    #[error("cannot write {role} as JSON")]
    Json {
        /// The role.
        role: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A role would be longer than devices read.
    #[error("{role} would be {length} bytes long, devices read at most {limit}: retain fewer releases")]
    TooLong {
        /// The role.
        role: String,
        /// Its length.
        length: u64,
        /// The limit of the wire.
        limit: u64,
    },
}
