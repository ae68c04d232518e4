//! The search for one target through the delegations: pre-order, depth first, each role once (5.6.7).

use std::collections::BTreeSet;

use super::error::Error;
use super::verify::{Signers, Wanted};
use super::{Trusted, listed};
use crate::limits;
use crate::roles::{Target, Targets};
use crate::time::Timestamp as Time;

/// A search under way. [`Search::step`] says what it needs; a role that it asks for is given by [`Search::keep`] (stored
/// bytes) or [`Search::accept`] (fetched bytes), and is verified against the delegator that the search came through.
#[derive(Debug)]
pub struct Search<'a> {
    trusted: &'a Trusted,
    name: &'a str,
    /// Roles still to visit, the next one last.
    pending: Vec<Edge>,
    visited: BTreeSet<String>,
    found: Option<(String, Target)>,
    /// When the first of the roles looked into expires.
    expires: Time,
    current: Option<(Wanted, Signers)>,
}

/// What a search needs or has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The role to look into next.
    Role(Wanted),
    /// The target, and the role that names it.
    Found {
        /// The role.
        role: String,
        /// What it says of the target.
        target: Target,
        /// When the first of the roles that led here expires.
        expires: Time,
    },
    /// No role that may name the target does.
    Nowhere,
}

/// A role, and who its delegator says must sign it.
#[derive(Debug)]
struct Edge {
    role: String,
    signers: Signers,
}

impl<'a> Search<'a> {
    pub(super) fn new(trusted: &'a Trusted, name: &'a str) -> Self {
        let visited = BTreeSet::from(["targets".to_owned()]);
        let mut search = Self {
            trusted,
            name,
            pending: Vec::new(),
            visited,
            found: None,
            expires: trusted.believed_until(),
            current: None,
        };
        search.look_into("targets", &trusted.targets);
        search
    }

    /// What is needed next. A role that was asked for and not given is asked for again.
    ///
    /// # Errors
    /// A role that is not in the snapshot, or too many roles.
    pub fn step(&mut self) -> Result<Step, Error> {
        if let Some((role, target)) = self.found.clone() {
            return Ok(Step::Found { role, target, expires: self.expires });
        }
        while self.current.is_none() {
            let Some(Edge { role, signers }) = self.pending.pop() else { return Ok(Step::Nowhere) };
            if self.visited.contains(&role) {
                continue;
            }
            if self.visited.len() > limits::DELEGATIONS {
                return Err(Error::TooManyRoles { name: self.name.into(), limit: limits::DELEGATIONS });
            }
            self.current = Some((listed(&self.trusted.snapshot, &role)?, signers));
            self.visited.insert(role);
        }
        Ok(self.current.as_ref().map_or(Step::Nowhere, |(wanted, _)| Step::Role(wanted.clone())))
    }

    /// Whether the stored bytes are the very role that was asked for; then the search goes on with it.
    pub fn keep(&mut self, stored: &[u8]) -> bool {
        self.accept(stored).is_ok()
    }

    /// Takes the role that was asked for: length, digests, signatures, version, expiry.
    ///
    /// # Errors
    /// Whatever is not so; the search then still waits for that role.
    pub fn accept(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some((wanted, signers)) = &self.current else { return Ok(()) };
        let targets: Targets = wanted.verify(bytes, signers, self.trusted.now)?;
        let role = wanted.role.clone();
        self.current = None;
        self.look_into(&role, &targets);
        Ok(())
    }

    fn look_into(&mut self, role: &str, targets: &Targets) {
        self.expires = self.expires.min(targets.expires);
        if let Some(target) = targets.targets.get(self.name) {
            self.found = Some((role.to_owned(), target.clone()));
            return;
        }
        let Some(delegations) = &targets.delegations else { return };
        let mut next = Vec::new();
        for delegation in delegations.roles.iter().filter(|delegation| delegation.covers(self.name)) {
            let signers = Signers::of_delegation(&delegations.keys, delegation);
            next.push(Edge { role: delegation.name.clone(), signers });
            if delegation.terminating {
                // Nobody who comes later, here or further up, is asked about this name.
                self.pending.clear();
                break;
            }
        }
        self.pending.extend(next.into_iter().rev());
    }
}
