//! The metadata of the TUF roles as types, read and written (TUF 1.0.34 §4.2–4.6).
//!
//! A value of these types has the right form, nothing more: who signed it, whether it is new and fresh is `trust`.
//! Unknown members are dropped by the types and kept by the bytes, which is what is hashed, verified and stored.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::digest::Digest;
use crate::keys::{KeyId, PublicKey};
use crate::limits;
use crate::time::Timestamp as Time;

/// The specification that is followed here.
pub const SPEC_VERSION: &str = "1.0.34";

/// The roles that root itself names.
pub const TOP_LEVEL: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// A metadata file: the signed part as it was received, and its signatures. Nothing else is read before it is verified.
#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope<'a> {
    /// At most [`limits::SIGNATURES`], no key id twice (checked by `trust`).
    pub signatures: Vec<Signature>,
    /// The text that, in canonical form, is signed.
    #[serde(borrow)]
    pub signed: &'a RawValue,
}

/// One signature of a metadata file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The key that is said to have made it.
    pub keyid: KeyId,
    /// Hex; an empty or broken one counts for nothing.
    pub sig: String,
}

/// `spec_version`: any whose major is 1 is read, [`SPEC_VERSION`] is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct SpecVersion(String);

impl Default for SpecVersion {
    fn default() -> Self {
        Self(SPEC_VERSION.to_owned())
    }
}

impl TryFrom<String> for SpecVersion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut parts = text.split('.');
        let numeric = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let known =
            parts.next() == Some("1") && parts.clone().all(numeric) && (1..=2).contains(&parts.count());
        if known { Ok(Self(text)) } else { Err(format!("spec_version {text:?} is not 1.x.y")) }
    }
}

/// Declares the type of a role's `_type`, which has one value.
macro_rules! tag {
    ($($type:ident = $name:literal),*) => { $(
        #[doc = concat!("`_type` of ", $name, ".")]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $type {
            #[doc = concat!("`", $name, "`")]
            #[default]
            #[serde(rename = $name)]
            Is,
        }
    )* };
}
tag!(RootType = "root", TimestampType = "timestamp", SnapshotType = "snapshot", TargetsType = "targets");

/// `root`: which keys are trusted for which role (§4.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Always `root`.
    #[serde(rename = "_type")]
    pub kind: RootType,
    /// 1.x.y
    pub spec_version: SpecVersion,
    /// Grows by exactly one.
    pub version: NonZeroU64,
    /// End of its life.
    pub expires: Time,
    /// Whether file names carry versions and digests; tidelock only reads repositories where they do (`trust`).
    #[serde(default)]
    pub consistent_snapshot: bool,
    /// Every key that a role names.
    pub keys: BTreeMap<KeyId, PublicKey>,
    /// The four top-level roles (and any that another tool added).
    pub roles: BTreeMap<String, RoleKeys>,
}

/// Whose signatures a role needs, and how many of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    /// Keys that may sign.
    pub keyids: Vec<KeyId>,
    /// How many different ones must.
    pub threshold: NonZeroU32,
}

/// `timestamp`: which snapshot is the newest (§4.6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timestamp {
    /// Always `timestamp`.
    #[serde(rename = "_type")]
    pub kind: TimestampType,
    /// 1.x.y
    pub spec_version: SpecVersion,
    /// Grows.
    pub version: NonZeroU64,
    /// End of its life.
    pub expires: Time,
    /// `snapshot.json` alone.
    pub meta: BTreeMap<String, MetaFile>,
    /// When it was signed; absent in foreign repositories.
    #[serde(rename = "x-tidelock-signed-at", default, skip_serializing_if = "Option::is_none")]
    pub signed_at: Option<Time>,
    /// The newest root, so that a device that polls the timestamp alone hears of it; absent in foreign repositories.
    #[serde(rename = "x-tidelock-root", default, skip_serializing_if = "Option::is_none")]
    pub newest_root: Option<u64>,
}

/// `snapshot`: the version of every targets role (§4.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Always `snapshot`.
    #[serde(rename = "_type")]
    pub kind: SnapshotType,
    /// 1.x.y
    pub spec_version: SpecVersion,
    /// Grows.
    pub version: NonZeroU64,
    /// End of its life.
    pub expires: Time,
    /// Per role `<role>.json`.
    pub meta: BTreeMap<String, MetaFile>,
}

/// What one metadata file says of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaFile {
    /// Its version.
    pub version: NonZeroU64,
    /// Its length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Its digests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashes: Option<Hashes>,
}

/// Digests by algorithm in lower-case hex. `sha256` and `sha512` are checked; others are not known here.
pub type Hashes = BTreeMap<String, String>;

/// `targets`, and every delegated role: files, and who else may name some (§4.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// Always `targets`.
    #[serde(rename = "_type")]
    pub kind: TargetsType,
    /// 1.x.y
    pub spec_version: SpecVersion,
    /// Grows.
    pub version: NonZeroU64,
    /// End of its life.
    pub expires: Time,
    /// Files by name.
    pub targets: BTreeMap<String, Target>,
    /// Who else may name files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Bytes.
    pub length: u64,
    /// Its digests.
    pub hashes: Hashes,
    /// What the signer says of it; tidelock reads its own member of it (`release`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<serde_json::Value>,
}

impl Target {
    /// A file of `length` bytes with SHA-256 `sha256`, nothing said of it.
    pub fn new(length: u64, sha256: Digest) -> Self {
        Self { length, hashes: BTreeMap::from([("sha256".to_owned(), sha256.to_string())]), custom: None }
    }

