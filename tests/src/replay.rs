//! A file system that replays the durable effects of a real run and loses, at a power cut, any of those that no sync
//! has reached.
//!
//! Names are entries of directories and are lost singly; bytes are lost per write; a directory that is renamed takes
//! along what is in it, as far as that is there. Never here: what must hold (`crash::replay`).

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use tidelock_protocol::digest::{Digest, Hasher};

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A new directory.
    Directory(PathBuf),
    /// A new empty file.
    Create(PathBuf),
    /// Bytes at the end of a file, or anywhere in it.
    Write(PathBuf, String),
    /// A new link.
    Symlink(String, PathBuf),
    /// A new name for what the first names.
    Rename(PathBuf, PathBuf),
    /// A name is gone; so is everything below it.
    Remove(PathBuf),
    /// What was written to the file, or changed in the directory, is durable.
    Sync(PathBuf),
    /// The same, for the sake of what an earlier process did.
    Settle(PathBuf),
    /// Everything is durable.
    SyncAll,
}

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A directory.
    Directory,
    /// A link.
    Link(String),
    /// A file with all that was written to it.
    Whole(Digest),
    /// A file of which something is lost.
    Torn,
}

type Id = usize;

#[derive(Clone, Debug)]
enum Node {
    Directory,
    Link(String),
    /// Durable since before the trace.
    Old(Digest),
    File,
}

#[derive(Clone, Debug)]
enum Change {
    Enter { directory: Id, name: String, node: Id },
    Leave { directory: Id, name: String },
    Move { from: (Id, String), to: (Id, String), node: Id },
    Bytes { file: Id, text: String },
}

/// A file system in the middle of a run.
#[derive(Clone, Debug)]
pub struct Replay {
    nodes: Vec<Node>,
    entries: BTreeMap<(Id, String), Id>,
    bytes: BTreeMap<Id, Vec<String>>,
    pending: Vec<(Change, bool)>,
}

impl Effect {
    /// Reads a trace of effects under `root`; what lies elsewhere is left out.
    ///
    /// # Panics
    /// A line that is no effect.
    pub fn read(trace: &str, root: &Path) -> Vec<Self> {
        let inner = |text: &str| Path::new(text).strip_prefix(root).ok().map(Path::to_owned);
        let effect = |line: &str| {
            let words: Vec<&str> = line.split('\t').collect();
            Some(match words[..] {
                ["mkdir", path] => Self::Directory(inner(path)?),
                ["create", path] => Self::Create(inner(path)?),
                ["write", path, bytes] => Self::Write(inner(path)?, bytes.to_owned()),
                ["symlink", target, path] => Self::Symlink(target.to_owned(), inner(path)?),
                ["rename", from, to] => Self::Rename(inner(from)?, inner(to)?),
                ["unlink" | "discard", path] => Self::Remove(inner(path)?),
                ["fsync", path] => Self::Sync(inner(path)?),
                ["settle", path] => Self::Settle(inner(path)?),
                ["syncfs", path] => {
                    inner(path)?;
                    Self::SyncAll
                }
                _ => panic!("{line:?} is no effect"),
            })
        };
        trace.lines().filter_map(effect).collect()
    }

    /// Whether it only makes others durable.
    pub fn is_sync(&self) -> bool {
        matches!(self, Self::Sync(_) | Self::SyncAll)
    }
}

