//! Disks that are too small, read-only, or can share blocks.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;

use tidelock_tests::filesystem::{Kind, Mounted};
use tidelock_tests::program::until;

use super::site::{Plan, Site, noise};

fn on(disk: &Mounted, name: &str) -> Site {
    Plan { root: Some(disk.path()), ..Plan::new(name) }.build()
}

/// Files, directories and links below `root`.
fn entries(root: &Path) -> usize {
    super::site::tree(root).len()
}

#[test]
fn a_full_disk_is_said_and_the_release_that_is_there_stays() {
    let disk = Mounted::new(Kind::Ext4 { megabytes: 24, inodes: 2000 });
    let site = on(&disk, "full");
    site.arrives();
    let state = disk.path().join("var/lib/tidelock/apps");
    let before = entries(&state);
    site.publish("large", noise(1, 40 << 20));
    let said = site.stays();
    assert!(said.contains("space") || said.contains("disk"), "{said}");
    let why = site.device.run(&["why", "files"]).stdout;
    assert!(why.contains("disk") || why.contains("space"), "{why}");
    assert!(entries(&state) <= before + 4, "what could never fit was begun all the same");
    // There is room when the agent looks, and none any more when it writes.
    site.publish("large", noise(1, 10 << 20));
    site.relay.fall_silent_after(3 << 20);
    let before = site.device.live("files");
    let mut command = site.device.command(&["update"]);
    let agent = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("a part of it has come", || site.relay.is_silent());
    let ballast = disk.path().join("ballast");
    let full = fs::write(&ballast, noise(2, 24 << 20)).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    site.relay.speak();
    let ended = agent.wait_with_output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(!ended.status.success() && said.contains("No space left"), "{said}");
    assert_eq!(site.device.live("files"), before);
    fs::remove_file(ballast).unwrap();
    site.arrives();
}

#[test]
fn a_disk_without_inodes_is_said_and_the_release_that_is_there_stays() {
    let disk = Mounted::new(Kind::Ext4 { megabytes: 64, inodes: 300 });
    let site = on(&disk, "inodes");
    site.arrives();
    for n in 0..400 {
        site.fleet.write(&format!("apps/files/tree/many/{n}"), n.to_string());
    }
    site.publish("version", "2");
    let said = site.stays();
    assert!(said.contains("inode"), "{said}");
    fs::remove_dir_all(site.fleet.repository().join("apps/files/tree/many")).unwrap();
    site.publish("version", "3");
    site.arrives();
}

#[test]
fn a_read_only_disk_is_said_and_the_release_that_is_there_stays() {
    let disk = Mounted::new(Kind::Ext4 { megabytes: 24, inodes: 2000 });
    let site = on(&disk, "read-only");
    site.arrives();
    site.publish("version", "2");
    disk.make_read_only();
    let said = site.stays();
    assert!(said.to_lowercase().contains("read-only"), "{said}");
    disk.make_writable();
    site.arrives();
}

#[test]
fn unchanged_files_share_their_blocks_where_the_disk_can() {
    for kind in [Kind::Btrfs, Kind::Xfs] {
        let disk = Mounted::new(kind);
        let site = on(&disk, "reflink");
        site.publish("large", noise(1, 30 << 20));
        site.arrives();
        let before = used(disk.path());
        site.publish("version", "2");
        site.arrives();
        let grown = used(disk.path()).saturating_sub(before);
        assert!(grown < 4 << 20, "{kind:?}: the second release took {grown} bytes");
        let large = |tree: &str| {
            let releases = site.device.app("files").join("releases");
            fs::read(releases.join(tree).join("tree/large")).unwrap()
        };
        let live = site.device.live("files").unwrap();
        assert!(large(&live) == noise(1, 30 << 20));
    }
}

#[test]
fn a_release_whose_unchanged_files_share_their_blocks_needs_no_room_for_them() {
    let disk = Mounted::new(Kind::Xfs);
    let site = on(&disk, "reflink-room");
    site.publish("large", noise(1, 30 << 20));
    site.arrives();
    disk.fill_but(16 << 20);
    site.publish("version", "2");
    site.arrives();
    site.publish("large", noise(2, 30 << 20));
    assert!(site.stays().contains("not enough room"));
}

/// Bytes in use, once everything is on the disk.
fn used(at: &Path) -> u64 {
    let directory = fs::File::open(at).unwrap();
    rustix::fs::syncfs(&directory).unwrap();
    let space = rustix::fs::fstatvfs(&directory).unwrap();
    (space.f_blocks - space.f_bfree) * space.f_frsize
}
