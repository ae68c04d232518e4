//! Who changed what when: `audit.jsonl` in the state directory, one line per event, only ever appended to. A line is
//! written before what it tells: a turn that is killed in between tells it again, and nothing is done in silence.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidelock_protocol::desired::Desired;
use tidelock_protocol::names::{AppName, EnvironmentName};
use tidelock_protocol::time::Timestamp;

use super::Error;
use super::glass::Glass;
use super::views::{Rewrite, Taken, View, Views};
use crate::publish::Registration;
use crate::store::NewToken;

/// A release that is registered now: its app, what it is, and the token it came with.
pub(super) type NewlyRegistered<'a> = (&'a AppName, &'a Registration, Option<&'a str>);

/// The file.
pub(super) struct Audit {
    path: PathBuf,
}

impl Audit {
    pub(super) fn of(state: &Path) -> Self {
        Self { path: state.join("audit.jsonl") }
    }

    /// Records each rewritten history that was accepted, and the reason; before anything is signed from it.
    pub(super) fn rewrites(&self, views: &Views, now: Timestamp) -> Result<(), Error> {
        let events = views.environments.iter().filter_map(|View { environment, commit, taken, .. }| match taken {
            Taken::Yes { rewritten: Some(Rewrite { from, reason: Some(reason) }), .. } => Some(json!({
                "time": now, "event": "rewrite accepted", "environment": environment, "branch": commit.branch,
                "from": from, "to": commit.id.as_str(), "reason": reason,
            })),
            _ => None,
        });
        self.append(&events.collect::<Vec<_>>())
    }

    /// Records that the branch of `fleet.toml` was rewritten where no manifest says what it was before, and why that was
    /// accepted.
    pub(super) fn fleet_rewrite(&self, views: &Views, now: Timestamp) -> Result<(), Error> {
        let Some(Rewrite { from, reason: Some(reason) }) = &views.fleet_rewrite else { return Ok(()) };
        let commit = &views.fleet_commit;
        self.append(&[json!({
            "time": now, "event": "rewrite accepted", "branch": commit.branch, "from": from, "to": commit.id.as_str(),
            "reason": reason,
        })])
    }

    /// Records the releases that are registered now, and with which token they came; none: the publisher packed them.
    pub(super) fn registered(&self, new: &[NewlyRegistered<'_>], now: Timestamp) -> Result<(), Error> {
        let event = |(app, registration, token): &NewlyRegistered<'_>| {
            let Registration { version, platform, source, stored, .. } = registration;
            json!({
                "time": now, "event": "registered", "app": app, "version": version, "platform": platform,
                "tree": stored.tree, "source": source, "token": token,
            })
        };
        self.append(&new.iter().map(event).collect::<Vec<_>>())
    }

    /// Records that a token was made.
    pub(super) fn token_created(&self, token: &NewToken, now: Timestamp) -> Result<(), Error> {
        let NewToken { name, apps, environments, expires } = token;
        self.append(&[json!({
            "time": now, "event": "token created", "name": name, "apps": apps.0, "environments": environments.0,
            "expires": expires,
        })])
    }

    /// Records that a token was revoked.
    pub(super) fn token_revoked(&self, name: &str, now: Timestamp) -> Result<(), Error> {
        self.append(&[json!({ "time": now, "event": "token revoked", "name": name })])
    }

    /// Records what is published.
    pub(super) fn manifests(&self, manifests: &[Desired], now: Timestamp) -> Result<(), Error> {
        let event = |desired: &Desired| {
            let Desired { environment, serial, source, .. } = desired;
            json!({ "time": now, "event": "published", "environment": environment, "serial": serial, "source": source })
        };
        self.append(&manifests.iter().map(event).collect::<Vec<_>>())
    }

    /// Records that glass was broken, before it is.
    pub(super) fn glass(&self, glass: &Glass) -> Result<(), Error> {
        let Glass { environment, owner, reason, since, expires } = glass;
        self.append(&[json!({
            "time": since, "event": "glass broken", "environment": environment, "owner": owner, "reason": reason,
            "expires": expires,
        })])
    }

    /// Records what was published only because glass was broken.
    pub(super) fn unsoaked(
        &self,
        waived: &BTreeMap<EnvironmentName, String>,
        manifests: &[Desired],
        now: Timestamp,
    ) -> Result<(), Error> {
        let events = manifests.iter().filter_map(|desired| {
            let why = waived.get(&desired.environment)?;
            Some(json!({
                "time": now, "event": "published through broken glass", "environment": desired.environment,
                "serial": desired.serial, "although": why,
            }))
        });
        self.append(&events.collect::<Vec<_>>())
    }

    fn append(&self, events: &[Value]) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let failed = |source| Error::State { what: "append to", path: self.path.clone(), source };
        let text: String = events.iter().map(|event| format!("{event}\n")).collect();
        self.path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        let mut file = file.map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
    }
}
