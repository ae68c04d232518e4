//! What an app does not have to be stopped for, and what it is restarted for though its release stays.

use super::stage::{SERVICE, Stage};

const RECIPE: &str = r#"format = 1
user = "web"
units = ["web.service"]
activate = "reload"

[[check]]
name = "asks"
command = "test \"$MODE\" != bad || { echo the mode is bad; exit 1; }; ! grep broken version"
interval = 1
deadline = 20

[[check]]
name = "stays"
unit = "web.service"
interval = 1
"#;

const WEB: &str = "[Service]
Type=exec
ExecStart=/var/lib/tidelock/apps/web/current/tree/bin/web
ExecReload=/bin/sh -c 'kill -HUP $MAINPID'
EnvironmentFile=-/etc/tidelock/apps/web.env
LoadCredential=token:/etc/tidelock/credentials/web/token
RuntimeDirectory=web

[Install]
WantedBy=multi-user.target
";

/// Says which release it serves and how; reads that again when it is told to.
const PROGRAM: &str = r#"#!/bin/sh
serve() {
    echo "$(cat /var/lib/tidelock/apps/web/current/tree/version) $MODE $(cat "$CREDENTIALS_DIRECTORY/token")" >/run/web/serves
}
trap serve HUP
serve
while :; do sleep 1000 & wait $!; done
"#;

const CREDENTIAL: &str = "/etc/tidelock/credentials/web/token";
const ENVIRONMENT: &str = "/etc/tidelock/apps/web.env";

fn publish(stage: &Stage, version: &str, unit: &str) {
    let files = [("release.toml", RECIPE), ("web.service", unit), ("bin/web", PROGRAM), ("version", version)];
    stage.put("web", &files);
}

/// What it serves, once it does; and the process that does.
fn serves(stage: &Stage, what: &str) -> String {
    stage.machine.until(what, &format!("grep -x '{what}' /run/web/serves"));
    stage.says(&format!("systemctl show --property=MainPID --value {SERVICE}"))
}

#[test]
fn a_reload_keeps_the_process_and_changed_settings_restart_it_and_are_never_rolled_back() {
    let stage = Stage::new("settings");
    stage.machine.write(CREDENTIAL, "one");
    publish(&stage, "1", WEB);
    stage.tidelock("update").well();
    let first = serves(&stage, "1  one");
    publish(&stage, "2", WEB);
    stage.tidelock("update").well();
    assert_eq!(serves(&stage, "2  one"), first, "it was told, not stopped");

    // A way back restarts whatever the release says: who knows what the bad one did to the process.
    publish(&stage, "broken", WEB);
    let ran = stage.tidelock("update");
    assert_eq!(ran.code, 3, "{}", ran.said());
    let second = serves(&stage, "2  one");
    assert_ne!(second, first);

    // Another unit file is another process.
    publish(&stage, "3", &WEB.replace("[Service]", "[Unit]\nDescription=other\n[Service]"));
    stage.tidelock("update").well();
    let third = serves(&stage, "3  one");
    assert_ne!(third, second);

    let tree = stage.says("readlink /var/lib/tidelock/apps/web/current");
    stage.machine.write(ENVIRONMENT, "MODE=fine\n");
    stage.tidelock("update").well();
    let fourth = serves(&stage, "3 fine one");
    assert_ne!(fourth, third);
    stage.machine.write(CREDENTIAL, "two");
    stage.tidelock("update").well();
    assert_ne!(serves(&stage, "3 fine two"), fourth);

    // The owner's file is the owner's: it is said that the app fails with it, and left so.
    stage.machine.write(ENVIRONMENT, "MODE=bad\n");
    let ran = stage.tidelock("update");
    assert_eq!(ran.code, 1, "{}", ran.said());
    assert!(
        ran.stdout.starts_with("web: degraded: ") && ran.stdout.contains("the mode is bad"),
        "{}",
        ran.said()
    );
    serves(&stage, "3 bad two");
    stage.becomes("Synced Degraded");
    assert_eq!(stage.says("readlink /var/lib/tidelock/apps/web/current"), tree);
    let why = stage.says("tidelock why web");
    let refused = why.lines().filter(|line| line.starts_with("  refused")).count();
    assert_eq!(refused, 1, "only the broken release: {why}");
    stage.machine.write(ENVIRONMENT, "MODE=good\n");
    stage.tidelock("update").well();
    serves(&stage, "3 good two");
    stage.becomes("Synced Healthy");
    stage.is_well();
}
