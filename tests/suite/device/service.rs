//! The daemon under a service manager: what the manager hears, and a device that is not part of a fleet yet.

use std::cell::RefCell;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tidelock_tests::program::until;
use tidelock_tests::programs::Ours;
use tidelock_tests::scratch::Scratch;
use tidelock_tests::world::{Daemon, Device};

use super::stage::Stage;

/// A service manager's ear.
struct Manager {
    socket: UnixDatagram,
    heard: RefCell<Vec<String>>,
}

impl Manager {
    /// One, and the device that speaks to it.
    fn of(device: &Device, watchdog: Option<Duration>) -> (Self, Device) {
        let place = device.root().join("notify");
        let socket = UnixDatagram::bind(&place).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut device = device.clone().with("NOTIFY_SOCKET", place.to_str().unwrap());
        if let Some(watchdog) = watchdog {
            device = device.with("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        (Self { socket, heard: RefCell::default() }, device)
    }

    /// Everything that was heard, and holds `words`.
    fn heard(&self, words: &str) -> Vec<String> {
        let mut buffer = [0; 4096];
        while let Ok(read) = self.socket.recv(&mut buffer) {
            self.heard.borrow_mut().push(String::from_utf8_lossy(&buffer[..read]).into_owned());
        }
        self.heard.borrow().iter().filter(|said| said.contains(words)).cloned().collect()
    }

    /// Waits until a message that holds `words` came, and gives it.
    fn hears(&self, words: &str) -> String {
        until(&format!("the manager hears {words:?}"), || !self.heard(words).is_empty());
        self.heard(words).swap_remove(0)
    }

    /// Waits until so many signs of life came from now on.
    fn feels(&self, signs: usize) {
        self.heard.borrow_mut().clear();
        until("the watchdog is fed", || self.heard("WATCHDOG=1").len() >= signs);
    }
}

#[test]
fn the_manager_hears_that_it_is_ready_why_each_app_is_where_it_is_and_that_it_ends() {
    let stage = Stage::web("service-notify");
    let (manager, device) = Manager::of(&stage.device, None);
    let daemon = Daemon::start(&device, &stage.scratch.join("log"));
    manager.hears("READY=1");
    let said = manager.hears("is wanted and committed");
    assert!(said.starts_with("STATUS=web: git-"), "{said}");
    drop(stage.served);
    assert!(manager.hears("STATUS=no word from the publisher (").contains("; web: git-"));
    assert!(manager.heard("WATCHDOG=1").is_empty(), "nobody asked for it");
    daemon.stop();
    manager.hears("STOPPING=1");
}

#[test]
fn what_went_wrong_is_logged_as_a_warning_and_what_goes_well_is_not() {
    let stage = Stage::web("service-warning");
    let log = stage.scratch.join("log");
    let said = || fs::read_to_string(&log).unwrap();
    let daemon = Daemon::start(&stage.device, &log);
    until("it is installed", || said().contains("is wanted and committed"));
    assert!(!said().contains("warning: "), "{}", said());
    stage.change("web", "good", None);
    daemon.poke();
    until("it is refused", || {
        said().lines().any(|line| line.starts_with("warning: web: git-") && line.contains("is refused"))
    });
}

#[test]
fn the_watchdog_is_fed_while_the_loop_sleeps_and_while_a_hook_runs() {
    let stage = Stage::web("service-watchdog");
    stage.update(0);
    let slow = "format = 1\n[hooks]\nstart = \"sleep 3\"\ntimeout = 60\n";
    stage.change("web", "release.toml", Some(slow));
    stage.device.configure("y", "poll = \"7d\"\nallow_root_apps = [\"web\"]\n");
    let (manager, device) = Manager::of(&stage.device, Some(Duration::from_millis(1200)));
    let daemon = Daemon::start(&device, &stage.scratch.join("log"));
    manager.hears("is wanted and committed");
    // Asleep for days, and still one sign after the other.
    manager.feels(4);
    daemon.poke();
    manager.hears("is in trial");
    manager.feels(4);
    assert!(manager.heard("committed").is_empty(), "the hook still ran");
    daemon.stop();
}

#[test]
fn a_device_that_is_not_part_of_a_fleet_waits_until_it_is() {
    let stage = Stage::web("service-unjoined");
    let scratch = Scratch::new("service-unjoined-device");
    let device = Device::new(&scratch.join("device"), Ours::Agent);
    device.configure("test", "poll = \"1s\"\nallow_root_apps = [\"web\"]\n");
    let (manager, heard) = Manager::of(&device, None);
    let daemon = Daemon::start(&heard, &scratch.join("log"));
    manager.hears("READY=1");
    let said = manager.hears("STATUS=not part of a fleet yet");
    assert!(said.contains("run `tidelock join` first"), "{said}");
    assert!(!device.root().join("var").exists(), "nothing is written before there is a fleet");
    device.join(stage.served.url(), &stage.fleet);
    until("the release is live", || device.live("web").is_some());
    daemon.stop();
    let log = fs::read_to_string(scratch.join("log")).unwrap();
    assert_eq!(log.matches("not part of a fleet yet").count(), 1, "{log}");
}

#[test]
fn a_configuration_that_is_wrong_is_an_error_and_not_waited_for() {
    let stage = Stage::web("service-wrong");
    stage.device.configure("z", "poll = \"soon\"\n");
    let ran = stage.device.run(&["run"]);
    assert_eq!(ran.code, 1);
    assert!(ran.said().contains("expected a time"), "{}", ran.said());
}
