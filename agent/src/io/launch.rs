//! One program takes over a process from another: the packaged agent is the launcher of the releases of itself.
//!
//! The two speak through the environment, which hooks never see: which tree was launched, and where the launcher is.
//! Never here: what is launched.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidelock_protocol::digest::Digest;

/// Set in a process that a launcher launched: the digest of the tree that it runs.
const TREE: &str = "TIDELOCK_TREE";
/// Set beside it: the launcher.
const LAUNCHER: &str = "TIDELOCK_LAUNCHER";
/// The program in the tree of a release of the agent.
const PROGRAM: &str = "bin/tidelock";

/// What the launcher made of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launched {
    /// The tree that it runs; none: it is the packaged agent.
    pub tree: Option<Digest>,
    /// The tree that it should have run and could not, and why.
    pub failed: Option<(Digest, String)>,
}

/// The tree that a launcher launched this process from.
pub fn tree() -> Option<Digest> {
    std::env::var(TREE).ok()?.parse().ok()
}

/// Becomes the agent in `tree`, with the same `arguments`; returns only why it could not.
pub fn become_release(tree: &Path, digest: &Digest, arguments: &[OsString]) -> String {
    let program = tree.join(PROGRAM);
    if let Err(problem) = fits(&program) {
        return format!("cannot run {}: {problem}", program.display());
    }
    let launcher = match launcher() {
        Ok(launcher) => launcher,
        Err(error) => return format!("the launcher does not find itself: {error}"),
    };
    let mut command = Command::new(&program);
    let error = command.args(arguments).env(TREE, digest.to_string()).env(LAUNCHER, launcher).exec();
    format!("cannot run {}: {error}", program.display())
}

/// Becomes the launcher, with the arguments of this process; returns only why it could not.
pub fn become_launcher() -> io::Error {
    match launcher() {
        Ok(launcher) => {
            let arguments = std::env::args_os().skip(1);
            Command::new(launcher).args(arguments).env_remove(TREE).env_remove(LAUNCHER).exec()
        }
        Err(error) => error,
    }
}

/// Whether the kernel would run it as a program: the C library hands everything else to a shell, which tries.
fn fits(program: &Path) -> Result<(), String> {
    let head = |path: &Path| {
        let mut head = Vec::new();
        File::open(path).and_then(|file| file.take(20).read_to_end(&mut head)).map(|_| head)
    };
    let found = head(program).map_err(|error| error.to_string())?;
    let own = head(Path::new("/proc/self/exe")).map_err(|error| error.to_string())?;
    // Magic, word size and byte order; then the processor.
    let same = [0..6, 18..20]
        .into_iter()
        .all(|part| found.get(part.clone()).is_some_and(|it| Some(it) == own.get(part)));
    if same || found.starts_with(b"#!") { Ok(()) } else { Err("it is no program of this processor".into()) }
}

/// The launcher of this process, which may be itself; by name, since a new package may have replaced it.
fn launcher() -> io::Result<PathBuf> {
    if let Some(told) = std::env::var_os(LAUNCHER) {
        return Ok(told.into());
    }
    let own = std::env::current_exe()?;
    let name = own.to_string_lossy();
    Ok(name.strip_suffix(" (deleted)").map_or_else(|| own.clone(), PathBuf::from))
}
