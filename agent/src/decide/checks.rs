//! What the checks of a running release amount to, and when to run which.
//!
//! Never here: running one (`io/probe`).

use std::collections::BTreeMap;
use std::time::Duration;

use tidelock_protocol::desired::Tuning;
use tidelock_protocol::digest::Digest;

use super::model::{Check, Committed, Outcome, Recipe, Said};

/// Longest time that one run of a check may take.
const LONGEST_RUN: Duration = Duration::from_secs(60);
/// Time that a run may take even when the deadline is near or past.
const SHORTEST_RUN: Duration = Duration::from_secs(5);

/// What the checks amount to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Each has passed as often as it must.
    Passed,
    /// One still fails after its deadline.
    Failed {
        /// Its name.
        name: String,
        /// The end of its output.
        said: String,
    },
    /// One is due.
    Due(Due),
    /// None is due yet.
    Early(Duration),
}

/// A run of a check that is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) check: String,
    pub(super) timeout: Duration,
    pub(super) if_passed: u32,
    pub(super) if_failed: u32,
}

/// Judges `checks` of a release that was started at `started`.
///
/// A check fails only by a run that *ends* after its deadline: an agent that was away (killed, suspended, busy with
/// another app) has not seen a failure.
pub(super) fn health<'a>(
    checks: impl Iterator<Item = (&'a String, &'a Check)>,
    tuning: &Tuning,
    started: Duration,
    said: &BTreeMap<String, Said>,
    now: Duration,
) -> Health {
    let mut early: Option<Duration> = None;
    for (name, check) in checks {
        let number = |tuned: Option<u32>, own: u32| Duration::from_secs(u64::from(tuned.unwrap_or(own)));
        let successes = tuning.successes.unwrap_or(check.successes);
        let deadline = started + number(tuning.deadline, check.deadline);
        let before = said.get(name);
        let passes = before.map_or(0, |before| before.passes);
        if passes >= successes {
            continue;
        }
        if let Some(last) = before.filter(|last| last.outcome == Outcome::Failed && last.at >= deadline) {
            return Health::Failed { name: name.clone(), said: last.output.clone() };
        }
        let due = before.map_or(started, |last| last.at + number(tuning.interval, check.interval));
        if due > now {
            let pause = due - now;
            early = Some(early.map_or(pause, |other| other.min(pause)));
            continue;
        }
        let in_grace = now < started + number(tuning.grace, check.grace);
        return Health::Due(Due {
            check: name.clone(),
            timeout: deadline.saturating_sub(now).clamp(SHORTEST_RUN, LONGEST_RUN),
            if_passed: passes + 1,
            if_failed: if in_grace { passes } else { 0 },
        });
    }
    early.map_or(Health::Passed, Health::Early)
}

/// The digests of what a release that passed has passed: the start hook and each check.
pub(super) fn passed(recipe: &Recipe) -> BTreeMap<String, Digest> {
    let start = (Recipe::START.to_owned(), recipe.start);
    let checks = recipe.checks.iter().map(|(name, check)| (name.clone(), check.definition));
    checks.chain([start]).collect()
}

/// The names of what `tried` defines exactly as the committed release did that went before it, and that this one
/// passed then: if one of them fails there now, the world has changed and not the release.
pub(super) fn shared(tried: Option<&Recipe>, before: Option<&Committed>) -> BTreeMap<String, Digest> {
    let (Some(tried), Some(before)) = (tried, before) else { return BTreeMap::new() };
    let mut both = passed(tried);
    both.retain(|name, definition| before.passed.get(name) == Some(definition));
    both
}
