//! The daemon: poll, turn, sleep, until SIGTERM. Every error of a turn is said once and survived.
//!
//! Never here: how long to sleep (`decide::poll`), or what a turn does.

use std::time::Duration;

use super::session::{Failure, Session, Status};
use crate::io::http::Http;
use crate::io::lock::Lock;
use crate::io::wake::Woken;
use crate::io::{clock, disk};
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
    said: String,
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
    let (memories, said) = (Memories::default(), String::new());
    let mut daemon = Daemon { session: &session, memories, http: None, rhythm, said };
    let mut poked = false;
    loop {
        let again = match daemon.turn(poked) {
            Ok(again) => again,
            Err(Failure::Turn(turn::Error::Stopped)) => return Ok(Status::Done),
            Err(failure) => {
                daemon.say(&in_words(&failure));
                Some(AFTER_ERROR)
            }
        };
        let until_poll = daemon.rhythm.next.saturating_sub(clock::since_boot());
        let woken = session.wake.pause(again.map_or(until_poll, |again| again.min(until_poll)));
        if woken == Woken::Stopped {
            return Ok(Status::Done);
        }
        poked = woken == Woken::Poked;
    }
}

impl Daemon<'_> {
    /// One turn, with a poll before it when that is due or `poked`; gives when to look again without news.
    fn turn(&mut self, poked: bool) -> Result<Option<Duration>, Failure> {
        let site = &self.session.site;
        let Some(lock) = Lock::take(&site.paths.lock())? else { return Ok(Some(WHILE_BUSY)) };
        let mut publisher = Publisher::open(site, self.http.take())?;
        let (wake, memories) = (&self.session.wake, &mut self.memories);
        let mut turn = Turn { site, wake, lock: &lock, memories, publisher: &mut publisher };
        let polled = (poked || clock::since_boot() >= self.rhythm.next).then(|| turn.poll());
        let rest = turn.run();
        self.http = publisher.into_connection();
        drop(lock);
        if let Some(polled) = &polled {
            self.rhythm.after(polled);
            self.say(&polled.as_ref().map_or_else(|failure| in_words(failure), |()| String::new()));
        }
        Ok(rest?.again)
    }

    /// Says what went wrong when that is news: a publisher that is away for a day is not worth a line per poll.
    fn say(&mut self, problem: &str) {
        if problem.is_empty() && !self.said.is_empty() {
            log::info!("that is over: {}", self.said);
        } else if problem != self.said {
            log::warn!("{problem}");
        } else {
            log::debug!("{problem}");
        }
        problem.clone_into(&mut self.said);
    }
}
