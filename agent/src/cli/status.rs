//! `status` and `why`: what runs here, whether it is what is wanted, and what the agent last said about it.
//!
//! Two axes that say nothing of each other: sync (is it what is wanted) and health (does it do well). Never here: a
//! change, or a question to the publisher.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tidelock_protocol::desired::Desired;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;
use tidelock_protocol::time::{Now, Timestamp};

use super::say;
use super::session::{Failure, Session, Status};
use crate::config::Mode;
use crate::decide::model::{App, Device, Hold, Outcome, Run};
use crate::io::journal::{Told, ToldReason};
use crate::io::refresh::Reset;
use crate::look::{self, Site};
use crate::turn::Publisher;

/// Grows when a reader of the last format would misread the next.
const FORMAT: u32 = 1;

/// Everything that `status --json` says.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) format: u32,
    pub(super) device: String,
    pub(super) environment: String,
    pub(super) url: String,
    pub(super) platform: String,
    pub(super) mode: &'static str,
    /// Whether what was trusted got lost, and no walk has mended it yet.
    pub(super) trust_lost: bool,
    /// Who had trust begun anew and why, until a walk has been completed.
    pub(super) trust_reset: Option<Reset>,
    /// Whether a time service keeps the clock; if not, times are what signatures say has certainly passed.
    pub(super) clock_trusted: bool,
    pub(super) desired: Option<DesiredReport>,
    /// A person's stop of everything.
    pub(super) hold: Option<Stopped>,
    /// The last poll of this boot.
    pub(super) polled: Option<Polled>,
    pub(super) apps: BTreeMap<AppName, AppReport>,
}

#[derive(Serialize)]
pub(super) struct DesiredReport {
    pub(super) serial: u64,
    pub(super) commit: String,
    pub(super) author: String,
    pub(super) subject: String,
    pub(super) expires: Timestamp,
    pub(super) expired: bool,
}

#[derive(Serialize)]
pub(super) struct Polled {
    pub(super) at: Timestamp,
    /// What kept it from an answer.
    pub(super) error: Option<String>,
}

#[derive(Serialize)]
pub(super) struct AppReport {
    pub(super) sync: Sync,
    pub(super) health: Health,
    pub(super) current: Option<Named>,
    pub(super) wanted: Option<Named>,
    /// A person's stop of it.
    pub(super) hold: Option<Stopped>,
    /// A person's choice of what it is.
    pub(super) pin: Option<Pinned>,
    /// What the agent last said in this boot.
    pub(super) reason: Option<ToldReason>,
}

/// What a person set up, until when.
#[derive(Serialize)]
pub(super) struct Stopped {
    pub(super) owner: String,
    pub(super) reason: String,
    pub(super) until: Timestamp,
}

#[derive(Serialize)]
pub(super) struct Pinned {
    #[serde(flatten)]
    pub(super) release: Named,
    #[serde(flatten)]
    pub(super) stopped: Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::enum_variant_names, reason = "these are the words of the design")]
pub(super) enum Sync {
    Synced,
    OutOfSync,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Health {
    Healthy,
    Progressing,
    Degraded,
    Suspended,
    Missing,
}

#[derive(Serialize)]
pub(super) struct Named {
    pub(super) tree: Digest,
    pub(super) version: Option<String>,
}

/// Says what runs here and whether it is what is wanted.
pub(super) fn status(session: &Session, json: bool) -> Result<Status, Failure> {
    let report = report(&session.site)?;
    if json {
        say(&report.json());
        return Ok(Status::Done);
    }
    let mut text = format!(
        "device {} of environment {} ({}), {} mode\n{}\n",
        report.device, report.environment, report.platform, report.mode, report.url
    );
    if report.trust_lost {
        text += "trust-lost: what was trusted could not be read; the next complete poll mends it\n";
    }
    if let Some(Reset { at, by, reason }) = &report.trust_reset {
        text += &format!(
            "trust-reset: {by} had trust begin again {at}: {reason}; the next complete poll ends this\n"
        );
    }
    if !report.clock_trusted {
        text += "the clock is not synchronised: times below are at least what they say\n";
    }
    match &report.desired {
        None => text += "no verified desired state yet\n",
        Some(found) => {
            let expiry = if found.expired { "EXPIRED" } else { "expires" };
            let commit: String = found.commit.chars().take(12).collect();
            text += &format!(
                "wants {} from {commit} {:?} ({expiry} {})\n",
                found.serial, found.subject, found.expires
            );
        }
    }
    match &report.polled {
        None => text += "not polled since boot\n",
        Some(Polled { at, error: None }) => text += &format!("polled {at}\n"),
        Some(Polled { at, error: Some(error) }) => text += &format!("poll failed {at}: {error}\n"),
    }
    if let Some(hold) = &report.hold {
        text += &format!("everything is held {hold}\n");
    }
    for (app, found) in &report.apps {
        let name = |named: &Option<Named>| named.as_ref().map_or_else(|| "-".into(), Named::short);
        let (sync, health) = (found.sync.word(), found.health.word());
        text += &format!("{app:12} {sync:9} {health:11} {}", name(&found.current));
        if found.sync == Sync::OutOfSync {
            text += &format!(" -> {}", name(&found.wanted));
        }
        if let Some(reason) = found.reason.as_ref().filter(|reason| reason.code != "synced") {
            text += &format!("  {}: {}", reason.code, first_line(&reason.text));
        }
        text += "\n";
        if let Some(hold) = &found.hold {
            text += &format!("  held {hold}\n");
        }
        if let Some(Pinned { release, stopped }) = &found.pin {
            text += &format!("  pinned to {} {stopped}\n", release.short());
        }
    }
    say(&text);
    Ok(Status::Done)
}

impl Report {
    /// The JSON that programs read.
    pub(super) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

impl Sync {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Synced => "Synced",
            Self::OutOfSync => "OutOfSync",
            Self::Unknown => "Unknown",
        }
    }
}

