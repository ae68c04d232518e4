//! What must hold, by name: in every state, after every effect, after every cut, and of every step.
//!
//! Never here: how a state is reached.

use tidelock::decide::STARTS;
use tidelock::decide::model::{
    Cause, Committed, Ground, Phase, Record, Run, Setback, Step, Trial, Want, is_itself,
};
use tidelock_protocol::digest::Digest;
use tidelock_tests::miniature::disk::{Content, Kind, Name};
use tidelock_tests::miniature::{Behaviour, MANY, NOW, One, Stage, State, World};

/// The name of what was broken.
pub type Broken = &'static str;

pub const SEALED: Broken = "the link never names an unsealed tree";
pub const WHOLE: Broken = "what has its name is whole, records and sealed trees alike";
pub const PREVIOUS: Broken = "the previous release is never pruned or altered during a trial";
pub const RECORDED: Broken = "a linked release is committed or has the record of its trial";
pub const COUNTED: Broken = "a crashed trial counts its starts";
pub const ENDS: Broken = "a crashed trial ends";
pub const PASSED: Broken = "only what passed is committed";
pub const OUTAGE: Broken = "a network outage refuses nothing";
pub const ONE_TRIAL: Broken = "one app at a time is in trial";
pub const RESTS: Broken = "the agent never rests on a release that failed its trial";
pub const RETURNS: Broken = "what a person went back from does not come back by itself";
pub const ORDER: Broken = "stop, then point, then start";
pub const BACK_FIRST: Broken = "the way back is recorded before it is walked";
pub const VERIFIED: Broken = "unverified bytes are never sealed";
pub const NEWER: Broken = "a newer wish ends a trial without verdict";
pub const LONGER: Broken = "each back-off is longer";
pub const TWICE: Broken = "the start limit is inconclusive once and refuses the second time in a row";
pub const FIRST: Broken = "a failed first install is tried again";
pub const KEPT: Broken = "current and previous are kept";
pub const REACHED: Broken = "a wanted good release is reached";
pub const COMES_TO_REST: Broken = "the agent comes to rest";
pub const ENDLESS: Broken = "a device has a limited number of states";
pub const LIVE: Broken = "the link names what was committed last, or a trial is open";
pub const FOREIGN: Broken = "no unit of another release is started";
pub const UNDISTURBED: Broken = "what is tried is not mended in its trial";
pub const MENDED: Broken = "what differs is mended when a person asks, or the wish is still there";
pub const SHARED: Broken = "a tree is mended together with what shares its inodes";
pub const ENTERED: Broken = "the link moves to no tree that is not as it was signed, or that is recorded";
pub const SETTINGS: Broken = "an app runs with the settings that lie there";
pub const STAYS: Broken = "a release that was committed is left only for another wish or by a person";

pub const RELOADED: Broken = "only a release in trial that says so takes over what runs";
pub const RUNS: Broken = "what ended by itself is started again";

pub const HELD: Broken = "under a hold nothing new begins";
pub const PINNED: Broken = "a pinned app enters nothing but what it is pinned to";
pub const ORPHANED: Broken =
    "only what the environment wants no more is taken from its place, and that is recorded first";
pub const OVER: Broken = "what a person set up ends by itself";

/// The first thing that is broken in `state`.
pub fn of_state(world: &World, state: &State) -> Option<Broken> {
    let in_trial = state.apps.iter().filter(|one| is_in_trial(one)).count();
    let of_one = |(place, one)| of_app(world, place, one);
    let broken = state.apps.iter().enumerate().find_map(of_one);
    broken.or((in_trial > 1).then_some(ONE_TRIAL))
}

