//! The desired state: what an environment wants, and its published form, the manifest `env.<env>.desired.json`.
//!
//! Never here: a command, hook, unit or path (nothing executable comes from the environment), or what a device makes
//! of it (the agent's `decide/want`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::limits;
use crate::names::{AppName, EnvironmentName, LabelKey, Platform, Version};
use crate::time::Timestamp;

/// The one format that this code reads and writes; another one applies nothing.
pub const FORMAT: u32 = 1;

/// Words of `needs` that this agent understands.
pub const KNOWN_NEEDS: [&str; 0] = [];

/// What an environment wants. Unknown members are ignored, so that old devices read what new servers write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Always [`FORMAT`].
    pub format: u32,
    /// The environment that this is of; it must be the device's own.
    pub environment: EnvironmentName,
    /// Grows with every change of this environment.
    pub serial: u64,
    /// Where it came from.
    pub source: Source,
    /// Whether a device deletes apps that are no longer wanted.
    #[serde(default)]
    pub prune: bool,
    /// Per app the choices, first matching `where` first; none matching: not wanted.
    pub apps: BTreeMap<AppName, Vec<Choice>>,
}

/// What a manifest was made from: the commit of a `git` environment, the pipeline and token of a `push` environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Full commit id.
    #[serde(default)]
    pub commit: String,
    /// `Name <mail>` of its author.
    #[serde(default)]
    pub author: String,
    /// When it was committed.
    #[serde(default)]
    pub time: Option<Timestamp>,
    /// First line of its message.
    #[serde(default)]
    pub subject: String,
    /// The branch it was read from.
    #[serde(default)]
    pub branch: String,
    /// Who signed the commit, where the publisher requires signed commits and verified it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub signer: String,
    /// The pipeline that pushed it, in its own words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pipeline: String,
    /// The name of the token that it was pushed with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
}

/// What one app should be on the devices that `selector` picks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Labels that a device must have, all of them; empty: every device.
    #[serde(rename = "where", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<LabelKey, String>,
    /// The release wanted.
    pub stable: Release,
    /// Numbers that the environment sets for this app's checks and hooks.
    #[serde(default, skip_serializing_if = "Tuning::is_empty")]
    pub tuning: Tuning,
    /// Raised to end the refusals of this release.
    #[serde(default)]
    pub retry: u64,
    /// Lowest `counter` of the app role that may be entered.
    #[serde(default)]
    pub floor: u64,
    /// Words that an agent must understand to touch this app; an unknown one leaves it alone.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub needs: BTreeSet<String>,
}

/// One immutable version of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its version.
    pub version: Version,
    /// Per platform, what to fetch.
    pub platforms: BTreeMap<Platform, Build>,
}

/// A release for one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The tree digest.
    pub tree: Digest,
    /// The index that must also stand in the app's role.
    pub index: IndexTarget,
}

/// The index of a build as both roles name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexTarget {
    /// Name of the target.
    pub name: String,
    /// Bytes as served.
    pub length: u64,
    /// SHA-256 of the bytes as served.
    pub sha256: Digest,
}

/// Numbers that override those of `release.toml`, each for all checks or hooks of the app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tuning {
    /// Seconds after the start in which a failing check is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<u32>,
    /// Seconds between two runs of a check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<u32>,
    /// Seconds after the start by which every check must have passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u32>,
    /// Passes in a row that a check needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successes: Option<u32>,
    /// Seconds that a hook may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
}

impl Tuning {
    /// Whether nothing is tuned.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The members that lie outside the bounds of [`limits::tuning`], by name.
    pub fn out_of_bounds(&self) -> Vec<&'static str> {
        use limits::tuning as bound;
        [
            ("grace", self.grace, bound::GRACE),
            ("interval", self.interval, bound::INTERVAL),
            ("deadline", self.deadline, bound::DEADLINE),
            ("successes", self.successes, bound::SUCCESSES),
            ("timeout", self.timeout, bound::TIMEOUT),
        ]
        .into_iter()
        .filter(|(_, value, bounds)| value.is_some_and(|value| !bounds.contains(&value)))
        .map(|(name, ..)| name)
        .collect()
    }
}

/// Why a manifest applies nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON of this shape.
    #[error("the desired state is not readable JSON of format {FORMAT}")]
    Unreadable(#[source] serde_json::Error),
    /// Written by a newer server.
    #[error("the desired state has format {found}; this agent reads format {FORMAT}: update the agent")]
    Format {
        /// The format it names.
        found: u64,
    },
    /// Signed by the right role, but of another environment.
    #[error("the desired state is of environment {found}, this device belongs to {expected}")]
    Environment {
        /// The environment it names.
        found: EnvironmentName,
        /// The environment asked for.
        expected: EnvironmentName,
    },
    /// A number outside its bounds.
    #[error("the desired state tunes {member} of app {app} to a number outside its bounds")]
    Bounds {
        /// The app.
        app: AppName,
        /// The member of its tuning.
        member: &'static str,
    },
}

