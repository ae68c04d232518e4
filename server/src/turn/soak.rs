//! Which environment was published with which trees since when: what `requires` and `soak` are judged by. One record in
//! the state directory; a lost one lets every soak begin anew.
//!
//! Never here: what devices committed: no report says that yet.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidelock_protocol::desired::{Build, Desired};
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::{AppName, EnvironmentName};
use tidelock_protocol::time::Timestamp;

use super::Error;
use super::glass::{Glass, broken};
use crate::config::{Fleet, Requires};
use crate::publish::{self, Published};

/// Most trees of one app in one environment that are remembered.
const MOST: usize = 500;

/// The record `published.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Soak {
    format: u32,
    environments: BTreeMap<EnvironmentName, BTreeMap<AppName, BTreeMap<Digest, Time>>>,
}

/// When a tree was what an environment is published with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Time {
    since: Timestamp,
    /// Still, where it does not say until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    /// The longest that it was, in seconds, before it left and came back.
    #[serde(default)]
    longest: u64,
}

impl Soak {
    /// The record of the state directory `state`; an unreadable one is none.
    pub(super) fn read(state: &Path) -> Self {
        let record =
            fs::read(place(state)).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        record.filter(|record| record.format == 1).unwrap_or_default()
    }

    /// Notes what is published now, and keeps it when that is news.
    pub(super) fn note(&self, published: &Published, state: &Path, now: Timestamp) -> Result<(), Error> {
        let mut next = self.clone();
        next.format = 1;
        for (environment, desired) in &published.desired {
            next.see(environment, desired, now);
        }
        if next == *self {
            return Ok(());
        }
        let failed = |source: serde_json::Error| Error::State {
            what: "write",
            path: place(state),
            source: source.into(),
        };
        let bytes = serde_json::to_vec(&next).map_err(failed)?;
        Ok(publish::replace(&place(state), &bytes)?)
    }

    fn see(&mut self, environment: &EnvironmentName, desired: &Desired, now: Timestamp) {
        let apps = self.environments.entry(environment.clone()).or_default();
        for (app, choices) in &desired.apps {
            let trees = apps.entry(app.clone()).or_default();
            for build in choices.iter().flat_map(|choice| choice.stable.platforms.values()) {
                let time = trees.entry(build.tree).or_insert(Time { since: now, until: None, longest: 0 });
                if time.until.is_some() {
                    *time = Time { since: now, until: None, longest: time.longest };
                }
            }
        }
        for (app, trees) in apps.iter_mut() {
            let wanted = desired.apps.get(app);
            let stays = |tree: &Digest| {
                let builds = wanted.into_iter().flatten().flat_map(|choice| choice.stable.platforms.values());
                builds.into_iter().any(|build| build.tree == *tree)
            };
            for (tree, time) in trees.iter_mut().filter(|(tree, time)| time.until.is_none() && !stays(tree)) {
                let _ = tree;
                time.longest = time.longest.max(now.since(time.since).as_secs());
                time.until = Some(now);
            }
            while trees.len() > MOST {
                let oldest = trees.iter().filter_map(|(tree, time)| Some((time.until?, *tree))).min();
                let Some((_, tree)) = oldest else { break };
                trees.remove(&tree);
            }
        }
    }

    /// What of `desired` its environment may not want yet: the app, the number of the choice, and why.
    pub(super) fn lacking<'a>(
        &self,
        desired: &'a Desired,
        rule: &Requires,
        now: Timestamp,
    ) -> Vec<(&'a AppName, usize, String)> {
        let mut lacking = Vec::new();
        for (app, choices) in &desired.apps {
            for (n, release) in choices.iter().map(|choice| &choice.stable).enumerate() {
                let lacks = |build| self.lacks(&desired.environment, rule, app, build, now);
                let why = release.platforms.values().find_map(lacks);
                lacking.extend(why.map(|why| (app, n, format!("{app} {}: {why}", release.version))));
            }
        }
        lacking
    }

    /// Why `environment` may not want this build yet; none: it may. What it was published with itself may always come
    /// back.
    fn lacks(
        &self,
        environment: &EnvironmentName,
        rule: &Requires,
        app: &AppName,
        build: &Build,
        now: Timestamp,
    ) -> Option<String> {
        let of = |environment: &EnvironmentName| {
            self.environments.get(environment)?.get(app)?.get(&build.tree).copied()
        };
        if of(environment).is_some() {
            return None;
        }
        let Requires { environment: first, soak } = rule;
        let Some(time) = of(first) else {
            return Some(format!("{first} was never published with it"));
        };
        let span = match time.until {
            None => now.since(time.since),
            Some(_) => Duration::ZERO,
        };
        let longest = span.max(Duration::from_secs(time.longest));
        if longest >= *soak {
            return None;
        }
        Some(match time.until {
            None => format!(
                "{first} is published with it since {}, and not before {} long enough",
                time.since,
                time.since.after(*soak)
            ),
            Some(until) => format!("{first} was published with it only from {} to {until}", time.since),
        })
    }
}

