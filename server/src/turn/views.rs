//! What the fleet repository says: its branches, each at one commit, as one turn sees them.

use std::collections::{BTreeMap, BTreeSet};

use tidelock_protocol::desired::Desired;
use tidelock_protocol::names::{AppName, EnvironmentName};

use super::last::Last;
use super::{Cause, Error, Settings, Stopped};
use crate::config::{self, App, Environment, FILE_BYTES, File, Fleet, Owner, Place, Problems, Texts};
use crate::git::{Commit, Kind, ObjectId, Pick, Published as Relation, Repository, Signature, pick};
use crate::publish::Published;

/// What the fleet repository says.
pub(super) struct Views {
    /// Who may sign.
    pub(super) fleet: Fleet,
    /// The commit that says so.
    pub(super) fleet_commit: Commit,
    /// Whether that commit does not descend from the one before, where no manifest says which that was.
    pub(super) fleet_rewrite: Option<Rewrite>,
    /// Every app of that commit.
    pub(super) apps: BTreeMap<AppName, App>,
    /// The environments that Git owns.
    pub(super) environments: Vec<View>,
    /// The heads of the branches that say all this.
    pub(super) heads: BTreeMap<String, String>,
}

/// One environment at the head of its branch.
pub(super) struct View {
    pub(super) environment: EnvironmentName,
    pub(super) commit: Commit,
    /// Every app of that commit.
    pub(super) apps: BTreeMap<AppName, App>,
    /// What the environment wants, as far as its file can be read; `None` when it is not there, or not taken.
    pub(super) file: Option<Environment>,
    pub(super) taken: Taken,
}

/// Whether an environment takes the head of its branch.
pub(super) enum Taken {
    /// It does.
    Yes {
        /// Only when history was rewritten, and somebody accepted that.
        rewritten: Option<Rewrite>,
        /// Who signed it, where that is asked; otherwise empty.
        signer: String,
    },
    /// It stays at what was published from this commit.
    No {
        /// The commit that was published last; empty when none was.
        from: String,
        /// Why.
        cause: Cause,
    },
}

/// A rewritten history that was accepted.
pub(super) struct Rewrite {
    /// The commit that was left.
    pub(super) from: String,
    /// Why; `None`: that was said before, and the environment has waited for a signature since.
    pub(super) reason: Option<String>,
}

impl Views {
    /// Reads `fleet.toml` of the configured branch, and each environment of its own or the configured branch; none when
    /// that file cannot be read. What is wrong is noted. A rewritten history that descends from what is `waiting` for a
    /// signature was accepted when that was taken.
    pub(super) fn read(
        repository: &mut Repository,
        settings: &Settings,
        published: &Published,
        waiting: &BTreeMap<EnvironmentName, String>,
        problems: &mut Problems,
    ) -> Result<Option<Self>, Error> {
        let head = repository.head(&settings.branch)?;
        let (fleet_commit, fleet_rewrite) =
            Self::fleet_commit(repository, settings, published, waiting, head.clone())?;
        let base = Snapshot::read(repository, &fleet_commit, problems)?;
        let Some(fleet) = config::fleet(&base.texts, problems) else { return Ok(None) };
        let mut snapshots = BTreeMap::from([(settings.branch.clone(), base)]);
        let mut heads = BTreeMap::from([(settings.branch.clone(), head.id.to_string())]);
        let mut environments = Vec::new();
        for (environment, role) in &fleet.environments {
            if role.owner == Owner::Push {
                continue;
            }
            let base = &snapshots[&settings.branch];
            let named = config::environment(&base.texts, environment, &base.apps, problems);
            let own = named.as_ref().and_then(|file| file.branch.clone());
            let branch = own.as_ref().map_or(&settings.branch, |branch| &branch.value).clone();
            if !snapshots.contains_key(&branch) {
                let commit = match repository.head(&branch) {
                    Err(error @ (crate::git::Error::NoBranch { .. } | crate::git::Error::NotABranch(_))) => {
                        problems.add(own.map_or(Place::default(), |own| own.place), error.to_string());
                        continue;
                    }
                    commit => commit?,
                };
                heads.insert(branch.clone(), commit.id.to_string());
                snapshots.insert(branch.clone(), Snapshot::read(repository, &commit, problems)?);
            }
            let at = &snapshots[&branch];
            let commit = if branch == settings.branch { head.clone() } else { at.commit.clone() };
            let before = published.desired.get(environment);
            let taken = taken(repository, settings, before, waiting, &commit)?;
            let file = match taken {
                Taken::No { .. } => None,
                Taken::Yes { .. } if branch == settings.branch => named,
                Taken::Yes { .. } => config::environment(&at.texts, environment, &at.apps, problems),
            };
            environments.push(View {
                environment: environment.clone(),
                commit,
                apps: at.apps.clone(),
                file,
                taken,
            });
        }
        let apps = snapshots.remove(&settings.branch).map(|base| base.apps).unwrap_or_default();
        Ok(Some(Self { fleet, fleet_commit, fleet_rewrite, apps, environments, heads }))
    }

