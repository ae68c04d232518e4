//! The command line as values.
//!
//! Never here: doing what it says.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::{AppName, EnvironmentName, LabelKey, NotAName, Version};

use crate::config;

/// What `--help` says.
pub(super) const HELP: &str = "\
tidelock keeps this device on the releases that its fleet's signed desired state wants.

usage: tidelock [--config FILE] [--root DIR] COMMAND

  join URL (--root-sha256 H | --root-file FILE) --env E [--label K=V]… [--force]
                      make this device part of a fleet: write config.toml and root.json
  import [DIR]        the same by tidelock.toml and root.json in DIR (the boot partition), unless it is part of one
  run                 poll and update until SIGTERM; SIGUSR1 polls at once
  guard               once per boot, before the apps start: count starts, end what was started too often
  check               poll once and say what would be done; status 10 when there is something
  update              poll once and do everything there is to do
  status [--json]     what runs here, and whether it is what is wanted
  why [APP]           why each app is where it is, with the end of what its hook and checks said
  rollback APP --reason R [--owner O]
                      leave the live release for the one before, and refuse it from now on
  hold APP|--all --reason R --for 2h [--owner O]
                      stop APP, or everything, from moving until then; what runs goes on, a trial under way ends
  pin APP VERSION --reason R --for 2h [--owner O]
                      keep APP on VERSION until then: one that passed here, or that the environment wants
  resume APP|--all    end the hold and the pin of APP, or the hold of everything
  retry APP [--owner O]
                      forget refusals and back-off of APP
  purge APP --reason R [--owner O]
                      delete what is left of an app that is neither wanted nor installed here, its data included
  verify [--heal [--owner O]]
                      hash the live trees again and name each difference; status 10 when there is one;
                      with --heal, fetch what differs again first
  doctor              look at everything that a device needs; status 10 when there is something to act on
  adopt APP --unit NAME
                      look after APP, which runs as a unit of this machine already; its first update stops that unit
  trust reset --reason R
                      forget all fetched metadata and begin again from root.json

  --config FILE       the whole configuration, instead of /usr/lib, /run and /etc/tidelock
  --root DIR          everything lies below DIR, not /
  --wait SECONDS      how long to wait for another tidelock that is at work (30)
  --help, --version

status: 0 done, 1 error, 2 usage, 3 refused, 4 timeout, 5 busy, 10 something to act on
";

/// A command with what it applies to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) root: PathBuf,
    pub(super) config: Option<PathBuf>,
    pub(super) wait: Option<Duration>,
    pub(super) command: Command,
}

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Version,
    Join(Join),
    Import { from: Option<PathBuf> },
    Run,
    Guard,
    Check,
    Update,
    Status { json: bool },
    Why { app: Option<AppName> },
    Rollback { app: AppName, reason: String, owner: Option<String> },
    Retry { app: AppName, owner: Option<String> },
    Hold { what: Scope, stop: Stop },
    Pin { app: AppName, version: Version, stop: Stop },
    Resume { what: Scope },
    Purge { app: AppName, reason: String, owner: Option<String> },
    Verify,
    Heal { owner: Option<String> },
    Doctor,
    Adopt { app: AppName, unit: String },
    TrustReset { reason: String },
}

/// What a person stops or lets go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// This app.
    App(AppName),
    /// The whole device.
    All,
}

/// A person's stop: always with a reason and an end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) owner: Option<String>,
    pub(super) reason: String,
    pub(super) time: Duration,
}

/// What a device needs to become part of a fleet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Join {
    pub(super) url: String,
    pub(super) trust: Trust,
    pub(super) environment: EnvironmentName,
    pub(super) labels: Vec<(LabelKey, String)>,
    pub(super) force: bool,
}

/// How a person says which root is trusted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// The published root with this hash.
    Sha256(Digest),
    /// This file.
    File(PathBuf),
}

/// Every option of every command, as far as it was given.
#[derive(Default)]
struct Given {
    words: Vec<String>,
    root: Option<PathBuf>,
    config: Option<PathBuf>,
    wait: Option<u64>,
    root_sha256: Option<Digest>,
    root_file: Option<PathBuf>,
    environment: Option<EnvironmentName>,
    labels: Vec<(LabelKey, String)>,
    reason: Option<String>,
    owner: Option<String>,
    time: Option<Duration>,
    unit: Option<String>,
    flags: Vec<&'static str>,
}

