//! Trees of Git that become releases: everything that is wrong with one is found before anything is packed or signed.

use std::collections::BTreeSet;

use tidelock_protocol::digest::Digest;
use tidelock_protocol::limits::{PATH_BYTES, RELEASE_BYTES};
use tidelock_protocol::names::{AppName, Platform, Version};
use tidelock_protocol::recipe::{self, Probe, Recipe};
use tidelock_protocol::tree::{self as wire, File, Mode, Sequence, TreePath};

use super::Error;
use super::packing::Memory;
use super::wishes::{New, Wishes};
use crate::config::{Place, Problems};
use crate::git::{Blobs, Entry, Kind, ObjectId, Repository};
use crate::publish::{Known, Stored};

/// How a Git LFS pointer begins; such a file is at most [`POINTER_BYTES`] long.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
const POINTER_BYTES: u64 = 1024;

/// A release to be registered, and where its files come from.
pub(super) struct Tree {
    pub(super) app: AppName,
    pub(super) version: Version,
    pub(super) platform: Platform,
    pub(super) id: ObjectId,
    pub(super) files: Files,
}

/// Where the files of a release come from.
pub(super) enum Files {
    /// They were published before: a tree once published is never packed again.
    Stored(Stored),
    /// To be packed, in the order of the listing.
    Entries(Vec<(TreePath, Piece)>),
    /// Another tree of this turn with the same id is packed.
    Twin,
}

/// An entry to be packed.
pub(super) enum Piece {
    Directory,
    File { mode: Mode, size: u64, blob: ObjectId },
    Link(String),
}

/// Looks at every tree that is new; problems name the file in the repository.
pub(super) fn check(
    repository: &Repository,
    wishes: &Wishes,
    known: &Known,
    memory: Option<&Memory<'_>>,
    problems: &mut Problems,
) -> Result<Vec<Tree>, Error> {
    let mut trees = Vec::new();
    let mut seen = BTreeSet::new();
    let mut blobs = None;
    for ((app, version, platform), New { tree: id, path, place }) in &wishes.new {
        let has = |stored: &Stored| memory.is_none_or(|memory| memory.has(stored));
        let published = known.source(id.as_str()).filter(|known| has(&known.stored));
        let stored = match (published, memory) {
            (Some(known), _) => Some(known.stored.clone()),
            (None, Some(memory)) => memory.recall(id)?,
            (None, None) => None,
        };
        let files = match stored {
            Some(stored) => Files::Stored(stored),
            None if !seen.insert(id.clone()) => Files::Twin,
            None => {
                let blobs = match &mut blobs {
                    Some(blobs) => blobs,
                    none => none.insert(repository.blobs()?),
                };
                let mut reader = Reader { blobs, path, place, problems, recipe: None };
                Files::Entries(reader.read(repository.entries(id)?)?)
            }
        };
        let (app, version, platform) = (app.clone(), version.clone(), platform.clone());
        trees.push(Tree { app, version, platform, id: id.clone(), files });
    }
    Ok(trees)
}

struct Reader<'a> {
    blobs: &'a mut Blobs,
    /// Where the tree stands in the repository.
    path: &'a str,
    /// Where the configuration names it.
    place: &'a Place,
    problems: &'a mut Problems,
    /// What the tree says of how it is run, once that was read.
    recipe: Option<Recipe>,
}

