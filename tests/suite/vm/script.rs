//! `install.sh` where systemd is at work: it installs, starts, upgrades and takes away, by the commands of `docs/install.md`.

use std::fs;

use tidelock_tests::nginx::Config;
use tidelock_tests::scratch::Scratch;

use super::page::{BY_HAND, DRY, GUARD, JOIN, OFFLINE, ONE_LINE, RUN, UNINSTALL, UNINSTALL_ALL};
use super::stage::{SERVICE, Stage};
use crate::packages::installer::{ARCHIVE, Release, SIGNED};
use crate::packages::rig::{VERSIONS, packages};

/// A release, the script with this address and its key in it as `cross/package` writes them.
fn release(url: &str) -> Release {
    let release = Release::new("vm-script-release");
    let script = fs::read_to_string(packages().join(VERSIONS[0]).join("install.sh")).unwrap();
    assert!(script.contains("@URL@") && script.contains("@KEY@"));
    fs::write(release.out("install.sh"), script.replace("@URL@", url).replace("@KEY@", &release.key))
        .unwrap();
    release
}

#[test]
fn the_one_line_joins_a_machine_and_the_script_upgrades_and_takes_away_while_the_app_runs_on() {
    let stage = Stage::blank("script");
    // Over https, by an authority that the machine trusts as it does those of the world.
    let room = Scratch::new("vm-script-served");
    let served = Config::files(room.path()).tls(stage.authority.server("releases")).start();
    let url = format!("https://10.0.2.2:{}", served.address().port());
    let release = release(&url);
    for file in ["install.sh"].into_iter().chain(SIGNED) {
        fs::copy(release.out(file), room.join(file)).unwrap();
    }
    let program = packages().join(VERSIONS[0]).join("tidelock-x86_64");
    let files = [release.out("install.sh"), program].into_iter().chain(SIGNED.map(|name| release.out(name)));
    let files: Vec<_> = files.collect();
    stage.hand_over(files.iter().map(|path| &**path));

    let line = stage.page(ONE_LINE).replace("https://releases.example.org/tidelock", &url);
    let said = stage.says(&line);
    assert!(said.contains(&format!("{ARCHIVE} is signed")), "{said}");
    for unit in ["tidelock.service", "tidelock-guard.service", "tidelock-firstboot.service"] {
        assert_eq!(stage.says(&format!("systemctl is-enabled {unit}")), "enabled\n");
    }
    stage.becomes("Synced Healthy");
    let (app, agent) = (stage.process(SERVICE), stage.process("tidelock.service"));

    let said = stage.says(&stage.page(DRY));
    assert!(said.contains("would: systemctl restart tidelock.service"), "{said}");
    assert_eq!(stage.process("tidelock.service"), agent);
    stage.says(&stage.page(OFFLINE));
    assert_ne!(stage.process("tidelock.service"), agent, "an upgrade starts the new one");
    stage.is_well();

    stage.says(&stage.page(UNINSTALL));
    assert_eq!(stage.machine.run("systemctl is-active tidelock.service").stdout, "inactive\n");
    assert_eq!(stage.says("find /usr -name '*tidelock*'"), "");
    assert_eq!(stage.process(SERVICE), app);
    stage.says(&stage.page(OFFLINE));
    stage.runs(1, "Synced Healthy");
    stage.says(&stage.page(UNINSTALL_ALL));
    stage.is_left_alone(&app);

    // By hand, and without any unit of its own: it finds the app, and takes it for what it is.
    stage.says(&stage.page(BY_HAND));
    stage.says(&stage.page(GUARD));
    stage.says(&stage.page(RUN));
    stage.says(&stage.page(JOIN));
    stage.becomes("Synced Healthy");
    stage.runs(1, "Synced Healthy");
    stage.is_well();
}
