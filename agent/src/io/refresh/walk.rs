//! The walk: root → timestamp → snapshot → targets, each fetched only when the stored bytes are not the ones wanted, and
//! stored as soon as it is accepted (TUF 1.0.34 §5.3–5.6).

use std::path::Path;
use std::time::Duration;

use tidelock_protocol::limits;
use tidelock_protocol::roles::Target;
use tidelock_protocol::time::{Now, Timestamp};
use tidelock_protocol::trust::{self, Rooted, Roots, Step, Trusted, Wanted, check_target};

use super::error::Failure;
use super::store::{Store, encoded, read};
use crate::io::disk;
use crate::io::http::{Answer, Ask, Http};

/// The timestamp as it came.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) bytes: Vec<u8>,
    pub(super) etag: Option<String>,
}

/// A target that a search found.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) role: String,
    pub(super) target: Target,
    pub(super) expires: Timestamp,
}

impl Store {
    /// The chain of roots as far as it is stored.
    pub(super) fn roots(&self, now: Now) -> Result<Roots, Failure> {
        let root = self.load("root")?.unwrap_or_default();
        Roots::begin(&root, now).map_err(disbelieved("the stored root"))
    }

    /// What the stored bytes alone give, judged at `now`.
    pub(super) fn stored(&self, now: Now) -> Result<Option<Trusted>, Failure> {
        let bytes = |role| self.load(role).map(Option::unwrap_or_default);
        let Ok(rooted) = self.roots(now)?.settle() else { return Ok(None) };
        let Ok(fresh) = rooted.timestamp(None, &bytes("timestamp")?) else { return Ok(None) };
        let Ok(coherent) = fresh.keep_snapshot(&bytes("snapshot")?) else { return Ok(None) };
        Ok(coherent.keep_targets(&bytes("targets")?).ok())
    }

    /// Asks for newer roots until there is none, and stores each (§5.3).
    pub(super) fn newest_root(&self, http: &Http, now: Now) -> Result<(), Failure> {
        let mut roots = self.roots(now)?;
        for _ in 0..limits::ROOT_ROTATIONS {
            let wanted = roots.wanted();
            let path = path_of(&wanted);
            let Some(bytes) = whole(http, &path, wanted.limit)? else { break };
            roots.accept(&bytes).map_err(disbelieved(&path))?;
            self.save("root", &bytes)?;
        }
        Ok(())
    }

    /// From a root in force to targets in force (§5.4–5.6). `offered` is the timestamp when it is here already.
    pub(super) fn descend(&self, http: &Http, rooted: Rooted, offered: &[u8]) -> Result<Trusted, Failure> {
        let stored = self.load("timestamp")?;
        let fresh = rooted.timestamp(stored.as_deref(), offered).map_err(disbelieved(TIMESTAMP))?;
        fresh.check_newest_root().map_err(disbelieved(TIMESTAMP))?;
        if fresh.is_news() {
            self.save("timestamp", offered)?;
        }
        let stored = self.load("snapshot")?;
        let coherent = match fresh.keep_snapshot(stored.as_deref().unwrap_or_default()) {
            Ok(coherent) => coherent,
            Err(fresh) => {
                let wanted = fresh.wanted().map_err(disbelieved(TIMESTAMP))?;
                let bytes = named(http, &wanted)?;
                let coherent =
                    fresh.snapshot(stored.as_deref(), &bytes).map_err(disbelieved(&path_of(&wanted)))?;
                self.save("snapshot", &bytes)?;
                coherent
            }
        };
        let stored = self.load("targets")?.unwrap_or_default();
        match coherent.keep_targets(&stored) {
            Ok(trusted) => Ok(trusted),
            Err(coherent) => {
                let wanted = coherent.wanted().map_err(disbelieved("the snapshot"))?;
                let bytes = named(http, &wanted)?;
                let trusted = coherent.targets(&bytes).map_err(disbelieved(&path_of(&wanted)))?;
                self.save("targets", &bytes)?;
                Ok(trusted)
            }
        }
    }

