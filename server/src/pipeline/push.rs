//! One push: pack here, ask what the server lacks, send that, hand the release in, move the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::{AppName, EnvironmentName, Platform, Version};

use super::http::Server;
use super::parcel::{Basis, Parcel};
use super::sign::Signer;
use super::{Error, failed};
use crate::bundle::{Earlier, Packed};
use crate::publish::{Content, Extra, Registration, Stored};

/// Tries of a request that did not get through, and of a role that was based on an old version.
pub(super) const TRIES: u32 = 5;
/// What the server says when it holds no such upload, and when it holds not all of it.
const BEGIN_AGAIN: &str = "begin it with its index";
const LACKING: &str = "are still lacking";
/// Longest pause between two questions whether something is done; the first are shorter.
const PAUSE: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// What to push.
#[derive(Clone, Debug)]
pub struct Pushing {
    /// The app.
    pub app: AppName,
    /// The version.
    pub version: Version,
    /// What it runs on.
    pub platform: Platform,
    /// A directory, or a `.tar.gz`.
    pub path: PathBuf,
    /// What it was built from, such as a commit.
    pub source: String,
    /// Who built it from what.
    pub provenance: Option<serde_json::Value>,
    /// What it is made of.
    pub sbom: Option<String>,
    /// Who signs the app's role; none: the server does.
    pub signer: Option<Signer>,
    /// The environment to move.
    pub environment: Option<EnvironmentName>,
    /// Where it comes from, for people.
    pub pipeline: String,
    /// How long to wait until it is done.
    pub timeout: Duration,
}

/// How far a push is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is packed; so many bytes.
    Packed(u64),
    /// So many bytes are sent of so many that the server lacked.
    Sent(u64, u64),
    /// So many wait before it in the environment.
    Queued(usize),
}

/// What came of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The tree digest.
    pub tree: Digest,
    /// Everything that is registered of this version, by platform.
    pub builds: BTreeMap<String, Build>,
    /// Bytes that were sent.
    pub sent: u64,
    /// Whether it was registered before.
    pub was_known: bool,
    /// Who owns the environment, and its serial when it was moved.
    pub environment: Option<Moved>,
}

/// What became of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It wants the release now.
    To(u64),
    /// It is Git's: a commit moves it.
    ByGit,
}

#[derive(Deserialize)]
struct Registered {
    platforms: BTreeMap<String, Build>,
    next_role: u64,
    /// The index of the app's newest build, by platform, as it is called in `targets/`; an older server does not say it.
    #[serde(default)]
    newest: BTreeMap<String, String>,
}

/// A registered build.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Build {
    /// The tree digest.
    pub tree: Digest,
    /// SHA-256 of the index as served.
    pub index: Digest,
    /// Its length in bytes.
    pub size: u64,
}

#[derive(Deserialize)]
struct HandedIn {
    id: Option<i64>,
    refused: Option<String>,
}

#[derive(Deserialize)]
struct Environment {
    owner: String,
}

#[derive(Deserialize)]
struct Taken {
    id: i64,
    queue: usize,
}

#[derive(Deserialize)]
struct PushState {
    state: String,
    reason: String,
    serial: Option<u64>,
}

/// Pushes; `tell` hears how far it is. Doing the same again is done at once.
///
/// # Errors
/// What is refused and what cannot be done; nothing is half registered then, and a second push goes on where this one
/// ended.
pub fn push(
    server: &Server,
    pushing: &Pushing,
    scratch: &Path,
    tell: &mut dyn FnMut(Progress),
) -> Result<Done, Error> {
    let Pushing { app, version, platform, .. } = pushing;
    let until = Instant::now() + pushing.timeout;
    std::fs::create_dir_all(scratch).map_err(failed("make the directory", scratch))?;
    let known = registered(server, app, version)?;
    let (earlier, basis) = earlier(server, pushing, &known);
    let mut parcel = Parcel::pack(&pushing.path, scratch, earlier, basis)?;
    let Packed { tree, length, .. } = parcel.packed;
    tell(Progress::Packed(length));
    let known_build = known.platforms.get(platform.as_str());
    let (sent, was_known) = match known_build {
        Some(known) if known.tree == tree => (0, true),
        Some(known) => {
            return Err(Error::Refused(format!(
                "{app} {version} for {platform} is known with the tree {}, this one is {tree}: a version is immutable, take another one",
                known.tree
            )));
        }
        None => (register(server, pushing, &mut parcel, (known.next_role, until), tell)?, false),
    };
    let known = registered(server, app, version)?;
    let environment =
        pushing.environment.as_ref().map(|name| moved(server, pushing, name, until, tell)).transpose()?;
    Ok(Done { tree, builds: known.platforms, sent, was_known, environment })
}

