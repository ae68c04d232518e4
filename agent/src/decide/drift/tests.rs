//! When the live tree is hashed, and what is done about what differs.

use std::collections::BTreeMap;
use std::time::Duration;

use tidelock_protocol::names::AppName;
use tidelock_protocol::time::Timestamp;

use super::super::model::*;
use super::super::next;
use super::super::tests::{NOW, app, ask, be, device, setup, tree, trial, web};

/// A device whose live tree was hashed a day and `ago` seconds ago, or less with a negative number.
fn looked_after(ago: i64) -> Device {
    let mut device = device(&["a"]);
    let one = app(&mut device);
    one.committed[0].at = Timestamp::from_unix(NOW.wall.unix() - 86_400 - ago);
    let file = File { name: "i".into(), length: 1, sha256: tree("i") };
    one.sources = BTreeMap::from([(tree("a"), Files { index: file.clone(), bundle: file })]);
    device
}

fn drift(differing: u64, healed: &[i64]) -> Drift {
    let healed = healed.iter().map(|ago| Timestamp::from_unix(NOW.wall.unix() - ago)).collect();
    let first = vec!["bin/web is missing".to_owned()];
    Drift { tree: tree("a"), at: NOW.wall, differing, first, mended: false, healed }
}

fn pass(next: Option<&str>, differing: u64) -> Pass {
    let next = next.map(str::to_owned);
    Pass { tree: tree("a"), next, at: NOW.boot - Duration::from_secs(4), differing, first: Vec::new() }
}

#[test]
fn a_live_tree_is_hashed_a_day_after_its_commit_piece_by_piece_with_pauses() {
    let early = looked_after(-1);
    assert_eq!(ask(&early, be("a")), (Step::Rest { again: None }, Reason::Synced(setup("a"))));
    let mut due = looked_after(0);
    let inspect = |from: Option<&str>| Step::Inspect {
        app: web(),
        tree: tree("a"),
        from: from.map(str::to_owned),
        bytes: 8 << 20,
    };
    assert_eq!(ask(&due, be("a")), (inspect(None), Reason::Synced(setup("a"))));
    app(&mut due).memory.pass = Some(pass(Some("m"), 0));
    assert_eq!(ask(&due, be("a")).0, Step::Rest { again: Some(Duration::from_secs(6)) });
    app(&mut due).heal = Some(Heal { owner: "ann".into() });
    assert_eq!(ask(&due, be("a")).0, inspect(Some("m")), "a person waits");
    app(&mut due).heal = None;
    app(&mut due).memory.pass.as_mut().unwrap().at = NOW.boot - Duration::from_secs(10);
    assert_eq!(ask(&due, be("a")).0, inspect(Some("m")));
    app(&mut due).memory.pass = Some(pass(None, 2));
    let (Step::Record { drift, heal: None, .. }, _) = ask(&due, be("a")) else { panic!() };
    assert_eq!((drift.tree, drift.at, drift.differing, drift.mended), (tree("a"), NOW.wall, 2, false));
}

#[test]
fn a_pass_of_another_tree_or_a_clock_that_went_back_says_nothing() {
    let mut device = looked_after(-1);
    app(&mut device).drift = Some(Drift { tree: tree("z"), ..drift(3, &[]) });
    app(&mut device).memory.pass = Some(Pass { tree: tree("z"), ..pass(None, 3) });
    assert_eq!(ask(&device, be("a")).0, Step::Rest { again: None });
    let future = |seconds| Drift { at: Timestamp::from_unix(NOW.wall.unix() + seconds), ..drift(0, &[]) };
    app(&mut device).drift = Some(future(86_399));
    assert_eq!(ask(&device, be("a")).0, Step::Rest { again: None });
    app(&mut device).drift = Some(future(86_400));
    assert!(matches!(ask(&device, be("a")).0, Step::Inspect { .. }));
}

#[test]
fn what_differs_is_mended_three_times_a_day_and_then_only_told() {
    let mut device = looked_after(0);
    app(&mut device).drift = Some(drift(2, &[60, 3_600]));
    let (Step::Heal { tree: mended, source, .. }, Reason::Healing { differing: 2 }) = ask(&device, be("a"))
    else {
        panic!()
    };
    assert_eq!((mended, source.index.name.as_str()), (tree("a"), "i"));
    app(&mut device).drift = Some(drift(2, &[60, 3_600, 86_390]));
    let (Step::Rest { again }, Reason::Drifted { left, .. }) = ask(&device, be("a")) else { panic!() };
    assert_eq!((again, left), (Some(Duration::from_secs(10)), Left::Often));
    app(&mut device).heal = Some(Heal { owner: "ann".into() });
    assert!(matches!(ask(&device, be("a")).0, Step::Heal { .. }), "a person may always");
    app(&mut device).heal = None;
    app(&mut device).drift = Some(drift(2, &[60, 3_600, 86_400]));
    assert!(matches!(ask(&device, be("a")).0, Step::Heal { .. }));
    device.care.heal = false;
    let (Step::Rest { again: None }, Reason::Drifted { left, .. }) = ask(&device, be("a")) else { panic!() };
    assert_eq!(left, Left::Unasked);
    app(&mut device).heal = Some(Heal { owner: "ann".into() });
    assert!(matches!(ask(&device, be("a")).0, Step::Heal { .. }));
    app(&mut device).sources.clear();
    assert!(matches!(ask(&device, be("a")).1, Reason::Drifted { left: Left::Sourceless, .. }));
}

