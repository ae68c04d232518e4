//! `apps/<app>/releases/<version>.toml`: the very bytes that a version is, per platform; written by `push` or `promote`.
//!
//! ```toml
//! format = 1
//!
//! [platforms.linux-arm64]
//! index = "9f2c1e7b…"          # SHA-256 of the index as served: both roles must name this one
//! size = 812                   # its length in bytes
//! tree = "e3b0c442…"           # the tree digest
//! source = "4be1…"             # optional: the commit that it was built from
//! provenance = "77ab…"         # optional: SHA-256 of the target that says how it was built
//! ```

use std::collections::BTreeMap;

use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::Platform;

use super::document::{self, Table};
use super::{Place, Problems};

/// What one version is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Per platform its bytes.
    pub platforms: BTreeMap<Platform, PinnedBuild>,
}

/// What one version is for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedBuild {
    /// SHA-256 of its index as served.
    pub index: Digest,
    /// Length of that.
    pub size: u64,
    /// The tree digest.
    pub tree: Digest,
    /// Where this is said.
    pub place: Place,
}

/// Reads the file at `path`; none when anything is wrong with it.
pub fn pinned(path: &str, bytes: &[u8], problems: &mut Problems) -> Option<Pinned> {
    document::read(path, bytes, problems, |table| {
        table.required("format").and_then(|value| value.number(1, 1))?;
        let listed = table.required("platforms").and_then(|value| value.table("a table of platforms"));
        let builds = listed.iter().flat_map(Table::named::<Platform>).map(|(platform, value)| {
            let table = value.table("a table with `index`, `size` and `tree`")?;
            let digest = |key| table.required(key)?.parsed::<Digest>("64 hex digits").map(|at| at.value);
            let (index, tree) = (digest("index"), digest("tree"));
            let size = table.required("size").and_then(|value| value.number(1, u64::MAX >> 1));
            // For people and auditors: no rule depends on them.
            table.optional("source").and_then(|value| value.text("a commit"));
            table.optional("provenance").and_then(|value| value.parsed::<Digest>("64 hex digits"));
            table.finish();
            let place = platform.place;
            Some((platform.value, PinnedBuild { index: index?, size: size?, tree: tree?, place }))
        });
        let builds: Vec<_> = builds.collect();
        let platforms: BTreeMap<_, _> = builds.into_iter().collect::<Option<_>>()?;
        if platforms.is_empty() {
            table.problem("`platforms` is empty: a release has at least one");
        }
        Some(Pinned { platforms })
    })
}
