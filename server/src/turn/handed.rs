//! What pipelines handed in since the last turn: releases to register, environments to move. Gathered before a turn is
//! decided, and settled by what came of it.
//!
//! Never here: who may hand in what (`web` asked the token), or taking an upload apart (`uploads`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tidelock_protocol::desired::{self, Build, Choice, Desired, FORMAT, Source};
use tidelock_protocol::digest::{Digest, Hasher};
use tidelock_protocol::names::{AppName, EnvironmentName, Platform, Version};
use tidelock_protocol::time::Timestamp;

use super::audit::NewlyRegistered;
use super::uploads::Uploads;
use super::views::Views;
use super::{Error, packing};
use crate::config::{Origin, Owner};
use crate::publish::{
    Content, Directory, Extra, Known, Plan, Published, Registration, Registrations, Stored,
};
use crate::store::{Handed, NewHanded, Push, PushState, Store};

/// Why a role that came with a release is not published.
const OLD_ROLE: &str =
    "409: the role that came with it is based on an old version: sign it again on the newest";

/// What was handed in, looked at.
pub(super) struct HandedIn {
    store: Option<Store>,
    uploads: Uploads,
    /// Releases that this turn registers.
    releases: Vec<(Handed, Registration)>,
    /// Releases that are registered already, or never will be.
    ended: Vec<(Handed, Option<String>)>,
    /// Per environment the pushes that this turn makes one manifest of.
    moves: BTreeMap<EnvironmentName, Vec<Push>>,
    /// Pushes that are not made, and why.
    refused: Vec<(Push, String)>,
    /// Pushes whose time has not come.
    early: Vec<(Push, String)>,
}

impl HandedIn {
    /// Looks at what waits.
    pub(super) fn read(
        state: &Path,
        directory: &Directory,
        views: &Views,
        known: &Known,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let store = Store::existing(state)?;
        let uploads = Uploads::of(state, directory.root());
        let (moves, refused, early) = Default::default();
        let mut handed =
            Self { store, uploads, releases: Vec::new(), ended: Vec::new(), moves, refused, early };
        let Some(store) = handed.store.take() else { return Ok(handed) };
        for one in store.handed()? {
            match registration(&one, directory, &handed.uploads, views, known, &handed.releases)? {
                Found::New(registration) => handed.releases.push((one, *registration)),
                Found::Known => handed.ended.push((one, None)),
                Found::Refused(why) => handed.ended.push((one, Some(why))),
            }
        }
        handed.leave_for_later();
        for environment in store.awaited()? {
            let waiting = store.waiting(&environment)?;
            let rules = views.fleet.environments.get(&environment);
            let refuse = |why: String| {
                waiting.iter().cloned().map(move |push| (push, why.clone())).collect::<Vec<_>>()
            };
            match rules {
                None => handed
                    .refused
                    .extend(refuse(format!("fleet.toml has no environment {environment} any more"))),
                Some(rules) if rules.owner == Owner::Git => {
                    handed.refused.extend(refuse(owned_by_git(&environment)))
                }
                Some(rules) => {
                    let last = store.last_published(&environment)?;
                    let next = last.and_then(|last| Some(last.after(rules.min_interval?)));
                    match next.filter(|next| *next > now) {
                        Some(next) => handed.early.extend(refuse(format!("min_interval: not before {next}"))),
                        None => drop(handed.moves.insert(environment, waiting)),
                    }
                }
            }
        }
        handed.store = Some(store);
        Ok(handed)
    }

    /// A role that its builder signed names one more release than is published: of its app, nothing else is registered
    /// in this turn. What came without a role goes on waiting, and another role was based on what is old by then.
    fn leave_for_later(&mut self) {
        let mut chosen: BTreeMap<AppName, i64> = BTreeMap::new();
        for (handed, _) in self.releases.iter().filter(|(handed, _)| handed.release.role.is_some()) {
            chosen.entry(handed.release.app.clone()).or_insert(handed.id);
        }
        let all = std::mem::take(&mut self.releases);
        for (handed, registration) in all {
            match chosen.get(&handed.release.app) {
                Some(id) if *id != handed.id && handed.release.role.is_some() => {
                    self.ended.push((handed, Some(OLD_ROLE.to_owned())));
                }
                Some(id) if *id != handed.id => {}
                _ => self.releases.push((handed, registration)),
            }
        }
    }

    /// The releases to register, beside those of paths.
    pub(super) fn register(&self, registrations: &mut Registrations) {
        for (handed, registration) in &self.releases {
            registrations.entry(handed.release.app.clone()).or_default().push(registration.clone());
        }
    }

    /// The roles that builders signed themselves.
    pub(super) fn roles(&self) -> BTreeMap<String, Vec<u8>> {
        let signed = self.releases.iter().filter_map(|(handed, _)| {
            Some((format!("app.{}", handed.release.app), handed.release.role.clone()?.into_bytes()))
        });
        signed.collect()
    }

