//! A device's own settings for an app, changed while it runs: restart, check, say. The operator's file is the operator's:
//! it is never rolled back, and no release is refused for it.
//!
//! Never here: what the settings are.

use std::time::Duration;

use super::checks::{self, Health};
use super::model::{Outcome, Reason, Recipe, Run, Said, Settings, Setup, Step, Tried, is_itself};
use super::next::{Case, Decision};
use super::trial::{probe, timeout};

/// How long after a failure the checks are asked again.
const CHECK_AGAIN: Duration = Duration::from_secs(300);

/// The step of a committed release that runs as `home`, when its settings are others than it was started with.
pub(super) fn decide(case: &Case<'_>, home: &Setup) -> Option<Decision> {
    let (app, settings) = (case.app, &case.app.settings);
    // The agent's own settings are its configuration.
    let Run::Started { tree, at } = app.run else { return None };
    if is_itself(case.name) {
        return None;
    }
    let recipe =
        app.recipes.get(&tree).and_then(|recipe| recipe.as_ref().ok()).filter(|_| tree == home.tree)?;
    let doing = |step| Some((step, Reason::Settings(home.clone())));
    let name = || case.name.clone();
    let Some(started) = &settings.started else {
        return doing(Step::Note { app: name(), settings: settings.now.clone() });
    };
    match tried(settings) {
        None if *started == settings.now => None,
        None => doing(verdict(case, None)),
        Some(tried) if tried.verdict.as_ref().is_some_and(|said| holds(case, said)) => None,
        Some(_) if *started != settings.now => {
            doing(Step::Stop { app: name(), tree, timeout: timeout(app, tree) })
        }
        Some(_) => judge(case, home, recipe, at),
    }
}

/// How far it is with the settings that lie there now. What was once said of them counts no more when the app was started
/// with others since.
fn tried(settings: &Settings) -> Option<&Tried> {
    let tried = settings.tried.as_ref().filter(|tried| tried.settings == settings.now)?;
    (tried.verdict.is_none() || settings.started.as_ref() == Some(&settings.now)).then_some(tried)
}

/// Asks the checks of the release that was started at `at`.
fn judge(case: &Case<'_>, home: &Setup, recipe: &Recipe, at: Duration) -> Option<Decision> {
    let said = |outcome, output| Said { outcome, passes: 0, at: case.now.boot, output };
    let step =
        match checks::health(recipe.checks.iter(), &home.tuning, at, &case.app.memory.said, case.now.boot) {
            Health::Due(due) => probe(case, home, at, due),
            Health::Early(pause) => Step::Wait { pause },
            Health::Passed => verdict(case, Some(said(Outcome::Passed, String::new()))),
            Health::Failed { name, said: output } => {
                verdict(case, Some(said(Outcome::Failed, format!("check {name} failed: {output}"))))
            }
        };
    Some((step, Reason::Settings(home.clone())))
}

fn verdict(case: &Case<'_>, verdict: Option<Said>) -> Step {
    Step::Try { app: case.name.clone(), tried: Tried { settings: case.app.settings.now.clone(), verdict } }
}

/// Whether a verdict still stands: a good one does, after a bad one it is asked again.
fn holds(case: &Case<'_>, said: &Said) -> bool {
    said.outcome == Outcome::Passed || case.now.boot < said.at + CHECK_AGAIN
}

/// The settings that lie there now fail, and nothing is to be done about it; from now, when they are asked again.
pub(super) fn degraded(case: &Case<'_>, home: &Setup) -> Option<(Duration, Reason)> {
    let settings = &case.app.settings;
    let tried = tried(settings)?;
    let setup = home.clone();
    if let Some(failed) = case.app.start_failed(home).filter(|_| tried.verdict.is_none()) {
        let said = format!("it does not start: {}", failed.output);
        return Some((Duration::ZERO, Reason::Degraded { setup, said }));
    }
    let failed = tried.verdict.as_ref().filter(|said| said.outcome == Outcome::Failed)?;
    let again = (failed.at + CHECK_AGAIN).saturating_sub(case.now.boot);
    Some((again, Reason::Degraded { setup, said: failed.output.clone() }))
}

#[cfg(test)]
mod tests;