fn of_app(world: &World, place: usize, one: &One) -> Option<Broken> {
    let live = one.disk.live();
    let torn = |(name, content): (&Name, &Content)| {
        matches!(name, Name::Record(_) | Name::Link) && *content == Content::Torn
            || matches!(name, Name::Sealed(_)) && *content != Content::Whole
    };
    let whole = |tree| live.get(&Name::Sealed(tree)) == Some(&Content::Whole);
    if one.foreign {
        return Some(FOREIGN);
    }
    if one.forgotten {
        return Some(SHARED);
    }
    let linked = one.linked();
    if linked.is_some_and(|tree| !whole(tree)) {
        return Some(SEALED);
    }
    let trial = one.trial();
    if trial.iter().any(|trial| trial.from.as_ref().is_some_and(|from| !whole(from.tree))) {
        return Some(PREVIOUS);
    }
    if live.iter().any(torn) {
        return Some(WHOLE);
    }
    let committed = committed(one);
    let known = |tree| committed.contains(&tree) || trial.as_ref().is_some_and(|trial| trial.to.tree == tree);
    if linked.is_some_and(|tree| !known(tree)) {
        return Some(RECORDED);
    }
    let orphaned = linked.is_none() && one.orphan().is_some();
    if trial.is_none() && linked != committed.first().copied() && !orphaned {
        return Some(LIVE);
    }
    if let Some(Trial { phase: Phase::Opened, starts, .. }) = trial {
        if one.started > starts {
            return Some(COUNTED);
        }
        if starts > STARTS {
            return Some(ENDS);
        }
    }
    let good = |tree| world.behaviour(place, &tree) == Some(Behaviour::Good);
    if committed.iter().any(|tree| !good(*tree)) {
        return Some(PASSED);
    }
    if let Some(Record::Refusals(list)) = one.record(Kind::Refusals).as_deref() {
        let fair = |ground: &Ground| matches!(ground, Ground::Trial(Cause::Operator { .. } | Cause::Starts));
        if list.iter().any(|refusal| good(refusal.setup.tree) && !fair(&refusal.ground)) {
            return Some(OUTAGE);
        }
    }
    None
}

/// The first thing that is broken by taking `step` in `state`.
pub fn of_step(world: &World, state: &State, step: &Step) -> Option<Broken> {
    if let Step::Rest { .. } | Step::Wait { .. } = step {
        return state.apps.iter().enumerate().find_map(|(place, one)| of_rest(world, place, one, step));
    }
    let place = world.fleet.apps.iter().position(|(name, _)| Some(name) == step.app())?;
    let one = &state.apps[place];
    let live = one.disk.live();
    let trial = one.trial();
    let opened = trial.as_ref().filter(|trial| trial.phase == Phase::Opened);
    if let Some(broken) = of_stops(state, one, step) {
        return Some(broken);
    }
    if let Some(broken) = of_entry(state, one, step) {
        return Some(broken);
    }
    let away = |tree| opened.is_some_and(|trial| trial.to.tree != tree);
    match step {
        Step::Start { tree, .. } => (one.linked() != Some(*tree) || one.run != Run::Stopped).then_some(ORDER),
        Step::Await { tree, .. } => {
            (one.linked() != Some(*tree) || one.run != Run::Starting { tree: *tree }).then_some(ORDER)
        }
        Step::Point { tree, .. } if away(*tree) => Some(BACK_FIRST),
        Step::Unlink { .. } if opened.is_some() => Some(BACK_FIRST),
        Step::Unlink { .. } if trial.is_none() && one.orphan().is_none() => Some(ORPHANED),
        Step::Reload { tree, .. } => {
            let onward = opened.is_some_and(|trial| trial.to.tree == *tree) && one.linked() == Some(*tree);
            let runs = matches!(one.run, Run::Started { tree: other, .. } if other != *tree);
            (!(world.reloads && onward && runs)).then_some(RELOADED)
        }
        Step::Point { tree, .. } if world.reloads && opened.is_some_and(|trial| trial.to.tree == *tree) => {
            None
        }
        Step::Point { .. } | Step::Unlink { .. } => {
            let runs = matches!(one.run, Run::Started { tree, .. } if live.contains_key(&Name::Sealed(tree)));
            (runs && !is_itself(&world.fleet.apps[place].0)).then_some(ORDER)
        }
        Step::Stop { tree, .. } => {
            let tried = opened.is_some_and(|trial| trial.to.tree == *tree);
            (tried && matches!(one.run, Run::Started { .. })).then_some(BACK_FIRST)
        }
        Step::Seal { setup, .. } => {
            let whole = live.get(&Name::Staged(setup.tree)) == Some(&Content::Whole);
            (!whole || one.memory.whole != Some(setup.tree)).then_some(VERIFIED)
        }
        Step::Commit { committed, .. } => of_commit(world, state, place, committed),
        Step::Orphan { orphan: Some(_), .. } => {
            let known = !world.terms.unjoined && !world.terms.expired;
            let wanted = world.fleet.wishes[one.wish].is_some();
            (wanted || !known).then_some(ORPHANED)
        }
        Step::Back { trial: Trial { phase: Phase::Back { cause }, .. }, .. } => {
            let own = matches!(cause, Cause::Check { .. } | Cause::Starts);
            (own && opened.is_some_and(|trial| passed(one, trial))).then_some(STAYS)
        }
        Step::Heal { tree, .. } if is_in_trial(one) => of_healing(one, trial.as_ref(), *tree),
        Step::Prune { tree, .. } => committed_now(one, *tree).then_some(KEPT),
        Step::Erase { .. } => {
            let forgotten = one.orphan().is_some_and(|orphan| world.terms.prune && orphan.since < NOW.wall);
            (!one.committed().is_empty() && !forgotten).then_some(KEPT)
        }
        // Behind the first release of the agent itself the packaged one waits.
        Step::Refuse { .. } if is_itself(&world.fleet.apps[place].0) => None,
        Step::Refuse { refusals, .. } => of_refusal(one, trial.as_ref(), &refusals.first()?.ground),
        Step::Defer { setback, .. } => of_deferral(one, trial.as_ref(), setback),
        _ => None,
    }
}

