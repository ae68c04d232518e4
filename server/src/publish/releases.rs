//! The releases that the roles `app.<app>` name: read, registered, retained.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tidelock_protocol::desired::{Build, IndexTarget};
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::{AppName, Artifact, Platform, TargetName, Version};
use tidelock_protocol::release::Mark;
use tidelock_protocol::roles::Target;

use super::Error;
use super::order::Content;
use super::published::Published;

/// One release for one platform, as its app's role names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The app.
    pub app: AppName,
    /// The release.
    pub version: Version,
    /// What its bundle runs on.
    pub platform: Platform,
    /// Grows with each registration of the app.
    pub counter: u64,
    /// What it was made from; for a path app the full id of its Git tree.
    pub source: String,
    /// Where its files are.
    pub stored: Stored,
}

/// An index and a bundle that lie in `targets/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The tree digest of both.
    pub tree: Digest,
    /// The index.
    pub index: IndexTarget,
    /// The bundle.
    pub bundle: IndexTarget,
}

/// What is registered of each app.
pub type Registrations = BTreeMap<AppName, Vec<Registration>>;

/// A release that is not named by its app's role yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The release.
    pub version: Version,
    /// What its bundle runs on.
    pub platform: Platform,
    /// What it was made from.
    pub source: String,
    /// Where its files will be.
    pub stored: Stored,
    /// The bytes of its index.
    pub index: Content,
    /// The bytes of its bundle.
    pub bundle: Content,
    /// What is published beside them: provenance, SBOM.
    pub extras: Vec<Extra>,
}

/// A small file that is published beside a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// Which.
    pub kind: Artifact,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Registration {
    /// The names and digests of its extras, as targets.
    fn extras(&self, app: &AppName) -> Vec<(String, u64, Digest)> {
        let name = |artifact| {
            let (app, version, platform) = (app.clone(), self.version.clone(), self.platform.clone());
            TargetName::App { app, version, platform, artifact }.to_string()
        };
        let of = |extra: &Extra| {
            (name(extra.kind), u64::try_from(extra.bytes.len()).unwrap_or(u64::MAX), Digest::of(&extra.bytes))
        };
        self.extras.iter().map(of).collect()
    }

    /// Every file of it, by its whole name.
    pub(super) fn files(&self, app: &AppName) -> Vec<(String, Content)> {
        let Stored { index, bundle, .. } = &self.stored;
        let whole = |file: &IndexTarget| format!("{}.{}", file.sha256, file.name);
        let mut files = vec![(whole(index), self.index.clone()), (whole(bundle), self.bundle.clone())];
        for ((name, _, digest), extra) in self.extras(app).into_iter().zip(&self.extras) {
            files.push((format!("{digest}.{name}"), Content::Bytes(extra.bytes.clone())));
        }
        files
    }

    /// What the app's role says of each of its files, with this counter.
    ///
    /// Public for whoever signs the role of an app elsewhere.
    pub fn targets(&self, app: &AppName, counter: u64) -> Vec<(String, Target)> {
        let Self { version, source, stored, .. } = self;
        let mark = Mark { tree: stored.tree, version: version.clone(), counter, source: source.clone() };
        let files = [&stored.index, &stored.bundle].map(|file| (file.name.clone(), file.length, file.sha256));
        let target = |(name, length, digest)| {
            let mut target = Target::new(length, digest);
            target.custom = Some(mark.to_custom());
            (name, target)
        };
        files.into_iter().chain(self.extras(app)).map(target).collect()
    }
}

/// Every release that the published roles name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    all: Vec<Registered>,
    is_blind: bool,
}

impl Stored {
    /// The index as it lies in `targets/`.
    pub fn index_file(&self) -> String {
        format!("{}.{}", self.index.sha256, self.index.name)
    }

    /// Of files with these digests and lengths, under the names that a release of `app` has.
    pub fn new(
        (app, version, platform): (&AppName, &Version, &Platform),
        tree: Digest,
        index: (u64, Digest),
        bundle: (u64, Digest),
    ) -> Self {
        let target = |artifact, (length, sha256)| {
            let (app, version, platform) = (app.clone(), version.clone(), platform.clone());
            let name = TargetName::App { app, version, platform, artifact }.to_string();
            IndexTarget { name, length, sha256 }
        };
        Self { tree, index: target(Artifact::Index, index), bundle: target(Artifact::Bundle, bundle) }
    }

