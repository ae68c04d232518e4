//! What stands in the repository now: read, and verified as a device would, expiry aside.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use tidelock_protocol::desired::Desired;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::EnvironmentName;
use tidelock_protocol::roles::{
    Delegation, Delegations, Envelope, MetaFile, Role, Root, Snapshot, Targets, Timestamp,
};

use super::Error;
use super::sign::Authority;

/// A role as it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept<T> {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its signed part.
    pub value: T,
}

/// The repository as it is published. All of it is empty before the first publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// The newest root.
    pub root: Option<Kept<Root>>,
    /// `timestamp`
    pub timestamp: Option<Kept<Timestamp>>,
    /// The snapshot that it names.
    pub snapshot: Option<Kept<Snapshot>>,
    /// The targets that this names.
    pub targets: Option<Kept<Targets>>,
    /// The delegated roles that this names, by name.
    pub delegated: BTreeMap<String, Kept<Targets>>,
    /// What each environment wants.
    pub desired: BTreeMap<EnvironmentName, Desired>,
    /// Per role the highest version that stands on disk, published or left over by a crash.
    pub highest: BTreeMap<String, u64>,
    /// The whole second of the timestamp file's mtime, by which web servers tell two of them apart.
    pub timestamp_second: Option<i64>,
}

impl Published {
    /// Reads the repository in `out`; a directory that is missing holds nothing.
    ///
    /// # Errors
    /// A file that cannot be read, or that is not what the roles above it say.
    pub fn read(out: &Path) -> Result<Self, Error> {
        Self::default().again(out)
    }

    /// Reads it as [`Published::read`] does, where most of it may be what this is: a role that is named and delegated as it
    /// was is not read, nor are its signatures verified, again.
    ///
    /// # Errors
    /// As [`Published::read`].
    pub fn again(&self, out: &Path) -> Result<Self, Error> {
        let metadata = out.join("metadata");
        let highest = highest(&metadata)?;
        let mut published = Self { highest, ..Self::default() };
        let mut roots = Vec::new();
        let newest = published.highest.get("root").copied().unwrap_or(0);
        for version in newest.saturating_sub(1).max(1)..=newest {
            let path = metadata.join(format!("{version}.root.json"));
            let root: Kept<Root> = parse(&path, needed(&path)?)?;
            if !Authority::top_level(&root.value, "root").is_some_and(|by| by.is_met_by(&root.bytes)) {
                return Err(damaged(&path, "its own keys did not sign it"));
            }
            roots.insert(0, root);
        }
        let path = metadata.join("timestamp.json");
        let reading = Reading { metadata, roots: &roots, before: self };
        if let Some(bytes) = optional(&path)? {
            published.timestamp_second = fs::metadata(&path).ok().map(|metadata| metadata.mtime());
            reading.walk(parse(&path, bytes)?, &mut published)?;
            published.desired = reading.desired(&published, &out.join("targets"))?;
        }
        published.root = roots.into_iter().next();
        Ok(published)
    }

    /// Whether reading `out` now would give this: the timestamp has the same bytes, which name everything by digest, and no
    /// role has a newer file. Who publishes there does not matter.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn is_still_in(&self, out: &Path) -> Result<bool, Error> {
        let metadata = out.join("metadata");
        let timestamp = optional(&metadata.join("timestamp.json"))?;
        let same = timestamp.as_ref() == self.timestamp.as_ref().map(|kept| &kept.bytes);
        Ok(same && highest(&metadata)? == self.highest)
    }

    /// Whether the file of the delegated role `name` was found to carry the signatures that `authority` asks for when it was
    /// read, because the published targets ask for the same.
    pub(super) fn is_signed_by(&self, name: &str, authority: &Authority<'_>) -> bool {
        let delegations = self.targets.as_ref().and_then(|kept| kept.value.delegations.as_ref());
        delegations.is_some_and(|Delegations { roles, keys }| {
            let delegation = roles.iter().find(|delegation| delegation.name == name);
            delegation.is_some_and(|delegation| Authority::delegated(delegation, keys).asks_for(authority))
        })
    }

    /// The version that the next file of `role` gets: above the published one and above any that a crash left over.
    pub fn next_version(&self, role: &str) -> u64 {
        let named = match role {
            "snapshot" => self.snapshot.as_ref().map(|kept| kept.value.version()),
            "timestamp" => self.timestamp.as_ref().map(|kept| kept.value.version()),
            "targets" => self.targets.as_ref().map(|kept| kept.value.version()),
            _ => self.delegated.get(role).map(|kept| kept.value.version()),
        };
        1 + named.unwrap_or(0).max(self.highest.get(role).copied().unwrap_or(0))
    }
}

