//! The steps that lead an app to what it should be. A step carries every value the hands need.
//!
//! Never here: when a step is taken (`next`).

use std::time::Duration;

use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;

use super::device::Tried;
use super::goal::{File, Files};
use super::records::{Committed, Drift, Heal, Orphan, Refusal, Setback, Setup, Trial};

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Nothing, until there is news.
    Rest {
        /// From now, when to ask again without news.
        again: Option<Duration>,
    },
    /// Nothing for a moment, in the middle of a trial.
    Wait {
        /// For how long.
        pause: Duration,
    },
    /// Fetch and verify the index into the staging directory of `tree`; gives `Memory::need`.
    Index {
        /// Of which app.
        app: AppName,
        /// The tree it lists.
        tree: Digest,
        /// The index.
        index: File,
        /// The sealed tree whose blocks may be shared, and then need no room.
        reuse: Option<Digest>,
    },
    /// Stage and verify the tree, resuming what is there; gives `Memory::whole`.
    Fetch {
        /// Of which app.
        app: AppName,
        /// The tree.
        tree: Digest,
        /// Its staged index.
        index: File,
        /// Its bundle.
        bundle: File,
        /// The sealed tree to take what is already here from.
        reuse: Option<Digest>,
    },
    /// Make the staged tree durable, then give it its name among the releases.
    Seal {
        /// Of which app.
        app: AppName,
        /// What is sealed; the version goes into `release.env`.
        setup: Setup,
        /// Where it came from: what is lost of it can be fetched again.
        source: Files,
    },
    /// Record that a trial begins.
    Open {
        /// Of which app.
        app: AppName,
        /// The record.
        trial: Trial,
    },
    /// Run the stop hook of `tree`.
    Stop {
        /// Of which app.
        app: AppName,
        /// The release that was started.
        tree: Digest,
        /// How long the hook may take; then its process group is ended.
        timeout: Duration,
    },
    /// Let the link name `tree`.
    Point {
        /// Of which app.
        app: AppName,
        /// A sealed tree.
        tree: Digest,
    },
    /// Remove the link: a first install failed, and there is nothing to go back to.
    Unlink {
        /// Of which app.
        app: AppName,
    },
    /// Let the app's unit files be those of `tree`, and the service manager know them.
    Place {
        /// Of which app.
        app: AppName,
        /// What the link names; none: no unit of the app may stay.
        tree: Option<Digest>,
    },
    /// Record the start of a release in trial, before it is made.
    Count {
        /// Of which app.
        app: AppName,
        /// The record with one start more.
        trial: Trial,
    },
    /// Run the start hook of `tree`, which the link names.
    Start {
        /// Of which app.
        app: AppName,
        /// The release.
        tree: Digest,
        /// How long the hook may take; then its process group is ended.
        timeout: Duration,
    },
    /// Wait for the end of a start of `tree` that another process of the agent began, and do the rest of it.
    Await {
        /// Of which app.
        app: AppName,
        /// The release.
        tree: Digest,
        /// How long the hook may take, since it began.
        timeout: Duration,
    },
    /// Let the units of `tree`, which the link names and which took the place of others just like them, read their files
    /// again.
    Reload {
        /// Of which app.
        app: AppName,
        /// The release.
        tree: Digest,
        /// How long that may take; then it failed.
        timeout: Duration,
    },
    /// Start those units of `tree` again that ended, and leave the others alone.
    Revive {
        /// Of which app.
        app: AppName,
        /// The release.
        tree: Digest,
        /// How long that may take; then it failed.
        timeout: Duration,
    },
    /// Remember with which settings the service manager started the app.
    Note {
        /// Of which app.
        app: AppName,
        /// The settings.
        settings: String,
    },
    /// Remember how far it is with settings that were changed while the app ran.
    Try {
        /// Of which app.
        app: AppName,
        /// Those settings, and what the checks said of them.
        tried: Tried,
    },
    /// Let the launcher take over this process: the agent itself runs what the link names.
    Launch {
        /// The agent's own app.
        app: AppName,
    },
    /// Run one check of `tree` once.
    Probe {
        /// Of which app.
        app: AppName,
        /// The release.
        tree: Digest,
        /// The name of the check.
        check: String,
        /// Time since boot when the release was started.
        started: Duration,
        /// How long it may take; then it failed.
        timeout: Duration,
        /// The passes in a row to note when it passes.
        if_passed: u32,
        /// The passes in a row to note when it fails: none, or in the grace what there was.
        if_failed: u32,
    },
    /// The trial passed: record it, and close the trial.
    Commit {
        /// Of which app.
        app: AppName,
        /// The committed records, the newest first.
        committed: Vec<Committed>,
    },
    /// Record that the trial goes back, before anything leads back.
    Back {
        /// Of which app.
        app: AppName,
        /// The record with its cause.
        trial: Trial,
    },
    /// Refuse what was tried, and close the trial.
    Refuse {
        /// Of which app.
        app: AppName,
        /// The refusals, the newest first.
        refusals: Vec<Refusal>,
        /// The committed records, without the one that is refused.
        committed: Vec<Committed>,
    },
    /// Close the trial without verdict; try again later.
    Defer {
        /// Of which app.
        app: AppName,
        /// What to remember.
        setback: Setback,
    },
    /// Close the trial: it was committed already, or the environment wants something else.
    Close {
        /// Of which app.
        app: AppName,
    },
    /// A person's rollback has nothing to leave or nowhere to go: drop the intent.
    Decline {
        /// Of which app.
        app: AppName,
    },
    /// A person asked to try again: forget refusals and back-off, then the intent.
    Forget {
        /// Of which app.
        app: AppName,
    },
    /// Record that the environment wants the app no more, before it is stopped; or that it wants it again.
    Orphan {
        /// Of which app.
        app: AppName,
        /// The record.
        orphan: Option<Orphan>,
    },
    /// Drop everything that is remembered of an app, before its trees are removed and after that.
    Erase {
        /// Of which app.
        app: AppName,
        /// What of it stays until its trees are removed.
        orphan: Option<Orphan>,
    },
    /// A person's hold of an app is over: drop it.
    Unhold {
        /// Of which app.
        app: AppName,
    },
    /// A person's hold of the whole device is over: drop it.
    UnholdAll,
    /// A person's pin is over: drop it.
    Unpin {
        /// Of which app.
        app: AppName,
    },
    /// Hash the next piece of the live tree; gives `Memory::pass`.
    Inspect {
        /// Of which app.
        app: AppName,
        /// The tree that the link names.
        tree: Digest,
        /// The path to go on from, in the order of the listing; none: the first.
        from: Option<String>,
        /// Bytes after which the piece ends.
        bytes: u64,
    },
    /// Record what a pass found, or that the tree was mended.
    Record {
        /// Of which app.
        app: AppName,
        /// What to remember.
        drift: Drift,
        /// The intent to heal, as it should be afterwards.
        heal: Option<Heal>,
    },
    /// Hash a sealed tree before the link moves to it; gives `Memory::rechecked`.
    Recheck {
        /// Of which app.
        app: AppName,
        /// The tree.
        tree: Digest,
        /// How much of it.
        extent: Extent,
    },
    /// Mend whatever differs in the live tree, file by file; gives `Memory::mended`.
    Heal {
        /// Of which app.
        app: AppName,
        /// The tree.
        tree: Digest,
        /// Where its files come from.
        source: Files,
        /// Other sealed trees, which may have names for what is mended.
        others: Vec<Digest>,
    },
    /// Remove a sealed tree that nothing needs.
    Prune {
        /// Of which app.
        app: AppName,
        /// The tree.
        tree: Digest,
    },
    /// Remove a tree that was begun and is no longer wanted.
    Discard {
        /// Of which app.
        app: AppName,
        /// The tree.
        tree: Digest,
    },
}

