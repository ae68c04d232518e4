//! The files of a release from a directory: looked at without following a link, packed in the listing's order.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tidelock_protocol::limits::ENTRIES;
use tidelock_protocol::recipe::{self, Recipe};
use tidelock_protocol::tree::{Mode, TreePath};

use super::{Error, archive, failed};
use crate::bundle::{self, Earlier, Packed, Packer};

/// An entry to be packed.
pub(super) enum Piece {
    Directory,
    /// A file, whose bytes lie in this one.
    File {
        mode: Mode,
        size: u64,
        at: PathBuf,
    },
    Link(String),
}

/// The entries of a release, by path.
pub(super) type Pieces = BTreeMap<TreePath, Piece>;

/// Packs the directory or `.tar.gz` at `path` into `scratch`/bundle, except what an earlier bundle holds.
pub(super) fn packed(path: &Path, scratch: &Path, earlier: Earlier) -> Result<(Packed, PathBuf), Error> {
    let metadata = fs::metadata(path).map_err(failed("look at", path))?;
    let pieces =
        if metadata.is_dir() { directory(path)? } else { archive::pieces(path, &scratch.join("files"))? };
    check_recipe(path, &pieces)?;
    let place = scratch.join("bundle");
    let file = File::create(&place).map_err(failed("create", &place))?;
    let mut packer = Packer::after(earlier, BufWriter::with_capacity(1 << 20, file))?;
    for (name, piece) in pieces {
        let shown = name.to_string();
        let entry = match piece {
            Piece::Directory => packer.directory(name),
            Piece::Link(target) => packer.link(name, target),
            Piece::File { mode, size, at } => {
                let file = File::open(&at).map_err(failed("open", &at))?;
                packer.file(name, mode, size, file)
            }
        };
        entry.map_err(|error| match error {
            bundle::Error::Tree(rule) => {
                // Where it stands in an index that is never written says nothing.
                let reason =
                    std::error::Error::source(&rule).map_or_else(|| rule.to_string(), ToString::to_string);
                refused(path, &shown, &reason)
            }
            other => other.into(),
        })?;
    }
    Ok((packer.finish()?, place))
}

/// An entry that cannot be in a release.
pub(super) fn refused(of: &Path, entry: &str, reason: &str) -> Error {
    Error::Entry { entry: entry.escape_debug().to_string(), of: of.to_owned(), reason: reason.to_owned() }
}

fn directory(root: &Path) -> Result<Pieces, Error> {
    let mut pieces = Pieces::new();
    let mut open = vec![(root.to_owned(), String::new())];
    while let Some((directory, prefix)) = open.pop() {
        for entry in fs::read_dir(&directory).map_err(failed("list", &directory))? {
            let entry = entry.map_err(failed("list", &directory))?;
            let path = entry.path();
            let name = entry.file_name();
            let Ok(name) = std::str::from_utf8(name.as_bytes()) else {
                return Err(refused(root, &name.to_string_lossy(), "its name is not UTF-8"));
            };
            let whole = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            let tree =
                whole.parse::<TreePath>().map_err(|error| refused(root, &whole, &error.to_string()))?;
            let metadata = fs::symlink_metadata(&path).map_err(failed("look at", &path))?;
            let piece = if metadata.is_dir() {
                open.push((path, whole.clone()));
                Piece::Directory
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path).map_err(failed("read the link", &path))?;
                let target = target.into_os_string().into_string();
                Piece::Link(target.map_err(|_| refused(root, &whole, "its target is not UTF-8"))?)
            } else if metadata.is_file() {
                Piece::File { mode: mode(metadata.permissions().mode()), size: metadata.len(), at: path }
            } else {
                return Err(refused(root, &whole, "it is neither a file, a directory nor a link"));
            };
            add(&mut pieces, root, tree, piece)?;
        }
    }
    Ok(pieces)
}

/// Only the owner's executable bit means anything.
pub(super) fn mode(bits: u32) -> Mode {
    if bits & 0o100 != 0 { Mode::Executable } else { Mode::Plain }
}

/// Adds an entry, which must not be there yet.
pub(super) fn add(pieces: &mut Pieces, of: &Path, path: TreePath, piece: Piece) -> Result<(), Error> {
    if u64::try_from(pieces.len()).unwrap_or(u64::MAX) >= ENTRIES {
        return Err(refused(of, path.as_str(), &format!("more than {ENTRIES} entries")));
    }
    let shown = path.to_string();
    match pieces.insert(path, piece) {
        None => Ok(()),
        Some(_) => Err(refused(of, &shown, "it is there twice")),
    }
}

/// The release must say how it is run and checked, before anybody tries.
fn check_recipe(of: &Path, pieces: &Pieces) -> Result<(), Error> {
    let path = of.join(recipe::FILE);
    let found = recipe::FILE.parse::<TreePath>().ok().and_then(|name| pieces.get(&name));
    let Some(Piece::File { at, .. }) = found else {
        let problems = vec!["is missing: it says how the release is run and checked".to_owned()];
        return Err(Error::Recipe { path, problems });
    };
    let text = fs::read_to_string(at).map_err(failed("read", at))?;
    match Recipe::parse(&text) {
        Ok(_) => Ok(()),
        Err(recipe::Error(problems)) => {
            let line = |problem: &recipe::Problem| format!("  line {}: {}", problem.line, problem.message);
            Err(Error::Recipe { path, problems: problems.iter().map(line).collect() })
        }
    }
}
