//! At rest: no trial is open. A person's wish first, then what was committed, then what the environment wants.
//!
//! Never here: a start that was not committed before (`trial`).

use std::time::Duration;

use tidelock_protocol::desired::Tuning;
use tidelock_protocol::digest::Digest;

use super::model::{
    App, Cause, Committed, Extent, Files, Goal, Ground, Phase, Reason, Run, Setup, Space, Step, Trial,
    TroubleKind, Until, Want, is_itself,
};
use super::next::{Case, Decision};
use super::poll;
use super::trial::{Toward, timeout, toward};
use super::{back, drift, entry, itself, orphan, settings};

#[cfg(test)]
mod tests;

/// How long after a failed start a committed release is started again.
const START_AGAIN: Duration = Duration::from_secs(60);
/// Back-off of a setup whose trial gave no verdict: the first time, and at most.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(6 * 3600));
/// Back-off of a fetch that failed: the first time, and at most.
pub(super) const FETCH_AGAIN: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3600));

/// The step of an app without an open trial.
pub(super) fn decide(case: &Case<'_>) -> Decision {
    let other = || Some((Step::Rest { again: None }, Reason::OtherTrial(case.other?.clone())));
    let decision = (intent(case).or_else(|| lift(case)).or_else(|| adopt(case)))
        .map(|decision| if begins_trial(&decision) { other().unwrap_or(decision) } else { decision })
        .or_else(|| orphan::decide(case))
        .or_else(|| restore(case))
        .or_else(|| settings::decide(case, home(case.app)?))
        .or_else(other)
        .or_else(|| tidy(case, case.device.keep))
        .unwrap_or_else(|| cared_for(case, pursue(case)));
    match (decision, unwell(case)) {
        ((Step::Rest { again }, _), Some((time, reason))) => {
            (Step::Rest { again: Some(again.map_or(time, |again| again.min(time))) }, reason)
        }
        (decision, _) => decision,
    }
}

/// With nothing else to do, the live tree is looked after.
fn cared_for(case: &Case<'_>, decision: Decision) -> Decision {
    let (Step::Rest { again }, reason) = &decision else { return decision };
    match drift::care(case) {
        None => decision,
        Some((Step::Rest { again: other }, found)) => {
            let again = again.iter().copied().chain(other).min();
            let said = found.filter(|_| matches!(reason, Reason::Synced(_)));
            (Step::Rest { again }, said.unwrap_or_else(|| reason.clone()))
        }
        Some((step, found)) => (step, found.unwrap_or_else(|| reason.clone())),
    }
}

/// A person asked to try again, or to go back.
fn intent(case: &Case<'_>) -> Option<Decision> {
    let (app, name) = (case.app, case.name);
    if app.retry.is_some() {
        return Some((Step::Forget { app: name.clone() }, Reason::Retrying));
    }
    let rollback = app.rollback.as_ref()?;
    let leaves = app.standing().filter(|standing| standing.setup.tree == rollback.leave);
    Some(match (leaves, app.previous()) {
        (Some(leaves), previous) if previous.is_some() || is_itself(name) => {
            let cause = Cause::Operator { owner: rollback.owner.clone(), reason: rollback.reason.clone() };
            let reason = Reason::GoingBack { from: leaves.setup.clone(), cause: cause.clone() };
            let opened = open(case, previous, &leaves.setup);
            let trial = Trial { phase: Phase::Back { cause }, ..opened };
            (Step::Back { app: name.clone(), trial }, reason)
        }
        // A release in trial is adopted first, and then left as its record says.
        _ if adopt(case).is_some_and(|_| app.current == Some(rollback.leave)) => return None,
        _ => (Step::Decline { app: name.clone() }, Reason::NothingToGoBackTo),
    })
}

/// What a person set up is over: it is dropped, so that no clock that goes back brings it again.
fn lift(case: &Case<'_>) -> Option<Decision> {
    let (app, name) = (case.app, case.name.clone());
    let over = |until: Until| until.is_over(case.now);
    let step = if app.hold.as_ref().is_some_and(|hold| over(hold.until)) {
        Step::Unhold { app: name }
    } else if app.pin.as_ref().is_some_and(|pin| over(pin.until)) {
        Step::Unpin { app: name }
    } else {
        return None;
    };
    Some((step, Reason::Tidying))
}

fn begins_trial(decision: &Decision) -> bool {
    matches!(decision.0, Step::Open { .. } | Step::Back { .. })
}

