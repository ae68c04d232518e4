//! A sealed tree mended in place: what differs is fetched into a directory beside it, made durable, and only then
//! renamed over what was wrong. A cut at any point leaves each file as it was or as it was signed.
//!
//! Other releases may have names for the very inode that is wrong: they get the mended file first, so that as long as
//! any of them is wrong, the one that is known to be is.
//!
//! Never here: whether to mend, or what is looked at when (`verify`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tidelock_protocol::digest::Digest;
use tidelock_protocol::index::Summary;
use tidelock_protocol::release::File;
use tidelock_protocol::tree::{self, Entry, Kind, TreePath};

use super::super::{disk, http::Http};
use super::need::room;
use super::old::Old;
use super::reuse::Plan;
use super::staged::Index;
use super::tree::{Tree, failed};
use super::verify::{Change, Difference, Scope, walk};
use super::{Error, INDEX, Report, Share, TREE, Traffic, assemble, inflate, ranges, summary};
use crate::decide::model::Space;

/// What to mend.
#[derive(Clone, Copy, Debug)]
pub struct Mending<'a> {
    /// The sealed release.
    pub place: &'a Path,
    /// Its tree digest.
    pub tree: &'a Digest,
    /// Its index, as it was signed.
    pub index: &'a File,
    /// Its bundle, as it was signed.
    pub bundle: &'a File,
    /// Where new files are made: a directory beside `place` that nobody else uses.
    pub staging: &'a Path,
    /// Other sealed releases, which may share inodes with it.
    pub others: &'a [PathBuf],
}

/// What is wrong with a tree, by path.
type Wrong = BTreeMap<PathBuf, Change>;

/// What stands where, by inode.
type Shared = BTreeMap<(u64, u64), (TreePath, tree::File)>;

/// Mends every entry of the sealed tree that is not as its index lists it, and gives what that cost.
///
/// # Errors
/// Nothing was replaced by anything else than signed bytes; what is not mended yet differs as before.
pub fn heal(http: &Http, job: &Mending<'_>, stop: &(dyn Fn() -> bool + Sync)) -> Result<Report, Error> {
    let index = signed_index(http, job)?;
    let summary = summary(&index, job.tree)?;
    let mut live = Tree::open(&job.place.join(TREE))?;
    let mut wrong = Wrong::new();
    let mut note = |Difference { path, change }| {
        wrong.insert(path, change);
    };
    walk(&mut live, index.listing()?, Scope::Content, &mut note)?;
    disk::discard(job.staging)?;
    disk::create_directories(job.staging)?;
    let mut staged = Tree::create(&job.staging.join(TREE))?;
    let mut plan = plan(&index, &summary, &mut staged, &wrong)?;
    let mut old = Old::open(job.place, Share::Blocks);
    old.iter_mut().for_each(Old::load_pieces);
    plan.blocks(&index, &mut staged, old.as_mut(), stop)?;
    room(Space { bytes: plan.raw_bytes, inodes: plan.report.files }, job.staging)?;
    let traffic = Traffic::default();
    let (bundle, wanted) = (job.bundle, &plan.wanted);
    let source = ranges::Source { http, bundle, index: &index, wanted, most: false, traffic: &traffic, stop };
    inflate::with_blocks(&source, |incoming| assemble::files(&index, &mut staged, &plan, old, incoming))?;
    let shared = shared(&index, &mut live, &wrong)?;
    for other in job.others.iter().filter(|_| !shared.is_empty()) {
        put_elsewhere(other, &shared, &mut staged, job.staging)?;
    }
    put(&index, &mut live, &mut staged, &wrong)?;
    disk::discard(job.staging)?;
    traffic.tell(&mut plan.report);
    Ok(plan.report)
}

/// The index of the release; fetched again when its bytes are not the signed ones any more.
fn signed_index(http: &Http, job: &Mending<'_>) -> Result<Index, Error> {
    let place = job.place.join(INDEX);
    if let Ok(index) = Index::open(&place, job.index) {
        return Ok(index);
    }
    disk::replace(&place, &ranges::verified(http, job.index)?)?;
    Index::open(&place, job.index)
}

