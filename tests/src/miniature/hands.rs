//! What the hands do for each step: the calls on the disk in their order, and the hooks and checks between them.
//!
//! The calls are those of `io/disk`; `crash::replay` holds them against what the real ones do. Never here: a choice.

use std::rc::Rc;

use tidelock::decide::model::{Extent, Record, Step, Tried};
use tidelock_protocol::digest::Digest;

use super::disk::{Call, Content, Directory, Kind, Name};

/// One thing that the hands do; a cut or a kill may come after each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// On the disk.
    Disk(Call),
    /// The index is asked for and verified, then staged.
    Index(Digest),
    /// The tree is fetched and verified, then staged whole.
    Fetch(Digest),
    /// The service manager is told to read the unit files.
    Tell,
    /// What the app was started with is remembered.
    Note(String),
    /// How far it is with changed settings is remembered.
    Tried(Option<Tried>),
    /// A hook is about to run: from here until it returns nobody knows what runs.
    Unclear,
    /// A start is about to be made that goes on without the agent.
    Starting(Digest),
    /// The stop hook.
    Stop(Digest),
    /// The start hook.
    Start(Digest),
    /// The rest of a start that was begun.
    Await(Digest),
    /// What runs is told that it is this release now; it goes on with the settings that it was started with.
    Reload(Digest),
    /// What ended by itself is started again, beside what did not.
    Revive(Digest),
    /// A piece of the live tree is hashed: the second one, or the first.
    Inspect(Digest, bool),
    /// A tree is hashed before the link moves to it.
    Recheck(Digest, Extent),
    /// Other trees that have the very inode which differs in this one get the mended file.
    HealOthers(Digest),
    /// What differs in a tree is mended.
    Heal(Digest),
    /// The launcher takes the agent's process over.
    Launch,
    /// A check.
    Probe {
        /// Of which tree.
        tree: Digest,
        /// Its name.
        check: String,
        /// Passes to note when it passes, and when it fails.
        passes: (u32, u32),
        /// Seconds after which it failed.
        timeout: u64,
    },
}

/// Everything that `step` does, in this order.
pub fn acts(step: &Step) -> Vec<Act> {
    let disk = |calls: Vec<Call>| calls.into_iter().map(Act::Disk).collect();
    match step {
        Step::Rest { .. } | Step::Wait { .. } => Vec::new(),
        Step::Index { tree, .. } => vec![Act::Index(*tree)],
        Step::Fetch { tree, .. } => vec![Act::Fetch(*tree)],
        Step::Seal { setup, .. } => disk(seal(setup.tree)),
        Step::Point { tree, .. } => disk(point(*tree)),
        Step::Unlink { .. } => disk(remove(Name::Link)),
        Step::Place { tree, .. } => [disk(place(*tree)), vec![Act::Tell]].concat(),
        Step::Stop { tree, .. } => vec![Act::Unclear, Act::Stop(*tree)],
        Step::Start { tree, .. } => vec![Act::Starting(*tree), Act::Start(*tree)],
        Step::Await { tree, .. } => vec![Act::Await(*tree)],
        Step::Reload { tree, .. } => vec![Act::Unclear, Act::Reload(*tree)],
        Step::Revive { tree, .. } => vec![Act::Revive(*tree)],
        Step::Launch { .. } => vec![Act::Launch],
        Step::Probe { tree, check, timeout, if_passed, if_failed, .. } => vec![Act::Probe {
            tree: *tree,
            check: check.clone(),
            passes: (*if_passed, *if_failed),
            timeout: timeout.as_secs(),
        }],
        Step::Inspect { tree, from, .. } => vec![Act::Inspect(*tree, from.is_some())],
        Step::Recheck { tree, extent, .. } => vec![Act::Recheck(*tree, *extent)],
        Step::Heal { tree, .. } => vec![Act::HealOthers(*tree), Act::Heal(*tree)],
        Step::Note { settings, .. } => vec![Act::Note(settings.clone())],
        Step::Try { tried, .. } => vec![Act::Tried(Some(tried.clone()))],
        Step::Commit { .. } => {
            [disk(step.records().into_iter().flat_map(write).collect()), vec![Act::Tried(None)]].concat()
        }
        Step::Prune { tree, .. } => disk(prune(*tree)),
        Step::Discard { tree, .. } => disk(remove(Name::Staged(*tree))),
        records => disk(records.records().into_iter().flat_map(write).collect()),
    }
}

