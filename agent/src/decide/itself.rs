//! The agent as an app of its own. It is never stopped: the link first, then the launcher takes the process over and
//! counts a start. What runs of it is the process that asks; what is before any release is the packaged agent.
//!
//! Never here: how a process is taken over (`io/launch`).

use std::time::Duration;

use tidelock_protocol::desired::Tuning;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::time::Now;

use super::boot;
use super::model::{App, Begun, Check, Device, Launch, Process, Reason, Recipe, Run, Step, Want, is_itself};
use super::next::{Case, Decision};
use super::rest;
use super::trial::{STARTS, Toward};

#[cfg(test)]
mod tests;

/// After the deadline of its trial, how long an agent that says nothing is waited for.
const SILENCE: Duration = Duration::from_secs(600);

/// After a committed agent could not be run, or was begun in vain [`STARTS`] times, when it gets another chance.
pub(super) const AGAIN: Duration = Duration::from_secs(24 * 3600);

/// The next step before the agent itself starts; none: [`to_launch`] says what.
pub fn at_launch(device: &Device, now: Now) -> Option<Step> {
    boot::first(device, now, is_itself)
}

/// What the launcher becomes, when [`at_launch`] has nothing left to do.
pub fn to_launch(app: &App, now: Now) -> Launch {
    let Some(tree) = app.current.filter(|tree| app.sealed.contains(tree)) else { return Launch::Packaged };
    let begun = app.begun.filter(|begun| begun.tree == tree);
    let trial = app.trial.as_ref().filter(|trial| trial.to.tree == tree);
    match (app.standing(), trial, begun) {
        (Some(_), _, Some(begun)) if is_in_vain(begun, now) => {
            Launch::InVain(tree, format!("it ended {} times in a row without having polled", begun.times))
        }
        (Some(_), ..) => {
            let times = begun.map_or(0, |begun| begun.times).saturating_add(1);
            Launch::Committed(Begun { tree, times, at: now.boot })
        }
        (None, Some(trial), _) => {
            let deadline = trial.to.tuning.deadline.unwrap_or_else(|| Recipe::poll().deadline);
            Launch::Trial(tree, Duration::from_secs(deadline.into()) + SILENCE)
        }
        (None, None, _) => Launch::Packaged,
    }
}

/// Whether a committed agent is begun no more for now, so that the packaged one polls, and a better one arrives.
pub fn is_in_vain(begun: Begun, now: Now) -> bool {
    begun.times >= STARTS && now.boot < begun.at + AGAIN
}

/// Point → launch toward `to`; nowhere: unlink → launch, which leads to the packaged agent.
pub(super) fn toward(case: &Case<'_>, to: Option<Digest>) -> Toward {
    let (app, name) = (case.app, case.name.clone());
    let (runs, since) = match (app.run, case.device.process) {
        (Run::Started { tree, at }, _) => (Some(tree), at),
        (_, Process::Daemon { since }) => (None, since),
        (_, Process::Command) => (None, case.now.boot),
    };
    match to {
        Some(tree) if app.current != Some(tree) => Toward::Step(Step::Point { app: name, tree }),
        None if app.current.is_some() => Toward::Step(Step::Unlink { app: name }),
        _ if runs == to => Toward::There(since),
        _ => Toward::Start(Step::Launch { app: name }),
    }
}

/// What a command says of it: it leaves it to the daemon, which alone can be replaced.
pub(super) fn left_alone(case: &Case<'_>) -> Decision {
    let reason = match (&case.app.trial, case.want) {
        (Some(trial), _) => Reason::Trying(trial.to.clone()),
        (None, Want::Stay { reason, .. }) => reason.clone(),
        (None, Want::Gone { .. }) => Reason::NotWanted,
        (None, Want::Be(goal)) if rest::home(case.app).is_some_and(|home| home.is(&goal.setup)) => {
            Reason::Synced(goal.setup.clone())
        }
        (None, Want::Be(goal)) => {
            Reason::Observe { would: format!("have `tidelock run` replace itself by {}", goal.setup) }
        }
    };
    (Step::Rest { again: None }, reason)
}

/// What the packaged agent is asked when a release goes back to it: every agent polls.
pub(super) fn packaged() -> (String, Check, Tuning) {
    (Recipe::POLL.to_owned(), Recipe::poll(), Tuning::default())
}
