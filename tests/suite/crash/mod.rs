//! Every state that a device can get into, with the power cut and the process killed after every effect.
//!
//! A walk, breadth first: in each state the agent takes its step, or the world changes (wishes, people, outages). What
//! must hold stands in `invariants`; that the walk would see a mistake is shown by `mutants`.
//!
//! What may happen without end in one world may happen once or twice in another, since all together have too many states:
//! under the guard one kill beside the cuts, one change of settings during updates, one end of what passed.

mod invariants;
mod mutants;
mod replay;
mod walk;

use tidelock_tests::miniature::{ALWAYS, Agent, Behaviour, Fleet, Freedom, World, name};
use walk::{Counts, walk};

const EVERY: [Behaviour; 6] = [
    Behaviour::Good,
    Behaviour::Fails,
    Behaviour::Hangs,
    Behaviour::StartFails,
    Behaviour::Panics,
    Behaviour::Unusable,
];

/// The same, those first that show the most where the guard has to do with them.
const GUARDED: [Behaviour; 6] = [
    Behaviour::Panics,
    Behaviour::Good,
    Behaviour::Fails,
    Behaviour::Hangs,
    Behaviour::StartFails,
    Behaviour::Unusable,
];

fn holds(what: &str, worlds: impl IntoIterator<Item = World>) {
    let mut sum = Counts::default();
    for world in worlds {
        match walk(&world, &Agent::REAL) {
            Ok(counts) => sum += counts,
            Err(found) => panic!("{:?}, guard {}: {found}", world.fleet, world.guard),
        }
    }
    println!("{what}: {sum}");
}

#[test]
fn the_power_may_go_and_the_process_may_die_after_every_effect() {
    let worlds = |all: &[Behaviour], guard, freedom| {
        let one = move |other| [World::first(other, guard, freedom), World::update(other, guard, freedom)];
        all.iter().copied().flat_map(one).collect::<Vec<_>>()
    };
    holds("power, agent starts the apps", worlds(&EVERY, false, Freedom::POWER));
    let freedom = Freedom { kills: 0, ..Freedom::POWER };
    let few: Vec<Behaviour> = whole_or(&GUARDED, 2).collect();
    holds("power, guard before the apps", worlds(&few, true, freedom));
    let freedom = Freedom { kills: 1, ..Freedom::POWER };
    holds("power and a kill, guard before the apps", worlds(&few, true, freedom));
    let freedom = Freedom { cuts: false, ..Freedom::POWER };
    let one = |other| World::update(other, true, freedom);
    holds("kills, guard before the apps", whole_or(&GUARDED, 2).map(one));
}

#[test]
fn the_agent_replaces_itself_and_whatever_it_becomes_a_working_agent_is_left() {
    let worlds = |guard| {
        let one = move |other| {
            let first = World::first(other, guard, Freedom::POWER);
            [first.of_itself(), World::update(other, guard, Freedom::POWER).of_itself()]
        };
        EVERY.into_iter().flat_map(one)
    };
    holds("power, the agent itself", worlds(true));
    let network = Freedom { kills: 0, cuts: false, ..Freedom::NETWORK };
    for other in [Behaviour::Fails, Behaviour::Good] {
        let both = [World::update(other, false, network), World::first(other, false, network)];
        holds("network, the agent itself", both.map(World::of_itself));
    }
    let people = World::update(Behaviour::Good, false, Freedom { cuts: false, ..Freedom::PEOPLE });
    holds("people, the agent itself", [people.of_itself()]);
}

#[test]
fn what_runs_may_be_reloaded_and_may_end_by_itself() {
    let freedom = Freedom { kills: 0, ..Freedom::POWER };
    let one = |other| World::update(other, true, freedom).reloading();
    holds("reload", whole_or(&GUARDED, 2).map(one));
    let killed = Freedom { cuts: false, ..Freedom::POWER };
    let one = |other| World::update(other, true, killed).reloading();
    holds("reload, killed", whole_or(&GUARDED, 2).map(one));
    let ends = Freedom { ends: 1, ..freedom };
    let one = |other| [World::first(other, true, ends), World::update(other, true, ends)];
    holds("revive", whole_or(&[Behaviour::Good, Behaviour::Fails], 1).flat_map(one));
}

#[test]
fn an_agent_that_was_committed_may_end_at_every_start_from_any_moment_on() {
    let freedom = Freedom { ends: 1, ..Freedom::POWER };
    let one = |other| World::update(other, false, freedom).of_itself();
    holds("in vain", whole_or(&[Behaviour::Good, Behaviour::Fails, Behaviour::Hangs], 1).map(one));
}

#[test]
fn people_may_go_back_and_try_again_at_any_moment() {
    let one = |other| World::update(other, true, Freedom::PEOPLE);
    holds("people", whole_or(&[Behaviour::Good, Behaviour::Fails], 1).map(one));
    let one = |other| World::first(other, false, Freedom::PEOPLE);
    holds("people, first install", whole_or(&EVERY, 2).map(one));
}

#[test]
fn people_may_hold_and_pin_and_let_go_at_any_moment() {
    let one = |other| World::update(other, false, Freedom::HOLDS);
    holds("holds", whole_or(&[Behaviour::Fails, Behaviour::Good, Behaviour::Hangs], 1).map(one));
    let one = |other| World::update(other, false, Freedom::PINS);
    holds("pins", whole_or(&[Behaviour::Good, Behaviour::Fails], 1).map(one));
    let both = Freedom { stops: (1, 1), people: (1, 0), cuts: false, ..Freedom::HOLDS };
    holds("holds, pins and rollbacks", [World::update(Behaviour::Good, true, both)]);
}

