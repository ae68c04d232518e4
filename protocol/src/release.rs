//! A release as two parties name it: the environment wants an index, the app's role holds it, and both must agree.
//!
//! Never here: whether a device enters it (the agent's `decide`), or the bytes behind the names (`index`, `tree`).

use serde::{Deserialize, Serialize};

use crate::desired::Build;
use crate::digest::Digest;
use crate::names::{AppName, Artifact, Platform, TargetName, Version};
use crate::roles::Target;

/// What the app's role says of each file of a release: `custom.tidelock` of its index and of its bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The tree digest.
    pub tree: Digest,
    /// The release's version.
    pub version: Version,
    /// Grows with each registration of the app: the order for a signed floor.
    pub counter: u64,
    /// Where it was built from, such as a commit.
    #[serde(default)]
    pub source: String,
}

impl Mark {
    /// The mark of `target`, when it has one.
    pub fn of(target: &Target) -> Option<Self> {
        serde_json::from_value(target.custom.as_ref()?.get("tidelock")?.clone()).ok()
    }

    /// As it stands in a target's `custom`.
    pub fn to_custom(&self) -> serde_json::Value {
        serde_json::json!({ "tidelock": self })
    }
}

/// A file to fetch: `targets/<sha256>.<name>`, so many bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// Name of the target.
    pub name: String,
    /// Bytes as served.
    pub length: u64,
    /// SHA-256 of the bytes as served.
    pub sha256: Digest,
}

impl File {
    /// Where it lies below the publisher's base URL. Names of targets need no percent-encoding.
    pub fn path(&self) -> String {
        format!("targets/{}.{}", self.sha256, self.name)
    }
}

/// The files of one release for one platform, on which environment and app role agree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReleaseTargets {
    /// The index.
    pub index: File,
    /// The bundle.
    pub bundle: File,
    /// The tree digest.
    pub tree: Digest,
    /// The order of registrations, for the signed floor.
    pub counter: u64,
}

/// Why a wanted build is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// The environment names an index that cannot be of this build.
    #[error("the environment names {found:?} as the index of {expected}")]
    Name {
        /// What it names.
        found: String,
        /// The index that this build has.
        expected: String,
    },
    /// No role names the file (that is found while searching, outside this room).
    #[error("the role of the app does not name {name}")]
    Missing {
        /// The file.
        name: String,
    },
    /// A role that may not sign this app named the file.
    #[error("{name} is named by role {found:?} and not by the role of the app")]
    Role {
        /// The file.
        name: String,
        /// Who named it.
        found: String,
    },
    /// The two state different things.
    #[error("environment and app role do not agree on {what} of {name}")]
    Differ {
        /// The file.
        name: String,
        /// What differs.
        what: &'static str,
    },
}

/// Names of the index and the bundle of one build; the first must be the one that the environment names.
///
/// # Errors
/// The environment names another file: the index of another app, version or platform would be signed as well.
pub fn files_of(
    app: &AppName,
    version: &Version,
    platform: &Platform,
    build: &Build,
) -> Result<(String, String), Disagreement> {
    let name = |artifact| {
        let (app, version, platform) = (app.clone(), version.clone(), platform.clone());
        TargetName::App { app, version, platform, artifact }.to_string()
    };
    let (index, bundle) = (name(Artifact::Index), name(Artifact::Bundle));
    if build.index.name == index {
        return Ok((index, bundle));
    }
    Err(Disagreement::Name { found: build.index.name.clone(), expected: index })
}

/// A target, and the role in which the search found it.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Name of the target.
    pub name: &'a str,
    /// The role.
    pub role: &'a str,
    /// What the role says of it.
    pub target: &'a Target,
}

/// Takes a build when both parties agree on it.
///
/// # Errors
/// The first thing in which they do not agree.
pub fn agree(
    app: &AppName,
    version: &Version,
    build: &Build,
    index: Named<'_>,
    bundle: Named<'_>,
) -> Result<ReleaseTargets, Disagreement> {
    let (index, counter) = marked(app, version, build, index)?;
    let (bundle, other) = marked(app, version, build, bundle)?;
    let same = [
        ("the length", index.length == build.index.length),
        ("the SHA-256", index.sha256 == build.index.sha256),
        ("the counter", counter == other),
    ];
    match same.into_iter().find(|(_, same)| !same) {
        Some((what, _)) => Err(Disagreement::Differ { name: index.name, what }),
        None => Ok(ReleaseTargets { index, bundle, tree: build.tree, counter }),
    }
}

