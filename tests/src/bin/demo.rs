//! `cargo demo`: from a Git commit to a running release on a device, step by step, with the real programs. Every
//! sentence that it prints was seen to be so; it ends with an error when one is not.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use tidelock_tests::authority::Authority;
use tidelock_tests::program::until;
use tidelock_tests::programs::Ours;
use tidelock_tests::relay::Relay;
use tidelock_tests::scratch::Scratch;
use tidelock_tests::world::{Daemon, Device, Fleet, Serve, Supervisor, say};

fn main() -> ExitCode {
    let keep = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--keep") => true,
        Some(_) => {
            say("usage: cargo demo [--keep]      --keep leaves the directories in place at the end");
            return ExitCode::from(2);
        }
    };
    if !Command::new("git")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        say(
            "The demo commits to a Git repository, and there is no program `git` here: install git and try again.",
        );
        return ExitCode::FAILURE;
    }
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let words =
            text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("for a reason without words");
        say(&format!("\nThe demo stopped: {words}\n({})", panic.location().map_or("", |place| place.file())));
    }));
    if std::panic::catch_unwind(|| demo(keep)).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn demo(keep: bool) {
    say("Building tidelock, tidelock-server and a small web app (the first time takes minutes) …");
    for program in [Ours::Agent, Ours::Server, Ours::DemoWeb] {
        program.path();
    }
    let begun = Instant::now();
    let room = Scratch::new("demo");
    let stage = Stage::set(room.path());
    stage.first_release();
    let daemon = Daemon::start(&stage.device, &room.join("agent.log"));
    let second = stage.second_release();
    stage.bad_release(&second);
    stage.revert(&second);
    daemon.stop();
    stage.tampered_block();
    stage.killed_agent();
    let processes = stage.where_everything_lies(room.path());
    drop(stage);
    for id in processes {
        assert!(!Path::new(&format!("/proc/{id}")).exists(), "process {id} is still there");
    }
    say(&format!(
        "\nAll of this took {:.0} seconds; every process that it started has ended.",
        begun.elapsed().as_secs_f32()
    ));
    if keep {
        say(&format!("The directories stay in {}.", room.path().display()));
        std::mem::forget(room);
    } else {
        say("The directories are removed now (`cargo demo --keep` leaves them).");
    }
}

/// Everything that plays along.
struct Stage {
    // Ended in this order.
    serve: Serve,
    relay: Relay,
    web: Supervisor,
    device: Device,
    fleet: Fleet,
}

impl Stage {
    fn set(room: &Path) -> Self {
        title("A fleet, its server, and a device");
        let fleet = Fleet::init(&room.join("server"));
        say("  `tidelock-server init` made a Git repository for the fleet, and its keys.");
        let address = Supervisor::free_address();
        fleet.add_web_app("web", address.port());
        fleet.want(&["web"]);
        fleet.commit("Add the app web");
        say(
            "  The app `web` was committed to it: a small web process, its page, how to start it, how to check it.",
        );
        fleet.publish().well();
        let authority = Authority::new(&room.join("certificates"));
        let serve = Serve::start(&fleet, Some(&authority.server("server")), &room.join("server.log"));
        say(&format!(
            "  `tidelock-server serve` watches the repository and serves what is published: {}",
            serve.url()
        ));
        let relay = Relay::to(serve.address());
        let device = Device::new(&room.join("device"), Ours::Agent);
        let web = Supervisor::start(&device, "web", address);
        device.trusts(&authority.certificate());
        device.configure("poll", "poll = \"1s\"\n");
        device.join(&format!("https://{}", relay.address()), &fleet);
        say("  `tidelock join` gave the device the one thing that it trusts: the hash of the fleet's root.");
        say(&format!("  All that it has lies below {}; nothing here needs root.", device.root().display()));
        Self { serve, relay, web, device, fleet }
    }

