//! Forward: an open trial, from its record until its verdict.
//!
//! Never here: what a way back ends in (`back`).

use std::time::Duration;

use tidelock_protocol::digest::Digest;
use tidelock_protocol::recipe::Activate;

use super::checks::{self, Due, Health};
use super::model::{
    App, Cause, Committed, Phase, Reason, Recipe, Run, Setup, Step, Trial, Units, Want, is_itself,
};
use super::next::{Case, Decision};
use super::{entry, itself};

#[cfg(test)]
mod tests;

/// Starts that a release gets without a verdict.
pub const STARTS: u32 = 3;
/// Seconds that a hook may take where no release says so.
const TIMEOUT: u32 = 60;

/// The step of an open trial.
pub(super) fn decide(case: &Case<'_>, trial: &Trial) -> Decision {
    let app = case.app;
    let trying = |step| (step, Reason::Trying(trial.to.clone()));
    if app.passed(trial) {
        return trying(Step::Close { app: case.name.clone() });
    }
    if let Some(cause) = broken_off(case, trial) {
        return go_back(case, trial, cause);
    }
    let Some(Ok(recipe)) = app.recipes.get(&trial.to.tree) else {
        let said = app.recipes.get(&trial.to.tree).and_then(|recipe| recipe.as_ref().err()).cloned();
        let said = said.unwrap_or_else(|| "no release.toml".into());
        return go_back(case, trial, Cause::Check { name: Recipe::START.into(), said });
    };
    if let Some(said) = app.start_failed(&trial.to) {
        return go_back(case, trial, Cause::Check { name: Recipe::START.into(), said: said.output.clone() });
    }
    if let Some(decision) = entry::onward(case, trial) {
        return decision;
    }
    match toward(case, Some(&trial.to)) {
        Toward::Step(step) => trying(step),
        // The launcher counts the starts of the agent itself, the one that it makes now as well.
        Toward::Start(start) if app.memory.counted || is_itself(case.name) => trying(start),
        Toward::Start(_) if trial.starts >= STARTS => go_back(case, trial, Cause::Starts),
        Toward::Start(_) => trying(count(case, trial)),
        Toward::There(started) => {
            let all = recipe.checks.iter();
            match checks::health(all, &trial.to.tuning, started, &app.memory.said, case.now.boot) {
                Health::Passed => trying(commit(case, trial, recipe)),
                Health::Failed { name, said } => go_back(case, trial, Cause::Check { name, said }),
                Health::Due(run) => trying(probe(case, &trial.to, started, run)),
                Health::Early(pause) => trying(Step::Wait { pause }),
            }
        }
    }
}

/// What ends a trial without a verdict of its own.
fn broken_off(case: &Case<'_>, trial: &Trial) -> Option<Cause> {
    let app = case.app;
    if let Some(asked) = asked_back(app, trial) {
        return Some(asked);
    }
    let gone = matches!(case.want, Want::Gone { .. });
    if gone || matches!(case.want, Want::Be(goal) if !goal.setup.is(&trial.to)) {
        return Some(Cause::Superseded);
    }
    (!app.sealed.contains(&trial.to.tree)).then_some(Cause::Gone)
}

/// A person goes back from what is tried.
pub(super) fn asked_back(app: &App, trial: &Trial) -> Option<Cause> {
    let rollback = app.rollback.as_ref().filter(|rollback| rollback.leave == trial.to.tree)?;
    Some(Cause::Operator { owner: rollback.owner.clone(), reason: rollback.reason.clone() })
}

/// Records the way back, before anything leads back.
pub(super) fn go_back(case: &Case<'_>, trial: &Trial, cause: Cause) -> Decision {
    let reason = Reason::GoingBack { from: trial.to.clone(), cause: cause.clone() };
    let trial = Trial { phase: Phase::Back { cause }, ..trial.clone() };
    (Step::Back { app: case.name.clone(), trial }, reason)
}

/// Counts a start, before it is made.
pub(super) fn count(case: &Case<'_>, trial: &Trial) -> Step {
    Step::Count { app: case.name.clone(), trial: Trial { starts: trial.starts + 1, ..trial.clone() } }
}

/// The new committed record, then the one that the trial came from.
fn commit(case: &Case<'_>, trial: &Trial, recipe: &Recipe) -> Step {
    let newest = Committed {
        serial: trial.serial,
        setup: trial.to.clone(),
        at: case.now.wall,
        passed: checks::passed(recipe),
    };
    let from = trial.from.as_ref().and_then(|from| case.app.committed_as(from)).cloned();
    Step::Commit { app: case.name.clone(), committed: [newest].into_iter().chain(from).collect() }
}