    /// Looks for the target `name` through the delegations (§5.6.7); without `http`, in stored bytes alone.
    pub(super) fn find(&self, http: Option<&Http>, trusted: &Trusted, name: &str) -> Result<Hit, Failure> {
        let mut search = trusted.search(name);
        loop {
            let wanted = match search.step().map_err(disbelieved(name))? {
                Step::Found { role, target, expires } => return Ok(Hit { role, target, expires }),
                Step::Nowhere => return Err(Failure::Nowhere { name: name.into() }),
                Step::Role(wanted) => wanted,
            };
            let stored = self.load(&wanted.role)?;
            if stored.is_some_and(|stored| search.keep(&stored)) {
                continue;
            }
            let path = path_of(&wanted);
            let http = http.ok_or_else(|| Failure::Missing { path: path.clone() })?;
            let bytes = named(http, &wanted)?;
            search.accept(&bytes).map_err(disbelieved(&path))?;
            self.save(&wanted.role, &bytes)?;
        }
    }
}

/// The bytes of a target: those at `stored` where they are the ones, else fetched, checked and put there (§5.7).
pub(super) fn file(
    http: Option<&Http>,
    name: &str,
    target: &Target,
    stored: &Path,
) -> Result<Vec<u8>, Failure> {
    if let Some(bytes) = read(stored)?.filter(|bytes| check_target(name, target, bytes).is_ok()) {
        return Ok(bytes);
    }
    let digest = target.hashes.get("sha256").or_else(|| target.hashes.get("sha512"));
    let digest = digest.ok_or_else(|| trust::Error::NoKnownDigest { what: name.into() });
    let digest = encoded(digest.map_err(disbelieved(name))?);
    let mut parts: Vec<String> = name.split('/').map(encoded).collect();
    let last = parts.pop().unwrap_or_default();
    parts.push(format!("{digest}.{last}"));
    let path = format!("targets/{}", parts.join("/"));
    let missing = || Failure::Missing { path: path.clone() };
    let http = http.ok_or_else(missing)?;
    let bytes = whole(http, &path, target.length.min(limits::DESIRED_BYTES))?.ok_or_else(missing)?;
    check_target(name, target, &bytes).map_err(disbelieved(&path))?;
    disk::replace(stored, &bytes)?;
    Ok(bytes)
}

/// The timestamp as the server has it now; `None`: it is the one with this entity tag.
pub(super) fn timestamp(http: &Http, etag: Option<String>) -> Result<Option<Offered>, Failure> {
    let ask = Ask { etag, ..ask(limits::TIMESTAMP_BYTES) };
    match http.get(TIMESTAMP, &ask)? {
        Answer::NotModified => Ok(None),
        Answer::Whole { etag, body, .. } => {
            let bytes = metadata(TIMESTAMP, body.into_bytes()?)?;
            Ok(Some(Offered { bytes, etag }))
        }
        _ => Err(Failure::Missing { path: TIMESTAMP.into() }),
    }
}

const TIMESTAMP: &str = "metadata/timestamp.json";

/// A metadata file that must be there, because signed metadata names it.
fn named(http: &Http, wanted: &Wanted) -> Result<Vec<u8>, Failure> {
    let path = path_of(wanted);
    whole(http, &path, wanted.limit)?.ok_or(Failure::Missing { path })
}

pub(super) fn path_of(wanted: &Wanted) -> String {
    format!("metadata/{}.{}.json", wanted.version, encoded(&wanted.role))
}

/// A whole file; `None` when the server has none.
pub(super) fn whole(http: &Http, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Failure> {
    match http.get(path, &ask(limit))? {
        Answer::Whole { body, .. } => metadata(path, body.into_bytes()?).map(Some),
        _ => Ok(None),
    }
}

fn metadata(path: &str, bytes: Vec<u8>) -> Result<Vec<u8>, Failure> {
    if bytes.trim_ascii_start().starts_with(b"<") {
        Err(Failure::WebPage { path: path.into() })
    } else {
        Ok(bytes)
    }
}

/// Half a minute, and as much more as `limit` bytes take at 2 KiB a second.
fn ask(limit: u64) -> Ask {
    Ask { limit, deadline: Duration::from_secs(30 + limit / 2048), ..Ask::default() }
}

pub(super) fn disbelieved(path: &str) -> impl FnOnce(trust::Error) -> Failure {
    move |source| Failure::Trust { path: path.to_owned(), source }
}
