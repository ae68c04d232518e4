//! The fetch room against the publisher's own server, good and bad: what comes over the wire, what is reused, and that
//! nothing but the signed tree ever stands in the staging directory at the end.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tidelock::io::fetch::{self, Change, Error, Share};
use tidelock::io::http;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::tree::Mode;
use tidelock_tests::faults::Fault;
use tidelock_tests::fetching::Fetching;
use tidelock_tests::release::{Made, Node, Published, lay, noise};

fn remake(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_first_install_is_one_plain_request_and_gives_exactly_the_tree() {
    let (rig, tree) = (Fetching::start(), Made::sample());
    let files = rig.publish(&tree, "one");
    let report = rig.fetch(&files, "a", None).unwrap();
    rig.assert_whole("a", &tree, &files);
    assert_eq!((report.requests, report.bytes, report.reused), (1, files.bundle.length, 0));
    assert_eq!(rig.ranges(), [None]);
}

#[test]
fn a_second_fetch_of_the_same_tree_asks_for_nothing() {
    let (rig, tree) = (Fetching::start(), Made::sample());
    let files = rig.publish(&tree, "one");
    rig.fetch(&files, "a", None).unwrap();
    rig.proxy.take_seen();
    let report = rig.fetch(&files, "a", None).unwrap();
    assert_eq!((report.requests, report.bytes), (0, 0));
    assert_eq!(report.resumed, report.files);
    assert!(rig.proxy.take_seen().is_empty());
}

#[test]
fn an_update_fetches_what_changed_and_takes_over_the_rest() {
    let (rig, mut tree) = (Fetching::start(), Made::sample());
    let first = rig.publish(&tree, "one");
    rig.fetch(&first, "a", None).unwrap();
    tree.content("lib/part-07/module.js")[5] ^= 1;
    tree.content("lib.so").splice(300_000..300_000, *b"a few bytes more");
    // Moved, made executable, turned into something else, and gone.
    let moved = tree.0.remove("text").unwrap();
    tree.0.insert("words".into(), moved);
    let Some(Node::File(mode, _)) = tree.0.get_mut("lib/part-01/module.js") else { panic!() };
    *mode = Mode::Executable;
    tree.0.insert("empty".into(), Node::Directory);
    tree.0.remove("lib/part-02/module.js");
    let second = rig.publish(&tree, "two");
    rig.proxy.take_seen();
    let report = rig.fetch(&second, "b", Some("a")).unwrap();
    rig.assert_whole("b", &tree, &second);
    assert!(report.bytes < second.bundle.length / 3, "{report:?} of {}", second.bundle.length);
    assert_eq!(report.reused, report.files - 2, "{report:?}");
    assert!(report.reused_blocks >= 4, "{report:?}");
    let ranges = rig.ranges();
    assert_eq!(ranges.len() as u64, report.requests);
    assert!(ranges.iter().all(Option::is_some) && ranges.len() <= 3, "{ranges:?}");
}

#[test]
fn neighbours_are_fetched_in_one_request() {
    let rig = Fetching::start();
    let mut tree = Made::default();
    for n in 0..200 {
        tree.file(&format!("f{n:03}"), &noise(n, 20_000));
    }
    let first = rig.publish(&tree, "one");
    rig.fetch(&first, "a", None).unwrap();
    // Two neighbouring blocks, and one far away.
    for path in ["f020", "f025", "f150"] {
        tree.content(path)[0] ^= 1;
    }
    let second = rig.publish(&tree, "two");
    rig.proxy.take_seen();
    let report = rig.fetch(&second, "b", Some("a")).unwrap();
    rig.assert_whole("b", &tree, &second);
    assert_eq!(report.requests, 2, "{:?}", rig.ranges());
}

#[test]
fn a_server_that_ignores_ranges_is_read_once() {
    let (rig, mut tree) = (Fetching::start(), Made::sample());
    let first = rig.publish(&tree, "one");
    rig.fetch(&first, "a", None).unwrap();
    tree.content("lib/part-00/module.js")[5] ^= 1;
    tree.content("lib/part-59/module.js")[5] ^= 1;
    let second = rig.publish(&tree, "two");
    rig.proxy.always("tar.gz", Fault::NoRange);
    let report = rig.fetch(&second, "b", Some("a")).unwrap();
    rig.assert_whole("b", &tree, &second);
    assert_eq!(report.requests, 1);
}

#[test]
fn each_fault_of_the_wire_is_an_error_of_its_own_and_the_next_attempt_ends_it() {
    let kind = |error: &Error| match error {
        Error::Http(error) => error.kind().cloned(),
        other => panic!("{other}"),
    };
    type Expected = fn(&Error) -> bool;
    let faults: [(Fault, Expected); 13] = [
        (Fault::Status(404), |error| matches!(error, Error::Missing { .. })),
        (Fault::Status(416), |error| matches!(error, Error::OutOfRange { start, end, .. } if start < end)),
        (Fault::RetryAfter(503, 7), |error| error.retry_after() == Some(Duration::from_secs(7))),
        (Fault::WrongRange, |error| matches!(error, Error::Http(e) if e.kind() == Some(&http::Kind::Range))),
        (
            Fault::Gzip,
            |error| matches!(error, Error::Http(e) if matches!(e.kind(), Some(http::Kind::Encoded(_)))),
        ),
        (Fault::Html, |error| matches!(error, Error::Length { .. })),
        (
            Fault::Redirect,
            |error| matches!(error, Error::Http(e) if matches!(e.kind(), Some(http::Kind::Redirect(_)))),
        ),
        (Fault::Endless, |error| matches!(error, Error::Block { .. })),
        (Fault::Corrupt(1000), |error| matches!(error, Error::Block { .. })),
        (Fault::Cut(1000), |error| matches!(error, Error::Http(e) if e.kind() == Some(&http::Kind::Cut))),
        (Fault::Truncate(1000), |error| matches!(error, Error::Http(_))),
        (
            Fault::Stall(1000),
            |error| matches!(error, Error::Http(e) if e.kind() == Some(&http::Kind::TimedOut)),
        ),
        (Fault::HangUp, |error| matches!(error, Error::Http(_))),
    ];
    let (rig, mut tree) = (Fetching::start(), Made::sample());
    let first = rig.publish(&tree, "one");
    rig.fetch(&first, "a", None).unwrap();
    tree.content("lib/part-07/module.js")[5] ^= 1;
    let second = rig.publish(&tree, "two");
    for (n, (fault, expected)) in faults.into_iter().enumerate() {
        let to = format!("b{n}");
        rig.proxy.always("tar.gz", fault.clone());
        let error = rig.fetch(&second, &to, Some("a")).unwrap_err();
        assert!(expected(&error), "{fault:?}: {error} {:?}", kind(&error));
        rig.proxy.heal();
        rig.fetch(&second, &to, Some("a")).unwrap();
        rig.assert_whole(&to, &tree, &second);
    }
}

#[test]
fn a_replaced_bundle_is_told_by_its_length() {
    let (rig, tree) = (Fetching::start(), Made::sample());
    let files = rig.publish(&tree, "one");
    fs::write(rig.scratch.join("public").join(files.bundle.path()), b"something else").unwrap();
    assert!(matches!(rig.fetch(&files, "a", None), Err(Error::Length { found: 14, .. })));
}

#[test]
fn a_cut_or_stopped_fetch_goes_on_where_it_was() {
    let (rig, tree) = (Fetching::start(), Made::sample());
    let files = rig.publish(&tree, "one");
    rig.proxy.times(1, "tar.gz", Fault::Cut(files.bundle.length * 2 / 3));
    rig.fetch(&files, "a", None).unwrap_err();
    let asked = AtomicU32::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) > 400;
    let stopped = rig.fetch_until(&files, "a", None, &stop);
    assert!(stopped.is_ok() || matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
    let report = rig.fetch(&files, "a", None).unwrap();
    rig.assert_whole("a", &tree, &files);
    assert!(report.bytes < files.bundle.length / 2, "{report:?}");
    assert!(report.resumed > 0, "{report:?}");
    // And a stop at every possible point ends in the same tree.
    for after in [0, 1, 50, 80, 120, 150] {
        let (asked, to) = (AtomicU32::new(0), format!("s{after}"));
        let stop = || asked.fetch_add(1, Ordering::Relaxed) >= after;
        let first = rig.fetch_until(&files, &to, None, &stop);
        assert!(first.is_ok() || matches!(first, Err(Error::Stopped)), "{first:?}");
        rig.fetch(&files, &to, None).unwrap();
        rig.assert_whole(&to, &tree, &files);
    }
}

#[test]
fn a_large_file_goes_on_by_blocks() {
    let rig = Fetching::start();
    let mut tree = Made::default();
    tree.file("large", &noise(1, 3_000_000));
    let files = rig.publish(&tree, "one");
    rig.proxy.times(1, "tar.gz", Fault::Cut(2_500_000));
    rig.fetch(&files, "a", None).unwrap_err();
    let report = rig.fetch(&files, "a", None).unwrap();
    rig.assert_whole("a", &tree, &files);
    assert!(report.bytes < 1_500_000 && report.reused_blocks > 10, "{report:?}");
}

#[test]
fn whatever_stands_in_the_staging_directory_the_tree_comes_out_right() {
    let (rig, tree) = (Fetching::start(), Made::sample());
    let files = rig.publish(&tree, "one");
    rig.fetch(&files, "a", None).unwrap();
    let staged = rig.staging("a").join("tree");
    remake(&staged.join("bin/run"), b"#!/bin/sh\nrm -rf /\n");
    remake(&staged.join("lib.so"), &noise(100, 400_000));
    remake(&staged.join("text"), &b"compressible ".repeat(50_000));
    remake(&staged.join("empty"), b"not empty");
    remake(&staged.join("lib/part-11/module.js"), &noise(78, 6_000));
    fs::set_permissions(staged.join("lib/part-11/module.js"), PermissionsExt::from_mode(0o444)).unwrap();
    fs::remove_dir_all(staged.join("lib/part-03")).unwrap();
    symlink("/etc", staged.join("lib/part-03")).unwrap();
    fs::remove_file(staged.join("lib/part-04/module.js")).unwrap();
    fs::create_dir_all(staged.join("lib/part-04/module.js/deep")).unwrap();
    fs::remove_file(staged.join("current")).unwrap();
    symlink("/bin/sh", staged.join("current")).unwrap();
    fs::remove_file(staged.join("dangling")).unwrap();
    fs::create_dir_all(staged.join("dangling/x")).unwrap();
    fs::create_dir_all(staged.join("extra/more")).unwrap();
    fs::write(staged.join("lib/stray"), b"").unwrap();
    symlink("..", staged.join("stray-link")).unwrap();
    rig.fetch(&files, "a", None).unwrap();
    rig.assert_whole("a", &tree, &files);
    // A wrong index is fetched again.
    fs::write(rig.staging("a").join("index"), b"garbage").unwrap();
    rig.fetch(&files, "a", None).unwrap();
    rig.assert_whole("a", &tree, &files);
    assert!(Path::new("/etc/passwd").exists());
}

#[test]
fn what_is_wrong_in_the_running_release_is_not_taken_over() {
    let (rig, mut tree) = (Fetching::start(), Made::sample());
    let first = rig.publish(&tree, "one");
    rig.fetch(&first, "a", None).unwrap();
    let running = rig.staging("a").join("tree");
    let mut rotten = tree.content("lib.so").clone();
    rotten[450_000] ^= 1;
    remake(&running.join("lib.so"), &rotten);
    remake(&running.join("lib/part-09/module.js"), &noise(77, 6_000));
    // What leads out of the tree is not followed, even to the right bytes.
    fs::rename(running.join("lib/part-10/module.js"), rig.staging("elsewhere.js")).unwrap();
    symlink(rig.staging("elsewhere.js"), running.join("lib/part-10/module.js")).unwrap();
    fs::rename(running.join("lib/part-12"), rig.staging("elsewhere")).unwrap();
    symlink(rig.staging("elsewhere"), running.join("lib/part-12")).unwrap();
    tree.content("lib/part-07/module.js")[5] ^= 1;
    let second = rig.publish(&tree, "two");
    let report = rig.fetch(&second, "b", Some("a")).unwrap();
    rig.assert_whole("b", &tree, &second);
    assert_eq!(report.reused, report.files - 5, "{report:?}");
    assert_eq!(report.spoilt, 4, "the one that changed in the release is no fault");
    // One block of lib.so was rotten, the others were right.
    assert!(report.reused_blocks >= 4, "{report:?}");
    // A running release without a readable index, or none at all, costs only bytes.
    fs::write(rig.staging("a").join("index"), b"garbage").unwrap();
    assert_eq!(rig.fetch(&second, "c", Some("a")).unwrap().reused, 0);
    assert_eq!(rig.fetch(&second, "d", Some("nowhere")).unwrap().reused, 0);
    rig.assert_whole("c", &tree, &second);
}

fn inode(rig: &Fetching, name: &str, path: &str) -> u64 {
    fs::symlink_metadata(rig.staging(name).join("tree").join(path)).unwrap().ino()
}

/// Writes into a file in place, as only its owner, or root, can.
fn write_into(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn where_nothing_writes_into_a_release_an_unchanged_file_is_one_for_both() {
    let (rig, mut tree) = (Fetching::start().sharing(Share::Inodes), Made::sample());
    let first = rig.publish(&tree, "one");
    rig.fetch(&first, "a", None).unwrap();
    tree.content("lib/part-07/module.js")[5] ^= 1;
    let moved = tree.0.remove("text").unwrap();
    tree.0.insert("words".into(), moved);
    let Some(Node::File(mode, _)) = tree.0.get_mut("lib/part-01/module.js") else { panic!() };
    *mode = Mode::Executable;
    // What somebody may write into stays alone, though its bytes are right; and so does another user's.
    let open = rig.staging("a").join("tree/lib/part-02/module.js");
    fs::set_permissions(open, fs::Permissions::from_mode(0o644)).unwrap();
    let second = rig.publish(&tree, "two");
    let report = rig.fetch(&second, "b", Some("a")).unwrap();
    rig.assert_whole("b", &tree, &second);
    assert_eq!((report.reused, report.spoilt), (report.files - 1, 0), "{report:?}");
    let shared = |old: &str, new: &str| inode(&rig, "a", old) == inode(&rig, "b", new);
    assert!(shared("lib.so", "lib.so") && shared("text", "words"));
    for alone in ["lib/part-07/module.js", "lib/part-01/module.js", "lib/part-02/module.js"] {
        assert!(!shared(alone, alone), "{alone}");
    }
    // The careful get inodes of their own.
    rig.sharing(Share::Blocks).fetch(&second, "c", Some("a")).unwrap();
}

#[test]
fn a_fetch_that_goes_on_never_writes_into_the_release_that_it_took_files_from() {
    let (rig, mut tree) = (Fetching::start().sharing(Share::Inodes), Made::sample());
    let first = rig.publish(&tree, "one");
    rig.fetch(&first, "a", None).unwrap();
    tree.content("lib/part-07/module.js")[5] ^= 1;
    let second = rig.publish(&tree, "two");
    rig.fetch(&second, "b", Some("a")).unwrap();
    // As long as before, and as long as nothing: both look like what an earlier attempt did not finish.
    let mut rotten = tree.content("lib.so").clone();
    rotten[450_000] ^= 1;
    let live = |path: &str| rig.staging("a").join("tree").join(path);
    write_into(&live("lib.so"), &rotten);
    write_into(&live("lib/part-09/module.js"), b"");
    let mode = |path: &str| fs::metadata(live(path)).unwrap().mode() & 0o7777;
    fs::set_permissions(live("lib/part-11/module.js"), fs::Permissions::from_mode(0o604)).unwrap();
    rig.fetch(&second, "b", Some("a")).unwrap();
    rig.assert_whole("b", &tree, &second);
    assert_eq!(fs::read(live("lib.so")).unwrap(), rotten, "the release that runs was changed");
    assert_eq!(fs::read(live("lib/part-09/module.js")).unwrap(), b"");
    assert_eq!(mode("lib/part-11/module.js"), 0o604);
}

#[test]
fn what_is_mended_is_mended_in_every_release_that_has_the_inode() {
    let (rig, mut tree) = (Fetching::start().sharing(Share::Inodes), Made::sample());
    let first = rig.publish(&tree, "one");
    rig.fetch(&first, "a", None).unwrap();
    let before = tree.content("lib/part-07/module.js").clone();
    tree.content("lib/part-07/module.js")[5] ^= 1;
    let second = rig.publish(&tree, "two");
    rig.fetch(&second, "b", Some("a")).unwrap();
    rig.fetch(&second, "c", Some("b")).unwrap();
    let place = rig.staging("b");
    let mut rotten = tree.content("lib.so").clone();
    rotten[450_000] ^= 1;
    write_into(&place.join("tree/lib.so"), &rotten);
    write_into(&place.join("tree/lib/part-07/module.js"), b"of b and c alone");
    // The second of one directory.
    write_into(&place.join("tree/lib/part-08/module.js"), b"of all three");
    let others = [rig.staging("a"), rig.staging("c"), rig.staging("nowhere")];
    let job = fetch::Mending {
        place: &place,
        tree: &second.tree,
        index: &second.index,
        bundle: &second.bundle,
        staging: &rig.staging("b.heal"),
        others: &others,
    };
    let report = fetch::heal(&rig.http, &job, &|| false).unwrap();
    assert_eq!(report.files, 3, "{report:?}");
    rig.assert_whole("b", &tree, &second);
    rig.assert_whole("c", &tree, &second);
    *tree.content("lib/part-07/module.js") = before;
    rig.assert_whole("a", &tree, &first);
    assert_eq!(inode(&rig, "a", "lib.so"), inode(&rig, "b", "lib.so"), "and they share it again");
    assert!(!rig.staging("b.heal").exists());
}

#[test]
fn an_index_is_checked_before_it_is_kept() {
    let (rig, tree) = (Fetching::start(), Made::sample());
    let files = rig.publish(&tree, "one");
    let public = rig.scratch.join("public").join(files.index.path());
    let good = fs::read(&public).unwrap();
    let index = |files: &Published| {
        fetch::index(&rig.http, &files.index, &files.tree, &rig.staging("x"), None, Share::Blocks)
    };
    fs::write(&public, &good[..good.len() - 1]).unwrap();
    assert!(matches!(index(&files), Err(Error::Length { .. })));
    let mut bad = good.clone();
    bad[20] ^= 1;
    fs::write(&public, &bad).unwrap();
    assert!(matches!(index(&files), Err(Error::Digest { .. })));
    fs::remove_file(&public).unwrap();
    assert!(matches!(index(&files), Err(Error::Missing { .. })));
    fs::write(&public, &good).unwrap();
    let other = Published { tree: Digest::of(b"another"), ..files.clone() };
    assert!(matches!(index(&other), Err(Error::Tree { .. })));
    index(&files).unwrap();
}

#[test]
fn the_need_shrinks_with_what_is_staged() {
    let (rig, tree) = (Fetching::start(), Made::sample());
    let files = rig.publish(&tree, "one");
    let need = || {
        fetch::index(&rig.http, &files.index, &files.tree, &rig.staging("a"), None, Share::Blocks).unwrap()
    };
    let before = need();
    let bytes: usize =
        tree.0.values().map(|node| if let Node::File(_, bytes) = node { bytes.len() } else { 0 }).sum();
    assert!(before.bytes > bytes as u64 && before.bytes < 2 * bytes as u64, "{before:?} for {bytes}");
    assert_eq!(before.inodes, tree.0.len() as u64 + 1);
    rig.fetch(&files, "a", None).unwrap();
    let after = need();
    assert!(after.bytes < 10_000 && after.inodes < 10, "{after:?}");
}

#[test]
fn verify_names_each_difference() {
    let (rig, tree) = (Fetching::start(), Made::sample());
    let files = rig.publish(&tree, "one");
    rig.fetch(&files, "a", None).unwrap();
    let live = rig.staging("a").join("tree");
    let set_mode = |path: &str, mode| {
        fs::set_permissions(live.join(path), PermissionsExt::from_mode(mode)).unwrap();
    };
    remake(&live.join("bin/run"), b"#!/bin/su\n");
    set_mode("bin/run", 0o555);
    set_mode("lib.so", 0o644);
    set_mode("d", 0o777);
    fs::remove_file(live.join("current")).unwrap();
    symlink("bin/ruN", live.join("current")).unwrap();
    fs::remove_dir_all(live.join("lib/part-05")).unwrap();
    fs::write(live.join("lib/part-05"), b"").unwrap();
    fs::create_dir_all(live.join("lib/part-05x/y")).unwrap();
    fs::write(live.join("zzz"), b"").unwrap();
    let found: Vec<(String, Change)> = fetch::verify(&rig.staging("a"), &files.tree)
        .unwrap()
        .into_iter()
        .map(|difference| (difference.path.display().to_string(), difference.change))
        .collect();
    let expected = [
        ("bin/run", Change::Content),
        ("current", Change::Content),
        ("d", Change::Mode),
        ("lib.so", Change::Mode),
        ("lib/part-05", Change::Kind),
        ("lib/part-05/module.js", Change::Missing),
        ("lib/part-05x", Change::Extra),
        ("zzz", Change::Extra),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(path, change)| (path.to_owned(), change)).collect();
    assert_eq!(found, expected);
    assert!(matches!(fetch::verify(&rig.staging("a"), &Digest::of(b"x")), Err(Error::Tree { .. })));
}

#[test]
fn a_disk_that_refuses_ends_the_fetch_and_nothing_hangs() {
    let (rig, tree) = (Fetching::start(), Made::sample());
    let files = rig.publish(&tree, "one");
    fs::create_dir_all(rig.staging("a")).unwrap();
    fs::write(rig.staging("a").join("tree"), b"in the way").unwrap();
    let error = rig.fetch(&files, "a", None).unwrap_err();
    assert!(matches!(error, Error::Disk(_)), "{error}");
}

#[test]
fn a_bundle_that_belongs_to_another_index_is_refused_before_it_is_asked_for() {
    let (rig, tree) = (Fetching::start(), Made::sample());
    let files = rig.publish(&tree, "one");
    rig.proxy.take_seen();
    let bundle = lay(&rig.scratch.join("public"), "other.tar.gz", b"another bundle");
    let error = rig.fetch(&Published { bundle, ..files }, "a", None).unwrap_err();
    assert!(matches!(error, Error::Pair { .. }), "{error}");
    assert!(rig.ranges().is_empty());
}
