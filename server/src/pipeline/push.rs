//! One push: pack here, ask what the server lacks, send that, hand the release in, move the environment.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::{AppName, EnvironmentName, Platform, Version};

use super::http::Server;
use super::sign::Signer;
use super::{Error, failed, gather};
use crate::bundle::{self, Packed};
use crate::publish::{Content, Extra, Registration, Stored};

/// Bytes of blocks in one request.
const REQUEST: u64 = 8 << 20;
/// Tries of a request that did not get through, and of a role that was based on an old version.
const TRIES: u32 = 5;
/// What the server says when it holds no such upload.
const BEGIN_AGAIN: &str = "begin it with its index";
/// Between two questions whether something is done.
const PAUSE: Duration = Duration::from_millis(500);

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
struct LackingAnswer {
    lacking: Vec<[u64; 2]>,
    bytes: u64,
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
    let (packed, bundle) = gather::packed(&pushing.path, scratch)?;
    tell(Progress::Packed(packed.length));
    let known = registered(server, app, version)?;
    let known_build = known.platforms.get(platform.as_str());
    let (sent, was_known) = match known_build {
        Some(known) if known.tree == packed.tree => (0, true),
        Some(known) => {
            return Err(Error::Refused(format!(
                "{app} {version} for {platform} is known with the tree {}, this one is {}: a version is immutable, take another one",
                known.tree, packed.tree
            )));
        }
        None => (register(server, pushing, &packed, &bundle, (known.next_role, until), tell)?, false),
    };
    let known = registered(server, app, version)?;
    let environment =
        pushing.environment.as_ref().map(|name| moved(server, pushing, name, until, tell)).transpose()?;
    Ok(Done { tree: packed.tree, builds: known.platforms, sent, was_known, environment })
}

fn registered(server: &Server, app: &AppName, version: &Version) -> Result<Registered, Error> {
    again(|| server.get(&format!("apps/{app}/releases/{version}")))
}

/// Sends what is lacking and hands the release in; bytes sent.
fn register(
    server: &Server,
    pushing: &Pushing,
    packed: &Packed,
    bundle: &Path,
    (mut next, until): (u64, Instant),
    tell: &mut dyn FnMut(Progress),
) -> Result<u64, Error> {
    let Pushing { app, version, platform, .. } = pushing;
    let index = Digest::of(&packed.index);
    let mut sent = upload(server, app, &index, packed, bundle, tell)?;
    for _ in 0..TRIES {
        let role = match &pushing.signer {
            Some(signer) => Some(signer.role(server, app, &registration(pushing, packed), next)?),
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
            Err(error) => return Err(error),
        };
        match refused {
            None => return Ok(sent),
            // Somebody else's role came first: sign again on theirs.
            Some(why) if why.contains("based on an old version") && pushing.signer.is_some() => {
                next = registered(server, app, version)?.next_role;
            }
            // Somebody else's release of the same tree was published, and the upload of both is gone.
            Some(why) if why.contains(BEGIN_AGAIN) => {
                sent += upload(server, app, &index, packed, bundle, tell)?
            }
            Some(why) => return Err(Error::Refused(why)),
        }
    }
    Err(Error::Refused(format!("the role app.{app} was signed by others {TRIES} times in between")))
}

/// Waits until the release is registered; why it will not be, if so.
fn registering(server: &Server, pushing: &Pushing, id: i64, until: Instant) -> Result<Option<String>, Error> {
    let Pushing { app, version, platform, .. } = pushing;
    loop {
        let known = registered(server, app, version)?;
        if known.platforms.contains_key(platform.as_str()) {
            return Ok(None);
        }
        let handed = again(|| server.get::<HandedIn>(&format!("apps/{app}/handed/{id}")))?;
        if handed.refused.is_some() {
            return Ok(handed.refused);
        }
        pause(until, || {
            format!(
                "{app} {version} was handed in and is not registered yet: the server's journal says what it waits for"
            )
        })?;
    }
}

