//! `verify`: the live trees hashed again, each difference by name.
//!
//! Never here: mending one.

use super::say;
use super::session::{Failure, Session, Status};
use crate::io::{activate, fetch};
use crate::look;
use crate::turn::in_words;

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