/// Reads a command line, without the program's name.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn parse(
    arguments: impl IntoIterator<Item: Into<std::ffi::OsString>>,
) -> Result<Arguments, String> {
    let mut given = read(Parser::from_args(arguments)).map_err(|error| error.to_string())?;
    // Hooks run in a directory of their own: a relative root would mean another place there.
    let root = std::path::absolute(given.root.take().unwrap_or_else(|| "/".into()))
        .map_err(|error| format!("cannot tell where --root is: {error}"))?;
    let config = given.config.take();
    let command = if given.flag("--help") {
        Command::Help
    } else if given.flag("--version") {
        Command::Version
    } else {
        let command = command(&mut given)?;
        given.nothing_left()?;
        command
    };
    let wait = given.wait.map(Duration::from_secs);
    Ok(Arguments { root, config, wait, command })
}

fn read(mut parser: Parser) -> Result<Given, lexopt::Error> {
    let mut given = Given::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(word) => given.words.push(word.string()?),
            Arg::Long("root") => given.root = Some(parser.value()?.into()),
            Arg::Long("config") => given.config = Some(parser.value()?.into()),
            Arg::Long("wait") => given.wait = Some(parser.value()?.parse()?),
            Arg::Long("root-sha256") => given.root_sha256 = Some(parser.value()?.parse()?),
            Arg::Long("root-file") => given.root_file = Some(parser.value()?.into()),
            Arg::Long("env" | "environment") => given.environment = Some(parser.value()?.parse()?),
            Arg::Long("label") => given.labels.push(parser.value()?.parse_with(label)?),
            Arg::Long("reason") => given.reason = Some(parser.value()?.parse_with(sentence)?),
            Arg::Long("owner") => given.owner = Some(parser.value()?.parse_with(sentence)?),
            Arg::Long("for") => given.time = Some(parser.value()?.parse_with(time)?),
            Arg::Long("unit") => given.unit = Some(parser.value()?.parse_with(unit)?),
            Arg::Long("all") => given.flags.push("--all"),
            Arg::Long("json") => given.flags.push("--json"),
            Arg::Long("heal") => given.flags.push("--heal"),
            Arg::Long("force") => given.flags.push("--force"),
            Arg::Long("help") | Arg::Short('h') => given.flags.push("--help"),
            Arg::Long("version") | Arg::Short('V') => given.flags.push("--version"),
            other => return Err(other.unexpected()),
        }
    }
    Ok(given)
}

fn command(given: &mut Given) -> Result<Command, String> {
    let words = std::mem::take(&mut given.words);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(match words[..] {
        ["join", url] => Command::Join(join(url, given)?),
        ["import"] => Command::Import { from: None },
        ["import", from] => Command::Import { from: Some(from.into()) },
        ["run"] => Command::Run,
        ["guard"] => Command::Guard,
        ["check"] => Command::Check,
        ["update"] => Command::Update,
        ["status"] => Command::Status { json: given.flag("--json") },
        ["why"] => Command::Why { app: None },
        ["why", app] => Command::Why { app: Some(named(app)?) },
        ["rollback", app] => {
            Command::Rollback { app: named(app)?, reason: given.reason()?, owner: given.owner.take() }
        }
        ["hold"] if given.flag("--all") => Command::Hold { what: Scope::All, stop: given.stop()? },
        ["hold", app] => Command::Hold { what: Scope::App(named(app)?), stop: given.stop()? },
        ["pin", app, version] => {
            Command::Pin { app: named(app)?, version: named(version)?, stop: given.stop()? }
        }
        ["resume"] if given.flag("--all") => Command::Resume { what: Scope::All },
        ["resume", app] => Command::Resume { what: Scope::App(named(app)?) },
        ["retry", app] => Command::Retry { app: named(app)?, owner: given.owner.take() },
        ["purge", app] => {
            Command::Purge { app: named(app)?, reason: given.reason()?, owner: given.owner.take() }
        }
        ["verify"] if given.flag("--heal") => Command::Heal { owner: given.owner.take() },
        ["verify"] => Command::Verify,
        ["doctor"] => Command::Doctor,
        ["adopt", app] => Command::Adopt { app: named(app)?, unit: given.unit()? },
        ["trust", "reset"] => Command::TrustReset { reason: given.reason()? },
        [] => return Err("no command".into()),
        ["join" | "rollback" | "retry" | "hold" | "pin" | "resume" | "adopt" | "purge" | "trust", ..] => {
            return Err(format!("`{}` needs other words after it", words[0]));
        }
        _ => return Err(format!("no such command: {}", words.join(" "))),
    })
}

