//! One metadata file: its length and digests, its signatures, and only then what it says.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256, Sha512};

use super::error::Error;
use crate::canonical;
use crate::keys::{KeyId, PublicKey};
use crate::limits;
use crate::roles::{Delegation, Envelope, Hashes, MetaFile, Role, Root, Target};
use crate::time::Now;

/// The metadata file that the next step needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The role as metadata names it; percent-encoded in URLs and file names.
    pub role: String,
    /// The version to ask for.
    pub version: u64,
    /// Most bytes to read.
    pub limit: u64,
    pub(super) hashes: Option<Hashes>,
}

impl Wanted {
    pub(super) fn of<R: Role>(role: &str, meta: &MetaFile) -> Self {
        let limit = meta.length.map_or(R::LIMIT, |stated| stated.min(R::LIMIT));
        Self { role: role.into(), version: meta.version.get(), limit, hashes: meta.hashes.clone() }
    }

    pub(super) fn check_version(&self, found: u64) -> Result<(), Error> {
        if found == self.version {
            return Ok(());
        }
        Err(Error::Version { role: self.role.clone(), found, expected: self.version })
    }

    /// The role in `bytes`, if it is this one, signed by `signers`, and not expired.
    pub(super) fn verify<R: Role>(&self, bytes: &[u8], signers: &Signers, now: Now) -> Result<R, Error> {
        self.verify_unexpired(bytes, signers, |role: &R| judge_expiry(&self.role, role, now))
    }

    /// The same, with `judge` in the place where expiry is judged: after everything else (5.5.6, 5.6.5).
    pub(super) fn verify_unexpired<R: Role>(
        &self,
        bytes: &[u8],
        signers: &Signers,
        judge: impl FnOnce(&R) -> Result<(), Error>,
    ) -> Result<R, Error> {
        within(&self.role, bytes, self.limit)?;
        if let Some(hashes) = &self.hashes {
            check_digests(&self.role, hashes, bytes)?;
        }
        let role: R = verified(&self.role, bytes, signers)?;
        self.check_version(role.version())?;
        judge(&role)?;
        Ok(role)
    }
}

/// Who must sign a role.
#[derive(Clone, Debug)]
pub(super) struct Signers {
    keys: BTreeMap<KeyId, PublicKey>,
    threshold: u32,
}

impl Signers {
    pub(super) fn of_root(root: &Root, role: &str) -> Self {
        // A checked root names all four roles; without keys nothing would ever reach the threshold.
        let (keyids, threshold) =
            root.roles.get(role).map_or((&[][..], 1), |role| (&role.keyids, role.threshold.get()));
        Self::new(&root.keys, keyids, threshold)
    }

    pub(super) fn of_delegation(keys: &BTreeMap<KeyId, PublicKey>, role: &Delegation) -> Self {
        Self::new(keys, &role.keyids, role.threshold.get())
    }

    fn new(keys: &BTreeMap<KeyId, PublicKey>, keyids: &[KeyId], threshold: u32) -> Self {
        let named = keyids.iter().filter_map(|id| Some((id.clone(), keys.get(id)?.clone())));
        Self { keys: named.collect(), threshold }
    }

    /// Counts the different keys that signed, by what they are and not by their ids.
    pub(super) fn require(&self, role: &str, envelope: &Envelope<'_>) -> Result<(), Error> {
        let message = canonical::of(envelope.signed.get().as_bytes())
            .map_err(|source| Error::Unreadable { role: role.into(), source })?;
        let signed = envelope.signatures.iter().filter_map(|signature| {
            let material = self.keys.get(&signature.keyid)?.material()?;
            material.verifies(&message, &signature.sig).then_some(material)
        });
        let valid = signed.collect::<BTreeSet<_>>().len();
        if u32::try_from(valid).unwrap_or(u32::MAX) >= self.threshold {
            return Ok(());
        }
        Err(Error::Threshold { role: role.into(), valid, needed: self.threshold })
    }
}

/// Opens the envelope of a file, and reads nothing of what is signed.
pub(super) fn envelope<'a, R: Role>(role: &str, bytes: &'a [u8]) -> Result<Envelope<'a>, Error> {
    within(role, bytes, R::LIMIT)?;
    let envelope: Envelope<'a> =
        serde_json::from_slice(bytes).map_err(|source| Error::Unreadable { role: role.into(), source })?;
    let (found, limit) = (envelope.signatures.len(), limits::SIGNATURES);
    if found > limit {
        return Err(Error::TooManySignatures { role: role.into(), found, limit });
    }
    let mut seen = BTreeSet::new();
    match envelope.signatures.iter().find(|signature| !seen.insert(&signature.keyid)) {
        Some(twice) => Err(Error::SignedTwice { role: role.into(), keyid: twice.keyid.clone() }),
        None => Ok(envelope),
    }
}

/// What an envelope says, in the form that its role has.
pub(super) fn read<R: Role>(role: &str, envelope: &Envelope<'_>) -> Result<R, Error> {
    // From bytes like everything else: a second kind of reader would be 41 kB of the agent.
    let read: R = serde_json::from_slice(envelope.signed.get().as_bytes())
        .map_err(|source| Error::Unreadable { role: role.into(), source })?;
    read.check().map_err(|source| Error::Malformed { role: role.into(), source })?;
    Ok(read)
}

/// Envelope, signatures, content: in this order.
pub(super) fn verified<R: Role>(role: &str, bytes: &[u8], signers: &Signers) -> Result<R, Error> {
    let envelope = envelope::<R>(role, bytes)?;
    signers.require(role, &envelope)?;
    read(role, &envelope)
}

pub(super) fn judge_expiry(role: &str, found: &impl Role, now: Now) -> Result<(), Error> {
    let (expires, now) = (found.expires(), now.wall);
    if now < expires { Ok(()) } else { Err(Error::Expired { role: role.into(), expires, now }) }
}

/// Judges the bytes of the target `name` by what its role says of it (5.7.3).
///
/// # Errors
/// Another length, another digest, or no digest of a known kind.
pub fn check_target(name: &str, target: &Target, bytes: &[u8]) -> Result<(), Error> {
    within(name, bytes, target.length)?;
    let found = length(bytes);
    if found < target.length {
        return Err(Error::Length { name: name.into(), found, stated: target.length });
    }
    check_digests(name, &target.hashes, bytes)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn within(what: &str, bytes: &[u8], limit: u64) -> Result<(), Error> {
    let found = length(bytes);
    if found <= limit { Ok(()) } else { Err(Error::TooLong { what: what.into(), found, limit }) }
}

/// Every known digest must fit, and one must be known.
fn check_digests(what: &str, hashes: &Hashes, bytes: &[u8]) -> Result<(), Error> {
    let known = [
        ("sha256", hashes.get("sha256").map(|stated| *stated == HEXLOWER.encode(&Sha256::digest(bytes)))),
        ("sha512", hashes.get("sha512").map(|stated| *stated == HEXLOWER.encode(&Sha512::digest(bytes)))),
    ];
    if known.iter().all(|(_, fits)| fits.is_none()) {
        return Err(Error::NoKnownDigest { what: what.into() });
    }
    match known.into_iter().find(|(_, fits)| *fits == Some(false)) {
        Some((algorithm, _)) => Err(Error::Digest { what: what.into(), algorithm }),
        None => Ok(()),
    }
}
