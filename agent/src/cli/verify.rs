//! `verify`: the live trees hashed again, each difference by name, and mended first where a person wishes that.
//!
//! Never here: the mending.

use super::ask::{carry_out, may_change, whose};
use super::say;
use super::session::{Failure, Session, Status, person};
use crate::decide::model::Heal;
use crate::io::{activate, fetch};
use crate::look;
use crate::turn::in_words;

/// Has every live tree mended, by a turn here or by whoever holds the lock, and then says what still differs.
pub(super) fn heal(session: &Session, owner: Option<String>) -> Result<Status, Failure> {
    may_change(session)?;
    let wish = Heal { owner: owner.unwrap_or_else(person) };
    let mut asked = Vec::new();
    for app in look::apps(&session.site)? {
        if activate::current(&session.site.paths, &app)?.is_some() {
            session.site.journal.ask_heal(&app, &wish)?;
            asked.push(app);
        }
    }
    for app in asked {
        carry_out(session, whose(&app), || Ok(session.site.journal.read(&app).heal.is_none()))?;
    }
    verify(session)
}

/// Says every difference between what is live and what was signed.
pub(super) fn verify(session: &Session) -> Result<Status, Failure> {
    let paths = &session.site.paths;
    let mut status = Status::Done;
    for app in look::apps(&session.site)? {
        let Some(tree) = activate::current(paths, &app)? else {
            say(&format!("{app}: not installed\n"));
            continue;
        };
        match fetch::verify(&paths.release(&app, &tree), &tree) {
            Ok(found) if found.is_empty() => {
                say(&format!("{app}: tree {} is as it was signed\n", tree.short()))
            }
            Ok(found) => {
                let lines: Vec<String> = found.iter().map(|one| format!("{app}: {one}\n")).collect();
                say(&lines.concat());
                status = Status::News;
            }
            // Without a usable index nothing can be said for the tree, and that is a difference too.
            Err(error) => {
                say(&format!("{app}: {}\n", in_words(&error)));
                status = Status::News;
            }
        }
    }
    Ok(status)
}
