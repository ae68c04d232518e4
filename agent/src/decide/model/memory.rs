//! What a process remembers of an app from step to step; nothing of it outlives the process.
//!
//! Never here: records (`records`).

use std::collections::BTreeMap;
use std::time::Duration;

use tidelock_protocol::digest::Digest;

use super::Step;
use super::device::Space;
use super::said::{Said, Trouble};

/// What this process remembers of an app since it holds the lock; lost with the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory {
    /// The tree whose verified index is staged, and what it still needs on disk.
    pub need: Option<(Digest, Space)>,
    /// The tree that is staged whole and verified.
    pub whole: Option<Digest>,
    /// What went wrong with the last `Index` or `Fetch`; cleared by `Seal`.
    pub trouble: Option<Trouble>,
    /// How far the pass over the live tree has come.
    pub pass: Option<Pass>,
    /// What was last hashed before the link may move to it, or is otherwise known to be right or wrong.
    pub rechecked: Option<Rechecked>,
    /// The tree that was mended, and that has not been recorded.
    pub mended: Option<Digest>,
    /// A start was counted that has not been made: the last step was `Count`.
    pub counted: bool,
    /// What the checks said since the last start, stop or change of direction; a failed start stands here under
    /// [`Recipe::START`].
    pub said: BTreeMap<String, Said>,
}

impl Memory {
    /// The lock was taken anew: another process may have been at work. Only a fetch that failed is still put off, and a
    /// pass goes on where it was: what changes behind it is seen by the next one.
    pub fn renew(&mut self) {
        *self = Self { trouble: self.trouble.take(), pass: self.pass.take(), ..Self::default() };
    }

    /// Forgets what `step` makes untrue, before it is done.
    pub fn before(&mut self, step: &Step) {
        self.counted = false;
        // A trial and a way back ask afresh, even where nothing is restarted because only numbers changed.
        if let Step::Open { .. }
        | Step::Back { .. }
        | Step::Revive { .. }
        | Step::Start { .. }
        | Step::Await { .. }
        | Step::Reload { .. }
        | Step::Stop { .. } = step
        {
            self.said.clear();
        }
    }

    /// Remembers `step`, which was done.
    pub fn after(&mut self, step: &Step) {
        match step {
            Step::Count { .. } => self.counted = true,
            Step::Seal { setup, .. } => {
                (self.need, self.whole, self.trouble) = (None, None, None);
                self.rechecked = Some(Rechecked::right(setup.tree));
            }
            Step::Discard { .. } => (self.need, self.whole, self.trouble) = (None, None, None),
            Step::Record { .. } => (self.pass, self.mended) = (None, None),
            _ => {}
        }
    }
}

/// A sealed tree that was hashed at one moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rechecked {
    /// The tree.
    pub tree: Digest,
    /// Entries that differ.
    pub differing: u64,
    /// The first of them, in words.
    pub first: Vec<String>,
}

impl Rechecked {
    /// A tree of which everything is as it was signed.
    pub const fn right(tree: Digest) -> Self {
        Self { tree, differing: 0, first: Vec::new() }
    }
}

/// A pass over the live tree that is under way or has ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pass {
    /// The tree.
    pub tree: Digest,
    /// The path to go on from, in the order of the listing; none: it has seen everything.
    pub next: Option<String>,
    /// Time since boot when its last piece ended.
    pub at: Duration,
    /// Entries that differ, as far as it has seen.
    pub differing: u64,
    /// The first of them, in words.
    pub first: Vec<String>,
}