    /// What the environments want that were pushed to.
    pub(super) fn manifests(
        &mut self,
        published: &Published,
        known: &Known,
        manifests: &mut BTreeMap<EnvironmentName, Desired>,
    ) {
        for (environment, pushes) in &mut self.moves {
            let mut desired = published.desired.get(environment).cloned().unwrap_or_else(|| Desired {
                format: FORMAT,
                environment: environment.clone(),
                serial: 0,
                source: Source::default(),
                prune: false,
                apps: BTreeMap::new(),
            });
            pushes.retain(|push| {
                let (app, version) = (&push.push.app, &push.push.version);
                let platforms = builds(app, version, known, &self.releases);
                if platforms.is_empty() {
                    self.refused
                        .push((push.clone(), format!("{app} has no release {version}: push it first")));
                    return false;
                }
                let stable = desired::Release { version: version.clone(), platforms };
                let before = desired.apps.get(app).and_then(|choices| choices.first()).cloned();
                let choice = match before {
                    Some(before) => Choice { selector: BTreeMap::new(), stable, ..before },
                    None => Choice {
                        selector: BTreeMap::new(),
                        stable,
                        tuning: Default::default(),
                        retry: 0,
                        floor: 0,
                        needs: Default::default(),
                    },
                };
                desired.apps.insert(app.clone(), vec![choice]);
                true
            });
            let Some(last) = pushes.last() else { continue };
            let names: Vec<String> =
                pushes.iter().map(|push| format!("{} {}", push.push.app, push.push.version)).collect();
            desired.source = Source {
                time: Some(last.at),
                subject: format!("push of {}", names.join(", ")),
                pipeline: last.push.pipeline.clone(),
                token: last.push.token.clone(),
                ..Source::default()
            };
            manifests.insert(environment.clone(), desired);
        }
    }

    /// What is registered by this plan, with the token that it came with.
    pub(super) fn registered<'a>(&'a self, all: &'a Registrations, plan: &Plan) -> Vec<NewlyRegistered<'a>> {
        let token = |app: &AppName, new: &Registration| {
            let same = |(handed, _): &&(Handed, Registration)| {
                let NewHanded { app: of, version, platform, .. } = &handed.release;
                (of, version, platform) == (app, &new.version, &new.platform)
            };
            self.releases.iter().find(same).map(|(handed, _)| handed.release.token.as_str())
        };
        let is_signed = |app: &AppName| plan.signed.iter().any(|(role, _)| *role == format!("app.{app}"));
        let signed = all.iter().filter(|(app, _)| is_signed(app));
        signed.flat_map(|(app, new)| new.iter().map(move |new| (app, new, token(app, new)))).collect()
    }

    /// The environment waits for another one.
    pub(super) fn hold(&mut self, environment: &EnvironmentName, why: &str) {
        let pushes = self.moves.remove(environment).unwrap_or_default();
        self.early.extend(pushes.into_iter().map(|push| (push, why.to_owned())));
    }

    /// Notes what came of everything.
    pub(super) fn settle(self, plan: &Plan, published: &Published, now: Timestamp) -> Result<(), Error> {
        let Some(store) = &self.store else { return Ok(()) };
        let after = Known::of(published);
        let mut done = Vec::new();
        for (handed, why) in &self.ended {
            match why {
                Some(why) => store.refuse_handed(handed.id, why)?,
                None => store.published_handed(handed.id)?,
            }
            // What is signed anew is not sent anew.
            if why.as_deref() != Some(OLD_ROLE) {
                done.push(handed.release.index);
            }
        }
        for (handed, registration) in &self.releases {
            let NewHanded { app, version, platform, index, .. } = &handed.release;
            let named = after.version(app, version).get(platform).map(|known| known.stored.tree);
            if named == Some(registration.stored.tree) {
                store.published_handed(handed.id)?;
                done.push(*index);
            } else if handed.release.role.is_some() {
                store.refuse_handed(handed.id, OLD_ROLE)?;
            }
        }
        for (environment, pushes) in &self.moves {
            let serial = published.desired.get(environment).map_or(0, |desired| desired.serial);
            let lacks = plan.waiting.iter().find(|waiting| waiting.desired.environment == *environment);
            let lacks = lacks.map(|waiting| {
                let missing: Vec<String> = waiting.missing.iter().map(ToString::to_string).collect();
                missing.join("; ")
            });
            for push in pushes {
                let state = lacks.clone().map_or(PushState::Published(serial), PushState::Waiting);
                store.settle_push(push.id, &state, now)?;
            }
        }
        let kept: Vec<Digest> = store.handed()?.iter().map(|handed| handed.release.index).collect();
        // Two releases may be of one tree: their upload is one as well.
        done.iter().filter(|index| !kept.contains(index)).for_each(|index| self.uploads.forget(index));
        self.uploads.sweep(&kept, &after);
        for (push, why) in &self.refused {
            store.settle_push(push.id, &PushState::Refused(why.clone()), now)?;
        }
        for (push, why) in &self.early {
            store.settle_push(push.id, &PushState::Waiting(why.clone()), now)?;
        }
        Ok(())
    }
}

