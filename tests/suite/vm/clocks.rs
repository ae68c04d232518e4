//! Wrong clocks, with the agent as it ships and no time service.

use tidelock_tests::power::Loss;

use super::stage::{GOOD, Stage};

#[test]
fn clocks_that_say_1970_or_2100_keep_nobody_from_an_update() {
    let mut stage = Stage::new("clocks");
    stage.machine.set_clock(Some("1970-01-02T00:00:00"));
    stage.arrives(1);
    stage.machine.set_clock(Some("2100-01-01T00:00:00"));
    stage.publish(2, GOOD);
    stage.arrives(2);
    assert_eq!(stage.machine.run("date --utc +%Y").stdout, "2100\n");
    stage.machine.run("systemctl enable tidelock.service tidelock-guard.service").well();
    let before = stage.machine.boot();
    stage.machine.run("sync").well();
    stage.machine.power_off(Loss::Everything);
    stage.publish(3, GOOD);
    // What systemd makes of such a time at its start is older than all that is signed, too.
    stage.machine.power_on(Some("1970-01-01T00:00:10"));
    stage.machine.has_booted_since(&before);
    stage.comes_to(2);
    stage.poke();
    stage.comes_to(3);
    stage.becomes("Synced Healthy");
    stage.is_well();
}

#[test]
fn a_board_whose_own_clock_says_2100_at_its_start_updates_as_well() {
    let mut stage = Stage::new("far");
    stage.arrives(1);
    stage.machine.run("systemctl enable tidelock.service tidelock-guard.service").well();
    let before = stage.machine.boot();
    stage.machine.run("sync").well();
    stage.machine.power_off(Loss::Everything);
    stage.publish(2, GOOD);
    // A battery that came loose: some systems begin there, this one does not believe it and begins when it was built.
    stage.machine.power_on(Some("2100-01-01T00:00:10"));
    stage.machine.has_booted_since(&before);
    println!("the year is {}", stage.says("date --utc +%Y"));
    stage.comes_to(1);
    stage.poke();
    stage.comes_to(2);
    stage.becomes("Synced Healthy");
    stage.is_well();
}
