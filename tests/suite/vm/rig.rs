//! The machine itself does what it says.

use tidelock_tests::machine::{Item, Machine, Network};
use tidelock_tests::power::Loss;

#[test]
fn a_machine_runs_commands_takes_files_and_loses_what_was_not_written_when_its_plug_is_pulled() {
    let mut machine = Machine::restored("rig");
    assert_eq!(machine.run("systemctl is-system-running").stdout, "running\n");
    assert_eq!(machine.run("echo no >&2; exit 3").code, 3);
    let item = Item { path: "/opt/tool".into(), mode: 0o755, contents: b"#!/bin/sh\necho works\n".to_vec() };
    machine.bring(&[item]);
    assert_eq!(machine.run("/opt/tool").well().stdout, "works\n");
    machine.set_clock(Some("1970-01-02T00:00:00"));
    assert_eq!(machine.run("date --utc +%Y").stdout, "1970\n");
    machine.set_network(Network::Unplugged);
    machine.until("the cable is out", "grep 0 /sys/class/net/eth0/carrier");
    machine.set_network(Network::Connected);
    machine.until("the cable is in", "grep 1 /sys/class/net/eth0/carrier");
    assert_eq!(machine.run("cat /sys/block/vda/queue/write_cache").stdout, "write back\n");
    let before = machine.boot();
    machine.run("echo kept >/kept; sync; echo lost >/lost").well();
    machine.power_off(Loss::Everything);
    machine.power_on(None);
    machine.has_booted_since(&before);
    assert_eq!(machine.run("ls /kept /lost").stdout, "/kept\n");
    let before = machine.boot();
    machine.start("echo c >/proc/sysrq-trigger");
    machine.has_booted_since(&before);
}
