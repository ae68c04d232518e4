//! What is remembered of a step, what of it is written, and the words for it.

use std::collections::BTreeMap;
use std::time::Duration;

use tidelock_protocol::time::Now;

use super::super::tests::{NOW, app, device, setup, tree, trial, web};
use super::*;

fn memory() -> Memory {
    let said = Said { outcome: Outcome::Passed, passes: 1, at: NOW.boot, output: String::new() };
    let (kind, message) = (TroubleKind::Network, "no route".into());
    Memory {
        need: Some((tree("b"), Space { bytes: 1, inodes: 1 })),
        whole: Some(tree("b")),
        trouble: Some(Trouble { tree: tree("b"), kind, message, tries: 2, at: NOW.boot }),
        pass: Some(Pass { tree: tree("a"), next: None, at: NOW.boot, differing: 0, first: Vec::new() }),
        rechecked: Some(Rechecked::right(tree("a"))),
        mended: Some(tree("a")),
        counted: true,
        said: BTreeMap::from([("c".into(), said)]),
    }
}

fn open() -> Step {
    Step::Open { app: web(), trial: trial(Some("a"), "b", Phase::Opened) }
}

fn setback() -> Setback {
    Setback { setup: setup("b"), cause: Cause::Starts, tries: 3, at: NOW.wall }
}

#[test]
fn whoever_takes_the_lock_anew_knows_only_that_a_fetch_failed_and_how_far_a_pass_came() {
    let mut renewed = memory();
    renewed.renew();
    let kept = Memory { trouble: memory().trouble, pass: memory().pass, ..Memory::default() };
    assert_eq!(renewed, kept);
}

#[test]
fn what_checks_said_is_forgotten_when_something_is_started_or_stopped_or_judged_afresh() {
    let timeout = Duration::from_secs(1);
    let back = Step::Back { app: web(), trial: trial(Some("a"), "b", Phase::Opened) };
    let start = Step::Start { app: web(), tree: tree("b"), timeout };
    let stop = Step::Stop { app: web(), tree: tree("b"), timeout };
    for step in [open(), back, start, stop] {
        let mut before = memory();
        before.before(&step);
        assert!(before.said.is_empty() && !before.counted, "{step}");
    }
    let mut before = memory();
    before.before(&Step::Point { app: web(), tree: tree("b") });
    assert_eq!(before, Memory { counted: false, ..memory() });
}

#[test]
fn a_start_is_counted_for_the_very_next_step() {
    let mut after = Memory::default();
    after.after(&Step::Count { app: web(), trial: trial(Some("a"), "b", Phase::Opened) });
    assert_eq!(after, Memory { counted: true, ..Memory::default() });
}

#[test]
fn with_the_staged_tree_goes_what_was_known_of_it() {
    let file = File { name: "i".into(), length: 1, sha256: tree("i") };
    let source = Files { index: file.clone(), bundle: file };
    let seal = Step::Seal { app: web(), setup: setup("b"), source };
    for step in [seal, Step::Discard { app: web(), tree: tree("b") }] {
        let mut after = memory();
        after.after(&step);
        assert_eq!((after.need, after.whole, after.trouble), (None, None, None), "{step}");
    }
    let mut after = memory();
    after.after(&open());
    assert_eq!(after, memory());
}

fn drift() -> Drift {
    Drift {
        tree: tree("a"),
        at: NOW.wall,
        differing: 1,
        first: Vec::new(),
        mended: false,
        healed: Vec::new(),
    }
}

#[test]
fn with_its_record_a_pass_has_ended() {
    let mut after = memory();
    after.after(&Step::Record { app: web(), drift: drift(), heal: None });
    assert_eq!(after, Memory { pass: None, mended: None, ..memory() });
}

#[test]
fn what_closes_a_trial_or_ends_a_wish_is_written_last() {
    let (refusals, committed) = (Vec::new(), device(&["a"]).apps[&web()].committed.clone());
    let of = |step: Step| step.records();
    let opened = trial(Some("a"), "b", Phase::Opened);
    assert_eq!(of(open()), [Record::Trial(Some(opened))]);
    let commit = of(Step::Commit { app: web(), committed: committed.clone() });
    assert_eq!(commit, [Record::Committed(committed.clone()), Record::Setback(None), Record::Trial(None)]);
    let refuse = of(Step::Refuse { app: web(), refusals: refusals.clone(), committed: committed.clone() });
    let before = [Record::Refusals(refusals), Record::Committed(committed), Record::Setback(None)];
    assert_eq!(refuse[..3], before);
    assert_eq!(refuse[3..], [Record::Rollback(None), Record::Trial(None)]);
    let defer = of(Step::Defer { app: web(), setback: setback() });
    assert_eq!(defer, [Record::Setback(Some(setback())), Record::Trial(None)]);
    assert_eq!(of(Step::Close { app: web() }), [Record::Trial(None)]);
    assert_eq!(of(Step::Decline { app: web() }), [Record::Rollback(None)]);
    assert_eq!(of(Step::Unhold { app: web() }), [Record::Hold(None)]);
    assert_eq!(of(Step::Unpin { app: web() }), [Record::Pin(None)]);
    let forget = of(Step::Forget { app: web() });
    assert_eq!(forget, [Record::Refusals(Vec::new()), Record::Setback(None), Record::Retry(None)]);
    let record = of(Step::Record { app: web(), drift: drift(), heal: None });
    assert_eq!(record, [Record::Drift(Some(drift())), Record::Heal(None)]);
    let orphan = Some(Orphan { since: NOW.wall, trusted: true });
    assert_eq!(of(Step::Orphan { app: web(), orphan }), [Record::Orphan(orphan)]);
    let erase = of(Step::Erase { app: web(), orphan: None });
    assert_eq!(erase.last(), Some(&Record::Orphan(None)));
    let refusals = |record: &Record| matches!(record, Record::Refusals(_));
    assert!(!erase.iter().any(refusals), "a refusal outlives what it was about");
    assert_eq!(of(Step::Rest { again: None }), []);
}

