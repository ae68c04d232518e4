//! The device as it was looked at: disk, journal, and what this process remembers since it holds the lock.
//!
//! Never here: what a device should be (`step::Wanted`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;
use tidelock_protocol::recipe::Activate;
use tidelock_protocol::time::Now;

use super::goal::Files;
use super::launch::Begun;
use super::memory::Memory;
use super::records::{
    Committed, Drift, Heal, Hold, Orphan, Pin, Refusal, Retry, Rollback, Setback, Setup, Trial,
};
use super::said::{Outcome, Said};

/// One device at one moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    /// Whether it may change anything.
    pub mode: Mode,
    /// Which process asks.
    pub process: Process,
    /// What may still be written under the state directory.
    pub free: Space,
    /// Sealed releases that are kept per app besides those in use.
    pub keep: usize,
    /// How the live trees are looked after.
    pub care: Care,
    /// Derived from the device id: spreads what devices would otherwise do at the same moment.
    pub seed: u64,
    /// A person's stop of everything.
    pub hold: Option<Hold>,
    /// Every app that has a directory, a record, or a place in the desired state.
    pub apps: BTreeMap<AppName, App>,
}

impl Device {
    /// The person's stop that `app` is under now: its own, or that of the whole device.
    pub fn hold_on<'a>(&'a self, app: &'a App, now: Now) -> Option<&'a Hold> {
        [&app.hold, &self.hold].into_iter().flatten().find(|hold| !hold.until.is_over(now))
    }
}

/// Which process asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Process {
    /// A command of a person: it comes and goes, and is not what the agent's own app is about.
    Command,
    /// The daemon.
    Daemon {
        /// Time since boot when it began.
        since: Duration,
    },
}

/// Whether the app called `name` is the agent itself.
pub fn is_itself(name: &AppName) -> bool {
    name.as_str() == "tidelock"
}

/// What the agent may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Decide and do.
    Apply,
    /// Decide and report.
    Observe,
}

/// How the live trees are looked after, as the owner says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Care {
    /// Time between two whole passes over a live tree.
    pub every: Duration,
    /// Whether what differs is mended unasked.
    pub heal: bool,
}

/// Room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space {
    /// Bytes.
    pub bytes: u64,
    /// Inodes; `u64::MAX` where the file system has no limit of them.
    pub inodes: u64,
}

/// One app of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct App {
    /// The tree that the link names, sealed or not.
    pub current: Option<Digest>,
    /// Sealed trees, the newest first.
    pub sealed: Vec<Digest>,
    /// Trees that were begun and are not sealed.
    pub staged: Vec<Digest>,
    /// What the `release.toml` of each sealed tree says, or why it cannot be used.
    pub recipes: BTreeMap<Digest, Result<Recipe, String>>,
    /// The open trial. An unreadable record was moved aside and is none: a linked tree without record is in trial.
    pub trial: Option<Trial>,
    /// What passed here, the newest first, at most two.
    pub committed: Vec<Committed>,
    /// What is refused here, the newest first.
    pub refusals: Vec<Refusal>,
    /// The last trial without verdict.
    pub setback: Option<Setback>,
    /// A person's wish to go back.
    pub rollback: Option<Rollback>,
    /// A person's wish to try again.
    pub retry: Option<Retry>,
    /// A person's stop.
    pub hold: Option<Hold>,
    /// A person's choice of what it is.
    pub pin: Option<Pin>,
    /// What the last whole pass over a live tree found.
    pub drift: Option<Drift>,
    /// A person's wish to have the live tree mended.
    pub heal: Option<Heal>,
    /// Where the files of each sealed tree come from; without, nothing of it can be fetched again.
    pub sources: BTreeMap<Digest, Files>,
    /// That the environment wants it no more.
    pub orphan: Option<Orphan>,
    /// What runs, as the service manager or the run record of this boot says.
    pub run: Run,
    /// Its unit files in the service manager's directory.
    pub units: Units,
    /// This device's own settings for it.
    pub settings: Settings,
    /// What of it does not run though it was started, in the service manager's words.
    pub ended: Option<String>,
    /// Of the agent itself: how often its committed release was begun in this boot without having been of use.
    pub begun: Option<Begun>,
    /// What this process remembers.
    pub memory: Memory,
}

impl App {
    /// The committed record of what the link names; none: it names nothing, or a release that is in trial.
    pub fn standing(&self) -> Option<&Committed> {
        self.committed.iter().find(|committed| Some(committed.setup.tree) == self.current)
    }

    /// The sealed tree that the link names though it was never committed: in trial, whatever became of its record.
    pub fn in_trial_without_record(&self) -> Option<Digest> {
        let tree = self.current.filter(|tree| self.sealed.contains(tree))?;
        (self.trial.is_none() && self.standing().is_none()).then_some(tree)
    }

    /// The newest committed setup other than the one that the link names, if its tree is still sealed.
    pub fn previous(&self) -> Option<&Setup> {
        let standing = self.standing().map(|committed| &committed.setup);
        let others = self.committed.iter().map(|committed| &committed.setup);
        others.filter(|setup| self.sealed.contains(&setup.tree)).find(|setup| Some(*setup) != standing)
    }

    /// Whether it is what a person had looked after, and nothing that the environment ever named.
    pub fn is_adopted(&self) -> bool {
        !self.committed.is_empty() && self.committed.iter().all(|committed| committed.serial == 0)
    }