fn join(url: &str, given: &mut Given) -> Result<Join, String> {
    let trust = match (given.root_sha256.take(), given.root_file.take()) {
        (Some(hash), None) => Trust::Sha256(hash),
        (None, Some(path)) => Trust::File(path),
        _ => {
            return Err(
                "join needs --root-sha256 H or --root-file FILE: which root this device trusts".into()
            );
        }
    };
    let environment =
        given.environment.take().ok_or("join needs --env E: which environment this device is of")?;
    let (labels, force) = (std::mem::take(&mut given.labels), given.flag("--force"));
    Ok(Join { url: url.to_owned(), trust, environment, labels, force })
}

impl Given {
    fn flag(&mut self, name: &str) -> bool {
        let before = self.flags.len();
        self.flags.retain(|flag| *flag != name);
        self.flags.len() < before
    }

    fn reason(&mut self) -> Result<String, String> {
        self.reason.take().ok_or_else(|| "--reason R is needed: who comes after you asks why".into())
    }

    fn unit(&mut self) -> Result<String, String> {
        self.unit.take().ok_or_else(|| "--unit NAME is needed: what runs it now".into())
    }

    fn stop(&mut self) -> Result<Stop, String> {
        let time = self
            .time
            .take()
            .ok_or("--for TIME is needed, such as 2h: who forgets it is not held for ever")?;
        Ok(Stop { owner: self.owner.take(), reason: self.reason()?, time })
    }

    /// An option that the command did not take would have been ignored silently.
    fn nothing_left(&self) -> Result<(), String> {
        let left = [
            ("--root-sha256", self.root_sha256.is_some()),
            ("--root-file", self.root_file.is_some()),
            ("--env", self.environment.is_some()),
            ("--label", !self.labels.is_empty()),
            ("--reason", self.reason.is_some()),
            ("--owner", self.owner.is_some()),
            ("--for", self.time.is_some()),
            ("--unit", self.unit.is_some()),
        ];
        let left = left.into_iter().find(|(_, given)| *given).map(|(name, _)| name);
        match left.or_else(|| self.flags.first().copied()) {
            Some(name) => Err(format!("this command takes no {name}")),
            None => Ok(()),
        }
    }
}

fn named<T: FromStr<Err = NotAName>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: NotAName| error.to_string())
}

fn label(text: &str) -> Result<(LabelKey, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.parse().map_err(|error: NotAName| error.to_string())?, value.to_owned()))
}

/// How long a stop lasts: a device that somebody forgot is back within months, not never.
fn time(text: &str) -> Result<Duration, &'static str> {
    let found = config::seconds(text).filter(|seconds| (1..=90 * 24 * 3600).contains(seconds));
    found.map(Duration::from_secs).ok_or("expected a time such as 90s, 30m, 2h or 7d, at most 90d")
}

/// A service by its name; the words are put into a release.toml.
fn unit(text: &str) -> Result<String, &'static str> {
    let named = |b: u8| b.is_ascii_alphanumeric() || b":_.@-".contains(&b);
    let fits = text.len() <= 255 && text.bytes().all(named) && !text.starts_with(['-', '.']);
    let fits = fits && text.ends_with(".service");
    if fits { Ok(text.to_owned()) } else { Err("expected the name of a unit, such as web.service") }
}

/// Words of a person that go into records and onto terminals.
fn sentence(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= 500 && !text.contains(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err("expected some words, at most 500 bytes, on one line") }
}

#[cfg(test)]
mod tests;
