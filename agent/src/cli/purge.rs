//! `purge`: what is left of an app that is gone, its data included, is deleted. Nothing else ever deletes data.
//!
//! Never here: ending an app that runs; the environment does that, by not wanting it.

use tidelock_protocol::names::AppName;

use super::say;
use super::session::{Failure, Session, Status, person};
use crate::config::Mode;
use crate::io::{activate, disk};
use crate::turn::Publisher;

/// Deletes the data of `app`, and whatever else is here of it.
pub(super) fn purge(
    session: &Session,
    app: &AppName,
    reason: &str,
    owner: Option<String>,
) -> Result<Status, Failure> {
    let site = &session.site;
    let refuse = |why: String| Err(Failure::Refused(format!("{why}; nothing was deleted")));
    if site.settings.mode == Mode::Observe {
        return refuse("this device only observes (`mode`)".into());
    }
    let lock = session.lock()?;
    let publisher = Publisher::peek(site)?;
    let desired = publisher.manifest().map(|manifest| &manifest.desired);
    // A hold would only put off the moment when it comes back without its data.
    if desired.is_some_and(|desired| desired.choose(app, &site.settings.labels).is_some()) {
        return refuse(format!("the environment wants {app} on this device: let it go there first"));
    }
    if activate::current(&site.paths, app)?.is_some() {
        return refuse(format!("{app} is still installed here"));
    }
    if !site.paths.app(app).exists() {
        return refuse(format!("nothing is here of an app {app}"));
    }
    // Records first: without them what is left is files that no record speaks of, and purge may be asked again.
    site.journal.forget(&lock, app)?;
    disk::prune(&site.paths.app(app))?;
    ::log::warn!(
        "everything of {app}, its data included, was deleted by {}: {reason}",
        owner.unwrap_or_else(person)
    );
    say(&format!("everything of {app} is deleted, its data included\n"));
    Ok(Status::Done)
}
