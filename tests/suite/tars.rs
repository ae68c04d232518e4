//! Every bundle is an ordinary `.tar.gz`: the tar programs of other people unpack it to the same tree.

use std::fs;
use std::path::Path;
use std::process::Command;

use tidelock_tests::program::{find, output};
use tidelock_tests::release::{Made, noise};
use tidelock_tests::scratch::Scratch;

const PYTHON: &str = "import sys, tarfile
with open(sys.argv[2], 'rb') as raw, tarfile.open(fileobj=raw, mode=sys.argv[1]) as archive:
    archive.extractall(sys.argv[3])
";

/// A tree that no reader may stumble over: every shape, and more than one read buffer of everything.
fn tree() -> Made {
    let mut tree = Made::sample();
    tree.file("large/first", &noise(7, 2_000_000)).file("large/second", &noise(8, 131_073));
    for n in 0..300 {
        tree.file(&format!("many/{n:03}"), &noise(n, 700));
    }
    tree.file(&format!("many/{}", "\u{e4}".repeat(127)), b"long and not ASCII");
    tree.link("long-link", &"z".repeat(200));
    tree
}

#[test]
fn every_tar_program_unpacks_a_bundle_to_the_same_tree() {
    let scratch = Scratch::new("tars");
    let tree = tree();
    let (_, bytes, _) = tree.pack();
    let bundle = scratch.join("bundle.tar.gz");
    fs::write(&bundle, &bytes).unwrap();
    output(Command::new(find("gzip")).arg("-t").arg(&bundle));
    let unpack = |name: &str, command: &dyn Fn(&Path) -> Command| {
        let place = scratch.join(name);
        fs::create_dir(&place).unwrap();
        output(command(&place).env("LC_ALL", "C.UTF-8"));
        tree.assert_unpacked(&place);
    };
    unpack("gnu", &|place| {
        let mut tar = Command::new(find("tar"));
        tar.arg("xzf").arg(&bundle).arg("-C").arg(place);
        tar
    });
    unpack("bsdtar", &|place| {
        let mut tar = Command::new(find("bsdtar"));
        tar.arg("-xzf").arg(&bundle).arg("-C").arg(place);
        tar
    });
    unpack("busybox", &|place| {
        let mut tar = Command::new(find("busybox"));
        tar.arg("tar").arg("-xzf").arg(&bundle).arg("-C").arg(place);
        tar
    });
    for (name, mode) in [("python-file", "r:gz"), ("python-stream", "r|gz")] {
        unpack(name, &|place| {
            let mut python = Command::new(find("python3"));
            python.args(["-c", PYTHON, mode]).arg(&bundle).arg(place);
            python
        });
    }
}

#[test]
fn a_listing_by_gnu_tar_names_no_owner_no_time_and_two_modes() {
    let scratch = Scratch::new("tars-list");
    let (_, bytes, _) = tree().pack();
    fs::write(scratch.join("bundle.tar.gz"), bytes).unwrap();
    let mut tar = Command::new(find("tar"));
    tar.args(["tvzf"]).arg(scratch.join("bundle.tar.gz")).args(["--numeric-owner", "--utc", "--full-time"]);
    let listing = String::from_utf8(output(tar.env("LC_ALL", "C.UTF-8")).stdout).unwrap();
    assert_eq!(listing.lines().count(), tree().0.len());
    for line in listing.lines() {
        let mode = line.split(' ').next().unwrap();
        assert!(["drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x", "lrwxr-xr-x"].contains(&mode), "{line}");
        assert!(line.contains(" 0/0 ") && line.contains("1970-01-01 00:00:00"), "{line}");
    }
}
