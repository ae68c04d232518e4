//! At rest: wishes of people, what somebody else did to the disk, and everything that is put off.

use super::super::tests::{NOW, app, ask, be, device, setup, tree, web};
use super::*;
use crate::decide::model::{Device, Outcome, Rechecked, Recipe, Retry, Rollback, Said, Setback, Trouble};

/// A device that runs `b`, committed after `a`.
fn updated() -> Device {
    let mut device = device(&["b", "a"]);
    let one = app(&mut device);
    one.committed.insert(0, Committed { serial: 5, setup: setup("b"), ..one.committed[0].clone() });
    (one.current, one.run) = (Some(tree("b")), Run::Started { tree: tree("b"), at: NOW.boot });
    device
}

fn wish(device: &mut Device, leave: &str) {
    let rollback = Rollback { leave: tree(leave), owner: "ann".into(), reason: "slow".into() };
    app(device).rollback = Some(rollback);
}

/// Another app is in trial.
fn with_other_trial(mut device: Device) -> Device {
    let mut other = device.apps[&web()].clone();
    let trial = Trial {
        phase: Phase::Opened,
        starts: 0,
        ..super::super::tests::trial(Some("a"), "z", Phase::Opened)
    };
    (other.trial, other.rollback, other.retry) = (Some(trial), None, None);
    device.apps.insert("db".parse().unwrap(), other);
    device
}

fn start_failed(device: &mut Device, seconds_ago: u64) {
    let at = NOW.boot - Duration::from_secs(seconds_ago);
    let said = Said { outcome: Outcome::Failed, passes: 0, at, output: "no port".into() };
    app(device).run = Run::Stopped;
    app(device).memory.said.insert(Recipe::START.into(), said);
}

#[test]
fn a_person_goes_back_to_what_was_committed_before() {
    let mut device = updated();
    wish(&mut device, "b");
    let (Step::Back { trial, .. }, Reason::GoingBack { .. }) = ask(&device, be("b")) else { panic!() };
    let cause = Cause::Operator { owner: "ann".into(), reason: "slow".into() };
    assert_eq!(trial.phase, Phase::Back { cause });
    assert_eq!((trial.from, trial.to, trial.serial, trial.retry), (Some(setup("a")), setup("b"), 6, 7));
}

#[test]
fn a_wish_to_leave_what_is_not_there_or_to_go_where_nothing_is_declined() {
    let declined =
        |device: &Device| ask(device, be("b")) == (Step::Decline { app: web() }, Reason::NothingToGoBackTo);
    let mut device = updated();
    wish(&mut device, "a");
    assert!(declined(&device), "something else is live by now");
    wish(&mut device, "b");
    app(&mut device).sealed.retain(|sealed| *sealed == tree("b"));
    assert!(declined(&device), "the files of the one before are gone");
}

#[test]
fn what_is_in_trial_without_record_is_adopted_before_a_person_leaves_it() {
    let mut device = updated();
    app(&mut device).committed.remove(0);
    wish(&mut device, "b");
    assert!(matches!(ask(&device, be("b")).0, Step::Open { .. }));
    wish(&mut device, "z");
    assert_eq!(ask(&device, be("b")).0, Step::Decline { app: web() });
}

#[test]
fn what_is_adopted_is_what_the_environment_wants_if_that_is_the_same_tree() {
    let mut device = updated();
    app(&mut device).committed.remove(0);
    let Want::Be(mut goal) = be("b") else { panic!() };
    goal.setup.tuning.deadline = Some(9);
    let wanted = goal.setup.clone();
    let adopted = |want| match ask(&device, want).0 {
        Step::Open { trial, .. } => trial.to,
        step => panic!("{step}"),
    };
    assert_eq!(adopted(Want::Be(goal)), wanted);
    let Want::Be(mut other) = be("c") else { panic!() };
    other.setup.tuning.deadline = Some(9);
    assert_eq!(adopted(Want::Be(other)), setup("b"));
}

#[test]
fn while_another_app_is_in_trial_no_trial_begins_and_wishes_that_need_none_are_heard() {
    let waits = (Step::Rest { again: None }, Reason::OtherTrial("db".parse().unwrap()));
    let of_web = |device: &Device| {
        let wanted = Want::Stay { reason: Reason::NotWanted, retry: 0 };
        let other = "db".parse().unwrap();
        let case = Case {
            name: &web(),
            app: &device.apps[&web()],
            want: &wanted,
            device,
            now: NOW,
            other: Some(&other),
        };
        decide(&case)
    };
    let mut device = with_other_trial(updated());
    wish(&mut device, "b");
    assert_eq!(of_web(&device), waits);
    wish(&mut device, "a");
    assert_eq!(of_web(&device).0, Step::Decline { app: web() });
    app(&mut device).retry = Some(Retry { owner: "ann".into() });
    assert_eq!(of_web(&device).0, Step::Forget { app: web() });
    let one = app(&mut device);
    (one.retry, one.rollback) = (None, None);
    one.committed.remove(0);
    assert_eq!(of_web(&device), waits, "and nothing is adopted");
}

