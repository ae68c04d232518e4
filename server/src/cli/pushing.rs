//! `push` and `wait`: what a pipeline runs.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal, Write as _};
use std::path::Path;

use serde_json::{Value, json};

use super::arguments::{Push, Speak, Wait};
use super::look::Scratch;
use super::promote::{commit_files, read_file};
use super::{Error, Exit, say};
use crate::config::FILE_BYTES;
use crate::git::Repository;
use crate::pipeline::{self, Awaited, Done, Moved, Progress, Pushing, Server, Signer, Speaking, Waiting};

/// Longest SBOM that is taken.
const SBOM_BYTES: u64 = 7 << 20;

/// Packs, hands in, moves.
///
/// # Errors
/// Whatever keeps the release from being registered, or the environment from being moved.
pub fn push(arguments: &Push) -> Result<Exit, Error> {
    let scratch = Scratch::new();
    let server = speak(&arguments.speak)?;
    let origin = Origin::of_environment();
    let source = arguments.source.clone().unwrap_or_else(|| origin.commit.clone());
    let pushing = Pushing {
        app: arguments.app.clone(),
        version: arguments.version.clone(),
        platform: arguments.platform.clone(),
        path: arguments.path.clone(),
        provenance: Some(provenance(arguments, &origin, &source)?),
        sbom: arguments.sbom.as_deref().map(|path| text(path, SBOM_BYTES)).transpose()?,
        signer: arguments.signer.as_deref().map(Signer::of),
        environment: arguments.env.clone(),
        pipeline: origin.run.clone(),
        timeout: arguments.timeout,
        source,
    };
    let mut bar = Bar::default();
    let done =
        pipeline::push(&server, &pushing, &scratch.0.join("push"), &mut |progress| bar.tell(progress))?;
    bar.end();
    let Push { app, version, platform, .. } = arguments;
    let known = if done.was_known { "was registered before" } else { "is registered" };
    say(&format!("{app} {version} for {platform} {known}: tree {}, {} bytes sent", done.tree, done.sent));
    match (&done.environment, &arguments.env) {
        (Some(Moved::To(serial)), Some(name)) => say(&format!("{name} wants it (serial {serial})")),
        (Some(Moved::ByGit), Some(name)) => by_git(arguments, &done, name.as_str(), &scratch)?,
        _ => {}
    }
    Ok(Exit::Done)
}

/// Waits until an environment is published.
///
/// # Errors
/// It is not, in time.
pub fn wait(arguments: &Wait) -> Result<Exit, Error> {
    let awaited = match (&arguments.release, &arguments.commit) {
        (Some((app, version)), _) => Awaited::Release(app.clone(), version.clone()),
        (None, Some(commit)) => Awaited::Commit(commit.clone()),
        (None, None) => return Ok(Exit::Usage),
    };
    let waiting = Waiting {
        environment: arguments.env.clone(),
        awaited,
        committed: arguments.committed,
        timeout: arguments.timeout,
    };
    let serial = pipeline::wait(&speak(&arguments.speak)?, &waiting)?;
    say(&format!("{} is published (serial {serial})", arguments.env));
    Ok(Exit::Done)
}

fn speak(speak: &Speak) -> Result<Server, Error> {
    let token = token(speak.token_file.as_deref())?.ok_or(pipeline::Error::NoToken)?;
    Ok(Server::new(&Speaking { url: speak.server.clone(), token, ca_file: speak.ca_file.clone() })?)
}

/// The token of this file, or else of the environment.
pub(super) fn token(file: Option<&Path>) -> Result<Option<String>, Error> {
    let named = file.map(|path| text(path, 4096)).transpose()?;
    let token = named.or_else(|| std::env::var("TIDELOCK_TOKEN").ok()).map(|token| token.trim().to_owned());
    Ok(token.filter(|token| !token.is_empty()))
}

/// The environment is moved by a commit: that, or what it would say.
fn by_git(arguments: &Push, done: &Done, environment: &str, scratch: &Scratch) -> Result<(), Error> {
    let Push { app, version, .. } = arguments;
    let path = format!("apps/{app}/releases/{version}.toml");
    let text = pinned(done);
    let hint = format!(
        "{environment} is owned by git: environments/{environment}.toml then names it as {app} = \"{version}\""
    );
    let Some(fleet) = arguments.fleet.as_ref().filter(|_| arguments.commit || arguments.branch.is_some())
    else {
        say(&format!("{hint}\n# {path}\n{text}"));
        return Ok(());
    };
    let repository =
        &mut Repository::open(fleet, &scratch.0.join("git")).map_err(super::promote::Error::from)?;
    let base = repository.head(&arguments.on).map_err(super::promote::Error::from)?;
    if read_file(repository, &base, &path)?.as_deref() == Some(text.as_str()) {
        say(&format!("{path} says so already; {hint}"));
        return Ok(());
    }
    let target = arguments.branch.as_ref().unwrap_or(&arguments.on);
    let message = format!("Release {app} {version}");
    let files = [(path, text.into_bytes())];
    commit_files(repository, &base, &files, &message, (target, arguments.branch.is_none()), &scratch.0)?;
    say(&format!("committed {message:?} to {target} of {}; {hint}", repository.label()));
    Ok(())
}

