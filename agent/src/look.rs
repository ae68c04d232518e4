//! The look: disk, journal and what this process remembers, gathered into the `Device` that is decided about.
//!
//! Never here: a decision, or a change of anything.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::{AppName, DeviceId, Platform};
use tidelock_protocol::recipe;

use crate::config::{self, Paths, Settings};
use crate::decide::model::{
    App, Care, Check, Device, Memory, Mode, Outcome, Process, Recipe, Run, Said, Settings as DeviceSettings,
    Space, Starter, Units, is_itself,
};
use crate::io::fetch::Share;
use crate::io::journal::{Journal, Running, Unreadable};
use crate::io::launch::Launched;
use crate::io::release::{self, Release, Terms};
use crate::io::service::{self, Shown, Supervisor, Transient};
use crate::io::units::{self, Files};
use crate::io::{activate, clock, disk, source};

/// What stays the same while a process runs.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where everything lies.
    pub paths: Paths,
    /// What the owner says.
    pub settings: Settings,
    /// What is remembered.
    pub journal: Journal,
    /// Who this device is.
    pub id: DeviceId,
    /// A number made of that, which spreads what devices would otherwise do at the same moment.
    pub seed: u64,
    /// What runs on it.
    pub platform: Platform,
    /// Who starts apps on it.
    pub supervisor: Supervisor,
    /// Which process this is.
    pub process: Process,
    /// What the launcher made of it.
    pub launched: Launched,
}

impl Site {
    /// What it has and allows, as far as it concerns releases.
    pub fn terms(&self) -> Terms<'_> {
        Terms { paths: &self.paths, settings: &self.settings, supervisor: self.supervisor }
    }

    /// What two releases of an app may have in common on disk: inodes only where each unit, hook and check of an app gets
    /// the releases read-only, which systemd sees to, and where the owner has nothing against it.
    pub fn share(&self) -> Share {
        match (self.supervisor, self.settings.reuse) {
            (Supervisor::Systemd, config::Reuse::Auto) => Share::Inodes,
            (Supervisor::Hooks, _) | (_, config::Reuse::Copy) => Share::Blocks,
        }
    }
}

/// What lies in the service manager's directory, and what it says of it.
#[derive(Debug, Default)]
struct Services {
    files: Files,
    shown: BTreeMap<String, Shown>,
}

/// The apps that have a directory or a record.
///
/// # Errors
/// A directory that is there and cannot be listed.
pub fn apps(site: &Site) -> Result<BTreeSet<AppName>, disk::Error> {
    let mut apps = site.journal.apps()?;
    apps.extend(names(&site.paths.apps())?.iter().filter_map(|name| name.parse().ok()));
    Ok(apps)
}

/// The device as it is now, and the records that cannot be read; those count as not there.
///
/// # Errors
/// A directory that is there and cannot be listed.
pub fn device(
    site: &Site,
    memory: &BTreeMap<AppName, Memory>,
) -> Result<(Device, Vec<Unreadable>), disk::Error> {
    let mut unreadable = Vec::new();
    let hold = site.journal.hold(&mut unreadable);
    let mut found = BTreeMap::new();
    let services = services(site)?;
    for name in apps(site)? {
        let memory = memory.get(&name).cloned().unwrap_or_default();
        found.insert(name.clone(), app(site, &services, &name, memory, &mut unreadable)?);
    }
    let mode = match site.settings.mode {
        config::Mode::Apply => Mode::Apply,
        config::Mode::Observe => Mode::Observe,
    };
    let free = free(&site.paths)?;
    // The live release and the way back from it are in use; the owner counts them, the decision does not.
    let keep = site.settings.keep.saturating_sub(2);
    let config::Drift { every, heal } = site.settings.drift;
    let care = Care { every, heal };
    Ok((
        Device { mode, process: site.process, free, keep, care, seed: site.seed, hold, apps: found },
        unreadable,
    ))
}