#[test]
fn a_mending_counts_when_it_was_done_and_is_proven_by_a_pass() {
    let mut device = looked_after(0);
    app(&mut device).drift = Some(drift(2, &[9]));
    app(&mut device).heal = Some(Heal { owner: "ann".into() });
    app(&mut device).memory.mended = Some(tree("z"));
    assert!(matches!(ask(&device, be("a")).0, Step::Heal { .. }), "another one was mended");
    app(&mut device).memory.mended = Some(tree("a"));
    let (Step::Record { drift: found, heal: Some(_), .. }, _) = ask(&device, be("a")) else { panic!() };
    assert!(found.mended && found.differing == 2);
    assert_eq!(found.healed, [NOW.wall, Timestamp::from_unix(NOW.wall.unix() - 9)]);
    let one = app(&mut device);
    one.memory.mended = None;
    one.drift = Some(found);
    assert!(matches!(ask(&device, be("a")).0, Step::Inspect { from: None, .. }));
    app(&mut device).memory.pass = Some(pass(None, 1));
    let (Step::Record { drift: found, heal, .. }, _) = ask(&device, be("a")) else { panic!() };
    assert_eq!((found.differing, found.mended, heal), (1, false, None), "asked once is mended once");
}

#[test]
fn a_pass_keeps_the_mendings_of_a_day_and_a_wish_only_while_something_differs() {
    let mut device = looked_after(0);
    let one = app(&mut device);
    one.drift = Some(drift(2, &[60, 86_399, 86_400]));
    one.heal = Some(Heal { owner: "ann".into() });
    one.memory.pass = Some(pass(None, 1));
    let (Step::Record { drift: found, heal: Some(_), .. }, _) = ask(&device, be("a")) else { panic!() };
    assert_eq!(found.healed, drift(2, &[60, 86_399]).healed);
    app(&mut device).memory.pass = Some(pass(None, 0));
    let (Step::Record { heal, .. }, _) = ask(&device, be("a")) else { panic!() };
    assert_eq!(heal, None, "there is nothing to mend");
}

#[test]
fn a_publisher_that_cannot_be_reached_puts_the_mending_off() {
    let mut device = looked_after(0);
    app(&mut device).drift = Some(drift(2, &[]));
    let trouble = |kind| Trouble { tree: tree("a"), kind, message: "no".into(), tries: 1, at: NOW.boot };
    app(&mut device).memory.trouble = Some(trouble(TroubleKind::Unavailable));
    let (Step::Rest { again: Some(again) }, Reason::Unavailable { .. }) = ask(&device, be("a")) else {
        panic!()
    };
    assert!(again <= Duration::from_secs(30) && again >= Duration::from_secs(15));
    app(&mut device).memory.trouble = Some(trouble(TroubleKind::Network));
    assert!(matches!(ask(&device, be("a")).1, Reason::Fetch { .. }));
    app(&mut device).memory.trouble.as_mut().unwrap().at = NOW.boot - Duration::from_secs(30);
    assert!(matches!(ask(&device, be("a")).0, Step::Heal { .. }));
}

#[test]
fn nothing_is_looked_after_in_a_trial_on_the_way_to_news_or_by_who_only_watches() {
    let mut device = looked_after(0);
    app(&mut device).drift = Some(drift(2, &[]));
    assert!(matches!(ask(&device, be("b")).0, Step::Index { .. }), "news come first");
    let mut other = device.apps[&web()].clone();
    other.trial = Some(trial(Some("a"), "b", Phase::Opened));
    device.apps.insert("db".parse().unwrap(), other);
    let wanted = BTreeMap::from([(web(), be("a"))]);
    let (step, why) = next(&wanted, &device, NOW);
    assert_ne!(step.app(), Some(&web()));
    assert_eq!(why.apps[&web()], Reason::OtherTrial("db".parse().unwrap()));
    device.apps.remove(&"db".parse::<AppName>().unwrap());
    device.mode = Mode::Observe;
    assert_eq!(ask(&device, be("a")), (Step::Rest { again: None }, Reason::Synced(setup("a"))));
}

#[test]
fn drift_does_not_hide_why_the_environment_is_not_followed() {
    let mut device = looked_after(0);
    device.care.heal = false;
    app(&mut device).drift = Some(drift(2, &[]));
    let expired = || Want::Stay { reason: Reason::Expired, retry: 0 };
    assert_eq!(ask(&device, expired()), (Step::Rest { again: None }, Reason::Expired));
    let until = Until { wall: NOW.wall.after(Duration::from_secs(60)), boot: None };
    let hold = Hold { owner: "anna".into(), reason: "fair".into(), until };
    device.care.heal = true;
    let held = Want::Stay { reason: Reason::Hold(hold), retry: 0 };
    assert!(matches!(ask(&device, held), (Step::Rest { .. }, Reason::Hold(_))), "a hold keeps from mending");
    assert!(
        matches!(ask(&device, expired()), (Step::Heal { .. }, Reason::Healing { .. })),
        "healing goes on"
    );
}