/// What waits for another environment, and what does not although it should.
#[derive(Default)]
pub(super) struct Held {
    /// The record it was judged by.
    pub(super) soak: Soak,
    /// Glass that is broken now.
    pub(super) glass: Vec<Glass>,
    /// Environments that stay where they are, and why.
    pub(super) back: BTreeMap<EnvironmentName, String>,
    /// Environments that would, were their glass not broken.
    pub(super) waived: BTreeMap<EnvironmentName, String>,
}

impl Held {
    /// Judges what environments want by the rules of `fleet`.
    pub(super) fn judge(
        state: &Path,
        fleet: &Fleet,
        wanted: &BTreeMap<EnvironmentName, Desired>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let mut held = Self { soak: Soak::read(state), glass: broken(state, now)?, ..Self::default() };
        for (environment, desired) in wanted {
            let Some(rule) = fleet.environments.get(environment).and_then(|rules| rules.requires.as_ref())
            else {
                continue;
            };
            let whys: Vec<String> =
                held.soak.lacking(desired, rule, now).into_iter().map(|(_, _, why)| why).collect();
            if whys.is_empty() {
                continue;
            }
            let is_broken = held.glass.iter().any(|glass| glass.environment == *environment);
            let into = if is_broken { &mut held.waived } else { &mut held.back };
            into.insert(environment.clone(), whys.join("; "));
        }
        Ok(held)
    }
}

/// Where the record lies, below the state directory `state`.
pub(super) fn place(state: &Path) -> PathBuf {
    state.join("published.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(tree: u8) -> Desired {
        let text = format!(
            r#"{{"format":1,"environment":"staging","serial":1,"source":{{}},"apps":{{"web":[{{"stable":{{"version":"1",
               "platforms":{{"any":{{"tree":"{0}","index":{{"name":"n","length":1,"sha256":"{0}"}}}}}}}}}}]}}}}"#,
            Digest::from([tree; 32])
        );
        Desired::parse(text.as_bytes(), &"staging".parse().unwrap()).unwrap()
    }

    fn build(tree: u8) -> Build {
        desired(tree).apps[&"web".parse().unwrap()][0].stable.platforms[&"any".parse().unwrap()].clone()
    }

    #[test]
    fn a_tree_soaks_while_it_is_published_and_what_was_long_enough_stays_so() {
        let (staging, prod): (EnvironmentName, EnvironmentName) =
            ("staging".parse().unwrap(), "prod".parse().unwrap());
        let rule = Requires { environment: staging.clone(), soak: Duration::from_secs(100) };
        let at = |second: i64| Timestamp::from_unix(1_800_000_000 + second);
        let web: AppName = "web".parse().unwrap();
        let mut soak = Soak::default();
        let lacks = |soak: &Soak, tree, second| soak.lacks(&prod, &rule, &web, &build(tree), at(second));
        assert!(lacks(&soak, 1, 0).unwrap().contains("never published"));
        soak.see(&staging, &desired(1), at(0));
        assert!(lacks(&soak, 1, 99).unwrap().contains("not before"));
        assert_eq!(lacks(&soak, 1, 100), None);
        soak.see(&staging, &desired(2), at(150));
        assert_eq!(lacks(&soak, 1, 500), None, "it was long enough");
        soak.see(&staging, &desired(3), at(160));
        assert!(lacks(&soak, 2, 9999).unwrap().contains("only from"));
        soak.see(&prod, &desired(2), at(170));
        assert_eq!(lacks(&soak, 2, 9999), None, "what was in prod may come back");
    }
}
