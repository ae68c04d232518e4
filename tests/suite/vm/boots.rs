//! What boots, panics and lost power do to a trial.

use tidelock_tests::power::Loss;

use super::stage::{GOOD, Made, SERVICE, Stage};

#[test]
fn a_release_that_panics_the_kernel_at_every_start_is_left_after_its_last_one() {
    let stage = Stage::new("panic");
    stage.arrives(1);
    stage.machine.run("systemctl enable tidelock.service tidelock-guard.service").well();
    stage.publish(2, Made { service: "sleep 1; echo c >/proc/sysrq-trigger", user: "root", ..GOOD });
    stage.machine.start(
        "systemctl start tidelock.service; systemctl kill --kill-whom=main --signal=USR1 tidelock.service",
    );
    (1..=3).for_each(|times| stage.machine.shows("Kernel panic", times));
    stage.machine.until("it goes back", "tidelock why web | grep 'no verdict .* try 1'");
    stage.comes_to(1);
    assert_eq!(stage.machine.console().matches("Kernel panic").count(), 3);
    stage.becomes("OutOfSync Healthy");
    assert!(stage.machine.boots(std::time::Duration::from_secs(60)));
    stage.is_well();
}

#[test]
fn a_trial_outlives_two_boots_and_is_broken_off_by_the_third_and_begun_again() {
    let mut stage = Stage::new("impatient");
    stage.start_daemon();
    stage.becomes("Synced Healthy");
    // Passes in the end, but nobody has the patience.
    stage.publish(2, Made { successes: 30, deadline: 400, ..GOOD });
    stage.poke();
    stage.comes_to(2);
    stage.machine.reboot();
    stage.comes_to(2);
    assert!(stage.tidelock("why web").stdout.contains("(start 2)"));
    for starts in [3, 4] {
        let before = stage.machine.boot();
        if starts == 3 {
            stage.machine.power_off(Loss::Some(3));
            stage.machine.power_on(None);
        } else {
            stage.machine.reset();
        }
        stage.machine.has_booted_since(&before);
        if starts == 3 {
            stage.comes_to(2);
            assert!(stage.tidelock("why web").stdout.contains("(start 3)"));
        }
    }
    stage.machine.until("no verdict", "tidelock why web | grep 'no verdict .* try 1'");
    stage.comes_to(1);
    // Lost power is no reason to refuse: it is tried again, and left in peace it passes.
    stage.machine.until("it is tried again", "tidelock why web | grep '(start 1)'");
    stage.comes_to(2);
    stage.becomes("Synced Healthy");
    stage.runs(2, "Synced Healthy");
    stage.is_well();
}

#[test]
fn state_on_a_partition_that_is_mounted_late_is_waited_for() {
    let stage = Stage::new("late");
    let machine = &stage.machine;
    machine.run("mkfs.ext4 -q /dev/vdc; cp -a /var/lib/tidelock /tmp/kept; rm -r /var/lib/tidelock/*").well();
    machine.write(
        "/etc/systemd/system/slow.service",
        "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 10\n",
    );
    let line = "/dev/vdc /var/lib/tidelock ext4 nofail,x-systemd.requires=slow.service 0 0";
    machine.run(&format!("echo '{line}' >>/etc/fstab; mount /dev/vdc /var/lib/tidelock")).well();
    machine.run("cp -a /tmp/kept/. /var/lib/tidelock; umount /var/lib/tidelock").well();
    machine.run("systemctl daemon-reload; systemctl start var-lib-tidelock.mount").well();
    stage.arrives(1);
    machine.run("systemctl enable tidelock.service tidelock-guard.service").well();
    // As a cut between the link and the units leaves it: the guard puts it right before anything starts from it.
    let unit = format!("/etc/systemd/system/{SERVICE}");
    machine.run(&format!("sed -i 's/in version 1/in version 0/' {unit}")).well();
    machine.reboot();
    stage.comes_to(1);
    stage.becomes("Synced Healthy");
    machine.shows("place the units of tree", 1);
    // Nobody made a state of its own below the mount point before it was there.
    let below = "mkdir /tmp/root; mount --bind / /tmp/root; ls /tmp/root/var/lib/tidelock; umount /tmp/root";
    assert_eq!(machine.run(below).well().stdout, "");
    stage.is_well();
}
