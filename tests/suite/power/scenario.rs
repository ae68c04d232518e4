//! What the agent does while the disk is recorded: a fleet, a device on each file system, and the command under test.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidelock_tests::power::{Boots, Mounted, Recording, System};
use tidelock_tests::programs::Ours;
use tidelock_tests::release::noise;
use tidelock_tests::scratch::Scratch;
use tidelock_tests::served::Served;
use tidelock_tests::world::{Daemon, Device, Fleet, Ran};

use super::systems;

/// No agent waits here: the start fails or it does not, and the check is true at once.
const RECIPE: &str = r#"format = 1
[hooks]
start = "test ! -e fails-to-start"
[[check]]
name = "page"
command = "test -e page"
"#;

/// No agent waits here either, and nothing of systemd is asked: of that a device that only looks like a machine has none.
fn recipe_of_a_machine(served: &Served) -> String {
    format!("format = 1\n[[check]]\nname = \"open\"\ntcp = \"{}\"\ndeadline = 1\n", served.address())
}
/// Nobody listens there.
const CLOSED: &str = "format = 1\n[[check]]\nname = \"open\"\ntcp = \"127.0.0.1:1\"\ndeadline = 1\n";

/// A release of the agent itself: it is the packaged one again, and has the check that every agent has.
const ITSELF: &str = "format = 1\n";
const PROGRAM: &str = "#!/bin/sh\nexec \"$TIDELOCK_LAUNCHER\" \"$@\"\n";
/// A device whose place among those that poll every second is near the beginning: nobody waits long for its first poll.
const EARLY: &str = "poll = \"1s\"\nid = \"early-549\"\n";
/// The longest that the daemon is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scenario {
    /// `join` and the first `update`.
    FirstInstall,
    /// `update` to another release.
    Update,
    /// `update` to a release that fails its trial, and the way back.
    FailingUpdate,
    /// `rollback` by hand.
    Rollback,
    /// `verify --heal` of a tree that somebody wrote into.
    Heal,
    /// The daemon, which becomes another release of itself.
    Itself,
    /// The same with a release that cannot be run, and the way back.
    FailingItself,
}

/// What is not as it was signed where a tree is to be healed: bytes that changed, a file that went, one that came, and
/// bytes of a file that both releases have, which on a machine is one file.
pub(super) const DAMAGE: [&str; 4] = ["changed", "kept/much", "stranger", "kept/both"];

/// What kind of device it happens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Home {
    /// A device without systemd, below a root of its own.
    Root,
    /// A machine that systemd runs: its releases share the inodes of what did not change.
    Machine,
}

/// Who else is at work on the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Neighbour {
    /// Nobody.
    None,
    /// A program that syncs a file of its own all the time: by that the journal of the file system is written between any
    /// two of the agent's effects, and the bytes of the agent's files are not.
    Busy,
}

/// One recording among the others.
pub(super) type Kind = (Scenario, Home, System, Neighbour);

/// A scenario, with the fleet that is published for it.
pub(super) struct Stage {
    pub(super) scenario: Scenario,
    pub(super) home: Home,
    pub(super) scratch: Scratch,
    fleet: Fleet,
    served: Served,
}

/// A scenario as it went on one file system.
pub(super) struct Played<'a> {
    pub(super) stage: &'a Stage,
    pub(super) system: System,
    pub(super) neighbour: Neighbour,
    pub(super) recording: Recording,
}

impl Scenario {
    pub(super) const ALL: [Self; 7] = [
        Self::FirstInstall,
        Self::Update,
        Self::FailingUpdate,
        Self::Rollback,
        Self::Heal,
        Self::Itself,
        Self::FailingItself,
    ];

    /// Those in which releases share something; the agent itself is no other one there.
    pub(super) const SHARED: [Self; 4] = [Self::Update, Self::FailingUpdate, Self::Rollback, Self::Heal];

    /// The app that all of it is about.
    pub(super) fn app(self) -> &'static str {
        if [Self::Itself, Self::FailingItself].contains(&self) { "tidelock" } else { "web" }
    }

    /// The pages that may be live while the command is at work; the last one is the goal.
    pub(super) fn pages(self) -> &'static [&'static str] {
        match self {
            Self::FirstInstall => &["", "one"],
            Self::Heal => &["two"],
            Self::Update | Self::Itself => &["one", "two"],
            Self::FailingUpdate | Self::Rollback | Self::FailingItself => &["two", "one"],
        }
    }

    pub(super) fn goal(self) -> &'static str {
        self.pages().last().unwrap()
    }

    /// Sync and health at the goal, and how `update` ends there.
    pub(super) fn rest(self) -> (&'static str, i32) {
        match self {
            Self::FirstInstall | Self::Update | Self::Heal | Self::Itself => ("Synced Healthy", 0),
            Self::FailingUpdate | Self::Rollback | Self::FailingItself => ("OutOfSync Healthy", 3),
        }
    }
}