    /// The commit whose `fleet.toml` counts: the head, or, while a rewrite of that branch is not accepted, the one that
    /// was published last. Otherwise whoever can rewrite the branch could name other keys at once.
    fn fleet_commit(
        repository: &Repository,
        settings: &Settings,
        published: &Published,
        waiting: &BTreeMap<EnvironmentName, String>,
        head: Commit,
    ) -> Result<(Commit, Option<Rewrite>), Error> {
        let on_branch = published.desired.values().filter(|desired| desired.source.branch == settings.branch);
        let last = on_branch.max_by_key(|desired| desired.source.time);
        if last.is_none()
            && let Some(from) = Last::read(&settings.state, &settings.branch)
        {
            return Self::after(repository, settings, from.commit, head);
        }
        let (from, cause) = match taken(repository, settings, last, waiting, &head)? {
            Taken::Yes { .. } => return Ok((head, None)),
            Taken::No { from, cause } => (from, cause),
        };
        let branch = settings.branch.clone();
        match (repository.known_commit(&from, &branch)?, cause) {
            (Some(commit), _) => Ok((commit, None)),
            (None, Cause::Rewritten | Cause::Unsoaked(_)) => Err(Error::Rewritten { branch, from }),
            (None, Cause::Unsigned(reason)) => {
                Err(Error::Unsigned { branch, commit: head.id.to_string(), reason })
            }
        }
    }

    /// The head, where every environment of the branch is owned by push: a rewrite stops all of them, since `fleet.toml`
    /// says who may push.
    fn after(
        repository: &Repository,
        settings: &Settings,
        from: String,
        head: Commit,
    ) -> Result<(Commit, Option<Rewrite>), Error> {
        let branch = settings.branch.clone();
        if let Taken::No { cause: Cause::Unsigned(reason), .. } =
            taken(repository, settings, None, &BTreeMap::new(), &head)?
        {
            return Err(Error::Unsigned { branch, commit: head.id.to_string(), reason });
        }
        match pick(repository.relation(Some(&from), &head.id)?, settings.accept_rewrite.as_deref()) {
            Pick::Take => Ok((head, None)),
            Pick::TakeRewritten { from, reason } => Ok((head, Some(Rewrite { from, reason: Some(reason) }))),
            Pick::Stop { from } => Err(Error::Rewritten { branch, from }),
        }
    }

    /// Environments that stay where they are.
    pub(super) fn stopped(&self) -> Vec<Stopped> {
        let stopped = |View { environment, commit, taken, .. }: &View| match taken {
            Taken::No { from, cause } => Some(Stopped {
                environment: environment.clone(),
                branch: commit.branch.clone(),
                from: from.clone(),
                to: commit.id.to_string(),
                cause: cause.clone(),
            }),
            Taken::Yes { .. } => None,
        };
        self.environments.iter().filter_map(stopped).collect()
    }

