//! Trees that are made up in memory, packed by the publisher's own packer, and laid where a server finds them.
//!
//! Never here: signatures (`repository`), or anything that a device decides.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::release::File;
use tidelock_protocol::tree::Mode;
use tidelock_server::bundle::Packer;

/// What stands in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A file.
    File(Mode, Vec<u8>),
    /// A link to this target.
    Link(String),
}

/// A tree; parents need not be named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made(pub BTreeMap<String, Node>);

/// A packed tree as two signed files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The index.
    pub index: File,
    /// The bundle.
    pub bundle: File,
    /// The tree digest.
    pub tree: Digest,
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

impl Made {
    /// A tree with every shape: empty and tiny files, many small ones, files that are cut, links, long and odd names.
    pub fn sample() -> Self {
        let mut tree = Self::default();
        tree.file("bin/run", b"#!/bin/sh\nexec sleep 1\n");
        tree.0.insert("bin/run".into(), Node::File(Mode::Executable, b"#!/bin/sh\n".to_vec()));
        tree.file("empty", b"").file("a file 100%", b"spaces\n").file("d/\u{fc}n\u{ef}code", b"x");
        tree.link("current", "bin/run").link("d/up", "../bin/run").link("dangling", &"y/".repeat(70));
        tree.0.insert("no-files".into(), Node::Directory);
        tree.file(&format!("d/{}/{}", "n".repeat(120), "m".repeat(200)), b"deep");
        for n in 0..60 {
            tree.file(&format!("lib/part-{n:02}/module.js"), &noise(n, 6_000));
        }
        tree.file("lib.so", &noise(100, 900_000)).file("text", &b"compressible ".repeat(40_000));
        tree
    }

    /// Puts a file with its parents.
    pub fn file(&mut self, path: &str, bytes: &[u8]) -> &mut Self {
        self.put(path, Node::File(Mode::Plain, bytes.to_vec()))
    }

    /// Puts a link with its parents.
    pub fn link(&mut self, path: &str, target: &str) -> &mut Self {
        self.put(path, Node::Link(target.into()))
    }

    fn put(&mut self, path: &str, node: Node) -> &mut Self {
        for (at, _) in path.match_indices('/') {
            self.0.insert(path[..at].into(), Node::Directory);
        }
        self.0.insert(path.into(), node);
        self
    }

    /// The content of a file, to change it.
    ///
    /// # Panics
    /// When it is no file.
    pub fn content(&mut self, path: &str) -> &mut Vec<u8> {
        match self.0.get_mut(path) {
            Some(Node::File(_, bytes)) => bytes,
            other => panic!("{path} is {other:?}"),
        }
    }

    /// Index and bundle.
    ///
    /// # Panics
    /// When the tree cannot be packed.
    pub fn pack(&self) -> (Vec<u8>, Vec<u8>, Digest) {
        let mut bundle = Vec::new();
        let mut packer = Packer::new(&mut bundle).unwrap();
        for (path, node) in &self.0 {
            let path = path.parse().unwrap();
            match node {
                Node::Directory => packer.directory(path).unwrap(),
                Node::Link(target) => packer.link(path, target.clone()).unwrap(),
                Node::File(mode, bytes) => packer.file(path, *mode, bytes.len() as u64, &bytes[..]).unwrap(),
            }
        }
        let packed = packer.finish().unwrap();
        (packed.index, bundle, packed.tree)
    }

    /// Packs it and lays it into `root/targets`, as `name.index` and `name.tar.gz`.
    pub fn publish(&self, root: &Path, name: &str) -> Published {
        let (index, bundle, tree) = self.pack();
        Published {
            index: lay(root, &format!("{name}.index"), &index),
            bundle: lay(root, &format!("{name}.tar.gz"), &bundle),
            tree,
        }
    }

    /// Fails unless what stands in `place` is this tree, with the modes of a device.
    ///
    /// # Panics
    /// At the first difference.
    pub fn assert_is(&self, place: &Path) {
        self.assert_same(place, [0o444, 0o555]);
    }

    /// Fails unless what stands in `place` is this tree, with the modes that the archive names.
    ///
    /// # Panics
    /// At the first difference.
    pub fn assert_unpacked(&self, place: &Path) {
        self.assert_same(place, [0o644, 0o755]);
    }

    fn assert_same(&self, place: &Path, modes: [u32; 2]) {
        let mut found = Self::default();
        found.read(place, "", modes);
        let (ours, theirs): (Vec<_>, Vec<_>) = (self.0.keys().collect(), found.0.keys().collect());
        assert_eq!(theirs, ours, "in {}", place.display());
        for (path, node) in &self.0 {
            assert!(found.0[path] == *node, "{path} differs in {}", place.display());
        }
    }

    fn read(&mut self, place: &Path, prefix: &str, [plain, executable]: [u32; 2]) {
        for entry in fs::read_dir(place).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            let found = entry.path().symlink_metadata().unwrap();
            let mode = found.permissions().mode() & 0o7777;
            let node = if found.is_symlink() {
                Node::Link(fs::read_link(entry.path()).unwrap().to_str().unwrap().into())
            } else if found.is_dir() {
                assert_eq!(mode, 0o755, "{path}");
                self.read(&entry.path(), &format!("{path}/"), [plain, executable]);
                Node::Directory
            } else {
                assert!(mode == plain || mode == executable, "{path} has mode {mode:o}");
                let mode = if mode == executable { Mode::Executable } else { Mode::Plain };
                Node::File(mode, fs::read(entry.path()).unwrap())
            };
            self.0.insert(path, node);
        }
    }

    /// Writes it to `place` as a person's work tree.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, place: &Path) {
        fs::create_dir_all(place).unwrap();
        for (path, node) in &self.0 {
            let path = place.join(path);
            match node {
                Node::Directory => fs::create_dir(path).unwrap(),
                Node::Link(target) => symlink(target, path).unwrap(),
                Node::File(mode, bytes) => {
                    fs::write(&path, bytes).unwrap();
                    let mode = if *mode == Mode::Executable { 0o755 } else { 0o644 };
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                }
            }
        }
    }
}

/// Lays `bytes` into `root/targets` under the flat name of a signed file.
///
/// # Panics
/// When they cannot be written.
pub fn lay(root: &Path, name: &str, bytes: &[u8]) -> File {
    let file = File { name: name.into(), length: bytes.len() as u64, sha256: Digest::of(bytes) };
    fs::create_dir_all(root.join("targets")).unwrap();
    fs::write(root.join(file.path()), bytes).unwrap();
    file
}

/// As an index is served.
///
/// # Panics
/// Never: memory takes it.
pub fn gzip(text: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text).unwrap();
    gzip.finish().unwrap()
}
