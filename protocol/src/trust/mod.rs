//! The TUF client's rules over bytes and `Now`: what may be believed, in the only order in which it may be (§5).
//!
//! Each state is a type, and only the state before can make it, so a role that is loaded out of order does not compile:
//! [`Roots`] (the chain of roots is walked) → [`Rooted`] (the last root, not expired) → [`Fresh`] (the newest timestamp) →
//! [`Coherent`] (its snapshot) → [`Trusted`] (its targets), in which a [`Search`] finds files through the delegations.
//! Never here: fetching, storing, a clock. Bytes that a state has accepted are the caller's to store, as received.
//!
//! Sections are those of the TUF specification 1.0.34.
//!
//! ```
//! use tidelock_protocol::trust::{Coherent, Error, Fresh, Rooted, Roots, Trusted};
//! use tidelock_protocol::time::Now;
//!
//! fn walk(root: &[u8], timestamp: &[u8], snapshot: &[u8], targets: &[u8], now: Now) -> Result<Trusted, Error> {
//!     let rooted: Rooted = Roots::begin(root, now)?.settle()?;
//!     let fresh: Fresh = rooted.timestamp(None, timestamp)?;
//!     let coherent: Coherent = fresh.snapshot(None, snapshot)?;
//!     coherent.targets(targets)
//! }
//! ```
//!
//! Targets without a snapshot:
//! ```compile_fail
//! use tidelock_protocol::trust::{Error, Fresh, Trusted};
//! fn early(fresh: Fresh, targets: &[u8]) -> Result<Trusted, Error> {
//!     fresh.targets(targets)
//! }
//! ```
//! A snapshot without a timestamp:
//! ```compile_fail
//! use tidelock_protocol::trust::{Coherent, Error, Rooted};
//! fn early(rooted: Rooted, snapshot: &[u8]) -> Result<Coherent, Error> {
//!     rooted.snapshot(None, snapshot)
//! }
//! ```
//! A timestamp while the chain of roots is still walked, its end not judged:
//! ```compile_fail
//! use tidelock_protocol::trust::{Error, Fresh, Roots};
//! fn early(roots: Roots, timestamp: &[u8]) -> Result<Fresh, Error> {
//!     roots.timestamp(None, timestamp)
//! }
//! ```
//! A search before the targets are there:
//! ```compile_fail
//! use tidelock_protocol::trust::{Coherent, Search};
//! fn early<'a>(coherent: &'a Coherent, name: &'a str) -> Search<'a> {
//!     coherent.search(name)
//! }
//! ```
//! One timestamp accepted twice, to go back with the second:
//! ```compile_fail
//! use tidelock_protocol::trust::{Error, Fresh, Rooted};
//! fn twice(rooted: Rooted, new: &[u8], old: &[u8]) -> Result<Fresh, Error> {
//!     rooted.timestamp(None, new)?;
//!     rooted.timestamp(None, old)
//! }
//! ```

mod error;
mod search;
mod verify;

use crate::roles::{MetaFile, Role, Root, Snapshot, Targets, Timestamp};
use crate::time::{Now, Timestamp as Time};

pub use error::Error;
pub use search::{Search, Step};
pub use verify::{Wanted, check_target};

use verify::{Signers, envelope, judge_expiry, read, verified};

const SNAPSHOT_ENTRY: &str = "snapshot.json";

/// The chain of roots while it is walked: verified up to here, not yet judged.
#[derive(Clone, Debug)]
pub struct Roots {
    root: Box<Root>,
    now: Now,
}

impl Roots {
    /// Begins with a root that is trusted already: it must still be whole and signed by itself (5.2).
    ///
    /// # Errors
    /// Bytes that are not a root, or one that its own keys did not sign.
    pub fn begin(bytes: &[u8], now: Now) -> Result<Self, Error> {
        let envelope = envelope::<Root>("root", bytes)?;
        let root: Root = read("root", &envelope)?;
        Signers::of_root(&root, "root").require("root", &envelope)?;
        Ok(Self { root: Box::new(root), now })
    }

    /// The version reached.
    pub fn version(&self) -> u64 {
        self.root.version()
    }

    /// The next root to ask for (5.3.2); when there is none, [`Roots::settle`].
    pub fn wanted(&self) -> Wanted {
        Wanted {
            role: "root".into(),
            version: self.version().saturating_add(1),
            limit: Root::LIMIT,
            hashes: None,
        }
    }

