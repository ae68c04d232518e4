//! The records that outlive a power cut: one small atomic file each, written before what they announce is done.
//!
//! Never here: how they lie on disk (`io/journal`).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidelock_protocol::desired::Tuning;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::Version;
use tidelock_protocol::time::{Now, Timestamp};

/// What an app is, or should be: a tree and the numbers it is checked with. A trial is of one, a refusal is of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Setup {
    /// The tree digest; with `tuning` it is what setups are told apart by.
    pub tree: Digest,
    /// Numbers of the environment that override those of the release.
    #[serde(default)]
    pub tuning: Tuning,
    /// What people call the release; unknown when the record that named it was lost.
    #[serde(default)]
    pub version: Option<Version>,
}

impl Setup {
    /// Whether both are the same tree with the same tuning; what people call it does not matter.
    pub fn is(&self, other: &Self) -> bool {
        (self.tree, self.tuning) == (other.tree, other.tuning)
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{version} ({})", self.tree.short()),
            None => write!(f, "tree {}", self.tree.short()),
        }
    }
}

/// A trial: from before the link names `to` until its verdict. At most one per device is open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Trial {
    /// Grows with each trial of the app: tells whether a committed record is the end of this very trial.
    pub serial: u64,
    /// What the way back leads to; none for a first install.
    pub from: Option<Setup>,
    /// What is tried.
    pub to: Setup,
    /// Forward, or on the way back.
    pub phase: Phase,
    /// Starts counted while the link names `to`; each is durable before the start that it counts.
    pub starts: u32,
    /// The signed retry counter when the trial was opened; a refusal remembers it.
    pub retry: u64,
    /// How the trial before ended, when it was of the same setup and without verdict.
    pub earlier: Option<Setback>,
}

/// The direction of a trial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Toward `to`.
    Opened,
    /// Back to `from`; persisted before the stop that leads back.
    Back {
        /// Why.
        cause: Cause,
    },
}

/// Why a trial goes back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A check, or the start hook, failed.
    Check {
        /// Its name; `Recipe::START` for the start hook.
        name: String,
        /// The end of what it said.
        said: String,
    },
    /// It was started as often as a trial may be, without a verdict.
    Starts,
    /// The environment wants something else by now.
    Superseded,
    /// Its sealed tree is no longer there.
    Gone,
    /// A person went back from it.
    Operator {
        /// Who.
        owner: String,
        /// Why.
        reason: String,
    },
}

/// A setup whose trial passed. Two are kept per app, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Committed {
    /// The serial of the trial that it passed.
    pub serial: u64,
    /// What was committed.
    pub setup: Setup,
    /// When.
    pub at: Timestamp,
    /// The checks that it passed, each with the digest of its definition.
    pub passed: BTreeMap<String, Digest>,
}

/// This device's memory that a setup failed here, or that a person went back from it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Refusal {
    /// What is refused.
    pub setup: Setup,
    /// The signed retry counter at which it was refused; a higher one ends the refusal.
    pub retry: u64,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub ground: Ground,
}

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ground {
    /// How its trial ended.
    Trial(Cause),
    /// Its `release.toml` cannot be used; the text says why.
    Recipe(String),
}

/// A trial that ended without verdict, or a first install that failed: try again, later each time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Setback {
    /// What was tried.
    pub setup: Setup,
    /// How it ended.
    pub cause: Cause,
    /// How often in a row.
    pub tries: u32,
    /// When the last one ended.
    pub at: Timestamp,
}

/// What the last whole pass over the live tree found, and how often it was healed lately.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Drift {
    /// The tree that was hashed.
    pub tree: Digest,
    /// When the pass ended.
    pub at: Timestamp,
    /// Entries that differ from what was signed.
    pub differing: u64,
    /// The first of them, in words.
    #[serde(default)]
    pub first: Vec<String>,
    /// The tree was mended since: whether that helped, only the next pass can say.
    pub mended: bool,
    /// When the app was mended, the newest first; what is older than a day is forgotten.
    pub healed: Vec<Timestamp>,
}

/// The intent of a person to have the live tree hashed and mended now, however often it was lately.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Heal {
    /// Who.
    pub owner: String,
}

/// The intent of a person to leave a release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rollback {
    /// The tree that was live when the person asked; another one by now means there is nothing left to do.
    pub leave: Digest,
    /// Who.
    pub owner: String,
    /// Why.
    pub reason: String,
}

/// The intent of a person to end every refusal and back-off of an app.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Retry {
    /// Who.
    pub owner: String,
}

/// A person's stop of one app, or of the whole device: what runs goes on, a trial under way goes to its verdict, and
/// nothing else begins until it ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hold {
    /// Who.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it ends by itself.
    pub until: Until,
}

/// A person's choice of what an app is, whatever the environment wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pin {
    /// What it is kept on, or brought to.
    pub setup: Setup,
    /// Who.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it ends by itself.
    pub until: Until,
}

/// An app that the environment wants no more: stopped and unlinked, and what is sealed of it still here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Orphan {
    /// Since when.
    pub since: Timestamp,
    /// Whether the clock was synchronised then.
    pub trusted: bool,
}

/// When something ends that a person set up: by the time since boot as long as the machine runs, so that a clock which
/// is only set now ends nothing early; after the next boot by civil time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Until {
    /// In civil time, by the clock as it was.
    pub wall: Timestamp,
    /// Since the boot in which it was set up; none in every later one.
    pub boot: Option<Duration>,
}

impl Until {
    /// The moment that comes `time` after `now`.
    pub fn after(now: Now, time: Duration) -> Self {
        Self { wall: now.wall.after(time), boot: Some(now.boot + time) }
    }

    /// How long it is until then; zero when it is over.
    pub fn left(self, now: Now) -> Duration {
        match self.boot {
            Some(boot) => boot.saturating_sub(now.boot),
            None => self.wall.since(now.wall),
        }
    }

    /// Whether that moment has come.
    pub fn is_over(self, now: Now) -> bool {
        self.left(now).is_zero()
    }
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trial(cause) => fmt::Display::fmt(cause, f),
            Self::Recipe(problem) => write!(f, "its release.toml cannot be used: {problem}"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check { name, said } if said.is_empty() => write!(f, "check {name} failed"),
            Self::Check { name, said } => write!(f, "check {name} failed: {said}"),
            Self::Starts => f.write_str("it was started as often as a trial may be, without a verdict"),
            Self::Gone => f.write_str("its files are no longer there"),
            Self::Superseded => f.write_str("the environment wants something else"),
            Self::Operator { owner, reason } => write!(f, "{owner} went back from it: {reason}"),
        }
    }
}
