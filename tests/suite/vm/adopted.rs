//! An app that ran on the device before the agent knew of it.

use super::stage::{GOOD, Made, SERVICE, Stage};

const OLD: &str = "[Unit]
Description=what somebody installed by hand

[Service]
ExecStart=/bin/sleep 1234567

[Install]
WantedBy=multi-user.target
";

fn old(stage: &Stage) -> String {
    let process = stage.says("systemctl show --property=MainPID --value old-web.service");
    let enabled = stage.machine.run("systemctl is-enabled old-web.service").stdout;
    format!("{} {}", process.trim(), enabled.trim())
}

#[test]
fn an_adopted_unit_runs_on_until_its_first_update_and_again_after_every_way_back() {
    let stage = Stage::new("adopted");
    stage.machine.write("/etc/systemd/system/old-web.service", OLD);
    stage.says("systemctl enable --now old-web.service");
    let before = old(&stage);
    assert!(before.ends_with(" enabled"), "{before}");
    let refused = stage.tidelock("adopt web --unit no-such.service");
    assert_eq!(refused.code, 3, "{}", refused.said());
    stage.tidelock("adopt web --unit old-web.service").well();
    stage.start_daemon();
    stage
        .machine
        .until("the agent has seen it", "journalctl --unit=tidelock.service | grep 'web: open the trial'");
    stage.comes_to(1);
    stage.becomes("Synced Healthy");
    let log = stage.says("journalctl --unit=old-web.service --output=cat");
    assert_eq!((log.matches("Started").count(), log.matches("Stopped ").count()), (1, 1), "{log}");
    assert_eq!(old(&stage), "0 disabled");

    // By hand, back to what somebody installed: it starts with the machine again.
    stage.tidelock("rollback web --reason 'the old one was better'").well();
    let again = old(&stage);
    assert!(again.ends_with(" enabled") && !again.starts_with("0 ") && again != before, "{again}");
    assert_eq!(stage.machine.run(&format!("systemctl is-active {SERVICE}")).stdout, "inactive\n");
    stage.becomes("OutOfSync Healthy");
    let current = stage.says("tidelock status --json | grep -A3 '\"current\"'");
    assert!(current.contains("\"adopted\""), "{current}");

    // A release that fails leads back to it by itself.
    stage.publish(2, Made { service: "sleep 1; exit 1", deadline: 8, successes: 5, ..GOOD });
    stage.poke();
    stage.machine.until("it is refused", "tidelock why web | grep 'refused .* check runs failed'");
    stage.becomes("OutOfSync Healthy");
    let third = old(&stage);
    assert!(third.ends_with(" enabled") && !third.starts_with("0 ") && third != again, "{third}");
    assert!(stage.says("journalctl --unit=tidelock.service --output=cat").contains("web: stop"));
    stage.is_well();
}
