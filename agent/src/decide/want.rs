//! What each app of this device should be, or why it is left as it is.
//!
//! Never here: what is done about it (`next`), or whether a signature is good (`protocol`).

use std::collections::{BTreeMap, BTreeSet};

use tidelock_protocol::desired::{Build, Choice, Desired, KNOWN_NEEDS};
use tidelock_protocol::names::{AppName, LabelKey, Platform, Version};
use tidelock_protocol::time::Now;

use super::model::{App, Device, File, Files, Goal, Offer, Pin, Reason, Refusal, Setup, Want, Wanted};

#[cfg(test)]
mod tests;

/// What the repository says, verified.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// What the environment wants.
    pub desired: &'a Desired,
    /// Whether any role that it was reached through has expired.
    pub expired: bool,
    /// What the roles of the apps say of the wanted builds; missing where they name another index, or none.
    pub offers: &'a BTreeMap<AppName, Offer>,
    /// Apps whose roles could not be asked, with what kept them from it.
    pub unanswered: &'a BTreeMap<AppName, String>,
}

/// What the owner says that this device is.
#[derive(Clone, Copy, Debug)]
pub struct Me<'a> {
    /// Its platform.
    pub platform: &'a Platform,
    /// Its labels.
    pub labels: &'a BTreeMap<LabelKey, String>,
}

/// A build that the environment wants on this device, and that this device is not and does not try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entering<'a> {
    /// The release.
    pub version: &'a Version,
    /// The platform of the build, as the desired state keys it.
    pub platform: Platform,
    /// What the environment says of it.
    pub build: &'a Build,
}

/// The builds that this device may enter and has not begun to: what the roles of the apps are asked about.
pub fn entering<'a>(
    desired: &'a Desired,
    me: Me<'_>,
    device: &Device,
    now: Now,
) -> BTreeMap<AppName, Entering<'a>> {
    let absent = App::default();
    let entering = |name: &AppName| {
        let choice = desired.choose(name, me.labels)?;
        let (platform, build) = choice.stable.build_for(me.platform)?;
        let setup = Setup { tree: build.tree, tuning: choice.tuning, version: None };
        let app = device.apps.get(name).unwrap_or(&absent);
        let is = app.standing().is_some_and(|standing| standing.setup.is(&setup))
            || app.trial.as_ref().is_some_and(|trial| trial.to.is(&setup));
        let refused = refused(app, &setup, choice.retry).is_some();
        let held = device.hold_on(app, now).is_some();
        let pinned = app.pin_at(now).is_some_and(|pin| pin.setup.tree != setup.tree);
        (!is && !refused && !held && !pinned).then_some(Entering {
            version: &choice.stable.version,
            platform,
            build,
        })
    };
    desired.apps.keys().filter_map(|name| Some((name.clone(), entering(name)?))).collect()
}

/// What each app should be: those that the environment names, and those that are on the device.
pub fn want(signed: Option<Signed<'_>>, me: Me<'_>, device: &Device, now: Now) -> Wanted {
    let named = signed.iter().flat_map(|signed| signed.desired.apps.keys());
    let names: BTreeSet<&AppName> = named.chain(device.apps.keys()).collect();
    let absent = App::default();
    let of = |name: &AppName| {
        let app = device.apps.get(name).unwrap_or(&absent);
        let choice = signed.and_then(|signed| signed.desired.choose(name, me.labels));
        let retry = choice.map_or(0, |choice| choice.retry);
        let stay = |reason| Want::Stay { reason, retry };
        if let Some(hold) = device.hold_on(app, now) {
            return stay(Reason::Hold(hold.clone()));
        }
        if let Some(pin) = app.pin_at(now).filter(|pin| !is_named(choice, me, pin)) {
            return pinned(pin, app, retry).map_or_else(|| stay(Reason::Pin(pin.clone())), Want::Be);
        }
        match (signed, choice) {
            (None, _) => stay(Reason::NoManifest),
            (Some(signed), None) => unwanted(signed, app, now),
            (Some(signed), Some(choice)) => goal(choice, signed, name, me, app, now),
        }
    };
    names.into_iter().map(|name| (name.clone(), of(name))).collect()
}

