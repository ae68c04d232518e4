//! What is asked of a tree that was sealed earlier before the link moves to it, forward and back.

use std::collections::BTreeMap;
use std::time::Duration;

use tidelock_protocol::digest::Digest;

use super::super::model::*;
use super::super::tests::{NOW, app, ask, be, device, setup, tree, trial, web};

fn files() -> Files {
    let file = File { name: "i".into(), length: 1, sha256: tree("i") };
    Files { index: file.clone(), bundle: file }
}

fn recheck(name: &str, extent: Extent) -> Step {
    Step::Recheck { app: web(), tree: tree(name), extent }
}

fn wrong(name: &str) -> Option<Rechecked> {
    Some(Rechecked { tree: tree(name), differing: 2, first: vec!["bin/web is missing".into()] })
}

/// A device on `b` that goes back to `a` by a trial with this cause.
fn goes_back(cause: Cause) -> Device {
    let mut device = device(&["a", "b"]);
    let one = app(&mut device);
    one.current = Some(tree("b"));
    one.run = Run::Started { tree: tree("b"), at: Duration::from_secs(1) };
    one.trial = Some(trial(Some("a"), "b", Phase::Back { cause }));
    one.sources = BTreeMap::from([(tree("a"), files())]);
    device
}

fn operator() -> Cause {
    Cause::Operator { owner: "ann".into(), reason: "slow".into() }
}

fn has_trouble(device: &mut Device, tree: Digest) {
    let (kind, message) = (TroubleKind::Network, "no".into());
    app(device).memory.trouble = Some(Trouble { tree, kind, message, tries: 1, at: NOW.boot });
}

#[test]
fn an_older_tree_is_hashed_whole_before_its_trial_begins() {
    let mut device = device(&["a", "b"]);
    let (step, reason) = ask(&device, be("b"));
    assert_eq!((step, reason), (recheck("b", Extent::Whole), Reason::Installing(setup("b"))));
    app(&mut device).memory.rechecked = Some(Rechecked::right(tree("a")));
    assert_eq!(ask(&device, be("b")).0, recheck("b", Extent::Whole), "of another tree nothing is known");
    app(&mut device).memory.rechecked = Some(Rechecked::right(tree("b")));
    assert!(matches!(ask(&device, be("b")).0, Step::Open { .. }));
    // Other numbers move no link.
    let device = super::super::tests::device(&["a"]);
    let mut tuned = be("a");
    let Want::Be(goal) = &mut tuned else { panic!() };
    goal.setup.tuning.interval = Some(9);
    assert!(matches!(ask(&device, tuned).0, Step::Open { .. }));
}

#[test]
fn what_was_sealed_by_this_very_turn_is_not_hashed_again() {
    let mut memory = Memory::default();
    memory.after(&Step::Seal { app: web(), setup: setup("b"), source: files() });
    assert_eq!(memory.rechecked, Some(Rechecked::right(tree("b"))));
    memory.renew();
    assert_eq!(memory.rechecked, None, "since the last turn anything may have happened");
}

#[test]
fn an_older_tree_that_is_wrong_is_mended_and_not_entered_before_that() {
    let mut device = device(&["a", "b"]);
    app(&mut device).memory.rechecked = wrong("b");
    let (Step::Heal { tree: mended, others, .. }, _) = ask(&device, be("b")) else { panic!() };
    assert_eq!((mended, others), (tree("b"), vec![tree("a")]), "the goal says where it comes from");
    has_trouble(&mut device, tree("b"));
    assert!(matches!(ask(&device, be("b")), (Step::Rest { again: Some(_) }, Reason::Fetch { .. })));
    app(&mut device).memory.trouble.as_mut().unwrap().at = NOW.boot - Duration::from_secs(30);
    assert!(matches!(ask(&device, be("b")).0, Step::Heal { .. }));
    let mut want = be("b");
    let Want::Be(goal) = &mut want else { panic!() };
    goal.files = None;
    let (Step::Rest { again: None }, Reason::Unavailable { message }) = ask(&device, want.clone()) else {
        panic!()
    };
    assert!(message.contains("bin/web is missing; 2 in all"), "{message}");
    app(&mut device).sources = BTreeMap::from([(tree("b"), files())]);
    assert!(matches!(ask(&device, want).0, Step::Heal { .. }), "it says so itself");
}

