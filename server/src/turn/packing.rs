//! From trees to bundles: each tree is packed once, ever; what was packed is remembered by its Git tree id.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use tidelock_protocol::desired::IndexTarget;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;
use tidelock_protocol::tree::TreePath;

use super::Error;
use super::trees::{Files, Piece, Tree};
use crate::bundle::{self, Packed, Packer};
use crate::git::{ObjectId, Repository};
use crate::publish::{Content, Directory, Registration, Stored};

/// Packs what must be packed, into files that a publish moves to their place.
pub(super) fn registrations(
    repository: &Repository,
    directory: &Directory,
    trees: &[Tree],
) -> Result<BTreeMap<AppName, Vec<Registration>>, Error> {
    let mut done: BTreeMap<&ObjectId, Registration> = BTreeMap::new();
    let mut all: BTreeMap<AppName, Vec<Registration>> = BTreeMap::new();
    for tree in trees {
        let registration = match &tree.files {
            Files::Stored(before) => linked(tree, before),
            Files::Entries(entries) => packed(tree, repository, directory, entries)?,
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

/// Remembers the files of every tree, by its id.
pub(super) fn remember(
    state: &Path,
    trees: &[Tree],
    registrations: &BTreeMap<AppName, Vec<Registration>>,
) -> Result<(), Error> {
    let directory = state.join("packed");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::State { what: "write", path, source }
    };
    for registration in registrations.values().flatten() {
        let Some(tree) = trees.iter().find(|tree| tree.id.as_str() == registration.source) else { continue };
        let path = record(&directory, &tree.id);
        if !path.exists() {
            fs::create_dir_all(&directory).map_err(failed(&directory))?;
            let text =
                serde_json::to_vec(&registration.stored).map_err(|error| failed(&path)(error.into()))?;
            // A cache: a lost or torn record costs packing once more.
            fs::write(&path, text).map_err(failed(&path))?;
        }
    }
    Ok(())
}

/// The files of a tree that was packed before, if they still lie where they were published. A record that cannot be
/// read is none.
pub(super) fn recall(state: &Path, directory: &Directory, tree: &ObjectId) -> Result<Option<Stored>, Error> {
    let path = record(&state.join("packed"), tree);
    match fs::read(&path) {
        Ok(bytes) => {
            let stored: Option<Stored> = serde_json::from_slice(&bytes).ok();
            Ok(stored.filter(|stored| is_there(directory, stored)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::State { what: "read", path, source }),
    }
}

/// Whether both files lie in the repository, whole by their lengths.
pub(super) fn is_there(directory: &Directory, stored: &Stored) -> bool {
    [&stored.index, &stored.bundle].into_iter().all(|file| {
        fs::metadata(directory.target(&whole_name(file))).is_ok_and(|metadata| metadata.len() == file.length)
    })
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
    }
}

/// Packs a tree into a new file, and reads it back before it may be signed.
fn packed(
    tree: &Tree,
    repository: &Repository,
    directory: &Directory,
    entries: &[(TreePath, Piece)],
) -> Result<Registration, Error> {
    let path = directory.scratch(&format!("{}.tar.gz", tree.id));
    let failed = |what, source| Error::State { what, path: path.clone(), source };
    let file = File::create(&path).map_err(|source| failed("create", source))?;
    let mut packer = Packer::new(BufWriter::with_capacity(1 << 20, file))?;
    let mut blobs = repository.blobs()?;
    for (path, piece) in entries {
        match piece {
            Piece::Directory => packer.directory(path.clone())?,
            Piece::Link(target) => packer.link(path.clone(), target.clone())?,
            Piece::File { mode, size, blob } => packer.file(path.clone(), *mode, *size, blobs.open(blob)?)?,
        }
    }
    let Packed { index, tree: digest, length, sha256 } = packer.finish()?;
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
    })
}

fn record(directory: &Path, tree: &ObjectId) -> PathBuf {
    directory.join(format!("{tree}.json"))
}