/// What a process does when it takes the lock: a name that another one gave before it was killed can be seen and still
/// be lost, and no step may be built on it.
pub fn take() -> Vec<Call> {
    [Directory::Journal, Directory::App, Directory::Releases].map(Call::SyncDirectory).into()
}

/// `io/journal` writes a record, or removes it where there is nothing to keep.
pub fn write(record: Record) -> Vec<Call> {
    let kind = kind(&record);
    let keeps = match &record {
        Record::Trial(trial) => trial.is_some(),
        Record::Committed(list) => !list.is_empty(),
        Record::Refusals(list) => !list.is_empty(),
        Record::Setback(setback) => setback.is_some(),
        Record::Rollback(intent) => intent.is_some(),
        Record::Retry(intent) => intent.is_some(),
        Record::Orphan(orphan) => orphan.is_some(),
        Record::Hold(hold) => hold.is_some(),
        Record::Pin(pin) => pin.is_some(),
        Record::Drift(drift) => drift.is_some(),
        Record::Heal(intent) => intent.is_some(),
    };
    if keeps { replace(kind, Content::Record(Rc::new(record))) } else { remove(Name::Record(kind)) }
}

/// Which file a record stands in.
pub const fn kind(record: &Record) -> Kind {
    match record {
        Record::Trial(_) => Kind::Trial,
        Record::Committed(_) => Kind::Committed,
        Record::Refusals(_) => Kind::Refusals,
        Record::Setback(_) => Kind::Setback,
        Record::Rollback(_) => Kind::Rollback,
        Record::Retry(_) => Kind::Retry,
        Record::Orphan(_) => Kind::Orphan,
        Record::Hold(_) => Kind::Hold,
        Record::Pin(_) => Kind::Pin,
        Record::Drift(_) => Kind::Drift,
        Record::Heal(_) => Kind::Heal,
    }
}

/// `disk::replace`
pub fn replace(kind: Kind, content: Content) -> Vec<Call> {
    let new = Name::NewRecord(kind);
    vec![
        Call::Remove(new),
        Call::Create(new),
        Call::Write(new, content),
        Call::SyncFile(new),
        Call::Rename(new, Name::Record(kind)),
        Call::SyncDirectory(Directory::Journal),
    ]
}

/// `disk::point`
pub fn point(tree: Digest) -> Vec<Call> {
    vec![
        Call::Remove(Name::NewLink),
        Call::Symlink(Name::NewLink, tree),
        Call::Rename(Name::NewLink, Name::Link),
        Call::SyncDirectory(Directory::App),
    ]
}

/// More unit files than any one release has.
pub const UNITS: u8 = 3;

/// The unit files of a release: one that all releases have, and one that not all have.
pub fn units_of(tree: &Digest) -> [u8; 2] {
    [0, 1 + u8::from(tree.to_string().as_str() < "8")]
}

/// `activate::place`
pub fn place(tree: Option<Digest>) -> Vec<Call> {
    let own = tree.map(|tree| (tree, units_of(&tree)));
    let put = own.iter().flat_map(|(tree, files)| files.iter().map(|file| (*tree, *file))).flat_map(
        |(tree, file)| {
            let new = Name::NewUnit(file);
            let content = Content::Unit(tree);
            [
                Call::Remove(new),
                Call::Create(new),
                Call::Write(new, content),
                Call::SyncFile(new),
                Call::Rename(new, Name::Unit(file)),
                Call::SyncDirectory(Directory::Units),
            ]
        },
    );
    let stale = (0..UNITS).filter(|file| own.is_none_or(|(_, files)| !files.contains(file)));
    put.chain(stale.flat_map(|file| remove(Name::Unit(file)))).collect()
}

/// `disk::seal`
pub fn seal(tree: Digest) -> Vec<Call> {
    vec![
        Call::SyncAll,
        Call::Rename(Name::Staged(tree), Name::Sealed(tree)),
        Call::SyncDirectory(Directory::Releases),
    ]
}

/// `disk::prune`
pub fn prune(tree: Digest) -> Vec<Call> {
    vec![
        Call::Remove(Name::Gone(tree)),
        Call::Rename(Name::Sealed(tree), Name::Gone(tree)),
        Call::SyncDirectory(Directory::Releases),
        Call::Remove(Name::Gone(tree)),
    ]
}

/// `disk::remove`
pub fn remove(name: Name) -> Vec<Call> {
    vec![Call::Remove(name), Call::SyncDirectory(name.directory())]
}
