//! Wishes of a person: written down first, so that no crash loses them, then carried out here or by whoever holds the
//! lock.
//!
//! Never here: what carrying them out means.

use std::time::Duration;

use tidelock_protocol::names::AppName;

use super::session::{Failure, Session, Status, person};
use super::{lines, say};
use crate::config::Mode;
use crate::decide::model::{Retry, Rollback, is_itself};
use crate::io::lock::Lock;
use crate::io::{activate, clock, disk};
use crate::turn::Publisher;

/// Between two looks at whether the wish is fulfilled.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Leaves the live release of `app` for the one before, and refuses it from now on.
pub(super) fn rollback(
    session: &Session,
    app: &AppName,
    reason: String,
    owner: Option<String>,
) -> Result<Status, Failure> {
    may_change(session)?;
    let Some(leave) = activate::current(&session.site.paths, app)? else {
        return Err(Failure::Refused(format!(
            "{app} is not installed here: there is nothing to go back from"
        )));
    };
    let wish = Rollback { leave, owner: owner.unwrap_or_else(person), reason };
    session.site.journal.ask_rollback(app, &wish)?;
    carry_out(session, whose(app), || {
        let records = session.site.journal.read(app);
        Ok(records.rollback.is_none() && records.trial.is_none())
    })?;
    match activate::current(&session.site.paths, app)? {
        Some(tree) if tree == leave => Err(Failure::Refused(format!(
            "{app} stays on tree {}: there is nothing to go back to",
            leave.short()
        ))),
        Some(tree) => {
            say(&format!("{app} went back from tree {} to tree {}\n", leave.short(), tree.short()));
            Ok(Status::Done)
        }
        None => {
            say(&format!("{app} is not installed any more: nothing had passed before\n"));
            Ok(Status::Done)
        }
    }
}

/// Forgets refusals and back-off of `app`, and goes on.
pub(super) fn retry(session: &Session, app: &AppName, owner: Option<String>) -> Result<Status, Failure> {
    may_change(session)?;
    let wish = Retry { owner: owner.unwrap_or_else(person) };
    session.site.journal.ask_retry(app, &wish)?;
    carry_out(session, whose(app), || Ok(session.site.journal.read(app).retry.is_none()))?;
    say(&format!("refusals and back-off of {app} are forgotten\n"));
    Ok(Status::Done)
}

pub(super) fn may_change(session: &Session) -> Result<(), Failure> {
    match session.site.settings.mode {
        Mode::Apply => Ok(()),
        Mode::Observe => {
            Err(Failure::Refused("this device only observes (`mode`): nothing is changed".into()))
        }
    }
}

/// Who carries a wish out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// This process, where nobody else is at work.
    Anybodys,
    /// The daemon, which alone can be replaced by another release of itself.
    Daemons,
}

/// Who carries out what is wished of `app`.
pub(super) fn whose(app: &AppName) -> Whose {
    if is_itself(app) { Whose::Daemons } else { Whose::Anybodys }
}

/// With the lock free, runs the turn here; otherwise waits until its holder is `done` with the wish.
pub(super) fn carry_out(
    session: &Session,
    whose: Whose,
    done: impl Fn() -> Result<bool, disk::Error>,
) -> Result<(), Failure> {
    let until = clock::since_boot() + session.patience;
    loop {
        if done()? {
            return Ok(());
        }
        let here = whose == Whose::Anybodys;
        if let Some(lock) = if here { Lock::take(&session.site.paths.lock())? } else { None } {
            let mut publisher = Publisher::open(&session.site, None)?;
            let rest = session.with_turn(&lock, &mut publisher, |turn| Ok(turn.run()?))?;
            say(&lines(&rest.why));
            return Ok(());
        }
        if clock::since_boot() >= until {
            return Err(Failure::NotYet { waited: session.patience.as_secs() });
        }
        session.pause(LOOK_AGAIN)?;
    }
}
