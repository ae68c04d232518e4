//! When an orphan is deleted: after seven days of a clock that was known, what was committed last at the end.

use std::collections::BTreeMap;

use tidelock_protocol::desired::Tuning;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;
use tidelock_protocol::time::{Now, Timestamp};

use super::*;
use crate::decide::model::{App, Care, Committed, Device, Mode, Setup, Space};

const DAY: i64 = 24 * 3600;
const NOW: Now =
    Now { wall: Timestamp::from_unix(100 * DAY), boot: Duration::from_secs(5_000), trusted: true };

fn tree(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

/// An app that was wanted until `days` ago, with `sealed` trees, of which `b` was committed last.
fn app(days: i64, sealed: &[&str]) -> App {
    let committed = |name| Committed {
        serial: 1,
        setup: Setup { tree: tree(name), tuning: Tuning::default(), version: None },
        at: NOW.wall,
        passed: BTreeMap::new(),
    };
    App {
        sealed: sealed.iter().map(|name| tree(name)).collect(),
        committed: vec![committed("b"), committed("a")],
        orphan: Some(Orphan { since: Timestamp::from_unix((100 - days) * DAY), trusted: true }),
        ..App::default()
    }
}

fn ask(app: &App, want: &Want, now: Now) -> Option<Decision> {
    let name: AppName = "web".parse().unwrap();
    let free = Space { bytes: 1, inodes: 1 };
    let apps = BTreeMap::from([(name.clone(), app.clone())]);
    let device = Device {
        process: crate::decide::model::Process::Command,
        mode: Mode::Apply,
        free,
        keep: 0,
        seed: 0,
        hold: None,
        care: Care { every: KEPT, heal: true },
        apps,
    };
    decide(&Case { name: &name, app, want, device: &device, now, other: None })
}

fn step(app: &App, prune: bool, now: Now) -> Step {
    ask(app, &Want::Gone { prune }, now).unwrap().0
}

#[test]
fn what_passed_here_is_forgotten_before_its_trees_go_and_the_record_after_them() {
    let name: AppName = "web".parse().unwrap();
    let mut one = app(7, &["b", "a"]);
    assert_eq!(step(&one, true, NOW), Step::Erase { app: name.clone(), orphan: one.orphan });
    one.committed.clear();
    assert_eq!(step(&one, true, NOW), Step::Prune { app: name.clone(), tree: tree("b") });
    one.sealed.clear();
    assert_eq!(step(&one, true, NOW), Step::Erase { app: name, orphan: None });
}

#[test]
fn it_rests_until_then_and_for_ever_where_nothing_is_deleted() {
    let day = Some(Duration::from_secs(24 * 3600));
    assert_eq!(step(&app(6, &["b"]), true, NOW), Step::Rest { again: day });
    assert_eq!(step(&app(6, &[]), true, NOW), Step::Rest { again: day }, "what passed here may come back");
    assert_eq!(step(&app(99, &["b"]), false, NOW), Step::Rest { again: None });
    let (_, reason) = ask(&app(6, &["b"]), &Want::Gone { prune: true }, NOW).unwrap();
    assert_eq!(reason.code(), "orphan");
    assert!(reason.to_string().ends_with("deleted after 1970-04-12T00:00:00Z"), "{reason}");
}

#[test]
fn days_of_an_unknown_clock_do_not_count() {
    let mut one = app(9, &["b"]);
    assert_eq!(step(&one, true, Now { trusted: false, ..NOW }), Step::Rest { again: None });
    one.orphan = Some(Orphan { trusted: false, ..one.orphan.unwrap() });
    let begun = Some(Orphan { since: NOW.wall, trusted: true });
    assert_eq!(step(&one, true, NOW), Step::Orphan { app: "web".parse().unwrap(), orphan: begun });
    assert_eq!(
        step(&one, true, Now { trusted: false, ..NOW }),
        Step::Rest { again: None },
        "nor do they begin"
    );
    assert_eq!(step(&one, false, NOW), Step::Rest { again: None }, "or where nothing is deleted");
}

#[test]
fn what_never_was_whole_here_is_forgotten_at_once() {
    let mut one = app(0, &[]);
    one.committed.clear();
    one.staged = vec![tree("c")];
    assert!(matches!(step(&one, false, NOW), Step::Discard { .. }));
    one.staged.clear();
    assert!(matches!(step(&one, false, NOW), Step::Erase { .. }));
}

#[test]
fn a_hold_is_what_is_told_of_an_orphan_that_it_keeps_away() {
    let reason = Reason::Clock;
    let told = |reason: Reason| ask(&app(9, &["b"]), &Want::Stay { reason, retry: 0 }, NOW).unwrap();
    assert_eq!((told(reason).0, told(Reason::Expired).1.code()), (Step::Rest { again: None }, "orphan"));
    let until = super::super::model::Until { wall: NOW.wall, boot: None };
    let hold = super::super::model::Hold { owner: "anna".into(), reason: "fair".into(), until };
    assert_eq!(told(Reason::Hold(hold)).1.code(), "hold");
}