#[test]
fn failures_are_trials_without_verdict_and_fetches() {
    let mut device = device(&["a"]);
    assert_eq!(app(&mut device).failures(), 0);
    app(&mut device).memory = memory();
    assert_eq!(app(&mut device).failures(), 2);
    app(&mut device).setback = Some(setback());
    assert_eq!(app(&mut device).failures(), 5);
}

#[test]
fn a_reason_is_told_as_its_code_and_a_sentence_one_line_for_each_app() {
    let refusal = |ground| Refusal { setup: setup("b"), retry: 0, at: NOW.wall, ground };
    let check = |said: &str| Cause::Check { name: "http".into(), said: said.into() };
    let told = |ground| {
        let refused = Reason::Refused(refusal(ground));
        let apps = BTreeMap::from([(web(), refused), ("db".parse().unwrap(), Reason::Queued)]);
        Why { apps }.to_string()
    };
    let b = tree("b").short();
    let refused = |why: &str| {
        format!(
            "db: queued: another app comes first\nweb: refused: tree {b} is refused since {}: {why}",
            NOW.wall
        )
    };
    assert_eq!(told(Ground::Trial(check(""))), refused("check http failed"));
    assert_eq!(told(Ground::Trial(check("no route"))), refused("check http failed: no route"));
    assert_eq!(told(Ground::Recipe("line 1".into())), refused("its release.toml cannot be used: line 1"));
    assert_eq!(Step::Close { app: web() }.to_string(), "web: close the trial");
    let discard = Step::Discard { app: web(), tree: tree("b") };
    assert_eq!(discard.to_string(), format!("web: remove the unfinished tree {b}"));
}

#[test]
fn a_time_that_a_person_sets_runs_by_the_boot_clock_and_after_the_next_boot_by_civil_time() {
    let minute = Duration::from_secs(60);
    let until = Until::after(NOW, minute);
    let clock_set = Now { wall: NOW.wall.after(minute * 60), ..NOW };
    assert_eq!((until.left(NOW), until.left(clock_set)), (minute, minute));
    let rebooted = Until { boot: None, ..until };
    assert_eq!((rebooted.left(NOW), rebooted.left(clock_set)), (minute, Duration::ZERO));
    for until in [until, rebooted] {
        let at = |passed| Now { wall: NOW.wall.after(passed), boot: NOW.boot + passed, ..NOW };
        assert!(!until.is_over(at(minute - Duration::from_secs(1))) && until.is_over(at(minute)));
    }
}

#[test]
fn the_end_of_a_hold_or_a_pin_is_told_with_it() {
    let until = Until::after(NOW, Duration::from_secs(60));
    let (owner, reason) = ("ann".to_owned(), "fair".to_owned());
    let hold = Hold { owner: owner.clone(), reason: reason.clone(), until };
    let pin = Pin { setup: setup("a"), owner, reason, until };
    assert_eq!(Reason::Hold(hold).until(), Some(until));
    assert_eq!(Reason::Pin(pin).until(), Some(until));
    assert_eq!(Reason::Queued.until(), None);
}

#[test]
fn each_file_and_each_record_of_an_app_says_that_it_is_here() {
    let is_here = |change: fn(&mut App)| {
        let mut one = App::default();
        change(&mut one);
        one.is_here()
    };
    assert!(!is_here(|_| {}));
    assert!(is_here(|one| one.current = Some(tree("a"))));
    assert!(is_here(|one| one.sealed = vec![tree("a")]));
    assert!(is_here(|one| one.staged = vec![tree("a")]));
    assert!(is_here(|one| one.trial = Some(trial(None, "a", Phase::Opened))));
    assert!(is_here(|one| one.committed = device(&["a"]).apps[&web()].committed.clone()));
    assert!(is_here(|one| one.orphan = Some(Orphan { since: NOW.wall, trusted: true })));
}

#[test]
fn an_app_is_unwell_that_runs_in_part_or_fails_with_its_settings() {
    let tried = |outcome| {
        let said = Said { outcome, passes: 0, at: NOW.boot, output: String::new() };
        let tried = Some(Tried { settings: "s".into(), verdict: Some(said) });
        App { settings: Settings { tried, ..Settings::default() }, ..App::default() }
    };
    assert!(!App::default().is_unwell() && !tried(Outcome::Passed).is_unwell());
    assert!(tried(Outcome::Failed).is_unwell());
    assert!(App { ended: Some("web.service".into()), ..App::default() }.is_unwell());
}

#[test]
fn a_reason_names_the_release_that_it_is_about() {
    let refusal = Refusal { setup: setup("b"), retry: 0, at: NOW.wall, ground: Ground::Trial(Cause::Starts) };
    assert_eq!(Reason::Refused(refusal).setup(), Some(&setup("b")));
    assert_eq!(Reason::Trying(setup("b")).setup(), Some(&setup("b")));
    assert_eq!(Reason::Queued.setup(), None);
}
