//! What each app of this device should be, or why it is left as it is.
//!
//! Never here: what is done about it (`next`), or whether a signature is good (`protocol`).

use std::collections::{BTreeMap, BTreeSet};

use tidelock_protocol::desired::{Build, Choice, Desired, KNOWN_NEEDS};
use tidelock_protocol::names::{AppName, LabelKey, Platform, Version};
use tidelock_protocol::time::Now;

use super::model::{App, Device, File, Goal, Offer, Reason, Refusal, Setup, Want, Wanted};

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
pub fn entering<'a>(desired: &'a Desired, me: Me<'_>, device: &Device) -> BTreeMap<AppName, Entering<'a>> {
    let absent = App::default();
    let entering = |name: &AppName| {
        let choice = desired.choose(name, me.labels)?;
        let (platform, build) = choice.stable.build_for(me.platform)?;
        let setup = Setup { tree: build.tree, tuning: choice.tuning, version: None };
        let app = device.apps.get(name).unwrap_or(&absent);
        let is = app.standing().is_some_and(|standing| standing.setup.is(&setup))
            || app.trial.as_ref().is_some_and(|trial| trial.to.is(&setup));
        let refused = refused(app, &setup, choice.retry).is_some();
        (!is && !refused).then_some(Entering { version: &choice.stable.version, platform, build })
    };
    desired.apps.keys().filter_map(|name| Some((name.clone(), entering(name)?))).collect()
}

/// What each app should be: those that the environment names, and those that are on the device.
pub fn want(signed: Option<Signed<'_>>, me: Me<'_>, device: &Device, now: Now) -> Wanted {
    let named = signed.iter().flat_map(|signed| signed.desired.apps.keys());
    let names: BTreeSet<&AppName> = named.chain(device.apps.keys()).collect();
    let absent = App::default();
    let of = |name: &AppName| {
        let Some(signed) = signed else { return Want::Stay { reason: Reason::NoManifest, retry: 0 } };
        let Some(choice) = signed.desired.choose(name, me.labels) else {
            return Want::Stay { reason: Reason::NotWanted, retry: 0 };
        };
        let app = device.apps.get(name).unwrap_or(&absent);
        goal(choice, signed, name, me, app, now)
    };
    names.into_iter().map(|name| (name.clone(), of(name))).collect()
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
    let goal = Goal { setup, index, bundle: offer.map(|offer| offer.bundle.clone()), retry: choice.retry };
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
    if let (None, Some(message)) = (offer, signed.unanswered.get(name)) {
        return stay(Reason::Fetch { message: message.clone() });
    }
    if offer.is_none() {
        return stay(Reason::Disagreed { wanted: goal.setup });
    }
    match (signed.expired, now.trusted) {
        (false, _) => Want::Be(goal),
        (true, true) => stay(Reason::Expired),
        (true, false) => stay(Reason::Clock),
    }
}

/// A refusal holds until the setup changes, the signed retry counter rises, or a person forgets it.
fn refused<'a>(app: &'a App, setup: &Setup, retry: u64) -> Option<&'a Refusal> {
    let same = app.refusals.iter().find(|refusal| refusal.setup.is(setup))?;
    (retry <= same.retry).then_some(same)
}
