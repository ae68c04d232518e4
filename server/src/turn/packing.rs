//! From trees to bundles: each tree is packed once, ever; what was packed is remembered by its Git tree id.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidelock_protocol::desired::IndexTarget;
use tidelock_protocol::digest::{Digest, Hasher};
use tidelock_protocol::tree::TreePath;

use super::Error;
use super::trees::{Files, Piece, Tree};
use crate::bundle::{self, Earlier, Packed, Packer};
use crate::git::{ObjectId, Repository};
use crate::keys::Keyring;
use crate::publish::{Content, Directory, Known, Registered, Registration, Registrations, Stored};

/// Packs what must be packed, into files that a publish moves to their place.
pub(super) fn registrations(
    repository: &Repository,
    directory: &Directory,
    trees: &[Tree],
    known: &Known,
) -> Result<Registrations, Error> {
    let mut done: BTreeMap<&ObjectId, Registration> = BTreeMap::new();
    let mut all: Registrations = BTreeMap::new();
    for tree in trees {
        let registration = match &tree.files {
            Files::Stored(before) => linked(tree, before),
            Files::Entries(entries) => packed(tree, repository, directory, (entries, known))?,
            Files::Twin => match done.get(&tree.id) {
                Some(twin) => linked(tree, &twin.stored),
                None => continue,
            },
        };
        done.insert(&tree.id, registration.clone());
        all.entry(tree.app.clone()).or_default().push(registration);
    }
    Ok(all)
}

/// What was packed before: one small record per tree in the state directory, marked with the publisher's own keys, since
/// what it says is signed without looking at the tree again.
pub(super) struct Memory<'a> {
    records: PathBuf,
    directory: &'a Directory,
    keyring: &'a Keyring,
}

/// One record of it.
#[derive(Serialize, Deserialize)]
struct Remembered {
    stored: Stored,
    mark: String,
}

impl<'a> Memory<'a> {
    /// That of the state directory `state`.
    pub(super) fn of(state: &Path, directory: &'a Directory, keyring: &'a Keyring) -> Self {
        Self { records: state.join("packed"), directory, keyring }
    }

    /// Remembers the files of every tree, by its id.
    pub(super) fn remember(&self, trees: &[Tree], registrations: &Registrations) -> Result<(), Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::State { what: "write", path, source }
        };
        for Registration { source, stored, .. } in registrations.values().flatten() {
            let Some(tree) = trees.iter().find(|tree| tree.id.as_str() == source) else { continue };
            let path = self.record(&tree.id);
            let mark = words(&tree.id, stored).and_then(|words| self.keyring.mark(&words));
            let Some(mark) = mark.filter(|_| !path.exists()) else { continue };
            fs::create_dir_all(&self.records).map_err(failed(&self.records))?;
            let text = serde_json::to_vec(&Remembered { stored: stored.clone(), mark });
            let text = text.map_err(|error| failed(&path)(error.into()))?;
            // A cache: a lost or torn record costs packing once more.
            fs::write(&path, text).map_err(failed(&path))?;
        }
        Ok(())
    }

    /// The files of a tree that was packed before, if they still lie where they were published. A record that cannot
    /// be read, or that somebody else wrote, is none.
    pub(super) fn recall(&self, tree: &ObjectId) -> Result<Option<Stored>, Error> {
        let path = self.record(tree);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|source| Error::State { what: "read", path: path.clone(), source })?,
        };
        let remembered = serde_json::from_slice::<Remembered>(&bytes).ok();
        let is_ours = |found: &Remembered| {
            words(tree, &found.stored).is_some_and(|words| self.keyring.is_marked(&words, &found.mark))
        };
        let ours = remembered.filter(is_ours);
        match ours {
            Some(Remembered { stored, .. }) => Ok(Some(stored).filter(|stored| self.has(stored))),
            // It would be kept for ever.
            None => fs::remove_file(&path).map(|()| None).map_err(|source| Error::State {
                what: "remove the damaged",
                path,
                source,
            }),
        }
    }

    /// Whether both files lie in the repository, whole by their lengths.
    pub(super) fn has(&self, stored: &Stored) -> bool {
        [&stored.index, &stored.bundle].into_iter().all(|file| {
            let path = self.directory.target(&whole_name(file));
            fs::metadata(path).is_ok_and(|metadata| metadata.len() == file.length)
        })
    }

    fn record(&self, tree: &ObjectId) -> PathBuf {
        self.records.join(format!("{tree}.json"))
    }
}