    /// Waits for a page to be answered, and for the device to call that healthy.
    fn shows(&self, page: &str) {
        until(&format!("the web process answers {page:?}"), || self.web.page().as_deref() == Some(page));
        until("the device says Synced and Healthy", || self.device.state("web") == "Synced Healthy");
        say(&format!("  The web process answers {page:?}; the device says Synced and Healthy."));
    }

    fn bytes(&self) -> u64 {
        self.relay.down() + self.relay.up()
    }

    fn bundle_bytes(&self) -> u64 {
        let bundles = self.fleet.targets("web", ".tar.gz");
        fs::metadata(bundles.first().expect("the app web was published")).unwrap().len()
    }

    fn live(&self) -> String {
        self.device.live("web").expect("a release is live")
    }

    fn first_release(&self) {
        title("Version 1 is installed");
        assert_eq!(self.web.page(), None, "something answers before anything was installed");
        self.device.update().well();
        self.shows("version 1");
        say(&format!("  It cost {} on the wire.", amount(self.bytes())));
    }

    fn second_release(&self) -> String {
        title("Version 2 is committed in Git");
        let before = self.bytes();
        self.fleet.write("apps/web/tree/page.txt", "version 2\n");
        let commit = self.fleet.commit("Version 2 of the page");
        say(&format!(
            "  git commit {}: another page. Nobody tells the device; it asks every second here.",
            &commit[..12]
        ));
        self.shows("version 2");
        let (cost, whole) = (self.bytes() - before, self.bundle_bytes());
        assert!(cost < whole / 2, "version 2 cost {cost} bytes, and all of it has {whole}");
        say(&format!("  It cost {} on the wire; the whole release has {}.", amount(cost), amount(whole)));
        self.live()
    }

    fn bad_release(&self, good: &str) {
        title("Version 3 is committed, and its health check fails");
        self.fleet.write("apps/web/tree/page.txt", "version 3\n");
        self.fleet.write("apps/web/tree/health.txt", "bad\n");
        self.fleet.commit("Version 3, which is broken");
        until("version 3 is tried", || self.web.page().as_deref() == Some("version 3"));
        say("  Version 3 runs on trial: it answers, and its health check does not pass.");
        until("the device is back on version 2", || self.web.page().as_deref() == Some("version 2"));
        until("the device refuses version 3", || {
            self.device.run(&["why", "web"]).stdout.starts_with("web: refused")
        });
        assert_eq!(self.live(), good, "the link names another release than version 2");
        until("the device is OutOfSync and Healthy", || self.device.state("web") == "OutOfSync Healthy");
        say("  The device went back: the web process answers \"version 2\" again. `tidelock why web` says:");
        for line in self.device.run(&["why", "web"]).well().stdout.lines() {
            say(&format!("    | {line}"));
        }
    }

    fn revert(&self, good: &str) {
        title("git revert");
        let (before, process) = (self.bytes(), self.web.web_id());
        self.fleet.git(&["revert", "--no-edit", "HEAD"]);
        self.shows("version 2");
        assert_eq!(self.live(), good, "the revert led to another release than version 2");
        assert_eq!(self.web.web_id(), process, "the web process was started anew");
        let cost = self.bytes() - before;
        assert!(cost < 30_000, "the revert cost {cost} bytes");
        say(&format!(
            "  The device was there already: {} of signed words, and nothing was started anew.",
            amount(cost)
        ));
    }

    /// Commits a page and some new data, and waits until that is published.
    fn publish(&self, page: &str, data: &[u8]) {
        let timestamp = || fs::read(self.fleet.out().join("metadata/timestamp.json")).unwrap();
        let before = timestamp();
        self.fleet.write("apps/web/tree/page.txt", format!("{page}\n"));
        self.fleet.write("apps/web/tree/data", data);
        self.fleet.commit(page);
        until(&format!("{page} is published"), || timestamp() != before);
    }