/// A release that is wanted, then no more, then deleted after seven days, and at any moment wanted again. (Two of them,
/// as in the first-install worlds without deletion, have too many states.)
fn comes_and_goes(freedom: Freedom) -> World {
    let apps = vec![(name("web"), vec![Behaviour::Good])];
    let mut world = World::of(Fleet { apps, wishes: vec![Some((0, None)), None] }, false, freedom);
    world.terms.prune = true;
    world
}

/// A release that a person may go back from though it is the only one, as the agent itself is; deleted, and wanted again.
fn leaves_and_comes_again() -> World {
    let freedom = Freedom { cuts: false, people: (1, 0), ..Freedom::PEOPLE };
    let mut world = comes_and_goes(freedom).of_itself();
    world.terms.prune = true;
    world
}

#[test]
fn an_app_may_be_wanted_no_more_and_again_and_be_deleted() {
    let freedoms = [Freedom::POWER, Freedom { cuts: false, ..Freedom::HOLDS }, Freedom::PEOPLE];
    holds("comes and goes", whole_or(&freedoms, 2).map(comes_and_goes));
    holds("what a person left stays refused", [leaves_and_comes_again()]);
}

#[test]
fn the_network_may_go_out_and_come_back() {
    let one = |other| World::update(other, false, Freedom::NETWORK);
    holds("network", whole_or(&[Behaviour::Fails, Behaviour::Good], 1).map(one));
    let one = |other| World::first(other, false, Freedom::NETWORK);
    holds("network, first install", whole_or(&EVERY, 2).map(one));
}

#[test]
fn something_may_write_into_a_sealed_tree_and_so_into_what_shares_its_inodes() {
    // With the power or the network going as well, two releases have too many states.
    let apps = vec![(name("web"), vec![Behaviour::Good])];
    let fleet = Fleet { apps, wishes: vec![Some((0, None))] };
    holds("drift of one release, power", [World::of(fleet, false, Freedom::DRIFT)]);
    let calm = Freedom { cuts: false, ..Freedom::DRIFT };
    let one = |other| {
        let world = World::update(other, false, calm);
        [world.clone(), world.sharing()]
    };
    let worlds = [Behaviour::Fails, Behaviour::Good, Behaviour::Hangs, Behaviour::StartFails];
    holds("drift", worlds.into_iter().flat_map(one));
}

#[test]
fn an_owner_may_change_settings_at_any_moment() {
    let freedom = Freedom { owner: ALWAYS, ..Freedom::POWER };
    let apps = vec![(name("web"), vec![Behaviour::Good])];
    let one = |guard| World::of(Fleet { apps: apps.clone(), wishes: vec![Some((0, None))] }, guard, freedom);
    holds("settings", [false, true].map(one));
    let freedom = Freedom { cuts: false, kills: 0, ..freedom };
    holds("settings in first installs", [World::first(Behaviour::Good, false, freedom)]);
    // A reload does not read them.
    let freedom = Freedom { owner: 1, ..freedom };
    let one = |other| [World::update(other, false, freedom), World::update(other, true, freedom).reloading()];
    holds("settings and updates", whole_or(&[Behaviour::Good, Behaviour::Fails], 1).flat_map(one));
}

#[test]
fn only_numbers_may_change() {
    let apps = vec![(name("web"), vec![Behaviour::Good])];
    let wishes = vec![Some((0, None)), Some((0, Some(2)))];
    let world =
        |freedom: &Freedom| World::of(Fleet { apps: apps.clone(), wishes: wishes.clone() }, false, *freedom);
    holds("tuning", whole_or(&[Freedom::POWER, Freedom::PEOPLE], 1).map(|freedom| world(&freedom)));
}

/// The first `few` of `all`; all with `TIDELOCK_CRASH=whole`, which takes minutes and is part of `tests/run`.
fn whole_or<T: Copy>(all: &[T], few: usize) -> impl Iterator<Item = T> {
    let whole = std::env::var_os("TIDELOCK_CRASH").is_some_and(|value| value == "whole");
    if !whole {
        println!("{few} of {} worlds; all with TIDELOCK_CRASH=whole", all.len());
    }
    all.iter().copied().take(if whole { all.len() } else { few })
}

#[test]
fn a_third_release_may_be_wanted_while_the_second_is_in_trial() {
    for other in [Behaviour::Fails, Behaviour::Hangs, Behaviour::Good] {
        let apps = vec![(name("web"), vec![Behaviour::Good, other, Behaviour::Good])];
        let wishes = vec![Some((0, None)), Some((1, None)), Some((2, None))];
        let freedom = Freedom { cuts: false, kills: 0, ..Freedom::POWER };
        holds("three releases", [World::of(Fleet { apps, wishes }, false, freedom)]);
    }
}

#[test]
fn two_apps_take_turns() {
    for other in [Behaviour::Good, Behaviour::Fails] {
        let apps = vec![(name("db"), vec![Behaviour::Good, other]), (name("web"), vec![Behaviour::Good; 2])];
        let wishes = vec![Some((0, None)), Some((1, None))];
        let freedom = Freedom { cuts: false, kills: 0, ..Freedom::POWER };
        holds("two apps", [World::of(Fleet { apps, wishes }, false, freedom)]);
    }
}
