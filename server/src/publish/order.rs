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
    /// Whether the roles below are signed by the keys of the root before as well, so that they are whole under either.
    pub is_whole_under_old_root: bool,
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
/// A new root comes last when everything before it is signed for either root (a reader with the old root and one with
/// the new root both find it whole), and first otherwise: then the old keys are gone, and only the new root helps.
pub fn order(files: Files) -> Vec<Effect> {
    let mut effects = Vec::new();
    let metadata = |(name, bytes)| Effect::Metadata { name, bytes };
    let (first, last) = if files.is_whole_under_old_root { (None, files.root) } else { (files.root, None) };
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
    effects.extend(files.timestamp.map(|(bytes, second)| Effect::Timestamp { bytes, second }));
    if let Some(root) = last {
        effects.extend([metadata(root), Effect::SyncMetadata]);
    }
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
            is_whole_under_old_root: true,
        }
    }

    #[test]
    fn what_is_named_is_there_before_what_names_it() {
        let all = ["t", "sync", "d", "targets", "snapshot", "sync", "timestamp", "root", "sync"];
        assert_eq!(names(&order(files())), all);
        assert_eq!(order(Files::default()), []);
    }

    #[test]
    fn a_root_whose_predecessor_nobody_can_sign_for_comes_first() {
        let effects = order(Files { is_whole_under_old_root: false, ..files() });
        assert_eq!(names(&effects)[..3], ["root", "sync", "t"]);
        assert_eq!(names(&effects).last(), Some(&"timestamp"));
    }
}
