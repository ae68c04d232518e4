//! What is decided before the apps of a device start, with no network and nothing running.
//!
//! Never here: anything that waits; the boot goes on whatever is found.

use tidelock_protocol::time::Now;

use super::model::{App, Cause, Device, Phase, Reason, Starter, Step, Trial, Want};
use super::next::Case;
use super::trial::{STARTS, Toward, count, go_back, toward};
use super::{back, rest};

#[cfg(test)]
mod tests;

/// The next step before the apps start; none: let them start.
///
/// A release in trial that starts by itself has this start counted, or goes back when it had all of its starts; a way back that was begun
/// is gone to its end, as far as the link leads.
pub fn at_boot(device: &Device, now: Now) -> Option<Step> {
    let want = Want::Stay { reason: Reason::NoManifest, retry: 0 };
    device
        .apps
        .iter()
        .find_map(|(name, app)| of(&Case { name, app, want: &want, device, now, other: None }, app))
}

fn of(case: &Case<'_>, app: &App) -> Option<Step> {
    match &app.trial {
        None => rest::adopt(case).map(|(step, _)| step),
        Some(trial @ Trial { phase: Phase::Back { .. }, .. }) => {
            match toward(case, back::home(case, trial)) {
                Toward::Step(step) => Some(step),
                Toward::Start(_) | Toward::There(_) => None,
            }
        }
        Some(trial) if app.passed(trial) || app.current != Some(trial.to.tree) || app.memory.counted => None,
        Some(trial) if starter(app, trial) == Starter::Agent => None,
        Some(trial) if trial.starts >= STARTS => Some(go_back(case, trial, Cause::Starts).0),
        Some(trial) => Some(count(case, trial)),
    }
}

/// What cannot be read may well start by itself.
fn starter(app: &App, trial: &Trial) -> Starter {
    match app.recipes.get(&trial.to.tree) {
        Some(Ok(recipe)) => recipe.starter,
        _ => Starter::Manager,
    }
}