/// A sealed release that the link names and that was never committed is in trial, whatever became of its record.
pub(super) fn adopt(case: &Case<'_>) -> Option<Decision> {
    let tree = case.app.in_trial_without_record()?;
    let to = match case.want {
        Want::Be(goal) if goal.setup.tree == tree => goal.setup.clone(),
        _ => Setup { tree, tuning: Tuning::default(), version: None },
    };
    let trial = open(case, case.app.previous(), &to);
    Some((Step::Open { app: case.name.clone(), trial }, Reason::Trying(to)))
}

fn open(case: &Case<'_>, from: Option<&Setup>, to: &Setup) -> Trial {
    let earlier = case.app.setback.as_ref().filter(|setback| setback.setup.is(to));
    Trial {
        serial: case.app.next_serial(),
        from: from.cloned(),
        to: to.clone(),
        phase: Phase::Opened,
        starts: 0,
        retry: case.want.retry(),
        earlier: earlier.cloned(),
    }
}

/// The sealed committed release that the app is, or is brought back to.
pub(super) fn home(app: &App) -> Option<&Setup> {
    let sealed = |one: &&Committed| app.sealed.contains(&one.setup.tree);
    let home = app.standing().filter(sealed).or_else(|| app.committed.iter().find(sealed));
    home.map(|home| &home.setup)
}

/// The link names what was committed, and it runs.
fn restore(case: &Case<'_>) -> Option<Decision> {
    let home = home(case.app)?;
    let moves = case.app.current != Some(home.tree);
    if let Some(step) = entry::back(case, home.tree, Extent::Whole).filter(|_| moves) {
        return Some((step, Reason::Restoring(home.clone())));
    }
    match toward(case, Some(home)) {
        _ if down(case).is_some() => None,
        Toward::There(_) if case.app.ended.is_some() => {
            let (app, timeout) = (case.name.clone(), timeout(case.app, home.tree));
            Some((Step::Revive { app, tree: home.tree, timeout }, Reason::Restoring(home.clone())))
        }
        Toward::There(_) => None,
        Toward::Step(step) | Toward::Start(step) => Some((step, Reason::Restoring(home.clone()))),
    }
}

/// What is not well with the committed release, and from now, when something is done about it.
fn unwell(case: &Case<'_>) -> Option<(Duration, Reason)> {
    let degraded = home(case.app).and_then(|home| settings::degraded(case, home));
    match (degraded, down(case)) {
        (Some((_, reason)), Some((again, _))) => Some((again, reason)),
        (degraded, down) => degraded.or(down),
    }
}

/// The committed release did not start a moment ago, or did not last long.
fn down(case: &Case<'_>) -> Option<(Duration, Reason)> {
    let setup = home(case.app)?;
    let (at, said) = match (case.app.start_failed(setup), case.app.run, &case.app.ended) {
        (Some(failed), ..) => (failed.at, &failed.output),
        (None, Run::Started { tree, at }, Some(ended)) if tree == setup.tree => (at, ended),
        _ => return None,
    };
    // Until then the packaged agent polls, and a better one may arrive.
    let pause = if is_itself(case.name) { itself::AGAIN } else { START_AGAIN };
    let again = (at + pause).saturating_sub(case.now.boot);
    let reason = Reason::Down { setup: setup.clone(), said: said.clone(), again };
    (!again.is_zero()).then_some((again, reason))
}

/// Removes what nothing needs, once it is known what is wanted; never during a trial.
fn tidy(case: &Case<'_>, keep: usize) -> Option<Decision> {
    let (app, name) = (case.app, case.name);
    let wanted = match case.want {
        Want::Be(goal) => Some(goal.setup.tree),
        Want::Stay { reason: Reason::Refused(_), .. } => None,
        Want::Stay { .. } | Want::Gone { .. } => return None,
    };
    if let Some(tree) = app.staged.iter().find(|tree| Some(**tree) != wanted) {
        return Some((Step::Discard { app: name.clone(), tree: *tree }, Reason::Tidying));
    }
    let running = if let Run::Started { tree, .. } = app.run { Some(tree) } else { None };
    let needed = |tree: &Digest| {
        [wanted, running, app.current].contains(&Some(*tree))
            || app.committed.iter().any(|committed| committed.setup.tree == *tree)
    };
    let tree = app.sealed.iter().filter(|tree| !needed(tree)).nth(keep)?;
    Some((Step::Prune { app: name.clone(), tree: *tree }, Reason::Tidying))
}

