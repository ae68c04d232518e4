//! What to do next. Asked again after every step and every crash.
//!
//! Never here: what one app does in each of its states (`rest`, `trial`, `back`).

use std::collections::BTreeMap;
use std::time::Duration;

use tidelock_protocol::names::AppName;
use tidelock_protocol::time::Now;

use super::model::{App, Device, Mode, Phase, Process, Reason, Step, Want, Wanted, Why, is_itself};
use super::{back, itself, rest, trial};

/// One app, and all that is known when it is decided about.
pub(super) struct Case<'a> {
    pub(super) name: &'a AppName,
    pub(super) app: &'a App,
    pub(super) want: &'a Want,
    pub(super) device: &'a Device,
    pub(super) now: Now,
    /// Another app that is in trial.
    pub(super) other: Option<&'a AppName>,
}

/// What one app would do, and why; `Rest` and `Wait` when it would do nothing.
pub(super) type Decision = (Step, Reason);

/// The next step of the device, and why each app is where it is.
///
/// One app at a time is in trial, and it comes first; while it waits, others may be brought back to what was
/// committed. Otherwise those come first that failed least, so that a failing app starves nobody.
pub fn next(wanted: &Wanted, device: &Device, now: Now) -> (Step, Why) {
    let unknown = Want::Stay { reason: Reason::NoManifest, retry: 0 };
    let absent = App::default();
    let recorded = device.apps.iter().find(|(_, app)| app.trial.is_some());
    let in_trial =
        recorded.or_else(|| device.apps.iter().find(|(_, app)| app.in_trial_without_record().is_some()));
    let in_trial = in_trial.map(|(name, _)| name);
    let names = wanted.keys().chain(device.apps.keys().filter(|name| !wanted.contains_key(*name)));
    let mut decisions: Vec<(&AppName, Decision)> = names
        .map(|name| {
            let app = device.apps.get(name).unwrap_or(&absent);
            let want = wanted.get(name).unwrap_or(&unknown);
            let other = in_trial.filter(|other| *other != name);
            (name, decide(&Case { name, app, want, device, now, other }))
        })
        .collect();
    decisions.sort_by_key(|(name, _)| {
        (Some(*name) != in_trial, device.apps.get(name).map_or(0, App::failures), *name)
    });
    let (step, why) = choose(decisions, device.mode);
    let over = device.hold.as_ref().is_some_and(|hold| hold.until.is_over(now));
    match step {
        Step::Rest { .. } if over && device.mode == Mode::Apply => (Step::UnholdAll, why),
        step => (step, why),
    }
}

fn decide(case: &Case<'_>) -> Decision {
    if is_itself(case.name) && case.device.process == Process::Command {
        return itself::left_alone(case);
    }
    match &case.app.trial {
        None => rest::decide(case),
        Some(trial) => match &trial.phase {
            Phase::Opened => trial::decide(case, trial),
            Phase::Back { cause } => back::decide(case, trial, cause),
        },
    }
}

/// Takes the first step that any app would do; all other apps keep their reasons, or wait for their turn.
fn choose(decisions: Vec<(&AppName, Decision)>, mode: Mode) -> (Step, Why) {
    let mut chosen = None;
    let mut pause: Option<Duration> = None;
    let mut again: Option<Duration> = None;
    let mut apps = BTreeMap::new();
    for (name, (step, mut reason)) in decisions {
        match step {
            Step::Wait { pause: time } => pause = Some(time),
            Step::Rest { again: Some(time) } => again = Some(again.map_or(time, |other| other.min(time))),
            Step::Rest { again: None } => {}
            step if mode == Mode::Observe => {
                let words = step.to_string();
                let own = format!("{name}: ");
                reason = Reason::Observe { would: words.strip_prefix(&own).unwrap_or(&words).to_owned() };
            }
            step if chosen.is_none() => chosen = Some(step),
            _ => reason = Reason::Queued,
        }
        apps.insert(name.clone(), reason);
    }
    let idle = pause.map_or(Step::Rest { again }, |pause| Step::Wait { pause });
    (chosen.unwrap_or(idle), Why { apps })
}