fn upload(
    server: &Server,
    app: &AppName,
    index: &Digest,
    packed: &Packed,
    bundle: &Path,
    tell: &mut dyn FnMut(Progress),
) -> Result<u64, Error> {
    let file = File::open(bundle).map_err(failed("open", bundle))?;
    let ranges = ranges(packed)?;
    let mut sent = 0;
    // What is lacking is asked anew after each try: the server knows best what reached it.
    for _ in 0..TRIES {
        let lacking: LackingAnswer =
            again(|| server.put(&format!("apps/{app}/uploads/{index}"), &packed.index))?;
        if lacking.lacking.is_empty() {
            return Ok(sent);
        }
        let total = sent + lacking.bytes;
        let mut failure = None;
        for [first, end] in lacking.lacking {
            let mut at = first;
            while at < end && failure.is_none() {
                let (bytes, next) = piece(&file, &ranges, at, end, bundle)?;
                let path = format!("apps/{app}/uploads/{index}/blocks/{at}");
                match again(|| server.put::<serde_json::Value>(&path, &bytes)) {
                    Ok(_) => sent += u64::try_from(bytes.len()).unwrap_or(0),
                    Err(error) => failure = Some(error),
                }
                tell(Progress::Sent(sent, total));
                at = next;
            }
        }
        if let Some(error) = failure.filter(Error::is_refusal) {
            return Err(error);
        }
    }
    Err(Error::TimedOut(format!("the server still lacks blocks of {app} after {TRIES} tries")))
}

/// The bytes of blocks from `at` on, as many as fit one request, and the number after them.
fn piece(
    file: &File,
    ranges: &[(u64, u64)],
    at: u64,
    end: u64,
    bundle: &Path,
) -> Result<(Vec<u8>, u64), Error> {
    let of = |number: u64| ranges.get(usize::try_from(number).ok()?).copied();
    let start = of(at).map_or(0, |(start, _)| start);
    let (mut next, mut stop) = (at, start);
    while next < end
        && let Some((_, close)) = of(next)
        && (close - start <= REQUEST || next == at)
    {
        (next, stop) = (next + 1, close);
    }
    let mut bytes = vec![0; usize::try_from(stop - start).unwrap_or(0)];
    file.read_exact_at(&mut bytes, start).map_err(failed("read", bundle))?;
    Ok((bytes, next.max(at + 1)))
}

/// Where each block stands in the bundle, and then its end.
fn ranges(packed: &Packed) -> Result<Vec<(u64, u64)>, Error> {
    let blocks = bundle::blocks(&packed.index)?;
    let mut ranges: Vec<(u64, u64)> =
        blocks.iter().map(|block| (block.bytes.start, block.bytes.end)).collect();
    let end = ranges.last().map_or(0, |(_, end)| *end);
    ranges.push((end, packed.length));
    Ok(ranges)
}

fn registration(pushing: &Pushing, packed: &Packed) -> Registration {
    use tidelock_protocol::names::Artifact;
    let Pushing { app, version, platform, source, provenance, sbom, .. } = pushing;
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let index = (length(&packed.index), Digest::of(&packed.index));
    let extra = |kind, text: Option<String>| text.map(|text| Extra { kind, bytes: text.into_bytes() });
    let provenance = provenance.as_ref().map(ToString::to_string);
    let extras = [extra(Artifact::Provenance, provenance), extra(Artifact::Sbom, sbom.clone())];
    Registration {
        version: version.clone(),
        platform: platform.clone(),
        source: source.clone(),
        stored: Stored::new((app, version, platform), packed.tree, index, (packed.length, packed.sha256)),
        index: Content::Bytes(Vec::new()),
        bundle: Content::Bytes(Vec::new()),
        extras: extras.into_iter().flatten().collect(),
    }
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
    let mut reason = String::new();
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
        pause(until, || format!("{name} was not moved in time; it waits: {reason}"))?;
    }
}

fn pause(until: Instant, why: impl FnOnce() -> String) -> Result<(), Error> {
    if Instant::now() >= until {
        return Err(Error::TimedOut(why()));
    }
    std::thread::sleep(PAUSE);
    Ok(())
}

/// Tries again what did not get through, with longer and longer pauses.
fn again<T>(mut ask: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
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