/// What the server holds already of this app, and its index. A signer names the digest of the whole bundle, so it packs
/// the whole.
fn earlier(server: &Server, pushing: &Pushing, known: &Registered) -> (Earlier, Option<Basis>) {
    // What cannot be had is packed anew, and sent whole.
    let file = known.newest.get(pushing.platform.as_str());
    let index = file.and_then(|file| server.file(&format!("targets/{file}")).ok()?);
    let index =
        index.filter(|index| file.is_some_and(|file| file.starts_with(&Digest::of(index).to_string())));
    let Some(index) = index else { return (Earlier::default(), None) };
    let earlier = if pushing.signer.is_none() { Earlier::of(&index).ok() } else { None };
    (earlier.unwrap_or_default(), Basis::of(&index))
}

fn registered(server: &Server, app: &AppName, version: &Version) -> Result<Registered, Error> {
    again(|| server.get(&format!("apps/{app}/releases/{version}")))
}

/// Sends what is lacking and hands the release in; bytes sent.
fn register(
    server: &Server,
    pushing: &Pushing,
    parcel: &mut Parcel,
    (mut next, until): (u64, Instant),
    tell: &mut dyn FnMut(Progress),
) -> Result<u64, Error> {
    let Pushing { app, version, platform, .. } = pushing;
    let mut sent = parcel.upload(server, app, tell)?;
    for _ in 0..TRIES {
        let (packed, index) = (&parcel.packed, Digest::of(&parcel.packed.index));
        let role = match &pushing.signer {
            Some(signer) => Some(signer.role(server, app, &registration(pushing, packed)?, next)?),
            None => None,
        };
        let words = json!({
            "version": version, "platform": platform, "tree": packed.tree, "index": index, "source": pushing.source,
            "provenance": pushing.provenance, "sbom": pushing.sbom, "role": role,
        });
        let handed = again(|| server.post::<HandedIn>(&format!("apps/{app}/releases"), &words));
        let refused = match handed {
            Ok(HandedIn { id: None, .. }) => return Ok(sent),
            Ok(HandedIn { id: Some(id), .. }) => registering(server, pushing, id, until)?,
            Err(Error::Answered { status: 404 | 409, said, .. }) => Some(said),
            Err(Error::Answered { status: 400, said, .. }) if said.contains(LACKING) => Some(said),
            Err(error) => return Err(error),
        };
        match refused {
            None => return Ok(sent),
            // Somebody else's role came first: sign again on theirs.
            Some(why) if why.contains("based on an old version") && pushing.signer.is_some() => {
                next = registered(server, app, version)?.next_role;
            }
            // Somebody else's release of the same tree was published, and the upload of both is gone; or the server stopped
            // hard, and its disk lost something.
            Some(why) if why.contains(BEGIN_AGAIN) || why.contains(LACKING) => {
                sent += parcel.upload(server, app, tell)?
            }
            Some(why) => return Err(Error::Refused(why)),
        }
    }
    Err(Error::Refused(format!("the role app.{app} was signed by others {TRIES} times in between")))
}