    /// Whether there is anything of it that could be taken away.
    pub fn is_here(&self) -> bool {
        let files = !self.sealed.is_empty() || !self.staged.is_empty();
        let records = self.trial.is_some() || !self.committed.is_empty() || self.orphan.is_some();
        self.current.is_some() || files || records
    }

    /// The person's choice that it is under now.
    pub fn pin_at(&self, now: Now) -> Option<&Pin> {
        self.pin.as_ref().filter(|pin| !pin.until.is_over(now))
    }

    /// The committed record of `setup`.
    pub fn committed_as(&self, setup: &Setup) -> Option<&Committed> {
        self.committed.iter().find(|committed| committed.setup.is(setup))
    }

    /// Whether the newest committed record is the end of this very trial: then it passed, whatever else is open.
    pub fn passed(&self, trial: &Trial) -> bool {
        let newest = self.committed.first();
        newest.is_some_and(|newest| newest.serial == trial.serial && newest.setup.is(&trial.to))
    }

    /// What the start hook of `setup`, which the link names, said when it failed.
    pub fn start_failed(&self, setup: &Setup) -> Option<&Said> {
        let said = self.memory.said.get(Recipe::START).filter(|said| said.outcome == Outcome::Failed);
        said.filter(|_| self.current == Some(setup.tree))
    }

    /// Whether it runs only in part, or fails with the device's settings.
    pub fn is_unwell(&self) -> bool {
        let tried = self.settings.tried.as_ref().and_then(|tried| tried.verdict.as_ref());
        self.ended.is_some() || tried.is_some_and(|said| said.outcome == Outcome::Failed)
    }

    /// How often in a row it failed: those that failed least come first.
    pub fn failures(&self) -> u32 {
        let trials = self.setback.as_ref().map_or(0, |setback| setback.tries);
        trials.saturating_add(self.memory.trouble.as_ref().map_or(0, |trouble| trouble.tries))
    }

    /// The serial of its next trial.
    pub fn next_serial(&self) -> u64 {
        self.committed.first().map_or(1, |newest| newest.serial.saturating_add(1))
    }
}

/// A device's own settings and secrets for an app. They are told apart by what their files are, never by what they say;
/// all of this lasts for one boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Settings {
    /// Those that lie there now; empty where there are none.
    pub now: String,
    /// Those that the app was started with; none: the service manager started it, and nobody saw with which.
    pub started: Option<String>,
    /// Those that a running app was last restarted for.
    pub tried: Option<Tried>,
}

/// Settings that were changed while the app ran.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tried {
    /// Which.
    pub settings: String,
    /// What the checks said of them; none: not yet.
    pub verdict: Option<Said>,
}

/// The unit files of an app in the service manager's directory, held against the release that the link names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Units {
    /// There are none, and there should be none: hooks start the app, or nothing does.
    #[default]
    None,
    /// Exactly those of the release, and the service manager knows them: at boot it starts the app by itself.
    Placed,
    /// Others: of another release, a part of them, or such that the service manager was not told of.
    Other,
}

/// What runs of an app. The hands keep it for the time of one boot (no fsync needed: a power cut stops everything):
/// `Unclear` or `Starting` before a hook, `Stopped` or `Started` after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Run {
    /// Nothing was started in this boot, or the stop hook ended (a failing one too: it cannot keep a release alive).
    #[default]
    Stopped,
    /// A hook was begun and did not return.
    Unclear,
    /// A start was begun under a service manager, where it goes on without the agent that began it.
    Starting {
        /// Of which tree.
        tree: Digest,
    },
    /// The start hook succeeded.
    Started {
        /// Of which tree.
        tree: Digest,
        /// Time since boot when it did; deadlines count from here, whichever process looks.
        at: Duration,
    },
}

/// What a release says about how it is run and checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipe {
    /// Who starts it when the device boots.
    pub starter: Starter,
    /// Digest of the definition of the start hook.
    pub start: Digest,
    /// Seconds that a hook may take, before tuning.
    pub timeout: u32,
    /// Digest of its unit files; none: it has none.
    pub units: Option<Digest>,
    /// What happens to running units when it takes the place of a release with the same.
    pub activate: Activate,
    /// The checks by name, before tuning.
    pub checks: BTreeMap<String, Check>,
}

/// Who starts a release when the device boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Starter {
    /// The agent, by the start hook; it counts the start itself.
    Agent,
    /// The service manager, since the release has units; the guard counts the start before that.
    Manager,
}

impl Recipe {
    /// What the start hook is called among the checks; no check of a release may have this name.
    pub const START: &'static str = "start";
    /// The check that every release of the agent itself has: a verified poll by the process that is tried.
    pub const POLL: &'static str = "poll";

    /// What stands behind [`Recipe::POLL`].
    pub fn poll() -> Check {
        Check { definition: Digest::of(b"poll"), grace: 0, interval: 10, deadline: 300, successes: 1 }
    }
}

/// One check of a release; numbers in seconds, before tuning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Check {
    /// Digest of what it asks (kind and arguments, not the numbers): equal means defined alike.
    pub definition: Digest,
    /// After the start, a failing run in this time is not counted.
    pub grace: u32,
    /// Between two runs.
    pub interval: u32,
    /// After the start, by when it must have passed.
    pub deadline: u32,
    /// Passes in a row that it needs.
    pub successes: u32,
}
