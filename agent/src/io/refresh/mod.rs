//! The device's trust, and how it grows: what is believed, stored as it was signed, and the questions that bring more.
//!
//! Never here: what to make of it. An answer is a value for `decide`; a failure says of which kind it is. Nothing here
//! judges bytes either, that is `protocol::trust`.

mod error;
mod join;
mod store;
mod walk;

use std::path::Path;
use std::time::Duration;

use tidelock_protocol::desired::{Build, Desired};
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::{AppName, EnvironmentName, Platform, TargetName, Version};
use tidelock_protocol::release::{Named, ReleaseTargets, agree, files_of};
use tidelock_protocol::time::{Now, Timestamp};
use tidelock_protocol::trust::Trusted;

use super::http::Http;
use crate::decide::clock::{Floor, Reading};

pub use error::{Failure, Kind};
pub use join::find_root;
pub use store::{Found, Reset};

use store::{Beginning, Store};
use walk::{Hit, Offered, disbelieved};

/// The root is asked for at least so often, whatever the timestamp says: it is where keys are revoked.
const FULL_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Before something is installed the root must have been asked for so recently.
const FULL_BEFORE_INSTALL: Duration = Duration::from_secs(600);

/// What this device believes.
#[derive(Debug)]
pub struct Trust {
    store: Store,
    /// The floor of time that needs no signature.
    least: Floor,
    /// The floor that is known now.
    floor: Floor,
    /// Time since boot of the last walk from the root in this process.
    full_at: Option<Duration>,
}

/// A verified desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What the environment wants.
    pub desired: Desired,
    /// When the first of the roles behind it expires: from then on nothing new may be entered.
    pub expires: Timestamp,
}

/// One build that a device wants.
#[derive(Clone, Copy, Debug)]
pub struct WantedBuild<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The release.
    pub version: &'a Version,
    /// The platform of the build, as the desired state keys it.
    pub platform: &'a Platform,
    /// What the environment says of it.
    pub build: &'a Build,
}

/// Whether expired roles count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// They do not: for everything that is entered anew.
    Judged,
    /// They do: to bring back what was committed here.
    Ignored,
}

impl Trust {
    /// Opens the trust in `directory`, which grew or now grows from `root`, the one in `/etc`; `None`: from whatever
    /// [`Trust::begin`] put there. `least` is the floor of time that needs no signature.
    ///
    /// # Errors
    /// A disk that fails; a root that is none.
    pub fn open(directory: &Path, root: Option<&[u8]>, least: Floor) -> Result<(Self, Found), Failure> {
        let (store, found) = Store::open(directory, root)?;
        Ok((Self::of(store, least), found))
    }

