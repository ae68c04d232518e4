//! One round of look → decide → do of the publisher, and the watch that runs one after the other.
//!
//! Never here: a rule of what is published (the pure rooms choose), or a word for people (`cli`).

mod audit;
mod board;
mod desk;
mod error;
mod glass;
mod handed;
mod last;
mod outcome;
mod packing;
mod proposal;
mod rules;
mod soak;
mod tokens;
mod trees;
mod uploads;
mod views;
mod watch;
mod wishes;

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread;

use tidelock_protocol::desired::{Desired, FORMAT, Source};
use tidelock_protocol::digest::Digest;

pub use board::{Board, NotTaken};
pub use desk::{Desk, EnvironmentView, Refused, ReleaseView};
pub use error::{Error, chain};
pub use glass::{Glass, break_glass, broken};
pub use outcome::{Cause, Outcome, Stopped};
pub use proposal::{AppChange, Bring, Changes, Proposal, changes, validate};
pub use tokens::{create_token, revoke_token};
pub use uploads::{Error as UploadError, Lacking, Uploads};
pub use watch::{News, Said, Wake, watch};

use crate::bundle;
use crate::config::Problems;
use crate::git::{Commit, Repository, Signers};
use crate::look::{Seen, look};
use crate::publish::{self, Directory, Effect, Input, Known, PendingFiles, Plan, Registrations};
use audit::Audit;
use handed::HandedIn;
use last::Last;
use packing::Memory;
use soak::Held;
pub use soak::Soak;
use views::{Taken, View, Views};
use wishes::{Release, Wishes};

/// What a turn is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The fleet repository: a path or an address.
    pub fleet: String,
    /// The branch whose `fleet.toml` counts.
    pub branch: String,
    /// Directory of the private keys.
    pub keys: PathBuf,
    /// The published directory.
    pub out: PathBuf,
    /// What the publisher remembers: pending manifests, audit, caches.
    pub state: PathBuf,
    /// Why a rewritten history is taken; none: it stops the environments that it concerns.
    pub accept_rewrite: Option<String>,
    /// Whose signature a commit must carry to be taken; none: nobody's.
    pub signers: Option<Signers>,
    /// Whether an unsynchronised clock is a refusal instead of a warning.
    pub require_sync: bool,
}

/// Publishes what the fleet repository says now, and signs anew what is past its time. Nothing changes when there is
/// nothing to do; a turn that was killed is finished by the next one.
///
/// # Errors
/// Whatever stops the whole turn; nothing was signed then. A rewritten history and a missing signature stop only the
/// environments that they concern, as does a commit that nobody who counts signed; they are told in the [`Outcome`].
pub fn once(settings: &Settings) -> Result<Outcome, Error> {
    turn(settings, None, &mut None)
}

/// As [`once`], for a server: while the fleet repository says something wrong or cannot be reached, what was taken from it
/// last stays, is signed in time, and pipelines move what is theirs. The trouble is told in the [`Outcome`].
///
/// # Errors
/// As [`once`], where nothing was taken before, or something else is in the way.
pub fn steadily(settings: &Settings) -> Result<Outcome, Error> {
    let mut head = None;
    let error = match turn(settings, None, &mut head) {
        Err(error @ (Error::Problems(_) | Error::Git(_))) => error,
        turned => return turned,
    };
    let Some(last) = Last::read(&settings.state, &settings.branch) else { return Err(error) };
    // Of two errors the first says why the second turn was made at all.
    let Ok(mut outcome) = turn(settings, Some(&last), &mut None) else { return Err(error) };
    let why = chain(&error);
    // A Git server that is away says nothing of any commit.
    if let (Error::Problems(_), Some(head)) = (&error, head) {
        outcome.board = outcome.board.without(head.id.as_str(), &why);
    }
    let trouble = format!("everything stays at the commit that was taken last, because of this: {why}");
    Ok(Outcome { trouble: Some(trouble), ..outcome })
}

