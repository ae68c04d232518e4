//! What the launcher becomes, and when it gives a committed agent up; what a command says, and whom a first release that
//! fails is blamed on.

use std::collections::BTreeMap;

use super::super::model::{Cause, Outcome, Phase, Said};
use super::super::next;
use super::super::tests::{NOW, app, be, device, setup, tree, trial, web};
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

/// The device of the other tests, whose app is the agent itself.
fn ourselves(process: Process, change: impl FnOnce(&mut App)) -> Device {
    let mut device = device(&["b", "a"]);
    let mut one = device.apps.remove(&web()).unwrap();
    change(&mut one);
    device.apps.insert("tidelock".parse().unwrap(), one);
    device.process = process;
    device
}

fn ask(device: &Device, name: &str) -> (Step, Reason) {
    let itself = "tidelock".parse().unwrap();
    let (step, mut why) = next(&BTreeMap::from([("tidelock".parse().unwrap(), be(name))]), device, NOW);
    (step, why.apps.remove(&itself).unwrap())
}

#[test]
fn a_command_leaves_the_agent_to_the_daemon_and_says_what_that_would_do() {
    let device = ourselves(Process::Command, |_| {});
    assert_eq!(ask(&device, "a"), (Step::Rest { again: None }, Reason::Synced(setup("a"))));
    let (Step::Rest { again: None }, Reason::Observe { would }) = ask(&device, "b") else { panic!() };
    assert!(would.contains(&setup("b").to_string()), "{would}");
}

#[test]
fn a_first_release_that_could_not_poll_is_blamed_only_when_the_packaged_agent_can() {
    let since = NOW.boot;
    let device = |said: Option<Outcome>| {
        ourselves(Process::Daemon { since }, |one| {
            let cause = Cause::Check { name: Recipe::POLL.into(), said: "no answer".into() };
            (one.current, one.run, one.committed) = (None, Run::Stopped, Vec::new());
            one.trial = Some(trial(None, "b", Phase::Back { cause }));
            let said = said.map(|outcome| {
                let passes = u32::from(outcome == Outcome::Passed);
                (Recipe::POLL.to_owned(), Said { outcome, passes, at: NOW.boot, output: String::new() })
            });
            one.memory.said = said.into_iter().collect();
        })
    };
    assert!(matches!(ask(&device(None), "b").0, Step::Probe { .. }));
    let (Step::Refuse { refusals, .. }, _) = ask(&device(Some(Outcome::Passed)), "b") else { panic!() };
    assert_eq!(refusals[0].setup.tree, tree("b"));
}
