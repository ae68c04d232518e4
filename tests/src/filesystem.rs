//! Small file systems of a test's own on loop devices: full disks, no more inodes, reflinks, read-only.
//!
//! Never here: what is written to them. Mounting takes root; without it the test fails and says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{find, output};
use crate::scratch::Scratch;

/// Which file system, and how small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ext4 of so many megabytes, with so many inodes.
    Ext4 {
        /// Size of the image.
        megabytes: u64,
        /// Number of inodes; the system takes eleven of them.
        inodes: u64,
    },
    /// btrfs: reflinks.
    Btrfs,
    /// xfs: reflinks.
    Xfs,
}

/// A mounted file system; unmounted and gone on drop.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
    _scratch: Scratch,
}

impl Mounted {
    /// Makes and mounts one.
    ///
    /// # Panics
    /// When this is not root, or a program is missing or fails.
    pub fn new(kind: Kind) -> Self {
        assert!(rustix::process::geteuid().is_root(), "this suite mounts file systems: run it as root");
        let scratch = Scratch::new("filesystem");
        let image = scratch.join("image");
        let megabytes = match kind {
            Kind::Ext4 { megabytes, .. } => megabytes,
            Kind::Btrfs => 256,
            Kind::Xfs => 400,
        };
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(megabytes << 20).unwrap();
        let mut make = match kind {
            Kind::Ext4 { inodes, .. } => {
                let mut make = Command::new(find("mkfs.ext4"));
                make.args(["-q", "-F", "-m", "0", "-N", &inodes.to_string()]);
                make
            }
            Kind::Btrfs => command("mkfs.btrfs", &["-q"]),
            Kind::Xfs => command("mkfs.xfs", &["-q", "-m", "reflink=1"]),
        };
        output(make.arg(&image));
        let at = scratch.join("mounted");
        std::fs::create_dir(&at).unwrap();
        output(command("mount", &["-o", "loop"]).arg(&image).arg(&at));
        Self { at, _scratch: scratch }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Lets no more than `left` bytes be free.
    ///
    /// # Panics
    /// When less is free already, or nothing can be written.
    pub fn fill_but(&self, left: u64) {
        let directory = std::fs::File::open(&self.at).unwrap();
        rustix::fs::syncfs(&directory).unwrap();
        let space = rustix::fs::fstatvfs(&directory).unwrap();
        let ballast = (space.f_bavail * space.f_frsize).checked_sub(left).unwrap();
        let file = std::fs::File::create(self.at.join("ballast")).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, ballast).unwrap();
        rustix::fs::syncfs(&directory).unwrap();
    }

    /// Nothing can be written from now on.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn make_read_only(&self) {
        output(command("mount", &["-o", "remount,ro"]).arg(&self.at));
    }

    /// It can be written again.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn make_writable(&self) {
        output(command("mount", &["-o", "remount,rw"]).arg(&self.at));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a test that failed may have left a process inside, and the loop device must not outlive the test.
        drop(command("umount", &["-l"]).arg(&self.at).output());
    }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(find(program));
    command.args(arguments);
    command
}
