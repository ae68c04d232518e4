//! Traces of real runs, replayed with the power cut after every effect and any of the unsynced effects lost.
//!
//! What must hold: an operation (a record, a link, a sealed tree, a removal) is there whole or not at all, and it is
//! durable before the next one begins. Each sync of each trace is needed: without it, this suite fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tidelock_protocol::digest::Digest;
use tidelock_tests::miniature::disk::{Call, Content, Kind, Name};
use tidelock_tests::miniature::hands;
use tidelock_tests::programs::Ours;
use tidelock_tests::replay::{Effect, Found, Replay};
use tidelock_tests::scratch::Scratch;
use tidelock_tests::served::Served;
use tidelock_tests::world::{Device, Fleet};

/// Lost in every combination up to here, then singly and all but singly.
const FEW: usize = 6;

/// What people, decisions and the next run find.
type Seen = BTreeMap<PathBuf, Found>;

/// A run of the agent: the disk before it, and its effects.
struct Run {
    what: &'static str,
    before: Replay,
    effects: Vec<Effect>,
}

#[test]
fn each_operation_is_whole_or_not_there_and_durable_before_the_next_and_each_sync_is_needed() {
    let mut syncs = 0;
    for run in runs() {
        if let Err(found) = judge(run, None) {
            panic!("{}: {found}", run.what);
        }
        for place in (0..run.effects.len()).filter(|place| is_for_what_is_seen(run, *place)) {
            syncs += 1;
            let effect = &run.effects[place];
            assert!(
                judge(run, Some(place)).is_err(),
                "{}: {effect:?} (line {place}) changes nothing",
                run.what
            );
        }
        println!("{}: {} effects", run.what, run.effects.len());
    }
    println!("{syncs} syncs, each taken away once");
    assert!(syncs > 40);
}

/// A process that is killed before it syncs a name, and the next one: it syncs what it finds before it goes on.
#[test]
fn the_next_process_makes_durable_what_a_killed_one_left() {
    let run = &runs()[1];
    let (take, rest): (Vec<&Effect>, Vec<&Effect>) =
        run.effects.iter().partition(|effect| matches!(effect, Effect::Settle(_)));
    let mut shown = 0;
    for (place, effect) in rest.iter().enumerate() {
        let Effect::Rename(_, to) = effect else { continue };
        if !is_seen(to) {
            continue;
        }
        let mut before = run.before.clone();
        rest[..=place].iter().for_each(|effect| before.take(effect));
        let live = seen(&before.cut(|_| true));
        take.iter().for_each(|effect| before.take(effect));
        assert_eq!(seen(&before.cut(|_| false)), live, "the lock is taken, and {to:?} is not durable");
        shown += 1;
    }
    assert!(shown > 5, "{shown} names");
}

/// Whether an effect is a sync, and not that of a new directory that lasts for one boot or is only on its way.
fn is_for_what_is_seen(run: &Run, place: usize) -> bool {
    let before = place.checked_sub(1).map(|before| &run.effects[before]);
    let of_boot = matches!(before, Some(Effect::Directory(path)) if !is_seen(path));
    run.effects[place].is_sync() && !of_boot
}

