//! An app that the environment wants no more.

use super::stage::{GOOD, Made, SERVICE, Stage};

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
