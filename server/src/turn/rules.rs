//! `fleet.toml` as the publish room needs it.

use std::num::NonZeroU32;

use tidelock_protocol::names::AppName;

use super::views::Views;
use crate::config::Role;
use crate::publish::{Published, Rule, Rules};

/// Who may sign what.
pub(super) fn of(views: &Views, published: &Published) -> Rules {
    let fleet = &views.fleet;
    // An app is the fleet's while any branch has it or any published environment wants it: a branch that is stopped
    // must not retire its apps.
    let written = views.environments.iter().flat_map(|view| view.apps.keys()).chain(views.apps.keys());
    let wanted = published.desired.values().flat_map(|desired| desired.apps.keys());
    let apps = written.chain(wanted).chain(fleet.apps.keys());
    let of_app = |app: &AppName| rule(fleet.apps.get(app).unwrap_or(&fleet.app));
    Rules {
        root: rule(&fleet.root),
        snapshot: rule(&fleet.snapshot),
        timestamp: rule(&fleet.timestamp),
        resign: fleet.resign,
        rollout: rule(&fleet.rollout),
        environments: fleet.environments.iter().map(|(name, of)| (name.clone(), rule(&of.role))).collect(),
        apps: apps.map(|app| (app.clone(), of_app(app))).collect(),
        retained: fleet.retained,
    }
}

fn rule(role: &Role) -> Rule {
    let threshold = NonZeroU32::new(role.threshold).unwrap_or(NonZeroU32::MIN);
    Rule { keys: role.keys.clone(), threshold, life: role.life }
}