/// Waits until the release is registered; why it will not be, if so.
fn registering(server: &Server, pushing: &Pushing, id: i64, until: Instant) -> Result<Option<String>, Error> {
    let Pushing { app, version, platform, .. } = pushing;
    let mut pause = Pause::until(until);
    loop {
        let known = registered(server, app, version)?;
        if known.platforms.contains_key(platform.as_str()) {
            return Ok(None);
        }
        let handed = again(|| server.get::<HandedIn>(&format!("apps/{app}/handed/{id}")))?;
        if handed.refused.is_some() {
            return Ok(handed.refused);
        }
        pause.rest(|| {
            format!(
                "{app} {version} was handed in and is not registered yet: the server's journal says what it waits for"
            )
        })?;
    }
}

/// What a signer says of the release.
fn registration(pushing: &Pushing, packed: &Packed) -> Result<Registration, Error> {
    use tidelock_protocol::names::Artifact;
    let Pushing { app, version, platform, source, provenance, sbom, .. } = pushing;
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let index = (length(&packed.index), Digest::of(&packed.index));
    let extra = |kind, text: Option<String>| text.map(|text| Extra { kind, bytes: text.into_bytes() });
    let provenance = provenance.as_ref().map(ToString::to_string);
    let extras = [extra(Artifact::Provenance, provenance), extra(Artifact::Sbom, sbom.clone())];
    let partly = || Error::Refused("only a part was packed, of which nobody can sign the whole".into());
    let bundle = (packed.length, packed.sha256.ok_or_else(partly)?);
    Ok(Registration {
        version: version.clone(),
        platform: platform.clone(),
        source: source.clone(),
        stored: Stored::new((app, version, platform), packed.tree, index, bundle),
        index: Content::Bytes(Vec::new()),
        bundle: Content::Bytes(Vec::new()),
        extras: extras.into_iter().flatten().collect(),
    })
}

fn moved(
    server: &Server,
    pushing: &Pushing,
    name: &EnvironmentName,
    until: Instant,
    tell: &mut dyn FnMut(Progress),
) -> Result<Moved, Error> {
    let environment: Environment = again(|| server.get(&format!("environments/{name}")))?;
    if environment.owner == "git" {
        return Ok(Moved::ByGit);
    }
    let words = json!({ "app": pushing.app, "version": pushing.version, "pipeline": pushing.pipeline });
    let Taken { id, queue } = again(|| server.post(&format!("environments/{name}/pushes"), &words))?;
    tell(Progress::Queued(queue));
    let (mut reason, mut pause) = (String::new(), Pause::until(until));
    loop {
        let push: PushState = again(|| server.get(&format!("environments/{name}/pushes/{id}")))?;
        match push.state.as_str() {
            "published" => return Ok(Moved::To(push.serial.unwrap_or(0))),
            "superseded" => {
                return Err(Error::Refused(format!(
                    "a newer push of {} to {name} came before this one",
                    pushing.app
                )));
            }
            "refused" => return Err(Error::Refused(push.reason)),
            _ => reason = if push.reason.is_empty() { reason } else { push.reason },
        }
        pause.rest(|| match reason.as_str() {
            "" => format!("{name} was not moved in time: the server has not come to it yet"),
            reason => format!("{name} was not moved in time; it waits: {reason}"),
        })?;
    }
}

/// Pauses that grow: most of what is waited for takes a moment, and the rest takes long.
struct Pause {
    until: Instant,
    next: Duration,
}

impl Pause {
    fn until(until: Instant) -> Self {
        Self { until, next: FIRST_PAUSE }
    }

    fn rest(&mut self, why: impl FnOnce() -> String) -> Result<(), Error> {
        if Instant::now() >= self.until {
            return Err(Error::TimedOut(why()));
        }
        std::thread::sleep(self.next);
        self.next = PAUSE.min(self.next * 2);
        Ok(())
    }
}

/// Tries again what did not get through, with longer and longer pauses.
pub(super) fn again<T>(mut ask: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut pause = Duration::from_millis(200);
    for _ in 1..TRIES {
        match ask() {
            Err(Error::Unreachable { .. } | Error::Answered { status: 502..=504, .. }) => {
                std::thread::sleep(pause);
                pause *= 3;
            }
            other => return other,
        }
    }
    ask()
}