/// Which files are written anew. Empty ones, and the links, are made at once: no block holds anything of them.
fn plan(index: &Index, summary: &Summary, staged: &mut Tree, wrong: &Wrong) -> Result<Plan, Error> {
    let mut plan = Plan::nothing(summary);
    let mut listing = index.listing()?;
    for ordinal in 0.. {
        let Some(Entry { path, kind }) = listing.next_entry().map_err(Error::Index)? else { break };
        let is_right = matches!(wrong.get(Path::new(path.as_str())), None | Some(Change::Mode));
        if is_right || kind == Kind::Directory {
            plan.have.set(ordinal);
            continue;
        }
        make_parents(staged, &path)?;
        match kind {
            Kind::File(file) if file.size == 0 => {
                let empty = staged.create_file(&path)?;
                staged.finish_file(&path, &empty, file.mode)?;
                plan.have.set(ordinal);
            }
            Kind::File(file) => {
                plan.report.files += 1;
                plan.raw_bytes = plan.raw_bytes.saturating_add(file.size);
            }
            Kind::Link(target) => staged.make_link(&path, &target)?,
            Kind::Directory => {}
        }
    }
    Ok(plan)
}

fn make_parents(staged: &mut Tree, path: &TreePath) -> Result<(), Error> {
    let text = path.as_str();
    for (end, _) in text.match_indices('/') {
        // Every beginning of a path is a path.
        if let Ok(parent) = text[..end].parse() {
            staged.make_directory(&parent)?;
        }
    }
    Ok(())
}

/// The files with wrong content that have other names as well, by their inodes.
fn shared(index: &Index, live: &mut Tree, wrong: &Wrong) -> Result<Shared, Error> {
    let mut shared = Shared::new();
    let mut listing = index.listing()?;
    while let Some(Entry { path, kind }) = listing.next_entry().map_err(Error::Index)? {
        if let (Kind::File(file), Some(Change::Content)) = (kind, wrong.get(Path::new(path.as_str())))
            && let Some(found) = live.stat(&path).filter(|found| found.st_nlink > 1)
        {
            shared.insert((found.st_dev, found.st_ino), (path, file));
        }
    }
    Ok(shared)
}

/// Puts what was staged in the place of those inodes in another release, where it lists the same file.
fn put_elsewhere(other: &Path, shared: &Shared, staged: &mut Tree, staging: &Path) -> Result<(), Error> {
    let Ok(index) = Index::of_sealed(&other.join(INDEX)) else { return Ok(()) };
    let mut tree = Tree::open(&other.join(TREE))?;
    let mut spare = Tree::create(&staging.join("spare"))?;
    let mut touched = BTreeSet::new();
    for (path, file) in index.files() {
        let found = tree.stat(&path).and_then(|found| shared.get(&(found.st_dev, found.st_ino)));
        let Some((from, _)) = found.filter(|(_, mended)| *mended == file) else { continue };
        if let Some(made) = staged.open_file(from)? {
            staged.sync_file(from, &made)?;
        }
        let place = spare.place(from);
        make_parents(&mut spare, from)?;
        spare.link(from, staged, from).map_err(failed("link a mended file to", &place))?;
        tree.take(&path, &mut spare, from)?;
        touched.insert(path.parent().map_or_else(PathBuf::new, PathBuf::from));
    }
    for directory in touched {
        tree.sync_directory(&directory)?;
    }
    Ok(())
}

/// Puts what was staged in the place of what is wrong, in the order of the listing: a directory before what is in it.
fn put(index: &Index, live: &mut Tree, staged: &mut Tree, wrong: &Wrong) -> Result<(), Error> {
    let mut touched = BTreeSet::new();
    // Strangers first: one may stand where a directory belongs.
    for path in wrong.iter().filter(|(_, change)| **change == Change::Extra).map(|(path, _)| path) {
        live.remove_stray(path)?;
        touched.insert(path.parent().map_or_else(PathBuf::new, Path::to_owned));
    }
    let mut listing = index.listing()?;
    while let Some(Entry { path, kind }) = listing.next_entry().map_err(Error::Index)? {
        let Some(change) = wrong.get(Path::new(path.as_str())) else { continue };
        touched.insert(path.parent().unwrap_or_default().into());
        match (kind, change) {
            (Kind::Directory, Change::Mode) => live.finish_directory(&path)?,
            (Kind::Directory, _) => {
                live.make_directory(&path)?;
                live.finish_directory(&path)?;
                touched.insert(path.as_str().into());
            }
            (Kind::File(file), Change::Mode) => {
                if let Some(found) = live.open_file(&path)? {
                    live.finish_file(&path, &found, file.mode)?;
                    live.sync_file(&path, &found)?;
                }
            }
            (Kind::File(_) | Kind::Link(_), change) => {
                if let Some(made) = staged.open_file(&path)? {
                    staged.sync_file(&path, &made)?;
                }
                if *change == Change::Kind {
                    live.remove(&path)?;
                }
                live.take(&path, staged, &path)?;
            }
        }
    }
    for directory in touched {
        live.sync_directory(&directory)?;
    }
    Ok(())
}
