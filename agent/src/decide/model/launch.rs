//! What the launcher of the agent itself counts and becomes.
//!
//! Never here: when it gives up (`decide::itself`).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidelock_protocol::digest::Digest;

/// Starts of a committed release of the agent, none of which came as far as a verified poll or a wanted end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Begun {
    /// Which one.
    pub tree: Digest,
    /// How often.
    pub times: u32,
    /// When the last time, since boot.
    pub at: Duration,
}

/// What the launcher becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Launch {
    /// The packaged agent: no release of itself is to be run.
    Packaged,
    /// The release in trial, whose start is counted; it may live so long without a verdict.
    Trial(Digest, Duration),
    /// The committed release, whose start is counted like this first.
    Committed(Begun),
    /// The packaged agent, since this committed release was begun in vain.
    InVain(Digest, String),
}