fn app(
    site: &Site,
    services: &Services,
    name: &AppName,
    memory: Memory,
    unreadable: &mut Vec<Unreadable>,
) -> Result<App, disk::Error> {
    let current = activate::current(&site.paths, name).unwrap_or_else(|error| {
        log::error!("{error}: {}; the app counts as not installed", error.source);
        None
    });
    let (sealed, staged) = releases(&site.paths, name)?;
    let releases: BTreeMap<&Digest, _> =
        sealed.iter().map(|tree| (tree, Release::load(site.terms(), name, tree))).collect();
    let recipe = |release: &Result<Release, String>| {
        release.as_ref().map(|one| read(name, &one.recipe, &one.units)).map_err(Clone::clone)
    };
    let recipes = releases.iter().map(|(tree, release)| (**tree, recipe(release))).collect();
    // What is linked and cannot be used says nothing about units: they are left as they are.
    let wanted = match current {
        None => Some(Files::new()),
        Some(tree) => releases.get(&tree).and_then(|one| one.as_ref().ok()).map(|one| one.units.clone()),
    };
    let running = site.journal.running(name);
    let units = units(services, name, wanted, &running);
    let mut memory = memory;
    let run = if is_itself(name) {
        memory.said.extend(not_launched(site, current));
        this_process(site)
    } else {
        let hook =
            |tree| releases.get(&tree).and_then(|one| one.as_ref().ok()).map(|one| &one.recipe.hooks.start);
        match running.run {
            // Ended by a person, or never begun.
            Run::Starting { tree } if !goes_on(name, hook(tree)) => Run::Unclear,
            recorded => run(services, name, current, &units, recorded),
        }
    };
    let ended = ended(services, name).filter(|_| matches!(run, Run::Started { .. }));
    let source = |tree: &Digest| Some((*tree, source::read(&site.paths, name, tree)?));
    let sources = sealed.iter().filter_map(source).collect();
    let records = site.journal.read(name);
    unreadable.extend(records.unreadable);
    Ok(App {
        current,
        sealed,
        staged,
        recipes,
        trial: records.trial,
        committed: records.committed,
        refusals: records.refusals,
        setback: records.setback,
        rollback: records.rollback,
        retry: records.retry,
        orphan: records.orphan,
        hold: records.hold,
        pin: records.pin,
        run,
        units,
        ended,
        settings: DeviceSettings {
            now: release::settings(&site.paths, name),
            started: running.settings,
            tried: running.tried,
        },
        drift: records.drift,
        heal: records.heal,
        begun: running.begun,
        sources,
        memory,
    })
}

/// Asks once about all units of all apps.
fn services(site: &Site) -> Result<Services, disk::Error> {
    if site.supervisor == Supervisor::Hooks {
        return Ok(Services::default());
    }
    let files = units::found(&site.paths)?;
    let shown = service::show(&units::enabled(&files)).map_err(|source| disk::Error {
        what: "ask systemd about the units in",
        path: site.paths.units(),
        source,
    })?;
    Ok(Services { files, shown })
}

fn units(services: &Services, app: &AppName, wanted: Option<Files>, running: &Running) -> Units {
    match wanted {
        None => Units::None,
        Some(wanted) if wanted != units::of(&services.files, app) || running.untold => Units::Other,
        Some(wanted) if wanted.is_empty() => Units::None,
        Some(_) => Units::Placed,
    }
}

/// What runs of an app, where the agent did not start it: at boot the service manager does.
fn run(services: &Services, app: &AppName, current: Option<Digest>, units: &Units, recorded: Run) -> Run {
    let enabled = units::enabled(&units::of(&services.files, app));
    let alive = enabled.iter().filter_map(|unit| services.shown.get(unit)).filter(|shown| shown.is_alive());
    // A oneshot is never active; what waits for its turn has not begun.
    let time = |shown: &Shown| [shown.since, shown.begun].into_iter().find(|time| !time.is_zero());
    let since = alive.map(|shown| time(shown).unwrap_or_else(clock::since_boot)).max();
    match (recorded, since, current, units) {
        (Run::Stopped, Some(at), Some(tree), Units::Placed) => Run::Started { tree, at },
        // Something runs that no link leads to.
        (Run::Stopped, Some(_), ..) => Run::Unclear,
        _ => recorded,
    }
}

/// Whether a start goes on that an agent began which is not there any more: its hook in the unit that it has, and a
/// release without one by its units.
fn goes_on(app: &AppName, hook: Option<&Option<recipe::Command>>) -> bool {
    hook.is_some_and(|hook| hook.is_none() || service::is_there(&Transient::of_start(app.as_str())))
}

/// What of an app does not run though it starts with the device.
fn ended(services: &Services, app: &AppName) -> Option<String> {
    let enabled = units::enabled(&units::of(&services.files, app));
    let shown = |unit: &String| services.shown.get(unit).cloned().unwrap_or_default();
    let dead = enabled.iter().map(|unit| (unit, shown(unit))).filter(|(_, shown)| !shown.is_alive());
    let words = dead.map(|(unit, shown)| format!("{unit} is {} ({})", shown.active, shown.result));
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// The sealed trees of an app, the newest first, and those that were begun.
fn releases(paths: &Paths, app: &AppName) -> Result<(Vec<Digest>, Vec<Digest>), disk::Error> {
    let directory = paths.releases(app);
    let (mut sealed, mut staged) = (Vec::new(), Vec::new());
    for name in names(&directory)? {
        if let Ok(tree) = name.parse::<Digest>() {
            let path = directory.join(&name);
            let found = path.symlink_metadata();
            let found = found.map_err(|source| disk::Error { what: "look at", path, source })?;
            sealed.push(((found.mtime(), found.mtime_nsec()), tree));
        } else if let Some(Ok(tree)) = name.strip_suffix(".part").map(str::parse) {
            staged.push(tree);
        }
    }
    sealed.sort_unstable_by(|one, other| other.cmp(one));
    Ok((sealed.into_iter().map(|(_, tree)| tree).collect(), staged))
}

/// The names in a directory, sorted; none where there is no directory.
#[expect(clippy::disallowed_methods, reason = "looking is what this room is for")]
fn names(directory: &Path) -> Result<BTreeSet<String>, disk::Error> {
    let failed = |source| disk::Error { what: "list", path: directory.to_owned(), source };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(failed)?,
    };
    entries.map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned())).collect()
}

