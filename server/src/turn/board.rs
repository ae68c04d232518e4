//! What pipelines may know of the fleet repository, as the last turn saw it.
//!
//! Never here: what they hand in, or what is published (`desk`).

use std::collections::{BTreeMap, BTreeSet};

use tidelock_protocol::names::{AppName, EnvironmentName};

use super::outcome::{Cause, Stopped};
use super::views::{Taken, Views};
use crate::config::{Origin, Owner};
use crate::publish::Waiting;

/// Who may say what, as the last turn saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Board {
    /// The environments and their owners.
    pub environments: BTreeMap<EnvironmentName, Owner>,
    /// The apps whose releases are registered by CI.
    pub registered: Vec<AppName>,
    /// The heads that environments took, published anew or not: a commit may change nothing of one.
    pub taken: BTreeMap<EnvironmentName, String>,
    /// The heads that environments do not take until somebody acts.
    pub not_taken: BTreeMap<EnvironmentName, NotTaken>,
}

/// A commit that is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotTaken {
    /// The commit.
    pub commit: String,
    /// Why, for a person.
    pub why: String,
}

impl Board {
    pub(super) fn of(views: &Views, stopped: &[Stopped], waiting: &[Waiting]) -> Self {
        let environments = views.fleet.environments.iter().map(|(name, rules)| (name.clone(), rules.owner));
        let apps = views.environments.iter().flat_map(|view| &view.apps).chain(&views.apps);
        let registered =
            apps.filter(|(_, app)| app.origin == Origin::Registered).map(|(name, _)| name.clone());
        let mut registered: Vec<AppName> = registered.collect();
        registered.sort();
        registered.dedup();
        // What only waits for its time needs nobody.
        let for_good = stopped.iter().filter(|stopped| !matches!(stopped.cause, Cause::Unsoaked(_)));
        let not_taken = for_good.map(|stopped| {
            (stopped.environment.clone(), NotTaken { commit: stopped.to.clone(), why: stopped.to_string() })
        });
        let took = views.environments.iter().filter(|view| matches!(view.taken, Taken::Yes { .. }));
        let stops = stopped.iter().map(|stopped| &stopped.environment);
        let waits: BTreeSet<_> = stops.chain(waiting.iter().map(|one| &one.desired.environment)).collect();
        let took = took.filter(|view| !waits.contains(&view.environment));
        let taken = took.map(|view| (view.environment.clone(), view.commit.id.to_string()));
        Self {
            environments: environments.collect(),
            registered,
            taken: taken.collect(),
            not_taken: not_taken.collect(),
        }
    }

    /// The same, where no environment of Git's takes the commit `head`, which says something wrong.
    #[must_use]
    pub(super) fn without(mut self, head: &str, why: &str) -> Self {
        let of_git = self.environments.iter().filter(|(_, owner)| **owner == Owner::Git);
        let not_taken = || NotTaken { commit: head.to_owned(), why: why.to_owned() };
        self.not_taken = of_git.map(|(name, _)| (name.clone(), not_taken())).collect();
        self
    }
}
