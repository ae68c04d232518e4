//! One process of qemu: its arguments, its start, its end.
//!
//! Never here: what the guest does.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::talk::Talk;
use crate::program::find;

/// A kernel that panics starts anew after a second, as devices do. The console shows the journal. Everything lies at the
/// same address each time: what the emulation has translated then serves every process, and a page of a library does not
/// collect a translation of each process that ever ran, each of which the next boot would be held up by.
pub(super) const KERNEL: &str = "root=/dev/vda rw quiet panic=1 no_timer_check net.ifnames=0 \
    mitigations=off apparmor=0 norandmaps nokaslr systemd.show_status=0 systemd.journald.forward_to_console=1";

/// Which processor the guest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// That of a PC.
    Amd64,
    /// 64-bit ARM.
    Arm64,
    /// 32-bit ARM with hardware floating point, as Debian means it.
    Armhf,
}

impl Processor {
    /// As Debian calls it.
    pub fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
            Self::Armhf => "armhf",
        }
    }

    /// The program that emulates it.
    fn program(self) -> &'static str {
        match self {
            Self::Amd64 => "qemu-system-x86_64",
            Self::Arm64 => "qemu-system-aarch64",
            Self::Armhf => "qemu-system-arm",
        }
    }

    /// Its serial line, as its kernel calls it.
    fn console(self) -> &'static str {
        match self {
            Self::Amd64 => "ttyS0",
            Self::Arm64 | Self::Armhf => "ttyAMA0",
        }
    }
}

/// How the guest's instructions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speed {
    /// By the processor, through the kernel of this machine.
    Kvm,
    /// One by one, in software: everywhere the same, and slow.
    Emulated,
}

/// What a machine is made of.
#[derive(Clone, Debug)]
pub(super) struct Parts<'a> {
    pub(super) processor: Processor,
    pub(super) speed: Speed,
    /// Kernel and initrd.
    pub(super) image: &'a Path,
    /// Where its sockets are.
    pub(super) place: &'a Path,
    /// Where what its console shows is kept.
    pub(super) console: PathBuf,
    /// Its disk: a file, or the address of a server.
    pub(super) root: String,
    /// A second one, empty at first.
    pub(super) data: PathBuf,
    /// What we hand over: a disk that it can only read.
    pub(super) cargo: PathBuf,
    /// The state to begin from; none: it boots.
    pub(super) state: Option<&'a Path>,
    /// What its clock says at its start, such as `1970-01-01T00:00:10`; none: the time.
    pub(super) clock: Option<&'a str>,
}

/// The arguments that a saved state depends on.
pub(super) fn hardware(processor: Processor, speed: Speed) -> Vec<OsString> {
    let board: &[&str] = match (processor, speed) {
        (Processor::Amd64, Speed::Kvm) => &["-accel", "kvm", "-cpu", "host", "-M", "q35", "-m", "256"],
        (Processor::Amd64, Speed::Emulated) => {
            &["-accel", "tcg", "-cpu", "qemu64,-svm", "-M", "q35", "-m", "256"]
        }
        (Processor::Arm64, _) => &["-accel", "tcg", "-cpu", "cortex-a57", "-M", "virt", "-m", "512"],
        // Without memory that 32 bits cannot address the kernel does not find its PCI devices.
        (Processor::Armhf, _) => {
            &["-accel", "tcg", "-cpu", "cortex-a15", "-M", "virt,highmem=off", "-m", "512"]
        }
    };
    let rest = [
        "-smp",
        "1",
        "-nodefaults",
        "-display",
        "none",
        "-device",
        "virtio-blk-pci,drive=root",
        "-device",
        "virtio-blk-pci,drive=cargo",
        "-device",
        "virtio-blk-pci,drive=data",
        "-netdev",
        "user,id=network",
        "-device",
        "virtio-net-pci,id=card,netdev=network,romfile=",
        "-device",
        "virtio-serial-pci",
        "-device",
        "virtserialport,chardev=guest,name=org.qemu.guest_agent.0",
    ];
    board.iter().chain(&rest).map(OsString::from).collect()
}

/// A running qemu; ends on drop, as if the power went, and with the thread that started it.
#[derive(Debug)]
pub(super) struct Qemu {
    child: Child,
    place: PathBuf,
}

impl Parts<'_> {
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments = hardware(self.processor, self.speed);
        let mut add = |key: &str, parts: &[&dyn AsRef<std::ffi::OsStr>]| {
            let mut value = OsString::new();
            parts.iter().for_each(|part| value.push(part));
            arguments.extend([key.into(), value]);
        };
        add("-kernel", &[&self.image.join("vmlinuz")]);
        add("-initrd", &[&self.image.join("initrd.img")]);
        add("-append", &[&KERNEL, &" console=", &self.processor.console()]);
        add("-drive", &[&"file=", &self.root, &",format=raw,cache=writeback,if=none,id=root"]);
        add("-drive", &[&"file=", &self.data, &",format=raw,cache=writeback,if=none,id=data"]);
        add("-drive", &[&"file=", &self.cargo, &",format=raw,readonly=on,if=none,id=cargo"]);
        for (id, socket) in [("guest", "guest"), ("monitor", "qemu")] {
            let id = format!(",server=on,wait=off,id={id}");
            add("-chardev", &[&"socket,path=", &self.place.join(socket), &id]);
        }
        add("-mon", &[&"chardev=monitor,mode=control"]);
        add("-chardev", &[&"file,append=on,id=console,path=", &self.console]);
        add("-serial", &[&"chardev:console"]);
        if let Some(clock) = self.clock {
            add("-rtc", &[&"clock=vm,base=", &clock]);
        }
        if let Some(state) = self.state {
            add("-incoming", &[&"exec:cat '", &state, &"'"]);
        }
        arguments
    }

    /// Starts it.
    ///
    /// # Panics
    /// When qemu is not there or does not start; with what it said.
    pub(super) fn start(&self) -> Qemu {
        let said = self.place.join("qemu.log");
        let log = File::create(&said).unwrap();
        let sockets = ["guest", "qemu"].map(|name| self.place.join(name));
        sockets.iter().for_each(|socket| drop(std::fs::remove_file(socket)));
        let child = Command::new(find("setpriv"))
            // No machine outlives its test, whatever ends that.
            .args(["--pdeathsig", "KILL", "--"])
            .arg(find(self.processor.program()))
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start qemu: {error}"));
        let mut qemu = Qemu { child, place: self.place.to_owned() };
        let end = Instant::now() + Duration::from_secs(60);
        while !sockets.iter().all(|socket| socket.exists()) {
            let words = || std::fs::read_to_string(&said).unwrap_or_default();
            let runs = qemu.runs() && Instant::now() < end;
            assert!(runs, "qemu does not start: {}", words());
            std::thread::sleep(Duration::from_millis(10));
        }
        qemu
    }
}

impl Qemu {
    /// Whether it has not ended.
    pub(super) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// A conversation with qemu itself.
    ///
    /// # Panics
    /// When it does not answer.
    pub(super) fn monitor(&self) -> Talk {
        Talk::with_qemu(&self.place.join("qemu"))
            .unwrap_or_else(|error| panic!("qemu does not answer: {error}"))
    }

    /// A conversation with the agent in the guest, unless that does not answer within `patience`.
    pub(super) fn guest(&self, patience: Duration) -> std::io::Result<Talk> {
        Talk::with_guest(&self.place.join("guest"), patience)
    }

    /// Ends it at once: what the guest had not written is gone.
    pub(super) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.kill();
    }
}
