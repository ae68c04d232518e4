//! An app that the environment wants no more.

use std::time::{Duration, SystemTime};

use super::stage::{GOOD, Made, SERVICE, Stage};

/// What a time service tells the kernel, once it has set the clock: no `STA_UNSYNC`, and no error.
const SYNCHRONISED: &str =
    "perl -e 'my $t = pack q(Lx4q4lx164), 0x1c, 0, 0, 0, 0, 0; syscall(159, $t) >= 0 or die $!'";

#[test]
fn an_app_that_is_wanted_no_more_stops_with_all_its_units_comes_back_at_once_and_is_purged_by_hand() {
    let stage = Stage::new("gone");
    let hook = "echo mine >$TIDELOCK_DATA/note; setsid sleep 98763 &";
    stage.publish(2, Made { hook, ..GOOD });
    stage.arrives(2);
    let want = |apps: &[&str]| {
        stage.fleet.want(apps);
        stage.fleet.commit("What is wanted");
        stage.fleet.publish().well();
        stage.tidelock("update").well();
    };
    want(&[]);
    let shown = stage.says(&format!("systemctl show {SERVICE} --property=LoadState,ActiveState"));
    assert_eq!(shown, "LoadState=not-found\nActiveState=inactive\n");
    let left = "find /etc/systemd/system /run/systemd -name 'tidelock-*web*'; grep -l '[9]8763' /proc/[0-9]*/cmdline";
    assert_eq!(stage.machine.run(left).stdout, "");
    assert!(stage.says("tidelock why web").starts_with("web: orphan: "));
    assert_eq!(stage.says("cat /var/lib/tidelock/apps/web/data/note"), "mine\n");

    // Its release is still here: it comes back without the bundle.
    let bundles = stage.fleet.targets("web", "tar.gz");
    bundles.iter().for_each(|bundle| std::fs::rename(bundle, bundle.with_extension("away")).unwrap());
    want(&["web"]);
    stage.runs(2, "Synced Healthy");
    let refused = stage.tidelock("purge web --reason 'moved away'");
    assert_eq!(refused.code, 3, "{}", refused.said());

    want(&[]);
    stage.tidelock("purge web --reason 'moved away'").well();
    assert_eq!(stage.says("find /var/lib/tidelock/apps /run/tidelock -path '*apps/web*'"), "");
    stage.is_well();
}

#[test]
fn an_app_that_is_wanted_no_more_is_deleted_after_seven_days_where_the_environment_says_so() {
    let stage = Stage::new("pruned");
    stage.arrives(1);
    stage.says("echo mine >/var/lib/tidelock/apps/web/data/note");
    // What is signed outlives the week that nobody waits for here.
    let fleet = stage.fleet.repository().join("fleet.toml");
    let signed = std::fs::read_to_string(fleet).unwrap().replace("life = \"7d\"", "life = \"60d\"");
    stage.fleet.write("fleet.toml", signed);
    stage.fleet.write("environments/staging.toml", "prune = true\n[apps]\n");
    stage.fleet.commit("Nothing is wanted");
    stage.fleet.publish().well();
    stage.says(SYNCHRONISED);
    stage.tidelock("update").well();
    let releases = "find /var/lib/tidelock/apps/web -mindepth 2 -maxdepth 2 -path '*/releases/*'";
    let release = stage.says(releases);
    assert_eq!(release.lines().count(), 1, "{release}");
    for (days, left) in [(6, release.as_str()), (8, "")] {
        let then = SystemTime::now() + Duration::from_secs(days * 24 * 3600);
        let then = then.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        stage.machine.set_clock(Some(&format!("@{then}")));
        stage.says(SYNCHRONISED);
        stage.tidelock("update").well();
        assert_eq!(stage.says(releases), left, "after {days} days: {}", stage.says("tidelock why"));
    }
    assert_eq!(stage.says("cat /var/lib/tidelock/apps/web/data/note"), "mine\n");
    stage.is_well();
}
