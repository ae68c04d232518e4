//! Steps in words: the log, observe mode and the golden scenarios say them so.
//!
//! Never here: why a step is taken (`reason`).

use std::fmt;

use super::{Drift, Extent, Outcome, Step};

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rest { again: None } => f.write_str("rest"),
            Self::Rest { again: Some(again) } => write!(f, "rest, ask again in {} s", again.as_secs()),
            Self::Wait { pause } => write!(f, "wait {} s", pause.as_secs()),
            Self::Index { app, index, .. } => write!(f, "{app}: fetch the index {}", index.name),
            Self::Fetch { app, tree, reuse, .. } => {
                write!(f, "{app}: fetch tree {}", tree.short())?;
                reuse.map_or(Ok(()), |reuse| write!(f, ", reusing {}", reuse.short()))
            }
            Self::Seal { app, setup, .. } => write!(f, "{app}: seal {setup}"),
            Self::Open { app, trial } => match &trial.from {
                Some(from) => write!(f, "{app}: open the trial of {}, from {from}", trial.to),
                None => write!(f, "{app}: open the trial of {}, the first install", trial.to),
            },
            Self::Stop { app, tree, .. } => write!(f, "{app}: stop tree {}", tree.short()),
            Self::Point { app, tree } => write!(f, "{app}: point at tree {}", tree.short()),
            Self::Unlink { app } => write!(f, "{app}: remove the link"),
            Self::Place { app, tree: Some(tree) } => {
                write!(f, "{app}: place the units of tree {}", tree.short())
            }
            Self::Place { app, tree: None } => write!(f, "{app}: remove the units"),
            Self::Count { app, trial } => write!(f, "{app}: count start {} of {}", trial.starts, trial.to),
            Self::Start { app, tree, .. } => write!(f, "{app}: start tree {}", tree.short()),
            Self::Await { app, tree, .. } => write!(f, "{app}: wait for the start of tree {}", tree.short()),
            Self::Reload { app, tree, .. } => write!(f, "{app}: reload into tree {}", tree.short()),
            Self::Revive { app, tree, .. } => write!(f, "{app}: start what ended of tree {}", tree.short()),
            Self::Note { app, .. } => write!(f, "{app}: note the device's settings"),
            Self::Try { app, tried } => match &tried.verdict {
                None => write!(f, "{app}: try the device's changed settings"),
                Some(said) if said.outcome == Outcome::Passed => {
                    write!(f, "{app}: the changed settings are good")
                }
                Some(_) => write!(f, "{app}: the changed settings are not good"),
            },
            Self::Launch { app } => write!(f, "{app}: let the launcher take this process over"),
            Self::Probe { app, check, .. } => write!(f, "{app}: run the check {check}"),
            Self::Back { app, trial } => write!(f, "{app}: record the way back from {}", trial.to),
            Self::Close { app } => write!(f, "{app}: close the trial"),
            Self::Inspect { app, tree, from, .. } => {
                write!(f, "{app}: hash tree {}", tree.short())?;
                from.as_ref().map_or(Ok(()), |from| write!(f, " from {from}"))
            }
            Self::Recheck { app, tree, extent: Extent::Whole } => {
                write!(f, "{app}: hash tree {} before it is entered", tree.short())
            }
            Self::Recheck { app, tree, extent: Extent::Shared } => {
                write!(f, "{app}: hash what tree {} shares with others before it is entered", tree.short())
            }
            Self::Record { app, drift, .. } => write!(f, "{app}: record that {drift}"),
            Self::Heal { app, tree, .. } => write!(f, "{app}: mend tree {}", tree.short()),
            Self::Orphan { .. }
            | Self::Erase { .. }
            | Self::Unhold { .. }
            | Self::UnholdAll
            | Self::Unpin { .. }
            | Self::Refuse { .. }
            | Self::Defer { .. }
            | Self::Decline { .. }
            | Self::Forget { .. }
            | Self::Prune { .. }
            | Self::Commit { .. }
            | Self::Discard { .. } => at_an_end(self, f),
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tree = self.tree.short();
        match self.differing {
            _ if self.mended => write!(f, "tree {tree} was mended"),
            0 => write!(f, "tree {tree} is as it was signed"),
            differing => write!(f, "so many entries of tree {tree} differ: {differing}"),
        }
    }
}

/// Steps that end or remove something.
fn at_an_end(step: &Step, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match step {
        Step::Orphan { app, orphan: Some(_) } => write!(f, "{app}: record that it is wanted no more"),
        Step::Orphan { app, orphan: None } => write!(f, "{app}: record that it is wanted again"),
        Step::Erase { app, orphan: Some(_) } => write!(f, "{app}: forget what passed here"),
        Step::Erase { app, orphan: None } => write!(f, "{app}: forget it; its data stays"),
        Step::Unhold { app } => write!(f, "{app}: end the hold, whose time is over"),
        Step::UnholdAll => f.write_str("end the hold of the whole device, whose time is over"),
        Step::Unpin { app } => write!(f, "{app}: end the pin, whose time is over"),
        Step::Decline { app } => write!(f, "{app}: decline the rollback"),
        Step::Forget { app } => write!(f, "{app}: forget refusals and back-off"),
        Step::Prune { app, tree } => {
            write!(f, "{app}: remove tree {}, which nothing needs", tree.short())
        }
        Step::Discard { app, tree } => write!(f, "{app}: remove the unfinished tree {}", tree.short()),
        Step::Commit { app, committed } => match committed.first() {
            Some(newest) => write!(f, "{app}: commit {}", newest.setup),
            None => write!(f, "{app}: commit nothing"),
        },
        Step::Refuse { app, refusals, .. } => match refusals.first() {
            Some(newest) => write!(f, "{app}: refuse {}", newest.setup),
            None => write!(f, "{app}: refuse nothing"),
        },
        Step::Defer { app, setback } => {
            write!(f, "{app}: put off {}, without verdict (try {})", setback.setup, setback.tries)
        }
        _ => Ok(()),
    }
}
