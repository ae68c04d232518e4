//! What each app should be, and the signed files that it would come from.
//!
//! Never here: how it gets there (`step`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;

use super::reason::Reason;
use super::records::Setup;

/// What each app should be.
pub type Wanted = BTreeMap<AppName, Want>;

/// What one app should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Want {
    /// This.
    Be(Goal),
    /// What it is; nothing new may be entered.
    Stay {
        /// Why.
        reason: Reason,
        /// The signed retry counter, 0 where none is known: a refusal written now remembers it.
        retry: u64,
    },
    /// Nothing: the verified desired state, not expired, names it no more.
    Gone {
        /// Whether it is deleted in the end.
        prune: bool,
    },
}

impl Want {
    /// The signed retry counter.
    pub const fn retry(&self) -> u64 {
        match self {
            Self::Be(goal) => goal.retry,
            Self::Stay { retry, .. } => *retry,
            Self::Gone { .. } => 0,
        }
    }
}

/// A setup that the environment wants, and where its bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Goal {
    /// What the app should be.
    pub setup: Setup,
    /// The index as the environment names it, and the bundle that the app's role names together with this very index.
    /// None: nobody vouches for it now, and the setup was committed here; it may be pointed at, not fetched.
    pub files: Option<Files>,
    /// The signed retry counter.
    pub retry: u64,
}

/// Where the bytes of a build come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Files {
    /// Its index.
    pub index: File,
    /// Its bundle.
    pub bundle: File,
}

/// A signed file of the repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct File {
    /// Name of the target.
    pub name: String,
    /// Bytes as served.
    pub length: u64,
    /// SHA-256 of them.
    pub sha256: Digest,
}

/// What an app's role says of a build, given only when it names the same index as the environment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offer {
    /// The tree digest.
    pub tree: Digest,
    /// The index.
    pub index: File,
    /// The bundle.
    pub bundle: File,
    /// The order of its registration, held against the signed floor.
    pub counter: u64,
}