#[test]
fn a_committed_release_that_does_not_start_is_started_again_after_a_minute() {
    let mut device = updated();
    start_failed(&mut device, 10);
    let again = Duration::from_secs(50);
    let down = Reason::Down { setup: setup("b"), said: "no port".into(), again };
    assert_eq!(ask(&device, be("b")), (Step::Rest { again: Some(again) }, down));
    // It is no reason to keep a newer release waiting.
    assert!(matches!(ask(&device, be("c")).0, Step::Index { .. }));
    start_failed(&mut device, 60);
    assert!(matches!(ask(&device, be("b")), (Step::Start { .. }, Reason::Restoring(_))));
}

#[test]
fn whatever_is_asked_for_again_first_ends_the_rest() {
    let mut device = updated();
    start_failed(&mut device, 10);
    for (tries, soonest) in [(1, 30), (40, 50)] {
        let (kind, message) = (TroubleKind::Network, String::new());
        app(&mut device).memory.trouble =
            Some(Trouble { tree: tree("c"), kind, message, tries, at: NOW.boot });
        let (Step::Rest { again: Some(again) }, Reason::Down { .. }) = ask(&device, be("c")) else {
            panic!()
        };
        assert!(again <= Duration::from_secs(soonest), "{again:?}");
        assert!(tries == 1 || again == Duration::from_secs(soonest), "{again:?}");
    }
}

#[test]
fn what_fails_on_and_on_is_tried_a_few_times_a_day_and_fetched_once_an_hour() {
    let mut device = updated();
    let one = app(&mut device);
    one.sealed.insert(0, tree("c"));
    one.setback = Some(Setback { setup: setup("c"), cause: Cause::Starts, tries: u32::MAX, at: NOW.wall });
    let hours = |device: &Device| match ask(device, be("c")) {
        (Step::Rest { again: Some(again) }, _) => again.as_secs_f64() / 3600.0,
        other => panic!("{other:?}"),
    };
    assert!((3.0..=6.0).contains(&hours(&device)));
    let one = app(&mut device);
    one.sealed.remove(0);
    one.setback = None;
    let (kind, message) = (TroubleKind::Content, String::new());
    one.memory.trouble = Some(Trouble { tree: tree("c"), kind, message, tries: u32::MAX, at: NOW.boot });
    assert!((0.5..=1.0).contains(&hours(&device)));
}

#[test]
fn only_the_setup_that_failed_is_put_off() {
    let mut device = updated();
    let one = app(&mut device);
    one.sealed.insert(0, tree("c"));
    one.setback = Some(Setback { setup: setup("d"), cause: Cause::Starts, tries: 1, at: NOW.wall });
    one.memory.rechecked = Some(Rechecked::right(tree("c")));
    let Step::Open { trial, .. } = ask(&device, be("c")).0 else { panic!() };
    assert_eq!((trial.earlier, trial.from), (None, Some(setup("b"))));
    let one = app(&mut device);
    one.sealed.remove(0);
    let (kind, message) = (TroubleKind::Network, String::new());
    one.memory.trouble = Some(Trouble { tree: tree("d"), kind, message, tries: 1, at: NOW.boot });
    assert!(matches!(ask(&device, be("c")).0, Step::Index { .. }));
}

#[test]
fn an_index_counts_only_for_its_own_tree_and_while_it_is_staged() {
    let mut device = updated();
    let room = Space { bytes: 1, inodes: 1 };
    let of = |device: &Device| ask(device, be("c")).0;
    let one = app(&mut device);
    one.staged = vec![tree("c")];
    one.memory.need = Some((tree("d"), room));
    one.memory.whole = Some(tree("d"));
    assert!(matches!(of(&device), Step::Index { .. }));
    app(&mut device).memory.need = Some((tree("c"), room));
    assert!(matches!(of(&device), Step::Fetch { .. }));
    app(&mut device).memory.whole = Some(tree("c"));
    assert!(matches!(of(&device), Step::Seal { .. }));
    app(&mut device).staged.clear();
    assert!(matches!(of(&device), Step::Index { .. }));
}

#[test]
fn what_ended_of_a_committed_release_is_started_again_but_not_at_once() {
    let mut device = device(&["a"]);
    let one = app(&mut device);
    one.ended = Some("web.service is failed (exit-code)".into());
    assert!(matches!(ask(&device, be("a")).0, Step::Revive { tree: of, .. } if of == tree("a")));
    app(&mut device).run = Run::Started { tree: tree("a"), at: NOW.boot - Duration::from_secs(20) };
    let (step, reason) = ask(&device, be("a"));
    assert_eq!(step, Step::Rest { again: Some(Duration::from_secs(40)) });
    assert!(matches!(&reason, Reason::Down { said, .. } if said.contains("exit-code")), "{reason:?}");
    // A trial judges what ended by its checks alone.
    app(&mut device).trial = Some(super::super::tests::trial(None, "a", Phase::Opened));
    assert!(matches!(ask(&device, be("a")).0, Step::Commit { .. }));
}