impl Health {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::Suspended => "Suspended",
            Self::Missing => "Missing",
        }
    }
}

/// Says why each app, or `only` that one, is where it is.
pub(super) fn why(session: &Session, only: Option<&AppName>) -> Result<Status, Failure> {
    let site = &session.site;
    let (device, unreadable) = look::device(site, &BTreeMap::new())?;
    let publisher = Publisher::peek(site)?;
    let told = site.journal.told();
    let names: BTreeSet<&AppName> = device.apps.keys().chain(told.why.keys()).collect();
    if let Some(app) = only.filter(|app| !names.contains(app)) {
        return Err(Failure::Refused(format!("nothing is known of an app {app} here")));
    }
    let mut text = String::new();
    for name in names.into_iter().filter(|name| only.is_none_or(|only| only == *name)) {
        match told.why.get(name) {
            Some(reason) => text += &format!("{name}: {}: {}\n", reason.code, reason.text),
            None => text += &format!("{name}: no turn since boot\n"),
        }
        if let Some(app) = device.apps.get(name) {
            text += &story(app, publisher.now());
        }
        let running = site.journal.running(name);
        for (check, said) in running.said {
            let word = if said.outcome == Outcome::Passed { "passed" } else { "failed" };
            text += &format!("  {check} {word}: {}\n", said.output.replace('\n', "\n    "));
        }
    }
    for record in unreadable {
        text += &format!("unreadable: {}: {}\n", record.path.display(), record.problem);
    }
    say(&text);
    Ok(Status::Done)
}

/// What the records say of an app.
fn story(app: &App, now: Now) -> String {
    let mut text = String::new();
    if let Some(hold) = held(app.hold.as_ref(), now) {
        text += &format!("  held {hold}\n");
    }
    if let Some(pin) = app.pin_at(now) {
        text +=
            &format!("  pinned to {} until {} by {}: {}\n", pin.setup, pin.until.wall, pin.owner, pin.reason);
    }
    if let Some(trial) = &app.trial {
        text += &format!("  in trial: {} (start {})\n", trial.to, trial.starts);
    }
    for committed in &app.committed {
        text += &format!("  passed {}: {}\n", committed.at, committed.setup);
    }
    if let Some(drift) = &app.drift {
        let first = drift.first.iter().map(|one| format!("\n    {one}")).collect::<String>();
        let (at, tree, differing) = (drift.at, drift.tree.short(), drift.differing);
        text += &format!("  hashed {at}: tree {tree}: {differing} entries differ{first}\n");
    }
    if let Some(setback) = &app.setback {
        text += &format!(
            "  no verdict {}, try {}: {}: {}\n",
            setback.at, setback.tries, setback.setup, setback.cause
        );
    }
    for refusal in &app.refusals {
        let ground = refusal.ground.to_string().replace('\n', "\n    ");
        text += &format!("  refused {}: {}: {ground}\n", refusal.at, refusal.setup);
    }
    text
}

