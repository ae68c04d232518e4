//! Reads a bundle back as two strangers would, a device and a `tar`, and compares both with the index. The device never
//! sees a tar header, so this is where tar and index are proven to say the same.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use flate2::Crc;
use tar::{Archive, EntryType};
use tidelock_protocol::digest::{Digest, Hasher};
use tidelock_protocol::index::{BUNDLE_HEAD, Block, Blocks, Contents, Listing, Summary, bundle_tail};
use tidelock_protocol::layout::{Layout, content_length};
use tidelock_protocol::tree::{Entry, Kind};

use super::Error;
use super::compare::inflated;
use super::inflate::{Inflate, invalid, length};

/// Blocks that are inflated ahead of what is compared.
const AHEAD: usize = 8;

/// Checks that `bundle` (a `.tar.gz`, from its first byte) is what `index` (as served) says, that its tree digest is
/// `tree`, and gives the sums.
///
/// Each block is taken by its digest and inflated alone, as a device does; the tar stream that they make is read by the
/// `tar` crate, and each entry is compared with the listing. The two go on at once.
///
/// # Errors
/// The first difference: it must not be signed then.
pub fn check(index: &[u8], bundle: impl Read + Send, tree: &Digest) -> Result<Summary, Error> {
    let text = inflated(index)?;
    let summary = Contents::open(&text[..], &text[..]).and_then(Contents::finish).map_err(Error::Tree)?;
    if summary.tree != *tree {
        return Err(Error::Disagree(format!("its tree digest is {}, expected {tree}", summary.tree)));
    }
    let blocks = Blocks::open(&text[..]).map_err(Error::Tree)?;
    thread::scope(|scope| {
        let (raw, stream) = sync_channel(AHEAD);
        let inflating = Inflating { bundle, blocks, inflate: Inflate::default(), crc: Crc::new() };
        let inflating = scope.spawn(move || inflating.all(&raw));
        let compared = compare(&text, TarStream { stream, raw: Vec::new(), at: 0 });
        let stopped = |_| Error::Disagree("the thread that read it back stopped".into());
        // A stream that broke off is compared with less than there is: why it did so is what counts.
        inflating.join().map_err(stopped)?.map_err(Error::ReadBack)?;
        compared.map(|()| summary)
    })
}

/// Walks listing and archive side by side.
fn compare(text: &[u8], mut stream: TarStream) -> Result<(), Error> {
    let mut listing = Listing::open(text).map_err(Error::Tree)?;
    let mut layout = Layout::new();
    let mut archive = Archive::new(&mut stream);
    let mut found = archive.entries().map_err(Error::ReadBack)?;
    while let Some(entry) = listing.next_entry().map_err(Error::Tree)? {
        let Some(found) = found.next() else {
            return Err(Error::Disagree(format!("the archive ends before {}", entry.path)));
        };
        let mut found = found.map_err(Error::ReadBack)?;
        let content = layout.place(&entry);
        let seen = seen(&mut found)?;
        if found.raw_file_position() != content.start {
            return Err(Error::Disagree(format!(
                "the content of {} does not stand where it must",
                entry.path
            )));
        }
        let expected = expected(&entry);
        if seen != expected {
            return Err(Error::Disagree(format!("the archive has {seen:?}, the listing {expected:?}")));
        }
    }
    if found.next().is_some() {
        return Err(Error::Disagree("the archive goes on after the last entry of the listing".into()));
    }
    // What a tar program no longer looks at are zeros that the blocks account for.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).map_err(Error::ReadBack)?;
    if rest.iter().any(|byte| *byte != 0) {
        return Err(Error::Disagree("bytes follow the end of the archive".into()));
    }
    Ok(())
}

/// Everything that an archive may say of an entry.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    name: Vec<u8>,
    kind: EntryType,
    mode: u32,
    owner: (u64, u64),
    mtime: u64,
    size: u64,
    sha256: Digest,
    target: Option<Vec<u8>>,
}

fn expected(entry: &Entry) -> Facts {
    let slash = if entry.kind == Kind::Directory { "/" } else { "" };
    let (kind, mode, sha256, target) = match &entry.kind {
        Kind::Directory => (EntryType::Directory, "755", Digest::of(b""), None),
        Kind::File(file) => (EntryType::Regular, file.mode.as_str(), file.sha256, None),
        Kind::Link(target) => (EntryType::Symlink, "755", Digest::of(b""), Some(target.clone().into_bytes())),
    };
    Facts {
        name: format!("{}{slash}", entry.path).into_bytes(),
        kind,
        mode: u32::from_str_radix(mode, 8).unwrap_or_default(),
        owner: (0, 0),
        mtime: 0,
        size: content_length(entry),
        sha256,
        target,
    }
}

fn seen(found: &mut tar::Entry<'_, impl Read>) -> Result<Facts, Error> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match found.read(&mut buffer).map_err(Error::ReadBack)? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    let header = found.header();
    let number = |number: io::Result<u64>| number.map_err(Error::ReadBack);
    Ok(Facts {
        name: found.path_bytes().into_owned(),
        kind: header.entry_type(),
        mode: header.mode().map_err(Error::ReadBack)?,
        owner: (number(header.uid())?, number(header.gid())?),
        mtime: number(header.mtime())?,
        size: found.size(),
        sha256: hasher.finish(),
        target: found.link_name_bytes().map(|target| target.into_owned()),
    })
}

/// The bundle as a device gets it: block by block, each checked, then inflated alone.
struct Inflating<'a, R> {
    bundle: R,
    blocks: Blocks<&'a [u8]>,
    inflate: Inflate,
    crc: Crc,
}

impl<R: Read> Inflating<'_, R> {
    /// Sends what each block inflates to, as long as somebody takes it.
    fn all(mut self, raw: &SyncSender<Vec<u8>>) -> io::Result<()> {
        let mut head = BUNDLE_HEAD.map(|_| 0);
        self.bundle.read_exact(&mut head)?;
        if head != BUNDLE_HEAD {
            return Err(invalid("the gzip header is not the one it must be"));
        }
        while let Some(block) = self.blocks.next_block().map_err(io::Error::other)? {
            if raw.send(self.take(&block)?).is_err() {
                return Ok(());
            }
        }
        let expected = bundle_tail(self.crc.sum(), self.crc.amount());
        let mut tail = expected.map(|_| 0);
        self.bundle.read_exact(&mut tail)?;
        if tail != expected || self.bundle.read(&mut [0])? != 0 {
            return Err(invalid("the gzip trailer is not the one it must be"));
        }
        Ok(())
    }

    fn take(&mut self, block: &Block) -> io::Result<Vec<u8>> {
        let (mut bytes, mut raw) = (vec![0; length(&block.bytes)?], Vec::new());
        self.bundle.read_exact(&mut bytes)?;
        self.inflate.open(block, &bytes, &mut raw)?;
        self.crc.update(&raw);
        Ok(raw)
    }
}

/// The tar stream that comes of it.
struct TarStream {
    stream: Receiver<Vec<u8>>,
    raw: Vec<u8>,
    at: usize,
}

impl Read for TarStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.raw.len() {
            // Nobody sends any more: that was all.
            (self.raw, self.at) = (self.stream.recv().unwrap_or_default(), 0);
        }
        let length = buffer.len().min(self.raw.len() - self.at);
        buffer[..length].copy_from_slice(&self.raw[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}