impl Desired {
    /// Reads a verified manifest of `environment`.
    ///
    /// # Errors
    /// Another format, another environment, a tuning outside its bounds, or not this shape at all.
    pub fn parse(bytes: &[u8], environment: &EnvironmentName) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Peek {
            format: u64,
        }
        let Peek { format } = serde_json::from_slice(bytes).map_err(Error::Unreadable)?;
        if format != u64::from(FORMAT) {
            return Err(Error::Format { found: format });
        }
        let desired: Self = serde_json::from_slice(bytes).map_err(Error::Unreadable)?;
        if desired.environment != *environment {
            return Err(Error::Environment { found: desired.environment, expected: environment.clone() });
        }
        for (app, choices) in &desired.apps {
            if let Some(member) = choices.iter().flat_map(|choice| choice.tuning.out_of_bounds()).next() {
                return Err(Error::Bounds { app: app.clone(), member });
            }
        }
        Ok(desired)
    }

    /// The choice for a device with `labels`: the first whose selector matches; none: the app is not wanted there.
    pub fn choose(&self, app: &AppName, labels: &BTreeMap<LabelKey, String>) -> Option<&Choice> {
        let matches =
            |choice: &&Choice| choice.selector.iter().all(|(key, value)| labels.get(key) == Some(value));
        self.apps.get(app)?.iter().find(matches)
    }
}

impl Release {
    /// What a device of `platform` takes: the first of its own, those it can run, `any`.
    pub fn build_for(&self, platform: &Platform) -> Option<(Platform, &Build)> {
        platform.runnable().into_iter().find_map(|candidate| {
            let build = self.platforms.get(&candidate)?;
            Some((candidate, build))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The manifest of the format's documentation, as the first server wrote it.
    const RECORDED: &str = r#"{"format":1,"environment":"prod","serial":42,
     "source":{"commit":"9f2c1e7b","author":"A <a@example.org>","time":"2026-11-24T08:00:00Z","subject":"s","branch":"main"},
     "prune":false,"from-the-future":true,
     "apps":{"web":[
       {"where":{"site":"north"},"stable":{"version":"1.4.2","platforms":{"linux-arm64":{
          "tree":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
          "index":{"name":"app.web.1.4.2.linux-arm64.index","length":812,
                   "sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}}},
        "tuning":{"deadline":60},"retry":0,"floor":0,"needs":[]},
       {"stable":{"version":"1.4.1","platforms":{}}}]}}"#;

    fn prod() -> EnvironmentName {
        "prod".parse().unwrap()
    }

    #[test]
    fn the_recorded_manifest_is_read_and_its_first_match_wins() {
        let desired = Desired::parse(RECORDED.as_bytes(), &prod()).unwrap();
        let web = "web".parse().unwrap();
        let north = BTreeMap::from([("site".parse().unwrap(), "north".to_owned())]);
        assert_eq!(desired.choose(&web, &north).unwrap().stable.version.as_str(), "1.4.2");
        assert_eq!(desired.choose(&web, &BTreeMap::new()).unwrap().stable.version.as_str(), "1.4.1");
        assert!(desired.choose(&"db".parse().unwrap(), &north).is_none());
        let again = serde_json::to_vec(&desired).unwrap();
        assert_eq!(Desired::parse(&again, &prod()).unwrap(), desired);
    }

    /// What a server wrote for an environment that pipelines move, and one that asks for signed commits; then one of
    /// later, whose source says more.
    const SOURCES: [(&str, [&str; 3]); 3] = [
        (
            r#"{"commit":"","author":"","time":"2026-11-24T08:00:00Z","subject":"push of web 1.4.2","branch":"","pipeline":"https://ci.example.org/7","token":"ci"}"#,
            ["", "https://ci.example.org/7", "ci"],
        ),
        (
            r#"{"commit":"9f2c1e7b","author":"A <a@example.org>","time":"2026-11-24T08:00:00Z","subject":"s","branch":"main","signer":"ada@example.org"}"#,
            ["ada@example.org", "", ""],
        ),
        (r#"{"approved":{"by":["ada"]},"token":"ci"}"#, ["", "", "ci"]),
    ];

    #[test]
    fn what_later_servers_say_of_a_source_changes_nothing_for_a_device() {
        let (begin, end) = (RECORDED.find(r#"{"commit"#).unwrap(), RECORDED.find(r#""prune""#).unwrap());
        let plain = Desired::parse(RECORDED.as_bytes(), &prod()).unwrap();
        for (source, expected) in SOURCES {
            let text = format!("{}{source},\n{}", &RECORDED[..begin], &RECORDED[end..]);
            let desired = Desired::parse(text.as_bytes(), &prod()).unwrap();
            let Source { signer, pipeline, token, .. } = &desired.source;
            assert_eq!([signer, pipeline, token], expected);
            assert_eq!(Desired { source: plain.source.clone(), ..desired.clone() }, plain);
        }
        // A server writes them as recorded, and leaves out what there is nothing to say of.
        for (source, _) in &SOURCES[..2] {
            let read: Source = serde_json::from_str(source).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), *source);
        }
    }

    #[test]
    fn another_format_environment_or_bound_applies_nothing() {
        let parse = |text: &str| Desired::parse(text.as_bytes(), &prod());
        let other = RECORDED.replace(r#""format":1"#, r#""format":2"#);
        assert!(matches!(parse(&other), Err(Error::Format { found: 2 })));
        let other = RECORDED.replace(r#""environment":"prod""#, r#""environment":"staging""#);
        assert!(matches!(parse(&other), Err(Error::Environment { .. })));
        let other = RECORDED.replace(r#""deadline":60"#, r#""deadline":0"#);
        assert!(matches!(parse(&other), Err(Error::Bounds { member: "deadline", .. })));
        assert!(matches!(parse("{}"), Err(Error::Unreadable(_))));
    }
}