/// What is marked of a tree that was packed.
fn words(tree: &ObjectId, stored: &Stored) -> Option<Vec<u8>> {
    serde_json::to_vec(&("packed", tree.as_str(), stored)).ok()
}

/// Feeds all that a file holds to `hasher`; how many bytes.
pub(super) fn hashed(file: &mut File, hasher: &mut Hasher) -> io::Result<u64> {
    let mut chunk = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(total),
            n => {
                hasher.update(&chunk[..n]);
                total += u64::try_from(n).unwrap_or(u64::MAX);
            }
        }
    }
}

/// As it lies in `targets/`.
fn whole_name(file: &IndexTarget) -> String {
    format!("{}.{}", file.sha256, file.name)
}

/// Files that lie there under the name of another release.
fn linked(tree: &Tree, before: &Stored) -> Registration {
    let file = |file: &IndexTarget| (file.length, file.sha256);
    let of = (&tree.app, &tree.version, &tree.platform);
    Registration {
        version: tree.version.clone(),
        platform: tree.platform.clone(),
        source: tree.id.to_string(),
        stored: Stored::new(of, before.tree, file(&before.index), file(&before.bundle)),
        index: Content::Linked(whole_name(&before.index)),
        bundle: Content::Linked(whole_name(&before.bundle)),
        extras: Vec::new(),
    }
}

/// A bundle that lies there, to take over what is alike; none when its files are not what they were.
fn earlier(directory: &Directory, build: &Registered) -> Option<Earlier> {
    let Stored { index, bundle, .. } = &build.stored;
    let text = fs::read(directory.target(&whole_name(index))).ok()?;
    let whole = Digest::of(&text) == index.sha256;
    let bundle = File::open(directory.target(&whole_name(bundle))).ok()?;
    Some(Earlier::of(&text).ok().filter(|_| whole)?.with(bundle))
}

/// Packs a tree into a new file, and reads it back before it may be signed.
fn packed(
    tree: &Tree,
    repository: &Repository,
    directory: &Directory,
    (entries, known): (&[(TreePath, Piece)], &Known),
) -> Result<Registration, Error> {
    let path = directory.scratch(&format!("{}.tar.gz", tree.id));
    let failed = |what, source| Error::State { what, path: path.clone(), source };
    let file = File::create(&path).map_err(|source| failed("create", source))?;
    let newest = known.newest_builds(&tree.app).remove(&tree.platform);
    let earlier = newest.and_then(|build| earlier(directory, build));
    let output = BufWriter::with_capacity(1 << 20, file);
    let mut packer = Packer::after(earlier.unwrap_or_default(), output)?;
    let mut blobs = repository.blobs()?;
    for (path, piece) in entries {
        match piece {
            Piece::Directory => packer.directory(path.clone())?,
            Piece::Link(target) => packer.link(path.clone(), target.clone())?,
            Piece::File { mode, size, blob } => packer.file(path.clone(), *mode, *size, blobs.open(blob)?)?,
        }
    }
    let Packed { index, tree: digest, length, sha256, .. } = packer.finish()?;
    let sha256 = sha256.ok_or_else(|| failed("write the whole of", io::ErrorKind::InvalidData.into()))?;
    let file = File::open(&path).map_err(|source| failed("open", source))?;
    bundle::check(&index, BufReader::with_capacity(1 << 20, file), &digest)?;
    let of = (&tree.app, &tree.version, &tree.platform);
    let as_index = (u64::try_from(index.len()).unwrap_or(u64::MAX), Digest::of(&index));
    Ok(Registration {
        version: tree.version.clone(),
        platform: tree.platform.clone(),
        source: tree.id.to_string(),
        stored: Stored::new(of, digest, as_index, (length, sha256)),
        index: Content::Bytes(index),
        bundle: Content::Moved(path),
        extras: Vec::new(),
    })
}