/// One file of the build, if the app's own role marks it as such; and its counter.
fn marked(
    app: &AppName,
    version: &Version,
    build: &Build,
    found: Named<'_>,
) -> Result<(File, u64), Disagreement> {
    let name = found.name.to_owned();
    if found.role != format!("app.{app}") {
        return Err(Disagreement::Role { name, found: found.role.into() });
    }
    let differ = |what| Disagreement::Differ { name: name.clone(), what };
    let mark = Mark::of(found.target).filter(|mark| mark.tree == build.tree);
    let mark = mark.ok_or_else(|| differ("the tree digest"))?;
    if mark.version != *version {
        return Err(differ("the version"));
    }
    let sha256 = found.target.sha256().ok_or_else(|| differ("the SHA-256"))?;
    Ok((File { name, length: found.target.length, sha256 }, mark.counter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::IndexTarget;

    struct Case {
        app: AppName,
        version: Version,
        build: Build,
        index: (String, String, Target),
        bundle: (String, String, Target),
    }

    fn case() -> Case {
        let (app, version): (AppName, Version) = ("web".parse().unwrap(), "1.4.2".parse().unwrap());
        let tree = Digest::of(b"tree");
        let mark = Mark { tree, version: version.clone(), counter: 7, source: "9f2c".into() };
        let target = |length, bytes| {
            let target = Target::new(length, Digest::of(bytes));
            Target { custom: Some(mark.to_custom()), ..target }
        };
        let name = "app.web.1.4.2.any.index".to_owned();
        let index = IndexTarget { name: name.clone(), length: 10, sha256: Digest::of(b"index") };
        Case {
            app,
            version,
            build: Build { tree, index },
            index: (name, "app.web".into(), target(10, b"index")),
            bundle: ("app.web.1.4.2.any.tar.gz".into(), "app.web".into(), target(20, b"bundle")),
        }
    }

    impl Case {
        fn agree(&self) -> Result<ReleaseTargets, Disagreement> {
            let (index, bundle) = (&self.index, &self.bundle);
            let index = Named { name: &index.0, role: &index.1, target: &index.2 };
            let bundle = Named { name: &bundle.0, role: &bundle.1, target: &bundle.2 };
            agree(&self.app, &self.version, &self.build, index, bundle)
        }
    }

    #[test]
    fn a_build_on_which_both_agree_gives_both_files() {
        let case = case();
        let any = Platform::any();
        let (index, bundle) = files_of(&case.app, &case.version, &any, &case.build).unwrap();
        assert_eq!((&index, &bundle), (&case.index.0, &case.bundle.0));
        let targets = case.agree().unwrap();
        assert_eq!((targets.counter, targets.tree), (7, Digest::of(b"tree")));
        assert_eq!(targets.bundle.path(), format!("targets/{}.{bundle}", Digest::of(b"bundle")));
    }

    #[test]
    fn the_index_of_another_app_version_or_platform_is_refused() {
        let case = case();
        let (any, arm) = (Platform::any(), "linux-arm64".parse().unwrap());
        assert!(files_of(&"api".parse().unwrap(), &case.version, &any, &case.build).is_err());
        assert!(files_of(&case.app, &"1.4.1".parse().unwrap(), &any, &case.build).is_err());
        assert!(files_of(&case.app, &case.version, &arm, &case.build).is_err());
    }

    #[test]
    fn one_difference_is_enough() {
        type Change = fn(&mut Case);
        let changes: [(&str, Change); 9] = [
            ("the length", |case| case.index.2.length = 11),
            ("the length", |case| case.build.index.length = 9),
            ("the SHA-256", |case| case.build.index.sha256 = Digest::of(b"x")),
            ("the SHA-256", |case| drop(case.bundle.2.hashes.remove("sha256"))),
            ("the tree digest", |case| case.build.tree = Digest::of(b"x")),
            ("the tree digest", |case| case.bundle.2.custom = None),
            ("the tree digest", |case| case.index.2.custom = Some(serde_json::json!({"tidelock": 1}))),
            ("the version", |case| case.version = "1.4.3".parse().unwrap()),
            ("the counter", |case| {
                let mark = Mark::of(&case.bundle.2).unwrap();
                case.bundle.2.custom = Some(Mark { counter: 8, ..mark }.to_custom());
            }),
        ];
        for (expected, change) in changes {
            let mut case = case();
            change(&mut case);
            let found = case.agree();
            assert!(
                matches!(&found, Err(Disagreement::Differ { what, .. }) if *what == expected),
                "{found:?}"
            );
        }
        let mut case = case();
        case.bundle.1 = "targets".into();
        assert!(matches!(case.agree(), Err(Disagreement::Role { .. })));
    }
}
