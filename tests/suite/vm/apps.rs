//! Units of an app: what they are made of on the device, what runs in them, and what becomes of them with the release.

use super::stage::Stage;

const RECIPE: &str = r#"format = 1
user = "web"
units = ["web.service", "helper.service"]

[hooks]
start = "cat /proc/self/cgroup >$TIDELOCK_DATA/hook; id -un >>$TIDELOCK_DATA/hook"
timeout = 60

[[check]]
name = "asks"
command = "cat /proc/self/cgroup >$TIDELOCK_DATA/check; id -un >>$TIDELOCK_DATA/check; ! grep broken bin/web"
interval = 1
deadline = 30

[[check]]
name = "stays"
unit = "web.service"
interval = 1
successes = 2
"#;

const WEB: &str = "[Unit]
Description=web
Requires=helper.service
After=helper.service

[Service]
Type=exec
ExecStart=/var/lib/tidelock/apps/web/current/tree/bin/web
EnvironmentFile=/var/lib/tidelock/apps/web/current/release.env
EnvironmentFile=-/etc/tidelock/apps/web.env
LoadCredential=token:/etc/tidelock/credentials/web/token
RuntimeDirectory=web
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
";

const HELPER: &str = "[Service]
ExecStart=/bin/sleep infinity
";

const EXTRA: &str = "[Unit]
PartOf=web.service

[Service]
ExecStart=/bin/sleep infinity

[Install]
WantedBy=multi-user.target
";

/// Says who and where it is, and tries what it must not.
const PROGRAM: &str = r#"#!/bin/sh
{
    echo "$(id -un) $MODE $(cat "$CREDENTIALS_DIRECTORY/token") $TIDELOCK_APP"
    (echo dirt >"$TIDELOCK_RELEASE/tree/bin/web") 2>&1
    (echo dirt >/var/lib/tidelock/apps/web/new) 2>&1
    ls /etc/tidelock/credentials/web 2>&1
    echo kept >>"$TIDELOCK_DATA/kept" && echo "its data is its own"
} | sed 's/.*: //' >/run/web/facts
exec sleep infinity
"#;

const FACTS: &str = "web fine hidden web
Read-only file system
Read-only file system
Permission denied
its data is its own
";

const UNIT: &str = "tidelock-app-web.web.service";

/// What lies of the app in systemd's directory.
fn placed(stage: &Stage) -> String {
    let found = stage.says("cd /etc/systemd/system && find . -name 'tidelock-app-*' | sort");
    found.replace("./", "").replace("tidelock-app-web.", "_")
}

/// When systemd last read its files.
fn read(stage: &Stage) -> String {
    stage.says("systemctl show --property=UnitsLoadTimestampMonotonic --value")
}

fn shown(stage: &Stage, unit: &str) -> String {
    stage.says(&format!("systemctl show {unit} --property=LoadState,Description,ActiveState | sort"))
}