/// One turn, by the heads of the branches or by what was taken `last`; whatever comes of it, `head` is the one of
/// `settings.branch` then.
fn turn(settings: &Settings, last: Option<&Last>, head: &mut Option<Commit>) -> Result<Outcome, Error> {
    let directory = Directory::at(&settings.out);
    let lock = directory.lock()?;
    directory.clear(&lock)?;
    let (seen, mut repository) = looked(settings, last)?;
    *head = Some(repository.head(&settings.branch)?);
    let decided = decide(settings, &directory, seen, &mut repository)?;
    let Decided { seen, views, trees, registrations, handed, held, plan } = decided;
    let now = seen.clock.now;
    let audit = Audit::of(&settings.state);
    audit.rewrites(&views, now)?;
    audit.fleet_rewrite(&views, now)?;
    audit.registered(&handed.registered(&registrations, &plan), now)?;
    audit.unsoaked(&held.waived, &plan.manifests, now)?;
    audit.manifests(&plan.manifests, now)?;
    plan.effects.iter().try_for_each(|effect| directory.apply(&lock, effect))?;
    Memory::of(&settings.state, &directory, &seen.keyring).remember(&trees, &registrations)?;
    PendingFiles::of(&settings.state).settle(&plan.waiting, &seen.keyring, now)?;
    let after = if plan.effects.is_empty() { None } else { Some(seen.published.again(&settings.out)?) };
    let published = after.as_ref().unwrap_or(&seen.published);
    handed.settle(&plan, published, now)?;
    held.soak.note(published, &settings.state, now)?;
    Last::keep(&settings.state, &views)?;
    publish::sweep(&directory, &lock, published, &settings.state, views.fleet.grace, now)?;
    directory.clear(&lock)?;
    Ok(outcome(settings, &seen, &views, &held, plan))
}

/// What a turn would do now; bundles are packed for it, and nothing is published.
///
/// # Errors
/// As [`once`].
pub fn planned(settings: &Settings) -> Result<Plan, Error> {
    let directory = Directory::at(&settings.out);
    let lock = directory.lock()?;
    directory.clear(&lock)?;
    let (seen, mut repository) = looked(settings, None)?;
    Ok(decide(settings, &directory, seen, &mut repository)?.plan)
}

/// Everything that was looked at, and what it comes to.
struct Decided {
    seen: Seen,
    views: Views,
    trees: Vec<trees::Tree>,
    registrations: Registrations,
    handed: HandedIn,
    held: Held,
    plan: Plan,
}

fn decide(
    settings: &Settings,
    directory: &Directory,
    seen: Seen,
    repository: &mut Repository,
) -> Result<Decided, Error> {
    let now = seen.clock.now;
    let waiting = PendingFiles::of(&settings.state).commits(&seen.keyring)?;
    let mut problems = Problems::default();
    let Some(views) = Views::read(repository, settings, &seen.published, &waiting, &mut problems)? else {
        return Err(problems.sorted().into());
    };
    let known = Known::of(&seen.published);
    let wishes = Wishes::resolve(repository, &views, &known, &mut problems)?;
    let memory = Memory::of(&settings.state, directory, &seen.keyring);
    let trees = trees::check(repository, &wishes, &known, Some(&memory), &mut problems)?;
    problems.settle()?;
    let mut registrations = packing::registrations(repository, directory, &trees, &known)?;
    let mut handed = HandedIn::read(&settings.state, directory, &views, &known, now)?;
    handed.register(&mut registrations);
    let mut wanted = manifests(&views, &wishes, &registrations);
    handed.manifests(&seen.published, &known, &mut wanted);
    let held = Held::judge(&settings.state, &views.fleet, &wanted, now)?;
    for (environment, why) in &held.back {
        wanted.remove(environment);
        handed.hold(environment, why);
    }
    let input = Input {
        rules: &rules::of(&views, &seen.published),
        published: &seen.published,
        keyring: &seen.keyring,
        now,
        wanted: &wanted,
        rebased: &views.rebased(),
        registrations: &registrations,
        roles: &handed.roles(),
    };
    let plan = publish::plan(&input)?;
    Ok(Decided { seen, views, trees, registrations, handed, held, plan })
}

