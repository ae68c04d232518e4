//! What a commit would mean, before anybody takes it: everything that is wrong with it, and what it changes for each
//! environment. Needs no key and writes nothing but below a scratch directory.
//!
//! Never here: signing, or words for people (`cli`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Serialize;
use tidelock_protocol::desired::{Build, Choice, Desired, IndexTarget};
use tidelock_protocol::names::{AppName, EnvironmentName, Platform};

use super::glass::broken;
use super::packing;
use super::soak::Soak;
use super::trees::{self, Tree};
use super::views::{Taken, View, Views};
use super::wishes::Wishes;
use super::{Error, Settings, manifests};
use crate::bundle::{Cost, compare};
use crate::config::{Place, Problems};
use crate::git::Repository;
use crate::look::clock;
use crate::publish::{Content, Directory, Known, Published, Registrations};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The fleet repository: a path or an address.
    pub fleet: String,
    /// The branch whose `fleet.toml` counts.
    pub branch: String,
    /// The commit that would be its head, as `git rev-parse` takes it; none: its head.
    pub commit: Option<String>,
    /// The published directory to compare with; none: only what the commit says by itself is judged.
    pub out: Option<PathBuf>,
    /// The publisher's state directory, or a copy of what it knows of soaks; none: those are not judged.
    pub state: Option<PathBuf>,
    /// A directory for what has to be made on the way.
    pub scratch: PathBuf,
    /// Whether more than one app may be removed from an environment.
    pub may_prune: bool,
}

/// What a commit changes for one environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// The environment.
    pub environment: EnvironmentName,
    /// The commit that it would come from.
    pub commit: String,
    /// Whether that commit does not descend from what is published: it will be taken only with a reason.
    pub is_rewritten: bool,
    /// What changes, app by app; empty: nothing.
    pub apps: Vec<AppChange>,
}

/// What a commit changes for one app on the devices that one choice picks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AppChange {
    /// The app.
    pub app: AppName,
    /// The labels of the devices, as `key=value`; empty: every device that no choice before picks.
    pub devices: Vec<String>,
    /// The version now; none: it is not wanted there.
    pub from: Option<String>,
    /// The version then; none: it is not wanted any more.
    pub to: Option<String>,
    /// Whether something besides the version changes: tuning, retry, floor.
    pub is_tuned: bool,
    /// Per platform what that costs a device on the present release.
    pub platforms: BTreeMap<Platform, Cost>,
}

/// What a proposal comes to.
struct Looked {
    repository: Repository,
    views: Views,
    wishes: Wishes,
    trees: Vec<Tree>,
    published: Published,
}

/// Everything that is wrong with the commit; nothing when it would be published.
///
/// # Errors
/// [`Error::Problems`] with all of them; another one when they could not be looked for.
pub fn validate(proposal: &Proposal) -> Result<(), Error> {
    let looked = look(proposal)?;
    let waits = looked.views.fleet.environments.values().any(|rules| rules.requires.is_some());
    match &proposal.state {
        Some(state) if waits => soaked(&looked, proposal, state),
        _ => Ok(()),
    }
}

/// Whether every environment that waits for another one wants only what soaked there for long enough.
fn soaked(looked: &Looked, proposal: &Proposal, state: &Path) -> Result<(), Error> {
    let (wanted, _) = looked.wanted(proposal)?;
    let now = clock().now;
    let (soak, glass) = (Soak::read(state), broken(state, now)?);
    let mut problems = Problems::default();
    for View { environment, file, .. } in &looked.views.environments {
        let rules = looked.views.fleet.environments.get(environment);
        let (Some(rule), Some(desired)) =
            (rules.and_then(|rules| rules.requires.as_ref()), wanted.get(environment))
        else {
            continue;
        };
        if glass.iter().any(|glass| glass.environment == *environment) {
            continue;
        }
        for (app, n, why) in soak.lacking(desired, rule, now) {
            let choice = file.as_ref().and_then(|file| file.apps.get(app)?.get(n));
            let place = choice.map_or_else(Place::default, |choice| choice.wish.place.clone());
            problems.add(place, format!("is not taken yet: {why}"));
        }
    }
    Ok(problems.settle()?)
}

/// Brings a file of `targets/` to the published directory of a proposal, where it lies elsewhere.
pub type Bring<'a> = &'a dyn Fn(&IndexTarget) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// What the commit changes for each environment that Git owns, in their order. An index that is not in the published
/// directory is asked of `bring` first.
///
/// # Errors
/// As [`validate`], and a tree that cannot be packed.
pub fn changes(proposal: &Proposal, bring: Bring<'_>) -> Result<Vec<Changes>, Error> {
    let looked = look(proposal)?;
    let (wanted, registrations) = looked.wanted(proposal)?;
    let Looked { views, published, .. } = looked;
    let mut made = BTreeMap::new();
    for registration in registrations.values().flatten() {
        if let Content::Bytes(bytes) = &registration.index {
            made.insert(registration.stored.index.sha256, bytes.clone());
        }
    }
    let read = |build: &Build| -> Result<Vec<u8>, Error> {
        if let Some(bytes) = made.get(&build.index.sha256) {
            return Ok(bytes.clone());
        }
        let out = proposal.out.as_deref().unwrap_or(Path::new("."));
        let path = Directory::at(out).target(&format!("{}.{}", build.index.sha256, build.index.name));
        if !path.exists() {
            bring(&build.index).map_err(|source| Error::State {
                what: "fetch",
                path: path.clone(),
                source: io::Error::other(source),
            })?;
        }
        fs::read(&path).map_err(|source| Error::State { what: "read", path, source })
    };
    let mut all = Vec::new();
    for view in &views.environments {
        let Some(wanted) = wanted.get(&view.environment) else { continue };
        all.push(Changes {
            environment: view.environment.clone(),
            commit: view.commit.id.to_string(),
            is_rewritten: matches!(view.taken, Taken::Yes { rewritten: Some(_), .. }),
            apps: of_apps(published.desired.get(&view.environment), wanted, &read)?,
        });
    }
    Ok(all)
}

