//! One turn: look → decide → do, until there is nothing left to do. Asked again after every step and every crash.
//!
//! Never here: a choice. What is done is what `decide` says, by the hands in `io`.

mod boot;
mod hands;
mod publisher;
mod rhythm;
mod running;
mod tell;

use std::collections::BTreeMap;
use std::time::Duration;

use tidelock_protocol::names::AppName;

use crate::decide;
use crate::decide::model::{Device, Memory, Step, Why};
use crate::decide::want::Me;
use crate::io::lock::Lock;
use crate::io::wake::Wake;
use crate::io::{disk, notify, refresh};
use crate::look::{self, Site};

pub use boot::begun_in_vain;
pub use publisher::{Publisher, unsigned_now};
pub use rhythm::{Rhythm, seed};
pub use tell::log_changes;

/// Why a turn ended before it was at rest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This device's own disk.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// The publisher cannot be asked at all: a file that the connection needs, mostly.
    #[error(transparent)]
    Connection(#[from] refresh::Failure),
    /// The launcher could not take this process over.
    #[error("cannot let the launcher take over: start the agent again by hand")]
    Launch(#[source] std::io::Error),
    /// The agent was asked to end.
    #[error("stopped by a signal")]
    Stopped,
}

/// What one process remembers from turn to turn.
#[derive(Debug, Default)]
pub struct Memories(BTreeMap<AppName, Memory>);

/// At rest: why each app is where it is, and when to look again without news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Per app.
    pub why: Why,
    /// From now.
    pub again: Option<Duration>,
}

/// A turn: what may be done while the lock is held.
#[derive(Debug)]
pub struct Turn<'a> {
    /// What stays the same.
    pub site: &'a Site,
    /// What ends a wait.
    pub wake: &'a Wake,
    /// The right to change anything.
    pub lock: &'a Lock,
    /// What was remembered before.
    pub memories: &'a mut Memories,
    /// What the publisher says.
    pub publisher: &'a mut Publisher,
    /// When it is asked; none: only when the command says so.
    pub rhythm: Option<&'a mut Rhythm>,
}

impl Turn<'_> {
    /// Does everything that there is to do.
    ///
    /// # Errors
    /// This device's own disk, or a signal; whatever was being done is taken up again by the next turn.
    pub fn run(&mut self) -> Result<Rest, Error> {
        self.tidy_up()?;
        self.memories.0.values_mut().for_each(Memory::renew);
        loop {
            notify::alive();
            self.poll_if_due();
            let (step, why) = self.preview()?;
            if let Step::Rest { again } = step {
                return Ok(Rest { why, again });
            }
            tell::log(&step, Some(&why));
            self.take(step)?;
        }
    }

    /// What would be done next, and why each app is where it is.
    ///
    /// # Errors
    /// This device's own disk.
    pub fn preview(&mut self) -> Result<(Step, Why), Error> {
        let device = look::device(self.site, &self.memories.0)?.0;
        self.wake.mortal(|| self.publisher.ask_offers(self.site, &device));
        let asked = self.ask(&device);
        self.tell(&asked.1)?;
        Ok(asked)
    }

    fn ask(&self, device: &Device) -> (Step, Why) {
        let now = self.publisher.now();
        let me = Me { platform: &self.site.platform, labels: &self.site.settings.labels };
        let wanted = decide::want::want(self.publisher.signed(now), me, device, now);
        decide::next(&wanted, device, now)
    }
}

/// An error with everything that led to it, on one line.
pub fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |words, cause| format!("{words}: {cause}"))
}
