//! Who may sign what, and for how long: the values of `fleet.toml` as this room needs them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use tidelock_protocol::keys::{KeyId, PublicKey};
use tidelock_protocol::names::{AppName, EnvironmentName};
use tidelock_protocol::roles::{Delegation, RoleKeys};

/// Who signs a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// People's names for the keys, and the keys.
    pub keys: BTreeMap<String, PublicKey>,
    /// How many of them must sign.
    pub threshold: NonZeroU32,
    /// How long a signature lives.
    pub life: Duration,
}

/// Who signs each role of one fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Root and targets.
    pub root: Rule,
    /// `snapshot`
    pub snapshot: Rule,
    /// `timestamp`
    pub timestamp: Rule,
    /// How long after a timestamp the next one is signed.
    pub resign: Duration,
    /// Every `rollout.<env>`.
    pub rollout: Rule,
    /// `env.<env>`, for every environment of the fleet.
    pub environments: BTreeMap<EnvironmentName, Rule>,
    /// `app.<app>`, for every app of the fleet.
    pub apps: BTreeMap<AppName, Rule>,
    /// How many of an app's newest releases its role names, besides those that an environment names.
    pub retained: usize,
}

impl Rule {
    /// The keys by their ids.
    pub(super) fn by_id(&self) -> BTreeMap<KeyId, PublicKey> {
        self.keys.values().map(|key| (key.key_id(), key.clone())).collect()
    }

    /// As root writes it.
    pub(super) fn role_keys(&self) -> RoleKeys {
        RoleKeys { keyids: self.by_id().into_keys().collect(), threshold: self.threshold }
    }
}

impl Rules {
    /// Every delegated role that these rules name: its delegation and its rule.
    pub(super) fn delegated(&self) -> BTreeMap<String, (Delegation, &Rule)> {
        let environments = self.environments.iter().map(|(name, rule)| (format!("env.{name}"), true, rule));
        let rollouts = self.environments.keys().map(|name| (format!("rollout.{name}"), false, &self.rollout));
        let apps = self.apps.iter().map(|(name, rule)| (format!("app.{name}"), false, rule));
        let all = environments.chain(rollouts).chain(apps);
        all.map(|(name, terminating, rule)| (name.clone(), (delegation(name, terminating, rule), rule)))
            .collect()
    }

    /// What people call the key `id`; its id where these rules do not know it.
    pub(super) fn name_of(&self, id: &KeyId) -> String {
        let rules = [&self.root, &self.snapshot, &self.timestamp, &self.rollout];
        let all = rules.into_iter().chain(self.environments.values()).chain(self.apps.values());
        let mut keys = all.flat_map(|rule| &rule.keys);
        keys.find(|(_, key)| key.key_id() == *id).map_or_else(|| id.to_string(), |(name, _)| name.clone())
    }
}

/// A role may sign only what begins with its own name and a dot; no name holds a dot, so no pattern covers another's.
fn delegation(name: String, terminating: bool, rule: &Rule) -> Delegation {
    let RoleKeys { keyids, threshold } = rule.role_keys();
    let paths = Some(vec![format!("{name}.*")]);
    Delegation { name, keyids, threshold, terminating, paths, path_hash_prefixes: None }
}
