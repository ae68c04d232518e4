//! What is done before the apps of a device start.
//!
//! Never here: a start, a stop, a question to the publisher, or what is decided (`decide::at_boot`).

use super::{Error, Turn, tell};
use crate::config::Mode;
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
        loop {
            let device = look::device(self.site, &self.memories.0)?.0;
            let Some(step) = decide::at_boot(&device, self.publisher.now()) else { return Ok(()) };
            tell::log(&step, None);
            self.take(step)?;
        }
    }
}
