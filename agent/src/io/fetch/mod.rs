//! Gets the tree of a release here: its index, then what this device does not have yet, each byte verified before it is
//! used. What is done lies in a staging directory as `index` and `tree/`, whole and verified, ready to be sealed.
//!
//! A fetch can be cut at any point and asked again: what is staged is hashed anew, and kept where it is right. Memory
//! does not grow with the bundle: index and listing are read as streams, blocks pass through a short pipeline.
//! Never here: whether to fetch, or sealing (`disk`).

mod assemble;
mod bits;
mod error;
mod heal;
mod inflate;
mod need;
mod old;
mod ranges;
mod reuse;
mod staged;
mod tree;
mod verify;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tidelock_protocol::digest::Digest;
use tidelock_protocol::index::{Contents, Summary};
use tidelock_protocol::release::File;

use super::disk;
use super::http::Http;
use crate::decide::model::Space;

use staged::Index;
use tree::Tree;

pub use error::Error;
pub use heal::{Mending, heal};
pub use verify::{Change, Difference, FIRST, Piece, inspect, recheck, verify};

/// Name of the index in a release's directory, staged or sealed.
pub const INDEX: &str = "index";
/// Name of the directory that holds a release's files.
pub const TREE: &str = "tree";

/// What to fetch.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The index that environment and app role agree on.
    pub index: &'a File,
    /// Its bundle.
    pub bundle: &'a File,
    /// The tree digest.
    pub tree: &'a Digest,
    /// Where to: a directory of this tree's own, kept between attempts.
    pub staging: &'a Path,
    /// A sealed release of which files may be taken over.
    pub running: Option<&'a Path>,
    /// How.
    pub share: Share,
}

/// What a release may have in common with the one that its files were taken over from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// The inodes of unchanged files, then blocks: where nothing that runs can write into a release.
    Inodes,
    /// Blocks, where the file system can; each release has inodes of its own.
    Blocks,
}

/// What a fetch cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Bytes of bodies that came over the wire, those of the bundle.
    pub bytes: u64,
    /// Requests made.
    pub requests: u64,
    /// Files with content in the tree.
    pub files: u64,
    /// Of them, those that were staged whole by an earlier attempt.
    pub resumed: u64,
    /// Of them, those taken over from the running release.
    pub reused: u64,
    /// Files that were to be taken over and are not as they were signed any more.
    pub spoilt: u64,
    /// Blocks of split files taken over from the running release or an earlier attempt.
    pub reused_blocks: u64,
}

/// Bodies and requests so far, counted where they pass.
/// Behind a lock: not every CPU has a number of 64 bits that two threads may count in.
#[derive(Default)]
struct Traffic(Mutex<Counts>);

#[derive(Clone, Copy, Default)]
struct Counts {
    bytes: u64,
    requests: u64,
}

impl Traffic {
    fn add(&self, bytes: u64, requests: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.bytes += bytes;
        counts.requests += requests;
    }

    /// Writes what there was into the report.
    fn tell(&self, report: &mut Report) {
        let counts = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (report.bytes, report.requests) = (counts.bytes, counts.requests);
    }
}

/// Fetches the index into `staging`, verified, unless it is there already; gives what the tree still needs on disk when
/// files of the sealed release at `running` may be taken over.
///
/// # Errors
/// Length and SHA-256 are checked before it is inflated, its form and its tree digest before it is kept.
pub fn index(
    http: &Http,
    file: &File,
    tree: &Digest,
    staging: &Path,
    running: Option<&Path>,
    share: Share,
) -> Result<Space, Error> {
    disk::create_directories(staging)?;
    let place = staging.join(INDEX);
    if Index::open(&place, file).is_err() {
        let bytes = ranges::verified(http, file)?;
        // It is verified whenever it is opened, and becomes durable with the tree.
        disk::replace_for_boot(&place, &bytes)?;
    }
    let index = Index::open(&place, file)?;
    summary(&index, tree)?;
    need::need(&index, staging, running, share)
}

/// Stages the tree of `job`, whose index is staged, until it is whole and verified. `stop` is asked at each block.
///
/// # Errors
/// What is staged by then stays, and is used by the next attempt.
pub fn tree(http: &Http, job: &Job<'_>, stop: &(dyn Fn() -> bool + Sync)) -> Result<Report, Error> {
    let index = Index::open(&job.staging.join(INDEX), job.index)?;
    let summary = summary(&index, job.tree)?;
    if summary.bundle_length != job.bundle.length {
        return Err(Error::Pair { blocks: summary.bundle_length, signed: job.bundle.length });
    }
    need::room(need::need(&index, job.staging, job.running, job.share)?, job.staging)?;
    let mut staged = Tree::create(&job.staging.join(TREE))?;
    let (mut plan, old) = reuse::plan(&index, &summary, &mut staged, job, stop)?;
    let traffic = Traffic::default();
    let source = ranges::Source {
        http,
        bundle: job.bundle,
        index: &index,
        wanted: &plan.wanted,
        // Nine tenths: at seven, two of eleven real updates fetched a quarter more than they lacked, to save 13 requests.
        most: plan.wanted_bytes > job.bundle.length / 10 * 9,
        traffic: &traffic,
        stop,
    };
    inflate::with_blocks(&source, |incoming| assemble::files(&index, &mut staged, &plan, old, incoming))?;
    assemble::finish(&index, &mut staged)?;
    traffic.tell(&mut plan.report);
    Ok(plan.report)
}

/// Reads an index from end to end: every rule of its format, and that it lists the wanted tree.
fn summary(index: &Index, tree: &Digest) -> Result<Summary, Error> {
    let summary = Contents::open(index.inflate()?, index.inflate()?).and_then(Contents::finish);
    match summary.map_err(Error::Index)? {
        summary if summary.tree == *tree => Ok(summary),
        other => Err(Error::Tree { found: other.tree, wanted: *tree }),
    }
}