    /// As the desired state names it.
    pub fn build(&self) -> Build {
        Build { tree: self.tree, index: self.index.clone() }
    }
}

impl Known {
    /// The releases of the published roles. Files of a form that is not ours are left alone and are no releases.
    pub fn of(published: &Published) -> Self {
        let roles = published.delegated.iter().filter_map(|(role, kept)| {
            let app: AppName = role.strip_prefix("app.")?.parse().ok()?;
            Some((app, &kept.value.targets))
        });
        Self { all: roles.flat_map(|(app, targets)| registered(&app, targets)).collect(), is_blind: false }
    }

    /// Where nobody could look at what is published: nothing is known, and nothing is missing.
    pub fn blind() -> Self {
        Self { is_blind: true, ..Self::default() }
    }

    /// Whether nobody could look.
    pub fn is_blind(&self) -> bool {
        self.is_blind
    }

    /// The builds of one version of an app, by platform.
    pub fn version(&self, app: &AppName, version: &Version) -> BTreeMap<Platform, &Registered> {
        let same = |known: &&Registered| known.app == *app && known.version == *version;
        self.all.iter().filter(same).map(|known| (known.platform.clone(), known)).collect()
    }

    /// The version of an app with the highest counter.
    pub fn newest(&self, app: &AppName) -> Option<&Version> {
        let of_app = self.all.iter().filter(|known| known.app == *app);
        of_app.max_by_key(|known| known.counter).map(|known| &known.version)
    }

    /// The builds of an app with the highest counters, by platform.
    pub fn newest_builds(&self, app: &AppName) -> BTreeMap<&Platform, &Registered> {
        let mut newest: BTreeMap<&Platform, &Registered> = BTreeMap::new();
        for known in self.all.iter().filter(|known| known.app == *app) {
            let of_platform = newest.entry(&known.platform).or_insert(known);
            if known.counter > of_platform.counter {
                *of_platform = known;
            }
        }
        newest
    }

    /// The build of an app whose index, as served, has this digest.
    pub fn index(&self, app: &AppName, sha256: &Digest) -> Option<&Registered> {
        self.all.iter().find(|known| known.app == *app && known.stored.index.sha256 == *sha256)
    }

    /// Whether a build has the index with this digest, whichever app's it is.
    pub fn names(&self, index: &Digest) -> bool {
        self.all.iter().any(|known| known.stored.index.sha256 == *index)
    }

    /// A build made from `source`, whichever app's it is: its files need not be made again.
    pub fn source(&self, source: &str) -> Option<&Registered> {
        self.all.iter().find(|known| known.source == source)
    }

    /// The versions of an app, newest first.
    pub fn versions(&self, app: &AppName) -> Vec<&Version> {
        let mut of_app: Vec<_> = self.all.iter().filter(|known| known.app == *app).collect();
        of_app.sort_by_key(|known| std::cmp::Reverse(known.counter));
        of_app.dedup_by_key(|known| &known.version);
        of_app.into_iter().map(|known| &known.version).collect()
    }
}

/// The counter that `version` has among these targets of its app, or would have.
pub fn next_counter(app: &AppName, targets: &BTreeMap<String, Target>, version: &Version) -> u64 {
    let all = registered(app, targets);
    let known = all.iter().find(|known| known.version == *version).map(|known| known.counter);
    known.unwrap_or_else(|| 1 + all.iter().map(|known| known.counter).max().unwrap_or(0))
}

/// The targets of `app`'s role: those it has, those to be registered, without what is neither among the newest
/// `retained` nor one of `named`.
///
/// # Errors
/// A version that is there with another tree.
pub(super) fn content(
    app: &AppName,
    before: &BTreeMap<String, Target>,
    new: &[Registration],
    named: &BTreeSet<Version>,
    retained: usize,
) -> Result<BTreeMap<String, Target>, Error> {
    let mut targets = before.clone();
    let mut counter = registered(app, before).iter().map(|known| known.counter).max().unwrap_or(0);
    let mut counters: BTreeMap<&Version, u64> = BTreeMap::new();
    for registration in new {
        let Registration { version, platform, stored, .. } = registration;
        if let Some(known) = before.get(&stored.index.name).and_then(Mark::of) {
            if known.tree == stored.tree {
                continue;
            }
            let (app, version, platform) = (app.to_string(), version.to_string(), platform.to_string());
            return Err(Error::OtherTree { app, version, platform });
        }
        // The platforms of one version share its counter, whenever they come.
        let known = registered(app, before).into_iter().find(|known| known.version == *version);
        if let Some(known) = known {
            counters.insert(version, known.counter);
        }
        let counter = *counters.entry(version).or_insert_with(|| {
            counter += 1;
            counter
        });
        targets.extend(registration.targets(app, counter));
    }
    let kept = retained_versions(&registered(app, &targets), named, retained);
    targets.retain(|_, target| Mark::of(target).is_none_or(|mark| kept.contains(&mark.version)));
    Ok(targets)
}

