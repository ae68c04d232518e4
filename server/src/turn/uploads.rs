//! Bundles on their way in: begun by their index, filled block by block in any order, and whole when each is there. What
//! is here already, of an earlier try or of a published release, is not asked for.
//!
//! Never here: who may upload (`web`), or whether a release is registered.

mod held;
mod open;
mod parts;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::FlockOperation;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::index::{BUNDLE_HEAD, Block};
use tidelock_protocol::names::AppName;

use crate::bundle;
use crate::publish::{Directory, Known};
use held::Held;
use open::Open;

/// Longest bundle that is taken.
const BUNDLE_BYTES: u64 = 16 << 30;
/// Most uploads that may be under way.
const MOST: u64 = 256;
/// Uploads that nobody went on with for so long are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(7 * 86_400);
/// A bundle on its way, and once it was read back.
const GROWING: &str = "bundle";
const SEALED: &str = "whole";

/// Why an upload is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not what it was announced as.
    #[error("{what} has SHA-256 {found}, not {announced}")]
    Digest {
        /// What was sent.
        what: String,
        /// What it has.
        found: Digest,
        /// What it should have.
        announced: Digest,
    },
    /// Not an index, or a bundle that is not what its index says.
    #[error("this is not the bundle of a release")]
    Bundle(#[from] bundle::Error),
    /// Too much.
    #[error("{what}: at most {limit} are taken")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: u64,
    },
    /// It was never begun, or is published by now.
    #[error("no upload {0} is under way: begin it with its index")]
    Unknown(Digest),
    /// Blocks that do not exist.
    #[error("the bundle has {blocks} blocks; number {first} is none of them")]
    NoSuchBlock {
        /// How many.
        blocks: u64,
        /// The number that was sent.
        first: u64,
    },
    /// Not whole yet.
    #[error("{lacking} pieces of the bundle are still lacking")]
    Unfinished {
        /// How many.
        lacking: usize,
    },
    /// Nothing that can be told by it.
    #[error("no release here has the index {0}")]
    NoEarlier(Digest),
    /// Parts that are none.
    #[error("these are no parts of the bundle: {0}")]
    Parts(String),
    /// The disk.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What an upload still needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The tree digest.
    pub tree: Digest,
    /// Blocks of the bundle; its end counts as one more.
    pub blocks: u64,
    /// The numbers that are lacking.
    pub numbers: Vec<u64>,
    /// Their bytes.
    pub bytes: u64,
    /// Files of lacking blocks that are here, by their places in the listing: such a block can be sent without them.
    pub held: Vec<u64>,
}

/// A whole bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The tree digest.
    pub tree: Digest,
    /// The index as served.
    pub index: Vec<u8>,
    /// The file of the bundle.
    pub bundle: PathBuf,
}

/// The uploads of one server.
#[derive(Clone, Debug)]
pub struct Uploads {
    directory: PathBuf,
    out: PathBuf,
}

impl Uploads {
    /// Those below the state directory `state`, of a server that publishes to `out`.
    pub fn of(state: &Path, out: &Path) -> Self {
        Self { directory: state.join("uploads"), out: out.to_owned() }
    }

    /// Begins the upload of a bundle with this index, or takes it up again; what it lacks.
    ///
    /// # Errors
    /// Not an index, not the one that was announced, or too much.
    pub fn begin(
        &self,
        known: &Known,
        app: &AppName,
        digest: &Digest,
        index: &[u8],
    ) -> Result<Lacking, Error> {
        let found = Digest::of(index);
        if found != *digest {
            return Err(Error::Digest { what: "the index".into(), found, announced: *digest });
        }
        let open = Open::read(self.place(digest), index)?;
        if open.length() > BUNDLE_BYTES {
            return Err(Error::Limit { what: "bytes of a bundle", limit: BUNDLE_BYTES });
        }
        let is_new = !open.place.is_dir();
        if is_new {
            let under_way = fs::read_dir(&self.directory).map(Iterator::count).unwrap_or_default();
            if under_way as u64 >= MOST {
                return Err(Error::Limit { what: "uploads under way", limit: MOST });
            }
            fs::create_dir_all(&open.place).map_err(failed("make the directory", &open.place))?;
        }
        let path = open.place.join("index");
        fs::write(&path, index).map_err(failed("write", &path))?;
        let Some(file) = open.growing(FlockOperation::LockShared)? else {
            return Ok(open.told(Vec::new(), Vec::new()));
        };
        file.set_len(open.length()).map_err(failed("make room in", &open.place))?;
        file.write_all_at(&BUNDLE_HEAD, 0).map_err(failed("write to", &open.place))?;
        let mut lacking = if is_new { (0..=open.count()).collect() } else { open.lacking(&file)? };
        if !lacking.is_empty() {
            let taken = self.take_over(known, app, (&open, &file), &lacking)?;
            lacking.retain(|number| !taken.contains(number));
        }
        let held = self.files_here(known, app, &open, &lacking)?;
        Ok(open.told(lacking, held))
    }

