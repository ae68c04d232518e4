//! What the walk over all states does not reach: damage by others, full lists, several reasons at once.

use std::collections::BTreeMap;
use std::time::Duration;

use tidelock_protocol::desired::Tuning;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;
use tidelock_protocol::recipe::Activate;
use tidelock_protocol::time::{Now, Timestamp};

use super::model::*;
use super::next;

pub(super) const NOW: Now =
    Now { wall: Timestamp::from_unix(1_000_000), boot: Duration::from_secs(5_000), trusted: true };

pub(super) fn tree(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

pub(super) fn setup(name: &str) -> Setup {
    Setup { tree: tree(name), tuning: Tuning::default(), version: None }
}

pub(super) fn web() -> AppName {
    "web".parse().unwrap()
}

pub(super) fn recipe() -> Result<Recipe, String> {
    Ok(Recipe {
        starter: Starter::Manager,
        start: tree("start"),
        timeout: 30,
        units: None,
        activate: Activate::Restart,
        checks: BTreeMap::new(),
    })
}

/// A device whose app runs `a`, which was committed, with `sealed` trees.
pub(super) fn device(sealed: &[&str]) -> Device {
    let committed = Committed { serial: 4, setup: setup("a"), at: NOW.wall, passed: BTreeMap::new() };
    let app = App {
        current: Some(tree("a")),
        sealed: sealed.iter().map(|name| tree(name)).collect(),
        recipes: sealed.iter().map(|name| (tree(name), recipe())).collect(),
        committed: vec![committed],
        run: Run::Started { tree: tree("a"), at: Duration::from_secs(1) },
        settings: Settings { started: Some(String::new()), ..Settings::default() },
        ..App::default()
    };
    let free = Space { bytes: 100, inodes: 100 };
    let care = Care { every: Duration::from_secs(86_400), heal: true };
    Device {
        mode: Mode::Apply,
        free,
        keep: 0,
        care,
        process: Process::Command,
        seed: 0,
        hold: None,
        apps: BTreeMap::from([(web(), app)]),
    }
}

pub(super) fn be(name: &str) -> Want {
    let file = File { name: name.into(), length: 1, sha256: tree(name) };
    let files = Some(Files { index: file.clone(), bundle: file });
    Want::Be(Goal { setup: setup(name), files, retry: 7 })
}

pub(super) fn ask(device: &Device, want: Want) -> (Step, Reason) {
    let (step, mut why) = next(&BTreeMap::from([(web(), want)]), device, NOW);
    (step, why.apps.remove(&web()).unwrap())
}

pub(super) fn app(device: &mut Device) -> &mut App {
    device.apps.get_mut(&web()).unwrap()
}

pub(super) fn trial(from: Option<&str>, to: &str, phase: Phase) -> Trial {
    let (from, to) = (from.map(setup), setup(to));
    Trial { serial: 5, from, to, phase, starts: 1, retry: 7, earlier: None }
}

#[test]
fn at_most_32_refusals_are_kept_and_the_oldest_goes() {
    let mut device = device(&["a", "b"]);
    app(&mut device).recipes.insert(tree("b"), Err("line 1".into()));
    let old = |number: u32| Refusal {
        setup: setup(&number.to_string()),
        retry: 0,
        at: NOW.wall,
        ground: Ground::Trial(Cause::Starts),
    };
    app(&mut device).refusals = (0..32).map(old).collect();
    let (Step::Refuse { refusals, committed, .. }, _) = ask(&device, be("b")) else { panic!() };
    assert_eq!(refusals.len(), super::REFUSALS);
    assert_eq!((refusals[0].setup.clone(), refusals[0].retry), (setup("b"), 7));
    assert_eq!(refusals[31], old(30));
    assert_eq!(committed.len(), 1);
}

#[test]
fn a_trial_whose_tree_is_gone_goes_back_and_ends_without_verdict() {
    let mut device = device(&["a"]);
    app(&mut device).trial = Some(trial(Some("a"), "b", Phase::Opened));
    let (Step::Back { trial: back, .. }, _) = ask(&device, be("b")) else { panic!() };
    assert_eq!(back.phase, Phase::Back { cause: Cause::Gone });
    app(&mut device).trial = Some(back);
    app(&mut device).memory.rechecked = Some(Rechecked::right(tree("a")));
    assert_eq!(ask(&device, be("b")).0, Step::Close { app: web() });
}

#[test]
fn where_the_previous_tree_is_gone_the_way_back_ends_stopped_and_unlinked() {
    let mut device = device(&["b"]);
    let cause = Cause::Check { name: "c".into(), said: String::new() };
    let one = app(&mut device);
    one.current = Some(tree("b"));
    one.run = Run::Started { tree: tree("b"), at: Duration::from_secs(1) };
    one.trial = Some(trial(Some("a"), "b", Phase::Back { cause }));
    assert!(matches!(ask(&device, be("b")).0, Step::Stop { .. }));
    app(&mut device).run = Run::Stopped;
    assert_eq!(ask(&device, be("b")).0, Step::Unlink { app: web() });
    app(&mut device).current = None;
    assert!(matches!(ask(&device, be("b")).0, Step::Defer { setback: Setback { tries: 1, .. }, .. }));
}

#[test]
fn a_committed_tree_that_is_gone_is_fetched_again_and_then_started_without_a_trial() {
    let mut device = device(&[]);
    assert!(matches!(ask(&device, be("a")), (Step::Index { .. }, Reason::Installing(_))));
    let one = app(&mut device);
    one.sealed = vec![tree("a")];
    one.recipes.insert(tree("a"), recipe());
    one.run = Run::Stopped;
    assert!(matches!(ask(&device, be("a")), (Step::Start { .. }, Reason::Restoring(_))));
}

#[test]
fn a_link_that_somebody_removed_is_made_again() {
    let mut device = device(&["a"]);
    app(&mut device).current = None;
    app(&mut device).memory.rechecked = Some(Rechecked::right(tree("a")));
    assert!(matches!(ask(&device, be("a")).0, Step::Stop { .. }), "what runs is stopped first");
    app(&mut device).run = Run::Stopped;
    assert_eq!(ask(&device, be("a")).0, Step::Point { app: web(), tree: tree("a") });
}

#[test]
fn a_hook_that_did_not_return_is_stopped_and_begun_again() {
    let mut device = device(&["a"]);
    app(&mut device).run = Run::Unclear;
    let timeout = Duration::from_secs(30);
    assert_eq!(ask(&device, be("a")).0, Step::Stop { app: web(), tree: tree("a"), timeout });
}

#[test]
fn tuning_sets_the_time_of_hooks() {
    let mut device = device(&["a"]);
    let one = app(&mut device);
    one.run = Run::Unclear;
    one.committed[0].setup.tuning.timeout = Some(9);
    let stay = Want::Stay { reason: Reason::NotWanted, retry: 0 };
    let (Step::Stop { timeout, .. }, _) = ask(&device, stay) else { panic!() };
    assert_eq!(timeout, Duration::from_secs(9));
}

#[test]
fn what_is_kept_besides_goes_when_the_room_is_needed() {
    let mut device = device(&["z", "y", "a"]);
    device.keep = 1;
    assert_eq!(ask(&device, be("a")).0, Step::Prune { app: web(), tree: tree("y") }, "the older one");
    app(&mut device).sealed = vec![tree("z"), tree("a")];
    assert_eq!(ask(&device, be("a")).0, Step::Rest { again: None });
    let one = app(&mut device);
    one.staged = vec![tree("b")];
    one.memory.need = Some((tree("b"), Space { bytes: 101, inodes: 1 }));
    assert_eq!(ask(&device, be("b")).0, Step::Prune { app: web(), tree: tree("z") });
    app(&mut device).sealed = vec![tree("a")];
    assert!(matches!(ask(&device, be("b")), (Step::Rest { again: None }, Reason::Disk { .. })));
    app(&mut device).memory.need = Some((tree("b"), Space { bytes: 100, inodes: 101 }));
    assert!(matches!(ask(&device, be("b")).1, Reason::Disk { .. }));
    app(&mut device).memory.need = Some((tree("b"), Space { bytes: 100, inodes: 100 }));
    assert!(matches!(ask(&device, be("b")).0, Step::Fetch { reuse: Some(reuse), .. } if reuse == tree("a")));
}

#[test]
fn nothing_is_removed_while_it_is_not_known_what_is_wanted() {
    let mut device = device(&["z", "a"]);
    app(&mut device).staged = vec![tree("b")];
    for reason in [Reason::NoManifest, Reason::Expired, Reason::NotWanted] {
        assert_eq!(ask(&device, Want::Stay { reason, retry: 0 }).0, Step::Rest { again: None });
    }
    assert_eq!(ask(&device, be("a")).0, Step::Discard { app: web(), tree: tree("b") });
}

#[test]
fn a_clock_that_went_back_holds_nothing_up() {
    let mut device = device(&["b", "a"]);
    let setback =
        |at| Setback { setup: setup("b"), cause: Cause::Starts, tries: 1, at: Timestamp::from_unix(at) };
    app(&mut device).setback = Some(setback(NOW.wall.unix() - 5));
    let (Step::Rest { again: Some(again) }, Reason::BackingOff { .. }) = ask(&device, be("b")) else {
        panic!()
    };
    assert!(again <= Duration::from_secs(55) && again >= Duration::from_secs(25));
    app(&mut device).setback = Some(setback(NOW.wall.unix() + 5));
    app(&mut device).memory.rechecked = Some(Rechecked::right(tree("b")));
    assert!(matches!(ask(&device, be("b")).0, Step::Open { trial: Trial { earlier: Some(_), .. }, .. }));
}

#[test]
fn the_soonest_of_several_back_offs_is_when_to_ask_again() {
    let mut device = device(&["a"]);
    let trouble = |tries| Trouble {
        tree: tree("b"),
        kind: TroubleKind::Network,
        message: String::new(),
        tries,
        at: NOW.boot,
    };
    let mut other = device.apps[&web()].clone();
    other.memory.trouble = Some(trouble(1));
    // It failed more than the other, so it comes last.
    other.setback = Some(Setback { setup: setup("c"), cause: Cause::Starts, tries: 9, at: NOW.wall });
    app(&mut device).memory.trouble = Some(trouble(6));
    device.apps.insert("db".parse().unwrap(), other);
    let wanted = BTreeMap::from([(web(), be("b")), ("db".parse().unwrap(), be("b"))]);
    let (Step::Rest { again: Some(again) }, _) = next(&wanted, &device, NOW) else { panic!() };
    assert!(again <= Duration::from_secs(30), "{again:?}");
}

#[test]
fn the_app_that_failed_least_comes_first() {
    let mut device = device(&["a"]);
    device.apps.insert("db".parse().unwrap(), device.apps[&web()].clone());
    let wanted = BTreeMap::from([(web(), be("b")), ("db".parse().unwrap(), be("b"))]);
    let first = |device: &Device| next(&wanted, device, NOW).0.app().cloned().unwrap();
    assert_eq!(first(&device).as_str(), "db");
    let setback = Setback { setup: setup("c"), cause: Cause::Starts, tries: 1, at: NOW.wall };
    device.apps.get_mut(&"db".parse::<AppName>().unwrap()).unwrap().setback = Some(setback);
    assert_eq!(first(&device).as_str(), "web");
}

#[test]
fn the_app_in_trial_comes_first_however_often_it_failed() {
    let mut device = device(&["b", "a"]);
    let mut other = device.apps[&web()].clone();
    other.run = Run::Stopped;
    let db: AppName = "db".parse().unwrap();
    device.apps.insert(db.clone(), other);
    let one = app(&mut device);
    one.setback = Some(Setback { setup: setup("c"), cause: Cause::Starts, tries: 9, at: NOW.wall });
    one.trial = Some(trial(Some("a"), "b", Phase::Opened));
    let wanted = BTreeMap::from([(web(), be("b")), (db.clone(), be("a"))]);
    let (step, why) = next(&wanted, &device, NOW);
    assert!(matches!(step, Step::Recheck { app, .. } if app == web()));
    assert_eq!((&why.apps[&db], &why.apps[&web()]), (&Reason::Queued, &Reason::Trying(setup("b"))));
}

#[test]
fn an_agent_that_only_watches_says_what_it_would_do_and_does_nothing() {
    let mut device = device(&["a"]);
    device.mode = Mode::Observe;
    app(&mut device).run = Run::Stopped;
    let would = format!("start tree {}", tree("a").short());
    assert_eq!(ask(&device, be("a")), (Step::Rest { again: None }, Reason::Observe { would }));
}

#[test]
fn while_one_app_waits_in_its_trial_another_is_started_and_nothing_more() {
    let mut device = device(&["b", "a"]);
    let mut other = device.apps[&web()].clone();
    let early = Check { definition: tree("c"), grace: 0, interval: 60, deadline: 600, successes: 2 };
    let one = app(&mut device);
    one.current = Some(tree("b"));
    one.run = Run::Started { tree: tree("b"), at: NOW.boot };
    one.trial = Some(trial(Some("a"), "b", Phase::Opened));
    let mut with_check = recipe().unwrap();
    with_check.checks.insert("c".into(), early);
    one.recipes.insert(tree("b"), Ok(with_check));
    let said = Said { outcome: Outcome::Passed, passes: 1, at: NOW.boot, output: String::new() };
    one.memory.said.insert("c".into(), said);
    other.run = Run::Stopped;
    let db: AppName = "db".parse().unwrap();
    device.apps.insert(db.clone(), other);
    let wanted = BTreeMap::from([(web(), be("b")), (db.clone(), be("b"))]);
    assert!(matches!(next(&wanted, &device, NOW).0, Step::Start { app, .. } if app == db));
    device.apps.get_mut(&db).unwrap().run = Run::Started { tree: tree("a"), at: NOW.boot };
    let (step, why) = next(&wanted, &device, NOW);
    assert_eq!(step, Step::Wait { pause: Duration::from_secs(60) });
    assert_eq!(why.apps[&db], Reason::OtherTrial(web()));
}

#[test]
fn what_a_person_set_up_is_dropped_when_its_time_is_over_and_an_alarm_is_set_for_it() {
    let mut device = device(&["a"]);
    let until = |wall, boot: Option<u64>| Until {
        wall: Timestamp::from_unix(NOW.wall.unix() + wall),
        boot: boot.map(Duration::from_secs),
    };
    let hold = |until| Hold { owner: "anna".into(), reason: "fair".into(), until };
    let held = |until| Want::Stay { reason: Reason::Hold(hold(until)), retry: 0 };
    let asked = ask(&device, held(until(60, None)));
    assert_eq!(asked.0, Step::Rest { again: Some(Duration::from_secs(60)) });
    let asked = ask(&device, held(until(-9_000, Some(5_007))));
    assert_eq!(
        asked.0,
        Step::Rest { again: Some(Duration::from_secs(7)) },
        "a clock that was set ends nothing"
    );
    app(&mut device).hold = Some(hold(until(0, None)));
    assert_eq!(ask(&device, be("a")).0, Step::Unhold { app: web() });
    let pin = |until| Pin { setup: setup("a"), owner: "anna".into(), reason: "fair".into(), until };
    let one = app(&mut device);
    (one.hold, one.pin) = (None, Some(pin(until(9_000, Some(5_000)))));
    assert_eq!(ask(&device, be("a")).0, Step::Unpin { app: web() });
    app(&mut device).pin = None;
    device.hold = Some(hold(until(-1, None)));
    assert_eq!(ask(&device, be("a")).0, Step::UnholdAll);
    device.mode = Mode::Observe;
    assert_eq!(ask(&device, be("a")).0, Step::Rest { again: None });
}

#[test]
fn what_is_held_is_still_kept_running_and_goes_back_when_a_person_says_so() {
    let mut device = device(&["b", "a"]);
    let until = Until { wall: NOW.wall.after(Duration::from_secs(60)), boot: None };
    let reason = Reason::Hold(Hold { owner: "anna".into(), reason: "fair".into(), until });
    let held = || Want::Stay { reason: reason.clone(), retry: 0 };
    app(&mut device).run = Run::Stopped;
    assert!(matches!(ask(&device, held()), (Step::Start { .. }, Reason::Restoring(_))), "after a boot");
    let one = app(&mut device);
    one.run = Run::Started { tree: tree("a"), at: Duration::from_secs(1) };
    let before = Committed { serial: 3, setup: setup("b"), ..one.committed[0].clone() };
    one.committed.push(before);
    one.rollback = Some(Rollback { leave: tree("a"), owner: "anna".into(), reason: "slow".into() });
    assert!(matches!(ask(&device, held()).0, Step::Back { .. }));
}

#[test]
fn what_ended_by_itself_is_down_for_a_while_unless_another_release_runs() {
    let mut device = device(&["a"]);
    let one = app(&mut device);
    one.ended = Some("unit web.service failed".into());
    one.run = Run::Started { tree: tree("a"), at: NOW.boot - Duration::from_secs(1) };
    let (Step::Rest { again: Some(again) }, Reason::Down { said, .. }) = ask(&device, be("a")) else {
        panic!()
    };
    assert_eq!((again, said.as_str()), (Duration::from_secs(59), "unit web.service failed"));
    app(&mut device).run = Run::Started { tree: tree("z"), at: NOW.boot - Duration::from_secs(1) };
    let asked = ask(&device, be("a"));
    assert!(matches!(asked, (Step::Stop { .. }, Reason::Restoring(_))), "{asked:?}");
}