/// The room under the state directory, or under what of its path is there already.
fn free(paths: &Paths) -> Result<Space, disk::Error> {
    let state = paths.state();
    let there = state.ancestors().find(|path| path.is_dir()).unwrap_or(&state);
    disk::free(there).map(|free| Space { bytes: free.bytes, inodes: free.inodes })
}

/// What runs of the agent itself: the tree that this process was launched from, or nothing but the packaged agent.
fn this_process(site: &Site) -> Run {
    let at = if let Process::Daemon { since } = site.process { since } else { Duration::ZERO };
    site.launched.tree.map_or(Run::Stopped, |tree| Run::Started { tree, at })
}

/// What is known when the launcher could not run what the link names: as if a start hook had failed.
fn not_launched(site: &Site, current: Option<Digest>) -> Option<(String, Said)> {
    let (_, output) = site.launched.failed.as_ref().filter(|(tree, _)| Some(*tree) == current)?;
    let Process::Daemon { since: at } = site.process else { return None };
    Some((Recipe::START.into(), Said { outcome: Outcome::Failed, passes: 0, at, output: output.clone() }))
}

/// A recipe as decisions see it: numbers, and digests of what is asked.
fn read(app: &AppName, recipe: &recipe::Recipe, units: &Files) -> Recipe {
    let check = |check: &recipe::Check| Check {
        definition: definition(&check.probe),
        grace: check.grace,
        interval: check.interval,
        deadline: check.deadline,
        successes: check.successes,
    };
    let itself = is_itself(app);
    let by_itself = itself || !recipe.units.is_empty();
    let own = itself.then(|| (Recipe::POLL.to_owned(), Recipe::poll()));
    Recipe {
        starter: if by_itself { Starter::Manager } else { Starter::Agent },
        start: definition(&recipe.hooks.start),
        timeout: recipe.hooks.timeout,
        units: (!units.is_empty()).then(|| units::digest(units)),
        activate: recipe.activate,
        checks: recipe.checks.iter().map(|one| (one.name.clone(), check(one))).chain(own).collect(),
    }
}

/// The digest of what is asked or run, as JSON: it stands in records, which later versions compare with.
fn definition(asked: &impl Serialize) -> Digest {
    Digest::of(&serde_json::to_vec(asked).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Merged;
    use crate::room::Room;

    fn site(room: &Room) -> Site {
        let paths = Paths::under(room.path());
        let text = "url = \"http://h\"\nenvironment = \"prod\"\nallow_root_apps = [\"web\"]\n".to_owned();
        let merged = Merged::of(&[config::Fragment { path: "c".into(), text }]).unwrap();
        Site {
            settings: Settings::of(&merged, &paths).unwrap(),
            journal: Journal::at(&paths).unwrap(),
            id: "d".parse().unwrap(),
            seed: 7,
            platform: Platform::any(),
            supervisor: Supervisor::Hooks,
            process: Process::Command,
            launched: Launched::default(),
            paths,
        }
    }

    #[test]
    fn a_device_without_anything_is_a_device() {
        let room = Room::new();
        let (device, unreadable) = device(&site(&room), &BTreeMap::new()).unwrap();
        assert!(device.apps.is_empty() && unreadable.is_empty());
        assert!(device.free.bytes > 0);
        assert_eq!((device.keep, device.mode, device.seed), (0, Mode::Apply, 7));
    }

    #[test]
    fn trees_links_recipes_and_leftovers_are_seen() {
        let room = Room::new();
        let site = site(&room);
        let web: AppName = "web".parse().unwrap();
        let [old, new, part] = [b"old", b"new", b"prt"].map(|name| Digest::of(name));
        for tree in [old, new] {
            std::fs::create_dir_all(site.paths.tree(&web, &tree)).unwrap();
        }
        let text = "format = 1\n[[check]]\nname = \"c\"\ntcp = \"h:1\"\n";
        std::fs::write(site.paths.tree(&web, &new).join("release.toml"), text).unwrap();
        std::fs::create_dir_all(site.paths.staged(&web, &part)).unwrap();
        std::fs::create_dir_all(site.paths.releases(&web).join(format!("{part}.gone"))).unwrap();
        std::fs::create_dir_all(site.paths.journal()).unwrap();
        std::fs::write(site.paths.journal().join("api.trial.json"), "torn").unwrap();
        disk::point(&site.paths.current(&web), Path::new("/etc")).unwrap();
        let memory = Memory { counted: true, ..Memory::default() };
        let (device, unreadable) = device(&site, &BTreeMap::from([(web.clone(), memory)])).unwrap();
        let app = &device.apps[&web];
        assert_eq!(app.current, None, "a foreign link is no release");
        assert_eq!(app.staged, [part]);
        assert_eq!(app.sealed.len(), 2);
        assert_eq!(app.recipes[&old], Err("the tree has none".into()));
        assert_eq!(app.recipes[&new].as_ref().unwrap().checks["c"].deadline, 60);
        assert!(app.memory.counted);
        assert_eq!(unreadable.len(), 1);
        assert!(device.apps.contains_key(&"api".parse().unwrap()));
    }
}
