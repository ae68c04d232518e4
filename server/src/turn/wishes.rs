//! From words to releases: `follow`, a version, `tree:<id>` become a version and a build per platform.

use std::collections::{BTreeMap, BTreeSet};

use tidelock_protocol::desired::{self, Build};
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::{AppName, EnvironmentName, Platform, Version};
use tidelock_protocol::nearest::nearest;

use super::Error;
use super::views::{View, Views};
use crate::config::{self, App, At, FILE_BYTES, Origin, PinnedBuild, Place, Problems, Wish};
use crate::git::{Entry, Kind, ObjectId, Repository};
use crate::publish::{Known, Registrations};

/// The releases that all environments wish for.
pub(super) struct Wishes {
    /// Per environment, app and number of the choice.
    pub(super) releases: BTreeMap<(EnvironmentName, AppName, usize), Release>,
    /// Trees that no app's role names yet under this version and platform, and where they are said.
    pub(super) new: BTreeMap<(AppName, Version, Platform), New>,
}

/// A tree to be registered.
#[derive(Clone, Debug)]
pub(super) struct New {
    pub(super) tree: ObjectId,
    /// Its path in the repository, for messages.
    pub(super) path: String,
    pub(super) place: Place,
}

/// A release by its version, and per platform what is known of it already.
#[derive(Clone, Debug)]
pub(super) struct Release {
    version: Version,
    /// `None`: it is registered in this turn.
    builds: BTreeMap<Platform, Option<Build>>,
}

impl Release {
    /// As the desired state says it.
    pub(super) fn to_wire(&self, app: &AppName, registrations: &Registrations) -> desired::Release {
        let registered = |platform: &Platform| {
            let all = registrations.get(app)?;
            let found = all.iter().find(|new| new.version == self.version && new.platform == *platform)?;
            Some(found.stored.build())
        };
        let builds = self.builds.iter().filter_map(|(platform, build)| {
            Some((platform.clone(), build.clone().or_else(|| registered(platform))?))
        });
        desired::Release { version: self.version.clone(), platforms: builds.collect() }
    }
}

impl Wishes {
    /// Resolves every wish; what cannot be resolved is a problem at its place.
    pub(super) fn resolve(
        repository: &Repository,
        views: &Views,
        known: &Known,
        problems: &mut Problems,
    ) -> Result<Self, Error> {
        let mut wishes = Self { releases: BTreeMap::new(), new: BTreeMap::new() };
        let found = Found::look(repository, views, known)?;
        // Versions last: they may name what another environment registers in this very turn.
        for is_version in [false, true] {
            for view in &views.environments {
                let choices = view.file.iter().flat_map(|file| &file.apps);
                let numbered = choices
                    .flat_map(|(app, choices)| choices.iter().enumerate().map(move |(n, c)| (app, n, c)));
                for (app, n, choice) in numbered {
                    if matches!(choice.wish.value, Wish::Version(_)) != is_version {
                        continue;
                    }
                    let release = wishes.one(&found, view, app, &choice.wish, known, problems)?;
                    if let Some(release) = release {
                        wishes.releases.insert((view.environment.clone(), app.clone(), n), release);
                    }
                }
            }
        }
        Ok(wishes)
    }

    fn one(
        &mut self,
        found: &Found<'_>,
        view: &View,
        app: &AppName,
        wish: &At<Wish>,
        known: &Known,
        problems: &mut Problems,
    ) -> Result<Option<Release>, Error> {
        let Some(App { origin, runs_on, .. }) = view.apps.get(app) else { return Ok(None) };
        let repository = found.repository;
        let release = match (&wish.value, origin) {
            (Wish::Follow, Origin::Paths(paths)) => {
                let trees = found.follow(view, paths, problems);
                trees.and_then(|trees| self.path_app(app, trees, known, problems))
            }
            (Wish::Tree(id), Origin::Paths(paths)) => {
                let Some((platform, path)) = paths.iter().next() else { return Ok(None) };
                let id: Option<ObjectId> = id.parse().ok();
                match id {
                    Some(tree) if repository.has_tree(&tree)? => {
                        let new = New { tree, path: path.value.clone(), place: wish.place.clone() };
                        self.path_app(app, BTreeMap::from([(platform.clone(), new)]), known, problems)
                    }
                    _ => {
                        problems.add(
                            wish.place.clone(),
                            format!("{app}: the repository has no tree with this id"),
                        );
                        None
                    }
                }
            }
            (Wish::Follow, Origin::Registered) => match known.newest(app) {
                Some(version) => self.version((found, view), app, version, wish, known, problems)?,
                None if known.is_blind() => None,
                None => {
                    let text = format!(
                        "{app} has no release: its app.toml names no path, and CI registered nothing yet"
                    );
                    problems.add(wish.place.clone(), text);
                    None
                }
            },
            (Wish::Version(version), _) => {
                self.version((found, view), app, version, wish, known, problems)?
            }
            // The configuration does not admit it.
            (Wish::Tree(_), Origin::Registered) => None,
        };
        if let (Some(release), false) = (&release, known.is_blind()) {
            let lacks = |platform: &&Platform| {
                !platform.runnable().iter().any(|candidate| release.builds.contains_key(candidate))
            };
            for platform in runs_on.iter().filter(lacks) {
                let has: Vec<&str> = release.builds.keys().map(Platform::as_str).collect();
                let text = format!(
                    "{app} {} has no bundle for {platform}, which apps/{app}/app.toml says it runs on; it has: {}",
                    release.version,
                    has.join(", ")
                );
                problems.add(wish.place.clone(), text);
            }
        }
        Ok(release)
    }