impl Stage {
    /// A fleet whose first release is published; devices come later.
    pub(super) fn new(scenario: Scenario, home: Home) -> Self {
        let scratch = Scratch::new("power-stage");
        let fleet = Fleet::init(&scratch.join("fleet"));
        fleet.publish().well();
        let served = Served::start(&fleet.out(), None).unwrap();
        let app = scenario.app();
        fleet.want(&[app]);
        fleet.write(&format!("apps/{app}/app.toml"), format!("path = \"apps/{app}/tree\"\n"));
        let recipe = match (app, home) {
            ("web", Home::Root) => RECIPE.to_owned(),
            ("web", Home::Machine) => recipe_of_a_machine(&served),
            _ => ITSELF.to_owned(),
        };
        fleet.write(&format!("apps/{app}/tree/release.toml"), recipe);
        fleet.write(&format!("apps/{app}/tree/bin/tidelock"), PROGRAM);
        fleet.write(&format!("apps/{app}/tree/kept/much"), noise(1, 100_000));
        fleet.write(&format!("apps/{app}/tree/kept/both"), noise(2, 20_000));
        is_program(&fleet, app, true);
        published(&fleet, app, "one");
        Self { scenario, home, scratch, fleet, served }
    }

    /// Each scenario on each kind of device where it differs.
    pub(super) fn all() -> Vec<Self> {
        let everywhere = Scenario::ALL.map(|scenario| Self::new(scenario, Home::Root));
        let shared = Scenario::SHARED.map(|scenario| Self::new(scenario, Home::Machine));
        everywhere.into_iter().chain(shared).collect()
    }

    /// The device whose root is at `root`.
    pub(super) fn device(&self, root: &Path) -> Device {
        let device = Device::new(root, Ours::Agent);
        if self.home == Home::Machine { device.as_machine() } else { device }
    }

    /// Runs the command under test, as often as it takes to get it done once.
    pub(super) fn perform(&self, device: &Device) -> Ran {
        match self.scenario {
            Scenario::FirstInstall => {
                device.join(self.served.url(), &self.fleet);
                device.update()
            }
            Scenario::Update | Scenario::FailingUpdate => device.update(),
            Scenario::Heal => device.run(&["verify", "--heal"]),
            Scenario::Rollback => device.run(&["rollback", "web", "--reason", "too blue"]),
            Scenario::Itself | Scenario::FailingItself => {
                self.supervise(device, self.scenario.goal(), self.scenario.rest().1)
            }
        }
    }

    /// Has the daemon run until the device rests on the release with this page, where `code` is 3 with another one refused;
    /// then it is asked to end.
    fn supervise(&self, device: &Device, goal: &str, code: i32) -> Ran {
        let scratch = Scratch::new("power-daemon");
        let log = scratch.join("log");
        let mut daemon = Daemon::start(device, &log);
        let end = Instant::now() + PATIENCE;
        while !(rests_on(device, goal, code == 3) && asked(&log)) {
            let said = || fs::read_to_string(&log).unwrap();
            assert!(daemon.runs(), "the daemon ended: {}", said());
            assert!(Instant::now() < end, "the daemon does not come to rest on {goal}: {}", said());
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon.stop();
        Ran { code, stdout: String::new(), stderr: fs::read_to_string(log).unwrap() }
    }

    /// A disk on which the device rests before the command.
    fn prepare(&self, system: System, scratch: &Scratch) -> Mounted {
        let mounted = Mounted::new(system.make(scratch), system).unwrap();
        let device = self.device(mounted.path());
        device.configure("test", &format!("allow_root_apps = [\"{}\"]\n{EARLY}", self.scenario.app()));
        if self.scenario != Scenario::FirstInstall {
            device.join(self.served.url(), &self.fleet);
            match self.scenario {
                Scenario::Itself | Scenario::FailingItself => self.supervise(&device, "one", 0),
                _ => device.update().well(),
            };
        }
        mounted
    }

    /// The release before the one that is under test, where that is about a device which has both.
    fn arrive(&self, device: &Device) {
        if [Scenario::Rollback, Scenario::Heal].contains(&self.scenario) {
            device.update().well();
        }
        if self.scenario == Scenario::Heal {
            let live = device.app("web").join("current/tree");
            let [changed, gone, stranger, both] = DAMAGE.map(|name| live.join(name));
            fs::write(changed, "what an intruder wrote").unwrap();
            fs::remove_file(gone).unwrap();
            fs::write(stranger, "who came along").unwrap();
            fs::write(both, "in place, under every name that it has").unwrap();
        }
    }
}

impl<'a> Played<'a> {
    /// Plays it on a new disk with each kind of file system, alone and with a neighbour.
    pub(super) fn record(stage: &'a Stage) -> Vec<Self> {
        Self::record_with(stage, &[Neighbour::None, Neighbour::Busy], |device| stage.perform(device))
    }

