//! Archives as an attacker makes them, byte by byte: each is refused with the entry's name, and nothing lies elsewhere.

use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use super::super::gather;
use super::*;
use crate::bundle::Earlier;

const RECIPE: &[u8] = b"format = 1\nuser = \"nobody\"\n[hooks]\nstart = [\"./run\"]\nstop = [\"./run\"]\n";

struct Made {
    directory: PathBuf,
    builder: Builder<GzEncoder<File>>,
}

impl Made {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("tidelock-archive-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let file = File::create(directory.join("a.tar.gz")).unwrap();
        let mut made = Self { directory, builder: Builder::new(GzEncoder::new(file, Compression::fast())) };
        made.add(EntryType::Regular, "release.toml", "", RECIPE);
        made
    }

    /// An entry with a name that the tar crate would not write by itself.
    fn add(&mut self, kind: EntryType, name: &str, target: &str, bytes: &[u8]) {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        self.builder.append(&header, bytes).unwrap();
    }

    fn packed(self) -> Result<crate::bundle::Packed, String> {
        let path = self.directory.join("a.tar.gz");
        self.builder.into_inner().unwrap().finish().unwrap().flush().unwrap();
        let packed = gather::packed(&path, &self.directory.join("scratch"), Earlier::default());
        let result = packed.map(|(packed, _)| packed).map_err(|error| error.to_string());
        fs::remove_dir_all(&self.directory).unwrap();
        result
    }
}

fn refusal(name: &str, kind: EntryType, entry: &str, target: &str) -> String {
    let mut made = Made::new(name);
    made.add(kind, entry, target, b"");
    made.packed().unwrap_err()
}

#[test]
fn every_entry_that_no_release_can_hold_is_refused_by_its_name() {
    let file = EntryType::Regular;
    for (n, (kind, entry, target, reason)) in [
        (file, "../up", "", "cannot be a path"),
        (file, "a/../../up", "", "cannot be a path"),
        (file, "/etc/passwd", "", "cannot be a path"),
        (file, "tab\there", "", "control characters"),
        (EntryType::Symlink, "out", "../../etc", "is refused"),
        (EntryType::Symlink, "absolute", "/etc/passwd", "is refused"),
        (EntryType::Link, "hard", "release.toml", "hard link"),
        (EntryType::Char, "tty", "", "device"),
        (EntryType::Block, "disk", "", "device"),
        (EntryType::Fifo, "pipe", "", "pipe"),
        (file, "release.toml", "", "twice"),
        (file, "./release.toml", "", "twice"),
        (file, "release.toml/below", "", "no directory"),
    ]
    .into_iter()
    .enumerate()
    {
        let said = refusal(&format!("entry{n}"), kind, entry, target);
        let name = entry.trim_start_matches("./").escape_debug().to_string();
        assert!(said.contains(&name) && said.contains(reason), "{entry}: {said}");
    }
}

#[test]
fn a_file_below_a_link_of_the_same_archive_is_refused() {
    let mut made = Made::new("through");
    made.add(EntryType::Symlink, "dir", "elsewhere", b"");
    made.add(EntryType::Regular, "dir/file", "", b"x");
    assert!(made.packed().unwrap_err().contains("no directory"));
}

#[test]
fn a_bomb_ends_at_its_limit() {
    let mut bounded = Bounded { inner: io::repeat(0), left: 1000 };
    let mut all = Vec::new();
    let error = bounded.read_to_end(&mut all).unwrap_err();
    assert!(error.to_string().contains("200 times"), "{error}");
}

#[test]
fn something_that_is_no_archive_and_one_that_is_cut_are_refused() {
    let made = Made::new("cut");
    let path = made.directory.join("a.tar.gz");
    drop(made.builder);
    for bytes in [&b"no gzip"[..], &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1]] {
        fs::write(&path, bytes).unwrap();
        assert!(gather::packed(&path, &made.directory.join("scratch"), Earlier::default()).is_err());
    }
    fs::remove_dir_all(&made.directory).unwrap();
}

#[test]
fn an_archive_and_the_directory_it_was_made_of_are_the_same_tree() {
    let mut made = Made::new("same");
    made.add(EntryType::Regular, "bin/run", "", b"#!/bin/sh\n");
    made.add(EntryType::Directory, "bin/", "", b"");
    made.add(EntryType::Symlink, "run", "bin/run", b"");
    let tree = made.packed().unwrap().tree;
    let directory = std::env::temp_dir().join(format!("tidelock-directory-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(directory.join("tree/bin")).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.join("tree").join(name);
        fs::write(&path, bytes).unwrap();
        std::process::Command::new("chmod").arg("755").arg(&path).status().unwrap();
    };
    write("release.toml", RECIPE);
    write("bin/run", b"#!/bin/sh\n");
    std::os::unix::fs::symlink("bin/run", directory.join("tree/run")).unwrap();
    let (packed, _) = gather::packed(&directory.join("tree"), &directory, Earlier::default()).unwrap();
    assert_eq!(packed.tree, tree);
    fs::remove_dir_all(&directory).unwrap();
}
