//! Settings that change while an app runs: noted, tried, judged, never rolled back.

use std::collections::BTreeMap;

use super::super::model::{Check, Device, Reason};
use super::super::tests::{NOW, app, ask, be, device, setup, tree, web};
use super::*;

/// A device whose app runs `a` with the settings `old`, has one check, and finds `new`.
fn changed() -> Device {
    let mut device = device(&["a"]);
    let one = app(&mut device);
    let check = Check { definition: tree("c"), grace: 0, interval: 5, deadline: 20, successes: 1 };
    one.recipes.get_mut(&tree("a")).unwrap().as_mut().unwrap().checks = BTreeMap::from([("c".into(), check)]);
    one.run = Run::Started { tree: tree("a"), at: NOW.boot };
    one.settings.now = "new".into();
    one.settings.started = Some("old".into());
    device
}

/// The device that was restarted with the new settings, and what the check said since.
fn restarted(outcome: Option<(Outcome, u64)>) -> Device {
    let mut device = changed();
    let one = app(&mut device);
    one.settings.started = Some("new".into());
    one.settings.tried = Some(Tried { settings: "new".into(), verdict: None });
    if let Some((outcome, ago)) = outcome {
        one.run = Run::Started { tree: tree("a"), at: NOW.boot - Duration::from_secs(100) };
        let passes = u32::from(outcome == Outcome::Passed);
        let said = Said { outcome, passes, at: NOW.boot - Duration::from_secs(ago), output: "no db".into() };
        one.memory.said.insert("c".into(), said);
    }
    device
}

#[test]
fn what_the_service_manager_started_it_with_is_noted_once() {
    let mut device = changed();
    app(&mut device).settings.started = None;
    assert_eq!(ask(&device, be("a")).0, Step::Note { app: web(), settings: "new".into() });
    app(&mut device).settings.started = Some("new".into());
    assert!(matches!(ask(&device, be("a")), (Step::Rest { again: None }, Reason::Synced(_))));
}

#[test]
fn changed_settings_are_recorded_then_the_app_is_restarted_and_checked() {
    let mut device = changed();
    let trying = Tried { settings: "new".into(), verdict: None };
    let (step, reason) = ask(&device, be("a"));
    assert_eq!(
        (step, reason),
        (Step::Try { app: web(), tried: trying.clone() }, Reason::Settings(setup("a")))
    );
    app(&mut device).settings.tried = Some(trying);
    assert!(matches!(ask(&device, be("a")).0, Step::Stop { .. }));
    app(&mut device).run = Run::Stopped;
    assert!(matches!(ask(&device, be("a")).0, Step::Start { .. }));
    assert!(matches!(ask(&restarted(None), be("a")).0, Step::Probe { .. }));
    let (step, _) = ask(&restarted(Some((Outcome::Passed, 1))), be("a"));
    assert!(
        matches!(step, Step::Try { tried: Tried { verdict: Some(said), .. }, .. } if said.outcome == Outcome::Passed)
    );
}

#[test]
fn settings_that_fail_are_told_and_asked_again_and_nothing_is_rolled_back_or_refused() {
    let device = restarted(Some((Outcome::Failed, 1)));
    let (step, _) = ask(&device, be("a"));
    let Step::Try { tried, .. } = step else { panic!("{step:?}") };
    let mut device = restarted(None);
    let at = NOW.boot - Duration::from_secs(100);
    app(&mut device).settings.tried = Some(tried.clone());
    let (step, reason) = ask(&device, be("a"));
    assert_eq!(step, Step::Rest { again: Some(CHECK_AGAIN) });
    assert!(
        matches!(&reason, Reason::Degraded { said, .. } if said == "check c failed: no db"),
        "{reason:?}"
    );
    // A newer wish is still followed.
    assert!(matches!(ask(&device, be("b")).0, Step::Index { .. }));
    let mut again = tried;
    again.verdict.as_mut().unwrap().at = NOW.boot - CHECK_AGAIN;
    app(&mut device).settings.tried = Some(again);
    app(&mut device).run = Run::Started { tree: tree("a"), at };
    assert!(matches!(ask(&device, be("a")).0, Step::Probe { .. }), "without another restart");
    app(&mut device).settings.now = "newer".into();
    assert!(matches!(ask(&device, be("a")).0, Step::Try { tried: Tried { verdict: None, .. }, .. }));
}

#[test]
fn settings_that_were_good_once_are_tried_again_after_others() {
    let mut device = restarted(Some((Outcome::Passed, 1)));
    let (Step::Try { tried, .. }, _) = ask(&device, be("a")) else { panic!() };
    let one = app(&mut device);
    one.settings.tried = Some(tried);
    one.settings.started = Some("others".into());
    assert!(matches!(ask(&device, be("a")).0, Step::Try { tried: Tried { verdict: None, .. }, .. }));
}

#[test]
fn settings_that_keep_the_app_from_starting_degrade_it() {
    let mut device = restarted(None);
    let one = app(&mut device);
    one.run = Run::Unclear;
    let said = Said { outcome: Outcome::Failed, passes: 0, at: NOW.boot, output: "no port".into() };
    one.memory.said.insert(Recipe::START.into(), said);
    let (step, reason) = ask(&device, be("a"));
    assert!(matches!(step, Step::Rest { again: Some(_) }));
    assert!(matches!(&reason, Reason::Degraded { said, .. } if said.contains("no port")), "{reason:?}");
}
