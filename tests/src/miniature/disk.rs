//! A disk that forgets: what was not synced may be there after a power cut, or not, effect by effect.
//!
//! Stricter than any file system that is in use: entries of a directory are lost singly and out of order, a file may
//! have its new name and none of its bytes. Never here: what the agent does with it (`hands`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use tidelock::decide::model::Record;
use tidelock_protocol::digest::Digest;

/// The records of an app, one file each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "named as the records are")]
pub enum Kind {
    Trial,
    Committed,
    Refusals,
    Setback,
    Rollback,
    Retry,
    Orphan,
    Hold,
    Pin,
    Drift,
    Heal,
}

/// A name in one of the directories of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A record.
    Record(Kind),
    /// Its temporary beside it.
    NewRecord(Kind),
    /// `current`.
    Link,
    /// Its temporary beside it.
    NewLink,
    /// The directory that a tree is staged in.
    Staged(Digest),
    /// A sealed release.
    Sealed(Digest),
    /// A release that lost its name and is being removed.
    Gone(Digest),
    /// A unit file of the app.
    Unit(u8),
    /// Its temporary beside it.
    NewUnit(u8),
}

/// A directory whose entries are synced together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directory {
    /// `journal/`
    Journal,
    /// `apps/<app>/`
    App,
    /// `apps/<app>/releases/`
    Releases,
    /// The service manager's.
    Units,
}

impl Name {
    /// The directory that it stands in.
    pub fn directory(self) -> Directory {
        match self {
            Self::Record(_) | Self::NewRecord(_) => Directory::Journal,
            Self::Link | Self::NewLink => Directory::App,
            Self::Staged(_) | Self::Sealed(_) | Self::Gone(_) => Directory::Releases,
            Self::Unit(_) | Self::NewUnit(_) => Directory::Units,
        }
    }
}

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Content {
    /// Nothing, or a part of what was written.
    Torn,
    /// A record.
    Record(Rc<Record>),
    /// A symlink.
    Link(Digest),
    /// A unit file of this release.
    Unit(Digest),
    /// A tree of which the verified index is there.
    Begun,
    /// A tree, whole.
    Whole,
}

/// One system call that changes the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A new empty file or directory.
    Create(Name),
    /// Bytes into what was created.
    Write(Name, Content),
    /// A new symlink.
    Symlink(Name, Digest),
    /// `fsync` of a file.
    SyncFile(Name),
    /// `fsync` of a directory.
    SyncDirectory(Directory),
    /// `syncfs`.
    SyncAll,
    /// `rename`.
    Rename(Name, Name),
    /// `unlink`, or the removal of a tree.
    Remove(Name),
}

