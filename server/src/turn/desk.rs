//! Where pipelines hand things in: what is taken waits in the store for the next turn, which is woken.
//!
//! Never here: HTTP (`web`), or what a turn makes of it (`handed`).

use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, RwLock};

use tidelock_protocol::desired::Desired;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::{AppName, EnvironmentName, Platform, Version};

use super::board::{Board, NotTaken};
use super::glass::{Glass, broken};
use super::handed::owned_by_git;
use super::soak::Soak;
use super::uploads::{self, Lacking, Uploads};
use super::watch::Wake;
use crate::config::Owner;
use crate::look;
use crate::publish::{Known, Published, Registered};
use crate::store::{self, Handed, NewHanded, NewPush, Push, Refusal, Store, Wants};

/// Why something is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The token does not do.
    #[error(transparent)]
    Token(#[from] Refusal),
    /// Somebody else says what the environment wants.
    #[error("{0}")]
    Owner(String),
    /// There is no such thing.
    #[error("{0}")]
    Nowhere(String),
    /// Something else stands there already.
    #[error("{0}")]
    Conflict(String),
    /// The upload.
    #[error(transparent)]
    Upload(#[from] uploads::Error),
    /// No turn has ended yet.
    #[error("the fleet repository has not been read yet: ask again in a moment")]
    Early,
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What is published.
    #[error(transparent)]
    Published(#[from] crate::publish::Error),
    /// The state directory.
    #[error(transparent)]
    State(#[from] Box<super::Error>),
}

/// An environment as pipelines see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentView {
    /// Who owns it.
    pub owner: Owner,
    /// What is published; none: nothing yet.
    pub desired: Option<Desired>,
    /// The head that it took last; none: Git does not own it.
    pub taken: Option<String>,
    /// The head that it does not take.
    pub not_taken: Option<NotTaken>,
    /// What waits to be published, the oldest first.
    pub queue: Vec<Push>,
}

/// A version as pipelines see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseView {
    /// What is registered of it.
    pub builds: Vec<Registered>,
    /// The newest build of its app for each platform.
    pub newest: Vec<Registered>,
    /// The version that the app's next role will have.
    pub next_role: u64,
}

/// What is published.
#[derive(Debug)]
struct Seen {
    published: Published,
    known: Known,
}

/// The desk of one server. Clones are the same desk.
#[derive(Clone, Debug)]
pub struct Desk {
    state: PathBuf,
    out: PathBuf,
    board: Arc<RwLock<Option<Board>>>,
    wake: Sender<Wake>,
    /// What is published, as it was read last: a request asks only whether that is still so.
    seen: Arc<Mutex<Option<Arc<Seen>>>>,
    /// One writer at a time: a try that waits for another process' turn waits here, not in SQLite.
    writing: Arc<Mutex<()>>,
}

impl Desk {
    /// The desk of a server with these directories, whose turns `wake` wakes.
    pub fn new(state: &Path, out: &Path, wake: Sender<Wake>) -> Self {
        let (board, seen, writing) = Default::default();
        Self { state: state.to_owned(), out: out.to_owned(), board, wake, seen, writing }
    }

    /// A turn ended, and saw this.
    pub fn pin(&self, board: Board) {
        let mut pinned = self.board.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        *pinned = Some(board);
    }

    /// The name of the token, when it does for what its bearer wants.
    ///
    /// # Errors
    /// It does not, or the store fails.
    pub fn admit(&self, token: &str, wants: Wants<'_>) -> Result<String, Refused> {
        let Some(store) = Store::existing(&self.state)? else { return Err(Refusal::Unknown.into()) };
        Ok(store.admit(token, wants, look::clock().now)??)
    }

    /// Begins an upload, or takes it up again.
    ///
    /// # Errors
    /// As [`Uploads::begin`], and an app that takes no releases.
    pub fn begin(&self, app: &AppName, digest: &Digest, index: &[u8]) -> Result<Lacking, Refused> {
        self.takes(app)?;
        Ok(self.uploads().begin(&self.seen()?.known, app, digest, index)?)
    }

    /// Begins an upload whose index is told by that of a registered release.
    ///
    /// # Errors
    /// As [`Uploads::begin_from`], and an app that takes no releases.
    pub fn begin_from(
        &self,
        app: &AppName,
        of: (&Digest, &Digest),
        patch: &[u8],
    ) -> Result<Lacking, Refused> {
        self.takes(app)?;
        Ok(self.uploads().begin_from(&self.seen()?.known, app, of, patch)?)
    }

    /// Takes parts of an upload.
    ///
    /// # Errors
    /// As [`Uploads::parts`].
    pub fn parts(&self, app: &AppName, digest: &Digest, bytes: &[u8]) -> Result<u64, Refused> {
        Ok(self.uploads().parts(&self.seen()?.known, app, digest, bytes)?)
    }

    /// Takes blocks of an upload.
    ///
    /// # Errors
    /// As [`Uploads::blocks`].
    pub fn blocks(&self, digest: &Digest, first: u64, bytes: &[u8]) -> Result<u64, Refused> {
        Ok(self.uploads().blocks(digest, first, bytes)?)
    }

    /// Takes a release whose upload is whole; its number, or none when it is registered already.
    ///
    /// # Errors
    /// Another tree under this version, an upload that is not whole, a role that is based on an old version.
    pub fn hand_in(&self, new: &NewHanded) -> Result<Option<i64>, Refused> {
        self.takes(&new.app)?;
        let NewHanded { app, version, platform, tree, index, role, .. } = new;
        let seen = self.seen()?;
        if let Some(known) = seen.known.version(app, version).get(platform) {
            return self.same(app, version, platform, &known.stored.tree, tree).map(|()| None);
        }
        let _writing = self.writing.lock();
        let store = Store::open(&self.state)?;
        let waiting = store.handed()?;
        let of_platform = |one: &&Handed| {
            (&one.release.app, &one.release.version, &one.release.platform) == (app, version, platform)
        };
        if let Some(waiting) = waiting.iter().find(of_platform) {
            self.same(app, version, platform, &waiting.release.tree, tree)?;
        }
        if let Some(role) = role {
            self.newest_role(&seen.published, app, role)?;
        }
        let whole = self.uploads().whole(index)?;
        if whole.tree != *tree {
            let text = format!("the upload is of the tree {}, the release says {tree}", whole.tree);
            return Err(Refused::Conflict(text));
        }
        let id = store.hand_in(new, look::clock().now)?;
        self.look();
        Ok(Some(id))
    }

    /// Takes a push; its number, and how many wait in its environment, itself included.
    ///
    /// # Errors
    /// The environment is another's, or the release is not known.
    pub fn push(&self, new: &NewPush) -> Result<(i64, usize), Refused> {
        let board = self.board()?;
        match board.environments.get(&new.environment) {
            None => {
                return Err(Refused::Nowhere(format!("fleet.toml has no environment {}", new.environment)));
            }
            Some(Owner::Git) => return Err(Refused::Owner(owned_by_git(&new.environment))),
            Some(Owner::Push) => {}
        }
        let seen = self.seen()?;
        let _writing = self.writing.lock();
        let mut store = Store::open(&self.state)?;
        let (app, version) = (&new.app, &new.version);
        let of_version = |one: &Handed| one.release.app == *app && one.release.version == *version;
        if seen.known.version(app, version).is_empty() && !store.handed()?.iter().any(of_version) {
            return Err(Refused::Nowhere(format!("{app} has no release {version}: push its files first")));
        }
        let id = store.push(new, look::clock().now)?;
        let queue = store.waiting(&new.environment)?.len();
        self.look();
        Ok((id, queue))
    }

    /// An environment as it is now.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn environment(&self, name: &EnvironmentName) -> Result<EnvironmentView, Refused> {
        let board = self.board()?;
        let owner = board.environments.get(name).copied();
        let owner = owner.ok_or_else(|| Refused::Nowhere(format!("fleet.toml has no environment {name}")))?;
        let (taken, not_taken) = (board.taken.get(name).cloned(), board.not_taken.get(name).cloned());
        let desired = self.seen()?.published.desired.get(name).cloned();
        let queue = match Store::existing(&self.state)? {
            Some(store) => store.waiting(name)?,
            None => Vec::new(),
        };
        Ok(EnvironmentView { owner, desired, taken, not_taken, queue })
    }

    /// Since when environments are published with which trees, as the state directory keeps it, and glass that is broken.
    ///
    /// # Errors
    /// The state directory cannot be read.
    pub fn soaks(&self) -> Result<(Soak, Vec<Glass>), Refused> {
        Ok((Soak::read(&self.state), broken(&self.state, look::clock().now).map_err(Box::new)?))
    }

    /// A push by its number.
    ///
    /// # Errors
    /// There is none.
    pub fn pushed(&self, id: i64) -> Result<Push, Refused> {
        let found = Store::existing(&self.state)?.map(|store| store.pushed(id)).transpose()?.flatten();
        found.ok_or_else(|| Refused::Nowhere(format!("there is no push {id}")))
    }

    /// Why the release with this number was refused; none: it waits, or is published.
    ///
    /// # Errors
    /// The store fails.
    pub fn refused(&self, id: i64) -> Result<Option<String>, Refused> {
        let found = Store::existing(&self.state)?.map(|store| store.handed_in(id)).transpose()?.flatten();
        Ok(found.and_then(|handed| handed.refused))
    }

    /// The registered builds of a version, the newest build of each platform, and the version that the app's next role
    /// will have.
    ///
    /// # Errors
    /// What is published cannot be read.
    pub fn release(&self, app: &AppName, version: &Version) -> Result<ReleaseView, Refused> {
        let seen = self.seen()?;
        let Seen { known, published } = &*seen;
        Ok(ReleaseView {
            builds: known.version(app, version).into_values().cloned().collect(),
            newest: known.newest_builds(app).into_values().cloned().collect(),
            next_role: published.next_version(&format!("app.{app}")),
        })
    }

    fn same(
        &self,
        app: &AppName,
        version: &Version,
        platform: &Platform,
        known: &Digest,
        yours: &Digest,
    ) -> Result<(), Refused> {
        if known == yours {
            return Ok(());
        }
        Err(Refused::Conflict(format!(
            "{app} {version} for {platform} is known with the tree {known}, yours is {yours}: a version is immutable, take another one"
        )))
    }

    fn newest_role(&self, published: &Published, app: &AppName, role: &str) -> Result<(), Refused> {
        let next = published.next_version(&format!("app.{app}"));
        let version = serde_json::from_str::<serde_json::Value>(role).ok();
        let version = version.and_then(|role| role["signed"]["version"].as_u64());
        if version == Some(next) {
            return Ok(());
        }
        let yours = version.map_or_else(|| "none".into(), |version| version.to_string());
        Err(Refused::Conflict(format!(
            "yours is based on an old version: the next role app.{app} has version {next}, yours has {yours}"
        )))
    }

    fn takes(&self, app: &AppName) -> Result<(), Refused> {
        if self.board()?.registered.contains(app) {
            return Ok(());
        }
        Err(Refused::Nowhere(format!(
            "{app} takes no releases: the fleet repository needs an apps/{app}/app.toml that names no path"
        )))
    }

    fn board(&self) -> Result<Board, Refused> {
        let board = self.board.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        board.clone().ok_or(Refused::Early)
    }

    /// What is published now. Who asks while it is read waits for that instead of reading it too.
    fn seen(&self) -> Result<Arc<Seen>, Refused> {
        let mut last = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(seen) = &*last
            && seen.published.is_still_in(&self.out)?
        {
            return Ok(Arc::clone(seen));
        }
        let published = match &*last {
            Some(before) => before.published.again(&self.out)?,
            None => Published::read(&self.out)?,
        };
        let seen = Arc::new(Seen { known: Known::of(&published), published });
        *last = Some(Arc::clone(&seen));
        Ok(seen)
    }

    fn uploads(&self) -> Uploads {
        Uploads::of(&self.state, &self.out)
    }

    fn look(&self) {
        // Without turns nobody is woken; what was taken waits.
        let _ = self.wake.send(Wake::Look);
    }
}
