//! The bundle of a release: packing a tree into blocks of one `.tar.gz`, and reading it back before it may be signed.
//!
//! Never here: where the files come from (`git`), names and signatures of targets (`publish`).

mod check;
mod compare;
mod compress;
mod earlier;
mod header;
mod inflate;
mod pack;
mod parts;
mod patch;
mod template;

use std::io;

use tidelock_protocol::index;
use tidelock_protocol::tree::TreePath;

pub use check::check;
pub use compare::{Cost, blocks, compare, inflated};
pub use compress::COMPRESSOR;
pub use earlier::Earlier;
pub use inflate::Inflate;
pub use pack::{Packed, Packer};
pub use parts::{MADE, PARTS_BYTES, Part, Parts, PartsWriter};
pub use patch::{patch, patched, served};
pub use template::{Making, Slot, Template, Templates};

/// Why a bundle was not made, or must not be signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source of a file failed.
    #[error("cannot read {path} to pack it")]
    Read {
        /// The file.
        path: TreePath,
        /// What its source said.
        #[source]
        source: io::Error,
    },
    /// A file that is shorter or longer than it was announced.
    #[error("{path} was announced with {announced} bytes, its source gave {found}")]
    Size {
        /// The file.
        path: TreePath,
        /// The size that stands in the tar header by now.
        announced: u64,
        /// Bytes that came; one more than announced when there were more.
        found: u64,
    },
    /// The bundle could not be written.
    #[error("cannot write the bundle")]
    Write(#[source] io::Error),
    /// Not a tree, or beyond a limit of the wire.
    #[error("this tree cannot be published")]
    Tree(#[source] index::Error),
    /// zlib-rs refused, or a compressing thread ended.
    #[error("cannot compress a block of the bundle: {0}")]
    Compress(String),
    /// The bundle could not be read back.
    #[error("cannot read the bundle back")]
    ReadBack(#[source] io::Error),
    /// What was read back is not what the index says.
    #[error("the bundle disagrees with its index and must not be signed: {0}")]
    Disagree(String),
}

#[cfg(test)]
mod tests;
