//! What a step writes down: the records that it leaves behind, in their order.
//!
//! Never here: what they say (`records`), or how they lie on disk (`io/journal`).

use super::Step;
use super::records::{Committed, Drift, Heal, Hold, Orphan, Pin, Refusal, Retry, Rollback, Setback, Trial};

/// One record of an app as it should be afterwards: one atomic write, or a removal where there is nothing to keep.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    clippy::large_enum_variant,
    reason = "a step has at most five of them, and they are written at once"
)]
pub enum Record {
    /// The open trial.
    Trial(Option<Trial>),
    /// What passed.
    Committed(Vec<Committed>),
    /// What is refused.
    Refusals(Vec<Refusal>),
    /// The last trial without verdict.
    Setback(Option<Setback>),
    /// The intent to go back.
    Rollback(Option<Rollback>),
    /// The intent to try again.
    Retry(Option<Retry>),
    /// That the environment wants it no more.
    Orphan(Option<Orphan>),
    /// A person's stop.
    Hold(Option<Hold>),
    /// A person's choice.
    Pin(Option<Pin>),
    /// What a pass over the live tree found.
    Drift(Option<Drift>),
    /// The intent to heal.
    Heal(Option<Heal>),
}

impl Step {
    /// The records that this step writes, in this order, each durable before the next: all that it does, for a step
    /// that has any. What closes something comes last, so that a cut in between repeats the step.
    pub fn records(&self) -> Vec<Record> {
        match self {
            Self::Open { trial, .. } | Self::Count { trial, .. } | Self::Back { trial, .. } => {
                vec![Record::Trial(Some(trial.clone()))]
            }
            Self::Commit { committed, .. } => {
                vec![Record::Committed(committed.clone()), Record::Setback(None), Record::Trial(None)]
            }
            Self::Refuse { refusals, committed, .. } => vec![
                Record::Refusals(refusals.clone()),
                Record::Committed(committed.clone()),
                Record::Setback(None),
                Record::Rollback(None),
                Record::Trial(None),
            ],
            Self::Defer { setback, .. } => vec![Record::Setback(Some(setback.clone())), Record::Trial(None)],
            Self::Close { .. } => vec![Record::Trial(None)],
            Self::Decline { .. } => vec![Record::Rollback(None)],
            Self::Unhold { .. } => vec![Record::Hold(None)],
            Self::Unpin { .. } => vec![Record::Pin(None)],
            Self::Forget { .. } => {
                vec![Record::Refusals(Vec::new()), Record::Setback(None), Record::Retry(None)]
            }
            Self::Record { drift, heal, .. } => {
                vec![Record::Drift(Some(drift.clone())), Record::Heal(heal.clone())]
            }
            Self::Orphan { orphan, .. } => vec![Record::Orphan(*orphan)],
            // What failed here, or what a person went back from, is refused whenever it comes again.
            Self::Erase { orphan, .. } => vec![
                Record::Committed(Vec::new()),
                Record::Setback(None),
                Record::Rollback(None),
                Record::Retry(None),
                Record::Orphan(*orphan),
            ],
            _ => Vec::new(),
        }
    }
}
