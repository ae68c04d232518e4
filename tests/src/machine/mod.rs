//! A virtual machine with a real kernel, a real systemd, and a plug that can be pulled. It begins as it was right after a
//! boot, within a second or two; commands go through an agent inside, without any network.
//!
//! The journal of the guest and whatever its kernel says are kept in `target/tests-run/vm/logs/NAME.console`, what it was
//! asked to run, and how long that took, in `NAME.commands`.
//!
//! Never here: our own programs, or what is expected of them.

mod image;
mod qemu;
mod talk;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::{Value, json};

use self::image::Image;
pub use self::qemu::Processor;
use self::qemu::{Parts, Qemu};
use self::talk::Talk;
use crate::power::{self, Disk, Loss, Lost, Recording, Shared, nbd};
use crate::scratch::Scratch;
use crate::world::Ran;

/// Which boot it is.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// How much can be handed over at once.
const CARGO: u64 = 128 << 20;
/// The second disk.
const DATA: u64 = 128 << 20;
/// The longest that anything in the guest may take; other tests and emulation make everything slow.
const PATIENCE: Duration = Duration::from_secs(400);

/// A virtual machine; gone on drop.
#[derive(Debug)]
pub struct Machine {
    name: String,
    image: Image,
    // Ended in this order.
    qemu: Option<Qemu>,
    server: Option<nbd::Server>,
    /// Its own disk.
    disk: Shared,
    place: Scratch,
}

/// A file to hand over.
#[derive(Clone, Debug)]
pub struct Item {
    /// Where it goes, from the guest's root.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// What is in it.
    pub contents: Vec<u8>,
}

impl Machine {
    /// A machine as it was right after its boot, with an own disk and the right time.
    ///
    /// # Panics
    /// When there is no qemu, or it does not work.
    pub fn restored(name: &str) -> Self {
        let image = Image::get();
        let begun = Instant::now();
        let mut machine = Self::new(name, image.clone(), &image.disk());
        let server = nbd::Server::start(machine.disk.clone(), &machine.socket());
        machine.server = Some(server);
        machine.qemu = Some(machine.parts(Some(&image.state()), None).start());
        bounded(PATIENCE, "the machine goes on", || {
            machine.monitor().ask("query-status", json!({})).unwrap()["status"] == "running"
        });
        machine.set_clock(None);
        machine.note(begun, "(restored)", 0);
        machine
    }

    /// A machine with another processor, which has just booted: that takes minutes.
    ///
    /// # Panics
    /// When it does not boot.
    pub fn booted(name: &str, processor: Processor) -> Self {
        let image = Image::of(processor);
        let begun = Instant::now();
        let mut machine = Self::new(name, image.clone(), &image.disk());
        let server = nbd::Server::start(machine.disk.clone(), &machine.socket());
        machine.server = Some(server);
        machine.power_on(None);
        assert!(machine.boots(PATIENCE.saturating_mul(2)), "the machine does not boot");
        machine.set_clock(None);
        machine.note(begun, "(booted)", 0);
        machine
    }

    /// One that is off; its disk begins as the file `base`, which is only read while a server stands before it.
    fn new(name: &str, image: Image, base: &Path) -> Self {
        let place = Scratch::new(&format!("vm-{name}"));
        for (disk, size) in [("cargo", CARGO), ("data", DATA)] {
            fs::File::create(place.join(disk)).unwrap().set_len(size).unwrap();
        }
        ["console", "commands"].iter().for_each(|kind| drop(fs::remove_file(log(name, kind))));
        fs::create_dir_all(image::place().join("logs")).unwrap();
        let disk = power::shared(Disk::over(base).unwrap());
        Self { name: name.to_owned(), image, qemu: None, server: None, disk, place }
    }

    fn socket(&self) -> PathBuf {
        self.place.join("disk")
    }