    /// Its SHA-256, when that is stated and well formed.
    pub fn sha256(&self) -> Option<Digest> {
        self.hashes.get("sha256")?.parse().ok()
    }
}

/// The delegations of one targets role. TAP 15 (`succinct_roles`) is not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegations {
    /// Every key that a delegated role names.
    pub keys: BTreeMap<KeyId, PublicKey>,
    /// The delegated roles, asked in this order.
    pub roles: Vec<Delegation>,
}

/// One delegated role as its delegator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// Its name, unique among its siblings.
    pub name: String,
    /// Keys that may sign.
    pub keyids: Vec<KeyId>,
    /// How many different ones must.
    pub threshold: NonZeroU32,
    /// Whether the search ends with it for the names that it is asked for.
    #[serde(default)]
    pub terminating: bool,
    /// Patterns of the names that it may sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Or: how the SHA-256 of those names begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hash_prefixes: Option<Vec<String>>,
}

impl Delegation {
    /// Whether this role may say something of the target `name`.
    pub fn covers(&self, name: &str) -> bool {
        let matches = |pattern: &String| fits(pattern.as_bytes(), name.as_bytes());
        let digest = || Digest::of(name.as_bytes()).to_string();
        self.paths.as_ref().is_some_and(|patterns| patterns.iter().any(matches))
            || self.path_hash_prefixes.as_ref().is_some_and(|prefixes| {
                let digest = digest();
                prefixes.iter().any(|prefix| digest.starts_with(prefix.as_str()))
            })
    }
}

/// Shell-style: `*` any text and `?` any character, neither of them a `/` (§4.5).
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where the last `*` stood, and how much of the name it holds so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') if name[n] != b'/' => {
                p += 1;
                n += character(&name[n..]);
            }
            Some(byte) if *byte != b'?' && *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                // The star holds one byte more; its own arm notes that.
                Some((at, held)) if name[held] != b'/' => (p, n) = (at, held + 1),
                _ => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Bytes of the first character of UTF-8 text.
fn character(text: &[u8]) -> usize {
    1 + text.iter().skip(1).take_while(|byte| **byte & 0xc0 == 0x80).count()
}

/// A role that has the shape of its type and still breaks a rule of its form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// §4.3: all four are needed.
    #[error("it names no keys for {0}")]
    RoleMissing(&'static str),
    /// §4.4, §4.6: the entry that the next step needs.
    #[error("it does not name {0}")]
    EntryMissing(&'static str),
    /// §4.6: it names the snapshot and nothing else.
    #[error("it names more than snapshot.json")]
    EntryTooMany,
    /// §4.5: two siblings of one name.
    #[error("it delegates to {0:?} twice")]
    DelegatedTwice(String),
    /// A name that is empty or of a top-level role.
    #[error("it delegates to a role that may not be called {0:?}")]
    DelegatedName(String),
    /// §4.5: one of the two, not both, not none.
    #[error("it delegates to {0:?} with both or neither of paths and path_hash_prefixes")]
    DelegatedPaths(String),
}

/// A role of TUF: what all of them state, and the rules that its type alone cannot hold.
pub trait Role: for<'de> Deserialize<'de> {
    /// Longest file that is read when nobody stated its length.
    const LIMIT: u64;

    /// Its version.
    fn version(&self) -> u64;
    /// End of its life.
    fn expires(&self) -> Time;
    /// Checks the form.
    ///
    /// # Errors
    /// The first rule that is broken.
    fn check(&self) -> Result<(), Malformed>;
}

macro_rules! role {
    ($type:ident, $limit:expr, $check:expr) => {
        impl Role for $type {
            const LIMIT: u64 = $limit;

            fn version(&self) -> u64 {
                self.version.get()
            }

            fn expires(&self) -> Time {
                self.expires
            }

            fn check(&self) -> Result<(), Malformed> {
                let check: fn(&Self) -> Result<(), Malformed> = $check;
                check(self)
            }
        }
    };
}

role!(Root, limits::ROOT_BYTES, |root| {
    let missing = TOP_LEVEL.into_iter().find(|name| !root.roles.contains_key(*name));
    missing.map_or(Ok(()), |name| Err(Malformed::RoleMissing(name)))
});
role!(Timestamp, limits::TIMESTAMP_BYTES, |timestamp| match timestamp.meta.len() {
    _ if !timestamp.meta.contains_key("snapshot.json") => Err(Malformed::EntryMissing("snapshot.json")),
    1 => Ok(()),
    _ => Err(Malformed::EntryTooMany),
});
role!(Snapshot, limits::SNAPSHOT_BYTES, |snapshot| {
    let named = snapshot.meta.contains_key("targets.json");
    if named { Ok(()) } else { Err(Malformed::EntryMissing("targets.json")) }
});
role!(Targets, limits::TARGETS_BYTES, |targets| {
    let mut seen = BTreeSet::new();
    for role in targets.delegations.iter().flat_map(|delegations| &delegations.roles) {
        if role.name.is_empty() || TOP_LEVEL.contains(&role.name.as_str()) {
            return Err(Malformed::DelegatedName(role.name.clone()));
        }
        if !seen.insert(&role.name) {
            return Err(Malformed::DelegatedTwice(role.name.clone()));
        }
        if role.paths.is_some() == role.path_hash_prefixes.is_some() {
            return Err(Malformed::DelegatedPaths(role.name.clone()));
        }
    }
    Ok(())
});

#[cfg(test)]
mod tests;
