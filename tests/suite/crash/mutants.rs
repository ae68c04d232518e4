//! Seeded bugs: each is a line that somebody could have got wrong, in a decision or in the order of effects, and each
//! is caught by the walk, by the invariant that is named beside it.
//!
//! Never here: the agent itself; a bug is laid over it.

mod launch;

use tidelock::decide;
use tidelock::decide::model::{
    App, Cause, Committed, Device, Extent, Ground, Outcome, Phase, Reason, Rechecked, Record, Refusal, Run,
    Setback, Step, Trial, Tried, Units, Want, Wanted,
};
use tidelock_protocol::recipe::Activate;
use tidelock_protocol::time::{Now, Timestamp};
use tidelock_tests::miniature::disk::{Call, Directory};
use tidelock_tests::miniature::hands::{self, Act};
use tidelock_tests::miniature::{ALWAYS, Agent, Behaviour, Fleet, Freedom, NOW, World, name, until};

use super::invariants::{self as must, Broken};
use super::walk::walk;
use super::{comes_and_goes, leaves_and_comes_again};

/// A seeded bug: what is wrong, the agent that has it, a world that shows it, and what it breaks there.
type Bug = (&'static str, Agent, World, Broken);

#[test]
fn each_seeded_bug_is_caught_by_the_invariant_that_it_breaks() {
    let bugs: Vec<Bug> = [
        records_misread(),
        device_misread(),
        trials_misled(),
        ends_mistaken(),
        at_boot(),
        units(),
        settings(),
        launch::at_launch(),
        effects(),
        orders(),
        people_unheard(),
        drift(),
        shared_inodes(),
        orphans_mistaken(),
        running_mistaken(),
    ]
    .concat();
    assert!(bugs.len() >= 12);
    let mut missed = Vec::new();
    for (bug, agent, world, expected) in bugs {
        match walk(&world, &agent) {
            Ok(counts) => missed.push(format!("{bug}: not caught ({counts})")),
            Err(found) if found.broken == expected => println!("caught: {bug}: {}", found.broken),
            Err(found) => missed.push(format!("{bug}: expected {expected:?}, {found}")),
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

fn power(other: Behaviour) -> World {
    World::update(other, false, Freedom::POWER)
}

fn people(other: Behaviour) -> World {
    World::update(other, false, Freedom::PEOPLE)
}

/// The device with every app changed.
fn each(mut device: Device, change: fn(&mut App)) -> Device {
    device.apps.values_mut().for_each(change);
    device
}

fn next(wanted: &Wanted, device: &Device, now: Now) -> Step {
    decide::next(wanted, device, now).0
}

/// Records that are not read, or not rightly.
fn records_misread() -> Vec<Bug> {
    vec![
        (
            "a start in trial is not counted",
            looks(|device| each(device, |app| app.memory.counted = true)),
            power(Behaviour::Good),
            must::COUNTED,
        ),
        (
            "refusals are not read",
            looks(|device| each(device, |app| app.refusals.clear())),
            power(Behaviour::Fails),
            must::COMES_TO_REST,
        ),
        (
            "a trial does not know how the one before ended",
            looks(|device| each(device, |app| app.trial.iter_mut().for_each(|trial| trial.earlier = None))),
            power(Behaviour::Good),
            must::TWICE,
        ),
        (
            "the start limit refuses the first time",
            looks(|device| each(device, |app| app.trial.iter_mut().for_each(limited_before))),
            power(Behaviour::Good),
            must::TWICE,
        ),
        (
            "the previous release is not asked",
            looks(|device| each(device, |app| app.committed.iter_mut().for_each(|one| one.passed.clear()))),
            World::update(Behaviour::Good, false, Freedom::NETWORK),
            must::OUTAGE,
        ),
        (
            "an open trial wins over its committed record",
            looks(|device| each(device, |app| app.trial.iter_mut().for_each(|trial| trial.serial = 99))),
            power(Behaviour::Good),
            must::STAYS,
        ),
    ]
}

/// A device that is not seen as it is.
fn device_misread() -> Vec<Bug> {
    vec![
        (
            "only the newest committed release is kept",
            looks(|device| {
                each(device, |app| {
                    if app.trial.is_none() {
                        app.committed.truncate(1)
                    }
                })
            }),
            power(Behaviour::Good),
            must::KEPT,
        ),
        (
            "an unsealed tree counts as sealed",
            looks(|device| each(device, staged_is_sealed)),
            power(Behaviour::Good),
            must::SEALED,
        ),
        (
            "the old release is not stopped",
            looks(|device| {
                each(device, |app| {
                    if !is_there(app) {
                        app.run = Run::Stopped
                    }
                })
            }),
            power(Behaviour::Good),
            must::ORDER,
        ),
    ]
}

/// Wrong steps on the way of a trial.
fn trials_misled() -> Vec<Bug> {
    vec![
        (
            "the way back is walked before it is recorded",
            does(|wanted, device, now| match next(wanted, device, now) {
                Step::Back { app, trial } => {
                    let mut device = device.clone();
                    device.apps.entry(app).and_modify(|app| app.trial = Some(trial));
                    next(wanted, &device, now)
                }
                step => step,
            }),
            power(Behaviour::Fails),
            must::BACK_FIRST,
        ),
        (
            "a trial passes at its deadline",
            does(|wanted, device, now| match next(wanted, device, now) {
                Step::Back {
                    app,
                    trial: Trial { serial, to, phase: Phase::Back { cause: Cause::Check { .. } }, .. },
                } => {
                    let newest = Committed { serial, setup: to, at: now.wall, passed: Default::default() };
                    Step::Commit { app, committed: vec![newest] }
                }
                step => step,
            }),
            power(Behaviour::Fails),
            must::PASSED,
        ),
        (
            "a newer wish is not looked at in a trial",
            does(|wanted, device, now| {
                let mut wanted = wanted.clone();
                for (name, want) in &mut wanted {
                    if device.apps.get(name).is_some_and(|app| app.trial.is_some()) {
                        *want = Want::Stay { reason: Reason::NotWanted, retry: 0 };
                    }
                }
                next(&wanted, device, now)
            }),
            power(Behaviour::Good),
            must::NEWER,
        ),
        (
            "the link is moved before the trial is recorded",
            does(|wanted, device, now| match next(wanted, device, now) {
                Step::Open { app, trial } if device.apps[&app].current != Some(trial.to.tree) => {
                    Step::Point { app, tree: trial.to.tree }
                }
                step => step,
            }),
            World::first(Behaviour::Good, false, Freedom::POWER),
            must::RECORDED,
        ),
    ]
}

/// Wrong ends of a trial, and of its rank among others.
fn ends_mistaken() -> Vec<Bug> {
    vec![
        (
            "a first install that failed is refused",
            does(|wanted, device, now| match next(wanted, device, now) {
                Step::Defer { app, setback } => {
                    let ground = Ground::Trial(setback.cause);
                    let refusal = Refusal { setup: setback.setup, retry: 0, at: now.wall, ground };
                    Step::Refuse { app, refusals: vec![refusal], committed: Vec::new() }
                }
                step => step,
            }),
            World::first(Behaviour::Fails, false, Freedom::POWER),
            must::FIRST,
        ),
        (
            "a rollback by hand refuses nothing",
            does(|wanted, device, now| match next(wanted, device, now) {
                Step::Refuse { app, committed, .. } => {
                    let refusals = device.apps[&app].refusals.clone();
                    Step::Refuse { app, refusals, committed }
                }
                step => step,
            }),
            people(Behaviour::Good),
            must::RETURNS,
        ),
        (
            "the back-off forgets how often",
            does(|wanted, device, now| match next(wanted, device, now) {
                Step::Defer { app, setback } => Step::Defer { app, setback: Setback { tries: 1, ..setback } },
                step => step,
            }),
            World::first(Behaviour::Fails, false, Freedom::POWER),
            must::LONGER,
        ),
        (
            "each app is decided about alone",
            does(|wanted, device, now| {
                let alone = |app: &tidelock_protocol::names::AppName| {
                    let mut device = device.clone();
                    device.apps.retain(|name, _| name == app);
                    let wanted = wanted.iter().filter(|(name, _)| *name == app);
                    next(&wanted.map(|(name, want)| (name.clone(), want.clone())).collect(), &device, now)
                };
                let steps: Vec<Step> = device.apps.keys().rev().map(alone).collect();
                let idle = |step: &&Step| !matches!(step, Step::Rest { .. } | Step::Wait { .. });
                steps.iter().find(idle).or(steps.first()).cloned().unwrap_or(Step::Rest { again: None })
            }),
            two_apps(),
            must::ONE_TRIAL,
        ),
    ]
}

/// What a person set up, not read or read for ever.
fn people_unheard() -> Vec<Bug> {
    let stops = |freedom| World::update(Behaviour::Good, false, Freedom { cuts: false, ..freedom });
    vec![
        (
            "a hold is not read",
            looks(|device| each(device, |app| app.hold = None)),
            stops(Freedom::HOLDS),
            must::HELD,
        ),
        (
            "a pin is not read",
            looks(|device| each(device, |app| app.pin = None)),
            stops(Freedom::PINS),
            must::PINNED,
        ),
        (
            "a hold does not end",
            looks(|device| each(device, |app| app.hold.iter_mut().for_each(|hold| hold.until = until(true)))),
            stops(Freedom::HOLDS),
            must::OVER,
        ),
    ]
}

/// Wrong about what is wanted no more.
fn orphans_mistaken() -> Vec<Bug> {
    let world = || comes_and_goes(Freedom { cuts: false, ..Freedom::POWER });
    let expired = || {
        let mut world = world();
        world.terms.expired = true;
        world
    };
    vec![
        (
            "an orphan is deleted at once",
            looks(|device| {
                each(device, |app| {
                    app.orphan.iter_mut().for_each(|orphan| orphan.since = Timestamp::from_unix(0));
                })
            }),
            world(),
            must::KEPT,
        ),
        (
            "expired metadata takes apps away",
            does(|wanted, device, now| {
                let mut wanted = wanted.clone();
                for want in wanted.values_mut() {
                    if matches!(want, Want::Stay { reason: Reason::Expired, .. }) {
                        *want = Want::Gone { prune: false };
                    }
                }
                next(&wanted, device, now)
            }),
            expired(),
            must::ORPHANED,
        ),
        (
            "with an app that is deleted goes what was refused of it",
            acts(|step| {
                let mut acts = hands::acts(step);
                if let Step::Erase { .. } = step {
                    acts.extend(hands::write(Record::Refusals(Vec::new())).into_iter().map(Act::Disk));
                }
                acts
            }),
            leaves_and_comes_again(),
            must::RETURNS,
        ),
        (
            "an orphan is stopped before it is recorded",
            does(|wanted, device, now| match next(wanted, device, now) {
                Step::Orphan { app, orphan: orphan @ Some(_) } => {
                    let mut device = device.clone();
                    device.apps.entry(app).and_modify(|app| app.orphan = orphan);
                    next(wanted, &device, now)
                }
                step => step,
            }),
            world(),
            must::ORPHANED,
        ),
    ]
}

fn looks(look: fn(Device) -> Device) -> Agent {
    Agent { look, ..Agent::REAL }
}

fn does(next: fn(&Wanted, &Device, Now) -> Step) -> Agent {
    Agent { next, ..Agent::REAL }
}

fn two_apps() -> World {
    let apps = vec![(name("db"), vec![Behaviour::Good; 2]), (name("web"), vec![Behaviour::Good; 2])];
    let wishes = vec![Some((0, None)), Some((1, None))];
    World::of(Fleet { apps, wishes }, false, Freedom { cuts: false, kills: 0, ..Freedom::POWER })
}

fn limited_before(trial: &mut Trial) {
    trial.earlier = Some(Setback { setup: trial.to.clone(), cause: Cause::Starts, tries: 1, at: NOW.wall });
}

fn staged_is_sealed(app: &mut App) {
    let known = app.recipes.values().next().cloned();
    for tree in std::mem::take(&mut app.staged) {
        app.sealed.push(tree);
        app.recipes.extend(known.clone().map(|recipe| (tree, recipe)));
    }
}

fn is_there(app: &App) -> bool {
    matches!(app.run, Run::Started { tree, .. } if app.current == Some(tree))
        && app.trial.as_ref().is_none_or(|trial| app.current == Some(trial.to.tree))
}

fn at_boot() -> Vec<Bug> {
    let boots = |at_boot| Agent { at_boot, ..Agent::REAL };
    let world = || World::update(Behaviour::Panics, true, Freedom::POWER);
    vec![
        ("the guard does nothing", boots(|_, _| None), world(), must::FOREIGN),
        ("the guard counts nothing", boots(not_counted), world(), must::COUNTED),
        (
            "the guard leaves a half-done swap of units",
            boots(|device, now| decide::at_boot(&each(device.clone(), is_placed), now)),
            World::update(Behaviour::Good, true, Freedom::POWER),
            must::FOREIGN,
        ),
        (
            "the guard never goes back",
            boots(|device, now| match decide::at_boot(device, now)? {
                Step::Back { app, trial } => {
                    let trial = Trial { phase: Phase::Opened, starts: trial.starts + 1, ..trial };
                    (!device.apps[&app].memory.counted).then_some(Step::Count { app, trial })
                }
                step => Some(step),
            }),
            world(),
            must::ENDS,
        ),
    ]
}

fn not_counted(device: &Device, now: Now) -> Option<Step> {
    decide::at_boot(device, now).filter(|step| !matches!(step, Step::Count { .. }))
}

fn is_placed(app: &mut App) {
    if app.units == Units::Other {
        app.units = Units::Placed;
    }
}

/// Units that are not swapped with the link.
fn units() -> Vec<Bug> {
    vec![
        (
            "a release is started before its units are placed",
            looks(|device| each(device, is_placed)),
            World::update(Behaviour::Good, true, Freedom::POWER),
            must::FOREIGN,
        ),
        (
            "the service manager is not told of new units",
            acts(|step| {
                let mut acts = hands::acts(step);
                acts.retain(|act| *act != Act::Tell);
                acts
            }),
            World::first(Behaviour::Good, true, Freedom { cuts: false, kills: 0, ..Freedom::POWER }),
            must::COMES_TO_REST,
        ),
    ]
}

/// Wrong about what runs on, and what does not.
fn running_mistaken() -> Vec<Bug> {
    let calm = Freedom { cuts: false, kills: 0, ..Freedom::POWER };
    vec![
        (
            "a start that goes on is taken for one that has ended",
            looks(|device| {
                each(device, |app| {
                    if let Run::Starting { tree } = app.run {
                        app.run = Run::Started { tree, at: NOW.boot };
                    }
                })
            }),
            World::update(Behaviour::Good, true, Freedom { kills: 1, ..calm }),
            must::PASSED,
        ),
        (
            "every release is reloaded",
            looks(|device| {
                each(device, |app| {
                    for recipe in app.recipes.values_mut().flatten() {
                        (recipe.units, recipe.activate) = (Some(recipe.start), Activate::Reload);
                    }
                })
            }),
            World::update(Behaviour::Good, true, calm),
            must::ORDER,
        ),
        (
            "the way back is a reload",
            does(|wanted, device, now| match next(wanted, device, now) {
                Step::Start { app, tree, timeout }
                    if device.apps[&app].trial.iter().any(|trial| trial.phase != Phase::Opened) =>
                {
                    Step::Reload { app, tree, timeout }
                }
                step => step,
            }),
            World::update(Behaviour::Fails, true, calm).reloading(),
            must::RELOADED,
        ),
        (
            "what ended by itself is not seen",
            looks(|device| each(device, |app| app.ended = None)),
            World::update(Behaviour::Good, true, Freedom { ends: 1, ..calm }),
            must::RUNS,
        ),
        (
            "the settings of a process that was only reloaded count as read",
            looks(|device| {
                each(device, |app| {
                    if app.trial.is_none() && app.committed.len() > 1 {
                        app.settings.started = Some(app.settings.now.clone());
                    }
                })
            }),
            World::update(Behaviour::Good, true, Freedom { owner: ALWAYS, ..calm }).reloading(),
            must::SETTINGS,
        ),
    ]
}

/// A device's own settings that are not heard, or held against a release.
fn settings() -> Vec<Bug> {
    let world = || {
        let apps = vec![(name("web"), vec![Behaviour::Good])];
        let freedom = Freedom { owner: ALWAYS, ..Freedom::POWER };
        World::of(Fleet { apps, wishes: vec![Some((0, None))] }, false, freedom)
    };
    vec![
        (
            "changed settings are not looked at",
            looks(|device| each(device, |app| app.settings.started = Some(app.settings.now.clone()))),
            world(),
            must::SETTINGS,
        ),
        (
            "a change of settings is not remembered",
            acts(|step| {
                let mut acts = hands::acts(step);
                acts.retain(|act| !matches!(act, Act::Tried(Some(_))));
                acts
            }),
            world(),
            must::COMES_TO_REST,
        ),
        (
            "settings that fail refuse the release",
            does(|wanted, device, now| match next(wanted, device, now) {
                Step::Try { app, tried: Tried { verdict: Some(said), .. } }
                    if said.outcome == Outcome::Failed =>
                {
                    let committed = device.apps[&app].committed.clone();
                    let ground = Ground::Trial(Cause::Check { name: "http".into(), said: said.output });
                    let refusal =
                        Refusal { setup: committed[0].setup.clone(), retry: 0, at: now.wall, ground };
                    Step::Refuse { app, refusals: vec![refusal], committed }
                }
                step => step,
            }),
            world(),
            must::OUTAGE,
        ),
    ]
}

/// The acts of a step without the calls that `lost` picks.
fn without(step: &Step, lost: fn(&Call) -> bool) -> Vec<Act> {
    let mut acts = hands::acts(step);
    acts.retain(|act| !matches!(act, Act::Disk(call) if lost(call)));
    acts
}

/// Effects that are left out.
fn effects() -> Vec<Bug> {
    vec![
        (
            "a record is renamed before it is synced",
            acts(|step| without(step, |call| matches!(call, Call::SyncFile(_)))),
            power(Behaviour::Good),
            must::WHOLE,
        ),
        (
            "a record's name is not synced",
            acts(|step| without(step, |call| matches!(call, Call::SyncDirectory(Directory::Journal)))),
            power(Behaviour::Good),
            must::RECORDED,
        ),
        (
            "the link's name is not synced",
            acts(|step| without(step, |call| matches!(call, Call::SyncDirectory(Directory::App)))),
            power(Behaviour::Good),
            must::LIVE,
        ),
        (
            "a tree is sealed without syncfs",
            acts(|step| without(step, |call| matches!(call, Call::SyncAll))),
            power(Behaviour::Good),
            must::WHOLE,
        ),
        (
            "a sealed tree's name is not synced",
            acts(|step| without(step, |call| matches!(call, Call::SyncDirectory(Directory::Releases)))),
            power(Behaviour::Good),
            must::SEALED,
        ),
    ]
}

/// Effects in the wrong order.
fn orders() -> Vec<Bug> {
    vec![
        (
            "a tree has its name before syncfs",
            acts(|step| {
                let mut acts = hands::acts(step);
                if matches!(step, Step::Seal { .. }) {
                    acts.swap(0, 1);
                }
                acts
            }),
            power(Behaviour::Good),
            must::WHOLE,
        ),
        (
            "the trial is closed before its refusal is written",
            acts(|step| match step {
                Step::Refuse { .. } => {
                    let records = step.records().into_iter().rev();
                    records.flat_map(hands::write).map(Act::Disk).collect()
                }
                step => hands::acts(step),
            }),
            people(Behaviour::Good),
            must::LIVE,
        ),
        (
            "the trial is closed before it is committed",
            acts(|step| match step {
                Step::Commit { .. } => {
                    let records = step.records().into_iter().rev();
                    records.flat_map(hands::write).map(Act::Disk).collect()
                }
                step => hands::acts(step),
            }),
            power(Behaviour::Good),
            must::RECORDED,
        ),
        (
            "names left by a killed process are believed",
            Agent { take: Vec::new, ..Agent::REAL },
            power(Behaviour::Good),
            must::SEALED,
        ),
    ]
}

fn acts(acts: fn(&Step) -> Vec<Act>) -> Agent {
    Agent { acts, ..Agent::REAL }
}

/// The care for the live tree.
fn drift() -> Vec<Bug> {
    let world = || World::update(Behaviour::Good, false, Freedom { cuts: false, ..Freedom::DRIFT });
    vec![
        (
            "what was mended is not remembered",
            looks(|device| each(device, |app| app.memory.mended = None)),
            world(),
            must::COMES_TO_REST,
        ),
        (
            "only the first piece of a tree is hashed",
            looks(|device| each(device, |app| app.memory.pass.iter_mut().for_each(|pass| pass.next = None))),
            world(),
            must::MENDED,
        ),
        (
            "a wish to mend is heard in a trial too",
            Agent {
                next: |wanted, device, now| {
                    let asked =
                        device.apps.iter().find(|(_, app)| app.heal.is_some() && app.memory.mended.is_none());
                    let heal = asked.and_then(|(name, app)| {
                        let tree = app.current?;
                        let source = app.sources.get(&tree)?.clone();
                        Some(Step::Heal { app: name.clone(), tree, source, others: Vec::new() })
                    });
                    heal.unwrap_or_else(|| next(wanted, device, now))
                },
                ..Agent::REAL
            },
            world(),
            must::UNDISTURBED,
        ),
    ]
}

/// The step that is taken where every tree that should be hashed first counts as right.
fn believing(wanted: &Wanted, device: &Device, now: Now, extent: Extent) -> Step {
    match next(wanted, device, now) {
        Step::Recheck { app, tree, extent: asked } if asked == extent => {
            let mut device = device.clone();
            let right = Some(Rechecked::right(tree));
            device.apps.entry(app).and_modify(|app| app.memory.rechecked = right);
            next(wanted, &device, now)
        }
        step => step,
    }
}

/// Trees that share inodes, and trees that are entered again.
fn shared_inodes() -> Vec<Bug> {
    let world = |other| World::update(other, false, Freedom { cuts: false, ..Freedom::DRIFT }).sharing();
    vec![
        (
            "only the tree that was asked about is mended",
            acts(|step| {
                let mut acts = hands::acts(step);
                acts.retain(|act| !matches!(act, Act::HealOthers(_)));
                acts
            }),
            world(Behaviour::Good),
            must::SHARED,
        ),
        (
            "what shares the inode is mended last",
            acts(|step| match step {
                Step::Heal { .. } => hands::acts(step).into_iter().rev().collect(),
                step => hands::acts(step),
            }),
            world(Behaviour::Good),
            must::SHARED,
        ),
        (
            "an older tree is entered as it lies there",
            does(|wanted, device, now| believing(wanted, device, now, Extent::Whole)),
            world(Behaviour::Good),
            must::ENTERED,
        ),
        (
            "on the way back nothing is hashed",
            does(|wanted, device, now| believing(wanted, device, now, Extent::Shared)),
            world(Behaviour::Fails),
            must::ENTERED,
        ),
        (
            "a ruined way back that cannot be mended is gone in silence",
            Agent {
                look: |device| each(device, |app| app.sources.clear()),
                next: |wanted, device, now| match next(wanted, device, now) {
                    Step::Record { app, drift, .. } if device.apps[&app].trial.is_some() => {
                        let mut device = device.clone();
                        device.apps.entry(app).and_modify(|app| app.drift = Some(drift));
                        next(wanted, &device, now)
                    }
                    step => step,
                },
                ..Agent::REAL
            },
            world(Behaviour::Fails),
            must::ENTERED,
        ),
    ]
}
