//! The Debian package, by apt, where systemd is at work: what it starts, what an upgrade leaves alone, what is left of it.

use std::time::{Duration, Instant};

use super::page::{DOWNGRADE, INSTALL, JOIN, PURGE, REMOVE, STATUS};
use super::stage::{GOOD, Made, SERVICE, Stage};
use crate::packages::rig::VERSIONS;

const UNITS: [&str; 3] = ["tidelock.service", "tidelock-guard.service", "tidelock-firstboot.service"];

impl Stage {
    /// The process of a unit.
    pub(super) fn process(&self, unit: &str) -> String {
        self.says(&format!("systemctl show --property=MainPID --value {unit}"))
    }

    /// Of what belonged to the agent, only `web` is left, which runs in the process `app`: release, data and unit.
    pub(super) fn is_left_alone(&self, app: &str) {
        assert_eq!(self.process(SERVICE), app, "the app runs on");
        let left = self.says(
            "find /etc /usr /var/lib /run -path '*tidelock*' ! -path '/run/systemd/*' ! -type d | sort",
        );
        let kept = |path: &str| {
            path.starts_with("/var/lib/tidelock/apps/web/")
                || path.contains("tidelock-app-web.")
                || path.starts_with("/var/lib/systemd/") && path.contains("tidelock-app-web")
        };
        assert!(left.lines().all(kept), "{left}");
        assert!(left.contains("/var/lib/tidelock/apps/web/current\n"), "{left}");
        let units = self.says(
            "systemctl list-units --all --plain --no-legend 'tidelock*' | awk '$2 == \"loaded\" { print $1 }'",
        );
        let its = |unit: &str| unit == SERVICE || unit == "tidelock-hook-web.service";
        assert!(units.contains(SERVICE) && units.lines().all(its), "{units}");
    }

    /// Installs the older package and joins, by the commands of the page; `web` is committed.
    pub(super) fn joins(&self) {
        self.hand_over_packages();
        self.says(&self.page(INSTALL));
        self.says(&self.page(JOIN));
        self.becomes("Synced Healthy");
    }

    /// The command of the page with the newer package.
    pub(super) fn upgrade(&self) -> String {
        self.page(INSTALL).replace(VERSIONS[0], VERSIONS[1])
    }

    /// Runs a command of apt that brings `version`: another agent is at work afterwards.
    fn changes_to(&self, version: &str, command: &str) {
        let before = self.process("tidelock.service");
        self.says(command);
        let found = self.says("dpkg-query --show --showformat='${Version} ${db:Status-Abbrev}' tidelock");
        assert_eq!(found, format!("{version} ii "));
        self.says("systemctl is-active tidelock.service");
        assert_ne!(self.process("tidelock.service"), before);
    }
}

/// Runs something; how long that took.
fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

/// By the commands of the page; prints how long they took.
fn from_blank_to_the_first_release(stage: &Stage) {
    stage.hand_over_packages();
    let takes = |command| timed(|| drop(stage.says(&stage.page(command))));
    let install = takes(INSTALL);
    for unit in UNITS {
        assert_eq!(stage.says(&format!("systemctl is-enabled {unit}")), "enabled\n");
    }
    let said = stage.says(
        "systemctl is-active tidelock.service; systemctl show --property=StatusText --value tidelock.service",
    );
    assert!(said.starts_with("active\n") && said.contains("not part of a fleet yet"), "{said}");
    stage.is_well();
    let rest = [takes(JOIN), takes(STATUS), timed(|| stage.becomes("Synced Healthy"))];
    let [join, status, commit] = rest;
    println!(
        "blank VM -> first committed release: 3 commands, {:.1?} (apt-get install {install:.1?}, join {join:.1?}, status \
         {status:.1?}, then until it is committed {commit:.1?})",
        install + rest.iter().sum::<Duration>()
    );
    stage.runs(1, "Synced Healthy");
    stage.is_well();
}

