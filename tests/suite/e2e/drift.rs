//! Somebody writes into the live tree: it is found, told, and mended byte for byte, in every way that a tree can differ.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tidelock_tests::programs::Ours;

use super::site::{Plan, Site, noise};

/// A site whose device has a tree with everything in it.
fn furnished(plan: Plan<'_>) -> Site {
    let site = plan.build();
    site.fleet.write("apps/files/tree/bin/run", "#!/bin/sh\n");
    let run = site.fleet.repository().join("apps/files/tree/bin/run");
    fs::set_permissions(run, Permissions::from_mode(0o755)).unwrap();
    symlink("bin/run", site.fleet.repository().join("apps/files/tree/start")).unwrap();
    site.fleet.write("apps/files/tree/empty", "");
    site.fleet.write("apps/files/tree/deep/er/still/leaf", "leaf\n");
    site.fleet.write("apps/files/tree/other", "untouched\n");
    site.publish("large", noise(1, 3 << 20));
    site.arrives();
    site
}

fn live(site: &Site) -> PathBuf {
    fs::canonicalize(site.device.app("files").join("current/tree")).unwrap()
}

/// Changes the content of a file as only its owner, or root, can.
fn overwrite(path: &Path, contents: impl AsRef<[u8]>) {
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    fs::write(path, contents).unwrap();
}

/// Every way in which a tree can differ at once.
fn ruin(tree: &Path) {
    let mut large = fs::read(tree.join("large")).unwrap();
    large[1_500_000] ^= 1;
    overwrite(&tree.join("large"), large);
    fs::set_permissions(tree.join("bin/run"), Permissions::from_mode(0o6777)).unwrap();
    overwrite(&tree.join("empty"), "no more");
    fs::remove_dir_all(tree.join("deep")).unwrap();
    fs::remove_file(tree.join("start")).unwrap();
    symlink("/etc/passwd", tree.join("start")).unwrap();
    fs::remove_file(tree.join("version")).unwrap();
    fs::create_dir(tree.join("version")).unwrap();
    fs::write(tree.join("version/inside"), "x").unwrap();
    fs::create_dir(tree.join("stranger")).unwrap();
    fs::write(tree.join("stranger/file"), "x").unwrap();
}

#[test]
fn everything_that_can_differ_is_named_and_mended_with_few_bytes() {
    let site = furnished(Plan::new("drift"));
    let tree = live(&site);
    ruin(&tree);
    let untouched = fs::metadata(tree.join("other")).unwrap().ino();
    let found = site.device.run(&["verify"]);
    assert_eq!(found.code, 10, "{}", found.said());
    for line in [
        "large has other content than listed",
        "bin/run has other permissions",
        "empty has other content",
        "deep is missing",
        "start has other content",
        "version is of another kind",
        "stranger is not listed",
    ] {
        assert!(found.stdout.contains(line), "{line}: {}", found.stdout);
    }
    let healed = site.device.run(&["verify", "--heal", "--owner", "ann"]).well();
    site.is_there();
    assert_eq!(
        fs::metadata(tree.join("other")).unwrap().ino(),
        untouched,
        "what was right was written again"
    );
    let mode = |path: &str| fs::symlink_metadata(tree.join(path)).unwrap().mode() & 0o7777;
    assert_eq!(
        [mode("large"), mode("bin/run"), mode("empty"), mode("deep/er")],
        [0o444, 0o555, 0o444, 0o755]
    );
    let bytes: u64 =
        healed.stderr.split(" bytes in").next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(bytes > 0 && bytes < 600_000, "only the block that differs is fetched again: {bytes} bytes");
    let left = fs::read_dir(site.device.app("files").join("releases")).unwrap().count();
    assert_eq!(
        left,
        fs::read_dir(site.device.app("files").join("releases"))
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().file_name().len() == 64 })
            .count(),
        "the mending left something behind"
    );
}

#[test]
fn a_day_after_the_commit_the_live_tree_is_hashed_and_mended_unasked() {
    let clock = |site: &Site, day: u32| {
        let time = format!("2030-01-{day:02}T12:00:00Z synchronised\n");
        fs::write(site.room.join("clock"), time).unwrap();
    };
    let plan = Plan::new("drift-daily");
    let site = furnished(Plan {
        agent: Ours::AgentWithTestClock,
        clock: Some(("1970-01-01T00:00:10Z unsynchronised", 1)),
        ..plan
    });
    ruin(&live(&site));
    site.device.update().well();
    assert_eq!(site.device.run(&["verify"]).code, 10, "it is not time yet");
    // The metadata has expired by then: healing goes on all the same.
    clock(&site, 1);
    let said = site.device.update().said();
    assert!(said.contains("expired"), "{said}");
    assert!(site.live() == site.committed(), "{said}");
    // The owner wants to be told only.
    site.device.configure("drift", "[drift]\nheal = false\n");
    overwrite(&live(&site).join("other"), "touched\n");
    clock(&site, 3);
    site.device.update();
    let why = site.device.run(&["why", "files"]).stdout;
    assert!(why.contains("other has other content than listed"), "{why}");
    assert_eq!(site.device.run(&["verify"]).code, 10);
    site.device.run(&["verify", "--heal"]).well();
}

#[test]
fn an_index_that_was_ruined_too_is_fetched_again() {
    let site = furnished(Plan::new("drift-index"));
    let index = live(&site).parent().unwrap().join("index");
    overwrite(&index, "nothing");
    overwrite(&live(&site).join("other"), "touched\n");
    assert_eq!(site.device.run(&["verify"]).code, 10);
    site.device.run(&["verify", "--heal"]).well();
    site.is_there();
}

#[test]
fn without_the_publisher_nothing_is_mended_and_nothing_is_lost() {
    let site = furnished(Plan::new("drift-alone"));
    overwrite(&live(&site).join("other"), "touched\n");
    site.relay.cut();
    let nowhere = tidelock_tests::world::Supervisor::free_address();
    site.relay.lead_to(nowhere);
    let told = site.device.run(&["verify", "--heal"]);
    assert_eq!(told.code, 10, "{}", told.said());
    assert_eq!(site.device.state("files"), "OutOfSync Healthy");
    site.relay.lead_to(site.tls.address());
    site.device.update().well();
    site.is_there();
}
