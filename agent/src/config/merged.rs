//! Second stage: every key with the value that counts and the place where it stands.
//!
//! Never here: what a value means.

use std::collections::BTreeMap;

use tidelock_protocol::nearest::distance;
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::{Error, Fragment, Place, Unknown};

/// All keys that this version knows, tables flattened; any `labels.<key>` is known as well.
pub(super) const KNOWN: [&str; 16] = [
    "url",
    "environment",
    "id",
    "poll",
    "mode",
    "reuse",
    "keep",
    "ca_file",
    "header_file",
    "client_cert",
    "client_key",
    "allow_root_apps",
    "allow_units",
    "report.url",
    "drift.every",
    "drift.heal",
];

/// The tables whose members are keys of their own.
const TABLES: [&str; 3] = ["labels", "report", "drift"];

/// One key's value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// The fragments merged: per key the value of the last file that sets it.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    pub(super) entries: BTreeMap<String, Entry>,
    unknown: Vec<Unknown>,
}

impl Merged {
    /// Merges `fragments`, later ones over earlier ones.
    ///
    /// # Errors
    /// A fragment that is not TOML.
    pub fn of(fragments: &[Fragment]) -> Result<Self, Error> {
        let mut merged = Self::default();
        for fragment in fragments {
            merged.add(fragment)?;
        }
        merged.unknown.sort_by(|one, other| one.place.cmp(&other.place));
        Ok(merged)
    }

    /// The keys that this version does not know, by file and line.
    pub fn unknown(&self) -> &[Unknown] {
        &self.unknown
    }

    /// Makes every unknown key an error, as `join` does: who sets a device up reads what it says.
    ///
    /// # Errors
    /// Every unknown key at once.
    pub fn refuse_unknown(&self) -> Result<(), Error> {
        if self.unknown.is_empty() { Ok(()) } else { Err(Error::Unknown(self.unknown.clone())) }
    }

    fn add(&mut self, fragment: &Fragment) -> Result<(), Error> {
        let place = |offset: usize| Place { path: fragment.path.clone(), line: line(&fragment.text, offset) };
        let wrong = |error: toml::de::Error| Error::Toml {
            place: place(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        };
        // Read twice: once for where each key stands, once for values that do not borrow the text.
        let spans = DeTable::parse(&fragment.text).map_err(wrong)?.into_inner();
        let mut values: toml::Table = toml::from_str(&fragment.text).map_err(wrong)?;
        for (key, span) in &spans {
            let Some(value) = values.remove(key.get_ref().as_ref()) else { continue };
            match (value, span.get_ref()) {
                (Value::Table(mut values), DeValue::Table(spans))
                    if TABLES.contains(&key.get_ref().as_ref()) =>
                {
                    for member in spans.keys() {
                        let Some(value) = values.remove(member.get_ref().as_ref()) else { continue };
                        let name = format!("{}.{}", key.get_ref(), member.get_ref());
                        self.set(name, value, place(member.span().start));
                    }
                }
                (value, _) if TABLES.contains(&key.get_ref().as_ref()) => {
                    let expected = format!("a table `[{}]`", key.get_ref());
                    let entry = Entry { value, place: place(key.span().start) };
                    return Err(Self::wrong(key.get_ref(), &entry, expected));
                }
                (value, _) => self.set(key.get_ref().to_string(), value, place(key.span().start)),
            }
        }
        Ok(())
    }

    fn set(&mut self, key: String, value: Value, place: Place) {
        if KNOWN.contains(&key.as_str()) || key.starts_with("labels.") {
            self.entries.insert(key, Entry { value, place });
        } else {
            self.unknown.push(Unknown { nearest: nearest(&key), key, place });
        }
    }
}

/// The line of the byte at `offset`, counted from 1.
fn line(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The known key that is nearest to `key`, unless none is near at all.
fn nearest(key: &str) -> Option<&'static str> {
    let bare = key.rsplit('.').next().unwrap_or(key);
    let far = |known: &str| {
        let bare_known = known.rsplit('.').next().unwrap_or(known);
        distance(key, known).min(distance(bare, bare_known))
    };
    // Of `url` and `report.url`, equally near to `report.ulr` by their last word, the nearer as a whole is meant.
    let candidates = KNOWN.into_iter().chain(TABLES);
    let best = candidates.min_by_key(|known| (far(known), distance(key, known)));
    best.filter(|known| far(known) <= (1 + bare.len() / 3).min(3))
}
