//! A trial from its record to its verdict: what breaks it off, what is counted, how long hooks may take.

use super::super::tests::{NOW, app, ask, be, device, setup, tree, web};
use super::*;
use crate::decide::model::{Check, Device, Outcome, Rechecked, Rollback, Said};

/// A device that tries `b`, which the link names and which runs, from `a`; `b` is checked by `c`.
fn trying() -> Device {
    let mut device = device(&["b", "a"]);
    let one = app(&mut device);
    (one.current, one.run) = (Some(tree("b")), Run::Started { tree: tree("b"), at: NOW.boot });
    one.trial = Some(super::super::tests::trial(Some("a"), "b", Phase::Opened));
    one.memory.rechecked = Some(Rechecked::right(tree("b")));
    let check = Check { definition: tree("c"), grace: 0, interval: 1, deadline: 10, successes: 1 };
    recipe_of(&mut device).checks.insert("c".into(), check);
    device
}

fn recipe_of(device: &mut Device) -> &mut Recipe {
    app(device).recipes.get_mut(&tree("b")).unwrap().as_mut().unwrap()
}

fn says(device: &mut Device, name: &str, outcome: Outcome) {
    let said = Said { outcome, passes: 1, at: NOW.boot, output: "no port".into() };
    app(device).memory.said.insert(name.into(), said);
}

/// Why it goes back; none: it does not.
fn cause(device: &Device, want: Want) -> Option<Cause> {
    match ask(device, want).0 {
        Step::Back { trial: Trial { phase: Phase::Back { cause }, .. }, .. } => Some(cause),
        _ => None,
    }
}

fn start_failed(said: &str) -> Option<Cause> {
    Some(Cause::Check { name: Recipe::START.into(), said: said.into() })
}

#[test]
fn what_passed_is_committed_before_what_it_came_from() {
    let mut device = trying();
    assert!(matches!(ask(&device, be("b")).0, Step::Probe { .. }));
    says(&mut device, "c", Outcome::Passed);
    let Step::Commit { committed, .. } = ask(&device, be("b")).0 else { panic!() };
    let passed = checks::passed(recipe_of(&mut device));
    let newest = Committed { serial: 5, setup: setup("b"), at: NOW.wall, passed };
    assert_eq!(committed, [newest.clone(), app(&mut device).committed[0].clone()]);
    // The cut came between the record of the one and the end of the other.
    app(&mut device).committed = committed;
    assert_eq!(ask(&device, be("b")).0, Step::Close { app: web() });
    app(&mut device).committed[0].serial = 4;
    assert!(matches!(ask(&device, be("b")).0, Step::Commit { .. }), "that was another trial");
}

#[test]
fn only_another_wish_supersedes() {
    let device = trying();
    assert_eq!(cause(&device, be("c")), Some(Cause::Superseded));
    assert_eq!(cause(&device, be("b")), None);
    assert_eq!(cause(&device, Want::Stay { reason: Reason::NotWanted, retry: 0 }), None);
    let Want::Be(mut tuned) = be("b") else { panic!() };
    tuned.setup.tuning.deadline = Some(9);
    assert_eq!(cause(&device, Want::Be(tuned)), Some(Cause::Superseded));
}

#[test]
fn a_person_breaks_off_the_trial_of_what_they_leave_and_no_other() {
    let mut device = trying();
    let rollback = |leave| Some(Rollback { leave: tree(leave), owner: "ann".into(), reason: "slow".into() });
    app(&mut device).rollback = rollback("a");
    assert_eq!(cause(&device, be("b")), None);
    app(&mut device).rollback = rollback("b");
    let asked = Cause::Operator { owner: "ann".into(), reason: "slow".into() };
    assert_eq!(cause(&device, be("b")), Some(asked.clone()));
    // And is heard when it goes back for another cause already.
    let trial = app(&mut device).trial.as_mut().unwrap();
    trial.phase = Phase::Back { cause: Cause::Superseded };
    assert!(matches!(ask(&device, be("b")).1, Reason::GoingBack { cause, .. } if cause == asked));
}

#[test]
fn a_release_that_cannot_be_read_or_does_not_start_goes_back() {
    let mut device = trying();
    app(&mut device).recipes.insert(tree("b"), Err("line 1".into()));
    assert_eq!(cause(&device, be("b")), start_failed("line 1"));
    app(&mut device).recipes.remove(&tree("b"));
    assert_eq!(cause(&device, be("b")), start_failed("no release.toml"));
    let mut device = trying();
    app(&mut device).run = Run::Stopped;
    says(&mut device, Recipe::START, Outcome::Failed);
    assert_eq!(cause(&device, be("b")), start_failed("no port"));
}

#[test]
fn a_start_is_counted_and_then_made_until_all_were_used() {
    let mut device = trying();
    app(&mut device).run = Run::Stopped;
    let Step::Count { trial, .. } = ask(&device, be("b")).0 else { panic!() };
    assert_eq!(trial.starts, 2);
    app(&mut device).trial = Some(Trial { starts: STARTS, ..trial });
    assert_eq!(cause(&device, be("b")), Some(Cause::Starts));
    app(&mut device).memory.counted = true;
    assert!(matches!(ask(&device, be("b")).0, Step::Start { tree: started, .. } if started == tree("b")));
}

