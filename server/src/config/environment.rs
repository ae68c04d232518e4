//! `environments/<name>.toml`: what an environment wants.
//!
//! ```toml
//! branch = "release"       # optional: read this file and the apps from another branch
//! prune = false            # optional: whether devices delete apps that are no longer wanted
//!
//! [apps]
//! hello = "follow"         # a path app: this commit; a registered app: the newest release
//! web = "1.4.2"            # a release by its version
//! db = "tree:9f2c1e7b…"    # a path app at a full Git tree id
//! api = { release = "follow", retry = 1, floor = 12, tuning = { deadline = 90 } }
//!
//! [[apps.proxy]]           # the first table whose labels a device has, wins
//! where = { site = "north" }
//! release = "2.0.0"
//! [[apps.proxy]]
//! release = "1.9.4"
//! ```

use std::collections::BTreeMap;

use tidelock_protocol::desired::Tuning;
use tidelock_protocol::limits::tuning as bounds;
use tidelock_protocol::names::{AppName, LabelKey, Version};
use tidelock_protocol::nearest::nearest;

use super::app::{App, Origin};
use super::document::{self, Table, Value};
use super::{At, Place, Problems};

/// What an environment wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Its own branch; counts only where the server's configured branch says it.
    pub branch: Option<At<String>>,
    /// Whether a device deletes apps that are no longer wanted.
    pub prune: bool,
    /// Per app the choices, in the order they are tried.
    pub apps: BTreeMap<AppName, Vec<Choice>>,
}

/// What one app should be on the devices that `selector` picks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Labels that a device must have.
    pub selector: BTreeMap<LabelKey, String>,
    /// The release.
    pub wish: At<Wish>,
    /// Numbers for its checks and hooks, within their bounds.
    pub tuning: Tuning,
    /// Raised to end refusals.
    pub retry: u64,
    /// Lowest counter that may be entered.
    pub floor: u64,
}

/// A release as the team names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A path app at this commit; a registered app's newest release.
    Follow,
    /// A release by its version.
    Version(Version),
    /// A path app at this Git tree id (full).
    Tree(String),
}

const RELEASE: &str = "\"follow\", a version, \"tree:<id>\", or a table with `release`";

pub(super) fn read(
    path: &str,
    bytes: &[u8],
    known: &BTreeMap<AppName, App>,
    problems: &mut Problems,
) -> Option<Environment> {
    document::read_some(path, bytes, problems, |table| {
        let branch = table.optional("branch").and_then(|value| {
            let text = value.text("the name of a branch")?;
            Some(At { value: text.to_owned(), place: value.place() })
        });
        let prune = table.optional("prune").and_then(|value| value.flag()).unwrap_or_default();
        let mut apps = BTreeMap::new();
        let listed = table.optional("apps").and_then(|value| value.table("a table of apps"));
        for (app, value) in listed.iter().flat_map(Table::named::<AppName>) {
            let Some(origin) = known.get(&app.value).map(|app| &app.origin) else {
                let meant = nearest(app.value.as_str(), known.keys().map(AppName::as_str));
                let hint = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
                value.problem(format!("there is no apps/{}/app.toml{hint}", app.value));
                continue;
            };
            let items = value.items_or_self();
            let choices: Vec<Choice> = items.iter().filter_map(|item| choice(item, origin)).collect();
            if let Some(shadow) = shadowed(&choices) {
                value.problem(format!(
                    "the table at line {shadow} is never reached: one before it takes all of its devices"
                ));
            }
            if items.is_empty() {
                value.problem("is empty: name a release, or leave the app out");
            }
            apps.insert(app.value, choices);
        }
        Some(Environment { branch, prune, apps })
    })
}

fn choice(value: &Value<'_>, origin: &Origin) -> Option<Choice> {
    if value.is_text() {
        let wish = wish(value, origin)?;
        let (selector, tuning) = (BTreeMap::new(), Tuning::default());
        return Some(Choice { selector, wish, tuning, retry: 0, floor: 0 });
    }
    let table = value.table(RELEASE)?;
    let release = table.required("release");
    let mut selector = BTreeMap::new();
    let labels = table.optional("where").and_then(|value| value.table("a table of labels and their values"));
    for (key, value) in labels.iter().flat_map(Table::named::<LabelKey>) {
        if let Some(text) = value.text("a label's value as a string") {
            selector.insert(key.value, text.to_owned());
        }
    }
    let tuning = table
        .optional("tuning")
        .and_then(|value| value.table("a table of numbers"))
        .map(|table| tuning(&table));
    let number =
        |key| table.optional(key).and_then(|value| value.number(0, u64::MAX >> 1)).unwrap_or_default();
    let (retry, floor) = (number("retry"), number("floor"));
    table.finish();
    let wish = wish(&release?, origin)?;
    Some(Choice { selector, wish, tuning: tuning.unwrap_or_default(), retry, floor })
}

fn wish(value: &Value<'_>, origin: &Origin) -> Option<At<Wish>> {
    let text = value.text(RELEASE)?;
    let place: Place = value.place();
    if text == "follow" {
        return Some(At { value: Wish::Follow, place });
    }
    let Some(id) = text.strip_prefix("tree:") else {
        let version = value.parsed::<Version>(RELEASE)?;
        return Some(At { value: Wish::Version(version.value), place });
    };
    let is_id =
        matches!(id.len(), 40 | 64) && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !is_id {
        value.problem("expected \"tree:\" and a full Git tree id of 40 (or 64) lower-case hex digits; `git rev-parse HEAD:PATH` prints it");
        return None;
    }
    match origin {
        Origin::Paths(paths) if paths.len() == 1 => Some(At { value: Wish::Tree(id.to_owned()), place }),
        Origin::Paths(_) => {
            value.problem("names one Git tree, but the app has one per platform: name a version instead");
            None
        }
        Origin::Registered => {
            value.problem(
                "names a Git tree, but the app's releases are registered by CI: name a version instead",
            );
            None
        }
    }
}

fn tuning(table: &Table<'_>) -> Tuning {
    let number = |key, bounds: std::ops::RangeInclusive<u32>| {
        let value = table.optional(key)?;
        value
            .number((*bounds.start()).into(), (*bounds.end()).into())
            .and_then(|number| u32::try_from(number).ok())
    };
    let tuning = Tuning {
        grace: number("grace", bounds::GRACE),
        interval: number("interval", bounds::INTERVAL),
        deadline: number("deadline", bounds::DEADLINE),
        successes: number("successes", bounds::SUCCESSES),
        timeout: number("timeout", bounds::TIMEOUT),
    };
    table.finish();
    tuning
}

/// The line of the first choice that is never reached, because an earlier one asks for no more than it does.
fn shadowed(choices: &[Choice]) -> Option<usize> {
    let covers = |earlier: &Choice, later: &Choice| {
        earlier.selector.iter().all(|(key, value)| later.selector.get(key) == Some(value))
    };
    let hidden = |(n, later): &(usize, &Choice)| choices[..*n].iter().any(|earlier| covers(earlier, later));
    choices.iter().enumerate().find(hidden).map(|(_, choice)| choice.wish.place.line)
}
