//! Blocks become files: each written in order, hashed while it is written, and given its final mode only when right.

use std::fs;
use std::os::unix::fs::FileExt;

use tidelock_protocol::digest::Hasher;
use tidelock_protocol::index::{Block, Contents, Span};
use tidelock_protocol::tree::{Entry, Kind};

use super::super::trace;
use super::Error;
use super::inflate::{Buffer, Incoming};
use super::old::Old;
use super::reuse::Plan;
use super::staged::Index;
use super::tree::{Tree, failed};
use super::verify::{Change, Scope, walk};

/// The file that is being written.
struct Writing {
    file: fs::File,
    hasher: Hasher,
}

/// Writes every file that is not there yet, from `incoming` and from what is already on this device.
pub(super) fn files(
    index: &Index,
    staged: &mut Tree,
    plan: &Plan,
    mut old: Option<Old>,
    incoming: Incoming,
) -> Result<(), Error> {
    let mut contents = Contents::open(index.inflate()?, index.inflate()?).map_err(Error::Index)?;
    let mut writing: Option<Writing> = None;
    let mut next = 0;
    while let Some((block, spans)) = contents.next_block().map_err(Error::Index)? {
        let number = next;
        next += 1;
        let is_missing = |span: &Span| !plan.have.has(span.ordinal);
        if !spans.iter().any(is_missing) {
            continue;
        }
        let is_staged = plan.staged.has(number);
        let raw = if plan.wanted.has(number) {
            incoming.take(number)?
        } else {
            here(&block, spans.first(), staged, old.as_mut(), is_staged)?
        };
        for span in spans.iter().filter(|span| is_missing(span)) {
            let bytes = raw.get(span.within.clone()).unwrap_or_default();
            write(staged, span, bytes, is_staged, &mut writing)?;
        }
        incoming.give_back(raw);
    }
    Ok(())
}

/// The raw bytes of a block that was found on this device.
fn here(
    block: &Block,
    span: Option<&Span>,
    staged: &mut Tree,
    old: Option<&mut Old>,
    is_staged: bool,
) -> Result<Buffer, Error> {
    let (Some(span), Some(raw)) = (span, &block.raw_sha256) else { return Ok(Vec::new().into()) };
    let lost = || Error::File { path: span.path.clone() };
    if !is_staged {
        return Ok(old.and_then(|old| old.piece(raw)).ok_or_else(lost)?.into());
    }
    let file = staged.open_file(&span.path)?.ok_or_else(lost)?;
    let mut bytes = vec![0; span.within.len()];
    file.read_exact_at(&mut bytes, span.offset).map_err(failed("read", &staged.place(&span.path)))?;
    Ok(bytes.into())
}

/// Adds one piece to its file; with the last one the file is checked and finished.
fn write(
    staged: &mut Tree,
    span: &Span,
    bytes: &[u8],
    is_staged: bool,
    writing: &mut Option<Writing>,
) -> Result<(), Error> {
    if span.offset == 0 {
        *writing = Some(Writing { file: staged.create_or_resume(&span.path)?, hasher: Hasher::new() });
    }
    let Some(Writing { file, hasher }) = writing else { return Err(Error::File { path: span.path.clone() }) };
    let place = staged.place(&span.path);
    hasher.update(bytes);
    if !is_staged {
        file.write_all_at(bytes, span.offset).map_err(failed("write", &place))?;
        trace::note_bytes(&place, bytes);
    }
    let end = span.offset + bytes.len() as u64;
    if end < span.file.size {
        return Ok(());
    }
    let Some(Writing { file, hasher }) = writing.take() else { return Ok(()) };
    // What an earlier attempt left may be longer.
    if !staged.is_new() && file.metadata().map_err(failed("look at", &place))?.len() != span.file.size {
        file.set_len(span.file.size).map_err(failed("cut", &place))?;
    }
    if hasher.finish() != span.file.sha256 {
        return Err(Error::File { path: span.path.clone() });
    }
    Ok(staged.finish_file(&span.path, &file, span.file.mode)?)
}

/// Makes the links, sets the modes of directories, and removes what is not listed; then the tree is exactly its listing.
pub(super) fn finish(index: &Index, staged: &mut Tree) -> Result<(), Error> {
    let mut listing = index.listing()?;
    while let Some(Entry { path, kind }) = listing.next_entry().map_err(Error::Index)? {
        match kind {
            Kind::Directory => staged.finish_directory(&path)?,
            Kind::Link(target) => staged.make_link(&path, &target)?,
            Kind::File(_) => {}
        }
    }
    let mut differences = Vec::new();
    walk(staged, index.listing()?, Scope::Names, &mut |difference| differences.push(difference))?;
    for difference in differences {
        if difference.change != Change::Extra {
            return Err(Error::Disturbed(difference));
        }
        staged.remove_stray(&difference.path)?;
    }
    Ok(())
}