    /// The trust in `directory` for whoever may not change it; none where the next turn will begin it anew.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn peek(directory: &Path, root: &[u8], least: Floor) -> Result<(Option<Self>, Found), Failure> {
        let (store, found) = Store::look(directory, Some(root))?;
        Ok((store.map(|store| Self::of(store, least)), found))
    }

    fn of(store: Store, least: Floor) -> Self {
        let mut trust = Self { store, least, floor: least, full_at: None };
        trust.settle_floor();
        trust
    }

    /// Begins trust in `directory` from `root`, whatever was there.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn begin(directory: &Path, root: &[u8]) -> Result<(), Failure> {
        Store::begin(directory, root, Beginning::Fresh).map(drop)
    }

    /// Begins trust in `directory` anew from `root` because somebody wants it, whatever was there.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn reset(directory: &Path, root: &[u8], reset: Reset) -> Result<(), Failure> {
        Store::begin(directory, root, Beginning::Reset(reset)).map(drop)
    }

    /// Who had trust begun anew, where no complete walk has followed yet.
    pub fn was_reset(&self) -> Option<&Reset> {
        self.store.record.reset.as_ref()
    }

    /// Whether trust was lost and no complete walk has mended it since.
    pub fn is_lost(&self) -> bool {
        self.store.record.lost
    }

    /// The time of a turn that begins now. What a timestamp taught counts only while its key is trusted.
    pub fn now(&self, reading: Reading) -> Now {
        self.floor.now(reading)
    }

    /// Again after every change of root, timestamp or record.
    fn settle_floor(&mut self) {
        let learnt = self.store.record.floor().filter(|_| self.floor_is_vouched_for());
        self.floor = learnt.map_or(self.least, |floor| self.least.or_later(floor));
    }

    fn floor_is_vouched_for(&self) -> bool {
        let stored = self.store.load("timestamp").ok().flatten();
        let rooted =
            self.store.roots(BEFORE_ALL).and_then(|roots| roots.settle().map_err(disbelieved("the root")));
        stored.is_some_and(|stored| rooted.is_ok_and(|rooted| rooted.vouches_for_timestamp(&stored)))
    }

    /// The newest desired state of `environment`: one conditional question when nothing changed, the whole walk otherwise.
    ///
    /// # Errors
    /// Whatever kept it from being known to be the newest; [`Trust::manifest`] still gives the last one.
    pub fn poll(
        &mut self,
        http: &Http,
        environment: &EnvironmentName,
        reading: Reading,
    ) -> Result<Manifest, Failure> {
        let now = self.now(reading);
        let Some(manifest) = self.believed(environment, now)?.filter(|_| !self.full_is_due(now)) else {
            return self.walk(http, environment, reading);
        };
        let stored = Digest::of(&self.store.load("timestamp")?.unwrap_or_default());
        let etag = self.store.record.etag.clone().filter(|(_, of)| *of == stored);
        let ended = self.store.record.walked == Some(stored);
        match walk::timestamp(http, etag.map(|(etag, _)| etag))? {
            // Not modified, or a server without entity tags. Its expiry was judged with everything that is stored.
            None => Ok(manifest),
            Some(offered) if ended && Digest::of(&offered.bytes) == stored => Ok(manifest),
            Some(offered) => self.complete(http, environment, reading, Some(offered)),
        }
    }

    /// The same by the whole walk, whatever is stored: what a person asks for by hand.
    ///
    /// # Errors
    /// As of [`Trust::poll`].
    pub fn walk(
        &mut self,
        http: &Http,
        environment: &EnvironmentName,
        reading: Reading,
    ) -> Result<Manifest, Failure> {
        self.complete(http, environment, reading, None)
    }

    /// The desired state last believed, expired or not, from stored bytes alone. While a newer walk is half done it is
    /// the one of the last complete walk.
    pub fn manifest(&self, environment: &EnvironmentName) -> Option<Manifest> {
        let believed = self.believed(environment, BEFORE_ALL).ok().flatten();
        believed.or_else(|| {
            let (digest, expires) = self.store.record.desired?;
            let bytes =
                std::fs::read(self.store.desired()).ok().filter(|bytes| Digest::of(bytes) == digest)?;
            Some(Manifest { desired: Desired::parse(&bytes, environment).ok()?, expires })
        })
    }

    /// The walk from the root to the targets, in the order of the specification (§5.3–5.6).
    ///
    /// # Errors
    /// Whatever kept it from its end; what was accepted before that is stored.
    pub fn refresh(&mut self, http: &Http, reading: Reading) -> Result<Trusted, Failure> {
        self.root_first(http, reading, None).map(|(trusted, _)| trusted)
    }

    /// The bytes of the target `name`, at `stored` if they are there already; they are left there.
    ///
    /// # Errors
    /// No role names it, or what came is not it.
    pub fn file(
        &self,
        http: &Http,
        trusted: &Trusted,
        name: &str,
        stored: &Path,
    ) -> Result<Vec<u8>, Failure> {
        let hit = self.store.find(Some(http), trusted, name)?;
        walk::file(Some(http), name, &hit.target, stored)
    }

    /// The files of a wanted build, when the environment and the app's role agree on it. Before anything is entered the
    /// root is asked for, unless that was just now.
    ///
    /// # Errors
    /// They do not agree; or whatever kept the app's role from being known.
    pub fn release(
        &mut self,
        http: &Http,
        wanted: WantedBuild<'_>,
        expiry: Expiry,
        reading: Reading,
    ) -> Result<ReleaseTargets, Failure> {
        let WantedBuild { app, version, platform, build } = wanted;
        let recent = |at: Duration| reading.boot.saturating_sub(at) < FULL_BEFORE_INSTALL;
        let judged_at = match expiry {
            Expiry::Judged => self.now(reading),
            Expiry::Ignored => BEFORE_ALL,
        };
        let fresh_enough = expiry == Expiry::Ignored || self.full_at.is_some_and(recent);
        let trusted = match self.store.stored(judged_at)?.filter(|_| fresh_enough) {
            Some(trusted) => trusted,
            None => self.refresh(http, reading)?,
        };
        let (index, bundle) = files_of(app, version, platform, build).map_err(Failure::Disagreement)?;
        let find = |name: &str| self.store.find(Some(http), &trusted, name);
        let (of_index, of_bundle) = (find(&index)?, find(&bundle)?);
        let index = Named { name: &index, role: &of_index.role, target: &of_index.target };
        let bundle = Named { name: &bundle, role: &of_bundle.role, target: &of_bundle.target };
        agree(app, version, build, index, bundle).map_err(Failure::Disagreement)
    }

    /// The whole walk with the desired state at its end, and the one record that says it is complete.
    fn complete(
        &mut self,
        http: &Http,
        environment: &EnvironmentName,
        reading: Reading,
        offered: Option<Offered>,
    ) -> Result<Manifest, Failure> {
        let (trusted, offered) = self.root_first(http, reading, offered)?;
        let (manifest, digest) = self.desired(Some(http), &trusted, environment)?;
        let stored = self.store.load("timestamp")?.unwrap_or_default();
        let mut record = self.store.record.clone();
        let walked = Digest::of(&stored);
        record.etag = offered.etag.filter(|_| offered.bytes == stored).map(|etag| (etag, walked));
        record.walked = Some(walked);
        record.full = Some(self.now(reading).wall);
        record.desired = Some((digest, manifest.expires));
        (record.lost, record.reset) = (false, None);
        if let Some(passed) = trusted.has_passed() {
            record.raise(passed, reading.boot);
        }
        self.store.keep(record)?;
        self.settle_floor();
        Ok(manifest)
    }

    fn root_first(
        &mut self,
        http: &Http,
        reading: Reading,
        offered: Option<Offered>,
    ) -> Result<(Trusted, Offered), Failure> {
        self.store.newest_root(http, self.now(reading))?;
        if !self.floor_is_vouched_for() {
            // A root that rotated the timestamp's key takes back what that key said of the time.
            let mut record = self.store.record.clone();
            record.forget_floor();
            self.store.keep(record)?;
        }
        self.settle_floor();
        let now = self.now(reading);
        let rooted = self.store.roots(now)?.settle().map_err(disbelieved("the newest root"))?;
        let offered = match offered {
            Some(offered) => offered,
            None => walk::timestamp(http, None)?
                .ok_or_else(|| Failure::Missing { path: "metadata/timestamp.json".into() })?,
        };
        let trusted = self.store.descend(http, rooted, &offered.bytes)?;
        self.full_at = Some(reading.boot);
        Ok((trusted, offered))
    }

    /// The desired state in stored bytes; `None` where they do not lead to one at `now`.
    fn believed(&self, environment: &EnvironmentName, now: Now) -> Result<Option<Manifest>, Failure> {
        let Some(trusted) = self.store.stored(now)? else { return Ok(None) };
        Ok(self.desired(None, &trusted, environment).ok().map(|(manifest, _)| manifest))
    }

    /// The desired state that the targets lead to, and the digest of its bytes.
    fn desired(
        &self,
        http: Option<&Http>,
        trusted: &Trusted,
        environment: &EnvironmentName,
    ) -> Result<(Manifest, Digest), Failure> {
        let target = TargetName::Desired(environment.clone());
        let (name, expected) = (target.to_string(), target.role());
        let Hit { role: found, target, expires } = self.store.find(http, trusted, &name)?;
        if found != expected {
            return Err(Failure::WrongRole { name, found, expected });
        }
        let bytes = walk::file(http, &name, &target, &self.store.desired())?;
        let desired = Desired::parse(&bytes, environment).map_err(Failure::Desired)?;
        Ok((Manifest { desired, expires }, Digest::of(&bytes)))
    }

    fn full_is_due(&self, now: Now) -> bool {
        // Also when time went back: then nobody knows how long ago it was.
        self.store.record.full.is_none_or(|full| now.wall < full || now.wall.since(full) >= FULL_EVERY)
    }
}

/// A moment at which nothing has expired: what was verified once is read again by it.
const BEFORE_ALL: Now = Now { wall: Timestamp::from_unix(i64::MIN), boot: Duration::ZERO, trusted: false };