/// `apps/<app>/releases/<version>.toml` of what is registered.
fn pinned(done: &Done) -> String {
    let mut text = "format = 1\n".to_owned();
    for (platform, build) in &done.builds {
        let _ = write!(
            text,
            "\n[platforms.{platform}]\nindex = \"{}\"\nsize = {}\ntree = \"{}\"\n",
            build.index, build.size, build.tree
        );
    }
    text
}

/// Where this runs, by the variables that CI systems set.
#[derive(Default)]
struct Origin {
    commit: String,
    repository: String,
    run: String,
    builder: String,
}

impl Origin {
    fn of_environment() -> Self {
        let of = |names: &[&str]| {
            let found =
                names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
            found.unwrap_or_default()
        };
        let mut origin = Self {
            commit: of(&["GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT", "CIRCLE_SHA1"]),
            repository: of(&["CI_PROJECT_URL", "GIT_URL", "CIRCLE_REPOSITORY_URL"]),
            run: of(&["CI_JOB_URL", "BUILD_URL", "CIRCLE_BUILD_URL"]),
            builder: of(&["RUNNER_NAME", "CI_RUNNER_DESCRIPTION", "NODE_NAME", "HOSTNAME"]),
        };
        let (server, name) = (of(&["GITHUB_SERVER_URL"]), of(&["GITHUB_REPOSITORY"]));
        if !name.is_empty() {
            origin.repository = format!("{server}/{name}");
            origin.run = format!("{server}/{name}/actions/runs/{}", of(&["GITHUB_RUN_ID"]));
        }
        origin
    }
}

fn provenance(arguments: &Push, origin: &Origin, source: &str) -> Result<Value, Error> {
    let Some(path) = &arguments.provenance else {
        return Ok(json!({
            "format": 1, "commit": source, "repository": origin.repository, "run": origin.run, "builder": origin.builder,
        }));
    };
    let text = text(path, FILE_BYTES)?;
    serde_json::from_str(&text).map_err(|error| file_error("read as JSON", path, error.into()))
}

fn text(path: &Path, most: u64) -> Result<String, Error> {
    let length = fs::metadata(path).map_err(|error| file_error("look at", path, error))?.len();
    if length > most {
        return Err(file_error("take", path, io::Error::other(format!("it is longer than {most} bytes"))));
    }
    fs::read_to_string(path).map_err(|error| file_error("read", path, error))
}

fn file_error(what: &'static str, path: &Path, source: io::Error) -> Error {
    pipeline::Error::Io { what, path: path.to_owned(), source }.into()
}

/// How far it is: a line that moves on a terminal, a line for each tenth elsewhere.
#[derive(Default)]
struct Bar {
    tenth: u64,
    is_open: bool,
}

impl Bar {
    fn tell(&mut self, progress: Progress) {
        let mut out = io::stderr().lock();
        let is_terminal = out.is_terminal();
        let text = match progress {
            Progress::Packed(bytes) => format!("packed: {bytes} bytes"),
            Progress::Queued(queue) if queue > 1 => format!("{} pushes wait before this one", queue - 1),
            Progress::Queued(_) => return,
            Progress::Sent(sent, total) => {
                let tenth = sent.saturating_mul(10) / total.max(1);
                if !is_terminal && tenth == self.tenth && sent < total {
                    return;
                }
                self.tenth = tenth;
                let done = usize::try_from(tenth).unwrap_or(10).min(10);
                if is_terminal {
                    self.is_open = true;
                    // Nobody listening is no error.
                    let _ = write!(
                        out,
                        "\r[{}{}] {sent} of {total} bytes",
                        "#".repeat(done),
                        " ".repeat(10 - done)
                    );
                    let _ = out.flush();
                    return;
                }
                format!("sent {sent} of {total} bytes")
            }
        };
        let _ = writeln!(out, "{text}");
    }

    fn end(&self) {
        if self.is_open {
            let _ = writeln!(io::stderr().lock());
        }
    }
}
