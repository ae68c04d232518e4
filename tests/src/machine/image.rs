//! What every machine begins from: the disk that `tests/vm/image` makes, and its state right after a boot. Made once per
//! recipe and qemu, and kept below the target directory.
//!
//! Never here: what one test changes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use tidelock_protocol::digest::Digest;

use super::Machine;
use super::qemu::{KERNEL, Processor, Speed, hardware};
use crate::program::{find, output, run};
use crate::programs;

const RECIPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vm/image");
/// The processor of this machine may not really run a kernel of ours, whatever it claims: it has this long to show it,
/// where a real one takes two or three seconds.
const BOOT_BY_KVM: Duration = Duration::from_secs(12);

/// The disk and the state that machines begin from.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// Everything is in here.
    pub(super) directory: PathBuf,
    /// How the state was reached, and so how it goes on.
    pub(super) speed: Speed,
    pub(super) processor: Processor,
}

impl Image {
    /// The one of this machine, made when it is not there yet.
    ///
    /// # Panics
    /// When it cannot be made.
    pub(super) fn get() -> &'static Self {
        static MADE: OnceLock<Image> = OnceLock::new();
        MADE.get_or_init(Self::make)
    }

    /// That of another processor, made when it is not there yet: it boots each time, and no state is kept of it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub(super) fn of(processor: Processor) -> Self {
        let all = programs::kept().join(format!("vm-{}", processor.debian()));
        let _lock = alone(&all);
        let directory = only(&all, processor);
        let image = Self { directory, speed: Speed::Emulated, processor };
        output(Command::new(RECIPE).arg(&image.directory).arg(processor.debian()));
        output(
            Command::new(find("cp"))
                .arg("--sparse=always")
                .arg(image.directory.join("root.img"))
                .arg(image.disk()),
        );
        image
    }

    /// The disk as it was when the state was kept.
    pub(super) fn disk(&self) -> PathBuf {
        self.directory.join(format!("{:?}.img", self.speed))
    }

    /// The state right after a boot.
    pub(super) fn state(&self) -> PathBuf {
        self.directory.join(format!("{:?}.state", self.speed))
    }

    fn make() -> Self {
        let all = place();
        let _lock = alone(&all);
        let directory = only(&all, Processor::Amd64);
        let of = |speed| Self { directory: directory.clone(), speed, processor: Processor::Amd64 };
        let (kvm, emulated) = (of(Speed::Kvm), of(Speed::Emulated));
        if let Some(made) = [&kvm, &emulated].into_iter().find(|image| image.state().exists()) {
            return made.clone();
        }
        output(Command::new(RECIPE).arg(&directory));
        let usable = File::options().read(true).write(true).open("/dev/kvm").is_ok();
        if usable && kvm.boot(BOOT_BY_KVM) {
            return kvm;
        }
        drop(fs::remove_file(kvm.disk()));
        assert!(emulated.boot(Duration::from_secs(300)), "the machine does not boot, see {}", all.display());
        emulated
    }

    /// Boots once and keeps the state; false when nothing answers within `patience`.
    fn boot(&self, patience: Duration) -> bool {
        let name = format!("first-{:?}", self.speed);
        let disk = self.disk();
        let base = self.directory.join("root.img");
        output(Command::new(find("cp")).arg("--sparse=always").arg(base).arg(&disk));
        let mut machine = Machine::new(&name, self.clone(), &disk);
        machine.power_on(None);
        if !machine.boots(patience) {
            return false;
        }
        let state = machine.run("systemctl is-system-running; systemctl list-units --failed --plain");
        assert!(state.stdout.starts_with("running"), "the machine did not boot well: {}", state.said());
        machine.run("sync; echo 3 >/proc/sys/vm/drop_caches").well();
        let kept = self.directory.join("new.state");
        let mut monitor = machine.monitor();
        monitor.ask("migrate-set-parameters", json!({ "max-bandwidth": 0x1_0000_0000_u64 })).unwrap();
        monitor.ask("migrate", json!({ "uri": format!("exec:cat >'{}'", kept.display()) })).unwrap();
        super::bounded(Duration::from_secs(120), "the state is kept", || {
            let status = monitor.ask("query-migrate", json!({})).unwrap()["status"].clone();
            assert_ne!(status, "failed", "the state of the machine cannot be kept");
            status == "completed"
        });
        drop(machine);
        fs::rename(kept, self.state()).unwrap();
        true
    }
}

/// Where images and the logs of machines are kept.
pub(super) fn place() -> PathBuf {
    programs::kept().join("vm")
}

/// Nobody else makes an image in `all` until this is dropped.
fn alone(all: &Path) -> File {
    fs::create_dir_all(all).unwrap();
    let lock = File::create(all.join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    lock
}

/// The one directory of images in `all`, named after everything that they depend on; those of other days are removed.
fn only(all: &Path, processor: Processor) -> PathBuf {
    let directory = all.join(key(processor));
    for old in fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path()) {
        if old.is_dir() && old != directory {
            fs::remove_dir_all(old).unwrap();
        }
    }
    directory
}

/// Another recipe, another qemu or other hardware is another image.
fn key(processor: Processor) -> String {
    let mut all = fs::read(RECIPE).unwrap();
    all.extend(run(find("qemu-system-x86_64"), &["--version"]).bytes());
    let hardware = [Speed::Kvm, Speed::Emulated].map(|speed| hardware(processor, speed));
    all.extend(format!("{hardware:?} {KERNEL}").bytes());
    let mut key = Digest::of(&all).to_string();
    key.truncate(12);
    key
}