    /// Takes blocks that follow each other, the first of them with number `first`; how many.
    ///
    /// # Errors
    /// A block that is not the one that the index names; those before it are kept.
    pub fn blocks(&self, digest: &Digest, first: u64, mut bytes: &[u8]) -> Result<u64, Error> {
        let open = self.open(digest)?;
        let file = open.growing(FlockOperation::LockShared)?;
        let mut number = first;
        while !bytes.is_empty() {
            let range =
                open.range(number).ok_or(Error::NoSuchBlock { blocks: open.count(), first: number })?;
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let Some((block, rest)) = bytes.split_at_checked(length) else {
                let what = format!("block {number}, of which only {} bytes came,", bytes.len());
                return Err(open.differs(number, what, bytes));
            };
            if !open.fits(number, block) {
                return Err(open.differs(number, format!("block {number}"), block));
            }
            if let Some(file) = &file {
                file.write_all_at(block, range.start).map_err(failed("write to", &open.place))?;
            }
            (bytes, number) = (rest, number + 1);
        }
        Ok(number - first)
    }

    /// The bundle, once it is whole: read back as a device and as a `tar` would. From then on nobody writes to it.
    ///
    /// # Errors
    /// Something is lacking, or it is not a bundle; it is thrown away then.
    pub fn whole(&self, digest: &Digest) -> Result<Whole, Error> {
        let open = self.open(digest)?;
        // Whoever writes to it is waited for; it is synced while it is read.
        if let Some(file) = open.growing(FlockOperation::LockExclusive)? {
            let growing = open.place.join(GROWING);
            let reader = File::open(&growing).map_err(failed("open", &growing))?;
            let (checked, synced) = thread::scope(|scope| {
                let syncing = scope.spawn(|| file.sync_all());
                let reader = BufReader::with_capacity(1 << 20, reader);
                let checked = bundle::check(&open.index, reader, &open.tree);
                (checked, syncing.join().unwrap_or_else(|_| file.sync_all()))
            });
            if let Err(error) = checked {
                let lacking = open.lacking(&file)?.len();
                if lacking > 0 {
                    return Err(Error::Unfinished { lacking });
                }
                self.forget(digest);
                return Err(error.into());
            }
            synced.map_err(failed("fsync", &growing))?;
            fs::rename(&growing, open.sealed()).map_err(failed("rename", &growing))?;
            for path in [&open.place, &self.directory] {
                File::open(path).and_then(|handle| handle.sync_all()).map_err(failed("fsync", path))?;
            }
        }
        Ok(Whole { tree: open.tree, bundle: open.sealed(), index: open.index })
    }

    /// Forgets what is of no use: whole uploads of builds that are published, which somebody was killed while forgetting, and
    /// those that nobody went on with for a week. Those of `kept` stay.
    pub(super) fn sweep(&self, kept: &[Digest], known: &Known) {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(digest) = name.to_str().and_then(|name| name.parse::<Digest>().ok()) else { continue };
            let place = entry.path();
            let growing = fs::metadata(place.join(GROWING));
            let is_over = growing.is_err() && known.names(&digest);
            // Of one that was half forgotten, the directory alone has an age.
            let touched =
                growing.or_else(|_| fs::metadata(place.join(SEALED))).or_else(|_| fs::metadata(&place));
            let touched = touched.and_then(|metadata| metadata.modified()).ok();
            let age = touched.and_then(|touched| touched.elapsed().ok()).unwrap_or_default();
            if !kept.contains(&digest) && (is_over || age > FORGOTTEN) {
                self.forget(&digest);
            }
        }
    }

    /// Forgets an upload.
    pub(super) fn forget(&self, digest: &Digest) {
        // What cannot be removed now is found again when the same is uploaded again.
        let _ = fs::remove_dir_all(self.place(digest));
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.to_string())
    }

    fn open(&self, digest: &Digest) -> Result<Open, Error> {
        let place = self.place(digest);
        let path = place.join("index");
        match fs::read(&path) {
            Ok(index) if Digest::of(&index) == *digest => Open::read(place, &index),
            Ok(_) => Err(Error::Unknown(*digest)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::Unknown(*digest)),
            Err(source) => Err(failed("read", &path)(source)),
        }
    }

    /// Copies what published releases of the app hold; the numbers of those blocks.
    fn take_over(
        &self,
        known: &Known,
        app: &AppName,
        (open, file): (&Open, &File),
        lacking: &[u64],
    ) -> Result<BTreeSet<u64>, Error> {
        let wanted: Vec<(u64, &Block)> =
            lacking.iter().filter_map(|number| Some((*number, open.block(*number)?))).collect();
        let digests = wanted.iter().map(|(_, block)| block.sha256).collect();
        let held = Held::blocks(&Directory::at(&self.out), known, app, &digests);
        let mut taken = BTreeSet::new();
        for (number, block) in wanted {
            let length = block.bytes.end - block.bytes.start;
            let bytes = held.block(&block.sha256).filter(|bytes| bytes.len() as u64 == length);
            let Some(bytes) = bytes else { continue };
            file.write_all_at(&bytes, block.bytes.start).map_err(failed("write to", &open.place))?;
            taken.insert(number);
        }
        Ok(taken)
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { what, path: path.to_owned(), source }
}