    /// Takes the next root: signed by the one before and by itself, and exactly one version on (5.3.4, 5.3.5).
    /// Whether it has expired does not matter yet.
    ///
    /// # Errors
    /// Whatever is not so; the chain then stays where it was.
    pub fn accept(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let envelope = envelope::<Root>("root", bytes)?;
        Signers::of_root(&self.root, "root").require("root", &envelope)?;
        let next: Root = read("root", &envelope)?;
        Signers::of_root(&next, "root").require("root", &envelope)?;
        self.wanted().check_version(next.version())?;
        *self.root = next;
        Ok(())
    }

    /// Ends the chain: its last root must not have expired (5.3.10).
    ///
    /// # Errors
    /// It has; or its repository does not use consistent snapshots.
    pub fn settle(self) -> Result<Rooted, Error> {
        let Self { root, now } = self;
        judge_expiry("root", &*root, now)?;
        if root.consistent_snapshot { Ok(Rooted { root, now }) } else { Err(Error::Inconsistent) }
    }
}

/// The newest root, in force.
#[derive(Clone, Debug)]
pub struct Rooted {
    root: Box<Root>,
    now: Now,
}

impl Rooted {
    /// Whether a stored timestamp still counts: after its key was rotated it does not (5.3.11), and nothing that was
    /// learnt from it does.
    pub fn vouches_for_timestamp(&self, stored: &[u8]) -> bool {
        self.stored_timestamp(stored).is_some()
    }

    /// Takes the timestamp that the repository offers, or keeps the stored one where both have the same version (5.4).
    ///
    /// # Errors
    /// Signatures, expiry, or a version (its own or its snapshot's) below the stored one.
    pub fn timestamp(self, stored: Option<&[u8]>, offered: &[u8]) -> Result<Fresh, Error> {
        let mut newest: Timestamp =
            verified("timestamp", offered, &Signers::of_root(&self.root, "timestamp"))?;
        let mut news = true;
        if let Some(stored) = stored.and_then(|bytes| self.stored_timestamp(bytes)) {
            let rollback =
                |role: &str, found, stored| Err(Error::Rollback { role: role.into(), found, stored });
            let (old, new) = (snapshot_of(&stored)?.version.get(), snapshot_of(&newest)?.version.get());
            if newest.version < stored.version {
                return rollback("timestamp", newest.version.get(), stored.version.get());
            }
            if newest.version == stored.version {
                // 5.4.3.1 ends the update here; going on with the stored one also heals an update that was cut short.
                (newest, news) = (stored, false);
            } else if new < old {
                return rollback("snapshot", new, old);
            }
        }
        judge_expiry("timestamp", &newest, self.now)?;
        Ok(Fresh { root: self.root, timestamp: Box::new(newest), news, now: self.now })
    }

    fn stored_timestamp(&self, bytes: &[u8]) -> Option<Timestamp> {
        verified("timestamp", bytes, &Signers::of_root(&self.root, "timestamp")).ok()
    }
}

/// The newest timestamp.
#[derive(Clone, Debug)]
pub struct Fresh {
    root: Box<Root>,
    timestamp: Box<Timestamp>,
    news: bool,
    now: Now,
}

impl Fresh {
    /// Whether it is the offered one, which is then to be stored; otherwise the stored one was kept.
    pub fn is_news(&self) -> bool {
        self.news
    }

    /// Holds the repository to what it signed: the root that the timestamp names as the newest must have been seen. One
    /// that is named and not given is withheld, perhaps because it revokes a key.
    ///
    /// # Errors
    /// It names a newer root than the one it was judged by.
    pub fn check_newest_root(&self) -> Result<(), Error> {
        let (seen, named) = (self.root.version(), self.timestamp.newest_root);
        match named {
            Some(named) if named > seen => Err(Error::RootWithheld { named, seen }),
            _ => Ok(()),
        }
    }

    /// The snapshot that this timestamp names.
    ///
    /// # Errors
    /// None that a checked timestamp can have.
    pub fn wanted(&self) -> Result<Wanted, Error> {
        Ok(Wanted::of::<Snapshot>("snapshot", snapshot_of(&self.timestamp)?))
    }

    /// Takes the stored snapshot where it is the very one that the timestamp names; otherwise gives the state back, and
    /// the snapshot is to be fetched.
    ///
    /// # Errors
    /// The state itself.
    pub fn keep_snapshot(self, stored: &[u8]) -> Result<Coherent, Self> {
        match self.wanted().and_then(|wanted| wanted.verify(stored, &self.snapshot_signers(), self.now)) {
            Ok(snapshot) => Ok(self.coherent(snapshot)),
            Err(_) => Err(self),
        }
    }