impl Replay {
    /// What lies under `root` now, durable.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn of(root: &Path) -> Self {
        let mut replay = Self {
            nodes: vec![Node::Directory],
            entries: BTreeMap::new(),
            bytes: BTreeMap::new(),
            pending: Vec::new(),
        };
        replay.take_in(root, 0);
        replay
    }

    fn take_in(&mut self, directory: &Path, id: Id) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let node = if kind.is_dir() {
                Node::Directory
            } else if kind.is_symlink() {
                Node::Link(std::fs::read_link(&path).unwrap().display().to_string())
            } else if kind.is_file() {
                Node::Old(Digest::of(&std::fs::read(&path).unwrap()))
            } else {
                continue;
            };
            let node = self.node(node);
            self.entries.insert((id, entry.file_name().to_string_lossy().into_owned()), node);
            if kind.is_dir() {
                self.take_in(&path, node);
            }
        }
    }

    /// Does one effect.
    ///
    /// # Panics
    /// An effect on a path that is not there.
    pub fn take(&mut self, effect: &Effect) {
        match effect {
            Effect::Directory(path) => self.enter(path, Node::Directory),
            Effect::Create(path) => self.enter(path, Node::File),
            Effect::Symlink(target, path) => self.enter(path, Node::Link(target.clone())),
            Effect::Write(path, text) => {
                let file = self.find(path).unwrap_or_else(|| panic!("{path:?} is not there"));
                self.pending.push((Change::Bytes { file, text: text.clone() }, false));
            }
            Effect::Rename(from, to) => {
                let node = self.find(from).unwrap_or_else(|| panic!("{from:?} is not there"));
                let (from, to) = (self.place(from), self.place(to));
                self.pending.push((Change::Move { from, to, node }, false));
            }
            Effect::Remove(path) => {
                let (directory, name) = self.place(path);
                self.pending.push((Change::Leave { directory, name }, false));
            }
            Effect::Sync(path) | Effect::Settle(path) => {
                let node = self.find(path).unwrap_or_else(|| panic!("{path:?} is not there"));
                self.sync(|change| match change {
                    Change::Enter { directory, .. } | Change::Leave { directory, .. } => *directory == node,
                    Change::Move { from, to, .. } => from.0 == node || to.0 == node,
                    Change::Bytes { file, .. } => *file == node,
                });
            }
            Effect::SyncAll => self.sync(|_| true),
        }
    }

    /// What is not synced: its number.
    pub fn unsure(&self) -> Vec<usize> {
        (0..self.pending.len()).filter(|place| !self.pending[*place].1).collect()
    }

    /// Everything that is there when of what is not synced only that survives which `survives` keeps.
    pub fn cut(&self, survives: impl Fn(usize) -> bool) -> BTreeMap<PathBuf, Found> {
        let mut left = self.clone();
        let mut torn = Vec::new();
        for (place, (change, sure)) in self.pending.iter().enumerate() {
            match change {
                change if *sure || survives(place) => left.apply(change),
                Change::Bytes { file, .. } => torn.push(*file),
                _ => {}
            }
        }
        let mut all = BTreeMap::new();
        left.list(0, Path::new(""), &torn, &mut all);
        all
    }

    fn list(&self, id: Id, at: &Path, torn: &[Id], all: &mut BTreeMap<PathBuf, Found>) {
        for ((_, name), node) in self.entries.range((id, String::new())..(id + 1, String::new())) {
            let path = at.join(name);
            let found = match &self.nodes[*node] {
                Node::Directory => Found::Directory,
                Node::Link(target) => Found::Link(target.clone()),
                _ if torn.contains(node) => Found::Torn,
                Node::Old(digest) if !self.bytes.contains_key(node) => Found::Whole(*digest),
                _ => {
                    let mut hasher = Hasher::new();
                    self.bytes
                        .get(node)
                        .into_iter()
                        .flatten()
                        .for_each(|text| hasher.update(text.as_bytes()));
                    Found::Whole(hasher.finish())
                }
            };
            let is_directory = found == Found::Directory;
            all.insert(path.clone(), found);
            if is_directory {
                self.list(*node, &path, torn, all);
            }
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Enter { directory, name, node } => {
                self.entries.insert((*directory, name.clone()), *node);
            }
            Change::Leave { directory, name } => {
                self.entries.remove(&(*directory, name.clone()));
            }
            Change::Move { from, to, node } => {
                if self.entries.get(from) == Some(node) {
                    self.entries.remove(from);
                }
                self.entries.insert(to.clone(), *node);
            }
            Change::Bytes { file, text } => self.bytes.entry(*file).or_default().push(text.clone()),
        }
    }

    /// Makes durable what `reached` says; the sure ones at the front are forgotten.
    fn sync(&mut self, reached: impl Fn(&Change) -> bool) {
        for (change, sure) in &mut self.pending {
            *sure |= reached(change);
        }
        let front = self.pending.iter().take_while(|(_, sure)| *sure).count();
        let done: Vec<_> = self.pending.drain(..front).collect();
        done.iter().for_each(|(change, _)| self.apply(change));
    }

    fn node(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn enter(&mut self, path: &Path, node: Node) {
        let (directory, name) = self.place(path);
        let node = self.node(node);
        self.pending.push((Change::Enter { directory, name, node }, false));
    }

    fn place(&self, path: &Path) -> (Id, String) {
        let above = path.parent().unwrap_or(Path::new(""));
        let directory = self.find(above).unwrap_or_else(|| panic!("{above:?} is not there"));
        (directory, path.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }

    fn find(&self, path: &Path) -> Option<Id> {
        let mut live = BTreeMap::new();
        for (change, _) in &self.pending {
            match change {
                Change::Enter { directory, name, node } => {
                    live.insert((*directory, name.clone()), Some(*node));
                }
                Change::Leave { directory, name } => {
                    live.insert((*directory, name.clone()), None);
                }
                Change::Move { from, to, node } => {
                    live.insert(from.clone(), None);
                    live.insert(to.clone(), Some(*node));
                }
                Change::Bytes { .. } => {}
            }
        }
        path.components().try_fold(0, |id, component| {
            let Component::Normal(name) = component else { return Some(id) };
            let key = (id, name.to_string_lossy().into_owned());
            live.get(&key).copied().unwrap_or_else(|| self.entries.get(&key).copied())
        })
    }
}
