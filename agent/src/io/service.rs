//! Commands of a release, run in a process group of their own that is ended as a whole, their output kept bounded.
//!
//! Under systemd the commands have units of their own, and so have the apps (`systemd`). Never here: which command, when,
//! or what its end means. Without systemd, a service that a hook starts as a daemon (`setsid`) has left
//! the group: it outlives hook and agent.

mod systemd;
mod transient;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::user::User;
use super::wake::{Wake, Woken};
use super::{clock, notify};
use crate::decide::model::Outcome;

pub use systemd::{
    Shown, Supervisor, await_start, begin, end as end_unit, forget, is_there, read_again, reload, show,
    start, stop, story,
};
pub use transient::Transient;

/// How much of an output is kept: its end, in bytes.
const OUTPUT: usize = 8 * 1024;
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// The longest that an end goes unnoticed when the output stays open.
const TICK: Duration = Duration::from_millis(20);
/// What is searched for programs without a slash in their name.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One command to run.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// Program and arguments; a program with a slash lies in `directory`.
    pub command: &'a [String],
    /// The release's tree, where it runs.
    pub directory: PathBuf,
    /// Everything that it finds in its environment besides `PATH` and `LANG`.
    pub environment: BTreeMap<String, String>,
    /// Whom it runs as; none: as the agent itself.
    pub user: Option<User>,
    /// How long it may take; then its group is ended, and it failed.
    pub timeout: Duration,
    /// What happens to the rest of its group when it ends well.
    pub rest: Rest,
    /// The unit that it runs in, under systemd; otherwise it runs in a process group.
    pub unit: Option<Transient>,
}

/// What happens to what a command left in its process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It is the service that was started.
    LivesOn,
    /// Nothing of it may stay.
    Ends,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whether with status 0, in time.
    pub outcome: Outcome,
    /// The end of its output; for a failure what happened comes first.
    pub output: String,
}

/// The agent was asked to end before the command did. The command was ended, but for a start in a unit of its own: that
/// goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped by a signal")]
pub struct Stopped;

impl Ended {
    /// A failure that is told by `output`.
    pub fn failed(output: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed, output: output.into() }
    }
}

/// Makes what this process was started with, besides input and outputs, end with it: no hook inherits a socket or lock
/// of whoever started the agent. What the agent opens itself is never inherited.
pub fn keep_descriptors_to_ourselves() {
    close_fds::set_fds_cloexec_threadsafe(3, &[]);
}

/// Runs `job` to its end, its timeout, or the agent's.
///
/// # Errors
/// [`Stopped`]: the agent was asked to end; how the command would have ended is not known.
pub fn run(job: &Job<'_>, wake: &Wake) -> Result<Ended, Stopped> {
    let (mut child, output) = match spawn(job) {
        Ok(started) => started,
        Err(error) => return Ok(Ended::failed(format!("cannot run {}: {error}", job.command.join(" ")))),
    };
    let mut tail = Tail { output: Some(output), kept: Vec::new() };
    let deadline = clock::since_boot() + job.timeout;
    loop {
        tail.read();
        match child.try_wait() {
            Ok(Some(status)) => {
                tail.read();
                return Ok(match &job.unit {
                    Some(unit) => unit.ended(job, ended(status, &tail)),
                    None => {
                        if job.rest == Rest::Ends || !status.success() {
                            end(&mut child);
                        }
                        ended(status, &tail)
                    }
                });
            }
            Ok(None) => {}
            Err(error) => {
                return Ok(Ended::failed(format!("cannot wait for {}: {error}", job.command.join(" "))));
            }
        }
        let left = deadline.saturating_sub(clock::since_boot());
        if left.is_zero() {
            job.unit.iter().for_each(Transient::end);
            end(&mut child);
            tail.read();
            let what = format!("did not end within {} s and was ended", job.timeout.as_secs());
            return Ok(Ended::failed(tail.after(&what)));
        }
        if wake.wait(tail.output.as_ref().map(AsFd::as_fd), left.min(TICK)) == Woken::Stopped {
            job.unit.iter().filter(|_| job.rest == Rest::Ends).for_each(Transient::end);
            end(&mut child);
            return Err(Stopped);
        }
    }
}