#[test]
fn a_blank_machine_has_its_first_release_after_three_commands_and_keeps_its_app_through_upgrade_and_purge() {
    let stage = Stage::blank("package");
    from_blank_to_the_first_release(&stage);

    // In the middle of a trial, which passes when it may.
    let check = "command = \"test -e $TIDELOCK_DATA/go\"";
    stage.publish(2, Made { check, deadline: 1500, ..GOOD });
    stage.poke();
    stage.comes_to(2);
    let app = stage.process(SERVICE);
    stage.changes_to(VERSIONS[1], &stage.upgrade());
    let why = stage.says("tidelock why web");
    assert!(why.contains("(start 1)"), "still the same trial: {why}");
    stage.says("touch /var/lib/tidelock/apps/web/data/go");
    stage.becomes("Synced Healthy");
    stage.runs(2, "Synced Healthy");
    assert_eq!(stage.process(SERVICE), app, "the app was not restarted");

    stage.changes_to(VERSIONS[0], &stage.page(DOWNGRADE));
    stage.runs(2, "Synced Healthy");
    stage.says(&stage.page(REMOVE));
    assert_eq!(stage.machine.run("systemctl is-active tidelock.service").stdout, "inactive\n");
    stage.says("test -e /etc/tidelock/config.toml && test -e /var/lib/tidelock/journal");
    let said = stage.says(&stage.page(PURGE));
    assert!(said.contains("still running, left where they are: web"), "{said}");
    stage.is_left_alone(&app);
    stage.is_well();
}

#[test]
fn an_upgrade_in_the_middle_of_a_hook_lets_it_go_on_and_a_purged_machine_starts_its_app_and_joins_again() {
    let stage = Stage::blank("package-hook");
    stage.joins();
    let data = "/var/lib/tidelock/apps/web/data";
    let says_when = |ends: &str| {
        format!(
            "echo begun >>{data}/hook; until test -e {data}/go; do sleep 1; done; echo ended >>{data}/hook; {ends}"
        )
    };
    stage.publish(2, Made { hook: &says_when("true"), timeout: 900, ..GOOD });
    stage.poke();
    stage.machine.until("the hook runs", &format!("grep begun {data}/hook"));
    stage.changes_to(VERSIONS[1], &stage.upgrade());
    let why = stage.says("tidelock why web");
    assert!(why.contains("(start 1)"), "still the same start: {why}");
    stage.says(&format!("touch {data}/go"));
    stage.becomes("Synced Healthy");
    stage.runs(2, "Synced Healthy");
    assert_eq!(
        stage.says(&format!("cat {data}/hook")),
        "begun\nended\n",
        "it went on, and was not begun again"
    );

    // One that fails after the agent died that began it.
    stage.says(&format!("rm {data}/go {data}/hook"));
    stage.publish(3, Made { hook: &says_when("exit 7"), timeout: 900, ..GOOD });
    stage.poke();
    stage.machine.until("the hook runs", &format!("grep begun {data}/hook"));
    let agent = stage.process("tidelock.service");
    stage.says("systemctl kill --kill-whom=main --signal=KILL tidelock.service");
    let another = format!(
        "test \"$(systemctl show --property=MainPID --value tidelock.service)\" -gt {}",
        agent.trim()
    );
    stage.machine.until("another agent", &another);
    stage.says(&format!("touch {data}/go"));
    stage.becomes("OutOfSync Healthy");
    stage.runs(2, "OutOfSync Healthy");
    assert_eq!(
        stage.says(&format!("cat {data}/hook")),
        "begun\nended\nbegun\nended\n",
        "its hook, and that of 2"
    );
    let why = stage.says("tidelock why web");
    assert!(why.contains("status=7"), "{why}");
    stage.publish(4, GOOD);
    stage.poke();
    stage.comes_to(4);
    stage.becomes("Synced Healthy");

    stage.fleet.want(&["web", "files"]);
    stage.put("files", &[("release.toml", "format = 1\n"), ("note", "nothing that runs\n")]);
    stage.poke();
    let both = "tidelock status | grep -E '^files +Synced'";
    stage.machine.until("both are here", both);
    let app = stage.process(SERVICE);
    stage.says(&stage.page(PURGE));
    stage.is_left_alone(&app);
    stage.machine.reboot();
    stage.comes_to(4);
    let app = stage.process(SERVICE);
    stage.says(&stage.page(INSTALL));
    stage.says(&stage.page(JOIN));
    stage.becomes("Synced Healthy");
    stage.machine.until("both are here", both);
    assert_eq!(stage.process(SERVICE), app, "known again, and left running");
    stage.is_well();
}
