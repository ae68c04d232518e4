//! How `git` is started: an environment that asks nobody, runs no hook and ends in time.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Error;

/// Longest that a question to a repository on this machine may take.
pub(super) const LOCAL: Duration = Duration::from_secs(120);
/// Longest that a fetch may take; a first one brings the whole history.
pub(super) const FETCH: Duration = Duration::from_secs(1800);
/// Most bytes that one answer may have: a million entries of a tree.
const ANSWER_BYTES: usize = 512 << 20;
/// Most bytes of git's own words that are kept.
const SAID_BYTES: usize = 2000;

/// Variables of the caller's environment that reach `git`: how to connect, and which files configure it.
/// All other `GIT_*` are taken away: they name other repositories, hooks, editors and traces.
const KEPT: [&str; 9] = [
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_SSL_CAINFO",
    "GIT_SSL_NO_VERIFY",
    "GIT_EXEC_PATH",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
];

/// One Git directory, and how to ask it.
#[derive(Clone, Debug)]
pub(super) struct Git {
    directory: PathBuf,
    label: String,
    /// What the label stands for in git's own words, where that may hold a password.
    address: Option<String>,
    /// Variables of its environment besides those of every command.
    more: Vec<(OsString, OsString)>,
}

/// How a command ended and what it wrote.
pub(super) struct Output {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    /// Its last words, as one line for a message.
    pub(super) said: String,
    /// All of them, up to a limit.
    pub(super) lines: String,
}

impl Git {
    /// The Git directory `directory` (the `.git`, or the bare repository), called `label` in messages.
    pub(super) fn at(directory: &Path, label: &str) -> Self {
        Self { directory: directory.to_owned(), label: label.to_owned(), address: None, more: Vec::new() }
    }

    /// The same, with one more variable in its environment.
    pub(super) fn with(&self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let mut git = self.clone();
        git.more.push((name.into(), value.into()));
        git
    }

    /// The same, of what comes from `address` and is configured like this: in no file, and in no argument
    /// that is given here.
    pub(super) fn from(&self, address: &str, settings: &[(String, String)]) -> Self {
        let mut count = self.with("GIT_CONFIG_COUNT", settings.len().to_string());
        count.address = Some(address.to_owned());
        settings.iter().enumerate().fold(count, |git, (n, (key, value))| {
            git.with(format!("GIT_CONFIG_KEY_{n}"), key).with(format!("GIT_CONFIG_VALUE_{n}"), value)
        })
    }

    /// Where it is.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it is called in messages.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Runs `git args…` to `what` and gives what it wrote; a status other than 0 is an error.
    pub(super) fn ask<A: AsRef<OsStr>>(&self, what: &'static str, args: &[A]) -> Result<Vec<u8>, Error> {
        let output = self.run(what, args, LOCAL)?;
        if output.status.success() { Ok(output.stdout) } else { Err(self.failed(what, output.said)) }
    }

    /// Runs `git args…` to `what` with `words` to read, ended after `limit`, and gives what it wrote.
    pub(super) fn tell<A: AsRef<OsStr>>(
        &self,
        what: &'static str,
        args: &[A],
        words: &str,
        limit: Duration,
    ) -> Result<Vec<u8>, Error> {
        // A file of no name: whatever git writes meanwhile, nobody waits for the other one.
        let file = rustix::fs::memfd_create("words", rustix::fs::MemfdFlags::CLOEXEC).map(File::from);
        let told = file.map_err(io::Error::from).and_then(|mut file| {
            file.write_all(words.as_bytes())?;
            file.rewind()?;
            Ok(file)
        });
        let told = told.map_err(|source| self.io(what, source))?;
        let output = self.fed(what, args, told.into(), limit)?;
        if output.status.success() { Ok(output.stdout) } else { Err(self.failed(what, output.said)) }
    }

    /// Runs `git args…`, ended after `limit`.
    pub(super) fn run<A: AsRef<OsStr>>(
        &self,
        what: &'static str,
        args: &[A],
        limit: Duration,
    ) -> Result<Output, Error> {
        self.fed(what, args, Stdio::null(), limit)
    }

    fn fed<A: AsRef<OsStr>>(
        &self,
        what: &'static str,
        args: &[A],
        stdin: Stdio,
        limit: Duration,
    ) -> Result<Output, Error> {
        let mut child = self.spawn(what, args, stdin)?;
        let gathered = gather(&mut child, limit);
        if !matches!(gathered, Ok(Some(_))) {
            end(&mut child);
        }
        let status = child.wait().map_err(|source| self.io(what, source))?;
        match gathered {
            Ok(Some((stdout, said))) => {
                let lines = String::from_utf8_lossy(&said).into_owned();
                Ok(Output { status, stdout, said: last_words(&said), lines })
            }
            Ok(None) => Err(Error::TimedOut { what, repository: self.label.clone(), limit }),
            Err(source) => Err(self.io(what, source)),
        }
    }

