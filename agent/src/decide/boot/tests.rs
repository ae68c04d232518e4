//! Before the apps start: a trial has its starts counted, and goes back when it had them all.

use super::super::tests::{NOW, app, device, tree, trial, web};
use super::super::trial::STARTS;
use super::*;
use crate::decide::model::{Committed, Run, Starter, Units};

/// A device that boots with the link at `b`, in trial after `starts` starts.
fn in_trial(starts: u32) -> Device {
    let mut device = device(&["b", "a"]);
    let one = app(&mut device);
    (one.current, one.run, one.units) = (Some(tree("b")), Run::Stopped, Units::Placed);
    one.trial = Some(Trial { starts, ..trial(Some("a"), "b", Phase::Opened) });
    device
}

fn going_back(mut device: Device) -> Device {
    let trial = app(&mut device).trial.as_mut().unwrap();
    trial.phase = Phase::Back { cause: Cause::Starts };
    device
}

#[test]
fn a_start_in_trial_is_counted_before_it_is_made_and_only_once() {
    let mut device = in_trial(STARTS - 1);
    let Some(Step::Count { trial, .. }) = at_boot(&device, NOW) else { panic!() };
    assert_eq!(trial, Trial { starts: STARTS, ..app(&mut device).trial.clone().unwrap() });
    app(&mut device).memory.counted = true;
    assert_eq!(at_boot(&device, NOW), None);
}

#[test]
fn what_hooks_start_is_left_to_the_agent_that_starts_it() {
    let mut device = in_trial(STARTS);
    app(&mut device).units = Units::None;
    app(&mut device).recipes.get_mut(&tree("b")).unwrap().as_mut().unwrap().starter = Starter::Agent;
    assert_eq!(at_boot(&device, NOW), None);
}

#[test]
fn units_that_are_not_those_of_the_linked_release_are_placed_before_anything_starts() {
    let mut device = in_trial(0);
    app(&mut device).units = Units::Other;
    let place = |name: &str| Some(Step::Place { app: web(), tree: Some(tree(name)) });
    assert_eq!(at_boot(&device, NOW), place("b"));
    app(&mut device).trial.as_mut().unwrap().starts = STARTS;
    assert!(matches!(at_boot(&device, NOW), Some(Step::Back { .. })), "the way back places its own");
    let mut device = going_back(device);
    app(&mut device).current = Some(tree("a"));
    assert_eq!(at_boot(&device, NOW), place("a"));
    app(&mut device).trial = None;
    assert_eq!(at_boot(&device, NOW), place("a"));
    app(&mut device).current = None;
    assert_eq!(at_boot(&device, NOW), Some(Step::Place { app: web(), tree: None }));
}

#[test]
fn what_cannot_be_read_may_well_start_by_itself() {
    let mut device = in_trial(1);
    app(&mut device).recipes.insert(tree("b"), Err("line 1".into()));
    assert!(matches!(at_boot(&device, NOW), Some(Step::Count { .. })));
    app(&mut device).recipes.clear();
    assert!(matches!(at_boot(&device, NOW), Some(Step::Count { .. })));
}

#[test]
fn a_release_that_had_all_of_its_starts_goes_back() {
    let Some(Step::Back { trial, .. }) = at_boot(&in_trial(STARTS), NOW) else { panic!() };
    assert_eq!(trial.phase, Phase::Back { cause: Cause::Starts });
}

#[test]
fn a_way_back_leads_the_link_and_leaves_the_start_to_the_boot() {
    let mut device = going_back(in_trial(STARTS));
    assert_eq!(at_boot(&device, NOW), Some(Step::Point { app: web(), tree: tree("a") }));
    app(&mut device).current = Some(tree("a"));
    assert_eq!(at_boot(&device, NOW), None);
    // With nowhere to go, there is nothing to start.
    let mut device = going_back(in_trial(STARTS));
    app(&mut device).trial.as_mut().unwrap().from = None;
    assert_eq!(at_boot(&device, NOW), Some(Step::Unlink { app: web() }));
    app(&mut device).current = None;
    assert_eq!(at_boot(&device, NOW), None);
}

#[test]
fn a_trial_that_passed_or_that_the_link_does_not_name_yet_is_no_start_in_trial() {
    let mut device = in_trial(STARTS);
    app(&mut device).current = Some(tree("a"));
    assert_eq!(at_boot(&device, NOW), None);
    let mut device = in_trial(STARTS);
    let one = app(&mut device);
    let trial = one.trial.as_ref().unwrap();
    let passed = Committed { serial: trial.serial, setup: trial.to.clone(), at: NOW.wall, passed: [].into() };
    one.committed.insert(0, passed);
    assert_eq!(at_boot(&device, NOW), None);
}

#[test]
fn a_link_to_what_was_never_committed_is_in_trial_though_its_record_is_lost() {
    let mut device = in_trial(1);
    app(&mut device).trial = None;
    let Some(Step::Open { trial, .. }) = at_boot(&device, NOW) else { panic!() };
    assert_eq!((trial.to.tree, trial.from.map(|from| from.tree)), (tree("b"), Some(tree("a"))));
    app(&mut device).current = Some(tree("a"));
    assert_eq!(at_boot(&device, NOW), None);
}
