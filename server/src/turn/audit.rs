//! Who changed what when: `audit.jsonl` in the state directory, one line per event, only ever appended to.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidelock_protocol::desired::Desired;
use tidelock_protocol::names::EnvironmentName;
use tidelock_protocol::time::Timestamp;

use super::Error;
use super::glass::Glass;
use super::views::{Rewrite, Taken, View, Views};

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

    /// Records what was published.
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
