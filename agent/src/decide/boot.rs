//! What is decided before the apps of a device start, with no network and nothing running.
//!
//! Never here: anything that waits; the boot goes on whatever is found.

use tidelock_protocol::names::AppName;
use tidelock_protocol::time::Now;

use super::model::{App, Cause, Device, Phase, Reason, Starter, Step, Trial, Units, Want, is_itself};
use super::next::Case;
use super::trial::{STARTS, Toward, count, go_back, toward};
use super::{back, rest};

#[cfg(test)]
mod tests;

/// The next step before the apps start; none: let them start.
///
/// A half-done swap of units is finished toward what the link names. A release in trial that the service manager is
/// about to start has this start counted, or goes back when it had all of its starts; a way back that was begun is gone
/// to its end, as far as link and units lead. What hooks start is counted by the agent that starts it, and the agent's
/// own app by its launcher.
pub fn at_boot(device: &Device, now: Now) -> Option<Step> {
    first(device, now, |name| !is_itself(name))
}

/// The same for those apps that are `meant`.
pub(super) fn first(device: &Device, now: Now, meant: fn(&AppName) -> bool) -> Option<Step> {
    let want = Want::Stay { reason: Reason::NoManifest, retry: 0 };
    let mut apps = device.apps.iter().filter(|(name, _)| meant(name));
    apps.find_map(|(name, app)| of(&Case { name, app, want: &want, device, now, other: None }, app))
}

fn of(case: &Case<'_>, app: &App) -> Option<Step> {
    match &app.trial {
        None => rest::adopt(case).map(|(step, _)| step).or_else(|| place(case)),
        Some(trial @ Trial { phase: Phase::Back { .. }, .. }) => {
            match toward(case, back::home(case, trial)) {
                Toward::Step(step) => Some(step),
                Toward::Start(_) | Toward::There(_) => None,
            }
        }
        Some(trial) if is_about_to_start(app, trial) && trial.starts >= STARTS => {
            Some(go_back(case, trial, Cause::Starts).0)
        }
        Some(trial) => place(case).or_else(|| is_about_to_start(app, trial).then(|| count(case, trial))),
    }
}

fn is_about_to_start(app: &App, trial: &Trial) -> bool {
    // What cannot be read may well start by itself.
    let recipe = app.recipes.get(&trial.to.tree).and_then(|recipe| recipe.as_ref().ok());
    let by_itself = recipe.is_none_or(|recipe| recipe.starter == Starter::Manager);
    app.current == Some(trial.to.tree) && by_itself && !app.passed(trial) && !app.memory.counted
}

fn place(case: &Case<'_>) -> Option<Step> {
    let (app, tree) = (case.name.clone(), case.app.current);
    (case.app.units == Units::Other).then_some(Step::Place { app, tree })
}