fn first(program: &str) -> [(&'static str, &str); 4] {
    [("release.toml", RECIPE), ("web.service", WEB), ("helper.service", HELPER), ("bin/web", program)]
}

#[test]
fn units_have_their_user_data_settings_and_secrets_and_come_and_go_with_their_release() {
    let stage = Stage::new("apps");
    stage.machine.write("/etc/tidelock/apps/web.env", "MODE=fine\n");
    stage.machine.write("/etc/tidelock/credentials/web/token", "hidden\n");
    stage.says("chmod 0700 /etc/tidelock/credentials; chmod 0600 /etc/tidelock/apps/web.env");
    stage.put("web", &first(PROGRAM));
    stage.start_daemon();
    stage.becomes("Synced Healthy");
    what_they_are(&stage);
    nothing_of_it_is_in_the_group_of_the_agent(&stage);
    // Whoever may log in sees what root sees.
    let seen = stage.says("setpriv --reuid 990 --regid 990 --clear-groups tidelock status");
    assert!(seen.lines().any(|line| line.starts_with("web ") && line.contains("Healthy")), "{seen}");
    the_same_units_are_not_read_again(&stage, &first(&format!("{PROGRAM}# Another one.\n")));

    // One goes, one comes, one changes.
    let before = read(&stage);
    let recipe = RECIPE.replace("helper.service", "extra.service");
    let changed = WEB.replace("=web\n", "=web, changed\n").replace("helper", "extra");
    let second = [
        ("release.toml", &*recipe),
        ("web.service", &changed),
        ("extra.service", EXTRA),
        ("bin/web", PROGRAM),
    ];
    stage.put("web", &second);
    stage.poke();
    stage.machine.until("the new unit runs", "systemctl is-active tidelock-app-web.extra.service");
    stage.becomes("Synced Healthy");
    assert_ne!(read(&stage), before);
    the_second_ones_run(&stage);
    let helper = shown(&stage, "tidelock-app-web.helper.service");
    assert_eq!(
        helper,
        "ActiveState=inactive\nDescription=tidelock-app-web.helper.service\nLoadState=not-found\n"
    );

    // The first units with a program that fails its check: back come the second ones.
    stage.put("web", &first("#!/bin/sh\nexec sleep infinity # broken\n"));
    stage.poke();
    stage.machine.until("it is refused", "tidelock why web | grep 'refused .* check asks failed'");
    stage.becomes("OutOfSync Healthy");
    the_second_ones_run(&stage);
    the_journal_tells_of_it(&stage);
    assert_eq!(stage.says("grep -c kept /var/lib/tidelock/apps/web/data/kept"), "4\n");
    stage.is_well();
}

fn what_they_are(stage: &Stage) {
    assert_eq!(stage.says("cat /run/web/facts"), FACTS);
    assert_eq!(stage.says("stat -c '%a %U %g' /var/lib/tidelock/apps/web/data"), "750 web 990\n");
    assert_eq!(placed(stage), "multi-user.target.wants/_web.service\n_helper.service\n_web.service\n");
    let shown =
        stage.says(&format!("systemctl show {UNIT} --property=User,Requires,RequiresMountsFor,After"));
    for word in ["User=web", "/var/lib/tidelock", "tidelock-guard.service", "tidelock-app-web.helper.service"]
    {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}

fn nothing_of_it_is_in_the_group_of_the_agent(stage: &Stage) {
    for (who, unit) in [("hook", "tidelock-hook-web.service"), ("check", "tidelock-run-web-")] {
        let said = stage.says(&format!("cat /var/lib/tidelock/apps/web/data/{who}"));
        assert!(said.starts_with(&format!("0::/system.slice/{unit}")) && said.ends_with("\nweb\n"), "{said}");
    }
    let group = "cat /sys/fs/cgroup/system.slice/tidelock.service/cgroup.procs";
    let agents = stage.says(&format!("for id in $({group}); do cat /proc/$id/comm; done"));
    assert_eq!(agents, "tidelock\n");
}

fn the_same_units_are_not_read_again(stage: &Stage, release: &[(&str, &str)]) {
    let process = || stage.says(&format!("systemctl show --property=MainPID --value {UNIT}"));
    let before = (read(stage), process());
    stage.put("web", release);
    stage.poke();
    let other = format!("[ \"$(systemctl show --property=MainPID --value {UNIT})\" != {} ]", before.1.trim());
    stage.machine.until("another process runs", &other);
    stage.becomes("Synced Healthy");
    assert_eq!(read(stage), before.0);
}

fn the_second_ones_run(stage: &Stage) {
    let lie = "multi-user.target.wants/_extra.service\nmulti-user.target.wants/_web.service\n_extra.service\n_web.service\n";
    assert_eq!(placed(stage), lie);
    let up = |words: &str| format!("ActiveState=active\nDescription={words}\nLoadState=loaded\n");
    assert_eq!(shown(stage, UNIT), up("web, changed"));
    let extra = "tidelock-app-web.extra.service";
    assert_eq!(shown(stage, extra), up(extra));
}

/// What the agent said of a refusal is found by its fields, and told by its unit.
fn the_journal_tells_of_it(stage: &Stage) {
    let entries = stage.says("journalctl --output=json TIDELOCK_APP=web TIDELOCK_REASON=refused");
    let entry: serde_json::Value = serde_json::from_str(entries.lines().last().unwrap()).unwrap();
    assert_eq!((&entry["PRIORITY"], &entry["_SYSTEMD_UNIT"]), (&"4".into(), &"tidelock.service".into()));
    assert!(entry["TIDELOCK_RELEASE"].as_str().unwrap().starts_with("git-"), "{entry}");
    let status = stage.says("systemctl show tidelock.service --property=StatusText --value");
    assert!(status.contains("check asks failed"), "{status}");
}