struct Reading<'a> {
    metadata: PathBuf,
    /// The newest, then the one before: a crash may have published a root before what its new keys sign.
    roots: &'a [Kept<Root>],
    /// What was read before.
    before: &'a Published,
}

impl Reading<'_> {
    fn walk(&self, timestamp: Kept<Timestamp>, published: &mut Published) -> Result<(), Error> {
        self.check("timestamp", &self.metadata.join("timestamp.json"), &timestamp.bytes)?;
        let named = timestamp.value.meta.get("snapshot.json");
        let snapshot: Kept<Snapshot> = self.named("snapshot", named)?;
        let path = |role: &str, version: u64| self.metadata.join(format!("{version}.{role}.json"));
        self.check("snapshot", &path("snapshot", snapshot.value.version()), &snapshot.bytes)?;
        let targets: Kept<Targets> = self.named("targets", snapshot.value.meta.get("targets.json"))?;
        self.check("targets", &path("targets", targets.value.version()), &targets.bytes)?;
        if let Some(delegations) = &targets.value.delegations {
            published.delegated = self.delegated(delegations, &snapshot.value)?;
        }
        published.timestamp = Some(timestamp);
        published.snapshot = Some(snapshot);
        published.targets = Some(targets);
        Ok(())
    }

    /// The delegated roles that the snapshot names. A role that is delegated and never was signed is none of them: its
    /// owners' signatures are still owed.
    ///
    /// They are shared out over the processors: a fleet has hundreds, and checking signatures is most of the work.
    fn delegated(
        &self,
        delegations: &Delegations,
        snapshot: &Snapshot,
    ) -> Result<BTreeMap<String, Kept<Targets>>, Error> {
        let meta = |role: &Delegation| snapshot.meta.get(&format!("{}.json", role.name));
        let roles = delegations.roles.iter();
        let named: Vec<_> = roles.filter_map(|role| Some((role, meta(role)?))).collect();
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let read = |part: &[(&Delegation, &MetaFile)]| {
            let role = |(role, named): &(&Delegation, &MetaFile)| {
                Ok((role.name.clone(), self.role(delegations, role, named)?))
            };
            part.iter().map(role).collect::<Result<Vec<_>, Error>>()
        };
        let parts = thread::scope(|scope| {
            let share = named.len().div_ceil(processors).max(1);
            let parts: Vec<_> = named.chunks(share).map(|part| scope.spawn(|| read(part))).collect();
            let parts =
                parts.into_iter().map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic)));
            parts.collect::<Result<Vec<_>, Error>>()
        });
        Ok(parts?.into_iter().flatten().collect())
    }

    /// One delegated role, as it was read before or from its file.
    fn role(
        &self,
        delegations: &Delegations,
        delegation: &Delegation,
        named: &MetaFile,
    ) -> Result<Kept<Targets>, Error> {
        if let Some(kept) = self.unchanged(delegations, delegation, named) {
            return Ok(kept.clone());
        }
        let name = &delegation.name;
        let role: Kept<Targets> = self.named(name, Some(named))?;
        if Authority::delegated(delegation, &delegations.keys).is_met_by(&role.bytes) {
            return Ok(role);
        }
        let path = self.metadata.join(format!("{}.{name}.json", role.value.version()));
        Err(damaged(&path, "too few of its keys signed it"))
    }

    /// A role that was read before, of the same keys and with the same bytes.
    fn unchanged(
        &self,
        delegations: &Delegations,
        delegation: &Delegation,
        named: &MetaFile,
    ) -> Option<&Kept<Targets>> {
        let kept = self.before.delegated.get(&delegation.name)?;
        let before = self.before.targets.as_ref()?.value.delegations.as_ref()?;
        let snapshot = &self.before.snapshot.as_ref()?.value;
        let same = snapshot.meta.get(&format!("{}.json", delegation.name)) == Some(named)
            && named.hashes.is_some()
            && before.keys == delegations.keys
            && before.roles.contains(delegation);
        same.then_some(kept)
    }

    fn check(&self, role: &str, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let met = |root: &Kept<Root>| {
            Authority::top_level(&root.value, role).is_some_and(|authority| authority.is_met_by(bytes))
        };
        if self.roots.iter().any(met) { Ok(()) } else { Err(damaged(path, "too few of its keys signed it")) }
    }

    /// The file of `role` that the role above it names.
    fn named<T: Role>(&self, role: &str, named: Option<&MetaFile>) -> Result<Kept<T>, Error> {
        let Some(named) = named else {
            return Err(damaged(&self.metadata.join("timestamp.json"), "it leads to no file of every role"));
        };
        let path = self.metadata.join(format!("{}.{role}.json", named.version));
        let bytes = needed(&path)?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let digest = Digest::of(&bytes).to_string();
        let stated = named.hashes.as_ref().and_then(|hashes| hashes.get("sha256"));
        if named.length.is_some_and(|stated| stated != length)
            || stated.is_some_and(|stated| *stated != digest)
        {
            return Err(damaged(&path, "it is not the file that was signed"));
        }
        let kept: Kept<T> = parse(&path, bytes)?;
        if kept.value.version() == named.version.get() {
            Ok(kept)
        } else {
            Err(damaged(&path, "it has another version"))
        }
    }

    fn desired(
        &self,
        published: &Published,
        targets: &Path,
    ) -> Result<BTreeMap<EnvironmentName, Desired>, Error> {
        let mut found = BTreeMap::new();
        for (role, kept) in &published.delegated {
            let Some(Ok(environment)) = role.strip_prefix("env.").map(str::parse::<EnvironmentName>) else {
                continue;
            };
            let name = format!("{role}.desired.json");
            let Some(target) = kept.value.targets.get(&name) else { continue };
            let digest = target.sha256().unwrap_or(Digest::from([0; 32]));
            let path = targets.join(format!("{digest}.{name}"));
            let bytes = needed(&path)?;
            if Digest::of(&bytes) != digest {
                return Err(damaged(&path, "it is not the file that was signed"));
            }
            let desired =
                Desired::parse(&bytes, &environment).map_err(|error| damaged(&path, &error.to_string()))?;
            found.insert(environment, desired);
        }
        Ok(found)
    }
}