/// How much of a tree is hashed; names, kinds, sizes and modes are looked at in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extent {
    /// Every file.
    Whole,
    /// The files of which another tree may have the inode: all that was reached from there.
    Shared,
}

impl Step {
    /// The app that it is about.
    pub fn app(&self) -> Option<&AppName> {
        match self {
            Self::Rest { .. } | Self::Wait { .. } | Self::UnholdAll => None,
            Self::Index { app, .. }
            | Self::Fetch { app, .. }
            | Self::Seal { app, .. }
            | Self::Open { app, .. }
            | Self::Stop { app, .. }
            | Self::Point { app, .. }
            | Self::Unlink { app }
            | Self::Place { app, .. }
            | Self::Count { app, .. }
            | Self::Start { app, .. }
            | Self::Await { app, .. }
            | Self::Reload { app, .. }
            | Self::Revive { app, .. }
            | Self::Note { app, .. }
            | Self::Try { app, .. }
            | Self::Launch { app }
            | Self::Probe { app, .. }
            | Self::Commit { app, .. }
            | Self::Back { app, .. }
            | Self::Refuse { app, .. }
            | Self::Defer { app, .. }
            | Self::Close { app }
            | Self::Decline { app }
            | Self::Forget { app }
            | Self::Orphan { app, .. }
            | Self::Erase { app, .. }
            | Self::Unhold { app }
            | Self::Unpin { app }
            | Self::Inspect { app, .. }
            | Self::Record { app, .. }
            | Self::Recheck { app, .. }
            | Self::Heal { app, .. }
            | Self::Prune { app, .. }
            | Self::Discard { app, .. } => Some(app),
        }
    }
}