    fn parts<'a>(&'a self, state: Option<&'a Path>, clock: Option<&'a str>) -> Parts<'a> {
        let root = match self.server {
            Some(_) => format!("nbd+unix:///?socket={}", self.socket().display()),
            None => self.image.disk().display().to_string(),
        };
        Parts {
            processor: self.image.processor,
            speed: self.image.speed,
            image: &self.image.directory,
            place: self.place.path(),
            console: log(&self.name, "console"),
            root,
            data: self.place.join("data"),
            cargo: self.place.join("cargo"),
            state,
            clock,
        }
    }

    /// Switches it on; its clock says the time, or what `clock` says, such as `1970-01-01T00:00:10`.
    ///
    /// # Panics
    /// When it is on.
    pub fn power_on(&mut self, clock: Option<&str>) {
        assert!(self.qemu.is_none(), "the machine is on already");
        self.qemu = Some(self.parts(None, clock).start());
    }

    /// Pulls the plug: the guest's memory is gone, and of what its disk had not flushed, what `loss` says.
    ///
    /// # Panics
    /// When the machine is off.
    pub fn power_off(&mut self, loss: Loss) -> Lost {
        drop(self.qemu.take().expect("the machine is off"));
        let server = self.server.as_ref().expect("a machine of a test has a server before its disk");
        assert_eq!(server.ended(PATIENCE), nbd::Ended::Cut);
        self.locked().cut(loss).unwrap()
    }

    /// Its disk as it is, everything that was written settled; what is written from now on is noted.
    ///
    /// # Panics
    /// When the guest does not settle it.
    pub fn disk(&self) -> Disk {
        self.run("sync").well();
        let mut disk = self.locked();
        disk.flush().unwrap();
        disk.take_log();
        disk.clone()
    }

    /// What was written since `start` was its disk.
    pub fn recording(&self, start: Disk) -> Recording {
        let log = self.locked().take_log();
        let ended = log.len();
        Recording::new(start, log, ended)
    }

    /// Pulls the plug, and puts another disk in: one that a cut could have left.
    ///
    /// # Panics
    /// When the machine is off.
    pub fn replace_disk(&mut self, disk: Disk) {
        self.power_off(Loss::Everything);
        *self.locked() = disk;
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Presses the reset button.
    ///
    /// # Panics
    /// When the machine is off.
    pub fn reset(&self) {
        self.monitor().ask("system_reset", json!({})).unwrap();
    }

    /// Asks the guest to start anew, and waits until it has.
    ///
    /// # Panics
    /// When it does not.
    pub fn reboot(&self) {
        let before = self.boot();
        // Its answer may well be lost.
        self.start("systemctl reboot");
        self.has_booted_since(&before);
    }

    /// The boot that it is in.
    ///
    /// # Panics
    /// When the guest does not answer.
    pub fn boot(&self) -> String {
        self.run(&format!("cat {BOOT}")).well().stdout.trim().to_owned()
    }

    /// Waits until another boot than `before` is complete.
    ///
    /// # Panics
    /// When it is not in time.
    pub fn has_booted_since(&self, before: &str) {
        let other = format!("[ \"$(cat {BOOT})\" != {} ]", before);
        self.until("the machine starts anew", &other);
        assert!(self.boots(PATIENCE), "the machine does not boot");
    }

    /// Waits until everything that belongs to a boot is started; false when it is not within `patience`.
    pub fn boots(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            let up = self.try_run("systemctl is-system-running --wait", Duration::from_secs(2));
            if up.is_ok_and(|ran| ["running\n", "degraded\n"].contains(&ran.stdout.as_str())) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        false
    }

    /// Sets the guest's clock to the time, or to what `date` understands, such as `1970-01-02T00:00:00`. No kernel takes a
    /// time that is less than its own since the boot.
    ///
    /// # Panics
    /// When it cannot be set.
    pub fn set_clock(&self, time: Option<&str>) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let time = time.map_or_else(|| format!("@{}", now.as_secs()), str::to_owned);
        self.run(&format!("date --utc --set={time}")).well();
    }

    /// Pulls the network's plug, or puts it back.
    ///
    /// # Panics
    /// When the machine is off.
    pub fn set_network(&self, network: Network) {
        let up = network == Network::Connected;
        self.monitor().ask("set_link", json!({ "name": "card", "up": up })).unwrap();
    }

    /// Runs a command of the guest's shell to its end.
    ///
    /// # Panics
    /// When the guest does not answer, or the command does not end.
    pub fn run(&self, command: &str) -> Ran {
        let begun = Instant::now();
        let ran = self.try_run(command, PATIENCE);
        self.note(begun, command, ran.as_ref().map_or(-1, |ran| ran.code));
        ran.unwrap_or_else(|error| panic!("{}: {command}: {error}", self.name))
    }

    /// Writes down what was asked of the guest.
    fn note(&self, begun: Instant, what: &str, code: i32) {
        let mut log =
            fs::OpenOptions::new().append(true).create(true).open(log(&self.name, "commands")).unwrap();
        writeln!(log, "{:6.1} s  {code}  {what}", begun.elapsed().as_secs_f64()).unwrap();
    }

    /// Starts a command of the guest's shell a second from now, and does not wait for it: it may well be the last thing
    /// that the guest does.
    ///
    /// # Panics
    /// When the guest does not answer.
    pub fn start(&self, command: &str) {
        self.on()
            .guest(PATIENCE)
            .and_then(|mut guest| begin(&mut guest, &format!("sleep 1; {command}")))
            .unwrap();
    }

    /// Waits until a command of the guest's shell ends well, through as many boots as that takes.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn until(&self, what: &str, command: &str) {
        let begun = Instant::now();
        let end = begun + PATIENCE;
        loop {
            let ran = self.try_run(command, Duration::from_secs(5));
            if ran.as_ref().is_ok_and(|ran| ran.code == 0) {
                self.note(begun, what, 0);
                return;
            }
            assert!(Instant::now() < end, "this was to be, and is not: {what}; {command}: {ran:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Runs a command, if the guest answers within `patience`.
    fn try_run(&self, command: &str, patience: Duration) -> std::io::Result<Ran> {
        let mut guest = self.on().guest(patience)?;
        let job = begin(&mut guest, command)?;
        let begun = Instant::now();
        loop {
            let ended = guest.ask("guest-exec-status", json!({ "pid": job }))?;
            if ended["exited"] == true {
                let text = |key: &str| String::from_utf8_lossy(&decoded(&ended[key])).into_owned();
                let code = ended["exitcode"].as_i64().and_then(|code| i32::try_from(code).ok());
                return Ok(Ran {
                    code: code.unwrap_or(-1),
                    stdout: text("out-data"),
                    stderr: text("err-data"),
                });
            }
            if begun.elapsed() > PATIENCE {
                return Err(std::io::Error::other("it does not end"));
            }
            // Each question costs the guest some of its time.
            std::thread::sleep(
                (begun.elapsed() / 4).clamp(Duration::from_millis(10), Duration::from_millis(300)),
            );
        }
    }

    /// Writes a file of the guest's.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: &str, contents: &str) {
        let text = BASE64.encode(contents.as_bytes());
        self.run(&format!("mkdir -p \"$(dirname {path})\"; echo {text} | base64 -d >{path}")).well();
    }

    /// Hands over files: they lie on a disk that the guest unpacks.
    ///
    /// # Panics
    /// When they are too many, or cannot be unpacked.
    pub fn bring(&self, items: &[Item]) {
        let mut archive = tar::Builder::new(Vec::new());
        for item in items {
            let mut header = tar::Header::new_gnu();
            header.set_size(item.contents.len() as u64);
            header.set_mode(item.mode);
            archive
                .append_data(&mut header, item.path.trim_start_matches('/'), item.contents.as_slice())
                .unwrap();
        }
        let archive = archive.into_inner().unwrap();
        assert!(archive.len() as u64 <= CARGO, "too much cargo: {} bytes", archive.len());
        let mut disk = fs::OpenOptions::new().write(true).open(self.place.join("cargo")).unwrap();
        disk.write_all(&archive).unwrap();
        // What the guest has read of this disk before is not what is on it now.
        let megabytes = archive.len().div_ceil(1 << 20);
        let unpack = "tar --extract --no-same-owner --directory=/ --overwrite";
        self.run(&format!("dd if=/dev/vdb bs=1M count={megabytes} iflag=direct status=none | {unpack}"))
            .well();
    }

    /// Waits until its console has shown `words` so many `times`.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn shows(&self, words: &str, times: usize) {
        bounded(PATIENCE, words, || self.console().matches(words).count() >= times);
    }

    /// What its console has shown, since it was restored: its journal, and what its kernel said.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(log(&self.name, "console")).unwrap_or_default()).into_owned()
    }

    fn monitor(&self) -> Talk {
        self.on().monitor()
    }

    fn on(&self) -> &Qemu {
        self.qemu.as_ref().expect("the machine is off")
    }
}

/// Whether the guest's network card has a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The cable is in.
    Connected,
    /// It is not.
    Unplugged,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.qemu = None;
        if std::thread::panicking() {
            let said = self.console();
            let lines: Vec<&str> = said.lines().collect();
            eprintln!("the end of {}:", log(&self.name, "console").display());
            lines[lines.len().saturating_sub(40)..].iter().for_each(|line| eprintln!("  {line}"));
        }
    }
}

fn log(name: &str, kind: &str) -> PathBuf {
    image::place().join(format!("logs/{name}.{kind}"))
}

fn decoded(text: &Value) -> Vec<u8> {
    BASE64.decode(text.as_str().unwrap_or_default().as_bytes()).unwrap_or_default()
}

fn begin(guest: &mut Talk, command: &str) -> std::io::Result<Value> {
    let arguments = json!({ "path": "/bin/sh", "arg": ["-c", command], "capture-output": true });
    Ok(guest.ask("guest-exec", arguments)?["pid"].take())
}

fn bounded(patience: Duration, what: &str, mut reached: impl FnMut() -> bool) {
    let end = Instant::now() + patience;
    while !reached() {
        assert!(Instant::now() < end, "this was to be, and is not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
