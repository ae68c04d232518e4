//! What is committed is what is installed, whatever git makes of it on its way; and what cannot be is named.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::site::{Entry, Site, noise};

#[test]
fn merges_links_executables_and_large_files_arrive_as_they_were_committed() {
    let site = Site::new("git");
    let tree = site.fleet.repository().join("apps/files/tree");
    let write = |path: &str, contents: &[u8]| site.fleet.write(&format!("apps/files/tree/{path}"), contents);
    write("bin/tool", b"#!/bin/sh\n");
    fs::set_permissions(tree.join("bin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("bin/tool", tree.join("tool")).unwrap();
    write("a name with spaces, \u{fc}, % and 'quotes'", b"");
    // Attributes that make git's own archive and checkouts change bytes.
    write(".gitattributes", b"stamp export-subst ident\nsecret export-ignore\nlines text eol=crlf\n");
    write("stamp", b"$Format:%H$ $Id$\n");
    write("secret", b"not to be left out\n");
    write("lines", b"one\ntwo\n");
    write("large", &noise(1, 100 << 20));
    site.fleet.commit("Everything that a tree can hold");
    site.fleet.git(&["checkout", "--quiet", "-b", "side", "HEAD~1"]);
    write("side", b"from the side\n");
    site.fleet.git(&["add", "--all"]);
    site.fleet.git(&["commit", "--quiet", "--message", "On the side"]);
    site.fleet.git(&["checkout", "--quiet", "-"]);
    site.fleet.git(&["merge", "--quiet", "--no-ff", "--message", "A merge", "side"]);
    site.fleet.push();
    site.fleet.publish().well();
    site.device.update().well();
    let live = site.live();
    assert_eq!(live[std::path::Path::new("tool")], Entry::Link("bin/tool".into()));
    let file = |path: &str| match &live[std::path::Path::new(path)] {
        Entry::File { executable, contents } => (*executable, contents.clone()),
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(file("bin/tool"), (true, b"#!/bin/sh\n".to_vec()));
    // The checkout's own bytes were changed by the attributes; the committed ones are these.
    assert_eq!(file("stamp").1, b"$Format:%H$ $Id$\n");
    assert_eq!(file("lines").1, b"one\ntwo\n");
    assert_eq!(file("secret").1, b"not to be left out\n");
    assert_eq!(file("side").1, b"from the side\n");
    assert!(file("large").1 == noise(1, 100 << 20));
    assert_eq!(file("a name with spaces, \u{fc}, % and 'quotes'"), (false, Vec::new()));
    assert_eq!(live.len(), 12, "{:?}", live.keys());
    site.device.run(&["verify"]).well();
}

#[test]
fn what_git_does_not_hold_is_refused_by_its_path_and_nothing_is_published() {
    let site = Site::new("refused");
    site.arrives();
    let before = fs::read(site.fleet.out().join("metadata/timestamp.json")).unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\n\
        oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    site.fleet.write("apps/files/tree/assets/film.mp4", pointer);
    site.fleet.commit("A large file, somewhere else");
    let ran = site.fleet.publish();
    assert_eq!(ran.code, 1, "{}", ran.said());
    assert!(ran.stderr.contains("assets/film.mp4") && ran.stderr.contains("LFS"), "{}", ran.stderr);
    site.fleet.git(&["revert", "--no-edit", "HEAD"]);
    let head = site.fleet.git(&["rev-parse", "HEAD"]);
    let entry = format!("160000,{head},apps/files/tree/vendor");
    site.fleet.git(&["update-index", "--add", "--cacheinfo", &entry]);
    site.fleet.git(&["commit", "--quiet", "--message", "A submodule"]);
    site.fleet.push();
    let ran = site.fleet.publish();
    assert_eq!(ran.code, 1, "{}", ran.said());
    assert!(ran.stderr.contains("files/tree/vendor") && ran.stderr.contains("submodule"), "{}", ran.stderr);
    site.fleet.git(&["revert", "--no-edit", "HEAD"]);
    symlink("../../../fleet.toml", site.fleet.repository().join("apps/files/tree/up")).unwrap();
    site.fleet.commit("A link that leaves the tree");
    let ran = site.fleet.publish();
    assert_eq!(ran.code, 1, "{}", ran.said());
    assert!(ran.stderr.contains("files/tree/up"), "{}", ran.stderr);
    assert_eq!(fs::read(site.fleet.out().join("metadata/timestamp.json")).unwrap(), before);
    site.device.update().well();
    assert_eq!(site.device.state("files"), "Synced Healthy");
}
