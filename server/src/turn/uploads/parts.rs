//! What a client sends of a bundle when most of it is here: blocks, and files of blocks whose other files are here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::FlockOperation;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::index::Contents;
use tidelock_protocol::names::AppName;

use super::held::{self, Held};
use super::{Error, Lacking, Open, Uploads, failed};
use crate::bundle::{self, MADE, Making, Part, Parts, Slot, Template, Templates, inflated, patched, served};
use crate::publish::{Directory, Known};

impl Uploads {
    /// Begins an upload as [`Uploads::begin`] does, where its index is told by that of a registered release.
    ///
    /// # Errors
    /// As there, and a release that is not here.
    pub fn begin_from(
        &self,
        known: &Known,
        app: &AppName,
        (digest, earlier): (&Digest, &Digest),
        patch: &[u8],
    ) -> Result<Lacking, Error> {
        let build = known.index(app, earlier).ok_or(Error::NoEarlier(*earlier))?;
        let old = held::index(&Directory::at(&self.out), build).ok_or(Error::NoEarlier(*earlier))?;
        let index = served(&patched(&inflated(&old)?, patch)?)?;
        self.begin(known, app, digest, &index)
    }

    /// Takes blocks, and makes those of which files were sent; how many. The same again changes nothing.
    ///
    /// # Errors
    /// Something that is not what the index says, or a file that neither came nor is here; what came before it is kept.
    pub fn parts(&self, known: &Known, app: &AppName, digest: &Digest, bytes: &[u8]) -> Result<u64, Error> {
        let open = self.open(digest)?;
        let Some(file) = open.growing(FlockOperation::LockShared)? else { return Ok(0) };
        let text = inflated(&open.index)?;
        let files = files(&text)?;
        let held = Held::files(&Directory::at(&self.out), known, app, &files.into_values().collect());
        let templates = Templates::of(&text)?;
        Taking { open, file, templates, held, making: Making::default(), taken: 0 }.all(Parts::of(bytes))
    }

    /// The files of these shared blocks that are here, by their places in the listing.
    pub(super) fn files_here(
        &self,
        known: &Known,
        app: &AppName,
        open: &Open,
        lacking: &[u64],
    ) -> Result<Vec<u64>, Error> {
        let text = inflated(&open.index)?;
        let mut contents = Contents::open(&text[..], &text[..]).map_err(bundle::Error::Tree)?;
        let lacking: BTreeSet<u64> = lacking.iter().copied().collect();
        let mut wanted: BTreeMap<u64, Digest> = BTreeMap::new();
        for number in 0.. {
            let Some((block, spans)) = contents.next_block().map_err(bundle::Error::Tree)? else { break };
            if block.raw_sha256.is_none() && lacking.contains(&number) {
                wanted.extend(spans.into_iter().map(|span| (span.ordinal, span.file.sha256)));
            }
        }
        let directory = Directory::at(&self.out);
        let mut held = Held::files(&directory, known, app, &wanted.values().copied().collect());
        Ok(wanted.into_iter().filter(|(_, sha256)| held.file(sha256).is_some()).map(|(n, _)| n).collect())
    }
}

/// The digests of the files of an index, by their places in the listing.
fn files(text: &[u8]) -> Result<BTreeMap<u64, Digest>, Error> {
    let mut contents = Contents::open(text, text).map_err(bundle::Error::Tree)?;
    let mut files = BTreeMap::new();
    while let Some((_, spans)) = contents.next_block().map_err(bundle::Error::Tree)? {
        files.extend(spans.into_iter().map(|span| (span.ordinal, span.file.sha256)));
    }
    Ok(files)
}

/// Parts that are being taken.
struct Taking<'a> {
    open: Open,
    file: File,
    templates: Templates<'a>,
    held: Held,
    making: Making,
    taken: u64,
}

impl Taking<'_> {
    fn all(mut self, mut parts: Parts<'_>) -> Result<u64, Error> {
        let mut made = 0;
        while let Some(part) = parts.next_part().map_err(broken)? {
            match part {
                Part::Block(number) => {
                    let mut bytes = vec![0; self.length(number)?];
                    parts.fill(&mut bytes).map_err(broken)?;
                    self.keep(number, &bytes)?;
                }
                Part::Files(number) => {
                    made += 1;
                    if made > MADE {
                        return Err(Error::Limit { what: "blocks made of files", limit: MADE as u64 });
                    }
                    let raw = self.filled(number, &mut parts)?;
                    if let Some((number, bytes)) = self.making.push(number, raw)? {
                        self.keep(number, &bytes)?;
                    }
                }
                Part::File(_) => return Err(Error::Parts("a file comes before its block".into())),
            }
        }
        while let Some((number, bytes)) = self.making.next_block()? {
            self.keep(number, &bytes)?;
        }
        Ok(self.taken)
    }

    fn length(&self, number: u64) -> Result<usize, Error> {
        let none = Error::NoSuchBlock { blocks: self.open.count(), first: number };
        let range = self.open.range(number).ok_or(none)?;
        Ok(usize::try_from(range.end - range.start).unwrap_or(usize::MAX))
    }

    /// The raw bytes of a block: what was sent of its files, and of the others what is here.
    fn filled(&mut self, number: u64, parts: &mut Parts<'_>) -> Result<Vec<u8>, Error> {
        let Template { mut raw, files } = self.templates.template(number)?;
        let mut sent = BTreeSet::new();
        while let Some(ordinal) = parts.file().map_err(broken)? {
            let slot = files.iter().find(|slot| slot.ordinal == ordinal && !sent.contains(&ordinal));
            let none = || Error::Parts(format!("block {number} lacks no file {ordinal}"));
            let Slot { sha256, within, .. } = slot.ok_or_else(none)?;
            let content = &mut raw[within.clone()];
            parts.fill(content).map_err(broken)?;
            let found = Digest::of(content);
            if found != *sha256 {
                return Err(Error::Digest { what: format!("file {ordinal}"), found, announced: *sha256 });
            }
            sent.insert(ordinal);
        }
        for Slot { ordinal, sha256, within } in files.iter().filter(|slot| !sent.contains(&slot.ordinal)) {
            let content = self.held.file(sha256).filter(|content| content.len() == within.len());
            let none = || Error::Parts(format!("block {number} needs file {ordinal}, which is not here"));
            raw[within.clone()].copy_from_slice(content.ok_or_else(none)?);
        }
        Ok(raw)
    }

    /// Keeps a block that is the one of its number.
    fn keep(&mut self, number: u64, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() != self.length(number)? || !self.open.fits(number, bytes) {
            return Err(self.open.differs(number, format!("block {number}"), bytes));
        }
        if let Some(range) = self.open.range(number) {
            self.file.write_all_at(bytes, range.start).map_err(failed("write to", &self.open.place))?;
        }
        self.taken += 1;
        Ok(())
    }
}

fn broken(source: std::io::Error) -> Error {
    Error::Parts(source.to_string())
}
