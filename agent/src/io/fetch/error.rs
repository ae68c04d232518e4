//! Why a tree is not here: what the publisher sent, what it did not send, or what this device could not do.

use std::path::PathBuf;
use std::time::Duration;

use tidelock_protocol::digest::Digest;
use tidelock_protocol::index;
use tidelock_protocol::tree::TreePath;

use super::super::{disk, http};
use super::Difference;
use crate::decide::model::{Space, TroubleKind};

/// A fetch that did not end with a whole tree.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent was asked to end.
    #[error("the fetch was stopped; what is staged stays for the next attempt")]
    Stopped,
    /// The publisher does not have a signed file.
    #[error(
        "the publisher does not have {name}: a release that is signed is not, or no longer, published whole"
    )]
    Missing {
        /// Name of the target.
        name: String,
    },
    /// No usable answer.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// A file of another length than was signed.
    #[error(
        "{name} has {found} bytes at the publisher, {signed} were signed: it was replaced, or a proxy changes it"
    )]
    Length {
        /// Name of the target.
        name: String,
        /// What the server states.
        found: u64,
        /// What was signed.
        signed: u64,
    },
    /// 416: the file ends before a range of it.
    #[error("{name} is shorter at the publisher than was signed (416 for bytes {start} to {end})")]
    OutOfRange {
        /// Name of the target.
        name: String,
        /// First byte that was asked for.
        start: u64,
        /// The byte after the last.
        end: u64,
    },
    /// 206, but not with what was asked for.
    #[error("the publisher sent only the beginning of a range of {name}: something on the way cuts ranges")]
    Part {
        /// Name of the target.
        name: String,
    },
    /// Another file than the one signed.
    #[error(
        "{name} has SHA-256 {found} at the publisher, which is not what was signed; nothing of it was used"
    )]
    Digest {
        /// Name of the target.
        name: String,
        /// What was computed.
        found: Digest,
    },
    /// A block with other bytes.
    #[error(
        "block {number} of {name} (bytes {start} to {end}) is not what was signed; nothing of it was used"
    )]
    Block {
        /// Name of the bundle.
        name: String,
        /// Counted from 0.
        number: u64,
        /// First byte.
        start: u64,
        /// The byte after the last.
        end: u64,
    },
    /// A block that is what was signed, but not what its index says.
    #[error(
        "block {number} of the bundle does not inflate to the {raw} bytes that its index states: packed wrongly"
    )]
    Inflate {
        /// Counted from 0.
        number: u64,
        /// Its raw length.
        raw: usize,
    },
    /// An index that breaks the format.
    #[error("the index of the release is refused")]
    Index(#[source] index::Error),
    /// An index of another tree.
    #[error("the index lists tree {found}, {wanted} is wanted: packed or signed wrongly")]
    Tree {
        /// The digest of its listing.
        found: Digest,
        /// The one signed.
        wanted: Digest,
    },
    /// Index and bundle do not belong together.
    #[error("the index makes a bundle of {blocks} bytes, {signed} were signed: packed or signed wrongly")]
    Pair {
        /// Sum of the blocks.
        blocks: u64,
        /// The bundle's signed length.
        signed: u64,
    },
    /// Blocks that are right make a file that is not.
    #[error(
        "{path} has another SHA-256 than its listing states, although its blocks are right: packed wrongly"
    )]
    File {
        /// The file.
        path: TreePath,
    },
    /// The disk takes no tree of this size.
    #[error(
        "no room below {place}: the release needs {} bytes and {} inodes, {} and {} are free",
        need.bytes, need.inodes, free.bytes, free.inodes
    )]
    Room {
        /// Where.
        place: PathBuf,
        /// What is still needed.
        need: Space,
        /// What there is.
        free: Space,
    },
    /// Something else changed the staged tree.
    #[error("the staged tree is not as it was written: {0}")]
    Disturbed(Difference),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A thread of the transfer could not begin, or ended without a word.
    #[error("a thread of the transfer {0}")]
    Thread(&'static str),
}

impl Error {
    /// Which kind of trouble it is, for how it is told and when to try again.
    pub fn kind(&self) -> TroubleKind {
        match self {
            Self::Missing { .. } => TroubleKind::Unavailable,
            Self::Stopped | Self::Part { .. } | Self::Http(_) => TroubleKind::Network,
            Self::Room { .. } | Self::Disturbed(_) | Self::Disk(_) | Self::Thread(_) => TroubleKind::Disk,
            _ => TroubleKind::Content,
        }
    }

    /// How long the server asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Http(error) = self { error.retry_after() } else { None }
    }
}
