//! The command line: arguments in, plain words and an exit code out.
//!
//! Never here: what a command does (`turn`, `init` aside), or serving (`web`, which `main` brings together with `turn`).

mod against;
mod arguments;
mod errors;
mod expiring;
mod init;
mod look;
mod notify;
mod promote;
mod pushing;
mod serving;
mod status;
mod token;

use std::io::{self, Write};

pub use arguments::{
    Against, Arguments, BreakGlass, Command, Expiring, Init, Look, Place, Plan, Promote, Publish, Push,
    Serve, Speak, Status, Token, Validate, Wait,
};
pub use errors::Error;
pub use look::{plan, validate};
pub use notify::Notify;
pub use pushing::{push, wait};
pub use serving::{Serving, serving};
pub use status::status;
pub use token::token;

use crate::publish::Published;
pub use crate::turn::chain;
use crate::turn::{self, Outcome};

/// How a command ended, as cron and pipelines read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; nothing is left to do.
    Done = 0,
    /// It failed.
    Error = 1,
    /// The command line cannot be read.
    Usage = 2,
    /// Refused: the clock, a rewritten history.
    Refused = 3,
    /// Something took too long.
    Timeout = 4,
    /// Another process is at it.
    Busy = 5,
    /// A signature is missing.
    Pending = 6,
    /// Something needs a person.
    Act = 10,
}

/// Makes a fleet.
///
/// # Errors
/// Something is there already, or cannot be written.
pub fn init(arguments: &Init) -> Result<Exit, Error> {
    let made = init::make(&arguments.directory, &arguments.push)?;
    say(&made);
    Ok(Exit::Done)
}

/// Publishes once, and says what came of it.
///
/// # Errors
/// Whatever stopped the turn; nothing was signed then.
pub fn publish(arguments: &Publish) -> Result<Exit, Error> {
    let settings = arguments.place.settings(arguments.accept_rewrite.clone());
    let outcome = turn::once(&settings)?;
    say(outcome.to_string().trim_end());
    if outcome.is_unchanged() && outcome.waiting.is_empty() && outcome.missing.is_empty() {
        say(&format!(
            "nothing to publish: {} is up to date with {}",
            settings.out.display(),
            outcome.commit.id
        ));
    } else if let (false, Some(root)) = (outcome.is_unchanged(), outcome.root) {
        let environment = outcome.manifests.first().map_or("ENV", |desired| desired.environment.as_str());
        say(&format!("devices join with: tidelock join URL --root-sha256 {root} --env {environment}"));
    }
    Ok(exit_of(&outcome))
}

/// Has one environment want what another one runs.
///
/// # Errors
/// There is nothing to promote, or the change cannot be made.
pub fn promote(arguments: &Promote) -> Result<Exit, Error> {
    let scratch = look::Scratch::new();
    let out = against::Compared::with(&arguments.against, &scratch.0)?.out;
    // A command line without both was refused before.
    let Some(out) = out else { return Ok(Exit::Usage) };
    Ok(promote::promote(arguments, &Published::read(&out)?, &scratch.0)?)
}

/// Breaks glass, and says so.
///
/// # Errors
/// The state directory cannot be written.
pub fn break_glass(arguments: &BreakGlass) -> Result<Exit, Error> {
    let BreakGlass { state, env, owner, reason, expires } = arguments;
    let since = crate::look::clock().now;
    let glass = turn::Glass {
        environment: env.clone(),
        owner: owner.clone(),
        reason: reason.clone(),
        since,
        expires: since.after(*expires),
    };
    turn::break_glass(state, &glass)?;
    say(&format!(
        "{env} waits for no other environment until {}: publish now, and put it right after",
        glass.expires
    ));
    Ok(Exit::Done)
}

/// Lists what runs out when.
///
/// # Errors
/// The repository or the state cannot be read.
pub fn expiring(arguments: &Expiring) -> Result<Exit, Error> {
    let (text, exit) = expiring::list(arguments)?;
    say(&text);
    Ok(exit)
}

/// The exit code of a turn: a refusal weighs more than a missing signature.
pub fn exit_of(outcome: &Outcome) -> Exit {
    if !outcome.stopped.is_empty() {
        Exit::Refused
    } else if !outcome.waiting.is_empty() || !outcome.missing.is_empty() {
        Exit::Pending
    } else {
        Exit::Done
    }
}

/// Prints a text for people and ends it with a newline; an empty one is not printed, and nobody listening is no error.
pub fn say(text: &str) {
    if !text.is_empty() {
        let _ = writeln!(io::stdout().lock(), "{text}");
    }
}

/// Prints an error with its causes, once.
pub fn complain(error: &dyn std::error::Error) {
    let _ = writeln!(io::stderr().lock(), "error: {}", chain(error));
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
