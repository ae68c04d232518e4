//! `adopt`: an app that already runs as a unit of this machine is looked after from now on, without a stop.
//!
//! Never here: what is made of it (`io/adopt`), or when it is updated.

use std::collections::BTreeSet;

use tidelock_protocol::names::AppName;

use super::ask::may_change;
use super::say;
use super::session::{Failure, Session, Status};
use crate::io::service::{self, Supervisor};
use crate::io::{activate, adopt as hand, examine};
use crate::turn::Publisher;

/// Takes over `app`, which runs as `unit`.
pub(super) fn adopt(session: &Session, app: &AppName, unit: &str) -> Result<Status, Failure> {
    may_change(session)?;
    let site = &session.site;
    let refused = |why: String| Err(Failure::Refused(why));
    if site.supervisor != Supervisor::Systemd {
        return refused("only a unit of systemd can be adopted, by root, on the machine itself".into());
    }
    let shown = service::show(&BTreeSet::from([unit.to_owned()])).unwrap_or_default();
    if !shown.get(unit).is_some_and(service::Shown::is_alive) {
        return refused(format!(
            "{unit} does not run: start it first, or let {app} be installed as any other"
        ));
    }
    let lock = session.lock()?;
    let known =
        activate::current(&site.paths, app)?.is_some() || !site.journal.read(app).committed.is_empty();
    if known {
        return refused(format!("{app} is looked after already: `tidelock status` says what it is"));
    }
    let enabled = examine::not_enabled(&[unit]).is_some_and(|missing| missing.is_empty());
    let now = Publisher::peek(site)?.now();
    let setup = hand::adopt(&lock, &site.paths, &site.journal, app, (unit, enabled), now.wall)?;
    let boots = if enabled { ", which then does not start with the machine any more" } else { "" };
    say(&format!(
        "{app} is {setup}, and runs on as {unit}\nits first update stops {unit}{boots}; a way back starts it again\n"
    ));
    Ok(Status::Done)
}
