//! The daemon: poll, turn, sleep, until SIGTERM. Every error of a turn is said and survived.
//!
//! Never here: how long to sleep (`decide::poll`), or what a turn does.

use std::path::Path;
use std::time::Duration;

use super::metrics;
use super::session::{Failure, Session, Status};
use crate::config::Error::Missing;
use crate::config::{self, Merged, Paths, Settings};
use crate::decide::model::{Process, Why};
use crate::io::http::Http;
use crate::io::lock::Lock;
use crate::io::refresh::Failure::NoTrust;
use crate::io::wake::{Wake, Woken};
use crate::io::{clock, disk, notify};
use crate::turn::{self, Memories, Publisher, Rhythm, Turn, in_words, log_changes};

/// After an error of this device's own, such as a full disk.
const AFTER_ERROR: Duration = Duration::from_secs(60);
/// Before this device is part of a fleet.
const UNTIL_JOINED: Duration = Duration::from_secs(2);
/// While somebody else holds the lock.
const WHILE_BUSY: Duration = Duration::from_secs(1);

/// What the daemon keeps from turn to turn.
struct Daemon<'a> {
    session: &'a Session,
    memories: Memories,
    http: Option<Http>,
    rhythm: Rhythm,
    why: Why,
}

/// Runs until it is asked to end. A device that is not part of a fleet yet waits until `join` has made it so.
pub(super) fn run(
    paths: &Paths,
    config: Option<&Path>,
    open: impl FnOnce() -> Result<Session, Failure>,
) -> Result<Status, Failure> {
    notify::begin();
    match until_joined(paths, config)? {
        Woken::Stopped => Ok(Status::Done),
        _ => serve(open()?),
    }
}

/// Waits until there are an address, an environment and a root of trust. Anything that is wrong with them is an error.
fn until_joined(paths: &Paths, config: Option<&Path>) -> Result<Woken, Failure> {
    let mut wake = None;
    loop {
        let missing = match Settings::of(&Merged::of(&config::read(paths, config)?)?, paths) {
            Ok(_) if paths.root_json().exists() => return Ok(Woken::Elapsed),
            Ok(_) => Failure::Trust(NoTrust { directory: paths.etc() }),
            Err(missing @ Missing { .. }) => missing.into(),
            Err(wrong) => return Err(wrong.into()),
        };
        let wake = match &mut wake {
            Some(wake) => wake,
            nobody => {
                let words = format!("not part of a fleet yet: {}", in_words(&missing));
                ::log::warn!("{words}");
                notify::ready();
                notify::status(&words);
                nobody.insert(Wake::listen().map_err(Failure::Signals)?)
            }
        };
        if wake.pause(UNTIL_JOINED) == Woken::Stopped {
            return Ok(Woken::Stopped);
        }
    }
}

/// Serves a device that is part of a fleet.
fn serve(mut session: Session) -> Result<Status, Failure> {
    // A device that cannot believe anything is told so at once, not after the first sleep.
    let rhythm = Rhythm::begin(&session.site, &Publisher::peek(&session.site)?);
    session.site.process = Process::Daemon { since: clock::since_boot() };
    disk::create_directories(&session.site.paths.journal())?;
    session.wake.watch(&session.site.paths.journal());
    session.wake.serve();
    let site = &session.site;
    ::log::info!(
        "{} in environment {} asks {}",
        site.id,
        site.settings.environment,
        site.settings.connection.url
    );
    metrics::serve(site);
    notify::ready();
    let (memories, why) = (Memories::default(), Why::default());
    let mut daemon = Daemon { session: &session, memories, http: None, rhythm, why };
    loop {
        let again = match daemon.turn() {
            Ok(again) => again,
            Err(Failure::Turn(turn::Error::Stopped)) => break,
            Err(failure) => {
                let words = in_words(&failure);
                ::log::error!("{words}");
                notify::status(&words);
                Some(AFTER_ERROR)
            }
        };
        let left = daemon.rhythm.left();
        if session.wake.pause(again.map_or(left, |again| again.min(left))) == Woken::Stopped {
            break;
        }
    }
    notify::stopping();
    if let Some(lock) = Lock::take(&site.paths.lock())? {
        Turn::was_of_use(site, &lock)?;
    }
    Ok(Status::Done)
}

impl Daemon<'_> {
    /// One turn; gives when to look again without news.
    fn turn(&mut self) -> Result<Option<Duration>, Failure> {
        let site = &self.session.site;
        let Some(lock) = Lock::take(&site.paths.lock())? else { return Ok(Some(WHILE_BUSY)) };
        let mut publisher = Publisher::open(site, self.http.take())?;
        let (wake, memories) = (&self.session.wake, &mut self.memories);
        let rhythm = Some(&mut self.rhythm);
        let rest = Turn { site, wake, lock: &lock, memories, publisher: &mut publisher, rhythm }.run();
        self.http = publisher.into_connection();
        let rest = rest?;
        if self.rhythm.answered() && site.launched.tree.is_some() {
            Turn::was_of_use(site, &lock)?;
        }
        log_changes(&self.why, &rest.why);
        self.why = rest.why;
        Ok(rest.again)
    }
}