/// What the environment does not name here: nothing, if it may be believed now; what is not here stays away anyhow.
fn unwanted(signed: Signed<'_>, app: &App, now: Now) -> Want {
    let stay = |reason| Want::Stay { reason, retry: 0 };
    // An app that was adopted is left alone until it was named once, so that adopting comes first.
    match (app.is_here() && !app.is_adopted(), signed.expired, now.trusted) {
        (false, ..) => stay(Reason::NotWanted),
        (true, false, _) => Want::Gone { prune: signed.desired.prune },
        (true, true, true) => stay(Reason::Expired),
        (true, true, false) => stay(Reason::Clock),
    }
}

/// Whether the environment wants just what a person keeps the app on: then all its rules count.
fn is_named(choice: Option<&Choice>, me: Me<'_>, pin: &Pin) -> bool {
    let build = choice.and_then(|choice| choice.stable.build_for(me.platform));
    build.is_some_and(|(_, build)| build.tree == pin.setup.tree)
}

/// What a pin leads back to: a setup that was committed here and is still sealed, as a person's own word. None: it is
/// there already, or cannot be had, and the app stays what it is.
fn pinned(pin: &Pin, app: &App, retry: u64) -> Option<Goal> {
    let there = app.standing().is_some_and(|standing| standing.setup.tree == pin.setup.tree);
    let committed = app.committed.iter().find(|committed| committed.setup.tree == pin.setup.tree)?;
    let sealed = app.sealed.contains(&pin.setup.tree);
    (sealed && !there).then(|| Goal { setup: committed.setup.clone(), files: None, retry })
}

/// The one release wanted, held against everything that may forbid to *enter* it. None of that makes an app leave
/// what it is.
fn goal(choice: &Choice, signed: Signed<'_>, name: &AppName, me: Me<'_>, app: &App, now: Now) -> Want {
    let stay = |reason| Want::Stay { reason, retry: choice.retry };
    let unknown: BTreeSet<String> =
        choice.needs.iter().filter(|word| !KNOWN_NEEDS.contains(&word.as_str())).cloned().collect();
    if !unknown.is_empty() {
        return stay(Reason::AgentTooOld { unknown });
    }
    let Some((_, build)) = choice.stable.build_for(me.platform) else {
        return stay(Reason::Platform { own: me.platform.clone() });
    };
    let version = Some(choice.stable.version.clone());
    let setup = Setup { tree: build.tree, tuning: choice.tuning, version };
    let index = &build.index;
    let index = File { name: index.name.clone(), length: index.length, sha256: index.sha256 };
    let offer = signed.offers.get(name).filter(|offer| offer.tree == build.tree && offer.index == index);
    let files = offer.map(|offer| Files { index, bundle: offer.bundle.clone() });
    let goal = Goal { setup, files, retry: choice.retry };
    if app.standing().is_some_and(|standing| standing.setup.is(&goal.setup)) {
        return Want::Be(goal);
    }
    if let Some(refusal) = refused(app, &goal.setup, goal.retry) {
        return stay(Reason::Refused(refusal.clone()));
    }
    let counter = offer.map(|offer| offer.counter);
    if let Some(counter) = counter.filter(|counter| *counter < choice.floor) {
        return stay(Reason::BelowFloor { counter, floor: choice.floor });
    }
    // What passed its trial here may be brought back with nobody's help.
    if app.committed_as(&goal.setup).is_some() && (counter.is_some() || choice.floor == 0) {
        return Want::Be(goal);
    }
    // Roles that have expired are why nobody answered, too.
    match (signed.expired, now.trusted) {
        (false, _) => {}
        (true, true) => return stay(Reason::Expired),
        (true, false) => return stay(Reason::Clock),
    }
    match (offer, signed.unanswered.get(name)) {
        (Some(_), _) => Want::Be(goal),
        (None, Some(message)) => stay(Reason::Fetch { message: message.clone() }),
        (None, None) => stay(Reason::Disagreed { wanted: goal.setup }),
    }
}

/// A refusal holds until the setup changes, the signed retry counter rises, or a person forgets it.
fn refused<'a>(app: &'a App, setup: &Setup, retry: u64) -> Option<&'a Refusal> {
    let same = app.refusals.iter().find(|refusal| refusal.setup.is(setup))?;
    (retry <= same.retry).then_some(same)
}