/// What the environment wants.
fn pursue(case: &Case<'_>) -> Decision {
    let (app, name) = (case.app, case.name);
    let goal = match case.want {
        Want::Be(goal) => goal,
        Want::Gone { .. } => return (Step::Rest { again: None }, Reason::NotWanted),
        Want::Stay { reason, .. } => {
            let again = reason.until().map(|until| until.left(case.now));
            return (Step::Rest { again }, reason.clone());
        }
    };
    let setup = &goal.setup;
    if home(app).is_some_and(|home| home.is(setup)) {
        return (Step::Rest { again: None }, Reason::Synced(setup.clone()));
    }
    if let Some(decision) = backing_off(case, setup) {
        return decision;
    }
    if !app.sealed.contains(&setup.tree) {
        return install(case, goal);
    }
    match app.recipes.get(&setup.tree) {
        Some(Err(problem)) => {
            let step = back::refuse(case, setup, goal.retry, Ground::Recipe(problem.clone()));
            (step, Reason::Trying(setup.clone()))
        }
        _ => entry::forward(case, goal).unwrap_or_else(|| {
            let trial = open(case, home(app), setup);
            (Step::Open { app: name.clone(), trial }, Reason::Trying(setup.clone()))
        }),
    }
}

/// The last trial of `setup` gave no verdict, not long ago. A clock that went back holds nothing up.
fn backing_off(case: &Case<'_>, setup: &Setup) -> Option<Decision> {
    let last = case.app.setback.as_ref().filter(|last| last.setup.is(setup))?;
    let whole = poll::backoff(TRY_AGAIN, last.tries, case.device.seed);
    let again = whole.saturating_sub(case.now.wall.since(last.at));
    if again.is_zero() || case.now.wall < last.at {
        return None;
    }
    let (setup, cause) = (setup.clone(), last.cause.clone());
    Some((Step::Rest { again: Some(again) }, Reason::BackingOff { setup, cause, tries: last.tries, again }))
}

/// Index → room for it → fetch → seal.
fn install(case: &Case<'_>, goal: &Goal) -> Decision {
    let (app, name, tree) = (case.app, case.name, goal.setup.tree);
    let installing = |step| (step, Reason::Installing(goal.setup.clone()));
    let Some(Files { index, bundle }) = &goal.files else {
        let message = "the app's role does not name it any more".into();
        return (Step::Rest { again: None }, Reason::Unavailable { message });
    };
    if let Some(trouble) = app.memory.trouble.as_ref().filter(|trouble| trouble.tree == tree) {
        let whole = poll::backoff(FETCH_AGAIN, trouble.tries, case.device.seed);
        let again = (trouble.at + whole).saturating_sub(case.now.boot);
        if !again.is_zero() {
            let message = trouble.message.clone();
            let reason = match trouble.kind {
                TroubleKind::Unavailable => Reason::Unavailable { message },
                TroubleKind::Network | TroubleKind::Content | TroubleKind::Disk => Reason::Fetch { message },
            };
            return (Step::Rest { again: Some(again) }, reason);
        }
    }
    let staged = app.staged.contains(&tree);
    let index = index.clone();
    let reuse = app.current.filter(|current| app.sealed.contains(current));
    let Some((_, need)) = app.memory.need.filter(|(of, _)| staged && *of == tree) else {
        return installing(Step::Index { app: name.clone(), tree, index, reuse });
    };
    // The release that runs was hashed on the way.
    let found = app.memory.rechecked.as_ref().filter(|found| app.current == Some(found.tree));
    if let Some(step) = found.and_then(|found| entry::told(case, found)) {
        return installing(step);
    }
    if app.memory.whole == Some(tree) {
        let source = Files { index, bundle: bundle.clone() };
        return installing(Step::Seal { app: name.clone(), setup: goal.setup.clone(), source });
    }
    if !fits(need, case.device.free) {
        let short = Reason::Disk { need, free: case.device.free };
        return tidy(case, 0).unwrap_or((Step::Rest { again: None }, short));
    }
    installing(Step::Fetch { app: name.clone(), tree, index, bundle: bundle.clone(), reuse })
}

fn fits(need: Space, free: Space) -> bool {
    need.bytes <= free.bytes && need.inodes <= free.inodes
}
