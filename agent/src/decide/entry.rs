//! Before the link moves to a tree that was sealed earlier: it is hashed again while what runs still runs, and mended
//! where it is not as it was signed any more.
//!
//! Never here: a tree that is live already (`drift`).

use tidelock_protocol::digest::Digest;

use super::drift::{heal, put_off};
use super::model::{Cause, Drift, Extent, Files, Goal, Reason, Rechecked, Step, Trial};
use super::next::{Case, Decision};
use super::trial::go_back;

#[cfg(test)]
mod tests;

/// What comes before a release that is wanted is tried; none: it is as it was signed. While it is not and cannot be
/// mended, it is not entered.
pub(super) fn forward(case: &Case<'_>, goal: &Goal) -> Option<Decision> {
    let tree = goal.setup.tree;
    let source = case.app.sources.get(&tree).or(goal.files.as_ref());
    match (seen(case, tree, source), put_off(case, tree)) {
        (Seen::Right, _) => None,
        (_, Some((again, reason))) => Some((Step::Rest { again: Some(again) }, reason)),
        (Seen::Step(step), None) => Some((*step, Reason::Installing(goal.setup.clone()))),
        (Seen::Wrong(found), None) => {
            let (first, differing) = (found.first.join(", "), found.differing);
            let message = format!("its sealed tree is not as it was signed ({first}; {differing} in all)");
            Some((Step::Rest { again: None }, Reason::Unavailable { message }))
        }
    }
}

/// What comes before the link moves to the release in trial, where the process that opened the trial is not there any
/// more. One that cannot be mended is as good as gone.
pub(super) fn onward(case: &Case<'_>, trial: &Trial) -> Option<Decision> {
    let tree = trial.to.tree;
    match seen(case, tree, case.app.sources.get(&tree)) {
        Seen::Right => None,
        Seen::Step(step) => Some((*step, Reason::Trying(trial.to.clone()))),
        Seen::Wrong(_) => Some(go_back(case, trial, Cause::Gone)),
    }
}

/// What comes before the link moves back to `tree`, which was committed here. It is gone back to in any case: what
/// cannot be mended now is recorded first, and mended when the publisher is there.
pub(super) fn back(case: &Case<'_>, tree: Digest, extent: Extent) -> Option<Step> {
    let Some(found) = known(case, tree) else { return Some(recheck(case, tree, extent)) };
    let is_tried = case.app.memory.trouble.as_ref().is_some_and(|trouble| trouble.tree == tree);
    match case.app.sources.get(&tree) {
        Some(source) if found.differing > 0 && !is_tried => Some(heal(case, tree, source)),
        _ => told(case, found),
    }
}

/// The record of a tree that was found wrong where nobody looked for that; none: it is right, or recorded already.
pub(super) fn told(case: &Case<'_>, found: &Rechecked) -> Option<Step> {
    let Rechecked { tree, differing, first } = found;
    let before = case.app.drift.as_ref().filter(|drift| drift.tree == *tree);
    if *differing == 0 || before.is_some_and(|drift| drift.differing > 0 && !drift.mended) {
        return None;
    }
    let healed = before.map_or_else(Vec::new, |before| before.healed.clone());
    let (first, at) = (first.clone(), case.now.wall);
    let drift = Drift { tree: *tree, at, differing: *differing, first, mended: false, healed };
    Some(Step::Record { app: case.name.clone(), drift, heal: case.app.heal.clone() })
}

/// What there is to be said or done about a tree.
enum Seen<'a> {
    /// It is live already, or was just found as it was signed.
    Right,
    /// To hash it, or to mend it.
    Step(Box<Step>),
    /// It is not, and cannot be mended now.
    Wrong(&'a Rechecked),
}

fn seen<'a>(case: &'a Case<'_>, tree: Digest, source: Option<&Files>) -> Seen<'a> {
    match (known(case, tree), source) {
        _ if case.app.current == Some(tree) => Seen::Right,
        (None, _) => Seen::Step(Box::new(recheck(case, tree, Extent::Whole))),
        (Some(found), _) if found.differing == 0 => Seen::Right,
        (Some(_), Some(source)) if put_off(case, tree).is_none() => {
            Seen::Step(Box::new(heal(case, tree, source)))
        }
        (Some(found), _) => Seen::Wrong(found),
    }
}

/// What this turn knows of `tree`.
fn known<'a>(case: &'a Case<'_>, tree: Digest) -> Option<&'a Rechecked> {
    case.app.memory.rechecked.as_ref().filter(|found| found.tree == tree)
}

fn recheck(case: &Case<'_>, tree: Digest, extent: Extent) -> Step {
    Step::Recheck { app: case.name.clone(), tree, extent }
}
