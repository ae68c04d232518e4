//! What runs out when: for people and for cron.

use std::time::Duration;

use tidelock_protocol::roles::Role;
use tidelock_protocol::time::Timestamp;

use super::published::Published;

const DAY: u64 = 86_400;

/// A role and the end of its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// Its name.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// When it expires.
    pub expires: Timestamp,
    /// Whether that is soon enough to act.
    pub is_soon: bool,
}

/// What counts as soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// By the kind of role: people need two months' notice (60 days), a snapshot that is not signed anew at half of
    /// its 30 days wants a look (10 days), and a timestamp that is not signed anew every few hours too (3 days).
    Defaults,
    /// One span for every role.
    Span(Duration),
}

/// Every published role, the one that runs out first at the top.
pub fn expiring(published: &Published, now: Timestamp, within: Within) -> Vec<Expiring> {
    let mut list = Vec::new();
    let mut add = |role: &str, version: u64, expires: Timestamp, days: u64| {
        let span = match within {
            Within::Defaults => Duration::from_secs(days * DAY),
            Within::Span(span) => span,
        };
        list.push(Expiring { role: role.to_owned(), version, expires, is_soon: expires <= now.after(span) });
    };
    if let Some(root) = &published.root {
        add("root", root.value.version(), root.value.expires, 60);
    }
    if let Some(timestamp) = &published.timestamp {
        add("timestamp", timestamp.value.version(), timestamp.value.expires, 3);
    }
    if let Some(snapshot) = &published.snapshot {
        add("snapshot", snapshot.value.version(), snapshot.value.expires, 10);
    }
    for (role, kept) in published
        .targets
        .iter()
        .map(|kept| ("targets", kept))
        .chain(published.delegated.iter().map(|(role, kept)| (role.as_str(), kept)))
    {
        add(role, kept.value.version(), kept.value.expires, 60);
    }
    list.sort_by(|one, other| one.expires.cmp(&other.expires).then_with(|| one.role.cmp(&other.role)));
    list
}