    /// The release of a path app at these trees.
    fn path_app(
        &mut self,
        app: &AppName,
        trees: BTreeMap<Platform, New>,
        known: &Known,
        problems: &mut Problems,
    ) -> Option<Release> {
        let version = version_of(&trees)?;
        let registered = known.version(app, &version);
        let mut builds = BTreeMap::new();
        for (platform, new) in trees {
            let build = registered.get(&platform).filter(|known| known.source == new.tree.as_str());
            if build.is_none() && registered.contains_key(&platform) {
                // Twelve digits of the tree's id are the version: one in 10^14.
                problems.add(new.place, format!("{app} {version} is already published from another tree"));
                return None;
            }
            if build.is_none() {
                self.new.insert((app.clone(), version.clone(), platform.clone()), new);
            }
            builds.insert(platform, build.map(|known| known.stored.build()));
        }
        Some(Release { version, builds })
    }

    fn version(
        &self,
        (found, view): (&Found<'_>, &View),
        app: &AppName,
        version: &Version,
        wish: &At<Wish>,
        known: &Known,
        problems: &mut Problems,
    ) -> Result<Option<Release>, Error> {
        let registered = known.version(app, version);
        let pins = found.pins(view, (app, version), problems);
        if known.is_blind() {
            return Ok(None);
        }
        for (platform, pin) in &pins {
            let build = registered.get(platform).map(|known| known.stored.build());
            if build.as_ref().map(|build| (build.index.sha256, build.tree)) == Some((pin.index, pin.tree)) {
                continue;
            }
            let found = build.map_or_else(
                || format!("the role app.{app} does not name it: it was never pushed, or is past the retention window"),
                |build| format!("the role app.{app} names the index {}", build.index.sha256),
            );
            let text =
                format!("{app} {version} for {platform} is pinned to the index {}, but {found}", pin.index);
            problems.add(pin.place.clone(), text);
        }
        let registered =
            registered.into_iter().filter(|(platform, _)| pins.is_empty() || pins.contains_key(platform));
        let mut builds: BTreeMap<Platform, Option<Build>> =
            registered.map(|(platform, known)| (platform, Some(known.stored.build()))).collect();
        let new = self.new.keys().filter(|(of, named, _)| of == app && named == version);
        builds.extend(new.map(|(_, _, platform)| (platform.clone(), None)));
        if builds.is_empty() {
            let all = known.versions(app);
            let meant = nearest(version.as_str(), all.iter().map(|version| version.as_str()));
            let hint = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
            let some: Vec<&str> = all.iter().take(5).map(|version| version.as_str()).collect();
            let list = if some.is_empty() { "none".into() } else { some.join(", ") };
            problems
                .add(wish.place.clone(), format!("{app} has no release {version}; its newest: {list}{hint}"));
            return Ok(None);
        }
        Ok(Some(Release { version: version.clone(), builds }))
    }
}

/// What stands in each commit at the places that wishes lead to: asked once for all of them.
struct Found<'r> {
    repository: &'r Repository,
    at: BTreeMap<ObjectId, BTreeMap<String, Entry>>,
    /// The files among them, by their blobs; `None`: too long.
    files: BTreeMap<ObjectId, Option<Vec<u8>>>,
}