    /// Starts `git args…` in its own process group with pipes for its output.
    pub(super) fn spawn<A: AsRef<OsStr>>(
        &self,
        what: &'static str,
        args: &[A],
        stdin: Stdio,
    ) -> Result<Child, Error> {
        let mut command = base();
        // The publisher reads repositories that belong to the people who write them.
        let mut safe = OsString::from("safe.directory=");
        safe.push(&self.directory);
        command.arg("-c").arg(safe);
        command.arg("--git-dir").arg(&self.directory).args(args);
        command.envs(self.more.iter().map(|(name, value)| (name, value)));
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NoGit(source),
            _ => self.io(what, source),
        })
    }

    pub(super) fn io(&self, what: &'static str, source: io::Error) -> Error {
        Error::Io { what, repository: self.label.clone(), source }
    }

    pub(super) fn failed(&self, what: &'static str, said: String) -> Error {
        let said = match &self.address {
            Some(address) => said.replace(address, &self.label),
            None => said,
        };
        Error::Failed { what, repository: self.label.clone(), said }
    }

    pub(super) fn unexpected(&self, what: &'static str, found: &[u8]) -> Error {
        let found = String::from_utf8_lossy(&found[..found.len().min(120)]).into_owned();
        Error::Answer { what, repository: self.label.clone(), found }
    }
}

/// `git` with everything that could ask a person, run a hook, start a pager or read replaced objects switched off.
fn base() -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("GIT_") && !KEPT.contains(&text.as_ref()) {
            command.env_remove(&name);
        }
    }
    if std::env::var_os("GIT_SSH_COMMAND").is_none() && std::env::var_os("GIT_SSH").is_none() {
        command.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=30");
    }
    command
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "")
        .env("SSH_ASKPASS", "")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("LC_ALL", "C")
        .env_remove("LANGUAGE")
        .args(["--no-pager", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"])
        .args(["-c", "protocol.ext.allow=never"])
        .args(["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"])
        .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
    command
}

/// Ends the whole process group of `child`: a fetch has children of its own.
pub(super) fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // It may be gone already; waiting for it afterwards is what counts.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// Both outputs to their ends; `None` when `limit` ran out.
fn gather(child: &mut Child, limit: Duration) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("no pipes"));
    };
    let until = Instant::now() + limit;
    let (mut written, mut said) = (Vec::new(), Vec::new());
    let (mut out_open, mut err_open) = (true, true);
    let mut buffer = vec![0; 64 * 1024];
    while out_open || err_open {
        let left = until.saturating_duration_since(Instant::now());
        let (out_ready, err_ready) = match (out_open, err_open) {
            (true, true) => readable(&stdout, Some(&stderr), left)?,
            (true, false) => readable(&stdout, None::<&File>, left)?,
            (false, _) => (false, readable(&stderr, None::<&File>, left)?.0),
        };
        if !out_ready && !err_ready {
            return Ok(None);
        }
        if out_ready {
            let n = stdout.read(&mut buffer)?;
            out_open = n > 0;
            written.extend_from_slice(&buffer[..n]);
            if written.len() > ANSWER_BYTES {
                return Err(io::Error::other("its answer is longer than 512 MiB"));
            }
        }
        if err_ready {
            let n = stderr.read(&mut buffer)?;
            err_open = n > 0;
            said.extend_from_slice(&buffer[..n]);
            let excess = said.len().saturating_sub(SAID_BYTES);
            said.drain(..excess);
        }
    }
    Ok(Some((written, said)))
}

/// Whether `one` and `other` have something to read or have ended; waits at most `limit`.
pub(super) fn readable(
    one: &impl AsFd,
    other: Option<&impl AsFd>,
    limit: Duration,
) -> io::Result<(bool, bool)> {
    let timeout = Timespec { tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX), tv_nsec: 1_000_000 };
    let mut fds = vec![PollFd::new(one, PollFlags::IN)];
    fds.extend(other.map(|fd| PollFd::new(fd, PollFlags::IN)));
    loop {
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
    Ok((fds.first().is_some_and(ready), fds.get(1).is_some_and(ready)))
}

/// What git said last, as one line for a message.
pub(super) fn last_words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let tail = lines.len().saturating_sub(4);
    if lines.is_empty() { "it said nothing".into() } else { lines[tail..].join("; ") }
}

/// What a child that failed said on its standard error; bounded.
pub(super) fn words_of(stderr: Option<ChildStderr>) -> String {
    let mut said = Vec::new();
    if let Some(stderr) = stderr {
        // Half of the words are better than none.
        let _ = stderr.take(64 * 1024).read_to_end(&mut said);
    }
    last_words(&said)
}