impl Looked {
    /// What the environments would want, and what is packed for it.
    fn wanted(
        &self,
        proposal: &Proposal,
    ) -> Result<(BTreeMap<EnvironmentName, Desired>, Registrations), Error> {
        let directory = Directory::at(&proposal.scratch.join("made"));
        let _lock = directory.lock()?;
        let registrations =
            packing::registrations(&self.repository, &directory, &self.trees, &Known::default())?;
        Ok((manifests(&self.views, &self.wishes, &registrations), registrations))
    }
}

fn look(proposal: &Proposal) -> Result<Looked, Error> {
    let Proposal { fleet, branch, commit, out, scratch, may_prune, state: _ } = proposal;
    let mut repository = Repository::open(fleet, &scratch.join("git"))?;
    if let Some(commit) = commit {
        repository.pretend(branch, commit)?;
    }
    let published = out.as_deref().map(Published::read).transpose()?.unwrap_or_default();
    let known = if out.is_some() { Known::of(&published) } else { Known::blind() };
    let settings = Settings {
        fleet: fleet.clone(),
        branch: branch.clone(),
        keys: PathBuf::new(),
        out: out.clone().unwrap_or_default(),
        state: scratch.clone(),
        // Whether history was rewritten is told, and keeps nobody from looking at the rest.
        accept_rewrite: Some("only looked at".into()),
        signers: None,
        require_sync: false,
    };
    let mut problems = Problems::default();
    let waiting = BTreeMap::new();
    let Some(views) = Views::read(&mut repository, &settings, &published, &waiting, &mut problems)? else {
        return Err(problems.sorted().into());
    };
    let wishes = Wishes::resolve(&repository, &views, &known, &mut problems)?;
    let trees = trees::check(&repository, &wishes, &known, None, &mut problems)?;
    if !may_prune {
        removed(&views, &published, &mut problems);
    }
    problems.settle()?;
    Ok(Looked { repository, views, wishes, trees, published })
}

/// Notes environments that lose more than one app at once: that is seldom meant.
fn removed(views: &Views, published: &Published, problems: &mut Problems) {
    for view in &views.environments {
        let (Some(before), Some(file)) = (published.desired.get(&view.environment), &view.file) else {
            continue;
        };
        let gone = before.apps.keys().filter(|app| !file.apps.contains_key(app));
        let gone: Vec<&str> = gone.map(AppName::as_str).collect();
        if gone.len() > 1 {
            let text = format!(
                "removes {} apps from {} at once: {}; if that is meant, say --allow-prune",
                gone.len(),
                view.environment,
                gone.join(", ")
            );
            problems.add(Place::of_file(format!("environments/{}.toml", view.environment)), text);
        }
    }
}

/// What changes from `before` to `after`, app by app and choice by choice.
fn of_apps(
    before: Option<&Desired>,
    after: &Desired,
    read: &dyn Fn(&Build) -> Result<Vec<u8>, Error>,
) -> Result<Vec<AppChange>, Error> {
    let none = Vec::new();
    let mut changes = Vec::new();
    for (app, choices) in &after.apps {
        let old = before.and_then(|before| before.apps.get(app)).unwrap_or(&none);
        for choice in choices {
            let same = |old: &&Choice| old.selector == choice.selector;
            // Devices without a choice of their own were on the one for all.
            let was = old.iter().find(same).or_else(|| old.iter().find(|old| old.selector.is_empty()));
            if was.is_some_and(|was| Choice { selector: choice.selector.clone(), ..was.clone() } == *choice) {
                continue;
            }
            let mut platforms = BTreeMap::new();
            for (platform, build) in &choice.stable.platforms {
                let present = was.and_then(|was| was.stable.build_for(platform));
                if present.as_ref().is_some_and(|(_, present)| present.tree == build.tree) {
                    continue;
                }
                let present = present.map(|(_, build)| read(build)).transpose()?;
                platforms.insert(platform.clone(), compare(present.as_deref(), &read(build)?)?);
            }
            changes.push(AppChange {
                app: app.clone(),
                devices: devices(choice),
                from: was.map(|was| was.stable.version.to_string()),
                to: Some(choice.stable.version.to_string()),
                is_tuned: was.is_some_and(|was| {
                    (was.tuning, was.retry, was.floor) != (choice.tuning, choice.retry, choice.floor)
                }),
                platforms,
            });
        }
    }
    let gone = before.iter().flat_map(|before| &before.apps).filter(|(app, _)| !after.apps.contains_key(app));
    changes.extend(gone.flat_map(|(app, choices)| {
        choices.iter().map(move |choice| AppChange {
            app: app.clone(),
            devices: devices(choice),
            from: Some(choice.stable.version.to_string()),
            to: None,
            is_tuned: false,
            platforms: BTreeMap::new(),
        })
    }));
    Ok(changes)
}

fn devices(choice: &Choice) -> Vec<String> {
    choice.selector.iter().map(|(key, value)| format!("{key}={value}")).collect()
}
