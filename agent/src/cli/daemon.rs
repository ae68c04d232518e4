//! The daemon: poll, turn, sleep, until SIGTERM. Every error of a turn is said and survived.
//!
//! Never here: how long to sleep (`decide::poll`), or what a turn does.

use std::time::Duration;

use super::session::{Failure, Session, Status};
use crate::io::disk;
use crate::io::http::Http;
use crate::io::lock::Lock;
use crate::io::wake::Woken;
use crate::turn::{self, Memories, Publisher, Rhythm, Turn, in_words};

/// After an error of this device's own, such as a full disk.
const AFTER_ERROR: Duration = Duration::from_secs(60);
/// While somebody else holds the lock.
const WHILE_BUSY: Duration = Duration::from_secs(1);

/// What the daemon keeps from turn to turn.
struct Daemon<'a> {
    session: &'a Session,
    memories: Memories,
    http: Option<Http>,
    rhythm: Rhythm,
}

/// Runs until it is asked to end.
pub(super) fn run(mut session: Session) -> Result<Status, Failure> {
    // A device that cannot believe anything is told so at once, not after the first sleep.
    drop(Publisher::peek(&session.site)?);
    disk::create_directories(&session.site.paths.journal())?;
    session.wake.watch(&session.site.paths.journal());
    let site = &session.site;
    log::info!(
        "{} in environment {} asks {}",
        site.id,
        site.settings.environment,
        site.settings.connection.url
    );
    let rhythm = Rhythm::begin(site);
    let mut daemon = Daemon { session: &session, memories: Memories::default(), http: None, rhythm };
    loop {
        let again = match daemon.turn() {
            Ok(again) => again,
            Err(Failure::Turn(turn::Error::Stopped)) => return Ok(Status::Done),
            Err(failure) => {
                log::error!("{}", in_words(&failure));
                Some(AFTER_ERROR)
            }
        };
        let left = daemon.rhythm.left();
        if session.wake.pause(again.map_or(left, |again| again.min(left))) == Woken::Stopped {
            return Ok(Status::Done);
        }
    }
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
        Ok(rest?.again)
    }
}
