//! Signatures over roles: made with the keys at hand, and counted as a device counts them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tidelock_protocol::canonical;
use tidelock_protocol::keys::{KeyId, Material, PublicKey};
use tidelock_protocol::roles::{Delegation, Envelope, RoleKeys, Root};

use super::Error;
use crate::keys::{Keyring, Secret};

/// Whose signatures a role needs, and the keys to check them with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Authority<'a> {
    pub(super) keyids: &'a [KeyId],
    pub(super) threshold: u32,
    pub(super) keys: &'a BTreeMap<KeyId, PublicKey>,
}

impl<'a> Authority<'a> {
    /// Who signs the top-level role `name` according to `root`.
    pub(super) fn top_level(root: &'a Root, name: &str) -> Option<Self> {
        let RoleKeys { keyids, threshold } = root.roles.get(name)?;
        Some(Self { keyids, threshold: threshold.get(), keys: &root.keys })
    }

    /// Who signs a delegated role.
    pub(super) fn delegated(delegation: &'a Delegation, keys: &'a BTreeMap<KeyId, PublicKey>) -> Self {
        Self { keyids: &delegation.keyids, threshold: delegation.threshold.get(), keys }
    }

    /// The private keys of `keyring` that may sign, and whether they are enough.
    pub(super) fn signers(&self, keyring: &'a Keyring) -> (Vec<&'a Secret>, bool) {
        let found: Vec<&Secret> = self.keyids.iter().filter_map(|id| keyring.find(id)).collect();
        let distinct: BTreeSet<&KeyId> = found.iter().map(|secret| secret.id()).collect();
        let enough = distinct.len() >= usize::try_from(self.threshold).unwrap_or(usize::MAX);
        (found, enough)
    }

    /// Whether the same signatures of the same keys meet both.
    pub(super) fn asks_for(&self, same: &Authority<'_>) -> bool {
        (self.keyids, self.threshold) == (same.keyids, same.threshold)
            && self.keyids.iter().all(|id| self.keys.get(id) == same.keys.get(id))
    }

    /// Whether the file `bytes` carries enough signatures: distinct keys, however they are spelled.
    pub(super) fn is_met_by(&self, bytes: &[u8]) -> bool {
        let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(bytes) else { return false };
        let Ok(message) = canonical::of(envelope.signed.get().as_bytes()) else { return false };
        let valid = envelope.signatures.iter().filter_map(|signature| {
            let material = self
                .keyids
                .contains(&signature.keyid)
                .then(|| self.keys.get(&signature.keyid))??
                .material()?;
            material.verifies(&message, &signature.sig).then_some(material)
        });
        let distinct: BTreeSet<Material> = valid.collect();
        distinct.len() >= usize::try_from(self.threshold).unwrap_or(usize::MAX)
    }
}

/// The file of `role` with content `value`, signed by each of `signers` once.
///
/// # Errors
/// The value has no canonical form.
pub(super) fn file<T: Serialize>(role: &str, value: &T, signers: &[&Secret]) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Json { role: role.to_owned(), source };
    let message = canonical::to_vec(value).map_err(failed)?;
    let once: BTreeMap<&KeyId, &Secret> = signers.iter().map(|secret| (secret.id(), *secret)).collect();
    let signatures = once.values().map(|secret| secret.sign(&message)).collect();
    let text = serde_json::to_string(value).map_err(failed)?;
    let signed = serde_json::value::RawValue::from_string(text).map_err(failed)?;
    serde_json::to_vec(&Envelope { signatures, signed: &signed }).map_err(failed)
}