/// What is committed is what is wanted now.
fn of_commit(world: &World, state: &State, place: usize, committed: &[Committed]) -> Option<Broken> {
    let device = world.device(state);
    let other = match (world.wanted(state, &device).values().nth(place), committed.first()) {
        (Some(Want::Be(goal)), Some(newest)) => !goal.setup.is(&newest.setup),
        (want, _) => matches!(want, Some(Want::Gone { .. })),
    };
    if other {
        return Some(NEWER);
    }
    let newest = committed.first()?.setup.tree;
    let runs = matches!(state.apps[place].run, Run::Started { tree, .. } if tree == newest);
    (!runs).then_some(PASSED)
}

/// In a trial nothing is mended but the trees that the link may move to.
fn of_healing(one: &One, trial: Option<&Trial>, tree: Digest) -> Option<Broken> {
    let enters = one.linked() != Some(tree) && trial.is_some();
    let is_over = trial.is_none_or(|trial| trial.phase != Phase::Opened);
    let back = is_over && trial.iter().any(|trial| trial.from.iter().any(|from| from.tree == tree));
    (!enters && !back).then_some(UNDISTURBED)
}

/// A tree that is entered is as it was signed, or a record says that it is not.
fn of_entry(state: &State, one: &One, step: &Step) -> Option<Broken> {
    let back = one.trial().filter(|trial| trial.phase != Phase::Opened);
    // Before the apps start there is no time for it: then it is seen to before the verdict.
    let tree = match step {
        Step::Point { tree, .. } if state.stage == Stage::Running => *tree,
        Step::Refuse { .. } | Step::Defer { .. } | Step::Close { .. } => back?.from?.tree,
        _ => return None,
    };
    // What a release did to itself alone, unseen, is for the daily look.
    let own = one.unseen && one.sharing(&tree).next().is_none();
    (one.is_ruined(&tree) && !own && !is_known_to_differ(one, tree)).then_some(ENTERED)
}

