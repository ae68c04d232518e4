//! Names as types that are parsed once: apps, environments, labels, versions, platforms, targets.
//!
//! Never here: what a name refers to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is not the name it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}: {rule}")]
pub struct NotAName {
    text: String,
    what: &'static str,
    rule: &'static str,
}

impl NotAName {
    fn new(text: &str, what: &'static str, rule: &'static str) -> Self {
        Self { text: text.chars().take(120).collect(), what, rule }
    }
}

/// Declares a name that is a `String` with a rule.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $fits:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NotAName;

            fn from_str(text: &str) -> Result<Self, NotAName> {
                let fits: fn(&str) -> bool = $fits;
                if fits(text) { Ok(Self(text.to_owned())) } else { Err(NotAName::new(text, $what, $rule)) }
            }
        }

        impl TryFrom<String> for $type {
            type Error = NotAName;

            fn try_from(text: String) -> Result<Self, NotAName> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

fn is_label(text: &str) -> bool {
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    text.len() <= 63 && text.bytes().all(|b| inner(&b)) && text.bytes().next().is_some_and(|b| b != b'-')
}

fn is_version(text: &str) -> bool {
    let first = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 64
        && text.bytes().next().is_some_and(first)
        && text.bytes().all(|b| first(b) || matches!(b, b'.' | b'_' | b'-'))
}

fn is_platform(text: &str) -> bool {
    let arch = |a: &str| {
        !a.is_empty() && a.len() <= 32 && a.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    text == "any" || text.strip_prefix("linux-").is_some_and(arch)
}

name!(
    /// An app: what is deployed and rolled back as one unit.
    AppName,
    "an app name",
    |text| is_label(text) && !matches!(text, "guard" | "server"),
    "expected [a-z0-9][a-z0-9-]{0,62}, and neither `guard` nor `server`"
);
name!(
    /// An environment, such as `staging` or `prod`; a device belongs to exactly one.
    EnvironmentName,
    "an environment name",
    is_label,
    "expected [a-z0-9][a-z0-9-]{0,62}"
);
name!(
    /// The key of a device's label.
    LabelKey,
    "a label key",
    is_label,
    "expected [a-z0-9][a-z0-9-]{0,62}"
);
name!(
    /// The version of a release; no `+`, which S3 reads as a space.
    Version,
    "a version",
    is_version,
    "expected [0-9a-z][0-9a-z._-]{0,63}"
);
name!(
    /// What a bundle runs on: `any` or `linux-<arch>`.
    Platform,
    "a platform",
    is_platform,
    "expected `any` or linux-<arch>, such as linux-arm64"
);

name!(
    /// A device, as selectors, cohorts and reports know it.
    DeviceId,
    "a device id",
    is_version,
    "expected [0-9a-z][0-9a-z._-]{0,63}"
);

impl DeviceId {
    /// The id of the machine that systemd's machine-id `machine` names: HMAC-SHA256 of its 32 hex digits under a
    /// constant, so that neither the machine-id nor another program's id of this machine can be had from it.
    pub fn of_machine(machine: &str) -> Self {
        let digest = crate::digest::hmac(b"tidelock device id, format 1", machine.as_bytes());
        Self(data_encoding::HEXLOWER.encode(&digest.as_bytes()[..16]))
    }
}

impl Platform {
    /// The platform whose bundles run everywhere.
    pub fn any() -> Self {
        Self("any".into())
    }

    /// The platforms whose bundles run on `self`, best first: its own, those it can run, `any`.
    pub fn runnable(&self) -> Vec<Self> {
        let mut list = vec![self.clone()];
        let older: &[&str] = match self.as_str() {
            "linux-armv7" => &["linux-armv6"],
            "linux-amd64" => &["linux-386"],
            _ => &[],
        };
        list.extend(older.iter().map(|name| Self((*name).into())));
        list.push(Self::any());
        list.dedup();
        list
    }
}

/// What a target of an app's role is, by its suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Artifact {
    /// The listing and the table of blocks.
    Index,
    /// The tree as `.tar.gz`.
    Bundle,
    /// Where the release was built and from what.
    Provenance,
    /// What it is made of.
    Sbom,
}

impl Artifact {
    const ALL: [Self; 4] = [Self::Index, Self::Bundle, Self::Provenance, Self::Sbom];

    /// The end of the target's name, without its dot.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Bundle => "tar.gz",
            Self::Provenance => "provenance.json",
            Self::Sbom => "sbom.json",
        }
    }
}

/// A target that tidelock knows, parsed from its flat name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TargetName {
    /// `env.<environment>.desired.json`
    Desired(EnvironmentName),
    /// `rollout.<environment>.permit.json`
    Permit(EnvironmentName),
    /// `app.<app>.<version>.<platform>.<suffix>`
    App {
        /// The app.
        app: AppName,
        /// The release.
        version: Version,
        /// The platform of the bundle.
        platform: Platform,
        /// Which of the release's files.
        artifact: Artifact,
    },
}