/// The walk believes that the hands do what `hands` says; here they are seen to.
#[test]
fn the_simulated_hands_do_the_calls_of_the_real_ones() {
    let runs = runs();
    let tree = Digest::of(b"any");
    // A leftover that is not there leaves no trace of its removal.
    let simulated = |calls: Vec<Call>| -> Vec<&'static str> {
        let verb = |call: &Call| match call {
            Call::Create(_) => Some("create"),
            Call::Write(..) => Some("write"),
            Call::Symlink(..) => Some("symlink"),
            Call::SyncFile(_) | Call::SyncDirectory(_) => Some("sync"),
            Call::SyncAll => Some("syncfs"),
            Call::Rename(..) => Some("rename"),
            Call::Remove(Name::NewRecord(_) | Name::NewLink) => None,
            Call::Remove(_) => Some("remove"),
        };
        calls.iter().filter_map(verb).collect()
    };
    let real = |run: &Run, begins: usize, count: usize| -> Vec<&'static str> {
        run.effects[begins..begins + count].iter().map(verb).collect()
    };
    let renames = |run: &Run, end: &str| {
        let to =
            |effect: &Effect| matches!(effect, Effect::Rename(_, to) if to.to_string_lossy().ends_with(end));
        run.effects.iter().position(to).unwrap()
    };
    let (update, bad) = (&runs[1], &runs[2]);
    let written = hands::replace(Kind::Trial, Content::Torn);
    assert_eq!(real(update, renames(update, "web.trial.json") - 3, 5), simulated(written));
    assert_eq!(real(update, renames(update, "web/current") - 1, 3), simulated(hands::point(tree)));
    let sealing = |effect: &Effect| matches!(effect, Effect::Rename(from, _) if from.extension().is_some_and(|e| e == "part"));
    let sealed = update.effects.iter().position(sealing).unwrap();
    assert_eq!(real(update, sealed - 1, 3), simulated(hands::seal(tree)));
    let pruned = simulated(hands::prune(tree)).split_off(1);
    assert_eq!(real(bad, renames(bad, ".gone"), 3), pruned);
    let removed =
        |effect: &Effect| matches!(effect, Effect::Remove(path) if path.ends_with("web.trial.json"));
    let closed = update.effects.iter().position(removed).unwrap();
    assert_eq!(real(update, closed, 2), simulated(hands::remove(Name::Record(Kind::Trial))));
}

fn verb(effect: &Effect) -> &'static str {
    match effect {
        Effect::Directory(_) => "mkdir",
        Effect::Create(_) => "create",
        Effect::Write(..) => "write",
        Effect::Symlink(..) => "symlink",
        Effect::Rename(..) => "rename",
        Effect::Remove(_) => "remove",
        Effect::Sync(_) => "sync",
        Effect::Settle(_) => "settle",
        Effect::SyncAll => "syncfs",
    }
}

/// The runs, once for all tests.
fn runs() -> &'static [Run] {
    static RUNS: LazyLock<Vec<Run>> = LazyLock::new(record);
    &RUNS
}

fn record() -> Vec<Run> {
    let scratch = Scratch::new("crash-replay");
    let fleet = Fleet::init(&scratch.join("fleet"));
    fleet.write("environments/staging.toml", "[apps]\nweb = \"follow\"\n");
    fleet.write("apps/web/app.toml", "path = \"apps/web/tree\"\n");
    let check = "[[check]]\nname = \"good\"\ncommand = \"test -e good\"\ninterval = 1\ndeadline = 1\n";
    fleet.write("apps/web/tree/release.toml", format!("format = 1\n{check}"));
    fleet.write("apps/web/tree/good", "");
    fleet.write("apps/web/tree/sub/page", "one");
    let publish = |subject: &str| {
        fleet.commit(subject);
        fleet.publish().well();
    };
    publish("one");
    let served = Served::start(&fleet.out(), None).unwrap();
    let trace = scratch.join("trace");
    let device = Device::new(&scratch.join("device"), Ours::AgentWithTrace);
    let device = device.with("TIDELOCK_TRACE", trace.to_str().unwrap());
    device.configure("test", "allow_root_apps = [\"web\"]\n");
    device.join(served.url(), &fleet);
    let run = |what, arguments: &[&str]| {
        let before = Replay::of(device.root());
        let _ = fs::remove_file(&trace);
        device.run(arguments);
        let text = fs::read_to_string(&trace).unwrap();
        Run { what, before, effects: Effect::read(&text, device.root()) }
    };
    let mut runs = vec![run("first install", &["update"])];
    fleet.write("apps/web/tree/sub/page", "two");
    publish("two");
    runs.push(run("update", &["update"]));
    fs::remove_file(fleet.repository().join("apps/web/tree/good")).unwrap();
    publish("bad");
    runs.push(run("bad release", &["update"]));
    runs.push(run("rollback", &["rollback", "web", "--reason", "slow"]));
    runs
}

