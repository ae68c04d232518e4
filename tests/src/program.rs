//! Programs of somebody else's: found, started, watched, ended by their process id.
//!
//! Never here: what they serve. A program that is missing fails the test that needs it, with what to install.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// A program that is installed beside the Python of the suites, or that Python itself: `tests/run` says which.
pub fn beside_python(name: &str) -> PathBuf {
    let python = std::env::var("TIDELOCK_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    Path::new(&python).with_file_name(name)
}

/// Where a program is. Those of an administrator are looked for where an ordinary user's PATH does not lead.
///
/// # Panics
/// When it is nowhere: a suite that cannot run has failed.
pub fn find(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places =
        std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found = places.map(|place| place.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("this suite needs the program {name}; `tests/run prepare` installs it"))
}

/// Runs a program to its end and gives back what it wrote.
///
/// # Panics
/// When it cannot be started or fails; with what it said.
pub fn run(program: impl AsRef<OsStr>, arguments: &[&str]) -> String {
    let output = output(Command::new(program.as_ref()).args(arguments));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started or fails; with what it said.
pub fn output(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, said());
    output
}

/// Runs a command to its end, but not for ever: then it is ended, with everything in its process group.
///
/// # Panics
/// When it cannot be started, or does not end within five minutes.
pub fn bounded(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    let (ended, ends) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let late = ends.recv_timeout(Duration::from_secs(300)) == Err(RecvTimeoutError::Timeout);
        if late {
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
        }
        late
    });
    let output = child.wait_with_output().unwrap();
    drop(ended);
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!watch.join().unwrap(), "{command:?} did not end: {}", said());
    output
}

/// A program that runs beside the test: ended with it, and by itself after a quarter of an hour whatever happens.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `program`; what it says goes to the file `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(program: &Path, arguments: &[&OsStr], log: &Path) -> Self {
        let said = File::create(log).unwrap();
        let child = Command::new(find("timeout"))
            // Passes SIGTERM on to the program, and ends it when the test was killed.
            .args(["--kill-after=5", "900"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        Self { child, log: log.to_owned() }
    }

    /// Waits until it listens on `address`; false when it ended before.
    ///
    /// # Panics
    /// When neither happens within ten seconds.
    pub fn listens_on(&mut self, address: SocketAddr) -> bool {
        self.until("listen", || TcpStream::connect(address).is_ok())
    }

    /// Waits until `ready`; false when the program ended before.
    ///
    /// # Panics
    /// When neither happens within ten seconds.
    pub fn until(&mut self, what: &str, ready: impl Fn() -> bool) -> bool {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if ready() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the program does not {what}: {}", self.said());
    }

    /// What it said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id (of the `timeout` that it runs under).
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits for it.
    pub fn stop(&mut self) {
        terminate(&mut self.child);
        drop(self.child.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Asks a child to end, unless it has.
pub fn terminate(child: &mut Child) {
    let still_runs = matches!(child.try_wait(), Ok(None));
    let id = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let (true, Some(id)) = (still_runs, id) {
        rustix::process::kill_process(id, rustix::process::Signal::TERM).ok();
    }
}

/// Waits until something is so.
///
/// # Panics
/// When it is not within twenty seconds.
pub fn until(what: &str, reached: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !reached() {
        assert!(Instant::now() < end, "this was to be, and is not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An address on 127.0.0.1 that was free a moment ago.
///
/// # Panics
/// When the system has none.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_fails_with_what_to_do() {
        let missing = std::panic::catch_unwind(|| find("no-such-program-of-ours"));
        let words = missing.unwrap_err();
        let words = words.downcast_ref::<String>().unwrap();
        assert!(words.contains("no-such-program-of-ours") && words.contains("tests/run prepare"), "{words}");
    }

    #[test]
    fn a_running_program_ends_with_its_guard() {
        let scratch = crate::scratch::Scratch::new("running");
        let sleep = find("sleep");
        let running = Running::start(&sleep, &["600".as_ref()], &scratch.path().join("log"));
        let id = running.id();
        assert!(Path::new(&format!("/proc/{id}")).exists());
        drop(running);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }
}