/// One app's part of the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Disk {
    durable: BTreeMap<Name, Content>,
    pending: Vec<Pending>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Pending {
    effect: Effect,
    /// Synced: it survives a cut.
    sure: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Effect {
    Enter { name: Name, node: Node },
    Bytes { file: u8, content: Content },
    Move { from: Name, to: Name, node: Node },
    Leave { name: Name },
}

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Node {
    /// A file created since everything was last durable.
    New(u8),
    /// What was durable, or has no bytes of its own.
    Old(Content),
}

impl Disk {
    /// What a process sees.
    pub fn live(&self) -> Cow<'_, BTreeMap<Name, Content>> {
        if self.pending.is_empty() {
            Cow::Borrowed(&self.durable)
        } else {
            Cow::Owned(self.applied(|_| true))
        }
    }

    /// Puts `content` under `name`, durably: by somebody else, such as the command line.
    pub fn put(&mut self, name: Name, content: Content) {
        self.durable.insert(name, content);
    }

    /// Takes away what stands under `name`, durably: by somebody else.
    pub fn take_away(&mut self, name: Name) {
        self.durable.remove(&name);
    }

    /// Forgets what is left of an earlier cut and only waits to be removed: no decision sees it, each use removes it.
    pub fn sweep(&mut self) {
        let left = |name: &Name| {
            matches!(name, Name::NewRecord(_) | Name::NewLink | Name::NewUnit(_) | Name::Gone(_))
        };
        let names: Vec<Name> = self.live().keys().copied().filter(left).collect();
        for name in names {
            self.remove(name);
        }
        self.sync(|effect| matches!(effect, Effect::Leave { name } if left(name)));
    }

    /// A process that did not stage it believes nothing of a staged tree.
    pub fn doubt(&mut self) {
        for (name, content) in &mut self.durable {
            if matches!(name, Name::Staged(_)) {
                *content = Content::Torn;
            }
        }
    }

    /// Every disk that a power cut now may leave: any subset of what is not synced, the fewest first.
    pub fn cuts(&self) -> Vec<Self> {
        if self.pending.is_empty() {
            return vec![self.clone()];
        }
        let unsure: Vec<usize> = (0..self.pending.len()).filter(|place| !self.pending[*place].sure).collect();
        let mut found: Vec<Self> = Vec::new();
        for kept in 0_u32..1 << unsure.len() {
            let survives = |place: usize| {
                unsure.iter().position(|other| *other == place).is_none_or(|bit| kept & (1 << bit) != 0)
            };
            let disk = Self { durable: self.applied(survives), pending: Vec::new() };
            if !found.contains(&disk) {
                found.push(disk);
            }
        }
        found
    }

    /// Changes every content, such as the times in records.
    pub fn change(&mut self, change: impl Fn(&mut Content)) {
        self.durable.values_mut().for_each(&change);
        for pending in &mut self.pending {
            match &mut pending.effect {
                Effect::Bytes { content, .. }
                | Effect::Enter { node: Node::Old(content), .. }
                | Effect::Move { node: Node::Old(content), .. } => change(content),
                _ => {}
            }
        }
    }

    /// Does one call.
    pub fn call(&mut self, call: &Call) {
        match call {
            Call::Create(name) => {
                let node = Node::New(self.files());
                self.add(Effect::Enter { name: *name, node });
            }
            Call::Write(name, content) => match self.node(*name) {
                Some(Node::New(file)) => self.add(Effect::Bytes { file, content: content.clone() }),
                Some(Node::Old(_)) => {
                    self.add(Effect::Enter { name: *name, node: Node::Old(content.clone()) });
                }
                None => {
                    self.call(&Call::Create(*name));
                    self.call(&Call::Write(*name, content.clone()));
                }
            },
            Call::Symlink(name, tree) => {
                self.add(Effect::Enter { name: *name, node: Node::Old(Content::Link(*tree)) });
            }
            Call::Rename(from, to) => {
                if let Some(node) = self.node(*from) {
                    self.add(Effect::Move { from: *from, to: *to, node });
                }
            }
            Call::Remove(name) => self.remove(*name),
            Call::SyncFile(name) => {
                let node = self.node(*name);
                self.sync(
                    |effect| matches!(effect, Effect::Bytes { file, .. } if node == Some(Node::New(*file))),
                );
            }
            Call::SyncDirectory(directory) => self.sync(|effect| match effect {
                Effect::Enter { name, .. } | Effect::Leave { name } | Effect::Move { to: name, .. } => {
                    name.directory() == *directory
                }
                Effect::Bytes { .. } => false,
            }),
            Call::SyncAll => self.sync(|_| true),
        }
    }

    fn add(&mut self, effect: Effect) {
        let pending = Pending { effect, sure: false };
        if !self.pending.contains(&pending) {
            self.pending.push(pending);
        }
    }

    /// What was never durable and is removed leaves no trace; a tree that lost its name is nobody's business.
    fn remove(&mut self, name: Name) {
        let entered = |pending: &Pending| matches!(&pending.effect, Effect::Enter { name: other, .. } if *other == name);
        if !self.durable.contains_key(&name) && self.pending.iter().any(entered) {
            let node = self.node(name);
            self.pending.retain(|pending| match &pending.effect {
                Effect::Enter { name: other, .. } => *other != name,
                Effect::Bytes { file, .. } => node != Some(Node::New(*file)),
                _ => true,
            });
        } else if self.node(name).is_some() {
            self.add(Effect::Leave { name });
        }
        let nobodys = matches!(name, Name::Gone(_));
        self.sync(|effect| nobodys && matches!(effect, Effect::Leave { name: other } if *other == name));
    }

    fn sync(&mut self, reached: impl Fn(&Effect) -> bool) {
        for pending in &mut self.pending {
            pending.sure |= reached(&pending.effect);
        }
        if self.pending.iter().all(|pending| pending.sure) {
            self.durable = self.applied(|_| true);
            self.pending.clear();
        }
    }

    fn files(&self) -> u8 {
        let used = |file: &u8| self.pending.iter().any(|pending| mentions(&pending.effect, *file));
        (0..=u8::MAX).find(|file| !used(file)).unwrap_or(u8::MAX)
    }

    fn node(&self, name: Name) -> Option<Node> {
        if self.pending.is_empty() {
            return self.durable.get(&name).cloned().map(Node::Old);
        }
        let (names, _) = self.nodes(|_| true);
        names.get(&name).cloned()
    }

    fn nodes(&self, survives: impl Fn(usize) -> bool) -> (BTreeMap<Name, Node>, BTreeMap<u8, Content>) {
        let durable = self.durable.iter().map(|(name, content)| (*name, Node::Old(content.clone())));
        let mut names: BTreeMap<Name, Node> = durable.collect();
        let mut bytes = BTreeMap::new();
        for (_, pending) in self.pending.iter().enumerate().filter(|(place, _)| survives(*place)) {
            match &pending.effect {
                Effect::Enter { name, node } => {
                    names.insert(*name, node.clone());
                }
                Effect::Bytes { file, content } => {
                    bytes.insert(*file, content.clone());
                }
                Effect::Move { from, to, node } => {
                    if names.get(from) == Some(node) {
                        names.remove(from);
                    }
                    names.insert(*to, node.clone());
                }
                Effect::Leave { name } => {
                    names.remove(name);
                }
            }
        }
        (names, bytes)
    }

    fn applied(&self, survives: impl Fn(usize) -> bool) -> BTreeMap<Name, Content> {
        let (names, bytes) = self.nodes(survives);
        let content = |node: Node| match node {
            Node::Old(content) => content,
            Node::New(file) => bytes.get(&file).cloned().unwrap_or(Content::Torn),
        };
        names.into_iter().map(|(name, node)| (name, content(node))).collect()
    }
}

fn mentions(effect: &Effect, wanted: u8) -> bool {
    match effect {
        Effect::Enter { node: Node::New(file), .. }
        | Effect::Move { node: Node::New(file), .. }
        | Effect::Bytes { file, .. } => *file == wanted,
        _ => false,
    }
}