/// How far an app is on stop → point → place → start.
pub(super) enum Toward {
    /// To stop, to point, or to place its units.
    Step(Step),
    /// To start: in trial, only once it is counted.
    Start(Step),
    /// It runs there, since this time after boot; with nowhere to go, it is stopped and unlinked.
    There(Duration),
}

/// Stop → point → place → start toward `to`; nowhere: stop → unlink → place. Units that are not those of a release
/// that runs are put right while it runs: it was started from the right ones.
pub(super) fn toward(case: &Case<'_>, to: Option<&Setup>) -> Toward {
    let (app, name) = (case.app, case.name.clone());
    let tree = to.map(|to| to.tree);
    if is_itself(case.name) {
        return itself::toward(case, tree);
    }
    let begun = match app.run {
        Run::Started { tree: running, .. } if Some(running) == tree && app.current == tree => None,
        Run::Started { tree: running, .. } if reloads(app, running, tree) => None,
        Run::Starting { tree: begun } if Some(begun) == tree && app.current == tree => None,
        Run::Started { tree: running, .. } | Run::Starting { tree: running } => Some(running),
        Run::Unclear => app.current,
        Run::Stopped => None,
    };
    // Also of a tree that is gone: it has no hook to stop it with, but its units have their names.
    if let Some(begun) = begun {
        return Toward::Step(Step::Stop { app: name, tree: begun, timeout: timeout(app, begun) });
    }
    match (tree, app.run) {
        (None, _) if app.current.is_some() => Toward::Step(Step::Unlink { app: name }),
        (Some(tree), _) if app.current != Some(tree) => Toward::Step(Step::Point { app: name, tree }),
        (tree, _) if app.units == Units::Other => Toward::Step(Step::Place { app: name, tree }),
        (None, _) => Toward::There(case.now.boot),
        // It was counted when it was begun.
        (Some(tree), Run::Starting { .. }) => {
            Toward::Step(Step::Await { app: name, tree, timeout: timeout(app, tree) })
        }
        (Some(tree), Run::Started { tree: running, at }) if running == tree => Toward::There(at),
        (Some(tree), Run::Started { .. }) => {
            Toward::Start(Step::Reload { app: name, tree, timeout: timeout(app, tree) })
        }
        (Some(tree), _) => Toward::Start(Step::Start { app: name, tree, timeout: timeout(app, tree) }),
    }
}

/// Whether a running release becomes `tree` by a reload: forward only, where that release says so and brings the very
/// same units. What leads back is a restart, since nobody knows what the one that failed left in memory.
fn reloads(app: &App, running: Digest, tree: Option<Digest>) -> bool {
    let recipe = |tree: Digest| app.recipes.get(&tree).and_then(|recipe| recipe.as_ref().ok());
    let tried = app.trial.as_ref().filter(|trial| trial.phase == Phase::Opened).map(|trial| trial.to.tree);
    let Some(next) = tree.filter(|_| tree == tried).and_then(recipe) else { return false };
    let same = next.units.is_some() && recipe(running).is_some_and(|recipe| recipe.units == next.units);
    same && next.activate == Activate::Reload
}

/// The time that the hooks of `tree` may take: the tuning of the setup that it is or was, its own number, a default.
pub(super) fn timeout(app: &App, tree: Digest) -> Duration {
    let trial = app.trial.iter().flat_map(|trial| [Some(&trial.to), trial.from.as_ref()]).flatten();
    let known = trial.chain(app.committed.iter().map(|committed| &committed.setup));
    let tuned = known.filter(|setup| setup.tree == tree).find_map(|setup| setup.tuning.timeout);
    let own = || app.recipes.get(&tree).and_then(|recipe| recipe.as_ref().ok()).map(|recipe| recipe.timeout);
    Duration::from_secs(u64::from(tuned.or_else(own).unwrap_or(TIMEOUT)))
}

/// Runs the check that is due.
pub(super) fn probe(case: &Case<'_>, setup: &Setup, started: Duration, due: Due) -> Step {
    let Due { check, timeout, if_passed, if_failed } = due;
    Step::Probe { app: case.name.clone(), tree: setup.tree, check, started, timeout, if_passed, if_failed }
}
