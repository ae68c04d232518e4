//! What the environment wants no more: recorded, stopped, unlinked; deleted much later, and only where it says so.
//!
//! Never here: whether it is wanted (`want`), or what an app keeps for itself: its data is never removed.

use std::time::Duration;

use super::model::{Orphan, Reason, Step, Want};
use super::next::{Case, Decision};
use super::trial::{Toward, toward};

#[cfg(test)]
mod tests;

/// How long an app that is wanted no more could still come back from what is here.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The step of an app that is wanted no more, or that was not and is again; none: it is wanted, or nobody knows.
///
/// The record comes first and stays until the app is wanted again: what was begun is gone to its end whatever is known
/// by then, and neither expired metadata nor a hold brings an orphan back.
pub(super) fn decide(case: &Case<'_>) -> Option<Decision> {
    let (app, name) = (case.app, case.name);
    let record = |orphan| Step::Orphan { app: name.clone(), orphan };
    let begun = Orphan { since: case.now.wall, trusted: case.now.trusted };
    let prunes = match (case.want, &app.orphan) {
        // The record goes when the link names it again: without either, nothing would tell that it was away.
        (Want::Be(goal), Some(_)) if app.current.is_some() => {
            return Some((record(None), Reason::Restoring(goal.setup.clone())));
        }
        (Want::Be(_), _) | (Want::Stay { .. }, None) => return None,
        (Want::Gone { .. }, None) => {
            return Some((record(Some(begun)), Reason::Orphan { since: begun.since, until: None }));
        }
        (Want::Gone { prune }, Some(_)) => *prune,
        (Want::Stay { .. }, Some(_)) => false,
    };
    let orphan = app.orphan.unwrap_or(begun);
    let until = Some(orphan.since.after(KEPT)).filter(|_| prunes);
    let reason = match case.want {
        Want::Stay { reason: reason @ (Reason::Hold(_) | Reason::Pin(_)), .. } => reason.clone(),
        _ => Reason::Orphan { since: orphan.since, until },
    };
    if let Toward::Step(step) | Toward::Start(step) = toward(case, None) {
        return Some((step, reason));
    }
    if !matches!(case.want, Want::Gone { .. }) {
        return Some((Step::Rest { again: None }, reason));
    }
    if let Some(tree) = app.staged.first() {
        return Some((Step::Discard { app: name.clone(), tree: *tree }, reason));
    }
    // A clock that was not known then may have jumped since: the days begin where it is.
    if prunes && case.now.trusted && !orphan.trusted {
        return Some((record(Some(begun)), reason));
    }
    let left = until.map(|until| until.since(case.now.wall));
    let due = case.now.trusted && left.is_some_and(|left| left.is_zero());
    // What passed here is forgotten first: wanted again meanwhile, nothing is taken for committed that is half deleted.
    let step = match app.sealed.first() {
        _ if due && !app.committed.is_empty() => Step::Erase { app: name.clone(), orphan: app.orphan },
        Some(tree) if due => Step::Prune { app: name.clone(), tree: *tree },
        // Nor is there anything to come back from where nothing was ever whole.
        None if app.committed.is_empty() => Step::Erase { app: name.clone(), orphan: None },
        _ => Step::Rest { again: left.filter(|left| !left.is_zero()) },
    };
    Some((step, reason))
}
