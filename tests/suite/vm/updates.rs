//! Good releases and bad ones, on a machine that goes on running.

use super::stage::{GOOD, Made, SERVICE, Stage};

/// Nothing that runs on the machine has this word in its command line.
fn nothing_runs(stage: &Stage, word: &str) {
    let (first, rest) = word.split_at(1);
    // The pattern does not find itself.
    let found = stage.machine.run(&format!("grep -l '[{first}]{rest}' /proc/[0-9]*/cmdline"));
    assert_eq!(found.stdout, "", "left behind");
}

#[test]
fn an_app_is_installed_updated_held_and_taken_back_from_releases_that_fail() {
    let stage = Stage::new("updates");
    stage.start_daemon();
    stage.becomes("Synced Healthy");
    stage.runs(1, "Synced Healthy");
    stage.publish(2, GOOD);
    stage.arrives(2);
    let second = stage.version();
    let hold = stage.tidelock("hold web --reason 'an inventory' --for 2h --owner ada");
    hold.well();
    stage.publish(3, GOOD);
    stage.tidelock("update");
    stage.runs(2, "OutOfSync Suspended");
    let why = stage.tidelock("why web").stdout;
    assert!(why.contains("an inventory") && why.contains("ada"), "{why}");
    stage.tidelock("resume web").well();
    stage.arrives(3);
    // Pinned to what passed here before, it is that at once, and moves on when it is let go.
    stage.tidelock(&format!("pin web {second} --reason 'the fair' --for 2h --owner ada")).well();
    stage.comes_to(2);
    stage.becomes("OutOfSync Healthy");
    assert!(stage.says("tidelock why web").starts_with(&format!("web: pin: ada keeps it on {second} (")));
    stage.tidelock("resume web").well();
    stage.arrives(3);
    stage.publish(4, Made { service: "sleep 2; exit 1", successes: 8, deadline: 25, ..GOOD });
    stage.refuses(3);
    stage.publish(5, Made { hook: "sleep 98765", timeout: 4, ..GOOD });
    stage.refuses(3);
    nothing_runs(&stage, "98765");
    stage.publish(6, Made { hook: "exec ./no-such-program", ..GOOD });
    stage.refuses(3);
    let why = stage.tidelock("why web").stdout;
    assert!(why.contains("no-such-program"), "{why}");
    // A hook may leave something behind that lives on: with the app, and never with the agent.
    stage.publish(7, Made { hook: "setsid sleep 98764 &", ..GOOD });
    stage.arrives(7);
    stage.machine.run("systemctl restart tidelock.service").well();
    let group = "cat /proc/$(grep -l '[9]8764' /proc/[0-9]*/cmdline | cut -d/ -f3 | head -n1)/cgroup";
    assert_eq!(stage.machine.run(group).stdout, "0::/system.slice/tidelock-hook-web.service\n");
    stage.publish(8, GOOD);
    stage.arrives(8);
    nothing_runs(&stage, "98764");
    stage.is_well();
}

#[test]
fn an_app_that_is_root_cannot_write_into_its_release_and_what_was_changed_is_healed() {
    let stage = Stage::new("root");
    let service = "{ echo dirt >version; } 2>/run/web/said; exec sleep infinity";
    stage.publish(2, Made { service, user: "root", ..GOOD });
    stage.arrives(2);
    let said = stage.machine.run("cat /run/web/said").stdout;
    assert!(said.contains("Read-only file system"), "{said}");
    stage.tidelock("verify").well();
    // Whoever gets past that is found out, and undone while the app runs on.
    let dirt =
        "cd /var/lib/tidelock/apps/web/current/tree && chmod u+w version && echo dirt >version && rm bin/web";
    stage.machine.run(dirt).well();
    let found = stage.tidelock("verify");
    assert_eq!(found.code, 10, "{}", found.said());
    stage.machine.write("/etc/tidelock/config.d/drift.toml", "[drift]\nevery = \"1m\"\n");
    stage.start_daemon();
    let healed = "cd /var/lib/tidelock/apps/web/current/tree && grep -x 2 version && test -x bin/web";
    let asked = "systemctl kill --kill-whom=main --signal=USR1 tidelock.service; sleep 5";
    stage.machine.until("the daemon heals it, and nobody asked", &format!("{asked}; {healed}"));
    stage.tidelock("verify").well();
    stage.machine.run(&format!("systemctl restart {SERVICE}")).well();
    stage.comes_to(2);
    stage.is_well();
}
