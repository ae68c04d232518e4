//! The four top-level roles.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use tidelock_protocol::roles::{
    Delegation, Delegations, MetaFile, Root, RootType, Snapshot, SnapshotType, SpecVersion, Targets,
    TargetsType, Timestamp, TimestampType,
};

use super::super::Error;
use super::super::published::Kept;
use super::super::sign::{self, Authority};
use super::Draft;
use super::settle::{Ask, Settled};

impl Draft<'_> {
    /// The root that the other roles are signed under: the one of the rules, or the published one while signatures for
    /// a new one are missing.
    pub(super) fn root(&mut self) -> Result<Option<Root>, Error> {
        let rules = self.input.rules;
        let named = [
            ("root", &rules.root),
            ("targets", &rules.root),
            ("snapshot", &rules.snapshot),
            ("timestamp", &rules.timestamp),
        ];
        let wanted = Root {
            kind: RootType::Is,
            spec_version: SpecVersion::default(),
            version: NonZeroU64::MIN,
            expires: self.input.now,
            consistent_snapshot: true,
            keys: named.iter().flat_map(|(_, rule)| rule.by_id()).collect(),
            roles: named.iter().map(|(name, rule)| ((*name).to_owned(), rule.role_keys())).collect(),
        };
        let kept = self.input.published.root.as_ref();
        let is_same =
            kept.is_some_and(|kept| kept.value.keys == wanted.keys && kept.value.roles == wanted.roles);
        let old = kept.and_then(|kept| Authority::top_level(&kept.value, "root"));
        if !is_same && !self.can_change_to(&wanted, old.as_ref()) {
            return Ok(kept.map(|kept| kept.value.clone()));
        }
        let Some(authority) = Authority::top_level(&wanted, "root") else { return Ok(None) };
        let life = rules.root.life;
        let ask = Ask { role: "root", authority, old, kept, is_same, life, resign: life / 2 };
        let settled = self.settle(&ask, |version, expires| Root { version, expires, ..wanted.clone() })?;
        let Some(settled) = settled else { return Ok(None) };
        self.files.root = settled.name.map(|name| (name, settled.bytes));
        Ok(Some(settled.value))
    }

    /// Whether the old root's people and everybody whom the new root names can sign; what is missing is noted.
    fn can_change_to(&mut self, new: &Root, old: Option<&Authority<'_>>) -> bool {
        let others = ["root", "targets", "snapshot", "timestamp"];
        let named = others.into_iter().filter_map(|role| Some((role, Authority::top_level(new, role)?)));
        let all: Vec<_> = named.chain(old.map(|old| ("root", *old))).collect();
        let lacking: Vec<_> = all.into_iter().filter(|(_, authority)| !self.can_sign(authority)).collect();
        lacking.iter().for_each(|(role, authority)| self.missing(role, authority));
        lacking.is_empty()
    }

    /// `targets`, which only delegates; `None` when there is none that can be published.
    pub(super) fn targets(
        &mut self,
        root: &Root,
        old: Option<&Root>,
    ) -> Result<Option<Settled<Targets>>, Error> {
        let Some(authority) = Authority::top_level(root, "targets") else { return Ok(None) };
        let old = old.and_then(|old| Authority::top_level(old, "targets"));
        let kept = self.input.published.targets.as_ref();
        let delegations = self.delegations();
        let is_same = kept.is_some_and(|kept| kept.value.delegations.as_ref() == Some(&delegations));
        let life = self.input.rules.root.life;
        let ask = Ask { role: "targets", authority, old, kept, is_same, life, resign: life / 2 };
        self.settle(&ask, |version, expires| Targets {
            kind: TargetsType::Is,
            spec_version: SpecVersion::default(),
            version,
            expires,
            targets: BTreeMap::new(),
            delegations: Some(delegations),
        })
    }

    /// The delegations of the rules, and those of retired roles: a role that vanished would be an attack to every
    /// client (TUF 1.0.34 §5.5.5). New keys for a role count from the moment that they signed it.
    fn delegations(&mut self) -> Delegations {
        let published = self.input.published;
        let before = published.targets.as_ref().and_then(|kept| kept.value.delegations.as_ref());
        let mut roles: BTreeMap<String, Delegation> = BTreeMap::new();
        let mut keys = BTreeMap::new();
        for (name, (delegation, rule)) in self.rules.clone() {
            let known = before.and_then(|before| before.roles.iter().find(|role| role.name == name));
            let by_id = rule.by_id();
            let authority = Authority::delegated(&delegation, &by_id);
            let kept = published.delegated.get(&name);
            let is_whole = |kept: &Kept<Targets>| self.is_whole(&name, &authority, &kept.bytes);
            let will_be = self.can_sign(&authority) || kept.is_none_or(is_whole);
            match known.filter(|_| !will_be) {
                Some(known) => {
                    self.missing(&name, &authority);
                    roles.insert(name, known.clone());
                }
                None => {
                    keys.extend(by_id.clone());
                    roles.insert(name, delegation);
                }
            }
        }
        for known in before.iter().flat_map(|before| &before.roles) {
            roles.entry(known.name.clone()).or_insert_with(|| known.clone());
        }
        let used = |id| roles.values().any(|role| role.keyids.contains(id));
        let old = before.iter().flat_map(|before| &before.keys).filter(|(id, _)| used(id));
        keys.extend(old.map(|(id, key)| (id.clone(), key.clone())));
        Delegations { keys, roles: roles.into_values().collect() }
    }

    /// Whether both are there and say what they should.
    pub(super) fn snapshot_and_timestamp(
        &mut self,
        root: &Root,
        old: Option<&Root>,
        roles: BTreeMap<String, MetaFile>,
    ) -> Result<bool, Error> {
        let kept = self.input.published.snapshot.as_ref();
        let is_same = kept.is_some_and(|kept| kept.value.meta == roles);
        let life = self.input.rules.snapshot.life;
        let Some(authority) = Authority::top_level(root, "snapshot") else { return Ok(false) };
        let old_authority = old.and_then(|old| Authority::top_level(old, "snapshot"));
        let ask =
            Ask { role: "snapshot", authority, old: old_authority, kept, is_same, life, resign: life / 2 };
        let (kind, spec_version) = (SnapshotType::Is, SpecVersion::default());
        let make = |version, expires| Snapshot { kind, spec_version, version, expires, meta: roles };
        let Some(snapshot) = self.settle(&ask, make)?.filter(|snapshot| snapshot.is_current) else {
            return Ok(false);
        };
        let meta = BTreeMap::from([("snapshot.json".to_owned(), snapshot.meta())]);
        self.files.snapshot = snapshot.name.map(|name| (name, snapshot.bytes));
        self.timestamp(root, old, meta)
    }

    fn timestamp(
        &mut self,
        root: &Root,
        old: Option<&Root>,
        meta: BTreeMap<String, MetaFile>,
    ) -> Result<bool, Error> {
        let (rules, published) = (self.input.rules, self.input.published);
        let newest_root = Some(root.version.get());
        let kept = published.timestamp.as_ref();
        let is_same =
            kept.is_some_and(|kept| kept.value.meta == meta && kept.value.newest_root == newest_root);
        let Some(authority) = Authority::top_level(root, "timestamp") else { return Ok(false) };
        let old_authority = old.and_then(|old| Authority::top_level(old, "timestamp"));
        let (life, resign) = (rules.timestamp.life, rules.resign);
        let ask = Ask { role: "timestamp", authority, old: old_authority, kept, is_same, life, resign };
        let signed_at = Some(self.input.now);
        let (kind, spec_version) = (TimestampType::Is, SpecVersion::default());
        let make = |version, expires| Timestamp {
            kind,
            spec_version,
            version,
            expires,
            meta,
            signed_at,
            newest_root,
        };
        let Some(timestamp) = self.settle(&ask, make)?.filter(|timestamp| timestamp.is_current) else {
            return Ok(false);
        };
        if timestamp.name.is_none() {
            return Ok(true);
        }
        // Two files of one length within one second look the same to a web server.
        let second =
            self.input.now.unix().max(published.timestamp_second.map_or(i64::MIN, |second| second + 1));
        let Some(old) = old.filter(|_| self.has_old_keys && !self.is_published_whole_under(root)) else {
            self.files.timestamp = Some((timestamp.bytes, second));
            return Ok(true);
        };
        let also = Authority::top_level(old, "timestamp").map(|old| old.signers(self.input.keyring).0);
        let signers: Vec<_> =
            authority.signers(self.input.keyring).0.into_iter().chain(also.into_iter().flatten()).collect();
        let bridge = Timestamp { newest_root: Some(old.version.get()), ..timestamp.value.clone() };
        let last = Timestamp { version: bridge.version.saturating_add(1), ..timestamp.value };
        self.files.bridge = Some((sign::file("timestamp", &bridge, &signers)?, second));
        self.files.timestamp = Some((sign::file("timestamp", &last, &signers)?, second + 1));
        Ok(true)
    }

    /// Whether the roles that are published now would be whole under this root.
    fn is_published_whole_under(&self, root: &Root) -> bool {
        let published = self.input.published;
        let files = [
            ("targets", published.targets.as_ref().map(|kept| &kept.bytes)),
            ("snapshot", published.snapshot.as_ref().map(|kept| &kept.bytes)),
            ("timestamp", published.timestamp.as_ref().map(|kept| &kept.bytes)),
        ];
        files.into_iter().all(|(role, bytes)| {
            let authority = Authority::top_level(root, role);
            bytes.is_none_or(|bytes| authority.is_some_and(|authority| authority.is_met_by(bytes)))
        })
    }
}