    /// Environments whose rewritten history was accepted.
    pub(super) fn rebased(&self) -> BTreeSet<EnvironmentName> {
        let rebased = |view: &&View| matches!(view.taken, Taken::Yes { rewritten: Some(_), .. });
        self.environments.iter().filter(rebased).map(|view| view.environment.clone()).collect()
    }
}

fn taken(
    repository: &Repository,
    settings: &Settings,
    before: Option<&Desired>,
    waiting: &BTreeMap<EnvironmentName, String>,
    head: &Commit,
) -> Result<Taken, Error> {
    // An environment that another owner wrote last has no commit to descend from.
    let commit = before.map(|desired| desired.source.commit.as_str()).filter(|commit| !commit.is_empty());
    let signer = match &settings.signers {
        None => String::new(),
        Some(signers) => match repository.signature(&head.id, signers, &settings.state)? {
            Signature::Of(signer) => signer,
            Signature::Refused(reason) => {
                let from = commit.unwrap_or_default().to_owned();
                return Ok(Taken::No { from, cause: Cause::Unsigned(reason) });
            }
        },
    };
    let relation = repository.relation(commit, &head.id)?;
    Ok(match pick(relation, settings.accept_rewrite.as_deref()) {
        Pick::Take => Taken::Yes { rewritten: None, signer },
        Pick::TakeRewritten { from, reason } => {
            Taken::Yes { rewritten: Some(Rewrite { from, reason: Some(reason) }), signer }
        }
        Pick::Stop { from } => {
            let commit = before.and_then(|desired| waiting.get(&desired.environment)).map(String::as_str);
            match repository.relation(commit, &head.id)? {
                Relation::Ancestor(_) => {
                    Taken::Yes { rewritten: Some(Rewrite { from, reason: None }), signer }
                }
                Relation::Never | Relation::Elsewhere(_) => Taken::No { from, cause: Cause::Rewritten },
            }
        }
    })
}

/// The configuration files of one commit.
struct Snapshot {
    commit: Commit,
    texts: Texts,
    apps: BTreeMap<AppName, App>,
}

impl Snapshot {
    fn read(repository: &Repository, commit: &Commit, problems: &mut Problems) -> Result<Self, Error> {
        let top = repository.list(&commit.id, &["fleet.toml", "environments/", "apps/"])?;
        let app_file = |path: &[u8]| Some(format!("{}/app.toml", std::str::from_utf8(path).ok()?));
        let directories =
            top.iter().filter(|entry| entry.kind == Kind::Directory && entry.path.starts_with(b"apps/"));
        let apps: Vec<String> = directories.filter_map(|entry| app_file(&entry.path)).collect();
        let apps: Vec<&str> = apps.iter().map(String::as_str).collect();
        let below = repository.list(&commit.id, &apps)?;
        let mut blobs = repository.blobs()?;
        let mut texts = Texts::new();
        for entry in top.into_iter().chain(below) {
            let Some(path) = String::from_utf8(entry.path).ok().filter(|path| File::of(path).is_some())
            else {
                continue;
            };
            let Kind::File { .. } = entry.kind else {
                problems.add(Place::of_file(path), "is not a plain file");
                continue;
            };
            match read(&mut blobs, &entry.id)? {
                Some(bytes) => drop(texts.insert(path, bytes)),
                None => problems.add(Place::of_file(path), format!("is longer than {FILE_BYTES} bytes")),
            }
        }
        let apps = config::apps(&texts, problems);
        Ok(Self { commit: commit.clone(), texts, apps })
    }
}

fn read(blobs: &mut crate::git::Blobs, id: &ObjectId) -> Result<Option<Vec<u8>>, Error> {
    Ok(blobs.read(id, FILE_BYTES)?)
}