impl<'r> Found<'r> {
    fn look(repository: &'r Repository, views: &Views, known: &Known) -> Result<Self, Error> {
        let mut paths: BTreeMap<&ObjectId, BTreeSet<String>> = BTreeMap::new();
        for View { commit, apps, file, .. } in &views.environments {
            let paths = paths.entry(&commit.id).or_default();
            for (app, choice) in file
                .iter()
                .flat_map(|file| &file.apps)
                .flat_map(|(app, choices)| choices.iter().map(move |choice| (app, choice)))
            {
                match (&choice.wish.value, apps.get(app).map(|app| &app.origin)) {
                    (Wish::Version(version), _) => paths.extend([pin_file(app, version)]),
                    (Wish::Follow, Some(Origin::Registered)) => {
                        paths.extend(known.newest(app).map(|version| pin_file(app, version)));
                    }
                    (Wish::Follow, Some(Origin::Paths(named))) => {
                        paths.extend(named.values().map(|path| path.value.clone()));
                    }
                    _ => {}
                }
            }
        }
        let mut found = Self { repository, at: BTreeMap::new(), files: BTreeMap::new() };
        let mut blobs = None;
        for (commit, paths) in paths {
            let entries = repository.find(commit, paths.iter().map(String::as_str))?;
            for Entry { id, .. } in entries.values().filter(|entry| matches!(entry.kind, Kind::File { .. })) {
                let blobs = match &mut blobs {
                    Some(blobs) => blobs,
                    none => none.insert(repository.blobs()?),
                };
                found.files.insert(id.clone(), blobs.read(id, FILE_BYTES)?);
            }
            found.at.insert(commit.clone(), entries);
        }
        Ok(found)
    }

    fn entry(&self, view: &View, path: &str) -> Option<&Entry> {
        self.at.get(&view.commit.id)?.get(path)
    }

    /// What `apps/<app>/releases/<version>.toml` of this commit says that the version is; nothing where there is no such
    /// file.
    fn pins(
        &self,
        view: &View,
        (app, version): (&AppName, &Version),
        problems: &mut Problems,
    ) -> BTreeMap<Platform, PinnedBuild> {
        let path = pin_file(app, version);
        let Some(entry) = self.entry(view, &path) else { return BTreeMap::new() };
        match self.files.get(&entry.id) {
            None => problems.add(Place::of_file(path), "is not a plain file"),
            Some(None) => problems.add(Place::of_file(path), format!("is longer than {FILE_BYTES} bytes")),
            Some(Some(bytes)) => {
                let pinned = config::pinned(&path, bytes, problems);
                return pinned.map(|pinned| pinned.platforms).unwrap_or_default();
            }
        }
        BTreeMap::new()
    }

    /// The trees at an app's paths; none when one of them is no tree.
    fn follow(
        &self,
        view: &View,
        paths: &BTreeMap<Platform, At<String>>,
        problems: &mut Problems,
    ) -> Option<BTreeMap<Platform, New>> {
        let mut trees = BTreeMap::new();
        for (platform, At { value: path, place }) in paths {
            let wrong = match self.entry(view, path) {
                Some(entry) if entry.kind == Kind::Directory => {
                    let new = New { tree: entry.id.clone(), path: path.clone(), place: place.clone() };
                    trees.insert(platform.clone(), new);
                    continue;
                }
                Some(entry) if entry.kind == Kind::Submodule => {
                    format!("{path} is a submodule: its files are in another repository")
                }
                Some(_) => format!("{path} is not a directory"),
                None => format!("there is no directory {path} at {}", view.commit.branch),
            };
            problems.add(place.clone(), wrong);
        }
        (trees.len() == paths.len()).then_some(trees)
    }
}

fn pin_file(app: &AppName, version: &Version) -> String {
    format!("apps/{app}/releases/{version}.toml")
}

/// `git-` and 12 hex digits: of the tree's id where one tree is all there is, otherwise of a digest over each platform
/// and its tree's id.
fn version_of(trees: &BTreeMap<Platform, New>) -> Option<Version> {
    let first = &trees.values().next()?.tree;
    let one = trees.values().all(|new| new.tree == *first);
    let lines: String = trees.iter().map(|(platform, new)| format!("{platform} {}\n", new.tree)).collect();
    let id = if one { first.to_string() } else { Digest::of(lines.as_bytes()).to_string() };
    format!("git-{}", id.get(..12)?).parse().ok()
}