#[test]
fn a_start_that_goes_on_is_waited_for_and_not_counted_again() {
    let mut device = trying();
    app(&mut device).run = Run::Starting { tree: tree("b") };
    let awaited = Step::Await { app: web(), tree: tree("b"), timeout: Duration::from_secs(30) };
    assert_eq!(ask(&device, be("b")).0, awaited);
    app(&mut device).trial.as_mut().unwrap().starts = STARTS;
    assert_eq!(ask(&device, be("b")).0, awaited, "the last one as well");
    // One that leads elsewhere is stopped.
    app(&mut device).current = Some(tree("a"));
    assert!(matches!(ask(&device, be("b")).0, Step::Stop { tree: stopped, .. } if stopped == tree("b")));
    app(&mut device).run = Run::Starting { tree: tree("a") };
    assert!(matches!(ask(&device, be("b")).0, Step::Stop { tree: stopped, .. } if stopped == tree("a")));
}

#[test]
fn what_runs_elsewhere_is_stopped_and_then_the_link_is_led() {
    let mut device = trying();
    let one = app(&mut device);
    (one.current, one.run) = (Some(tree("a")), Run::Started { tree: tree("a"), at: NOW.boot });
    assert!(matches!(ask(&device, be("b")).0, Step::Stop { tree: stopped, .. } if stopped == tree("a")));
    // It runs as it should, but the link names another: it does not come back after a boot.
    app(&mut device).run = Run::Started { tree: tree("b"), at: NOW.boot };
    assert!(matches!(ask(&device, be("b")).0, Step::Stop { tree: stopped, .. } if stopped == tree("b")));
    app(&mut device).run = Run::Stopped;
    assert_eq!(ask(&device, be("b")).0, Step::Point { app: web(), tree: tree("b") });
    // What is gone has no hook to stop it with, and has its units.
    app(&mut device).run = Run::Started { tree: tree("z"), at: NOW.boot };
    assert!(matches!(ask(&device, be("b")).0, Step::Stop { tree: stopped, .. } if stopped == tree("z")));
}

#[test]
fn hooks_have_the_time_that_the_environment_sets_or_the_release_or_a_minute() {
    let mut device = trying();
    app(&mut device).run = Run::Unclear;
    let timeout = |device: &Device| match ask(device, be("b")).0 {
        Step::Stop { timeout, .. } => timeout.as_secs(),
        step => panic!("{step}"),
    };
    assert_eq!(timeout(&device), 30);
    recipe_of(&mut device).timeout = 31;
    assert_eq!(timeout(&device), 31);
    let mut other = trying();
    let one = app(&mut other);
    (one.current, one.run) = (Some(tree("a")), Run::Unclear);
    one.recipes.remove(&tree("a"));
    assert_eq!(timeout(&other), 60);
    app(&mut other).trial.as_mut().unwrap().from.as_mut().unwrap().tuning.timeout = Some(9);
    assert_eq!(timeout(&other), 9);
}

/// A device that tries `b` from `a`, which runs, both with the same units; `b` is to be reloaded into.
fn reloading() -> Device {
    let mut device = trying();
    let one = app(&mut device);
    (one.current, one.run) = (Some(tree("a")), Run::Started { tree: tree("a"), at: NOW.boot });
    one.recipes.values_mut().for_each(|recipe| recipe.as_mut().unwrap().units = Some(tree("units")));
    recipe_of(&mut device).activate = Activate::Reload;
    device
}

#[test]
fn a_reload_points_and_counts_and_stops_nothing() {
    let mut device = reloading();
    assert_eq!(ask(&device, be("b")).0, Step::Point { app: web(), tree: tree("b") });
    app(&mut device).current = Some(tree("b"));
    assert!(matches!(ask(&device, be("b")).0, Step::Count { .. }));
    app(&mut device).memory.counted = true;
    assert!(matches!(ask(&device, be("b")).0, Step::Reload { tree: to, .. } if to == tree("b")));
    // Nobody knows what became of a reload that was cut short.
    app(&mut device).run = Run::Unclear;
    assert!(matches!(ask(&device, be("b")).0, Step::Stop { .. }));
}

#[test]
fn other_units_a_stopped_app_and_every_way_back_are_restarts() {
    let mut device = reloading();
    recipe_of(&mut device).units = Some(tree("others"));
    assert!(matches!(ask(&device, be("b")).0, Step::Stop { .. }));
    let mut device = reloading();
    app(&mut device).run = Run::Stopped;
    app(&mut device).current = Some(tree("b"));
    app(&mut device).memory.counted = true;
    assert!(matches!(ask(&device, be("b")).0, Step::Start { .. }));
    let mut device = reloading();
    let one = app(&mut device);
    (one.current, one.run) = (Some(tree("b")), Run::Started { tree: tree("b"), at: NOW.boot });
    one.recipes.get_mut(&tree("a")).unwrap().as_mut().unwrap().activate = Activate::Reload;
    one.trial.as_mut().unwrap().phase = Phase::Back { cause: Cause::Superseded };
    one.memory.rechecked = Some(Rechecked::right(tree("a")));
    assert!(matches!(ask(&device, be("a")).0, Step::Stop { .. }));
}

#[test]
fn units_follow_the_link_and_precede_the_start() {
    let mut device = trying();
    let one = app(&mut device);
    (one.run, one.units, one.memory.counted) = (Run::Stopped, Units::Other, true);
    assert_eq!(ask(&device, be("b")).0, Step::Place { app: web(), tree: Some(tree("b")) });
    app(&mut device).units = Units::Placed;
    assert!(matches!(ask(&device, be("b")).0, Step::Start { .. }));
    // What somebody changed while it ran is put right, and it runs on.
    let one = app(&mut device);
    (one.run, one.units) = (Run::Started { tree: tree("b"), at: NOW.boot }, Units::Other);
    assert_eq!(ask(&device, be("b")).0, Step::Place { app: web(), tree: Some(tree("b")) });
}