/// Runs `work` on a thread of its own, so that a wish to stop is heard meanwhile; `work` bounds its own time.
///
/// # Errors
/// [`Stopped`]: the agent was asked to end; the thread is left to itself.
pub fn aside(work: impl FnOnce() -> Ended + Send + 'static, wake: &Wake) -> Result<Ended, Stopped> {
    let lost = |error: io::Error| Ok(Ended::failed(format!("cannot run a check: {error}")));
    let (done, ends) = match io::pipe() {
        Ok(pipe) => pipe,
        Err(error) => return lost(error),
    };
    let started = std::thread::Builder::new().spawn(move || {
        let ended = work();
        drop(ends);
        ended
    });
    let thread = match started {
        Ok(thread) => thread,
        Err(error) => return lost(error),
    };
    while !thread.is_finished() {
        if wake.wait(Some(done.as_fd()), Duration::from_secs(3600)) == Woken::Stopped {
            return Err(Stopped);
        }
    }
    Ok(thread.join().unwrap_or_else(|_| Ended::failed("the check ended in a defect of the agent")))
}

/// The lines `KEY=value` of an environment file; what is no such line is named in the log, never shown.
///
/// # Errors
/// The file is there and cannot be read.
pub fn environment_file(path: &Path) -> io::Result<BTreeMap<String, String>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        text => text?,
    };
    let mut found = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        match line.split_once('=').filter(|(key, _)| is_variable(key)) {
            Some((key, value)) => found.insert(key.to_owned(), unquoted(value).to_owned()),
            None => {
                log::warn!("{}:{}: not a line KEY=value, left out", path.display(), number + 1);
                None
            }
        };
    }
    Ok(found)
}

fn is_variable(key: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    key.bytes().all(word) && key.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

fn unquoted(value: &str) -> &str {
    let value = value.trim();
    let inside = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

fn spawn(job: &Job<'_>) -> io::Result<(Child, PipeReader)> {
    // In a unit everything about the command is told to systemd, and the agent only waits for the one that tells it.
    let transient = job.unit.as_ref().map(|unit| unit.command(job));
    let own = transient.is_none();
    let (program, arguments) =
        transient.as_deref().unwrap_or(job.command).split_first().ok_or(ErrorKind::InvalidInput)?;
    let program = if program.contains('/') { job.directory.join(program) } else { program.into() };
    let (output, write) = io::pipe()?;
    fcntl_setfl(&output, OFlags::NONBLOCK)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(&job.directory)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .envs(job.environment.iter().filter(|_| own))
        .stdin(Stdio::null())
        .stdout(write.try_clone()?)
        .stderr(write)
        .process_group(0);
    let child = match job.user.as_ref().filter(|_| own) {
        None => command.spawn(),
        Some(user) => std::thread::scope(|scope| {
            let start = || user.take_over_this_thread().and_then(|()| command.spawn());
            scope.spawn(start).join().unwrap_or_else(|_| Err(ErrorKind::Other.into()))
        }),
    }?;
    Ok((child, output))
}

/// Ends what is left of the process group: SIGTERM, a grace, SIGKILL; and waits for the child, but not for ever.
fn end(child: &mut Child) {
    let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
    for signal in [Signal::TERM, Signal::KILL] {
        let until = clock::since_boot() + GRACE;
        // An error is a group that has ended meanwhile.
        let _ = kill_process_group(group, signal);
        while clock::since_boot() < until {
            let reaped = !matches!(child.try_wait(), Ok(None));
            if reaped && test_kill_process_group(group).is_err() {
                return;
            }
            notify::alive();
            std::thread::sleep(TICK);
        }
    }
    log::error!("the process group {} did not end on SIGKILL", child.id());
}

fn ended(status: ExitStatus, tail: &Tail) -> Ended {
    let what = match (status.code(), status.signal()) {
        (Some(0), _) => return Ended { outcome: Outcome::Passed, output: tail.text() },
        (Some(code), _) => format!("ended with status {code}"),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
    };
    Ended::failed(tail.after(&what))
}

/// A text that no terminal obeys.
fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    text.chars().map(plain).collect()
}

/// The end of an output, whatever its length.
struct Tail {
    output: Option<PipeReader>,
    kept: Vec<u8>,
}

impl Tail {
    /// Takes what is there, but not for ever: who writes faster than this reads must not keep the agent here.
    fn read(&mut self) {
        let mut buffer = [0; 16 * 1024];
        for _ in 0..64 {
            let Some(output) = &mut self.output else { return };
            match output.read(&mut buffer) {
                Ok(0) => self.output = None,
                Ok(read) => {
                    self.kept.extend_from_slice(&buffer[..read]);
                    let surplus = self.kept.len().saturating_sub(OUTPUT);
                    self.kept.drain(..surplus);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// What was kept, as text that no terminal obeys.
    fn text(&self) -> String {
        plain(String::from_utf8_lossy(&self.kept).trim())
    }

    fn after(&self, what: &str) -> String {
        let text = self.text();
        if text.is_empty() { what.to_owned() } else { format!("{what}: {text}") }
    }
}

#[cfg(test)]
mod tests;
