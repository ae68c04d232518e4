//! The commands: words of a person in, words and a status out.
//!
//! Never here: a decision about a release, or an effect on one.

mod adopt;
mod arguments;
mod ask;
mod daemon;
mod doctor;
mod guard;
mod hold;
mod import;
mod join;
mod launch;
mod log;
mod metrics;
mod purge;
mod session;
mod status;
mod verify;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use arguments::{Arguments, Command};
use session::{Failure, Session, Status};

use crate::config::Paths;
use crate::decide::model::{Reason, Step, Why};
use crate::io::launch::Launched;
use crate::io::refresh::Reset;
use crate::io::service;
use crate::turn::{Publisher, in_words, unsigned_now};

/// Runs the program with `arguments`, its own name left out.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    service::keep_descriptors_to_ourselves();
    let raw: Vec<OsString> = arguments.into_iter().collect();
    let parsed = arguments::parse(raw.clone());
    log::begin();
    // The release of the agent that this device is on may understand what this one does not.
    let launched = launch::launch(&raw, parsed.as_ref().ok());
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(problem) => {
            complain(&format!("{problem}\n\nSee tidelock --help."));
            return Status::Usage.into();
        }
    };
    match run(arguments, launched) {
        Ok(status) => status.into(),
        Err(failure) => {
            complain(&in_words(&failure));
            failure.status().into()
        }
    }
}

fn run(arguments: Arguments, launched: Launched) -> Result<Status, Failure> {
    let Arguments { root, config, wait, command, .. } = arguments;
    let paths = Paths::under(&root);
    let open = || {
        let mut session = Session::open(paths.clone(), config.as_deref(), wait)?;
        session.site.launched = launched;
        Ok(session)
    };
    match command {
        Command::Help => say(arguments::HELP),
        Command::Version => say(&format!("tidelock {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Join(join) => return join::join(&paths, config.as_deref(), &join),
        Command::Import { from } => return import::import(&paths, config.as_deref(), from.as_deref()),
        Command::Run => return daemon::run(&paths, config.as_deref(), open),
        Command::Guard => return guard::guard(paths.clone(), config.as_deref()),
        Command::Check => return check(&open()?),
        Command::Update => return update(&open()?),
        Command::Status { json } => return status::status(&open()?, json),
        Command::Why { app } => return status::why(&open()?, app.as_ref()),
        Command::Rollback { app, reason, owner } => return ask::rollback(&open()?, &app, reason, owner),
        Command::Retry { app, owner } => return ask::retry(&open()?, &app, owner),
        Command::Hold { what, stop } => return hold::hold(&open()?, &what, stop),
        Command::Pin { app, version, stop } => return hold::pin(&open()?, &app, &version, stop),
        Command::Resume { what } => return hold::resume(&open()?, &what),
        Command::Purge { app, reason, owner } => return purge::purge(&open()?, &app, &reason, owner),
        Command::Adopt { app, unit } => return adopt::adopt(&open()?, &app, &unit),
        Command::Doctor => return doctor::doctor(&paths, config.as_deref(), wait),
        Command::Verify => return verify::verify(&open()?),
        Command::Heal { owner } => return verify::heal(&open()?, owner),
        Command::TrustReset { reason } => return trust_reset(&open()?, &reason),
    }
    Ok(Status::Done)
}

/// Polls once and says what would be done.
fn check(session: &Session) -> Result<Status, Failure> {
    let lock = session.lock()?;
    let mut publisher = Publisher::open(&session.site, None)?;
    let (step, why) = session.with_turn(&lock, &mut publisher, |turn| {
        turn.poll()?;
        Ok(turn.preview()?)
    })?;
    say(&lines(&why));
    let observed = why.apps.values().any(|reason| matches!(reason, Reason::Observe { .. }));
    if observed || !matches!(step, Step::Rest { .. }) {
        return Ok(Status::News);
    }
    Ok(Status::Done)
}

/// Polls once and does everything there is to do. What is believed is acted on even when nobody answers: a trial that a
/// crash cut short ends, and what was committed is brought back.
fn update(session: &Session) -> Result<Status, Failure> {
    let lock = session.lock()?;
    let mut publisher = Publisher::open(&session.site, None)?;
    let (polled, rest) = session.with_turn(&lock, &mut publisher, |turn| Ok((turn.poll(), turn.run()?)))?;
    say(&lines(&rest.why));
    polled?;
    Ok(outcome(&rest.why))
}

/// What the reasons of a device at rest amount to.
fn outcome(why: &Why) -> Status {
    let good = |reason: &Reason| {
        let gone = matches!(reason, Reason::NotWanted | Reason::Orphan { .. });
        gone || matches!(reason, Reason::Synced(_) | Reason::Observe { .. })
    };
    let forbidden = |reason: &Reason| matches!(reason, Reason::Refused(_) | Reason::Hold(_) | Reason::Pin(_));
    if why.apps.values().all(good) {
        Status::Done
    } else if why.apps.values().all(|reason| good(reason) || forbidden(reason)) {
        Status::Refused
    } else {
        Status::Error
    }
}

/// Forgets what was fetched of the repository's metadata; the next poll begins again from the root in `/etc`.
fn trust_reset(session: &Session, reason: &str) -> Result<Status, Failure> {
    let lock = session.lock()?;
    let reset = Reset { at: unsigned_now().wall, by: session::person(), reason: reason.into() };
    ::log::warn!("trust was reset by {}: {reason}", reset.by);
    Publisher::reset(&lock, &session.site, reset)?;
    say("trust begins again from root.json at the next poll\n");
    Ok(Status::Done)
}

fn lines(why: &Why) -> String {
    if why.apps.is_empty() { "no apps\n".into() } else { format!("{why}\n") }
}

/// Words for whoever ran the command.
fn say(text: &str) {
    // A reader that went away, such as `head`, is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Words for whoever has to act.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "tidelock: {text}");
}
