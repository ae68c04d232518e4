//! The plug is pulled while apt installs, upgrades and purges the package: the machine boots, an app that ran runs, and
//! what was begun can be ended by the same command.

use std::time::Duration;

use tidelock_tests::power::{Cut, Dice, Loss};

use super::page::{INSTALL, JOIN, PURGE};
use super::stage::{SERVICE, Stage};
use crate::packages::rig::VERSIONS;

/// How often each time, unless `TIDELOCK_CUTS` says another number.
const CUTS: u64 = 2;

/// Runs a command of the page, and boots from what cuts in the middle of it leave; `holds` ends what was begun.
fn cut(stage: &mut Stage, (what, command): (&str, &str), holds: impl Fn(&Stage)) {
    let cuts = std::env::var("TIDELOCK_CUTS").map_or(CUTS, |number| number.parse().unwrap());
    let start = stage.machine.disk();
    stage.says(command);
    let recording = stage.machine.recording(start);
    let length = u64::try_from(recording.length()).unwrap();
    let mut dice = what.bytes().fold(Dice::new(u64::from(std::process::id())), |mut dice, byte| {
        Dice::new(dice.throw(u64::MAX) ^ u64::from(byte))
    });
    for number in 0..cuts {
        let after = length * number / cuts + dice.throw(length / cuts + 1);
        let loss = match dice.throw(3) {
            0 => Loss::Everything,
            _ => Loss::Some(dice.throw(u64::MAX)),
        };
        let cut = Cut { after: usize::try_from(after).unwrap(), loss };
        stage.machine.replace_disk(recording.image(cut));
        stage.machine.power_on(None);
        assert!(stage.machine.boots(Duration::from_secs(400)), "{what}: {cut:?}");
        let state =
            stage.machine.run("dpkg-query --show --showformat='${Version} ${db:Status-Abbrev}' tidelock");
        println!("{what}: cut after {} of {}: {} {loss:?}", cut.after, recording.told(), state.said().trim());
        holds(stage);
        println!("{what}: and all is well");
    }
}

/// What a person does who finds a package half done, as apt and dpkg say.
fn mends(stage: &Stage) {
    // Not judged: what was half unpacked waits for the package, which the command after this one brings.
    let ran = stage.machine.run("dpkg --configure -a && apt-get --yes --fix-broken install");
    println!("  dpkg --configure -a && apt-get -f install: {}", ran.code);
}

/// The newer package is installed whole, and its agent is at work.
fn is_installed(stage: &Stage) {
    stage.says(&stage.upgrade());
    let found = stage.says("dpkg-query --show --showformat='${Version} ${db:Status-Abbrev}' tidelock");
    assert_eq!(found, format!("{} ii ", VERSIONS[1]));
    // Manuals and documents are left out of this system.
    let differs = "dpkg --audit; dpkg --verify tidelock | grep -v ' /usr/share/'";
    assert_eq!(stage.machine.run(differs).said(), "");
    stage.says("systemctl is-active tidelock.service && systemctl is-enabled tidelock.service tidelock-guard.service");
}

#[test]
fn a_cut_while_it_is_installed_leaves_a_machine_that_boots_and_can_install_it() {
    let mut stage = Stage::blank("cut-install");
    stage.hand_over_packages();
    let command = stage.page(INSTALL);
    cut(&mut stage, ("install", &command), |stage| {
        mends(stage);
        is_installed(stage);
        stage.says(&stage.page(JOIN));
        stage.becomes("Synced Healthy");
        stage.runs(1, "Synced Healthy");
        stage.is_well();
    });
}

#[test]
fn a_cut_while_it_is_upgraded_leaves_the_app_running_and_an_upgrade_that_can_be_ended() {
    let mut stage = Stage::blank("cut-upgrade");
    stage.joins();
    let command = stage.upgrade();
    cut(&mut stage, ("upgrade", &command), |stage| {
        stage.comes_to(1);
        mends(stage);
        is_installed(stage);
        stage.becomes("Synced Healthy");
        stage.runs(1, "Synced Healthy");
        stage.is_well();
    });
}

#[test]
fn a_cut_while_it_is_purged_leaves_the_app_running_and_a_purge_that_can_be_ended() {
    let mut stage = Stage::blank("cut-purge");
    stage.joins();
    let command = stage.page(PURGE);
    cut(&mut stage, ("purge", &command), |stage| {
        stage.comes_to(1);
        let app = stage.process(SERVICE);
        mends(stage);
        // Ended as if nothing had been, where there is anything to end: apt forgets a package that came from a file.
        let known = "dpkg-query --show --showformat='${db:Status-Abbrev}' tidelock 2>/dev/null | grep -v ^un";
        stage.says(&format!("if {known}; then {}; fi", stage.page(PURGE)));
        stage.is_left_alone(&app);
        stage.is_well();
    });
}