/// Replays a run, without the effect at `lost`; says what is wrong.
fn judge(run: &Run, lost: Option<usize>) -> Result<(), String> {
    let mut disk = run.before.clone();
    // What was before the operation in progress, and whether that may still be found.
    let mut before = seen(&disk.cut(|_| true));
    let mut now = before.clone();
    let mut in_progress = false;
    for (place, effect) in run.effects.iter().enumerate() {
        // What is for the sake of an earlier process helps nothing of this one.
        if lost == Some(place) || matches!(effect, Effect::Settle(_)) {
            continue;
        }
        if !effect.is_sync() && in_progress {
            // The next operation begins: the one before must be durable.
            in_progress = false;
            before = now.clone();
        }
        disk.take(effect);
        if changes_what_is_seen(effect) {
            now = seen(&disk.cut(|_| true));
            in_progress |= now != before;
        }
        if lost.is_none_or(|lost| place > lost) {
            check(&disk, &before, &now)
                .map_err(|found| format!("after {effect:?} (line {place}): {found}"))?;
        }
    }
    check(&disk, &now, &now).map_err(|found| format!("at the end: {found}"))
}

/// Every cut leaves what was before, or what is now.
fn check(disk: &Replay, before: &Seen, now: &Seen) -> Result<(), String> {
    let unsure = disk.unsure();
    let mut subsets: Vec<Vec<usize>> = vec![Vec::new(), unsure.clone()];
    if unsure.len() <= FEW {
        let bits = |bits: u32| unsure.iter().enumerate().filter(move |(bit, _)| bits & (1 << bit) != 0);
        subsets.extend((0..1_u32 << unsure.len()).map(|set| bits(set).map(|(_, place)| *place).collect()));
    } else if now != before {
        subsets.extend(unsure.iter().map(|one| vec![*one]));
        subsets
            .extend(unsure.iter().map(|one| unsure.iter().copied().filter(|other| other != one).collect()));
    }
    for kept in subsets {
        let found = seen(&disk.cut(|place| kept.contains(&place)));
        if found != *before && found != *now {
            let differs = |(path, what): (&PathBuf, &Found)| {
                (now.get(path) != Some(what)).then(|| format!("{path:?}: {what:?}"))
            };
            let gone =
                now.keys().filter(|path| !found.contains_key(*path)).map(|path| format!("{path:?}: gone"));
            let all: Vec<String> = found.iter().filter_map(differs).chain(gone).collect();
            return Err(all.join(", "));
        }
    }
    Ok(())
}

fn changes_what_is_seen(effect: &Effect) -> bool {
    match effect {
        Effect::Directory(path) | Effect::Create(path) | Effect::Symlink(_, path) | Effect::Remove(path) => {
            is_seen(path)
        }
        Effect::Rename(from, to) => is_seen(from) || is_seen(to),
        Effect::Write(path, _) => is_seen(path),
        Effect::Sync(_) | Effect::Settle(_) | Effect::SyncAll => false,
    }
}

fn seen(all: &Seen) -> Seen {
    all.iter().filter(|(path, _)| is_seen(path)).map(|(path, found)| (path.clone(), found.clone())).collect()
}

/// Not what is only on its way to or from its name, what lasts for one boot, the lock, and the app's own data.
fn is_seen(path: &Path) -> bool {
    let on_its_way = |name: &str| [".new", ".part", ".gone"].iter().any(|end| name.ends_with(end));
    let mut names = path.iter().filter_map(|name| name.to_str());
    !names.any(|name| on_its_way(name) || ["run", "lock", "data"].contains(&name))
}