/// Everything that is known of this device, from its disk alone.
pub(super) fn report(site: &Site) -> Result<Report, Failure> {
    let publisher = Publisher::peek(site)?;
    let (device, _) = look::device(site, &BTreeMap::new())?;
    let Told { polled, why } = site.journal.told();
    let now = publisher.now();
    let manifest = publisher.manifest();
    let desired = manifest.map(|manifest| &manifest.desired);
    let wanted_names = desired.iter().flat_map(|desired| desired.apps.keys());
    let wanted_here = wanted_names
        .filter(|app| desired.is_some_and(|all| all.choose(app, &site.settings.labels).is_some()));
    let names: BTreeSet<&AppName> = wanted_here.chain(device.apps.keys()).collect();
    let told = |name: &AppName| why.get(name).cloned();
    let apps =
        names.into_iter().map(|name| (name.clone(), app(site, desired, name, &device, now, told(name))));
    Ok(Report {
        format: FORMAT,
        device: site.id.to_string(),
        environment: site.settings.environment.to_string(),
        url: site.settings.connection.url.clone(),
        platform: site.platform.to_string(),
        mode: if site.settings.mode == Mode::Observe { "observe" } else { "apply" },
        trust_lost: publisher.is_lost(),
        trust_reset: publisher.was_reset().cloned(),
        clock_trusted: now.trusted,
        desired: manifest.map(|manifest| DesiredReport {
            serial: manifest.desired.serial,
            commit: manifest.desired.source.commit.clone(),
            author: manifest.desired.source.author.clone(),
            subject: manifest.desired.source.subject.clone(),
            expires: manifest.expires,
            expired: manifest.expires <= now.wall,
        }),
        hold: held(device.hold.as_ref(), now),
        polled: polled.map(|(at, error)| Polled { at, error }),
        apps: apps.collect(),
    })
}

fn app(
    site: &Site,
    desired: Option<&Desired>,
    name: &AppName,
    device: &Device,
    now: Now,
    reason: Option<ToldReason>,
) -> AppReport {
    let absent = App::default();
    let app = device.apps.get(name).unwrap_or(&absent);
    let suspended = device.hold_on(app, now).is_some();
    let choice = desired.and_then(|desired| desired.choose(name, &site.settings.labels));
    let wanted = choice.and_then(|choice| {
        let (_, build) = choice.stable.build_for(&site.platform)?;
        Some((build.tree, choice.tuning, choice.stable.version.to_string()))
    });
    let standing = app.standing().map(|standing| (standing.setup.tree, standing.setup.tuning));
    let drift = app.drift.as_ref().filter(|drift| Some(drift.tree) == app.current);
    let is_adrift = drift.is_some_and(|drift| drift.differing > 0);
    let sync = match (desired, choice, &wanted) {
        (None, ..) => Sync::Unknown,
        // What the environment does not name is left alone.
        (_, None, _) => Sync::Synced,
        _ if is_adrift => Sync::OutOfSync,
        (_, _, Some((tree, tuning, _))) if standing == Some((*tree, *tuning)) => Sync::Synced,
        _ => Sync::OutOfSync,
    };
    let health = match (app.current, &app.run) {
        (None, _) => Health::Missing,
        _ if app.trial.is_some() || app.in_trial_without_record().is_some() => Health::Progressing,
        _ if app.is_unwell() => Health::Degraded,
        (Some(current), Run::Started { tree, .. }) if *tree == current && suspended => Health::Suspended,
        (Some(current), Run::Started { tree, .. }) if *tree == current => Health::Healthy,
        _ => Health::Degraded,
    };
    let current = app.current.map(|tree| Named { tree, version: version_of(app, &tree) });
    let wanted = wanted.map(|(tree, _, version)| Named { tree, version: Some(version) });
    let pin = app.pin_at(now).map(|pin| Pinned {
        release: Named { tree: pin.setup.tree, version: pin.setup.version.as_ref().map(ToString::to_string) },
        stopped: Stopped { owner: pin.owner.clone(), reason: pin.reason.clone(), until: pin.until.wall },
    });
    AppReport { sync, health, current, wanted, hold: held(app.hold.as_ref(), now), pin, reason }
}

/// A person's stop that is not over.
fn held(hold: Option<&Hold>, now: Now) -> Option<Stopped> {
    let Hold { owner, reason, until } = hold.filter(|hold| !hold.until.is_over(now))?.clone();
    Some(Stopped { owner, reason, until: until.wall })
}

/// What people call a tree, as far as a record says so.
fn version_of(app: &App, tree: &Digest) -> Option<String> {
    let trial = app.trial.iter().flat_map(|trial| [Some(&trial.to), trial.from.as_ref()]).flatten();
    let known = trial.chain(app.committed.iter().map(|committed| &committed.setup));
    known.filter(|setup| setup.tree == *tree).find_map(|setup| Some(setup.version.as_ref()?.to_string()))
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "until {} by {}: {}", self.until, self.owner, self.reason)
    }
}

impl Named {
    fn short(&self) -> String {
        match &self.version {
            Some(version) => format!("{version} ({})", self.tree.short()),
            None => format!("tree {}", self.tree.short()),
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
