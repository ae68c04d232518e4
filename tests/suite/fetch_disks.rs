//! The fetch room on file systems of its own: reflinks where there are some, no room, no inodes, a disk that fills up.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use tidelock::io::disk;
use tidelock::io::fetch::{Error, Share};
use tidelock_tests::fetching::Fetching;
use tidelock_tests::filesystem::{Kind, Mounted};
use tidelock_tests::release::{Made, noise};

/// 24 MB in files of every size.
fn tree() -> Made {
    let mut tree = Made::sample();
    for n in 0..20 {
        tree.file(&format!("heavy/{n:02}"), &noise(n, 1_100_000));
    }
    tree
}

#[test]
fn a_reflinked_file_costs_no_room() {
    for kind in [Kind::Xfs, Kind::Btrfs] {
        let mounted = Mounted::new(kind);
        let rig = Fetching::start().on(mounted.path(), Share::Blocks);
        let mut tree = tree();
        let first = rig.publish(&tree, "one");
        rig.fetch(&first, "a", None).unwrap();
        tree.content("heavy/03")[700_000] ^= 1;
        let second = rig.publish(&tree, "two");
        let used = || {
            rustix::fs::sync();
            disk::free(mounted.path()).unwrap().bytes
        };
        let before = used();
        let report = rig.fetch(&second, "b", Some("a")).unwrap();
        let cost = before.saturating_sub(used());
        rig.assert_whole("b", &tree, &second);
        assert_eq!(report.reused, report.files - 1, "{kind:?}");
        assert!(cost < 6_000_000, "{kind:?}: {cost} bytes of 24 MB were written");
        // The running release shares blocks, not inodes: it stays as it is when the new one is removed.
        fs::remove_dir_all(rig.staging("b")).unwrap();
        rig.fetch(&first, "a", None).unwrap();
    }
}

/// As root, since only root can make somebody else the owner of a file.
#[test]
fn a_hard_linked_file_costs_nothing_and_one_of_another_owner_is_not_linked() {
    let mounted = Mounted::new(Kind::Ext4 { megabytes: 64, inodes: 240 });
    let rig = Fetching::start().on(mounted.path(), Share::Inodes);
    let mut tree = tree();
    let first = rig.publish(&tree, "one");
    rig.fetch(&first, "a", None).unwrap();
    tree.content("heavy/03")[700_000] ^= 1;
    let place = |name: &str, path: &str| rig.staging(name).join("tree").join(path);
    chown(place("a", "heavy/04"), Some(1), Some(1)).unwrap();
    let second = rig.publish(&tree, "two");
    mounted.fill_but(6 << 20);
    let report = rig.fetch(&second, "b", Some("a")).unwrap();
    rig.assert_whole("b", &tree, &second);
    assert_eq!(report.reused, report.files - 1);
    let inode = |name: &str, path: &str| fs::metadata(place(name, path)).unwrap().ino();
    assert_eq!(inode("a", "heavy/05"), inode("b", "heavy/05"));
    assert_ne!(inode("a", "heavy/04"), inode("b", "heavy/04"));
    let owned = fs::metadata(place("b", "heavy/04")).unwrap().uid();
    assert_eq!(owned, 0);
    // The release before goes, and this one stays as it is.
    fs::remove_dir_all(rig.staging("a")).unwrap();
    rig.assert_whole("b", &tree, &second);
}

#[test]
fn a_large_release_changes_where_there_is_room_for_the_change_alone_if_blocks_can_be_shared() {
    for kind in [Kind::Xfs, Kind::Btrfs, Kind::Ext4 { megabytes: 64, inodes: 4000 }] {
        let mounted = Mounted::new(kind);
        let rig = Fetching::start().on(mounted.path(), Share::Blocks);
        let mut tree = tree();
        let first = rig.publish(&tree, "one");
        rig.fetch(&first, "a", None).unwrap();
        tree.content("heavy/03")[700_000] ^= 1;
        let second = rig.publish(&tree, "two");
        mounted.fill_but(12 << 20);
        let fetched = rig.fetch(&second, "b", Some("a"));
        if kind == (Kind::Ext4 { megabytes: 64, inodes: 4000 }) {
            assert!(matches!(fetched, Err(Error::Room { .. })), "{fetched:?}");
            continue;
        }
        let report = fetched.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!(report.reused, report.files - 1, "{kind:?}");
        rig.assert_whole("b", &tree, &second);
        let alone = rig.fetch(&second, "c", None).unwrap_err();
        assert!(matches!(alone, Error::Room { .. }), "{kind:?}: {alone}");
    }
}

#[test]
fn a_tree_that_does_not_fit_is_refused_before_anything_is_written() {
    let mounted = Mounted::new(Kind::Ext4 { megabytes: 16, inodes: 4000 });
    let rig = Fetching::start().on(mounted.path(), Share::Blocks);
    let files = rig.publish(&tree(), "one");
    let error = rig.fetch(&files, "a", None).unwrap_err();
    assert!(matches!(&error, Error::Room { need, free, .. } if need.bytes > free.bytes), "{error}");
    assert!(!rig.staging("a").join("tree").exists() && rig.ranges().is_empty());
}

#[test]
fn a_tree_with_more_entries_than_inodes_is_refused_before_anything_is_written() {
    let mounted = Mounted::new(Kind::Ext4 { megabytes: 64, inodes: 64 });
    let rig = Fetching::start().on(mounted.path(), Share::Blocks);
    let files = rig.publish(&tree(), "one");
    let error = rig.fetch(&files, "a", None).unwrap_err();
    assert!(matches!(&error, Error::Room { need, free, .. } if need.inodes > free.inodes), "{error}");
    assert!(!rig.staging("a").join("tree").exists());
}

#[test]
fn a_disk_that_fills_up_on_the_way_ends_the_fetch_and_room_ends_that() {
    let mounted = Mounted::new(Kind::Ext4 { megabytes: 40, inodes: 4000 });
    let rig = Fetching::start().on(mounted.path(), Share::Blocks);
    let tree = tree();
    let files = rig.publish(&tree, "one");
    let ballast = mounted.path().join("ballast");
    let filled = std::sync::Once::new();
    // Another program takes the room between the look at the disk and the writing.
    let stop = || {
        filled.call_once(|| {
            let free = disk::free(mounted.path()).unwrap().bytes;
            let length = usize::try_from(free.saturating_sub(8 << 20)).unwrap();
            fs::write(&ballast, vec![1; length]).unwrap();
        });
        false
    };
    let error = rig.fetch_until(&files, "a", None, &stop).unwrap_err();
    assert!(matches!(&error, Error::Disk(error) if error.source.raw_os_error() == Some(28)), "{error}");
    fs::remove_file(&ballast).unwrap();
    let report = rig.fetch(&files, "a", None).unwrap();
    rig.assert_whole("a", &tree, &files);
    assert!(report.bytes < files.bundle.length, "{report:?}");
}
