//! `doctor`: everything that a device needs looked at once, each line with what was found and what to do about it.
//!
//! Never here: doing it. Besides a poll, as `check` makes one, nothing is changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidelock_protocol::digest::Digest;
use tidelock_protocol::trust::Roots;

use super::say;
use super::session::{Failure, Session, Status};
use crate::config::{self, Merged, Paths, Settings};
use crate::io::examine::{self, FileSystem};
use crate::io::http::{self, Kind};
use crate::io::{clock, disk, refresh};
use crate::turn::{Publisher, in_words, unsigned_now};

/// Less than this free is too little for most releases: bytes, inodes.
const ROOM: (u64, u64) = (64 << 20, 1000);
/// The units that a packaged agent needs at boot.
const UNITS: [&str; 2] = ["tidelock.service", "tidelock-guard.service"];

/// What a poll passes one after the other, and what to do where it ends.
const STAGES: [(&str, &str); 4] = [
    ("DNS", "look at /etc/resolv.conf and at the name in `url`"),
    ("reachability", "look at cable, route, firewall and proxy, at `url`, and whether the publisher is up"),
    (
        "TLS",
        "look at `ca_file`, `client_cert` and `client_key`, the clock, and who else answers under that name",
    ),
    (
        "signatures",
        "expired: the publisher must sign anew; else another root, a broken mirror or an attack: nothing is taken of it",
    ),
];

/// What was found in one place.
#[derive(Clone)]
enum Finding {
    /// All is well.
    Fine(String),
    /// Somebody has to do something.
    Act { found: String, todo: &'static str },
    /// It could not be looked at.
    Unknown(String),
}

/// Looks at everything; [`Status::News`] when there is something to act on.
pub(super) fn doctor(
    paths: &Paths,
    config: Option<&Path>,
    wait: Option<Duration>,
) -> Result<Status, Failure> {
    let mut lines = Lines::default();
    let settings = configuration(paths, config);
    lines.add("configuration", settings.as_ref().map_or_else(Finding::clone, |_| fine("every key is known")));
    let root = root(paths);
    let trusts = !matches!(root, Finding::Act { .. });
    lines.add("root of trust", root);
    lines.add("clock", the_clock());
    lines.add("disk", room(&paths.state()));
    lines.add("file system", file_system(&paths.state()));
    lines.add("permissions", permissions(paths, settings.as_ref().ok()));
    lines.add("units", units(paths));
    match settings {
        Ok(settings) if trusts => {
            publisher(&mut lines, &settings, || Session::open(paths.clone(), config, wait))
        }
        _ => STAGES.iter().for_each(|(name, _)| {
            lines.add(name, Finding::Unknown("not asked: what stands above comes first".into()));
        }),
    }
    say(&lines.text);
    Ok(if lines.acts { Status::News } else { Status::Done })
}

#[derive(Default)]
struct Lines {
    text: String,
    acts: bool,
}

impl Lines {
    fn add(&mut self, name: &str, finding: Finding) {
        match finding {
            Finding::Fine(found) => self.text += &format!("ok    {name}: {found}\n"),
            Finding::Unknown(found) => self.text += &format!("?     {name}: {found}\n"),
            Finding::Act { found, todo } => {
                self.acts = true;
                self.text += &format!("ACT   {name}: {found}\n      {todo}\n");
            }
        }
    }
}

fn fine(found: impl Into<String>) -> Finding {
    Finding::Fine(found.into())
}

fn act(found: impl Into<String>, todo: &'static str) -> Finding {
    Finding::Act { found: found.into(), todo }
}

/// The settings, if every key is known and every value is one.
fn configuration(paths: &Paths, config: Option<&Path>) -> Result<Settings, Finding> {
    const TODO: &str = "mend that line; docs/config.example.toml names every key";
    let read = || -> Result<Settings, config::Error> {
        let merged = Merged::of(&config::read(paths, config)?)?;
        merged.refuse_unknown()?;
        Settings::of(&merged, paths)
    };
    read().map_err(|error| act(in_words(&error), TODO))
}

fn root(paths: &Paths) -> Finding {
    const TODO: &str = "run `tidelock join` again, with the hash that your fleet's owner gives you";
    let path = paths.root_json();
    let bytes = match super::join::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => return act(in_words(&error), TODO),
    };
    match Roots::begin(&bytes, unsigned_now()) {
        Ok(_) => fine(format!("{} is a root signed by itself, {}", path.display(), Digest::of(&bytes))),
        Err(error) => act(format!("{} is no root: {}", path.display(), in_words(&error)), TODO),
    }
}

fn the_clock() -> Finding {
    let reading = clock::read();
    if reading.synchronised {
        return fine(format!("{}, kept by a time service", reading.civil));
    }
    act(
        format!(
            "it says {}, and no time service keeps it; times are what signatures say has passed",
            reading.civil
        ),
        "run chrony, ntpd or systemd-timesyncd, and let it reach a server; updates work meanwhile, expiry is judged late",
    )
}

fn room(state: &Path) -> Finding {
    let there = state.ancestors().find(|path| path.is_dir()).unwrap_or(state);
    match disk::free(there) {
        Err(error) => Finding::Unknown(in_words(&error)),
        Ok(free) => {
            let found = format!(
                "{} MiB and {} inodes are free in {}",
                free.bytes >> 20,
                inodes(free.inodes),
                there.display()
            );
            if free.bytes >= ROOM.0 && free.inodes >= ROOM.1 {
                fine(found)
            } else {
                act(
                    found,
                    "make room: look for logs and caches; `keep` in the configuration says how many releases stay",
                )
            }
        }
    }
}