/// Why a push to an environment of Git is refused, and what to do instead.
pub(super) fn owned_by_git(environment: &EnvironmentName) -> String {
    format!(
        "the environment {environment} is owned by git: a commit to environments/{environment}.toml moves it \
         (`tidelock-server promote`, or `push --commit`); for a pipeline to move it, say owner = \"push\" in fleet.toml"
    )
}

enum Found {
    New(Box<Registration>),
    Known,
    Refused(String),
}

fn registration(
    handed: &Handed,
    directory: &Directory,
    uploads: &Uploads,
    views: &Views,
    known: &Known,
    before: &[(Handed, Registration)],
) -> Result<Found, Error> {
    let NewHanded { app, version, platform, tree, index, source, provenance, sbom, .. } = &handed.release;
    let registered = |app: &AppName| {
        let in_commit =
            views.environments.iter().find_map(|view| view.apps.get(app)).or_else(|| views.apps.get(app));
        in_commit.map(|app| app.origin == Origin::Registered)
    };
    match registered(app) {
        None => return Ok(Found::Refused(format!("the fleet repository has no apps/{app}/app.toml"))),
        Some(false) => {
            return Ok(Found::Refused(format!(
                "the releases of {app} come from paths that apps/{app}/app.toml names"
            )));
        }
        Some(true) => {}
    }
    let other = |known: &Digest| {
        format!(
            "{app} {version} for {platform} is known with the tree {known}, this one is {tree}: versions are immutable"
        )
    };
    if let Some(known) = known.version(app, version).get(platform) {
        return Ok(if known.stored.tree == *tree {
            Found::Known
        } else {
            Found::Refused(other(&known.stored.tree))
        });
    }
    let same = |(one, _): &&(Handed, Registration)| {
        (&one.release.app, &one.release.version, &one.release.platform) == (app, version, platform)
    };
    if let Some((_, twin)) = before.iter().find(same) {
        return Ok(if twin.stored.tree == *tree {
            Found::Known
        } else {
            Found::Refused(other(&twin.stored.tree))
        });
    }
    let whole = match uploads.whole(index) {
        Ok(whole) => whole,
        Err(error) => return Ok(Found::Refused(super::chain(&error))),
    };
    let text =
        |kind, text: &Option<String>| text.clone().map(|text| Extra { kind, bytes: text.into_bytes() });
    let extras = [
        text(tidelock_protocol::names::Artifact::Provenance, provenance),
        text(tidelock_protocol::names::Artifact::Sbom, sbom),
    ];
    let of = (app, version, platform);
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let as_index = (length(&whole.index), *index);
    let (path, as_bundle) = brought(&whole.bundle, directory, index)?;
    let stored = Stored::new(of, *tree, as_index, as_bundle);
    Ok(Found::New(Box::new(Registration {
        version: version.clone(),
        platform: platform.clone(),
        source: source.clone(),
        stored,
        index: Content::Bytes(whole.index),
        bundle: Content::Moved(path),
        extras: extras.into_iter().flatten().collect(),
    })))
}

/// The bundle of an upload where a publish moves it from, its length and its digest. The upload stays until its release is
/// published, whatever happens on the way.
fn brought(whole: &Path, directory: &Directory, index: &Digest) -> Result<(PathBuf, (u64, Digest)), Error> {
    let path = directory.scratch(&format!("{index}.tar.gz"));
    let failed = |what| {
        let path = path.clone();
        move |source| Error::State { what, path, source }
    };
    if fs::hard_link(whole, &path).is_err() {
        // On another file system, or on one without links.
        fs::copy(whole, &path).map_err(failed("write"))?;
    }
    let mut hasher = Hasher::new();
    let mut file = fs::File::open(&path).map_err(failed("open"))?;
    let bytes = packing::hashed(&mut file, &mut hasher).map_err(failed("read"))?;
    Ok((path, (bytes, hasher.finish())))
}

/// What is known of a release, and what this turn registers of it.
fn builds(
    app: &AppName,
    version: &Version,
    known: &Known,
    releases: &[(Handed, Registration)],
) -> BTreeMap<Platform, Build> {
    let registered =
        known.version(app, version).into_iter().map(|(platform, known)| (platform, known.stored.build()));
    let new = releases
        .iter()
        .filter(|(handed, _)| handed.release.app == *app && handed.release.version == *version);
    registered.chain(new.map(|(_, new)| (new.platform.clone(), new.stored.build()))).collect()
}
