//! What ends a pause early: a signal that asks the agent to end, one that asks it to look at once, or an intent that a
//! person has just written. Every wait of the agent goes through here, so none outlasts a wish to stop.
//!
//! Never here: what is waited for, or what is then done.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

use super::{clock, notify};

/// How a pause ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Its time was over, or what was waited on is ready.
    Elapsed,
    /// Somebody asked the agent to poll at once.
    Poked,
    /// A person wrote a wish into the journal.
    Intent,
    /// Somebody asked the agent to end.
    Stopped,
}

/// The ears of the process.
#[derive(Debug)]
pub struct Wake {
    stop: Arc<AtomicBool>,
    poke: Arc<AtomicBool>,
    /// While it is set a wish to end ends the process by the signal itself, as a shell expects of a command.
    mortal: Arc<AtomicBool>,
    /// The same with status 0, as a supervisor expects of a service.
    leaving: Arc<AtomicBool>,
    is_service: bool,
    signals: UnixStream,
    intents: Option<OwnedFd>,
}

impl Wake {
    /// Listens to SIGTERM and SIGINT (end) and SIGUSR1 (poll at once).
    ///
    /// # Errors
    /// The system gives no pipe or no handler.
    pub fn listen() -> io::Result<Self> {
        let (signals, write) = UnixStream::pair()?;
        signals.set_nonblocking(true)?;
        let [stop, poke, mortal, leaving] = std::array::from_fn(|_| Arc::new(AtomicBool::new(false)));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register_conditional_shutdown(signal, 0, Arc::clone(&leaving))?;
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&mortal))?;
        }
        for (signal, flag) in [(SIGTERM, &stop), (SIGINT, &stop), (SIGUSR1, &poke)] {
            signal_hook::flag::register(signal, Arc::clone(flag))?;
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Self { stop, poke, mortal, leaving, is_service: false, signals, intents: None })
    }

    /// From now on this process is a service: asked to end, it ends with status 0 wherever it is.
    pub fn serve(&mut self) {
        self.is_service = true;
    }

    /// Listens to records that get or lose their name in `journal` as well. One that cannot be watched is only not listened to:
    /// intents are then seen at the next look.
    pub fn watch(&mut self, journal: &Path) {
        let events = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE;
        let watch = |fd: OwnedFd| inotify::add_watch(&fd, journal, events).map(|_| fd);
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK);
        self.intents = fd.and_then(watch).ok();
    }

    /// Whether somebody asked the agent to end.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Does `work`, which waits for others and hears nothing meanwhile: a wish to end then ends the process there, as a
    /// crash would, from which every record on disk leads on.
    pub fn mortal<T>(&self, work: impl FnOnce() -> T) -> T {
        let ends = if self.is_service { &self.leaving } else { &self.mortal };
        ends.store(true, Ordering::SeqCst);
        let done = work();
        ends.store(false, Ordering::SeqCst);
        done
    }

    /// Whether somebody asked for a poll at once, since this was last asked.
    pub fn was_poked(&self) -> bool {
        self.poke.swap(false, Ordering::Relaxed)
    }

    /// Whether a long work should be broken off at its next good place: the agent is asked to end, or a person wrote a
    /// wish. A poke waits until the next pause. Asked at each block of a fetch: a sign of life.
    pub fn interrupts(&self) -> bool {
        notify::alive();
        let intent = self.intents.as_ref().is_some_and(|fd| wrote_intent(fd.as_fd()));
        self.stopped() || intent
    }

    /// Waits for at most `time`; not at all while a poke has not been taken by [`Wake::was_poked`].
    pub fn pause(&self, time: Duration) -> Woken {
        if self.poke.load(Ordering::Relaxed) { Woken::Poked } else { self.wait(None, time) }
    }

    /// Waits until `ready` can be read, or for at most `time`; each event is told once.
    pub fn wait(&self, ready: Option<BorrowedFd<'_>>, time: Duration) -> Woken {
        let until = clock::since_boot().saturating_add(time);
        loop {
            notify::alive();
            let left = until.saturating_sub(clock::since_boot());
            let piece = left.min(notify::piece());
            let (woken, quiet) = self.wait_for_piece(ready, piece);
            if woken != Woken::Elapsed || !quiet || piece == left {
                return woken;
            }
        }
    }

    /// The same without a sign of life; tells also whether nothing at all happened.
    fn wait_for_piece(&self, ready: Option<BorrowedFd<'_>>, time: Duration) -> (Woken, bool) {
        let mut quiet = false;
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        fds.extend(self.intents.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        fds.extend(ready.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        if !self.stopped() {
            // An error here is an interruption by a signal, which the flags tell.
            quiet = poll(&mut fds, Timespec::try_from(clock::wait(time)).ok().as_ref()) == Ok(0);
        }
        self.drain_signals();
        let intent = self.intents.as_ref().is_some_and(|fd| wrote_intent(fd.as_fd()));
        let woken = if self.stopped() {
            Woken::Stopped
        } else if self.poke.load(Ordering::Relaxed) {
            Woken::Poked
        } else if intent {
            Woken::Intent
        } else {
            Woken::Elapsed
        };
        (woken, quiet)
    }

    fn drain_signals(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.signals).read(&mut bytes), Ok(read) if read > 0) {}
    }
}

/// Whether one of the records that got or lost their name since the last look is an intent.
fn wrote_intent(fd: BorrowedFd<'_>) -> bool {
    let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 4096];
    let mut events = inotify::Reader::new(fd, &mut buffer);
    let mut found = false;
    while let Ok(event) = events.next() {
        let gone = event.events().contains(inotify::ReadFlags::DELETE);
        found |=
            event.file_name().is_some_and(|name| super::journal::is_intent(&name.to_string_lossy(), gone));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Room;

    #[test]
    fn an_intent_ends_a_pause_and_another_record_does_not() {
        let room = Room::new();
        let mut wake = Wake::listen().unwrap();
        wake.watch(room.path());
        crate::io::disk::replace(&room.path().join("web.trial.json"), b"{}").unwrap();
        assert_eq!(wake.pause(Duration::ZERO), Woken::Elapsed);
        crate::io::disk::replace(&room.path().join("web.rollback.json"), b"{}").unwrap();
        assert_eq!(wake.pause(Duration::from_secs(60)), Woken::Intent);
        crate::io::disk::remove(&room.path().join("web.rollback.json")).unwrap();
        assert_eq!(wake.pause(Duration::ZERO), Woken::Elapsed, "what was obeyed");
        for stop in ["hold.json", "web.hold.json", "web.pin.json"] {
            crate::io::disk::replace(&room.path().join(stop), b"{}").unwrap();
            assert_eq!(wake.pause(Duration::from_secs(60)), Woken::Intent);
            crate::io::disk::remove(&room.path().join(stop)).unwrap();
            assert_eq!(wake.pause(Duration::from_secs(60)), Woken::Intent, "{stop} was taken back");
        }
    }

    #[test]
    fn a_journal_that_is_not_there_costs_only_the_ear_for_it() {
        let mut wake = Wake::listen().unwrap();
        wake.watch(Path::new("/nowhere"));
        assert_eq!(wake.pause(Duration::ZERO), Woken::Elapsed);
        assert!(!wake.stopped());
    }
}
