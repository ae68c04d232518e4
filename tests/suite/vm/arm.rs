//! Debian for 64-bit and for 32-bit ARM, each booted with its own kernel and systemd, and the packages that were made for them.
//! `tests/run arm` builds the files, packs them, and runs what stands here.
//!
//! Never here: what the files do without a system around them (`e2e::cross`).

use std::fs;
use std::path::{Path, PathBuf};

use tidelock_tests::machine::{Item, Machine, Processor};

use super::stage::{GOOD, Made, Stage};

#[test]
fn arm64() {
    lives(Processor::Arm64);
}

#[test]
fn armhf() {
    lives(Processor::Armhf);
}

/// Installed by its package, the agent joins, takes a release, the next one, none that fails, and starts with the system.
fn lives(processor: Processor) {
    let name = processor.debian();
    let stage = Stage::beside(name, Machine::booted(name, processor));
    let item = |path: &str, contents| Item { path: path.into(), mode: 0o644, contents };
    stage.machine.bring(&[
        item("/root/tidelock.deb", fs::read(package(name)).unwrap()),
        item("/etc/tidelock/ca.pem", fs::read(stage.authority.certificate()).unwrap()),
        item("/etc/tidelock/config.d/owner.toml", b"ca_file = \"/etc/tidelock/ca.pem\"\n".to_vec()),
    ]);
    println!("{name}: {}", stage.says("uname -srm").trim());
    stage.says("apt-get install --yes /root/tidelock.deb");
    stage.says("systemctl is-active tidelock.service");
    let (url, hash) = (stage.url(), stage.fleet.root_sha256());
    stage.tidelock(&format!("join {url} --root-sha256 {hash} --env staging")).well();
    stage.becomes("Synced Healthy");
    stage.runs(1, "Synced Healthy");
    println!("{name}: the first release is committed");
    stage.publish(2, GOOD);
    stage.arrives(2);
    println!("{name}: updated");
    stage.publish(3, Made { service: "sleep 2; exit 1", successes: 8, deadline: 60, ..GOOD });
    stage.refuses(2);
    println!("{name}: what fails is refused, and the release before runs");
    stage.machine.reboot();
    stage.comes_to(2);
    stage.is_well();
    let status = "/proc/$(systemctl show --property=MainPID --value tidelock.service)/smaps_rollup";
    let memory = stage.says(&format!("awk '/^Pss:/ {{ print $2 }}' {status}"));
    println!("{name}: the agent is at work after a reboot, {} kB of memory its own (PSS)", memory.trim());
    stage.says("apt-get purge --yes tidelock");
    stage.says("systemctl is-active tidelock-app-web.web.service");
    println!("{name}: purged, and the app runs on");
}

/// The one package of the agent for this architecture.
fn package(architecture: &str) -> PathBuf {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cross/out");
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("tidelock_") && name.ends_with(&format!("_{architecture}.deb"))
    };
    let found: Vec<_> =
        fs::read_dir(&made).unwrap().map(|entry| entry.unwrap().path()).filter(is_ours).collect();
    let [package] = &found[..] else {
        panic!("one package of {architecture} in {}: {found:?}", made.display())
    };
    package.clone()
}
