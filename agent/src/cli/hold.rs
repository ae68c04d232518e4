//! `hold`, `pin` and `resume`: a person stops an app or the whole device for some time, keeps an app on a release, and
//! lets them go on.
//!
//! Never here: what a stop means (`decide`).

use std::collections::BTreeMap;

use tidelock_protocol::names::{AppName, Version};

use super::arguments::{Scope, Stop};
use super::ask::{Whose, carry_out, may_change};
use super::say;
use super::session::{Failure, Session, Status, person};
use crate::decide::model::{Hold, Pin, Setup, Until};
use crate::io::activate;
use crate::io::journal::Journal;
use crate::look;
use crate::turn::Publisher;

/// Stops an app, or everything, for some time.
pub(super) fn hold(session: &Session, what: &Scope, stop: Stop) -> Result<Status, Failure> {
    may_change(session)?;
    let (site, app) = (&session.site, what.app());
    let now = Publisher::peek(site)?.now();
    let Stop { owner, reason, time } = stop;
    let wish = Hold { owner: owner.unwrap_or_else(person), reason, until: Until::after(now, time) };
    let kept = || match app {
        Some(app) => site.journal.read(app).hold,
        None => site.journal.hold(&mut Vec::new()),
    };
    // Whoever has the lock may just have dropped an older one, and this one with it.
    for _ in 0..2 {
        site.journal.ask_hold(app, &wish)?;
        carry_out(session, Whose::Anybodys, || {
            let apps = app.map_or_else(|| look::apps(site), |app| Ok([app.clone()].into()))?;
            Ok(apps.iter().all(|app| is_told(&site.journal, app, "hold")))
        })?;
        if kept().as_ref() == Some(&wish) {
            break;
        }
    }
    say(&format!(
        "{what} is held until {}; `tidelock resume {}` ends it\n",
        wish.until.wall,
        what.argument()
    ));
    Ok(Status::Done)
}

/// Keeps an app on a release that passed here, or that the environment wants.
pub(super) fn pin(
    session: &Session,
    app: &AppName,
    version: &Version,
    stop: Stop,
) -> Result<Status, Failure> {
    may_change(session)?;
    let site = &session.site;
    let publisher = Publisher::peek(site)?;
    let Stop { owner, reason, time } = stop;
    let until = Until::after(publisher.now(), time);
    let known = known(session, &publisher, app);
    let named = |setup: &&Setup| setup.version.as_ref() == Some(version);
    let Some(setup) = known.iter().find(named).cloned() else {
        let names: Vec<&str> =
            known.iter().filter_map(|setup| Some(setup.version.as_ref()?.as_str())).collect();
        let names = if names.is_empty() { "nothing did".to_owned() } else { names.join(", ") };
        return Err(Failure::Refused(format!(
            "{app} {version} neither passed here nor is wanted by the environment; what did: {names}"
        )));
    };
    let wish = Pin { setup, owner: owner.unwrap_or_else(person), reason, until };
    for _ in 0..2 {
        site.journal.ask_pin(app, &wish)?;
        carry_out(session, Whose::Anybodys, || {
            let there = activate::current(&site.paths, app)? == Some(wish.setup.tree);
            Ok(there || is_told(&site.journal, app, "pin"))
        })?;
        if site.journal.read(app).pin.as_ref() == Some(&wish) {
            break;
        }
    }
    let (setup, until) = (&wish.setup, until.wall);
    say(&format!("{app} is kept on {setup} until {until}; `tidelock resume {app}` ends it\n"));
    Ok(Status::Done)
}

/// Lets an app, or everything, go on.
pub(super) fn resume(session: &Session, what: &Scope) -> Result<Status, Failure> {
    may_change(session)?;
    let (site, app) = (&session.site, what.app());
    let journal = &site.journal;
    journal.end_hold(app)?;
    if let Some(app) = app {
        journal.end_pin(app)?;
    }
    let told = |app: &AppName| journal.told().why.get(app).map(|reason| reason.code.clone());
    let before = look::apps(site)?;
    let stopped = |app: &AppName| matches!(told(app).as_deref(), Some("hold" | "pin"));
    let moved = carry_out(session, Whose::Anybodys, || {
        // What something else still holds stays told as it was.
        let device = look::device(site, &BTreeMap::new())?.0;
        let free = |app: &AppName| {
            let left = device.apps.get(app);
            !stopped(app)
                || left.is_some_and(|left| device.hold.is_some() || left.hold.is_some() || left.pin.is_some())
        };
        Ok(app.map_or_else(|| before.iter().all(free), free))
    });
    moved?;
    let now = Publisher::peek(site)?.now();
    let device = look::device(site, &BTreeMap::new())?.0;
    let mut text = format!("{what} may go on\n");
    for (name, left) in device.apps.iter().filter(|(name, _)| app.is_none_or(|app| app == *name)) {
        if let Some(hold) = device.hold_on(left, now) {
            text += &format!(
                "{name} is still held by {} until {}: {}\n",
                hold.owner, hold.until.wall, hold.reason
            );
        }
    }
    say(&text);
    Ok(Status::Done)
}

/// Whether the agent has said of `app` that this is why it stays, or has it in trial, which goes to its verdict.
fn is_told(journal: &Journal, app: &AppName, code: &str) -> bool {
    journal.read(app).trial.is_some() || journal.told().why.get(app).is_some_and(|reason| reason.code == code)
}

/// What `app` may be kept on: what passed here, the newest first, and what the environment wants.
fn known(session: &Session, publisher: &Publisher, app: &AppName) -> Vec<Setup> {
    let site = &session.site;
    let committed = site.journal.read(app).committed.into_iter().map(|committed| committed.setup);
    let desired = publisher.manifest().map(|manifest| &manifest.desired);
    let choice = desired.and_then(|desired| desired.choose(app, &site.settings.labels));
    let wanted = choice.and_then(|choice| {
        let (_, build) = choice.stable.build_for(&site.platform)?;
        Some(Setup { tree: build.tree, tuning: choice.tuning, version: Some(choice.stable.version.clone()) })
    });
    committed.chain(wanted).collect()
}

impl Scope {
    fn app(&self) -> Option<&AppName> {
        match self {
            Self::App(app) => Some(app),
            Self::All => None,
        }
    }

    fn argument(&self) -> &str {
        self.app().map_or("--all", AppName::as_str)
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.app().map_or("this device", AppName::as_str))
    }
}
