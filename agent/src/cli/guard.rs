//! `guard`: once per boot, before the apps start, without network and whatever the configuration says.
//!
//! Never here: what is decided (`decide::at_boot`).

use std::path::Path;
use std::time::Duration;

use super::session::{Failure, Session, Status};
use crate::config::{self, Merged, Paths, Settings};
use crate::io::lock::Lock;
use crate::turn::{Memories, Publisher, Turn};

/// Nobody else is at work that early, and the boot waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Counts starts, ends trials that had all of theirs, and goes the ways back that were begun, as far as the links lead.
pub(super) fn guard(paths: Paths, config: Option<&Path>) -> Result<Status, Failure> {
    let settings = settings(&paths, config)?;
    let session = Session::with(paths, settings, Some(PATIENCE))?;
    let lock = session.lock()?;
    if session.site.journal.guarded() {
        ::log::info!("this boot was guarded already");
        return Ok(Status::Done);
    }
    boot(&session, &lock)?;
    session.site.journal.keep_guarded(&lock)?;
    Ok(Status::Done)
}

fn boot(session: &Session, lock: &Lock) -> Result<(), Failure> {
    let (site, wake) = (&session.site, &session.wake);
    let (mut memories, mut publisher) = (Memories::default(), Publisher::nobody(site));
    let memories = &mut memories;
    Ok(Turn { site, wake, lock, memories, publisher: &mut publisher, rhythm: None }.boot()?)
}

/// The device's settings; where they cannot be read, those of a device that was never told anything.
pub(super) fn settings(paths: &Paths, config: Option<&Path>) -> Result<Settings, Failure> {
    let read = || Settings::of(&Merged::of(&config::before_any(config::read(paths, config)?))?, paths);
    match read() {
        Ok(settings) => Ok(settings),
        Err(error) => {
            ::log::error!("{error}: the guard goes on without the configuration");
            Ok(Settings::of(&Merged::of(&config::before_any(Vec::new()))?, paths)?)
        }
    }
}