impl TargetName {
    /// The role that may sign this target, such as `app.web`.
    pub fn role(&self) -> String {
        match self {
            Self::Desired(environment) => format!("env.{environment}"),
            Self::Permit(environment) => format!("rollout.{environment}"),
            Self::App { app, .. } => format!("app.{app}"),
        }
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Desired(environment) => write!(f, "env.{environment}.desired.json"),
            Self::Permit(environment) => write!(f, "rollout.{environment}.permit.json"),
            Self::App { app, version, platform, artifact } => {
                write!(f, "app.{app}.{version}.{platform}.{}", artifact.suffix())
            }
        }
    }
}

impl FromStr for TargetName {
    type Err = NotAName;

    /// Read by the first two dots, one of the four suffixes, and the last dot before it: versions hold dots.
    fn from_str(text: &str) -> Result<Self, NotAName> {
        const RULE: &str = "expected env.<env>.desired.json, rollout.<env>.permit.json or \
            app.<app>.<version>.<platform>.{index,tar.gz,provenance.json,sbom.json}";
        let refused = || NotAName::new(text, "a target name", RULE);
        let (kind, rest) = text.split_once('.').ok_or_else(refused)?;
        let (owner, rest) = rest.split_once('.').ok_or_else(refused)?;
        match (kind, rest) {
            ("env", "desired.json") => Ok(Self::Desired(owner.parse()?)),
            ("rollout", "permit.json") => Ok(Self::Permit(owner.parse()?)),
            ("app", rest) => {
                let stem = |artifact: Artifact| rest.strip_suffix(artifact.suffix())?.strip_suffix('.');
                let (artifact, stem) = Artifact::ALL
                    .into_iter()
                    .find_map(|artifact| Some((artifact, stem(artifact)?)))
                    .ok_or_else(refused)?;
                let (version, platform) = stem.rsplit_once('.').ok_or_else(refused)?;
                let (version, platform) = (version.parse()?, platform.parse()?);
                Ok(Self::App { app: owner.parse()?, version, platform, artifact })
            }
            _ => Err(refused()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_what_the_rule_says() {
        for good in ["a", "0", "web", "web-2", "a-", &"a".repeat(63)] {
            assert!(good.parse::<AppName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "Web", "a.b", "a_b", "ä", "a/b", "..", "guard", "server", &"a".repeat(64)] {
            assert!(bad.parse::<AppName>().is_err(), "{bad}");
        }
        assert!("guard".parse::<EnvironmentName>().is_ok());
    }

    #[test]
    fn versions_hold_dots_but_no_plus_and_no_slash() {
        for good in ["1.4.2", "git-0123456789ab", "0", "1_2-3", &"1".repeat(64)] {
            assert!(good.parse::<Version>().is_ok(), "{good}");
        }
        for bad in ["", ".1", "-1", "1+2", "1/2", "A", &"1".repeat(65)] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_machine_keeps_its_device_id_for_ever() {
        let id = DeviceId::of_machine("0123456789abcdef0123456789abcdef");
        assert_eq!(id.as_str(), "aa7f4c86fb852f33a2514b8ed6e1fb43");
        assert_ne!(id, DeviceId::of_machine("0123456789abcdef0123456789abcdee"));
    }

    #[test]
    fn targets_read_and_write_alike() {
        for text in [
            "env.prod.desired.json",
            "rollout.prod.permit.json",
            "app.web.1.4.2.linux-arm64.index",
            "app.web.1.4.2.any.tar.gz",
            "app.web.1.tar.gz.any.tar.gz",
            "app.web.1.4.2.linux-armv6.provenance.json",
            "app.web.1.4.2.linux-armv6.sbom.json",
        ] {
            let name: TargetName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            assert!(text.starts_with(&format!("{}.", name.role())));
        }
    }

    #[test]
    fn other_targets_are_refused() {
        for bad in [
            "",
            "web",
            "env.prod",
            "env.prod.permit.json",
            "env.pr.od.desired.json",
            "app.web.1.4.2.index",
            "app.web.1.4.2.linux-arm64.zip",
            "app.web.1.4.2.windows-arm64.index",
            "app.web.linux-arm64.index",
            "app.web..linux-arm64.index",
            "app.../../x.1.any.index",
        ] {
            assert!(bad.parse::<TargetName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_device_takes_its_own_platform_first_and_any_last() {
        let list = |name: &str| {
            let platform: Platform = name.parse().unwrap();
            platform.runnable().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(list("linux-armv7"), "linux-armv7 linux-armv6 any");
        assert_eq!(list("linux-arm64"), "linux-arm64 any");
        assert_eq!(list("any"), "any");
    }
}