#[test]
fn a_trial_that_another_process_opened_begins_with_its_tree_hashed_and_ends_where_that_is_wrong() {
    let mut device = device(&["a", "b"]);
    app(&mut device).trial = Some(trial(Some("a"), "b", Phase::Opened));
    assert_eq!(ask(&device, be("b")), (recheck("b", Extent::Whole), Reason::Trying(setup("b"))));
    app(&mut device).memory.rechecked = wrong("b");
    let (Step::Back { trial: back, .. }, _) = ask(&device, be("b")) else { panic!() };
    assert_eq!(back.phase, Phase::Back { cause: Cause::Gone });
    app(&mut device).sources = BTreeMap::from([(tree("b"), files())]);
    assert!(matches!(ask(&device, be("b")).0, Step::Heal { .. }));
    has_trouble(&mut device, tree("b"));
    assert!(matches!(ask(&device, be("b")).0, Step::Back { .. }));
    app(&mut device).memory.rechecked = Some(Rechecked::right(tree("b")));
    assert!(matches!(ask(&device, be("b")).0, Step::Stop { .. }));
    let one = app(&mut device);
    (one.current, one.run, one.memory.rechecked) = (Some(tree("b")), Run::Stopped, None);
    assert!(matches!(ask(&device, be("b")).0, Step::Count { .. }), "the link names it already");
}

#[test]
fn what_fails_waits_for_what_it_may_have_reached_and_a_person_for_everything() {
    let check = Cause::Check { name: "c".into(), said: String::new() };
    for (cause, extent) in [
        (operator(), Extent::Whole),
        (check, Extent::Shared),
        (Cause::Starts, Extent::Shared),
        (Cause::Superseded, Extent::Shared),
    ] {
        let mut device = goes_back(cause);
        assert_eq!(ask(&device, be("b")).0, recheck("a", extent));
        app(&mut device).memory.rechecked = Some(Rechecked::right(tree("a")));
        assert!(matches!(ask(&device, be("b")).0, Step::Stop { .. }));
    }
}

#[test]
fn where_the_guard_pointed_back_it_is_hashed_before_the_verdict() {
    let mut device = goes_back(Cause::Starts);
    app(&mut device).current = Some(tree("a"));
    app(&mut device).run = Run::Started { tree: tree("a"), at: Duration::from_secs(1) };
    assert_eq!(ask(&device, be("b")).0, recheck("a", Extent::Shared));
    app(&mut device).memory.rechecked = Some(Rechecked::right(tree("a")));
    assert!(matches!(ask(&device, be("b")).0, Step::Defer { .. }));
}

#[test]
fn a_way_back_that_cannot_be_mended_is_recorded_and_gone() {
    let mut device = goes_back(Cause::Starts);
    app(&mut device).memory.rechecked = wrong("a");
    let (Step::Heal { tree: mended, others, .. }, _) = ask(&device, be("b")) else { panic!() };
    assert_eq!((mended, others), (tree("a"), vec![tree("b")]));
    has_trouble(&mut device, tree("a"));
    let (Step::Record { drift, heal: None, .. }, _) = ask(&device, be("b")) else { panic!() };
    assert_eq!((drift.tree, drift.differing, drift.mended), (tree("a"), 2, false));
    app(&mut device).drift = Some(drift);
    assert!(matches!(ask(&device, be("b")).0, Step::Stop { .. }), "once");
    app(&mut device).drift.as_mut().unwrap().mended = true;
    assert!(matches!(ask(&device, be("b")).0, Step::Record { .. }), "it was mended, and is wrong again");
    let last = app(&mut device).drift.as_mut().unwrap();
    (last.mended, last.differing) = (false, 0);
    assert!(matches!(ask(&device, be("b")).0, Step::Record { .. }), "it was right, and is wrong now");
    app(&mut device).memory.trouble = None;
    app(&mut device).sources.clear();
    assert!(matches!(ask(&device, be("b")).0, Step::Record { .. }), "nothing says where it comes from");
}

#[test]
fn what_is_brought_back_after_a_while_is_hashed_before_anything_is_stopped() {
    let mut device = device(&["a", "b"]);
    let one = app(&mut device);
    (one.current, one.run) = (None, Run::Stopped);
    assert_eq!(ask(&device, be("a")).0, recheck("a", Extent::Whole));
    app(&mut device).memory.rechecked = Some(Rechecked::right(tree("a")));
    assert!(matches!(ask(&device, be("a")).0, Step::Point { .. }));
}

#[test]
fn what_was_seen_of_the_live_tree_while_it_was_taken_over_is_recorded_before_it_is_left() {
    let mut device = device(&["a"]);
    let one = app(&mut device);
    one.staged = vec![tree("b")];
    one.memory.need = Some((tree("b"), Space { bytes: 1, inodes: 1 }));
    one.memory.whole = Some(tree("b"));
    one.memory.rechecked = wrong("a");
    let (Step::Record { drift, .. }, Reason::Installing(_)) = ask(&device, be("b")) else { panic!() };
    assert_eq!((drift.tree, drift.differing), (tree("a"), 2));
    app(&mut device).drift = Some(drift);
    assert!(matches!(ask(&device, be("b")).0, Step::Seal { .. }));
}
