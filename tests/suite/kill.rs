//! The real programs, killed at every system call by which they change the disk: what lies there is whole, and the next
//! run ends where an undisturbed one would have.
//!
//! The page cache survives a kill, so this tests order and leftovers; what a power cut loses is the crash suite's.
//! By default an eighth of the places, another one each day; `TIDELOCK_KILL=all` strikes at all of them, and
//! `TIDELOCK_KILL=3` at the third eighth.

mod launch;
mod people;
mod push;
mod serve;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidelock::io::fetch;
use tidelock_protocol::digest::Digest;
use tidelock_tests::program::run;
use tidelock_tests::programs::Ours;
use tidelock_tests::scratch::Scratch;
use tidelock_tests::served::Served;
use tidelock_tests::strace::{Strike, kill, strikes};
use tidelock_tests::world::{Device, Fleet};

/// No hooks, so that every system call is the agent's own; a check, so that there is a trial.
fn recipe(served: &Served) -> String {
    format!("format = 1\n[[check]]\nname = \"open\"\ntcp = \"{}\"\n", served.address())
}

struct Stage {
    scratch: Scratch,
    fleet: Fleet,
    served: Served,
}

impl Stage {
    /// A fleet with one app of one release, served.
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let fleet = Fleet::init(&scratch.join("fleet"));
        fleet.publish().well();
        let served = Served::start(&fleet.out(), None).unwrap();
        fleet.write("environments/staging.toml", "[apps]\nweb = \"follow\"\n");
        fleet.write("apps/web/app.toml", "path = \"apps/web/tree\"\n");
        fleet.write("apps/web/tree/release.toml", recipe(&served));
        fleet.write("apps/web/tree/kept/much", "x".repeat(300_000));
        let stage = Self { scratch, fleet, served };
        stage.release("one");
        stage
    }

    fn release(&self, page: &str) {
        self.fleet.write("apps/web/tree/page", page);
        self.fleet.commit(page);
        self.fleet.publish().well();
    }

    /// A device that has not joined.
    fn device(&self, name: &str) -> Device {
        let device = Device::new(&self.scratch.join(name), Ours::Agent);
        device.configure("test", "allow_root_apps = [\"web\"]\n");
        device
    }

    /// A copy of `device`, as it lies there.
    fn copy(&self, device: &Device) -> Device {
        let copy = self.scratch.join("copy");
        let (from, to) = (device.root().to_str().unwrap(), copy.to_str().unwrap());
        run("rm", &["-rf", to]);
        run("cp", &["-a", from, to]);
        Device::new(&copy, Ours::Agent)
    }

    /// Runs `arguments` on copies of `device`, killed at every place; after each kill everything sealed is whole, and
    /// then `after` must hold.
    fn everywhere(&self, device: &Device, arguments: &[&str], code: i32, after: impl Fn(&Device, &Strike)) {
        self.anywhere(device, arguments, code, |device, strike| {
            sealed_is_whole(device, strike);
            after(device, strike);
        });
    }

    /// The same where a tree was not whole before.
    fn anywhere(&self, device: &Device, arguments: &[&str], code: i32, after: impl Fn(&Device, &Strike)) {
        let undisturbed = self.copy(device);
        let all = strikes(&undisturbed.command(arguments), code, &[undisturbed.root()], self.scratch.path());
        let chosen = eighth(&all);
        let (count, whole) = (chosen.len(), all.len());
        let mut killed = 0;
        for strike in chosen {
            let device = self.copy(device);
            killed += usize::from(kill(&device.command(arguments), strike, self.scratch.path()));
            after(&device, strike);
        }
        println!("kill {}: {killed} of {count} kills struck, of {whole} places", arguments[0]);
        assert!(killed * 10 >= count * 9, "most kills strike: {killed} of {count}");
    }
}

/// The part of all places that this run strikes at.
fn eighth(all: &[Strike]) -> Vec<&Strike> {
    let chosen = std::env::var("TIDELOCK_KILL").unwrap_or_default();
    if chosen == "all" {
        return all.iter().collect();
    }
    let day = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 86_400;
    let shard = usize::try_from(chosen.parse::<u64>().unwrap_or_else(|_| day()) % 8).unwrap();
    all.iter().enumerate().filter(|(place, _)| place % 8 == shard).map(|(_, strike)| strike).collect()
}

/// Of every app: each directory that has the name of a tree is that tree, whole; and the link names one of them or is
/// not there.
pub(crate) fn sealed_is_whole(device: &Device, strike: &dyn Debug) {
    for app in ["web", "tidelock"] {
        app_is_whole(device, app, strike);
    }
}

fn app_is_whole(device: &Device, app: &str, strike: &dyn Debug) {
    let releases = device.app(app).join("releases");
    let names =
        std::fs::read_dir(&releases).map(|entries| entries.map(|entry| entry.unwrap().path()).collect());
    for place in names.unwrap_or_else(|_| Vec::<PathBuf>::new()) {
        let name = place.file_name().unwrap().to_str().unwrap().parse::<Digest>();
        if let Ok(tree) = name {
            assert_eq!(fetch::verify(&place, &tree).unwrap(), [], "{strike:?}");
        }
    }
    if let Some(live) = device.live(app) {
        assert!(releases.join(live).is_dir(), "{strike:?}: the link names nothing");
    }
}

fn leftovers(device: &Device) -> Vec<String> {
    let listed =
        run("find", &[device.app("web").to_str().unwrap(), "-name", "*.part", "-o", "-name", "*.gone"]);
    listed.lines().map(str::to_owned).collect()
}

fn page(device: &Device) -> String {
    String::from_utf8(device.live_file("web", "page").unwrap_or_default()).unwrap()
}

