//! The table of verdicts: whose fault it was, and what is remembered of it.

use std::time::Duration;

use tidelock_protocol::digest::Digest;

use super::super::tests::{NOW, app, ask, be, device, recipe, setup, tree, trial, web};
use super::*;
use crate::decide::model::{Check, Device, Outcome, Phase, Rechecked, Run, Said};

/// A device that is back at `a` because `cause` befell `b`; both are checked by `c`, in the same words.
fn back(cause: Cause) -> Device {
    let mut device = device(&["b", "a"]);
    let check = Check { definition: tree("c"), grace: 0, interval: 1, deadline: 10, successes: 1 };
    let mut both = recipe().unwrap();
    both.checks.insert("c".into(), check);
    let one = app(&mut device);
    one.committed[0].passed = checks::passed(&both);
    one.recipes = [("a", both.clone()), ("b", both)].map(|(name, both)| (tree(name), Ok(both))).into();
    one.run = Run::Started { tree: tree("a"), at: NOW.boot - Duration::from_secs(60) };
    one.trial = Some(trial(Some("a"), "b", Phase::Back { cause }));
    one.memory.rechecked = Some(Rechecked::right(tree("a")));
    device
}

fn failed_check() -> Cause {
    Cause::Check { name: "c".into(), said: "no answer".into() }
}

/// What the check or the start of `a` says.
fn says(device: &mut Device, name: &str, outcome: Outcome) {
    let passes = u32::from(outcome == Outcome::Passed);
    let said = Said { outcome, passes, at: NOW.boot, output: String::new() };
    app(device).memory.said.insert(name.into(), said);
}

fn recipe_of<'a>(device: &'a mut Device, name: &str) -> &'a mut Recipe {
    app(device).recipes.get_mut(&tree(name)).unwrap().as_mut().unwrap()
}

/// How the trial ends: refused for good, put off for this many tries, or neither yet.
#[derive(Debug, PartialEq)]
enum End {
    Refused,
    Deferred(u32),
    Open(Box<Step>),
}

fn end(device: &Device) -> End {
    match ask(device, be("b")).0 {
        Step::Refuse { refusals, .. } => {
            assert!(refusals[0].setup.is(&setup("b")) && refusals[0].retry == 7);
            End::Refused
        }
        Step::Defer { setback, .. } => {
            assert_eq!((setback.setup, setback.at), (setup("b"), NOW.wall));
            End::Deferred(setback.tries)
        }
        step => End::Open(step.into()),
    }
}

#[test]
fn a_check_that_now_fails_before_as_well_blames_the_world() {
    let mut device = back(failed_check());
    let Step::Probe { tree: asked, check, .. } = ask(&device, be("b")).0 else { panic!() };
    assert_eq!((asked, check.as_str()), (tree("a"), "c"));
    says(&mut device, "c", Outcome::Failed);
    assert_eq!(end(&device), End::Deferred(1));
    says(&mut device, "c", Outcome::Passed);
    assert_eq!(end(&device), End::Refused);
}

#[test]
fn nothing_excuses_a_release_that_asks_another_question_than_the_one_before() {
    let mut device = back(failed_check());
    says(&mut device, "c", Outcome::Failed);
    recipe_of(&mut device, "b").checks.get_mut("c").unwrap().definition = Digest::of(b"stricter");
    assert_eq!(end(&device), End::Refused);
    // The one before asks another than it asked when it was committed.
    let mut device = back(failed_check());
    recipe_of(&mut device, "a").checks.get_mut("c").unwrap().definition = Digest::of(b"stricter");
    assert_eq!(end(&device), End::Refused);
}

#[test]
fn a_start_that_now_fails_before_as_well_blames_the_world_where_both_start_alike() {
    let mut device = back(failed_check());
    app(&mut device).run = Run::Stopped;
    assert!(matches!(ask(&device, be("b")).0, Step::Start { .. }));
    says(&mut device, Recipe::START, Outcome::Failed);
    assert_eq!(end(&device), End::Deferred(1));
    recipe_of(&mut device, "b").start = Digest::of(b"another");
    assert_eq!(end(&device), End::Refused);
}

#[test]
fn only_a_check_can_be_blamed_on_the_world() {
    let mut device = back(Cause::Operator { owner: "ann".into(), reason: "slow".into() });
    says(&mut device, "c", Outcome::Failed);
    assert_eq!(end(&device), End::Refused);
    for cause in [Cause::Superseded, Cause::Gone] {
        let mut device = back(cause);
        says(&mut device, "c", Outcome::Failed);
        assert_eq!(end(&device), End::Open(Step::Close { app: web() }.into()));
    }
}

#[test]
fn lost_power_explains_one_series_of_starts_and_not_two_in_a_row() {
    let mut device = back(Cause::Starts);
    assert_eq!(end(&device), End::Deferred(1));
    let earlier = |cause| Some(Setback { setup: setup("b"), cause, tries: 3, at: NOW.wall });
    app(&mut device).trial.as_mut().unwrap().earlier = earlier(failed_check());
    assert_eq!(end(&device), End::Deferred(4));
    app(&mut device).trial.as_mut().unwrap().earlier = earlier(Cause::Starts);
    assert_eq!(end(&device), End::Refused);
}

#[test]
fn a_first_install_is_tried_again_whatever_befell_it() {
    for cause in [failed_check(), Cause::Starts] {
        let mut device = back(cause.clone());
        let one = app(&mut device);
        (one.current, one.run, one.committed) = (None, Run::Stopped, Vec::new());
        let trial = one.trial.as_mut().unwrap();
        trial.from = None;
        trial.earlier = Some(Setback { setup: setup("b"), cause, tries: u32::MAX, at: NOW.wall });
        assert_eq!(end(&device), End::Deferred(u32::MAX));
    }
}

#[test]
fn a_refused_setup_is_refused_once_and_is_committed_no_longer() {
    let mut device = back(Cause::Starts);
    let one = app(&mut device);
    let refusal = |name| Refusal {
        setup: setup(name),
        retry: 1,
        at: NOW.wall,
        ground: Ground::Recipe("line 1".into()),
    };
    one.refusals = vec![refusal("z"), refusal("b")];
    let was = one.committed[0].clone();
    one.committed.push(super::super::model::Committed { serial: 1, setup: setup("b"), ..was.clone() });
    let trial = one.trial.as_mut().unwrap();
    trial.earlier = Some(Setback { setup: setup("b"), cause: Cause::Starts, tries: 1, at: NOW.wall });
    let Step::Refuse { refusals, committed, .. } = ask(&device, be("b")).0 else { panic!() };
    let setups: Vec<&Setup> = refusals.iter().map(|refusal| &refusal.setup).collect();
    assert_eq!(setups, [&setup("b"), &setup("z")]);
    assert_eq!(committed, [was]);
}
