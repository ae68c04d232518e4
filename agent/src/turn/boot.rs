//! What is done before the apps of a device start, and before the agent itself does.
//!
//! Never here: a start, a stop, a question to the publisher, or what is decided (`decide::{at_boot, at_launch}`).

use tidelock_protocol::names::AppName;
use tidelock_protocol::time::Now;

use super::{Error, Turn, tell, unsigned_now};
use crate::config::Mode;
use crate::decide;
use crate::decide::model::{Device, Launch, Step, is_itself};
use crate::io::disk;
use crate::io::journal::{Journal, Running};
use crate::io::lock::Lock;
use crate::look::{self, Site};

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
        // Only now: a person's wish is written without the lock.
        disk::sweep(&self.site.paths.journal())?;
        self.all(decide::at_boot)
    }

    /// Takes every step that comes before the agent itself starts, counts its start, and gives what it becomes.
    ///
    /// # Errors
    /// This device's own disk.
    pub fn launch(&mut self) -> Result<Launch, Error> {
        let acts = self.site.settings.mode == Mode::Apply;
        if acts {
            self.all(decide::at_launch)?;
        }
        let device = look::device(self.site, &self.memories.0)?.0;
        let Some((name, app)) = device.apps.iter().find(|(name, _)| is_itself(name)) else {
            return Ok(Launch::Packaged);
        };
        let launch = decide::to_launch(app, self.publisher.now());
        if let (true, Launch::Committed(begun)) = (acts, &launch) {
            self.remember(name, |running| running.begun = Some(*begun))?;
        }
        Ok(launch)
    }

    /// Tells the launcher that this process was of use: it polled, or it ends because it was asked to.
    ///
    /// # Errors
    /// This device's own disk.
    pub fn was_of_use(site: &Site, lock: &Lock) -> Result<(), Error> {
        for app in look::apps(site)?.iter().filter(|app| is_itself(app)) {
            let running = site.journal.running(app);
            if running.begun.is_some() {
                site.journal.keep_running(lock, app, &Running { begun: None, ..running })?;
            }
        }
        Ok(())
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

/// Whether the committed release of `app` was begun in vain, so that the packaged agent does what it would.
pub fn begun_in_vain(journal: &Journal, app: &AppName) -> bool {
    journal.running(app).begun.is_some_and(|begun| decide::is_in_vain(begun, unsigned_now()))
}