/// Per role the highest version among the files `N.<role>.json`.
fn highest(metadata: &Path) -> Result<BTreeMap<String, u64>, Error> {
    let failed = |source| Error::Io { what: "list", path: metadata.to_owned(), source };
    let mut highest = BTreeMap::new();
    let entries = match fs::read_dir(metadata) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(highest),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let parts = name.to_str().and_then(|name| name.strip_suffix(".json")?.split_once('.'));
        let Some((Ok(version), role)) = parts.map(|(version, role)| (version.parse::<u64>(), role)) else {
            continue;
        };
        let known = highest.entry(role.to_owned()).or_insert(version);
        *known = version.max(*known);
    }
    Ok(highest)
}

fn parse<T: Role>(path: &Path, bytes: Vec<u8>) -> Result<Kept<T>, Error> {
    let broken = |error: &dyn std::error::Error| damaged(path, &format!("it is not readable: {error}"));
    let envelope: Envelope<'_> = serde_json::from_slice(&bytes).map_err(|error| broken(&error))?;
    let value: T = serde_json::from_str(envelope.signed.get()).map_err(|error| broken(&error))?;
    value.check().map_err(|error| damaged(path, &error.to_string()))?;
    Ok(Kept { bytes, value })
}

fn optional(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { what: "read", path: path.to_owned(), source }),
    }
}

fn needed(path: &Path) -> Result<Vec<u8>, Error> {
    optional(path)?.ok_or_else(|| damaged(path, "it is missing"))
}

fn damaged(path: &Path, found: &str) -> Error {
    Error::Damaged { path: path.to_owned(), found: found.to_owned() }
}
