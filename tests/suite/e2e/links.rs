//! Releases that share inodes, as they do by default on a machine that systemd runs: whatever one of them suffers is seen
//! before another one is entered, and mended in both.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::site::{Plan, Site, noise};

/// A device under systemd that went from release `one` to release `two`: where each of them lies.
fn updated(name: &str) -> (Site, [PathBuf; 2]) {
    let site = Plan { machine: true, ..Plan::new(name) }.build();
    site.fleet.write("apps/files/tree/deep/er/shared", noise(1, 300_000));
    let trees = one_and_two(&site);
    (site, trees)
}

/// Has release `one` and then release `two` arrive, which differ in one file and have another in common.
fn one_and_two(site: &Site) -> [PathBuf; 2] {
    site.fleet.write("apps/files/tree/shared", "right\n");
    ["one", "two"].map(|version| {
        site.publish("version", version);
        site.arrives();
        live(site)
    })
}

fn live(site: &Site) -> PathBuf {
    fs::canonicalize(site.device.app("files").join("current/tree")).unwrap()
}

/// Changes one byte of a file in place, as only root can: every name of it is hit.
fn ruin(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[1] ^= 1;
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o444)).unwrap();
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

fn text(tree: &Path, path: &str) -> String {
    String::from_utf8(fs::read(tree.join(path)).unwrap()).unwrap()
}

/// That `said` tells of these things in this order.
fn in_order(said: &str, things: &[&str]) {
    let mut rest = said;
    for thing in things {
        let at = rest.find(thing).unwrap_or_else(|| panic!("{thing}, in this order: {said}"));
        rest = &rest[at + thing.len()..];
    }
}

#[test]
fn two_releases_share_what_did_not_change_and_one_ruined_byte_is_mended_in_both() {
    let (site, [one, two]) = updated("links");
    for path in ["shared", "deep/er/shared", "release.toml"] {
        assert_eq!(inode(&one.join(path)), inode(&two.join(path)), "{path}");
    }
    assert_ne!(inode(&one.join("version")), inode(&two.join("version")));
    ruin(&two.join("deep/er/shared"));
    ruin(&two.join("shared"));
    assert_eq!(text(&one, "shared"), text(&two, "shared"), "both are hit");
    assert_eq!(site.device.run(&["verify"]).code, 10);
    site.device.run(&["verify", "--heal"]).well();
    site.is_there();
    assert_eq!((text(&one, "shared"), text(&one, "version")), ("right\n".into(), "one".into()));
    assert_eq!(fs::read(one.join("deep/er/shared")).unwrap(), noise(1, 300_000));
    assert_eq!(inode(&one.join("shared")), inode(&two.join("shared")), "and share it again");
    // Whoever is careful gets files of their own.
    site.device.configure("careful", "reuse = \"copy\"\n");
    site.publish("version", "three");
    site.arrives();
    assert_ne!(inode(&live(&site).join("shared")), inode(&two.join("shared")));
}

#[test]
fn without_systemd_no_two_releases_share_an_inode() {
    let site = Site::new("links-hooks");
    let [one, two] = one_and_two(&site);
    assert_ne!(inode(&one.join("shared")), inode(&two.join("shared")));
}

#[test]
fn what_a_person_goes_back_to_is_hashed_and_mended_before_anything_is_stopped() {
    let (site, [one, two]) = updated("links-rollback");
    ruin(&two.join("shared"));
    // Nobody but root, and not through the release that is left: it is hashed whole.
    ruin(&one.join("version"));
    let ran = site.device.run(&["rollback", "files", "--reason", "slow"]).well();
    in_order(&ran.said(), &["hash tree", "mended 2 files", "point at tree"]);
    assert_eq!(live(&site), one);
    assert_eq!((text(&one, "shared"), text(&one, "version")), ("right\n".into(), "one".into()));
    site.device.run(&["verify"]).well();
}

#[test]
fn a_way_back_that_nobody_can_mend_is_gone_and_told_and_mended_when_the_publisher_is_there() {
    let (site, [one, two]) = updated("links-alone");
    ruin(&two.join("shared"));
    site.relay.cut();
    site.relay.lead_to(tidelock_tests::world::Supervisor::free_address());
    let ran = site.device.run(&["rollback", "files", "--reason", "slow"]);
    in_order(&ran.said(), &["hash tree", "mend tree", "differ: 1", "point at tree"]);
    assert_eq!(live(&site), one);
    assert_eq!(site.device.run(&["verify"]).code, 10);
    site.relay.lead_to(site.tls.address());
    site.device.run(&["verify", "--heal"]).well();
    site.device.run(&["verify"]).well();
    assert_eq!(text(&one, "shared"), "right\n");
}

#[test]
fn what_a_failing_release_ruined_of_the_one_before_is_mended_before_the_link_goes_back() {
    let (site, [_, two]) = updated("links-failing");
    let check = "[[check]]\nname = \"never\"\ntcp = \"127.0.0.1:1\"\ninterval = 1\ndeadline = 6\n";
    site.publish("release.toml", format!("format = 1\n{check}"));
    let ran = thread::scope(|scope| {
        let update = scope.spawn(|| site.device.update());
        // While the link names the release in trial, it writes where it may not.
        while live(&site) == two {
            assert!(!update.is_finished(), "{}", site.device.run(&["why"]).said());
            thread::sleep(Duration::from_millis(20));
        }
        ruin(&live(&site).join("shared"));
        update.join().unwrap()
    });
    in_order(
        &ran.said(),
        &["record the way back", "shares with others", "mended 1 files", "point at tree", "refuse"],
    );
    assert_eq!(live(&site), two);
    assert_eq!(text(&two, "shared"), "right\n");
    site.device.run(&["verify"]).well();
}

#[test]
fn an_older_release_that_was_ruined_meanwhile_is_mended_before_it_is_entered_again() {
    let site = Site::new("links-again");
    let [one, _] = one_and_two(&site);
    ruin(&one.join("shared"));
    fs::remove_file(one.join("version")).unwrap();
    // As a revert in Git: the very tree that is still here.
    site.publish("version", "one");
    let ran = site.arrives();
    assert_eq!(live(&site), one);
    in_order(&ran.said(), &["hash tree", "mended 2 files", "open the trial", "point at tree"]);
}
