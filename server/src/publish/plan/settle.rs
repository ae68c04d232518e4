//! One role: kept as it is, or signed anew.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use serde::Serialize;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::roles::{MetaFile, Role};
use tidelock_protocol::time::Timestamp as Time;

use super::super::Error;
use super::super::published::Kept;
use super::super::sign::{self, Authority};
use super::Draft;

/// A role as it will be published.
#[derive(Clone, Debug)]
pub(super) struct Settled<T> {
    pub(super) value: T,
    pub(super) bytes: Vec<u8>,
    /// The new file's name, when it is new.
    pub(super) name: Option<String>,
    /// Whether it says what it should; otherwise a signature is missing.
    pub(super) is_current: bool,
}

/// One role to be settled.
pub(super) struct Ask<'a, T> {
    pub(super) role: &'a str,
    /// Whose signatures make it whole.
    pub(super) authority: Authority<'a>,
    /// Who signed it under the root before: they sign as well where they can.
    pub(super) old: Option<Authority<'a>>,
    pub(super) kept: Option<&'a Kept<T>>,
    /// Whether `kept` says what the role should say.
    pub(super) is_same: bool,
    pub(super) life: Duration,
    /// How long after signing it is signed again.
    pub(super) resign: Duration,
}

impl<T: Role> Settled<T> {
    /// What the role above says of this file.
    pub(super) fn meta(&self) -> MetaFile {
        let hashes = BTreeMap::from([("sha256".to_owned(), Digest::of(&self.bytes).to_string())]);
        let version = NonZeroU64::new(self.value.version()).unwrap_or(NonZeroU64::MIN);
        MetaFile { version, length: u64::try_from(self.bytes.len()).ok(), hashes: Some(hashes) }
    }
}

impl Draft<'_> {
    /// Keeps the role when it is the same, whole and young; signs it when it can be signed; otherwise keeps what there
    /// is and notes whose signature is missing, unless only its age would have it signed again.
    pub(super) fn settle<T: Role + Serialize + Clone>(
        &mut self,
        ask: &Ask<'_, T>,
        make: impl FnOnce(NonZeroU64, Time) -> T,
    ) -> Result<Option<Settled<T>>, Error> {
        let Ask { role, authority, old, kept, is_same, life, resign } = ask;
        let now = self.input.now;
        let good = kept.filter(|kept| *is_same && self.is_whole(role, authority, &kept.bytes));
        let keep = |kept: &Kept<T>, is_current| Settled {
            value: kept.value.clone(),
            bytes: kept.bytes.clone(),
            name: None,
            is_current,
        };
        let is_young = |kept: &&Kept<T>| kept.value.expires() > now.after(life.saturating_sub(*resign));
        if let Some(kept) = good.filter(is_young) {
            return Ok(Some(keep(kept, true)));
        }
        let (mut signers, enough) = authority.signers(self.input.keyring);
        if !enough {
            if good.is_none() {
                self.missing(role, authority);
            }
            return Ok(kept.map(|kept| keep(kept, good.is_some())));
        }
        if let Some(old) = old {
            let (also, enough) = old.signers(self.input.keyring);
            signers.extend(also);
            self.has_old_keys &= enough;
        }
        let version = if *role == "root" {
            1 + kept.map_or(0, |kept| kept.value.version())
        } else {
            self.input.published.next_version(role)
        };
        let value = make(NonZeroU64::new(version).unwrap_or(NonZeroU64::MIN), now.after(*life));
        let bytes = sign::file(role, &value, &signers)?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length > T::LIMIT {
            return Err(Error::TooLong { role: (*role).to_owned(), length, limit: T::LIMIT });
        }
        self.plan.signed.push(((*role).to_owned(), version));
        let name = Some(format!("{version}.{role}.json"));
        Ok(Some(Settled { value, bytes, name, is_current: true }))
    }
}
