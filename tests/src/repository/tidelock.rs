//! tidelock's own layout in a repository in memory: one environment, one app, releases of opaque bytes.

use std::collections::BTreeMap;

use serde_json::json;
use tidelock_protocol::desired::{Build, Choice, Desired, FORMAT, IndexTarget, Release, Source, Tuning};
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::{Platform, Version};
use tidelock_protocol::release::Mark;
use tidelock_protocol::time::Timestamp;

use super::{Repository, TOP};

impl Repository {
    /// Environment `prod` that wants release `1` of app `web`, everything published.
    pub fn tidelock() -> Self {
        let mut repository = Self::blank();
        repository.delegate("targets", "env.prod", &["env.prod.*"]);
        repository.delegation("targets", "env.prod")["terminating"] = json!(true);
        repository.delegate("targets", "app.web", &["app.web.*"]);
        repository.release("1");
        repository.publish(&["app.web", "env.prod"]);
        repository.publish(&TOP);
        repository
    }

    /// Registers a release of `web` for every platform and wants it in `prod`; nothing is published but the files.
    ///
    /// # Panics
    /// When `version` is none.
    pub fn release(&mut self, version: &str) {
        let version: Version = version.parse().unwrap();
        let counter = self["app.web"]["targets"].as_object().unwrap().len() as u64 / 2 + 1;
        let tree = Digest::of(version.as_str().as_bytes());
        let mark = Mark { tree, version: version.clone(), counter, source: "a commit".into() };
        let (index, bundle) = (format!("index of {version}"), format!("bundle of {version}"));
        let name = format!("app.web.{version}.any.index");
        self.target("app.web", &name, index.as_bytes())["custom"] = mark.to_custom();
        self.target("app.web", &format!("app.web.{version}.any.tar.gz"), bundle.as_bytes())["custom"] =
            mark.to_custom();
        let index = IndexTarget { name, length: index.len() as u64, sha256: Digest::of(index.as_bytes()) };
        let platforms = BTreeMap::from([(Platform::any(), Build { tree, index })]);
        self.want(|desired| {
            let choice = Choice {
                selector: BTreeMap::new(),
                stable: Release { version, platforms },
                tuning: Tuning::default(),
                retry: 0,
                floor: 0,
                needs: Default::default(),
            };
            desired.apps = BTreeMap::from([("web".parse().unwrap(), vec![choice])]);
        });
    }

    /// Changes what `prod` wants; the role is not published yet.
    ///
    /// # Panics
    /// When what it wanted before is no desired state.
    pub fn want(&mut self, change: impl FnOnce(&mut Desired)) {
        let named = self["env.prod"]["targets"]["env.prod.desired.json"]["hashes"]["sha256"].as_str();
        let mut desired = match named {
            Some(digest) => {
                serde_json::from_slice(&self.files[&format!("targets/{digest}.env.prod.desired.json")])
                    .unwrap()
            }
            None => Desired {
                format: FORMAT,
                environment: "prod".parse().unwrap(),
                serial: 0,
                source: source(),
                prune: false,
                apps: BTreeMap::new(),
            },
        };
        desired.serial += 1;
        change(&mut desired);
        self.target("env.prod", "env.prod.desired.json", &serde_json::to_vec(&desired).unwrap());
    }

    /// Publishes what changed in environment and app, and everything above.
    pub fn publish_release(&mut self) {
        self.publish(&["app.web", "env.prod", "snapshot", "timestamp"]);
    }

    /// What a tidelock publisher adds to its timestamp.
    pub fn sign_at(&mut self, at: Timestamp) {
        self["timestamp"]["x-tidelock-signed-at"] = json!(at);
        self["timestamp"]["x-tidelock-root"] = self["root"]["version"].clone();
    }
}

fn source() -> Source {
    let (commit, author, subject) = ("c".into(), "a".into(), "s".into());
    Source { commit, author, subject, branch: "main".into(), ..Source::default() }
}
