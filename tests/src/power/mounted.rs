//! A disk mounted by the host's kernel: its file systems, and mounts that end with the thread that made them.
//!
//! Never here: what is done on it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mount::mount_bind;
use rustix::thread::UnshareFlags;

use super::disk::{Disk, Shared, locked, shared};
use super::fuse::DiskFile;
use super::recording::Recording;
use crate::program::{find, output};
use crate::scratch::Scratch;

/// A file system, and how it is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// ext4, as people mount it.
    Ext4,
    /// ext4 that writes nothing out early for a program that renames without fsync.
    Ext4Bare,
    /// xfs.
    Xfs,
    /// f2fs, which is made for flash; few kernels of servers have it.
    F2fs,
}

/// The mounts of a thread, and of the programs that it starts, and its boots: they end with the thread.
#[derive(Debug)]
pub struct Boots {
    scratch: Scratch,
}

impl Boots {
    /// From now on this thread's mounts are its own.
    ///
    /// # Panics
    /// When the kernel refuses; this takes root.
    pub fn begin() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this suite mounts file systems: run it as root");
        #[expect(unsafe_code, reason = "dangerous only for descriptors that a thread no longer shares")]
        // SAFETY: the table of descriptors stays shared (no FILES).
        unsafe {
            rustix::thread::unshare_unsafe(UnshareFlags::NEWNS).unwrap();
        }
        output(&mut command("mount", &["--make-rprivate", "/"]));
        let boots = Self { scratch: Scratch::new("power-boot") };
        std::fs::write(boots.id(), Self::another()).unwrap();
        mount_bind(boots.id(), "/proc/sys/kernel/random/boot_id").unwrap();
        boots
    }

    /// Another boot, of the device below `root`: it finds another boot id, and nothing in `/run`.
    ///
    /// # Panics
    /// When that cannot be.
    pub fn boot(&self, root: &Path) {
        std::fs::write(self.id(), Self::another()).unwrap();
        drop(std::fs::remove_dir_all(root.join("run")));
    }

    fn id(&self) -> PathBuf {
        self.scratch.join("boot_id")
    }

    fn another() -> String {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        format!("{:08x}-0000-4000-8000-{:012x}\n", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
    }
}

impl System {
    /// Those that every kernel has.
    pub const EVERYWHERE: [Self; 3] = [Self::Ext4, Self::Ext4Bare, Self::Xfs];

    /// A new, empty file system of this kind on a new disk.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn make(self, scratch: &Scratch) -> Disk {
        let base = scratch.join(format!("{self:?}"));
        let file = std::fs::File::create(&base).unwrap();
        file.set_len(self.size()).unwrap();
        let mut make = match self {
            Self::Ext4 | Self::Ext4Bare => {
                // No lazy initialisation: the kernel would go on writing for a while by itself.
                let whole = "lazy_itable_init=0,lazy_journal_init=0";
                command("mkfs.ext4", &["-q", "-F", "-b", "4096", "-J", "size=4", "-N", "2048", "-E", whole])
            }
            Self::Xfs => command("mkfs.xfs", &["-q", "-f"]),
            Self::F2fs => command("mkfs.f2fs", &["-q", "-f"]),
        };
        output(make.arg(&base));
        Disk::over(&base).unwrap()
    }

    fn size(self) -> u64 {
        match self {
            Self::Ext4 | Self::Ext4Bare => 48 << 20,
            // mkfs.xfs makes nothing smaller.
            Self::Xfs => 300 << 20,
            // It keeps some 50 MB for itself.
            Self::F2fs => 128 << 20,
        }
    }

    fn options(self) -> &'static str {
        // After an error nothing is written any more: whoever works on such an image fails at once.
        match self {
            Self::Ext4 => "loop,errors=remount-ro",
            Self::Ext4Bare => "loop,errors=remount-ro,noauto_da_alloc",
            // Several images of one disk at once: xfs would take them for one.
            Self::Xfs => "loop,nouuid",
            Self::F2fs => "loop",
        }
    }
}

/// A disk, mounted; unmounted on drop.
#[derive(Debug)]
pub struct Mounted {
    disk: Shared,
    at: PathBuf,
    // After the file system is unmounted, in this order.
    _file: DiskFile,
    _scratch: Scratch,
}

impl Mounted {
    /// Mounts a disk; first the journal is played back, as at every boot.
    ///
    /// # Errors
    /// What `mount` said: this image is broken.
    ///
    /// # Panics
    /// When the disk cannot be shown to the kernel at all.
    pub fn new(disk: Disk, system: System) -> Result<Self, String> {
        let disk = shared(disk);
        let scratch = Scratch::new("power");
        let file = DiskFile::new(disk.clone(), &scratch.join("disk"));
        let at = scratch.join("mounted");
        std::fs::create_dir(&at).unwrap();
        let mut mount = command("mount", &["-o", system.options()]);
        let ran = mount.arg(file.path()).arg(&at).output().unwrap();
        if ran.status.success() {
            Ok(Self { disk, at, _file: file, _scratch: scratch })
        } else {
            Err(String::from_utf8_lossy(&ran.stderr).into_owned())
        }
    }

    /// Notes what the disk is asked to do while `program` runs on it, and until all of that has reached the disk.
    ///
    /// # Panics
    /// When the file system cannot be synced.
    pub fn record(&self, program: impl FnOnce(&Path)) -> Recording {
        let handle = std::fs::File::open(&self.at).unwrap();
        rustix::fs::syncfs(&handle).unwrap();
        let start = {
            let mut disk = locked(&self.disk);
            disk.flush().unwrap();
            disk.take_log();
            disk.clone()
        };
        program(&self.at);
        let ended = locked(&self.disk).asked();
        rustix::fs::syncfs(&handle).unwrap();
        Recording::new(start, locked(&self.disk).take_log(), ended)
    }

    /// What the disk was asked to do since it was as `start`; whatever ran has ended.
    pub fn recorded_since(&self, start: Disk) -> Recording {
        let log = locked(&self.disk).take_log();
        let ended = log.len();
        Recording::new(start, log, ended)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// The disk below.
    pub fn disk(&self) -> &Shared {
        &self.disk
    }

    /// Unmounts it in peace, and gives back the disk.
    ///
    /// # Panics
    /// When somebody is still at work on it.
    pub fn unmount(self) -> Disk {
        output(command("umount", &[]).arg(&self.at));
        let mut disk = locked(&self.disk).clone();
        disk.flush().unwrap();
        disk
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(command("umount", &["--lazy", "--quiet"]).arg(&self.at).output());
    }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(find(program));
    command.args(arguments);
    command
}