/// What a person stopped: only what is begun goes on.
fn of_stops(state: &State, one: &One, step: &Step) -> Option<Broken> {
    let begins = match step {
        Step::Open { trial, .. } => (one.linked() != Some(trial.to.tree)).then_some(trial.to.tree),
        Step::Index { tree, .. } | Step::Fetch { tree, .. } => Some(*tree),
        Step::Seal { setup, .. } => Some(setup.tree),
        _ => None,
    };
    let removes = matches!(
        step,
        Step::Prune { .. } | Step::Discard { .. } | Step::Erase { .. } | Step::Orphan { orphan: Some(_), .. }
    );
    let held = [one.hold(), state.hold.clone()].into_iter().flatten().any(|hold| !hold.until.is_over(NOW));
    if held && (begins.is_some() || removes) {
        return Some(HELD);
    }
    let pin = one.pin().filter(|pin| !pin.until.is_over(NOW))?;
    begins.is_some_and(|tree| tree != pin.setup.tree).then_some(PINNED)
}

fn of_deferral(one: &One, trial: Option<&Trial>, setback: &Setback) -> Option<Broken> {
    let Some(before) = one.deferred.as_ref().filter(|before| before.setup.is(&setback.setup)) else {
        return (setback.tries != 1).then_some(LONGER);
    };
    let limits = !before.closing && setback.cause == Cause::Starts && before.cause == Cause::Starts;
    if limits && trial.is_some_and(|trial| trial.from.is_some()) {
        return Some(TWICE);
    }
    let tries = if before.closing { before.times } else { before.times + 1 };
    (setback.tries.min(MANY) != tries.min(MANY)).then_some(LONGER)
}

fn of_refusal(one: &One, trial: Option<&Trial>, ground: &Ground) -> Option<Broken> {
    let trial = trial?;
    match ground {
        Ground::Trial(Cause::Check { .. } | Cause::Starts) if trial.from.is_none() => Some(FIRST),
        Ground::Trial(Cause::Starts) => {
            let before = one.deferred.as_ref().is_some_and(|before| before.cause == Cause::Starts);
            (!before).then_some(TWICE)
        }
        _ => None,
    }
}

fn of_rest(world: &World, place: usize, one: &One, step: &Step) -> Option<Broken> {
    let holds = one.hold().is_some_and(|hold| hold.until.is_over(NOW));
    let pins = one.pin().is_some_and(|pin| pin.until.is_over(NOW));
    if matches!(step, Step::Rest { .. }) && (holds || pins) {
        return Some(OVER);
    }
    let linked = one.linked()?;
    if matches!(step, Step::Rest { .. }) {
        let good = world.behaviour(place, &linked) == Some(Behaviour::Good);
        if !good || !committed_now(one, linked) {
            return Some(RESTS);
        }
        let runs = matches!(one.run, Run::Started { .. });
        if runs && one.settings.started.as_ref() != Some(&one.settings.now) {
            return Some(SETTINGS);
        }
        if runs && one.ended && *step == (Step::Rest { again: None }) {
            return Some(RUNS);
        }
        let standing = one.committed().into_iter().find(|one| one.setup.tree == linked);
        if standing.is_some_and(|standing| one.left.as_ref().is_some_and(|left| left.is(&standing.setup))) {
            return Some(RETURNS);
        }
        if one.is_ruined(&linked) && !one.unseen && !is_known_to_differ(one, linked) {
            return Some(MENDED);
        }
    }
    None
}

/// Whether a record says that a tree is not as it was signed, or a person asks for that.
fn is_known_to_differ(one: &One, tree: Digest) -> bool {
    let recorded = match one.record(Kind::Drift).as_deref() {
        Some(Record::Drift(Some(drift))) => drift.tree == tree && drift.differing > 0,
        _ => false,
    };
    recorded || one.record(Kind::Heal).is_some()
}

/// Whether the newest committed record is the end of this very trial.
fn passed(one: &One, trial: &Trial) -> bool {
    let newest = one.committed().into_iter().next();
    newest.is_some_and(|newest| newest.serial == trial.serial && newest.setup.is(&trial.to))
}

/// Whether the app is in trial, by its record or without one.
fn is_in_trial(one: &One) -> bool {
    one.trial().is_some() || one.linked().is_some_and(|tree| !committed_now(one, tree))
}

fn committed(one: &One) -> Vec<Digest> {
    one.committed().iter().map(|one| one.setup.tree).collect()
}

pub fn committed_now(one: &One, tree: Digest) -> bool {
    committed(one).contains(&tree)
}
