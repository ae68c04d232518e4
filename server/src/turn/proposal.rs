//! What a commit would mean, before anybody takes it: everything that is wrong with it, and what it changes for each
//! environment. Needs no key and writes nothing but below a scratch directory.
//!
//! Never here: signing, or words for people (`cli`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tidelock_protocol::desired::{Build, Choice, Desired};
use tidelock_protocol::names::{AppName, EnvironmentName, Platform};

use super::packing;
use super::trees::{self, Tree};
use super::views::{Taken, Views};
use super::wishes::Wishes;
use super::{Error, Settings, manifests};
use crate::bundle::{Cost, compare};
use crate::config::{Place, Problems};
use crate::git::Repository;
use crate::publish::{Content, Directory, Known, Published};

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
    look(proposal).map(drop)
}

/// What the commit changes for each environment that Git owns, in their order.
///
/// # Errors
/// As [`validate`], and a tree that cannot be packed.
pub fn changes(proposal: &Proposal) -> Result<Vec<Changes>, Error> {
    let Looked { repository, views, wishes, trees, published } = look(proposal)?;
    let directory = Directory::at(&proposal.scratch.join("made"));
    let _lock = directory.lock()?;
    let registrations = packing::registrations(&repository, &directory, &trees)?;
    let wanted = manifests(&views, &wishes, &registrations);
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

fn look(proposal: &Proposal) -> Result<Looked, Error> {
    let Proposal { fleet, branch, commit, out, scratch, may_prune } = proposal;
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
