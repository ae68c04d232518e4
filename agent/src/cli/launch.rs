//! Before any command: the packaged agent lets the release of itself that the device is on take over the process.
//!
//! `run` counts a release in trial; every other command is done by what was committed. Never here: which release
//! (`decide::to_launch`).

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;

use super::arguments::{Arguments, Command};
use super::guard;
use super::session::{Failure, Session};
use crate::config::Paths;
use crate::decide::model::{Launch, Process};
use crate::io::launch::{self, Launched};
use crate::io::{activate, clock};
use crate::turn::{self, Memories, Publisher, Turn, in_words};

/// A command that holds the lock for longer has the packaged agent begin; it lets the launcher take over later.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lets another program take this process over where one is to; returns what this process is otherwise.
pub(super) fn launch(raw: &[OsString], parsed: Option<&Arguments>) -> Launched {
    if let Some(tree) = launch::tree() {
        return Launched { tree: Some(tree), failed: None };
    }
    let paths = Paths::under(&root(raw, parsed));
    let command = parsed.map(|arguments| &arguments.command);
    let Ok(app) = "tidelock".parse::<AppName>() else { return Launched::default() };
    // What stays is the rest of a trial's patience, where the process was one.
    clock::alarm(None);
    if matches!(command, Some(Command::Guard)) || !paths.current(&app).is_symlink() {
        return Launched::default();
    }
    let (tree, patience) = match (command, parsed) {
        (Some(Command::Run), Some(arguments)) => match to_run(&paths, arguments) {
            Ok(Launch::Trial(tree, patience)) => (tree, Some(patience)),
            Ok(Launch::Committed(begun)) => (begun.tree, None),
            Ok(Launch::InVain(tree, problem)) => return gone_on(tree, problem),
            Ok(Launch::Packaged) => return Launched::default(),
            Err(failure) => {
                ::log::error!("{}: the packaged agent goes on alone", in_words(&failure));
                return Launched::default();
            }
        },
        _ => match committed(&paths, &app) {
            Some(tree) => (tree, None),
            None => return Launched::default(),
        },
    };
    clock::alarm(patience);
    let problem = launch::become_release(&paths.tree(&app, &tree), &tree, raw);
    clock::alarm(None);
    gone_on(tree, problem)
}

fn gone_on(tree: Digest, problem: String) -> Launched {
    ::log::error!("{tree}: {problem}: the packaged agent goes on");
    Launched { tree: None, failed: Some((tree, problem)) }
}

/// What the daemon becomes.
fn to_run(paths: &Paths, arguments: &Arguments) -> Result<Launch, Failure> {
    let settings = guard::settings(paths, arguments.config.as_deref())?;
    let mut session = Session::with(paths.clone(), settings, Some(PATIENCE))?;
    session.site.process = Process::Daemon { since: clock::since_boot() };
    let lock = session.lock()?;
    let (site, wake) = (&session.site, &session.wake);
    let (mut memories, mut publisher) = (Memories::default(), Publisher::nobody(site));
    let memories = &mut memories;
    Ok(Turn { site, wake, lock: &lock, memories, publisher: &mut publisher, rhythm: None }.launch()?)
}

/// The release that every other command is done by: never one in trial, or one that was begun in vain.
fn committed(paths: &Paths, app: &AppName) -> Option<Digest> {
    let current = activate::current(paths, app).ok()??;
    let journal = crate::io::journal::Journal::at(paths).ok()?;
    if turn::begun_in_vain(&journal, app) {
        return None;
    }
    let committed = journal.read(app).committed;
    committed.iter().map(|one| one.setup.tree).find(|tree| *tree == current)
}

/// The root that the command line names, also where this program does not understand the rest of it.
fn root(raw: &[OsString], parsed: Option<&Arguments>) -> PathBuf {
    if let Some(arguments) = parsed {
        return arguments.root.clone();
    }
    let mut words = raw.iter().map(|word| word.to_string_lossy());
    let named = words.find_map(|word| match word.strip_prefix("--root") {
        Some("") => Some(None),
        Some(rest) => rest.strip_prefix('=').map(|root| Some(root.to_owned())),
        None => None,
    });
    let named = named.map(|inline| inline.or_else(|| words.next().map(|root| root.into_owned())));
    named.flatten().map_or_else(|| "/".into(), PathBuf::from)
}
