//! What a check said, and how a fetch failed: remembered by one process, and shown for the time of one boot.
//!
//! Never here: what follows from it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidelock_protocol::digest::Digest;

/// What a check said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Said {
    /// How its last run ended.
    pub outcome: Outcome,
    /// Passes in a row up to now.
    pub passes: u32,
    /// Time since boot when the last run ended.
    pub at: Duration,
    /// The end of its output.
    pub output: String,
}

/// How a run of a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Otherwise, or not within its time.
    Failed,
}

/// A fetch that failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Trouble {
    /// The tree that was fetched.
    pub tree: Digest,
    /// What kind it was.
    pub kind: TroubleKind,
    /// What went wrong, in the words of the error.
    pub message: String,
    /// How often in a row.
    pub tries: u32,
    /// Time since boot of the last one.
    pub at: Duration,
}

/// What kind of failure a fetch met; none of them ever refuses a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TroubleKind {
    /// The publisher does not have it (404, 410).
    Unavailable,
    /// It was not reached, or broke off.
    Network,
    /// It sent other bytes than were signed.
    Content,
    /// This device could not write.
    Disk,
}
