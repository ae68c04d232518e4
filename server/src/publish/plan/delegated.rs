//! The delegated roles: environments, rollouts, apps, and those that are retired.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::time::Duration;

use tidelock_protocol::desired::{Build, Desired};
use tidelock_protocol::digest::Digest;
use tidelock_protocol::limits::DESIRED_BYTES;
use tidelock_protocol::names::{AppName, EnvironmentName, TargetName, Version};
use tidelock_protocol::roles::{
    Delegation, Delegations, Envelope, MetaFile, Role, SpecVersion, Target, Targets, TargetsType,
};

use super::super::Error;
use super::super::order::Content;
use super::super::pending::{Missing, Waiting};
use super::super::releases;
use super::super::sign::Authority;
use super::Draft;
use super::settle::{Ask, Settled};

/// How long a signature of a role lives that `fleet.toml` no longer names.
const RETIRED_LIFE: Duration = Duration::from_secs(365 * 86_400);

impl Draft<'_> {
    /// Settles every delegated role of `delegations`, and adds its file to what the snapshot names.
    pub(super) fn delegated(
        &mut self,
        delegations: &Delegations,
        roles: &mut BTreeMap<String, MetaFile>,
    ) -> Result<(), Error> {
        let by_name: BTreeMap<&str, Authority<'_>> = delegations
            .roles
            .iter()
            .map(|role| (role.name.as_str(), Authority::delegated(role, &delegations.keys)))
            .collect();
        let mut named = Named::default();
        let mut contents = BTreeMap::new();
        let environments: Vec<EnvironmentName> = self.input.rules.environments.keys().cloned().collect();
        for environment in environments {
            let role = format!("env.{environment}");
            if let Some(content) = self.environment(&environment, &by_name, &mut named)? {
                contents.insert(role, content);
            }
        }
        for app in self.input.rules.apps.keys() {
            contents.insert(format!("app.{app}"), self.app(app, &by_name, &named)?);
        }
        for Delegation { name, .. } in &delegations.roles {
            let Some(authority) = by_name.get(name.as_str()) else { continue };
            let life = self.rules.get(name).map(|(_, rule)| rule.life);
            let content = match contents.remove(name) {
                Some(content) => content,
                None if name.starts_with("env.") && life.is_some() => continue,
                None => BTreeMap::new(),
            };
            self.role(name, *authority, content, roles, life)?;
        }
        Ok(())
    }

    /// The targets of an environment's role; `None` when it has never been published and cannot be yet.
    fn environment(
        &mut self,
        environment: &EnvironmentName,
        by_name: &BTreeMap<&str, Authority<'_>>,
        named: &mut Named,
    ) -> Result<Option<BTreeMap<String, Target>>, Error> {
        let published = self.input.published;
        let role = format!("env.{environment}");
        let before = published.desired.get(environment);
        let kept = published.delegated.get(&role).map(|kept| kept.value.targets.clone());
        let Some(wanted) = self.input.wanted.get(environment).filter(|wanted| !self.is_published(wanted))
        else {
            named.add(before);
            let can_sign = by_name.get(role.as_str()).is_some_and(|authority| self.can_sign(authority));
            return Ok(kept.or_else(|| can_sign.then(BTreeMap::new)));
        };
        let serial = 1 + before.map_or(0, |before| before.serial);
        let desired = Desired { serial, ..wanted.clone() };
        let missing = self.missing_for(&desired, &role, by_name);
        if !missing.is_empty() {
            named.add(before);
            named.add(Some(&desired));
            self.plan.waiting.push(Waiting { desired, missing });
            return Ok(kept);
        }
        let target = TargetName::Desired(environment.clone()).to_string();
        let bytes =
            serde_json::to_vec(&desired).map_err(|source| Error::Json { role: role.clone(), source })?;
        let (length, digest) = (u64::try_from(bytes.len()).unwrap_or(u64::MAX), Digest::of(&bytes));
        if length > DESIRED_BYTES {
            return Err(Error::TooLong { role: target, length, limit: DESIRED_BYTES });
        }
        named.add(Some(&desired));
        self.files.targets.push((format!("{digest}.{target}"), Content::Bytes(bytes)));
        self.plan.manifests.push(desired);
        Ok(Some(BTreeMap::from([(target, Target::new(length, digest))])))
    }

    /// Whether the environment already wants exactly this, whatever commit said so first.
    fn is_published(&self, wanted: &Desired) -> bool {
        let environment = &wanted.environment;
        let same = |before: &Desired| {
            Desired { serial: before.serial, source: before.source.clone(), ..wanted.clone() } == *before
        };
        !self.input.rebased.contains(environment)
            && self.input.published.desired.get(environment).is_some_and(same)
    }

    /// Whose signatures an environment lacks: its owners', and those of every app's builder whose release it names.
    fn missing_for(
        &self,
        desired: &Desired,
        role: &str,
        by_name: &BTreeMap<&str, Authority<'_>>,
    ) -> Vec<Missing> {
        let mut missing = Vec::new();
        let mut need = |role: &str| match by_name.get(role) {
            Some(authority) if self.can_sign(authority) => {}
            Some(authority) if self.signed_elsewhere(role, authority).is_some() => {}
            Some(authority) => missing.push(self.lack(role, authority)),
            None => {
                missing.extend(self.plan.missing.iter().filter(|missing| missing.role == "targets").cloned())
            }
        };
        need(role);
        for (app, choices) in &desired.apps {
            let builds = choices.iter().flat_map(|choice| choice.stable.platforms.values());
            if !builds.into_iter().all(|build| self.names(app, build)) {
                need(&format!("app.{app}"));
            }
        }
        missing
    }

    /// Whether the published role of `app` names this build.
    fn names(&self, app: &AppName, build: &Build) -> bool {
        let role = self.input.published.delegated.get(&format!("app.{app}"));
        let target = role.and_then(|kept| kept.value.targets.get(&build.index.name));
        target.is_some_and(|target| {
            target.length == build.index.length && target.sha256() == Some(build.index.sha256)
        })
    }

    fn app(
        &mut self,
        app: &AppName,
        by_name: &BTreeMap<&str, Authority<'_>>,
        named: &Named,
    ) -> Result<BTreeMap<String, Target>, Error> {
        let role = format!("app.{app}");
        let kept = self.input.published.delegated.get(&role);
        let before = kept.map(|kept| kept.value.targets.clone()).unwrap_or_default();
        let none = Vec::new();
        let new = self.input.registrations.get(app).unwrap_or(&none);
        let empty = BTreeSet::new();
        let named = named.0.get(app).unwrap_or(&empty);
        let authority = by_name.get(role.as_str());
        if let Some((_, signed)) = authority.and_then(|authority| self.signed_elsewhere(&role, authority)) {
            self.files.targets.extend(new.iter().flat_map(|registration| registration.files(app)));
            return Ok(signed.targets);
        }
        if new.is_empty() && !authority.is_some_and(|authority| self.can_sign(authority)) {
            // What its builder signed stays as it is: nobody here may shorten it.
            return Ok(before);
        }
        let content = releases::content(app, &before, new, named, self.input.rules.retained)?;
        self.files.targets.extend(new.iter().flat_map(|registration| registration.files(app)));
        Ok(content)
    }

    /// The role as its builder signed it, when that is whole, the next version of what is published, and leaves out
    /// nothing that is published now: the retention window of whoever signs it elsewhere is its own.
    fn signed_elsewhere(&self, name: &str, authority: &Authority<'_>) -> Option<(Vec<u8>, Targets)> {
        let bytes = self.input.roles.get(name)?;
        let envelope: Envelope<'_> = serde_json::from_slice(bytes).ok()?;
        let signed: Targets = serde_json::from_str(envelope.signed.get()).ok()?;
        let next = self.input.published.next_version(name);
        let before = self.input.published.delegated.get(name).map(|kept| &kept.value.targets);
        let keeps = before.into_iter().flatten().all(|(name, target)| {
            signed
                .targets
                .get(name)
                .is_some_and(|same| (same.length, same.sha256()) == (target.length, target.sha256()))
        });
        let app: AppName = name.strip_prefix("app.")?.parse().ok()?;
        let new = self.input.registrations.get(&app).into_iter().flatten();
        let names = new.into_iter().flat_map(|new| new.targets(&app, 0)).all(|(name, target)| {
            signed
                .targets
                .get(&name)
                .is_some_and(|same| (same.length, same.sha256()) == (target.length, target.sha256()))
        });
        let fits = signed.check().is_ok()
            && signed.delegations.is_none()
            && signed.version.get() == next
            && signed.expires > self.input.now
            && u64::try_from(bytes.len()).is_ok_and(|length| length <= Targets::LIMIT)
            && signed.targets.keys().all(|target| target.starts_with(&format!("{name}.")))
            && authority.is_met_by(bytes);
        (fits && keeps && names).then(|| (bytes.clone(), signed))
    }

    fn role(
        &mut self,
        name: &str,
        authority: Authority<'_>,
        content: BTreeMap<String, Target>,
        roles: &mut BTreeMap<String, MetaFile>,
        life: Option<Duration>,
    ) -> Result<(), Error> {
        if let Some((bytes, signed)) =
            self.signed_elsewhere(name, &authority).filter(|(_, of)| of.targets == content)
        {
            let settled = Settled { value: signed, bytes, name: None, is_current: true };
            let version = settled.value.version.get();
            roles.insert(format!("{name}.json"), settled.meta());
            self.plan.signed.push((name.to_owned(), version));
            self.files.delegated.push((format!("{version}.{name}.json"), settled.bytes));
            return Ok(());
        }
        let kept = self.input.published.delegated.get(name);
        let is_same = kept.is_some_and(|kept| kept.value.targets == content);
        // Nobody owes a signature for a role that is retired.
        let is_same = is_same || life.is_none() && !self.can_sign(&authority);
        let life = life.unwrap_or(RETIRED_LIFE);
        let ask = Ask { role: name, authority, old: None, kept, is_same, life, resign: life / 2 };
        let make = |version: NonZeroU64, expires| Targets {
            kind: TargetsType::Is,
            spec_version: SpecVersion::default(),
            version,
            expires,
            targets: content,
            delegations: None,
        };
        if let Some(settled) = self.settle(&ask, make)? {
            roles.insert(format!("{name}.json"), settled.meta());
            self.files.delegated.extend(settled.name.map(|name| (name, settled.bytes)));
        }
        Ok(())
    }
}

/// The versions of each app that environments name, published or waiting: what its role must retain.
#[derive(Default)]
struct Named(BTreeMap<AppName, BTreeSet<Version>>);

impl Named {
    fn add(&mut self, desired: Option<&Desired>) {
        for (app, choices) in desired.iter().flat_map(|desired| &desired.apps) {
            self.0
                .entry(app.clone())
                .or_default()
                .extend(choices.iter().map(|choice| choice.stable.version.clone()));
        }
    }
}
