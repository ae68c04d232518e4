//! In which order files are written, so that a reader at any moment finds a whole repository: PURE.
//!
//! Never here: what the files say (`plan`), or writing them (`dir`).

use std::path::PathBuf;

/// The files of one publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// `targets/<name>`, by their whole names.
    pub targets: Vec<(String, Content)>,
    /// `metadata/<name>` of delegated roles.
    pub delegated: Vec<(String, Vec<u8>)>,
    /// `metadata/N.targets.json`
    pub targets_role: Option<(String, Vec<u8>)>,
    /// `metadata/N.snapshot.json`
    pub snapshot: Option<(String, Vec<u8>)>,
    /// `metadata/timestamp.json`, and the whole second of its mtime.
    pub timestamp: Option<(Vec<u8>, i64)>,
    /// `metadata/N.root.json`
    pub root: Option<(String, Vec<u8>)>,
    /// Only when a new root names new keys for the roles below: a timestamp that is whole under the old and the new root,
    /// and names the old one. It stands while the root changes under it.
    pub bridge: Option<(Vec<u8>, i64)>,
}

/// Where the bytes of a target come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// These.
    Bytes(Vec<u8>),
    /// A file on the same file system that is moved to its place.
    Moved(PathBuf),
    /// A target that is there already under another name, and gets this one too.
    Linked(String),
}

/// One step of writing. A step that is done twice changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Put a target at its place; one that is there already is left as it is.
    Target {
        /// Its name with the digest.
        name: String,
        /// Its bytes.
        content: Content,
    },
    /// Make all targets durable by their directory.
    SyncTargets,
    /// Create a metadata file; it must not be there.
    Metadata {
        /// Its name with the version.
        name: String,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Make all metadata files durable by their directory.
    SyncMetadata,
    /// Replace `timestamp.json`, durably.
    Timestamp {
        /// Its bytes.
        bytes: Vec<u8>,
        /// The whole second of its mtime.
        second: i64,
    },
}

/// The steps in their order: targets, delegated roles, targets role, snapshot, timestamp.
///
/// A new root comes first: what is published is whole under it as well, or its keys are gone and only the new root helps.
/// With a bridge it comes between the two timestamps.
pub fn order(files: Files) -> Vec<Effect> {
    let mut effects = Vec::new();
    let metadata = |(name, bytes)| Effect::Metadata { name, bytes };
    let timestamp = |(bytes, second)| Effect::Timestamp { bytes, second };
    let (first, between) = if files.bridge.is_some() { (None, files.root) } else { (files.root, None) };
    if let Some(root) = first {
        effects.extend([metadata(root), Effect::SyncMetadata]);
    }
    if !files.targets.is_empty() {
        // What is linked may have been moved there just now.
        let (linked, others): (Vec<_>, Vec<_>) =
            files.targets.into_iter().partition(|(_, content)| matches!(content, Content::Linked(_)));
        effects
            .extend(others.into_iter().chain(linked).map(|(name, content)| Effect::Target { name, content }));
        effects.push(Effect::SyncTargets);
    }
    let versioned = files.delegated.into_iter().chain(files.targets_role).chain(files.snapshot);
    let before = effects.len();
    effects.extend(versioned.map(metadata));
    if effects.len() > before {
        effects.push(Effect::SyncMetadata);
    }
    effects.extend(files.bridge.map(timestamp));
    if let Some(root) = between {
        effects.extend([metadata(root), Effect::SyncMetadata]);
    }
    effects.extend(files.timestamp.map(timestamp));
    effects
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(effects: &[Effect]) -> Vec<&str> {
        fn name(effect: &Effect) -> &str {
            match effect {
                Effect::Target { name, .. } | Effect::Metadata { name, .. } => name,
                Effect::SyncTargets | Effect::SyncMetadata => "sync",
                Effect::Timestamp { .. } => "timestamp",
            }
        }
        effects.iter().map(name).collect()
    }

    fn files() -> Files {
        let file = |name: &str| (name.to_owned(), Vec::new());
        Files {
            targets: vec![("t".into(), Content::Bytes(Vec::new()))],
            delegated: vec![file("d")],
            targets_role: Some(file("targets")),
            snapshot: Some(file("snapshot")),
            timestamp: Some((Vec::new(), 1)),
            root: Some(file("root")),
            bridge: None,
        }
    }

    #[test]
    fn what_is_named_is_there_before_what_names_it() {
        let all = ["root", "sync", "t", "sync", "d", "targets", "snapshot", "sync", "timestamp"];
        assert_eq!(names(&order(files())), all);
        assert_eq!(order(Files::default()), []);
    }

    #[test]
    fn a_root_with_new_keys_comes_between_two_timestamps() {
        let effects = order(Files { bridge: Some((Vec::new(), 0)), ..files() });
        assert_eq!(names(&effects)[..2], ["t", "sync"]);
        assert_eq!(names(&effects)[5..], ["sync", "timestamp", "root", "sync", "timestamp"]);
    }

    #[test]
    fn what_is_linked_comes_after_what_is_moved() {
        let linked = ("l".to_owned(), Content::Linked("m".into()));
        let moved = ("m".to_owned(), Content::Moved("m".into()));
        let effects = order(Files { targets: vec![linked, moved], ..Files::default() });
        assert_eq!(names(&effects), ["m", "l", "sync"]);
    }
}
