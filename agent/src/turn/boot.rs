//! What is done before the apps of a device start, and before the agent itself does.
//!
//! Never here: a start, a stop, a question to the publisher, or what is decided (`decide::{at_boot, at_launch}`).

use std::time::Duration;

use tidelock_protocol::digest::Digest;
use tidelock_protocol::time::Now;

use super::{Error, Turn, tell};
use crate::config::Mode;
use crate::decide::model::{Device, Step, is_itself};
use crate::{decide, look};

impl Turn<'_> {
    /// Takes every step that comes before the apps start. A device that only observes is left as it is.
    ///
    /// # Errors
    /// This device's own disk; the boot goes on.
    pub fn boot(&mut self) -> Result<(), Error> {
        if self.site.settings.mode == Mode::Observe {
            return Ok(());
        }
        self.tidy_up()?;
        self.all(decide::at_boot)
    }

    /// Takes every step that comes before the agent itself starts, and gives the release that it is; none: the packaged
    /// agent. With it, how long it may live without a verdict.
    ///
    /// # Errors
    /// This device's own disk.
    pub fn launch(&mut self) -> Result<Option<(Digest, Option<Duration>)>, Error> {
        if self.site.settings.mode == Mode::Apply {
            self.all(decide::at_launch)?;
        }
        let device = look::device(self.site, &self.memories.0)?.0;
        let itself = device.apps.iter().find(|(name, _)| is_itself(name));
        Ok(itself.and_then(|(_, app)| decide::to_launch(app)))
    }

    fn all(&mut self, decide: fn(&Device, Now) -> Option<Step>) -> Result<(), Error> {
        loop {
            let device = look::device(self.site, &self.memories.0)?.0;
            let Some(step) = decide(&device, self.publisher.now()) else { return Ok(()) };
            tell::log(&step, None);
            self.take(step)?;
        }
    }
}
