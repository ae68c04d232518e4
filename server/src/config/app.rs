//! `apps/<app>/app.toml`: where an app's releases come from.
//!
//! ```toml
//! path = "apps/hello/tree"     # a directory of this repository, for every platform
//! ```
//! or per platform
//! ```toml
//! [platforms]
//! linux-amd64 = "dist/amd64"
//! linux-arm64 = "dist/arm64"
//! ```
//! With neither, its releases are registered by CI. In each case
//! ```toml
//! runs_on = ["linux-arm64", "linux-armv7"]    # optional: a release that one of these cannot run is a problem
//! ```

use std::collections::BTreeMap;

use tidelock_protocol::names::Platform;

use super::document::{self, Table, Value};
use super::{At, Place, Problems};

/// One app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Where its releases come from.
    pub origin: Origin,
    /// The platforms that every release must have a bundle for.
    pub runs_on: Vec<Platform>,
    /// Where that is said.
    pub place: Place,
}

/// Where an app's releases come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Directories of the repository, per platform; paths without `.` and `..`, empty for the whole repository.
    Paths(BTreeMap<Platform, At<String>>),
    /// Registered by CI.
    Registered,
}

pub(super) fn read(path: &str, bytes: &[u8], problems: &mut Problems) -> Option<App> {
    document::read(path, bytes, problems, |table| {
        let whole = table.optional("path");
        let platforms = table.optional("platforms");
        if let (Some(_), Some(value)) = (&whole, &platforms) {
            value.problem("stands beside `path`: one of the two says where the releases come from");
        }
        let listed = platforms.and_then(|value| value.table("a table of platforms with their paths"));
        let mut paths: Vec<_> = listed.iter().flat_map(Table::named::<Platform>).collect();
        paths.extend(whole.map(|value| (At { value: Platform::any(), place: value.place() }, value)));
        let read: Vec<_> =
            paths.iter().map(|(platform, value)| Some((platform.value.clone(), directory(value)?))).collect();
        let paths = read.into_iter().collect::<Option<BTreeMap<_, _>>>()?;
        let runs_on = table.optional("runs_on").and_then(|value| value.items("an array of platforms"));
        let runs_on = runs_on.iter().flatten().filter_map(|value| Some(value.parsed("a platform")?.value));
        let runs_on = runs_on.collect();
        let origin = if paths.is_empty() { Origin::Registered } else { Origin::Paths(paths) };
        Some(App { origin, runs_on, place: table.place() })
    })
}

/// A directory of the repository: relative, with `/`, without `.`, `..` and empty parts.
fn directory(value: &Value<'_>) -> Option<At<String>> {
    let text = value.text("a directory of this repository")?;
    let trimmed = text.trim_end_matches('/');
    let whole = text == ".";
    let odd = |part: &str| part.is_empty() || part == "." || part == "..";
    if !whole && (text.starts_with('/') || trimmed.split('/').any(odd)) {
        value.problem(format!(
            "{text:?} is no directory of this repository: expected a path such as \"apps/web/tree\", or \".\""
        ));
        return None;
    }
    let path = if whole { String::new() } else { trimmed.to_owned() };
    Some(At { value: path, place: value.place() })
}