/// Looks at what is published and, meanwhile, asks the fleet repository for its head, which may have to be fetched.
fn looked(settings: &Settings, last: Option<&Last>) -> Result<(Seen, Repository), Error> {
    let (seen, repository) = thread::scope(|scope| {
        let seen = scope.spawn(|| look(&settings.keys, &settings.out));
        let repository = opened(settings, last);
        (seen.join().unwrap_or_else(|panic| resume_unwind(panic)), repository)
    });
    let seen = seen?;
    let now = seen.clock.now;
    if settings.require_sync && !seen.clock.is_synchronised {
        return Err(Error::ClockUnsynchronised { now });
    }
    publish::check_clock(&seen.published, now)?;
    Ok((seen, repository?))
}

fn opened(settings: &Settings, last: Option<&Last>) -> Result<Repository, Error> {
    let mut repository = Repository::open(&settings.fleet, &settings.state.join("git"))?;
    last.map_or(Ok(()), |last| last.pin(&mut repository))?;
    repository.head(&settings.branch)?;
    Ok(repository)
}

/// What each environment wants, as the wire says it; the serial is set by `publish`.
fn manifests(
    views: &Views,
    wishes: &Wishes,
    registrations: &Registrations,
) -> BTreeMap<tidelock_protocol::names::EnvironmentName, Desired> {
    let mut manifests = BTreeMap::new();
    for View { environment, commit, file, taken, .. } in &views.environments {
        let (Taken::Yes { signer, .. }, Some(file)) = (taken, file) else { continue };
        let apps = file.apps.iter().map(|(app, choices)| {
            let choices = choices.iter().enumerate().filter_map(|(n, choice)| {
                let release = wishes.releases.get(&(environment.clone(), app.clone(), n))?;
                Some(tidelock_protocol::desired::Choice {
                    selector: choice.selector.clone(),
                    stable: Release::to_wire(release, app, registrations),
                    tuning: choice.tuning,
                    retry: choice.retry,
                    floor: choice.floor,
                    needs: Default::default(),
                })
            });
            (app.clone(), choices.collect())
        });
        let source = Source {
            commit: commit.id.to_string(),
            author: commit.author.clone(),
            time: Some(commit.time),
            subject: commit.subject.clone(),
            branch: commit.branch.clone(),
            signer: signer.clone(),
            ..Source::default()
        };
        let desired = Desired {
            format: FORMAT,
            environment: environment.clone(),
            serial: 0,
            source,
            prune: file.prune,
            apps: apps.collect(),
        };
        manifests.insert(environment.clone(), desired);
    }
    manifests
}

fn outcome(settings: &Settings, seen: &Seen, views: &Views, held: &Held, plan: Plan) -> Outcome {
    let new_root = plan.effects.iter().find_map(|effect| match effect {
        Effect::Metadata { name, bytes } if name.ends_with(".root.json") => Some(bytes),
        _ => None,
    });
    let root =
        new_root.or(seen.published.root.as_ref().map(|kept| &kept.bytes)).map(|bytes| Digest::of(bytes));
    let mut warnings = Vec::new();
    if !seen.clock.is_synchronised {
        warnings
            .push("this machine's clock is not synchronised, and what is signed carries its time".to_owned());
    }
    warnings.extend(held.glass.iter().map(|glass| {
        let Glass { environment, owner, reason, expires, .. } = glass;
        format!("glass is broken: {environment} waits for no other environment until {expires} ({owner}: {reason})")
    }));
    let mut stopped = views.stopped();
    for view in &views.environments {
        if let Some(why) = held.back.get(&view.environment) {
            let before = seen.published.desired.get(&view.environment);
            stopped.push(Stopped {
                environment: view.environment.clone(),
                branch: view.commit.branch.clone(),
                from: before.map(|desired| desired.source.commit.clone()).unwrap_or_default(),
                to: view.commit.id.to_string(),
                cause: Cause::Unsoaked(why.clone()),
            });
        }
    }
    let board = Board::of(views, &stopped, &plan.waiting);
    Outcome {
        commit: views.fleet_commit.clone(),
        root,
        manifests: plan.manifests,
        signed: plan.signed,
        waiting: plan.waiting,
        missing: plan.missing,
        stopped,
        trouble: None,
        warnings,
        board,
        out: settings.out.clone(),
    }
}

impl From<bundle::Error> for Error {
    fn from(source: bundle::Error) -> Self {
        Self::Bundle(source)
    }
}
