//! What must be signed anew, and what waits for somebody's signature. No I/O: values in, files out.
//!
//! Never here: in which order files are written (`order`), or writing them (`dir`).

mod delegated;
mod settle;
mod top;

use std::collections::{BTreeMap, BTreeSet};

use tidelock_protocol::desired::Desired;
use tidelock_protocol::names::EnvironmentName;
use tidelock_protocol::roles::Delegation;
use tidelock_protocol::time::Timestamp as Time;

use super::Error;
use super::order::{Effect, Files, order};
use super::pending::{Missing, Waiting};
use super::published::Published;
use super::releases::Registrations;
use super::rules::{Rule, Rules};
use super::sign::Authority;
use crate::keys::Keyring;

/// Everything that a publish is decided by.
pub struct Input<'a> {
    /// Who may sign.
    pub rules: &'a Rules,
    /// What is published.
    pub published: &'a Published,
    /// The keys at hand.
    pub keyring: &'a Keyring,
    /// The time of this turn.
    pub now: Time,
    /// What environments want; their `serial` is set here. One that is missing stays as it is.
    pub wanted: &'a BTreeMap<EnvironmentName, Desired>,
    /// Environments whose manifest is written anew even when it wants the same: their history was rewritten.
    pub rebased: &'a BTreeSet<EnvironmentName>,
    /// Releases to be registered.
    pub registrations: &'a Registrations,
    /// Roles of apps that their builders signed elsewhere, by name.
    pub roles: &'a BTreeMap<String, Vec<u8>>,
}

/// What to do, and what could not be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in their order; empty when nothing changes.
    pub effects: Vec<Effect>,
    /// The manifests that these steps publish.
    pub manifests: Vec<Desired>,
    /// The roles that these steps publish, with their versions.
    pub signed: Vec<(String, u64)>,
    /// Environments that wait for a signature.
    pub waiting: Vec<Waiting>,
    /// Other roles that lack a signature.
    pub missing: Vec<Missing>,
}

/// Decides a publish.
///
/// # Errors
/// A clock that went back, a version with another tree, a role that would be too long.
pub fn plan(input: &Input<'_>) -> Result<Plan, Error> {
    check_clock(input.published, input.now)?;
    let rules = input.rules.delegated();
    let mut draft =
        Draft { input, rules, has_old_keys: true, files: Files::default(), plan: Plan::default() };
    let is_whole = draft.all()?;
    let Draft { mut files, mut plan, .. } = draft;
    if is_whole {
        plan.effects = order(files);
    } else {
        // Bundles that nothing names yet are out of everybody's way, and need not be packed again.
        files.targets.retain(|(name, _)| name.contains(".app."));
        plan.effects = order(Files { targets: files.targets, ..Files::default() });
        // Without one of the four top-level roles nothing below them can be published.
        let missing = plan.missing.clone();
        let held = plan.manifests.drain(..).map(|desired| Waiting { desired, missing: missing.clone() });
        plan.waiting.extend(held);
        plan.signed.clear();
    }
    Ok(plan)
}

/// Whether it is not before the last signature: nobody may sign in the past.
///
/// # Errors
/// [`Error::ClockBehind`]
pub fn check_clock(published: &Published, now: Time) -> Result<(), Error> {
    let signed = published.timestamp.as_ref().and_then(|kept| kept.value.signed_at);
    match signed.filter(|signed| *signed > now) {
        Some(signed) => Err(Error::ClockBehind { now, signed }),
        None => Ok(()),
    }
}

/// A plan being made.
struct Draft<'a> {
    input: &'a Input<'a>,
    /// Every delegated role that the rules name.
    rules: BTreeMap<String, (Delegation, &'a Rule)>,
    /// Whether every role signed so far is whole under the root before as well.
    has_old_keys: bool,
    files: Files,
    plan: Plan,
}

impl Draft<'_> {
    /// Whether root, targets, snapshot and timestamp are all there and say what they should.
    fn all(&mut self) -> Result<bool, Error> {
        let Some(root) = self.root()? else { return Ok(false) };
        let old =
            self.input.published.root.as_ref().filter(|_| self.files.root.is_some()).map(|kept| &kept.value);
        let Some(targets) = self.targets(&root, old)? else { return Ok(false) };
        let mut roles = BTreeMap::from([("targets.json".to_owned(), targets.meta())]);
        if let Some(delegations) = &targets.value.delegations {
            self.delegated(delegations, &mut roles)?;
        }
        self.files.targets_role = targets.name.map(|name| (name, targets.bytes));
        self.snapshot_and_timestamp(&root, old, roles)
    }

    /// Notes that `role` lacks signatures.
    fn missing(&mut self, role: &str, authority: &Authority<'_>) {
        let missing = self.lack(role, authority);
        if !self.plan.missing.contains(&missing) {
            self.plan.missing.push(missing);
        }
    }

    /// Whose signatures `role` lacks.
    fn lack(&self, role: &str, authority: &Authority<'_>) -> Missing {
        let (present, _) = authority.signers(self.input.keyring);
        let absent = authority.keyids.iter().filter(|id| self.input.keyring.find(id).is_none());
        Missing {
            role: role.to_owned(),
            present: u32::try_from(present.len()).unwrap_or(u32::MAX),
            threshold: authority.threshold,
            people: absent.map(|id| self.input.rules.name_of(id)).collect(),
        }
    }

    /// Whether the published file of `role` carries the signatures that `authority` asks for.
    fn is_whole(&self, role: &str, authority: &Authority<'_>, bytes: &[u8]) -> bool {
        self.input.published.is_signed_by(role, authority) || authority.is_met_by(bytes)
    }

    fn can_sign(&self, authority: &Authority<'_>) -> bool {
        authority.signers(self.input.keyring).1
    }
}
