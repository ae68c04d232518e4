//! Back: from the record of a way back until its end, a refusal or another try later.
//!
//! Never here: what leads onto the way back (`trial`, `rest`, `boot`).

use super::checks::{self, Health};
use super::model::{Cause, Extent, Ground, Reason, Recipe, Refusal, Setback, Setup, Step, Trial, is_itself};
use super::next::{Case, Decision};
use super::trial::{self, Toward, probe, toward};
use super::{entry, itself};

#[cfg(test)]
mod tests;

/// Refusals that are remembered per app.
pub const REFUSALS: usize = 32;

/// What the previous release says about why the trial failed.
enum Blame {
    /// It fails too, where both ask the same: the world has changed.
    World,
    /// It does not.
    Release,
}

/// The step of a trial that goes back.
pub(super) fn decide(case: &Case<'_>, trial: &Trial, cause: &Cause) -> Decision {
    let app = case.app;
    // A person who goes back from what is just being left for another cause is heard as well.
    let asked = trial::asked_back(app, trial);
    let cause = asked.as_ref().unwrap_or(cause);
    let reason = Reason::GoingBack { from: trial.to.clone(), cause: cause.clone() };
    let home = home(case, trial);
    // Where the guard pointed back already, before the verdict.
    let left = home.filter(|home| home.tree != trial.to.tree);
    if let Some(step) = left.and_then(|home| entry::back(case, home.tree, extent(cause))) {
        return (step, reason);
    }
    let start_failed = home.is_some_and(|home| app.start_failed(home).is_some());
    let started = match toward(case, home) {
        _ if start_failed => case.now.boot,
        Toward::Step(step) | Toward::Start(step) => return (step, reason),
        Toward::There(started) => started,
    };
    let blame = match (home, cause) {
        (Some(home), Cause::Check { .. }) => {
            let recipe = |setup: &Setup| app.recipes.get(&setup.tree).and_then(|recipe| recipe.as_ref().ok());
            let shared = checks::shared(recipe(&trial.to), app.committed_as(home));
            let asked = recipe(home).into_iter().flat_map(|recipe| recipe.checks.iter());
            let asked = asked.filter(|(name, check)| shared.get(*name) == Some(&check.definition));
            if start_failed {
                if shared.contains_key(Recipe::START) { Blame::World } else { Blame::Release }
            } else {
                match checks::health(asked, &home.tuning, started, &app.memory.said, case.now.boot) {
                    Health::Passed => Blame::Release,
                    Health::Failed { .. } => Blame::World,
                    Health::Due(due) => return (probe(case, home, started, due), reason),
                    Health::Early(pause) => return (Step::Wait { pause }, reason),
                }
            }
        }
        (None, Cause::Check { .. }) if is_itself(case.name) => {
            let (name, check, tuning) = itself::packaged();
            let asked = std::iter::once((&name, &check));
            match checks::health(asked, &tuning, started, &app.memory.said, case.now.boot) {
                Health::Passed => Blame::Release,
                Health::Failed { .. } => Blame::World,
                Health::Due(due) => return (probe(case, &trial.to, started, due), reason),
                Health::Early(pause) => return (Step::Wait { pause }, reason),
            }
        }
        _ => Blame::Release,
    };
    (conclude(case, trial, cause, home, &blame), reason)
}

/// What fails may be down: nobody waits for more than what it may have reached. What a person leaves runs meanwhile.
const fn extent(cause: &Cause) -> Extent {
    match cause {
        Cause::Operator { .. } => Extent::Whole,
        Cause::Check { .. } | Cause::Starts | Cause::Superseded | Cause::Gone => Extent::Shared,
    }
}

/// Where the way back leads; none: to a stopped and unlinked app, for a first install or when that tree was lost.
pub(super) fn home<'a>(case: &Case<'_>, trial: &'a Trial) -> Option<&'a Setup> {
    trial.from.as_ref().filter(|from| case.app.sealed.contains(&from.tree))
}

/// How the trial ends: the table of verdicts.
fn conclude(case: &Case<'_>, trial: &Trial, cause: &Cause, home: Option<&Setup>, blame: &Blame) -> Step {
    let limit_before = || trial.earlier.as_ref().is_some_and(|earlier| earlier.cause == Cause::Starts);
    match (cause, home, blame) {
        // No verdict: the environment changed its mind, or the files went away.
        (Cause::Superseded | Cause::Gone, ..) => Step::Close { app: case.name.clone() },
        // A person's word.
        (Cause::Operator { .. }, ..) => refuse(case, &trial.to, trial.retry, Ground::Trial(cause.clone())),
        // A first install: nothing else is waiting, so it is tried again. Behind the agent itself the packaged one waits.
        (_, None, _) if !is_itself(case.name) => defer(case, trial, cause),
        // Lost power explains one series of starts without verdict, not two in a row.
        (Cause::Starts, ..) if !limit_before() => defer(case, trial, cause),
        (Cause::Check { .. }, _, Blame::World) => defer(case, trial, cause),
        (Cause::Starts | Cause::Check { .. }, ..) => {
            refuse(case, &trial.to, trial.retry, Ground::Trial(cause.clone()))
        }
    }
}

/// Refuses `setup`: the newest refusal stands first, the oldest beyond [`REFUSALS`] is forgotten.
pub(super) fn refuse(case: &Case<'_>, setup: &Setup, retry: u64, ground: Ground) -> Step {
    let newest = Refusal { setup: setup.clone(), retry, at: case.now.wall, ground };
    let others = case.app.refusals.iter().filter(|refusal| !refusal.setup.is(setup)).cloned();
    let refusals = [newest].into_iter().chain(others).take(REFUSALS).collect();
    let committed = case.app.committed.iter().filter(|one| !one.setup.is(setup)).cloned().collect();
    Step::Refuse { app: case.name.clone(), refusals, committed }
}

/// Counted from what the trial was opened with, so that a cut before its end counts nothing twice.
fn defer(case: &Case<'_>, trial: &Trial, cause: &Cause) -> Step {
    let tries = trial.earlier.as_ref().map_or(1, |earlier| earlier.tries.saturating_add(1));
    let setback = Setback { setup: trial.to.clone(), cause: cause.clone(), tries, at: case.now.wall };
    Step::Defer { app: case.name.clone(), setback }
}
