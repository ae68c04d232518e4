//! Whether the live tree still is what was signed: when it is hashed again, and what is done about a difference.
//!
//! Asked only where an app is at rest and nothing is to be done for it: never in a trial, neither its own nor another
//! app's. Never here: the hashing or the mending (`io/fetch`).

use std::time::Duration;

use tidelock_protocol::digest::Digest;
use tidelock_protocol::time::Timestamp;

use super::model::{Drift, Files, Heal, Left, Mode, Pass, Reason, Step, TroubleKind, Want};
use super::next::Case;
use super::poll;
use super::rest::FETCH_AGAIN;

#[cfg(test)]
mod tests;

/// Bytes hashed in one piece, and the pause after it: what a pass takes of the disk, besides its idle class.
const PIECE: (u64, Duration) = (8 << 20, Duration::from_secs(10));
/// How often a tree is mended unasked within [`DAY`]: an app that keeps writing into its release must not wear out the
/// flash.
const HEALS: usize = 3;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the care for the live tree asks for; without a reason, what was said of the app stays true.
pub(super) type Cared = (Step, Option<Reason>);

/// A pass when one is due, its record, and the mending of what it found.
pub(super) fn care(case: &Case<'_>) -> Option<Cared> {
    let (app, name) = (case.app, case.name);
    let standing = app.standing().filter(|standing| app.sealed.contains(&standing.setup.tree))?;
    if case.device.mode == Mode::Observe {
        return None;
    }
    let tree = standing.setup.tree;
    let drift = app.drift.as_ref().filter(|drift| drift.tree == tree);
    let record = |drift, heal| Some((Step::Record { app: name.clone(), drift, heal }, None));
    if let Some(drift) = drift.filter(|_| app.memory.mended == Some(tree)) {
        let healed = [case.now.wall].into_iter().chain(drift.healed.clone()).take(HEALS).collect();
        return record(Drift { mended: true, healed, ..drift.clone() }, app.heal.clone());
    }
    let pass = app.memory.pass.as_ref().filter(|pass| pass.tree == tree);
    match pass {
        Some(pass) if pass.next.is_none() => {
            let (found, heal) = concluded(case, pass, drift);
            return record(found, heal);
        }
        Some(_) => {}
        None if is_due(case, drift, standing.at) => {}
        None => return drift.filter(|drift| drift.differing > 0).map(|drift| mend(case, drift)),
    }
    let (bytes, pause) = PIECE;
    let pause = if app.heal.is_some() { Duration::ZERO } else { pause };
    let left = pass.map_or(Duration::ZERO, |pass| (pass.at + pause).saturating_sub(case.now.boot));
    if !left.is_zero() {
        return Some((Step::Rest { again: Some(left) }, None));
    }
    let from = pass.and_then(|pass| pass.next.clone());
    Some((Step::Inspect { app: name.clone(), tree, from, bytes }, None))
}

/// What to remember of a pass that has seen everything, and what is left of a person's wish.
fn concluded(case: &Case<'_>, pass: &Pass, before: Option<&Drift>) -> (Drift, Option<Heal>) {
    let at = case.now.wall;
    let healed = before.map_or_else(Vec::new, |before| before.healed.clone());
    let mended = before.is_some_and(|before| before.mended);
    let drift = Drift {
        tree: pass.tree,
        at,
        differing: pass.differing,
        first: pass.first.clone(),
        mended: false,
        healed: healed.into_iter().filter(|healed| at.since(*healed) < DAY).collect(),
    };
    // Asked once is mended once: what differs again after that is for the limit.
    let asked = case.app.heal.clone().filter(|_| pass.differing > 0 && !mended);
    (drift, asked)
}

/// Whether the tree, committed at `committed`, is to be hashed now.
fn is_due(case: &Case<'_>, drift: Option<&Drift>, committed: Timestamp) -> bool {
    let every = case.device.care.every;
    let last = drift.map_or(committed, |drift| drift.at);
    let asked = case.app.heal.is_some() && drift.is_none_or(|drift| drift.differing == 0);
    // A clock that went back holds nothing up.
    let now = case.now.wall;
    asked || drift.is_some_and(|drift| drift.mended) || now.since(last) >= every || last.since(now) >= every
}

/// Mends what a pass found, unless a person, the owner, the limit or the publisher says otherwise.
fn mend(case: &Case<'_>, drift: &Drift) -> Cared {
    let Drift { differing, tree, .. } = *drift;
    let rest = |again, reason| (Step::Rest { again }, Some(reason));
    let left = |left| Reason::Drifted { differing, first: drift.first.clone(), left };
    let asked = case.app.heal.is_some();
    let now = case.now.wall;
    let again = drift.healed.get(HEALS - 1).map(|oldest| DAY.saturating_sub(now.since(*oldest)));
    let is_held = matches!(case.want, Want::Stay { reason: Reason::Hold(_), .. });
    match (case.app.sources.get(&tree), again.filter(|again| !again.is_zero())) {
        _ if !asked && is_held => (Step::Rest { again: None }, None),
        _ if !asked && !case.device.care.heal => rest(None, left(Left::Unasked)),
        (None, _) => rest(None, left(Left::Sourceless)),
        (_, Some(again)) if !asked => rest(Some(again), left(Left::Often)),
        (Some(source), _) => match put_off(case, tree) {
            Some((again, reason)) => rest(Some(again), reason),
            None => (heal(case, tree, source), Some(Reason::Healing { differing })),
        },
    }
}

/// Mends `tree`, and whatever shares its inodes.
pub(super) fn heal(case: &Case<'_>, tree: Digest, source: &Files) -> Step {
    let others = case.app.sealed.iter().copied().filter(|other| *other != tree).collect();
    Step::Heal { app: case.name.clone(), tree, source: source.clone(), others }
}

/// What is missing of `tree` could not be fetched a moment ago.
pub(super) fn put_off(case: &Case<'_>, tree: Digest) -> Option<(Duration, Reason)> {
    let trouble = case.app.memory.trouble.as_ref().filter(|trouble| trouble.tree == tree)?;
    let whole = poll::backoff(FETCH_AGAIN, trouble.tries, case.device.seed);
    let again = (trouble.at + whole).saturating_sub(case.now.boot);
    let message = trouble.message.clone();
    let reason = match trouble.kind {
        TroubleKind::Unavailable => Reason::Unavailable { message },
        TroubleKind::Network | TroubleKind::Content | TroubleKind::Disk => Reason::Fetch { message },
    };
    (!again.is_zero()).then_some((again, reason))
}
