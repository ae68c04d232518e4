//! What the launcher becomes, and when it gives a committed agent up.

use std::collections::BTreeMap;

use super::super::model::{Outcome, Phase, Said};
use super::super::next;
use super::super::tests::{NOW, app, be, device, tree, trial, web};
use super::*;

/// The agent's app, committed and linked, begun so `often`, so long `ago`.
fn committed(often: u32, ago: Duration) -> App {
    let mut device = device(&["a"]);
    let one = app(&mut device);
    one.begun = (often > 0).then(|| Begun { tree: tree("a"), times: often, at: NOW.boot - ago });
    one.clone()
}

#[test]
fn a_committed_agent_is_begun_three_times_and_again_a_day_later() {
    let begun = |times| Launch::Committed(Begun { tree: tree("a"), times, at: NOW.boot });
    let soon = Duration::from_secs(5);
    for before in 0..STARTS {
        assert_eq!(to_launch(&committed(before, soon), NOW), begun(before + 1));
    }
    let Launch::InVain(given_up, said) = to_launch(&committed(STARTS, soon), NOW) else { panic!() };
    assert_eq!((given_up, said.as_str()), (tree("a"), "it ended 3 times in a row without having polled"));
    let later = Now { boot: NOW.boot + AGAIN - soon, ..NOW };
    let again = Launch::Committed(Begun { tree: tree("a"), times: STARTS + 1, at: later.boot });
    assert_eq!(to_launch(&committed(STARTS, soon), later), again);
    let mut other = committed(STARTS, soon);
    other.begun.as_mut().unwrap().tree = tree("b");
    assert_eq!(to_launch(&other, NOW), begun(1));
}

#[test]
fn a_release_in_trial_lives_as_long_as_its_deadline_and_the_silence_and_nothing_else_is_launched() {
    let mut one = committed(STARTS, Duration::ZERO);
    one.committed.clear();
    assert_eq!(to_launch(&one, NOW), Launch::Packaged, "neither committed nor in trial");
    one.trial = Some(trial(None, "a", Phase::Opened));
    let own = Duration::from_secs(Recipe::poll().deadline.into());
    assert_eq!(to_launch(&one, NOW), Launch::Trial(tree("a"), own + SILENCE));
    one.trial.as_mut().unwrap().to.tuning.deadline = Some(7);
    assert_eq!(to_launch(&one, NOW), Launch::Trial(tree("a"), Duration::from_secs(7) + SILENCE));
    one.trial.as_mut().unwrap().to.tree = tree("b");
    assert_eq!(to_launch(&one, NOW), Launch::Packaged, "another one is in trial");
    one.sealed.clear();
    assert_eq!(to_launch(&one, NOW), Launch::Packaged, "its tree is gone");
}

#[test]
fn a_committed_agent_that_could_not_be_run_is_left_alone_for_a_day() {
    let mut device = device(&["a"]);
    device.process = Process::Daemon { since: NOW.boot - Duration::from_secs(600) };
    let mut one = device.apps.remove(&web()).unwrap();
    let at = NOW.boot - Duration::from_secs(600);
    let said = Said { outcome: Outcome::Failed, passes: 0, at, output: "in vain".into() };
    one.run = Run::Stopped;
    one.memory.said.insert(Recipe::START.into(), said);
    let itself: tidelock_protocol::names::AppName = "tidelock".parse().unwrap();
    device.apps.insert(itself.clone(), one);
    let wanted = BTreeMap::from([(itself.clone(), be("a"))]);
    let (step, why) = next(&wanted, &device, NOW);
    let Reason::Down { again, .. } = &why.apps[&itself] else { panic!("{:?}", why.apps) };
    assert_eq!(*again, AGAIN - Duration::from_secs(600));
    assert_eq!(step, Step::Rest { again: Some(*again) });
    let later = Now { boot: NOW.boot + *again, ..NOW };
    assert_eq!(next(&wanted, &device, later).0, Step::Launch { app: itself });
}