    fn tampered_block(&self) {
        title("Version 4, and somebody tampers with it on the server");
        self.publish("version 4", &noise(4, 300_000));
        let before = self.live();
        let bundle = self.fleet.targets("web", ".tar.gz").remove(0);
        let good = fs::read(&bundle).unwrap();
        let mut bad = good.clone();
        bad.iter_mut().step_by(1000).for_each(|byte| *byte ^= 1);
        fs::write(&bundle, bad).unwrap();
        let refused = self.device.update();
        assert_ne!(refused.code, 0, "a tampered bundle was taken: {}", refused.said());
        assert_eq!(self.live(), before, "a tampered bundle became live");
        assert_eq!(self.web.page().as_deref(), Some("version 2"));
        say("  Some bytes of the bundle were flipped. `tidelock update` refused it, and nothing changed:");
        for line in refused.stderr.lines() {
            say(&format!("    | {line}"));
        }
        fs::write(&bundle, good).unwrap();
        self.device.update().well();
        say("  The bytes were put right, and the device asked again:");
        self.shows("version 4");
    }

    fn killed_agent(&self) {
        title("Version 5, and the agent is killed in the middle of it");
        self.publish("version 5", &noise(5, 8_000_000));
        let (before, whole, process) = (self.live(), self.bundle_bytes(), self.web.web_id());
        self.relay.fall_silent_after(whole / 2);
        let mut agent =
            self.device.command(&["update"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("half of it has come", || self.relay.is_silent());
        // What has come may still lie in the buffers of the network; a killed agent keeps what is on its disk.
        until("most of that half is on the device's disk", || self.staged_bytes() > whole / 4);
        assert!(agent.try_wait().unwrap().is_none(), "the agent ended with half of a release");
        agent.kill().unwrap();
        agent.wait().unwrap();
        self.relay.cut();
        assert_eq!(self.live(), before, "half a release became live");
        assert_eq!(self.web.page().as_deref(), Some("version 4"));
        assert_eq!(self.web.web_id(), process, "the web process was started anew");
        say(
            "  Half of it had come when the agent got SIGKILL. The web process goes on and answers \"version 4\".",
        );
        self.relay.speak();
        let spent = self.bytes();
        self.device.update().well();
        self.shows("version 5");
        let cost = self.bytes() - spent;
        assert!(cost < whole * 3 / 4, "coming back cost {cost} bytes, and the whole release has {whole}");
        say(&format!(
            "  The rest cost {} on the wire; the whole release has {}.",
            amount(cost),
            amount(whole)
        ));
        self.device.run(&["verify"]).well();
        say("  `tidelock verify` hashed every file of it again and found no difference.");
    }

    /// Bytes of the release that is being fetched, as far as they are on the device's disk.
    fn staged_bytes(&self) -> u64 {
        let releases = self.device.root().join("var/lib/tidelock/apps/web/releases");
        let entries =
            |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let staged = entries(&releases).filter(|path| path.extension().is_some_and(|end| end == "part"));
        let files = staged.flat_map(|path| entries(&path.join("tree")));
        files.filter_map(|file| file.metadata().ok()).map(|found| found.len()).sum()
    }

    /// Says it, and gives back the processes that are to be gone in the end.
    fn where_everything_lies(&self, room: &Path) -> Vec<u32> {
        title("Where everything lies");
        let lines = [
            ("what the team edits (Git)", self.fleet.repository()),
            ("the fleet's private keys", self.fleet.keys()),
            ("what is published: any web server could serve it", self.fleet.out()),
            ("the device's configuration and trusted root", self.device.root().join("etc/tidelock")),
            ("its releases and records", self.device.root().join("var/lib/tidelock")),
            ("what server and agent logged", room.join("*.log")),
        ];
        for (what, path) in lines {
            say(&format!("  {:<50} {}", what, path.display()));
        }
        let processes = [Some(self.serve.id()), Some(self.web.id()), self.web.web_id()];
        let processes: Vec<u32> = processes.into_iter().flatten().collect();
        say(&format!(
            "  processes: tidelock-server, the app's supervisor, the web process {processes:?}; they end now"
        ));
        processes
    }
}

fn title(words: &str) {
    say(&format!("\n{words}"));
}

fn amount(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

/// Bytes that nothing compresses, always the same for one seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}