#[test]
fn an_update_killed_anywhere_leaves_a_whole_release_and_the_next_one_ends_where_it_should() {
    let stage = Stage::new("kill-update");
    let device = stage.device("device");
    device.join(stage.served.url(), &stage.fleet);
    let converges = |expected: &'static str| {
        move |device: &Device, strike: &Strike| {
            let ran = device.update();
            assert_eq!(ran.code, 0, "{strike:?}: {}", ran.said());
            assert_eq!((page(device).as_str(), device.state("web").as_str()), (expected, "Synced Healthy"));
            assert_eq!(leftovers(device), [""; 0], "{strike:?}");
        }
    };
    stage.everywhere(&device, &["update"], 0, converges("one"));
    device.update().well();
    stage.release("two");
    stage.everywhere(&device, &["update"], 0, converges("two"));
}

#[test]
fn a_join_killed_anywhere_is_done_by_the_next_one() {
    let stage = Stage::new("kill-join");
    let device = stage.device("device");
    let hash = stage.fleet.root_sha256();
    let arguments = ["join", stage.served.url(), "--root-sha256", &hash, "--env", "staging"];
    stage.everywhere(&device, &arguments, 0, |device, strike| {
        let ran = device.run(&arguments);
        assert_eq!(ran.code, 0, "{strike:?}: {}", ran.said());
        device.update().well();
        assert_eq!(device.state("web"), "Synced Healthy", "{strike:?}");
    });
}

#[test]
fn an_import_killed_anywhere_is_done_by_the_next_boot_and_leaves_no_secret() {
    let stage = Stage::new("kill-import");
    let device = stage.device("device");
    let boot = device.root().join("boot");
    std::fs::create_dir(&boot).unwrap();
    let told =
        format!("url = \"{}\"\nenvironment = \"staging\"\nheader_file = \"header\"\n", stage.served.url());
    std::fs::write(boot.join("tidelock.toml"), told).unwrap();
    std::fs::write(boot.join("header"), "X-Fleet: a secret\n").unwrap();
    std::fs::copy(stage.fleet.out().join("metadata/1.root.json"), boot.join("root.json")).unwrap();
    stage.everywhere(&device, &["import"], 0, |device, strike| {
        let ran = device.run(&["import"]);
        assert_eq!(ran.code, 0, "{strike:?}: {}", ran.said());
        let boot = device.root().join("boot");
        assert!(!boot.join("header").exists() && !boot.join("tidelock.toml").exists(), "{strike:?}");
        device.update().well();
        assert_eq!(device.state("web"), "Synced Healthy", "{strike:?}");
    });
}

#[test]
fn an_app_that_goes_and_comes_back_killed_anywhere_is_where_it_should_be_after_the_next_turn() {
    let stage = Stage::new("kill-orphan");
    let device = stage.device("device");
    device.join(stage.served.url(), &stage.fleet);
    device.update().well();
    let wants = |apps: &str| {
        stage.fleet.write("environments/staging.toml", format!("[apps]\n{apps}"));
        stage.fleet.commit(&format!("what is wanted: {apps:?}"));
        stage.fleet.publish().well();
    };
    wants("");
    stage.everywhere(&device, &["update"], 0, |device, strike| {
        device.update().well();
        assert_eq!((device.live("web"), device.state("web")), (None, "Synced Missing".into()), "{strike:?}");
    });
    device.update().well();
    wants("web = \"follow\"\n");
    stage.everywhere(&device, &["update"], 0, |device, strike| {
        device.update().well();
        assert_eq!(
            (page(device), device.state("web")),
            ("one".into(), "Synced Healthy".into()),
            "{strike:?}"
        );
        let left = device.root().join("var/lib/tidelock/journal/web.orphan.json");
        assert!(!left.exists(), "{strike:?}");
    });
}

#[test]
fn a_publish_killed_anywhere_leaves_a_valid_repository_and_the_next_one_finishes() {
    let stage = Stage::new("kill-publish");
    let device = stage.device("device");
    device.join(stage.served.url(), &stage.fleet);
    device.update().well();
    stage.fleet.write("apps/web/tree/page", "two");
    stage.fleet.commit("two");
    let kept = stage.scratch.join("kept");
    let places = ["out", "state"].map(|name| stage.scratch.join("fleet").join(name));
    let copy = |from: &Path, to: &Path| {
        for name in ["out", "state"] {
            run("rm", &["-rf", to.join(name).to_str().unwrap()]);
            run("cp", &["-a", from.join(name).to_str().unwrap(), to.to_str().unwrap()]);
        }
    };
    std::fs::create_dir(&kept).unwrap();
    copy(&stage.scratch.join("fleet"), &kept);
    let publish: Command = stage.fleet.command("publish");
    let all = strikes(&publish, 0, &[&places[0], &places[1]], stage.scratch.path());
    let chosen = eighth(&all);
    let (count, whole, mut killed) = (chosen.len(), all.len(), 0);
    for strike in chosen {
        copy(&kept, &stage.scratch.join("fleet"));
        killed += usize::from(kill(&publish, strike, stage.scratch.path()));
        let reader = stage.copy(&device);
        let ran = reader.update();
        assert_eq!(ran.code, 0, "{strike:?}: {}", ran.said());
        assert!(["one", "two"].contains(&page(&reader).as_str()), "{strike:?}");
        let ran = stage.fleet.publish();
        assert_eq!(ran.code, 0, "{strike:?}: {}", ran.said());
        reader.update().well();
        assert_eq!(page(&reader), "two", "{strike:?}");
    }
    println!("kill publish: {killed} of {count} kills struck, of {whole} places");
    assert!(killed * 10 >= count * 9, "most kills strike: {killed} of {count}");
}
