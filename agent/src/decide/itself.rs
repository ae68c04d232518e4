//! The agent as an app of its own. It is never stopped: the link first, then the launcher takes the process over and
//! counts a start in trial. What runs of it is the process that asks; what is before any release is the packaged agent.
//!
//! Never here: how a process is taken over (`io/launch`).

use std::time::Duration;

use tidelock_protocol::desired::Tuning;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::time::Now;

use super::boot;
use super::model::{App, Check, Device, Process, Reason, Recipe, Run, Step, Want, is_itself};
use super::next::{Case, Decision};
use super::rest;
use super::trial::Toward;

/// After the deadline of its trial, how long an agent that says nothing is waited for.
const SILENCE: Duration = Duration::from_secs(600);

/// The next step before the agent itself starts; none: [`to_launch`] says what.
pub fn at_launch(device: &Device, now: Now) -> Option<Step> {
    boot::first(device, now, is_itself)
}

/// The release that the launcher runs, and in trial how long it may live without a verdict; none: the packaged agent.
pub fn to_launch(app: &App) -> Option<(Digest, Option<Duration>)> {
    let tree = app.current.filter(|tree| app.sealed.contains(tree))?;
    if app.standing().is_some() {
        return Some((tree, None));
    }
    let trial = app.trial.as_ref().filter(|trial| trial.to.tree == tree)?;
    let deadline = trial.to.tuning.deadline.unwrap_or_else(|| Recipe::poll().deadline);
    Some((tree, Some(Duration::from_secs(deadline.into()) + SILENCE)))
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