/// The newest `retained` versions and those of `named`.
fn retained_versions(all: &[Registered], named: &BTreeSet<Version>, retained: usize) -> BTreeSet<Version> {
    let mut newest: BTreeMap<&Version, u64> = BTreeMap::new();
    for known in all {
        let counter = newest.entry(&known.version).or_default();
        *counter = known.counter.max(*counter);
    }
    let mut by_age: Vec<(&Version, u64)> = newest.into_iter().collect();
    by_age.sort_by_key(|(_, counter)| std::cmp::Reverse(*counter));
    by_age
        .into_iter()
        .take(retained)
        .map(|(version, _)| version.clone())
        .chain(named.iter().cloned())
        .collect()
}

fn registered(app: &AppName, targets: &BTreeMap<String, Target>) -> Vec<Registered> {
    let file = |name: &str| {
        let target = targets.get(name)?;
        Some(IndexTarget { name: name.to_owned(), length: target.length, sha256: target.sha256()? })
    };
    let read = |(name, target): (&String, &Target)| {
        let Ok(TargetName::App { app: of, version, platform, artifact: Artifact::Index }) = name.parse()
        else {
            return None;
        };
        let bundle = format!("{}{}", name.strip_suffix(Artifact::Index.suffix())?, Artifact::Bundle.suffix());
        let Mark { tree, counter, source, .. } = Mark::of(target)?;
        let stored = Stored { tree, index: file(name)?, bundle: file(&bundle)? };
        (of == *app).then_some(Registered { app: of, version, platform, counter, source, stored })
    };
    targets.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(version: &str, tree: u8) -> Registration {
        let (app, version, platform) = ("web".parse().unwrap(), version.parse().unwrap(), Platform::any());
        let digest = Digest::from([tree; 32]);
        let stored = Stored::new((&app, &version, &platform), digest, (1, digest), (2, digest));
        let bytes = || Content::Bytes(Vec::new());
        Registration {
            version,
            platform,
            source: format!("s{tree}"),
            stored,
            index: bytes(),
            bundle: bytes(),
            extras: Vec::new(),
        }
    }

    fn after(
        before: &BTreeMap<String, Target>,
        new: &[Registration],
        named: &[&str],
    ) -> BTreeMap<String, Target> {
        let named = named.iter().map(|version| version.parse().unwrap()).collect();
        content(&"web".parse().unwrap(), before, new, &named, 2).unwrap()
    }

    fn versions(targets: &BTreeMap<String, Target>) -> Vec<(String, u64)> {
        let all = registered(&"web".parse().unwrap(), targets);
        all.iter().map(|known| (known.version.to_string(), known.counter)).collect()
    }

    #[test]
    fn counters_grow_and_only_the_window_and_what_is_named_stays() {
        let one = after(&BTreeMap::new(), &[registration("1", 1)], &[]);
        assert_eq!((one.len(), versions(&one)), (2, vec![("1".into(), 1)]));
        let three = after(&one, &[registration("2", 2), registration("3", 3)], &["1"]);
        assert_eq!(versions(&three), [("1".into(), 1), ("2".into(), 2), ("3".into(), 3)]);
        let moved = after(&three, &[], &["2"]);
        assert_eq!(versions(&moved), [("2".into(), 2), ("3".into(), 3)]);
        // What comes back is registered again, above everything.
        let back = after(&moved, &[registration("1", 1)], &[]);
        assert_eq!(versions(&back), [("1".into(), 4), ("3".into(), 3)]);
    }

    #[test]
    fn a_version_is_immutable_and_registering_it_again_changes_nothing() {
        let one = after(&BTreeMap::new(), &[registration("1", 1)], &[]);
        assert_eq!(after(&one, &[registration("1", 1)], &[]), one);
        let other = content(&"web".parse().unwrap(), &one, &[registration("1", 9)], &BTreeSet::new(), 2);
        assert!(matches!(other, Err(Error::OtherTree { .. })));
    }
}