    /// The same with another way to do what is under test.
    pub(super) fn record_with(
        stage: &'a Stage,
        neighbours: &[Neighbour],
        perform: impl Fn(&Device) -> Ran,
    ) -> Vec<Self> {
        let boots = Boots::begin();
        let prepared = systems().into_iter().map(|system| (system, stage.prepare(system, &stage.scratch)));
        let prepared: Vec<_> = prepared.collect();
        match stage.scenario {
            Scenario::FirstInstall | Scenario::Heal => {}
            Scenario::Update | Scenario::Rollback | Scenario::Itself => {}
            Scenario::FailingUpdate if stage.home == Home::Machine => {
                stage.fleet.write("apps/web/tree/release.toml", CLOSED);
            }
            Scenario::FailingUpdate => stage.fleet.write("apps/web/tree/fails-to-start", ""),
            Scenario::FailingItself => is_program(&stage.fleet, "tidelock", false),
        }
        if stage.scenario.pages().contains(&"two") {
            published(&stage.fleet, stage.scenario.app(), "two");
        }
        let mut played = Vec::new();
        for (system, mounted) in prepared {
            stage.arrive(&stage.device(mounted.path()));
            let before = mounted.unmount();
            for neighbour in neighbours {
                // As after a boot: nothing of the last one is in the kernel's memory.
                let mounted = Mounted::new(before.clone(), system).unwrap();
                boots.boot(mounted.path());
                let device = stage.device(mounted.path());
                device.run(&["guard"]).well();
                let recording = mounted.record(|root| {
                    let ran = neighbour.beside(root, || perform(&device));
                    assert!([0, stage.scenario.rest().1].contains(&ran.code), "{}", ran.said());
                });
                let page = device.live_file(stage.scenario.app(), "page").unwrap();
                assert_eq!(String::from_utf8(page).unwrap(), stage.scenario.goal());
                let one = Self { stage, system, neighbour: *neighbour, recording };
                println!("power {:?}: {}", one.kind(), one.recording.told());
                played.push(one);
            }
        }
        played
    }

    /// What tells it from all others.
    pub(super) fn kind(&self) -> Kind {
        (self.stage.scenario, self.stage.home, self.system, self.neighbour)
    }
}

impl Neighbour {
    /// Does something beside it.
    fn beside<T>(self, root: &Path, something: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(self == Self::None);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let mut file = File::create(root.join("of-the-neighbour")).unwrap();
                    file.write_all(b"so far").and_then(|()| file.sync_all()).unwrap();
                }
            });
            let _end = End(&over);
            something()
        })
    }
}

/// The end of the neighbour, also when what it stood beside panics.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn published(fleet: &Fleet, app: &str, page: &str) {
    fleet.write(&format!("apps/{app}/tree/page"), page);
    let changed = noise(page.len() as u64 + u64::from(page.as_bytes()[0]), 60_000);
    fleet.write(&format!("apps/{app}/tree/changed"), changed);
    fleet.commit(page);
    fleet.publish().well();
}

/// Whether the program of the next release is one.
fn is_program(fleet: &Fleet, app: &str, is: bool) {
    let mode = Permissions::from_mode(if is { 0o755 } else { 0o644 });
    fs::set_permissions(fleet.repository().join(format!("apps/{app}/tree/bin/tidelock")), mode).unwrap();
}

/// Whether the newest committed release of the agent itself has this page and is live, nothing is tried, and something is
/// refused or nothing.
fn rests_on(device: &Device, page: &str, refuses: bool) -> bool {
    let journal = device.root().join("var/lib/tidelock/journal");
    let record = |kind: &str| fs::read(journal.join(format!("tidelock.{kind}.json"))).ok();

    let newest = record("committed").and_then(|bytes| {
        let committed: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        Some(committed["record"][0]["setup"]["tree"].as_str()?.to_owned())
    });
    let on = newest.is_some()
        && newest == device.live("tidelock")
        && device.live_file("tidelock", "page") == Some(page.into());
    on && record("trial").is_none() && record("refusals").is_some() == refuses
}

/// Whether whoever writes this log listens to what it is told.
fn asked(log: &Path) -> bool {
    fs::read_to_string(log).unwrap().contains(" asks ")
}
