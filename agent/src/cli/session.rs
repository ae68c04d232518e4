//! What most commands begin with: the settings, the lock, a turn; and how they end.
//!
//! Never here: what a command does in between.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tidelock_protocol::names::NotAName;

use crate::config::{self, Merged, Paths, Settings};
use crate::decide::model::Process;
use crate::io::journal::Journal;
use crate::io::launch::Launched;
use crate::io::lock::Lock;
use crate::io::service::Supervisor;
use crate::io::wake::{Wake, Woken};
use crate::io::{clock, disk, identity, refresh};
use crate::look::Site;
use crate::turn::{self, Memories, Publisher, Turn};

/// How long a lock that is held is waited for, unless `--wait` says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries to take it.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Done = 0,
    Error = 1,
    Usage = 2,
    Refused = 3,
    Timeout = 4,
    Busy = 5,
    News = 10,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// Why a command did not do what it is for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Disk(#[from] disk::Error),
    #[error(transparent)]
    Trust(#[from] refresh::Failure),
    #[error(transparent)]
    Turn(#[from] turn::Error),
    #[error("this machine's processor has no platform")]
    Platform(#[from] NotAName),
    #[error("cannot listen to signals")]
    Signals(#[source] std::io::Error),
    #[error("{what} cannot be used: expected {expected}")]
    Unusable { what: String, expected: String },
    #[error("{0}")]
    Refused(String),
    #[error("another tidelock is at work (it holds {path}); waited {waited} s")]
    Busy { path: PathBuf, waited: u64 },
    #[error(
        "another tidelock is at work and has not come to it within {waited} s; the wish is written down, and it will"
    )]
    NotYet { waited: u64 },
}

impl Failure {
    pub(super) fn status(&self) -> Status {
        match self {
            Self::Refused(_) => Status::Refused,
            Self::Busy { .. } | Self::NotYet { .. } => Status::Busy,
            Self::Trust(failure) | Self::Turn(turn::Error::Connection(failure)) if failure.is_timeout() => {
                Status::Timeout
            }
            _ => Status::Error,
        }
    }
}

/// A command under way.
pub(super) struct Session {
    pub(super) site: Site,
    pub(super) wake: Wake,
    pub(super) patience: Duration,
}

impl Session {
    /// Reads the configuration; keys that nobody knows are named and left out.
    pub(super) fn open(paths: Paths, config: Option<&Path>, wait: Option<Duration>) -> Result<Self, Failure> {
        let merged = Merged::of(&config::read(&paths, config)?)?;
        for unknown in merged.unknown() {
            ::log::warn!("{unknown}");
        }
        let settings = Settings::of(&merged, &paths)?;
        Self::with(paths, settings, wait)
    }

    /// The same with settings that are known.
    pub(super) fn with(paths: Paths, settings: Settings, wait: Option<Duration>) -> Result<Self, Failure> {
        let id = identity::device_id(&paths, settings.id.as_ref())?;
        let journal = Journal::at(&paths)?;
        let mut wake = Wake::listen().map_err(Failure::Signals)?;
        wake.watch(&paths.journal());
        let (seed, platform) = (turn::seed(id.as_str()), identity::platform()?);
        let supervisor = Supervisor::of(paths.root(), &paths.state());
        let (process, launched) = (Process::Command, Launched::default());
        let site = Site { paths, settings, journal, seed, id, platform, supervisor, process, launched };
        Ok(Self { site, wake, patience: wait.unwrap_or(PATIENCE) })
    }

    /// The lock, waited for.
    pub(super) fn lock(&self) -> Result<Lock, Failure> {
        let until = clock::since_boot() + self.patience;
        loop {
            if let Some(lock) = Lock::take(&self.site.paths.lock())? {
                return Ok(lock);
            }
            if clock::since_boot() >= until {
                let (path, waited) = (self.site.paths.lock(), self.patience.as_secs());
                return Err(Failure::Busy { path, waited });
            }
            self.pause(TRY_AGAIN)?;
        }
    }

    /// Waits, unless somebody asks the command to end.
    pub(super) fn pause(&self, time: Duration) -> Result<(), Failure> {
        if self.wake.wait(None, time) == Woken::Stopped { Err(turn::Error::Stopped.into()) } else { Ok(()) }
    }

    /// One turn of a process that remembers nothing.
    pub(super) fn with_turn<T>(
        &self,
        lock: &Lock,
        publisher: &mut Publisher,
        act: impl FnOnce(&mut Turn<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (site, wake, mut memories) = (&self.site, &self.wake, Memories::default());
        act(&mut Turn { site, wake, lock, memories: &mut memories, publisher, rhythm: None })
    }
}

/// Who runs this command, as far as the system tells.
#[expect(clippy::disallowed_methods, reason = "who asks is known to the shell alone")]
pub(super) fn person() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let named = named.filter(|name| !name.is_empty() && !name.contains(char::is_control));
    named.unwrap_or_else(|| "somebody".into())
}
