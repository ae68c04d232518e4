//! Why metadata is not believed.

use crate::keys::KeyId;
use crate::roles::Malformed;
use crate::time::Timestamp as Time;

/// The rule that metadata or a file breaks; sections of the TUF specification 1.0.34.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a metadata file of this role.
    #[error("role {role:?} is not readable as TUF metadata")]
    Unreadable {
        /// The role.
        role: String,
        /// Where the text breaks off, or what is missing.
        #[source]
        source: serde_json::Error,
    },
    /// Readable, and against a rule of its form.
    #[error("role {role:?} breaks a rule of the TUF format")]
    Malformed {
        /// The role.
        role: String,
        /// Which one.
        #[source]
        source: Malformed,
    },
    /// Its repository names files without versions (6.2).
    #[error("the root says consistent_snapshot = false: such repositories are not read here")]
    Inconsistent,
    /// More signatures than anybody needs.
    #[error("role {role:?} carries {found} signatures; at most {limit} are looked at")]
    TooManySignatures {
        /// The role.
        role: String,
        /// How many.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// 4.2.1: one key id, two signatures.
    #[error("role {role:?} carries two signatures of the key {keyid}")]
    SignedTwice {
        /// The role.
        role: String,
        /// The key.
        keyid: KeyId,
    },
    /// Too few of its keys signed it.
    #[error("role {role:?} is signed by {valid} of its keys, {needed} are needed")]
    Threshold {
        /// The role.
        role: String,
        /// How many different keys signed.
        valid: usize,
        /// The threshold.
        needed: u32,
    },
    /// Another version than the one asked for.
    #[error("role {role:?} has version {found} where version {expected} belongs")]
    Version {
        /// The role.
        role: String,
        /// Its version.
        found: u64,
        /// The version asked for.
        expected: u64,
    },
    /// An older version than one that was trusted already.
    #[error(
        "role {role:?} went back from version {stored} to {found}: somebody offers an old state (rollback)"
    )]
    Rollback {
        /// The role.
        role: String,
        /// The version offered.
        found: u64,
        /// The version trusted already.
        stored: u64,
    },
    /// The timestamp names a root that the server does not give.
    #[error(
        "the timestamp names root {named}, but the newest that the server gives is {seen}: a newer root is withheld"
    )]
    RootWithheld {
        /// The version that it names.
        named: u64,
        /// The version reached.
        seen: u64,
    },
    /// 5.5.5: a role that the trusted snapshot listed.
    #[error("the new snapshot no longer lists role {role:?}")]
    Vanished {
        /// The role.
        role: String,
    },
    /// A role or file that is not in the snapshot.
    #[error("role {role:?} is delegated to but not in the snapshot")]
    Unlisted {
        /// The role.
        role: String,
    },
    /// Its life is over.
    #[error("role {role:?} expired at {expires}; now it is {now}")]
    Expired {
        /// The role.
        role: String,
        /// End of its life.
        expires: Time,
        /// The time it was judged at.
        now: Time,
    },
    /// Longer than stated, or than anything of its kind may be.
    #[error("{what:?} has {found} bytes, at most {limit} belong there")]
    TooLong {
        /// The role or target.
        what: String,
        /// Its length.
        found: u64,
        /// The length stated, or the limit.
        limit: u64,
    },
    /// Shorter than stated.
    #[error("target {name:?} has {found} bytes where {stated} are stated")]
    Length {
        /// The target.
        name: String,
        /// Its length.
        found: u64,
        /// The length stated.
        stated: u64,
    },
    /// Other bytes than stated.
    #[error("the bytes of {what:?} do not have the stated {algorithm} digest")]
    Digest {
        /// The role or target.
        what: String,
        /// `sha256` or `sha512`.
        algorithm: &'static str,
    },
    /// Digests are stated, none of them of a known kind.
    #[error("no digest of {what:?} is of a kind that is known here (sha256, sha512)")]
    NoKnownDigest {
        /// The role or target.
        what: String,
    },
    /// 5.6.7.1
    #[error("looking for target {name:?} led through {limit} roles without an end")]
    TooManyRoles {
        /// The target.
        name: String,
        /// The limit.
        limit: usize,
    },
}

impl Error {
    /// Whether only time is the matter: everything else about the bytes was in order.
    pub fn is_expiry(&self) -> bool {
        matches!(self, Self::Expired { .. })
    }
}
