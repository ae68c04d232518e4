//! When the publisher is asked next, from how it answered.
//!
//! Never here: the rule (`decide::poll`), or the waiting.

use std::time::Duration;

use super::Publisher;
use crate::decide::poll::{self, Knows, Polled};
use crate::io::clock;
use crate::io::refresh::Failure;
use crate::look::Site;

/// The rhythm of one process.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    every: Duration,
    seed: u64,
    failures: u32,
    next: Duration,
    answered: bool,
}

/// A number that is always the same for the device called `id`.
pub fn seed(id: &str) -> u64 {
    poll::seed(id)
}

impl Rhythm {
    /// The first poll comes at a place in the interval that is the device's own, and at once where what the environment
    /// wants was never heard.
    pub fn begin(site: &Site, publisher: &Publisher) -> Self {
        let (every, seed) = (site.settings.poll, site.seed);
        let knows = publisher.manifest().map_or(Knows::Nothing, |_| Knows::Wish);
        Self {
            every,
            seed,
            failures: 0,
            next: clock::since_boot() + poll::first(every, seed, knows),
            answered: false,
        }
    }

    /// Whether the publisher has answered this process.
    pub fn answered(&self) -> bool {
        self.answered
    }

    /// How long it is until the next poll.
    pub fn left(&self) -> Duration {
        self.next.saturating_sub(clock::since_boot())
    }

    /// Sets the next poll, now that this one ended.
    pub(super) fn after(&mut self, polled: &Result<(), Failure>) {
        let boot = clock::since_boot();
        let polled = match polled {
            Ok(()) => {
                (self.failures, self.answered) = (0, true);
                Polled::Answered
            }
            Err(failure) => {
                self.failures = self.failures.saturating_add(1);
                Polled::Failed { failures: self.failures, retry_after: failure.retry_after() }
            }
        };
        let chance = poll::seed(&format!("{} {}", self.seed, boot.as_nanos()));
        self.next = boot + poll::pause(polled, self.every, boot, self.seed, chance);
    }
}
