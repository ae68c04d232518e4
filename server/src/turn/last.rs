//! What the last turn took from the fleet repository: what its branch must descend from, and what a turn goes by that can
//! take nothing newer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Error;
use super::views::Views;
use crate::git::{self, Repository};
use crate::publish;

/// The record, below the state directory.
const LAST: &str = "fleet.json";

/// What the last turn took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Last {
    branch: String,
    /// The commit whose `fleet.toml` counted.
    pub(super) commit: String,
    /// The heads of the branches that it read; none in records of versions before this.
    #[serde(default)]
    heads: BTreeMap<String, String>,
}

impl Last {
    /// That of the state directory `state` and this branch; a record that cannot be read is none.
    pub(super) fn read(state: &Path, branch: &str) -> Option<Self> {
        let last: Self = serde_json::from_slice(&fs::read(state.join(LAST)).ok()?).ok()?;
        (last.branch == branch).then_some(last)
    }

    /// Keeps it, when that is news.
    pub(super) fn keep(state: &Path, views: &Views) -> Result<(), Error> {
        let git::Commit { id, branch, .. } = &views.fleet_commit;
        let last = Self { branch: branch.clone(), commit: id.to_string(), heads: views.heads.clone() };
        if Self::read(state, branch).as_ref() == Some(&last) {
            return Ok(());
        }
        let path = state.join(LAST);
        let text = serde_json::to_vec(&last);
        let text =
            text.map_err(|error| Error::State { what: "write", path: path.clone(), source: error.into() })?;
        Ok(publish::replace(&path, &text)?)
    }

    /// From now on, the branches are where they were then for whoever asks this repository; its remote is not asked.
    pub(super) fn pin(&self, repository: &mut Repository) -> Result<(), git::Error> {
        let of_fleet = [(&self.branch, &self.commit)];
        of_fleet.into_iter().chain(&self.heads).try_for_each(|(branch, head)| repository.pin(branch, head))
    }
}