fn inodes(number: u64) -> String {
    if number == u64::MAX { "any number of".into() } else { number.to_string() }
}

fn file_system(state: &Path) -> Finding {
    let place = state.display();
    match examine::file_system(state) {
        Err(error) => Finding::Unknown(error.to_string()),
        Ok(FileSystem::Other) => fine(format!("{place} lies on a disk")),
        Ok(FileSystem::Memory) => act(
            format!("{place} lies in memory (tmpfs): after a boot nothing of it is left"),
            "mount a partition of a real disk there, before tidelock.service starts",
        ),
        Ok(FileSystem::Overlay) => act(
            format!("{place} lies on an overlay: what is written may go to memory, or with the next image"),
            "mount a partition of a real disk there, below no overlay",
        ),
    }
}

/// Who else may write what is trusted, or read what is secret.
fn permissions(paths: &Paths, settings: Option<&Settings>) -> Finding {
    let secrets = settings.map(|settings| &settings.connection).map(|connection| {
        let key = connection.client.as_ref().map(|client| client.key.clone());
        connection.header_file.iter().cloned().chain(key).collect::<Vec<PathBuf>>()
    });
    let guarded =
        [paths.etc(), paths.config_file(), paths.root_json(), paths.state(), paths.journal(), paths.trust()];
    let guarded = guarded.into_iter().map(|path| (path, 0o022));
    for (path, forbidden) in guarded.chain(secrets.unwrap_or_default().into_iter().map(|path| (path, 0o077)))
    {
        match examine::access(&path) {
            Err(error) => return Finding::Unknown(format!("{}: {error}", path.display())),
            Ok(Some(access)) if access.foreign => {
                return act(
                    format!("{} belongs to somebody else", path.display()),
                    "give it to root (chown), or to whom the agent runs as",
                );
            }
            Ok(Some(access)) if access.mode & forbidden != 0 => {
                return act(
                    format!("others may use {}: its mode is {:o}", path.display(), access.mode),
                    "take that away: chmod go-w, and for secrets chmod go-rwx",
                );
            }
            Ok(_) => {}
        }
    }
    let state = paths.state();
    match examine::try_to_write(&state) {
        Ok(()) => fine(format!("{} can be written, by the agent alone", state.display())),
        Err(error) => act(
            format!("{} cannot be written: {error}", state.display()),
            "run this as the user that the agent runs as, mostly root; else mount it to be written",
        ),
    }
}

fn units(paths: &Paths) -> Finding {
    if paths.etc() != Path::new("/etc/tidelock") {
        return Finding::Unknown("not looked at below another root".into());
    }
    match examine::not_enabled(&UNITS) {
        None => fine("no systemd here: whatever supervises `tidelock run` starts it"),
        Some(missing) if missing.is_empty() => fine("both are started at boot"),
        Some(missing) => act(
            format!("nothing starts {} at boot", missing.join(" and ")),
            "systemctl enable --now tidelock-guard.service tidelock.service",
        ),
    }
}

/// Asks the publisher, and tells apart how far that came: its name, its machine, its certificate, its signatures.
fn publisher(lines: &mut Lines, settings: &Settings, open: impl FnOnce() -> Result<Session, Failure>) {
    let asked = open().and_then(|session| {
        let lock = session.lock()?;
        let mut publisher = Publisher::open(&session.site, None)?;
        session.with_turn(&lock, &mut publisher, |turn| Ok(turn.poll()?))?;
        Ok(publisher.manifest().map(|manifest| (manifest.desired.serial, manifest.expires)))
    });
    let reached = asked.as_ref().map_or_else(reached, |_| Some(STAGES.len()));
    let problem = asked.as_ref().err().map(|failure| in_words(failure)).unwrap_or_default();
    let secure = settings.connection.url.starts_with("https:");
    let tls = if secure {
        "the server's certificate is good"
    } else {
        "not used: signatures alone protect what comes"
    };
    let signed = asked.ok().flatten().map_or_else(
        || "nothing is signed for this environment yet".to_owned(),
        |(serial, expires)| format!("desired state {serial} is verified, good until {expires}"),
    );
    let well = ["the publisher's name has an address", "the publisher answers", tls, &signed];
    for (place, ((name, todo), well)) in STAGES.into_iter().zip(well).enumerate() {
        lines.add(
            name,
            match reached {
                None => Finding::Unknown(format!("not asked: {problem}")),
                Some(reached) if place < reached => fine(well),
                Some(reached) if place == reached => act(problem.clone(), todo),
                Some(_) => Finding::Unknown("not reached".into()),
            },
        );
    }
}

/// How many of the [`STAGES`] a poll passed before it failed; none: it was not made.
fn reached(failure: &Failure) -> Option<usize> {
    match failure {
        Failure::Trust(refresh::Failure::Http(http::Error::Get { kind, .. })) => match kind {
            Kind::Host => Some(0),
            Kind::Tls => Some(2),
            _ => Some(1),
        },
        Failure::Trust(refresh::Failure::Missing { .. } | refresh::Failure::WebPage { .. }) => Some(1),
        // A file that the connection needs.
        Failure::Trust(refresh::Failure::Http(_)) => Some(2),
        Failure::Trust(failure) => (failure.kind() != refresh::Kind::Local).then_some(3),
        _ => None,
    }
}