impl Reader<'_> {
    fn read(&mut self, mut entries: Vec<Entry>) -> Result<Vec<(TreePath, Piece)>, Error> {
        // The listing's order is that of whole paths; Git's is another.
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        let mut sequence = Sequence::new();
        let mut pieces = Vec::new();
        let mut has_recipe = false;
        for entry in &entries {
            let Some(path) = self.name(&entry.path) else { continue };
            has_recipe |= path.as_str() == recipe::FILE && matches!(entry.kind, Kind::File { .. });
            if let Some((kind, piece)) = self.piece(&path, entry)? {
                match sequence.write(&wire::Entry { path: path.clone(), kind }) {
                    Ok(_) => pieces.push((path, piece)),
                    Err(error) => self.problem(path.as_str(), 0, error.to_string()),
                }
            }
        }
        if !has_recipe {
            let text = format!(
                "the tree has no {} at its root: it says how the release is run and checked",
                recipe::FILE
            );
            self.problems.add(self.place.clone(), text);
        }
        self.programs(&pieces);
        Ok(pieces)
    }

    /// Notes programs that the recipe names in the tree and that cannot be run there.
    fn programs(&mut self, pieces: &[(TreePath, Piece)]) {
        let Some(recipe) = self.recipe.take() else { return };
        let find = |path: &str| {
            let at = pieces.binary_search_by(|(known, _)| known.as_str().cmp(path)).ok()?;
            pieces.get(at).map(|(_, piece)| piece)
        };
        let asked = recipe.checks.iter().filter_map(|check| match &check.probe {
            Probe::Command(command) => Some(command),
            _ => None,
        });
        let commands = recipe.hooks.start.iter().chain(&recipe.hooks.stop).chain(asked);
        for program in commands.filter_map(|command| command.in_tree()?.ok()) {
            let steps = program.as_str().match_indices('/').map(|(at, _)| &program.as_str()[..at]);
            let what = match find(program.as_str()) {
                Some(Piece::File { mode: Mode::Plain, .. }) => {
                    "is not executable: git update-index --chmod=+x"
                }
                Some(Piece::Directory) => "is a directory",
                // Behind a link it may well be there.
                None if !steps.into_iter().any(|step| matches!(find(step), Some(Piece::Link(_)))) => {
                    "is not in the tree"
                }
                _ => continue,
            };
            self.problem(recipe::FILE, 0, format!("names the program {program}, which {what}"));
        }
    }

    fn name(&mut self, path: &[u8]) -> Option<TreePath> {
        let shown = String::from_utf8_lossy(path);
        let Ok(text) = std::str::from_utf8(path) else {
            self.problem(&shown, 0, "its name is not UTF-8".into());
            return None;
        };
        match text.parse() {
            Ok(path) => Some(path),
            Err(error) => {
                self.problem(&text.escape_debug().to_string(), 0, error.to_string());
                None
            }
        }
    }

    fn piece(&mut self, path: &TreePath, entry: &Entry) -> Result<Option<(wire::Kind, Piece)>, Error> {
        Ok(match entry.kind {
            Kind::Directory => Some((wire::Kind::Directory, Piece::Directory)),
            Kind::Submodule => {
                self.problem(
                    path.as_str(),
                    0,
                    "is a submodule: its files are in another repository; copy them in".into(),
                );
                None
            }
            Kind::Link => {
                let limit = u64::try_from(PATH_BYTES).unwrap_or(u64::MAX);
                let target =
                    self.blobs.read(&entry.id, limit)?.and_then(|bytes| String::from_utf8(bytes).ok());
                if target.is_none() {
                    self.problem(
                        path.as_str(),
                        0,
                        format!("is a link whose target is longer than {PATH_BYTES} bytes or not UTF-8"),
                    );
                }
                target.map(|target| (wire::Kind::Link(target.clone()), Piece::Link(target)))
            }
            Kind::File { size, executable } => {
                self.look_into(path, size, &entry.id)?;
                let mode = if executable { Mode::Executable } else { Mode::Plain };
                // The digest is taken while packing; no rule of a tree depends on it.
                let file = File { mode, size, sha256: Digest::from([0; 32]) };
                Some((wire::Kind::File(file), Piece::File { mode, size, blob: entry.id.clone() }))
            }
        })
    }

    /// The two kinds of file whose content matters here: a pointer to content that is elsewhere, and `release.toml`.
    fn look_into(&mut self, path: &TreePath, size: u64, blob: &ObjectId) -> Result<(), Error> {
        let is_recipe = path.as_str() == recipe::FILE;
        let could_point = size <= POINTER_BYTES && size > u64::try_from(POINTER.len()).unwrap_or(u64::MAX);
        if !is_recipe && !could_point {
            return Ok(());
        }
        let Some(bytes) = self.blobs.read(blob, RELEASE_BYTES)? else {
            self.problem(path.as_str(), 0, format!("is longer than {RELEASE_BYTES} bytes"));
            return Ok(());
        };
        if bytes.starts_with(POINTER) {
            self.problem(
                path.as_str(),
                0,
                "is a Git LFS pointer: the file itself is not in the repository".into(),
            );
        } else if is_recipe {
            match std::str::from_utf8(&bytes).map(Recipe::parse) {
                Err(_) => self.problem(path.as_str(), 0, "is not UTF-8".into()),
                Ok(Err(recipe::Error(problems))) => {
                    problems
                        .into_iter()
                        .for_each(|problem| self.problem(path.as_str(), problem.line, problem.message));
                }
                Ok(Ok(recipe)) => self.recipe = Some(recipe),
            }
        }
        Ok(())
    }

    fn problem(&mut self, path: &str, line: usize, message: String) {
        let file = if self.path.is_empty() { path.to_owned() } else { format!("{}/{path}", self.path) };
        self.problems.add(Place { file, line, column: 0 }, message);
    }
}
