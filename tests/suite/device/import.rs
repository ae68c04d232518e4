//! First boot: what lies on the boot partition makes a device part of its fleet, once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tidelock_tests::programs::Ours;
use tidelock_tests::world::{Daemon, Device};

use super::stage::Stage;

const SECRET: &str = "X-Fleet: the word of this fleet\n";

/// A device with nothing but a boot partition, mounted at `place`.
fn blank(stage: &Stage, name: &str, place: &str) -> (Device, PathBuf) {
    let device = Device::new(&stage.scratch.join(name), Ours::Agent);
    let boot = device.root().join(place);
    fs::create_dir_all(&boot).unwrap();
    fs::write(
        boot.join("tidelock.toml"),
        format!(
            "url = \"{}\"\nenvironment = \"staging\"\nallow_root_apps = [\"web\"]\nheader_file = \"header\"\n\
             [labels]\nsite = \"north\"\n",
            stage.served.url()
        ),
    )
    .unwrap();
    fs::copy(stage.fleet.out().join("metadata/1.root.json"), boot.join("root.json")).unwrap();
    fs::write(boot.join("header"), SECRET).unwrap();
    (device, boot)
}

/// What lies on the boot partition, by name.
fn names(boot: &PathBuf) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(boot).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_boot_partition_makes_a_device_part_of_its_fleet_and_its_secret_is_used_once_and_removed() {
    let stage = Stage::web("import");
    for place in ["boot/firmware", "boot"] {
        let (device, boot) = blank(&stage, &place.replace('/', "-"), place);
        let ran = device.run(&["import"]).well();
        assert!(ran.stdout.contains("is of environment staging"), "{}", ran.said());
        assert_eq!(names(&boot), ["root.json", "tidelock.toml.imported"]);
        let kept = device.root().join("etc/tidelock/header");
        assert_eq!(fs::read_to_string(&kept).unwrap(), SECRET);
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
        device.update().well();
        assert_eq!(device.state("web"), "Synced Healthy");
        let ran = device.run(&["import"]).well();
        assert!(
            ran.stdout.contains("there is no tidelock.toml in /boot/firmware or /boot"),
            "{}",
            ran.said()
        );
    }
}

#[test]
fn a_daemon_that_waits_takes_what_is_imported_beside_it() {
    let stage = Stage::web("import-daemon");
    let (device, _) = blank(&stage, "blank", "boot");
    let daemon = Daemon::start(&device, &stage.scratch.join("log"));
    tidelock_tests::program::until("the daemon waits", || {
        fs::read_to_string(stage.scratch.join("log")).unwrap().contains("not part of a fleet yet")
    });
    device.run(&["import"]).well();
    tidelock_tests::program::until("the app runs", || device.live("web").is_some());
    daemon.stop();
}

#[test]
fn a_device_that_is_part_of_a_fleet_is_imported_nothing_into() {
    let stage = Stage::web("import-again");
    let (device, boot) = blank(&stage, "blank", "boot");
    device.run(&["import"]).well();
    let config = device.root().join("etc/tidelock/config.toml");
    let before = fs::read(&config).unwrap();
    fs::write(boot.join("tidelock.toml"), "url = \"http://127.0.0.1:1\"\nenvironment = \"prod\"\n").unwrap();
    fs::write(boot.join("header"), "another secret").unwrap();
    let ran = device.run(&["import"]);
    assert_eq!(ran.code, 3, "{}", ran.said());
    assert!(ran.stderr.contains("configured already"), "{}", ran.said());
    assert_eq!(fs::read(&config).unwrap(), before);
    assert_eq!(fs::read_to_string(boot.join("header")).unwrap(), "another secret");
    let note = fs::read_to_string(boot.join("tidelock.error.txt")).unwrap();
    assert!(note.contains("configured already"), "{note}");
}

#[test]
fn a_boot_partition_that_is_wrong_says_why_beside_it_and_leaves_the_device_unconfigured() {
    let stage = Stage::web("import-wrong");
    type Change = fn(&PathBuf);
    let cases: [(&str, Change, &str); 6] = [
        ("key", |boot| add(boot, "evironment = \"prod\"\n"), "environment"),
        ("toml", |boot| add(boot, "= 1\n"), "tidelock.toml"),
        ("root", |boot| fs::remove_file(boot.join("root.json")).unwrap(), "root.json"),
        ("forged", |boot| fs::write(boot.join("root.json"), "{}").unwrap(), "the root"),
        ("secret", |boot| fs::remove_file(boot.join("header")).unwrap(), "header"),
        ("url", |boot| fs::write(boot.join("tidelock.toml"), "environment = \"x\"\n").unwrap(), "url"),
    ];
    for (name, change, said) in cases {
        let (device, boot) = blank(&stage, name, "boot");
        let good = fs::read(boot.join("tidelock.toml")).unwrap();
        change(&boot);
        let ran = device.run(&["import"]);
        assert_eq!(ran.code, 1, "{name}: {}", ran.said());
        let note = fs::read_to_string(boot.join("tidelock.error.txt")).unwrap();
        assert!(note.contains(said) && ran.stderr.contains(note.trim()), "{name}: {note}: {}", ran.said());
        assert!(!device.root().join("etc/tidelock/config.toml").exists(), "{name}");
        // Put right, it is taken, and the note goes.
        fs::write(boot.join("tidelock.toml"), good).unwrap();
        fs::write(boot.join("header"), SECRET).unwrap();
        fs::copy(stage.fleet.out().join("metadata/1.root.json"), boot.join("root.json")).unwrap();
        device.run(&["import"]).well();
        assert_eq!(names(&boot), ["root.json", "tidelock.toml.imported"], "{name}");
    }
}

fn add(boot: &Path, line: &str) {
    let path = boot.join("tidelock.toml");
    let text = format!("{line}{}", fs::read_to_string(&path).unwrap());
    fs::write(path, text).unwrap();
}

#[test]
fn an_import_that_lost_its_power_after_the_configuration_is_ended_by_the_next_boot() {
    let stage = Stage::web("import-cut");
    let (device, boot) = blank(&stage, "blank", "boot");
    let told = fs::read(boot.join("tidelock.toml")).unwrap();
    device.run(&["import"]).well();
    // As a cut leaves it before the secret goes, and as one does after.
    for secret in [true, false] {
        fs::remove_file(boot.join("tidelock.toml.imported")).unwrap();
        fs::write(boot.join("tidelock.toml"), &told).unwrap();
        if secret {
            fs::write(boot.join("header"), SECRET).unwrap();
        }
        device.run(&["import"]).well();
        assert_eq!(names(&boot), ["root.json", "tidelock.toml.imported"]);
        assert_eq!(fs::read_to_string(device.root().join("etc/tidelock/header")).unwrap(), SECRET);
    }
}
