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

#[cfg(test)]
mod tests {
    use tidelock_protocol::recipe::Activate;

    use super::super::model::Starter;
    use super::*;

    const STARTED: Duration = Duration::from_secs(1_000);

    fn check(successes: u32) -> Check {
        Check { definition: Digest::of(b"c"), grace: 5, interval: 2, deadline: 20, successes }
    }

    /// How a check stands that last ran `at` seconds after the start.
    fn stand(check: &Check, tuning: Tuning, last: Option<(Outcome, u32, u64)>, now: u64) -> Health {
        let said = last.map(|(outcome, passes, at)| {
            let at = STARTED + Duration::from_secs(at);
            ("c".to_owned(), Said { outcome, passes, at, output: "words".into() })
        });
        let name = "c".to_owned();
        let now = STARTED + Duration::from_secs(now);
        health([(&name, check)].into_iter(), &tuning, STARTED, &said.into_iter().collect(), now)
    }

    fn due(health: Health) -> (u64, u32, u32) {
        match health {
            Health::Due(due) => (due.timeout.as_secs(), due.if_passed, due.if_failed),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_check_runs_at_once_and_then_at_its_interval() {
        assert_eq!(due(stand(&check(1), Tuning::default(), None, 0)), (20, 1, 0));
        let failed = Some((Outcome::Failed, 0, 3));
        assert_eq!(stand(&check(1), Tuning::default(), failed, 4), Health::Early(Duration::from_secs(1)));
        assert_eq!(due(stand(&check(1), Tuning::default(), failed, 5)), (15, 1, 0));
    }

    #[test]
    fn it_passes_after_its_successes_in_a_row() {
        let passed = |passes| Some((Outcome::Passed, passes, 3));
        assert_eq!(stand(&check(1), Tuning::default(), passed(1), 3), Health::Passed);
        assert_eq!(due(stand(&check(2), Tuning::default(), passed(1), 5)), (15, 2, 0));
        let tuned = Tuning { successes: Some(1), ..Tuning::default() };
        assert_eq!(stand(&check(2), tuned, passed(1), 3), Health::Passed);
    }

    #[test]
    fn a_failure_in_the_grace_takes_nothing_away() {
        let passed = Some((Outcome::Passed, 1, 1));
        assert_eq!(due(stand(&check(3), Tuning::default(), passed, 4)), (16, 2, 1));
        assert_eq!(due(stand(&check(3), Tuning::default(), passed, 5)), (15, 2, 0));
    }

    #[test]
    fn only_a_run_that_ended_after_the_deadline_fails() {
        let failed = |at| Some((Outcome::Failed, 0, at));
        assert_eq!(due(stand(&check(1), Tuning::default(), failed(19), 500)), (5, 1, 0));
        let over = Health::Failed { name: "c".into(), said: "words".into() };
        assert_eq!(stand(&check(1), Tuning::default(), failed(20), 20), over);
        let late = Some((Outcome::Passed, 1, 30));
        assert_eq!(due(stand(&check(2), Tuning::default(), late, 32)), (5, 2, 0));
        let tuned = Tuning { deadline: Some(3000), ..Tuning::default() };
        assert_eq!(due(stand(&check(1), tuned, failed(20), 22)), (60, 1, 0));
    }

    #[test]
    fn the_earliest_of_several_is_waited_for_and_a_failed_one_decides() {
        let names = ["a".to_owned(), "b".to_owned()];
        let slow = Check { interval: 9, ..check(1) };
        let checks = [(&names[0], &slow), (&names[1], &slow)];
        let said = |outcome, at| Said {
            outcome,
            passes: 0,
            at: STARTED + Duration::from_secs(at),
            output: String::new(),
        };
        let both = |a, b| BTreeMap::from([("a".into(), a), ("b".into(), b)]);
        let at = |said: &BTreeMap<String, Said>, now| {
            health(checks.into_iter(), &Tuning::default(), STARTED, said, STARTED + Duration::from_secs(now))
        };
        let waiting = both(said(Outcome::Failed, 2), said(Outcome::Failed, 1));
        assert_eq!(at(&waiting, 3), Health::Early(Duration::from_secs(7)));
        let failed = both(said(Outcome::Failed, 19), said(Outcome::Failed, 21));
        assert!(matches!(at(&failed, 22), Health::Failed { name, .. } if name == "b"));
    }

    #[test]
    fn shared_is_what_both_define_alike_and_the_one_before_passed() {
        let recipe = |start: &[u8], check_text: &[u8]| Recipe {
            starter: Starter::Agent,
            units: None,
            activate: Activate::Restart,
            start: Digest::of(start),
            timeout: 1,
            checks: BTreeMap::from([(
                "c".to_owned(),
                Check { definition: Digest::of(check_text), ..check(1) },
            )]),
        };
        let before = Committed {
            serial: 1,
            setup: super::super::model::Setup {
                tree: Digest::of(b"t"),
                tuning: Tuning::default(),
                version: None,
            },
            at: tidelock_protocol::time::Timestamp::from_unix(0),
            passed: passed(&recipe(b"s", b"c")),
        };
        let names = |tried: &Recipe| shared(Some(tried), Some(&before)).into_keys().collect::<Vec<_>>();
        assert_eq!(names(&recipe(b"s", b"c")), ["c", Recipe::START]);
        assert_eq!(names(&recipe(b"other", b"c")), ["c"]);
        assert_eq!(names(&recipe(b"s", b"other")), [Recipe::START]);
        assert!(shared(None, Some(&before)).is_empty() && shared(Some(&recipe(b"s", b"c")), None).is_empty());
    }
}
