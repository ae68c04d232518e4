//! What a device that runs one release would fetch and write to run another: told from the two indexes alone, by the rules
//! by which devices take over what they have.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use flate2::bufread::GzDecoder;
use serde::Serialize;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::index::{Block, Blocks, Contents, Listing};
use tidelock_protocol::limits::INDEX_INFLATED_BYTES;
use tidelock_protocol::tree::{Kind, TreePath};

use super::Error;

/// What an update costs a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Entries that are new.
    pub added: u64,
    /// Entries of the same path that are not the same.
    pub changed: u64,
    /// Entries that are gone.
    pub removed: u64,
    /// Bytes to fetch: the index, and the blocks of which the device has not all bytes.
    pub fetch: u64,
    /// Bytes of files that are written anew.
    pub write: u64,
}

/// What it costs a device that runs the release with the index `old` (none: nothing) to run the one with `new`, both as
/// served.
///
/// # Errors
/// Something that is no index.
pub fn compare(old: Option<&[u8]>, new: &[u8]) -> Result<Cost, Error> {
    let before = old.map(inflated).transpose()?.map(|text| Before::read(&text)).transpose()?;
    let before = before.unwrap_or_default();
    let text = inflated(new)?;
    let mut cost = Cost { fetch: u64::try_from(new.len()).unwrap_or(u64::MAX), ..Cost::default() };
    let mut listing = Listing::open(&text[..]).map_err(Error::Tree)?;
    let mut kept = 0;
    while let Some(entry) = listing.next_entry().map_err(Error::Tree)? {
        match before.entries.get(&entry.path) {
            None => cost.added += 1,
            Some(kind) => {
                kept += 1;
                cost.changed += u64::from(*kind != entry.kind);
            }
        }
        if let Kind::File(file) = entry.kind
            && !before.files.contains(&file.sha256)
        {
            cost.write += file.size;
        }
    }
    cost.removed = u64::try_from(before.entries.len()).unwrap_or(u64::MAX) - kept;
    let mut contents = Contents::open(&text[..], &text[..]).map_err(Error::Tree)?;
    while let Some((block, spans)) = contents.next_block().map_err(Error::Tree)? {
        let is_here = block.raw_sha256.is_some_and(|piece| before.pieces.contains(&piece));
        if !is_here && spans.iter().any(|span| !before.files.contains(&span.file.sha256)) {
            cost.fetch += block.bytes.end - block.bytes.start;
        }
    }
    Ok(cost)
}

/// What a device has that runs a release.
#[derive(Default)]
struct Before {
    entries: BTreeMap<TreePath, Kind>,
    files: BTreeSet<Digest>,
    pieces: BTreeSet<Digest>,
}

impl Before {
    fn read(text: &[u8]) -> Result<Self, Error> {
        let mut before = Self::default();
        let mut listing = Listing::open(text).map_err(Error::Tree)?;
        while let Some(entry) = listing.next_entry().map_err(Error::Tree)? {
            if let Kind::File(file) = &entry.kind {
                before.files.insert(file.sha256);
            }
            before.entries.insert(entry.path, entry.kind);
        }
        let mut blocks = Blocks::open(text).map_err(Error::Tree)?;
        while let Some(block) = blocks.next_block().map_err(Error::Tree)? {
            before.pieces.extend(block.raw_sha256);
        }
        Ok(before)
    }
}

/// The text of an index as served.
///
/// # Errors
/// It is not gzip, or something follows it.
pub fn inflated(index: &[u8]) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    let mut gzip = GzDecoder::new(index);
    gzip.by_ref().take(INDEX_INFLATED_BYTES + 1).read_to_end(&mut text).map_err(Error::ReadBack)?;
    if gzip.into_inner().is_empty() {
        Ok(text)
    } else {
        Err(Error::Disagree("bytes follow the end of the index".into()))
    }
}

/// The blocks that an index, as served, names.
///
/// # Errors
/// It is no index.
pub fn blocks(index: &[u8]) -> Result<Vec<Block>, Error> {
    let text = inflated(index)?;
    let mut blocks = Blocks::open(&text[..]).map_err(Error::Tree)?;
    let mut all = Vec::new();
    while let Some(block) = blocks.next_block().map_err(Error::Tree)? {
        all.push(block);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use tidelock_protocol::tree::Mode;

    use super::super::Packer;
    use super::*;

    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut packer = Packer::new(Vec::new()).unwrap();
        for (path, bytes) in files {
            packer.file(path.parse().unwrap(), Mode::Plain, bytes.len() as u64, *bytes).unwrap();
        }
        packer.finish().unwrap().index
    }

    #[test]
    fn a_device_pays_for_what_it_has_not() {
        let large: Vec<u8> =
            (0..600_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let mut changed = large.clone();
        changed[1_200_000] ^= 1;
        let old = packed(&[("a", b"one"), ("gone", b"x"), ("large", &large)]);
        let new = packed(&[("a", b"two"), ("b", b"new"), ("large", &changed)]);
        let cost = compare(Some(&old), &new).unwrap();
        assert_eq!((cost.added, cost.changed, cost.removed), (1, 2, 1));
        assert_eq!(cost.write, 6 + changed.len() as u64);
        let whole = compare(None, &new).unwrap();
        assert_eq!((whole.added, whole.changed, whole.removed), (3, 0, 0));
        assert!(cost.fetch < whole.fetch / 4, "{cost:?} {whole:?}");
        let nothing = compare(Some(&new), &new).unwrap();
        assert_eq!((nothing.fetch, nothing.write), (new.len() as u64, 0));
    }

    #[test]
    fn a_file_that_only_moved_costs_nothing() {
        let (old, new) = (packed(&[("a", b"same")]), packed(&[("b", b"same")]));
        let cost = compare(Some(&old), &new).unwrap();
        assert_eq!((cost.added, cost.removed, cost.write, cost.fetch), (1, 1, 0, new.len() as u64));
    }
}
