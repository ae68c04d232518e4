//! What published releases of an app hold of a bundle on its way: blocks that are alike, and files that lie in others.
//!
//! Never here: the bundle on its way (`uploads`). Whatever is read here is compared with its digest first: a published file
//! that is damaged or gone holds nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use tidelock_protocol::desired::IndexTarget;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::index::{Block, Contents};
use tidelock_protocol::names::AppName;

use crate::bundle::{Inflate, blocks, inflated};
use crate::publish::{Directory, Known, Registered};

/// Most published releases of an app in which blocks are looked for.
const RELEASES: usize = 6;

/// A block of one of the bundles.
#[derive(Clone, Debug)]
struct Place {
    bundle: usize,
    block: Block,
}

/// What is wanted, as far as it is held.
#[derive(Default)]
pub(super) struct Held {
    bundles: Vec<File>,
    blocks: BTreeMap<Digest, Place>,
    /// Files that lie whole in a shared block, and where in it.
    files: BTreeMap<Digest, (Place, Range<usize>)>,
    inflate: Inflate,
    /// The block that was opened last: files that lie together are wanted together.
    open: Option<Digest>,
    raw: Vec<u8>,
}

/// The index of a registered release, if it lies there as it was registered.
pub(super) fn index(directory: &Directory, build: &Registered) -> Option<Vec<u8>> {
    let index = fs::read(path(directory, &build.stored.index)).ok()?;
    (Digest::of(&index) == build.stored.index.sha256).then_some(index)
}

fn path(directory: &Directory, file: &IndexTarget) -> PathBuf {
    directory.target(&format!("{}.{}", file.sha256, file.name))
}

impl Held {
    /// Of these blocks, what the app's newest releases hold.
    pub(super) fn blocks(
        directory: &Directory,
        known: &Known,
        app: &AppName,
        wanted: &BTreeSet<Digest>,
    ) -> Self {
        let mut held = Self::default();
        let versions = known.versions(app).into_iter().take(RELEASES);
        let builds = versions.flat_map(|version| known.version(app, version).into_values());
        for build in builds {
            let Some((index, bundle)) = held.bundle(directory, build) else { continue };
            for block in blocks(&index).into_iter().flatten() {
                if wanted.contains(&block.sha256) {
                    held.blocks.entry(block.sha256).or_insert(Place { bundle, block });
                }
            }
        }
        held
    }

    /// Of these files, what the newest release of the app for each platform holds.
    pub(super) fn files(
        directory: &Directory,
        known: &Known,
        app: &AppName,
        wanted: &BTreeSet<Digest>,
    ) -> Self {
        let mut held = Self::default();
        for build in known.newest_builds(app).into_values() {
            let Some((index, bundle)) = held.bundle(directory, build) else { continue };
            let Ok(text) = inflated(&index) else { continue };
            let Ok(mut contents) = Contents::open(&text[..], &text[..]) else { continue };
            while let Ok(Some((block, spans))) = contents.next_block() {
                if block.raw_sha256.is_some() {
                    continue;
                }
                for span in spans {
                    if wanted.contains(&span.file.sha256) {
                        let place = Place { bundle, block: block.clone() };
                        held.files.entry(span.file.sha256).or_insert((place, span.within));
                    }
                }
            }
        }
        held
    }

    /// The index of a build, and the number of its bundle.
    fn bundle(&mut self, directory: &Directory, build: &Registered) -> Option<(Vec<u8>, usize)> {
        let bundle = File::open(path(directory, &build.stored.bundle)).ok()?;
        let index = index(directory, build)?;
        self.bundles.push(bundle);
        Some((index, self.bundles.len() - 1))
    }

    /// The bytes of a block.
    pub(super) fn block(&self, sha256: &Digest) -> Option<Vec<u8>> {
        self.bytes(self.blocks.get(sha256)?)
    }

    /// The content of a file.
    pub(super) fn file(&mut self, sha256: &Digest) -> Option<&[u8]> {
        let (place, within) = self.files.get(sha256)?.clone();
        if self.open != Some(place.block.sha256) {
            let bytes = self.bytes(&place);
            self.open = None;
            let opened = bytes.and_then(|bytes| self.inflate.open(&place.block, &bytes, &mut self.raw).ok());
            if opened.is_none() {
                // What else it should hold is gone with it.
                self.files.retain(|_, (other, _)| other.block.sha256 != place.block.sha256);
                return None;
            }
            self.open = Some(place.block.sha256);
        }
        self.raw.get(within)
    }

    fn bytes(&self, place: &Place) -> Option<Vec<u8>> {
        let Range { start, end } = place.block.bytes;
        let mut bytes = vec![0; usize::try_from(end - start).ok()?];
        self.bundles.get(place.bundle)?.read_exact_at(&mut bytes, start).ok()?;
        (Digest::of(&bytes) == place.block.sha256).then_some(bytes)
    }
}