    /// Takes the fetched snapshot (5.5): length, digests, signatures, version, expiry; no entry of the stored one, however
    /// old or expired that is, may be lost or fall.
    ///
    /// # Errors
    /// Whatever is not so.
    pub fn snapshot(self, stored: Option<&[u8]>, offered: &[u8]) -> Result<Coherent, Error> {
        let signers = self.snapshot_signers();
        let stored: Option<Snapshot> = stored.and_then(|bytes| verified("snapshot", bytes, &signers).ok());
        let wanted = self.wanted()?;
        let snapshot = wanted.verify_unexpired(offered, &signers, |snapshot: &Snapshot| {
            for (entry, old) in stored.iter().flat_map(|stored| &stored.meta) {
                let role = || entry.trim_end_matches(".json").to_owned();
                match snapshot.meta.get(entry) {
                    None => return Err(Error::Vanished { role: role() }),
                    Some(new) if new.version < old.version => {
                        let (found, stored) = (new.version.get(), old.version.get());
                        return Err(Error::Rollback { role: role(), found, stored });
                    }
                    Some(_) => {}
                }
            }
            judge_expiry("snapshot", snapshot, self.now)
        })?;
        Ok(self.coherent(snapshot))
    }

    fn snapshot_signers(&self) -> Signers {
        Signers::of_root(&self.root, "snapshot")
    }

    fn coherent(self, snapshot: Snapshot) -> Coherent {
        let Self { root, timestamp, now, .. } = self;
        Coherent { root, timestamp, snapshot: Box::new(snapshot), now }
    }
}

/// The snapshot that the timestamp names: every version of one moment.
#[derive(Clone, Debug)]
pub struct Coherent {
    root: Box<Root>,
    timestamp: Box<Timestamp>,
    snapshot: Box<Snapshot>,
    now: Now,
}

impl Coherent {
    /// The targets role that the snapshot names.
    ///
    /// # Errors
    /// None that a checked snapshot can have.
    pub fn wanted(&self) -> Result<Wanted, Error> {
        listed(&self.snapshot, "targets")
    }

    /// Takes the stored targets role where it is the very one that the snapshot names; otherwise gives the state back.
    ///
    /// # Errors
    /// The state itself.
    pub fn keep_targets(self, stored: &[u8]) -> Result<Trusted, Self> {
        match self.verify(stored) {
            Ok(targets) => Ok(self.trusted(targets)),
            Err(_) => Err(self),
        }
    }

    /// Takes the fetched targets role (5.6): length, digests, signatures, version, expiry.
    ///
    /// # Errors
    /// Whatever is not so.
    pub fn targets(self, offered: &[u8]) -> Result<Trusted, Error> {
        let targets = self.verify(offered)?;
        Ok(self.trusted(targets))
    }

    fn verify(&self, bytes: &[u8]) -> Result<Targets, Error> {
        self.wanted()?.verify(bytes, &Signers::of_root(&self.root, "targets"), self.now)
    }

    fn trusted(self, targets: Targets) -> Trusted {
        let Self { root, timestamp, snapshot, now } = self;
        Trusted { root, timestamp, snapshot, targets: Box::new(targets), now }
    }
}

/// Everything of one moment: root, timestamp, snapshot and targets agree and are in force.
#[derive(Clone, Debug)]
pub struct Trusted {
    root: Box<Root>,
    timestamp: Box<Timestamp>,
    snapshot: Box<Snapshot>,
    targets: Box<Targets>,
    now: Now,
}

impl Trusted {
    /// Begins to look for the target `name`: in the targets role, then through its delegations (5.6.7).
    pub fn search<'a>(&'a self, name: &'a str) -> Search<'a> {
        Search::new(self, name)
    }

    /// A point in time that has certainly passed: when the timestamp was signed, but never later than the offline keys
    /// allow. A stolen timestamp key cannot push time past the earlier expiry of root and targets, where it would refuse
    /// them. `None` in repositories that do not say when they signed.
    pub fn has_passed(&self) -> Option<Time> {
        let signed_at = self.timestamp.signed_at?;
        Some(signed_at.min(self.root.expires()).min(self.targets.expires()))
    }

    /// When the first of the four roles expires: until then a repository that says nothing new is believed.
    pub fn believed_until(&self) -> Time {
        let Self { root, timestamp, snapshot, targets, .. } = self;
        root.expires().min(timestamp.expires()).min(snapshot.expires()).min(targets.expires())
    }
}

fn snapshot_of(timestamp: &Timestamp) -> Result<&MetaFile, Error> {
    timestamp.meta.get(SNAPSHOT_ENTRY).ok_or(Error::Unlisted { role: "snapshot".into() })
}

fn listed(snapshot: &Snapshot, role: &str) -> Result<Wanted, Error> {
    let entry = snapshot.meta.get(&format!("{role}.json"));
    entry.map(|meta| Wanted::of::<Targets>(role, meta)).ok_or_else(|| Error::Unlisted { role: role.into() })
}

#[cfg(test)]
mod tests;
