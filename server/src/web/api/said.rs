//! What goes out and comes in as JSON, and what is said when something is refused.

use std::collections::BTreeMap;

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tidelock_protocol::names::EnvironmentName;
use utoipa::ToSchema;

use crate::config::Owner;
use crate::store::{Push, PushState, Refusal};
use crate::turn::{self, EnvironmentView, Glass, Lacking, Refused, ReleaseView, Soak, UploadError};

/// Why something was not done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// For a person.
    error: String,
}

/// What an upload still lacks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LackingAnswer {
    /// The tree digest.
    tree: String,
    /// Blocks of the bundle; its end is one more piece, under this number.
    blocks: u64,
    /// The numbers of the pieces that are lacking, as ranges: first, and the one after the last.
    lacking: Vec<[u64; 2]>,
    /// Their bytes.
    bytes: u64,
    /// Files of those blocks that are here already, by their places in the listing, as ranges like `lacking`: such a block
    /// can be sent as parts, without them.
    held: Vec<[u64; 2]>,
}

/// How many pieces were taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stored {
    pub(super) stored: u64,
}

/// A release to be registered.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ReleaseWish {
    #[schema(pattern = "^[0-9a-z][0-9a-z._-]{0,63}$")]
    pub(super) version: String,
    #[schema(pattern = "^(any|linux-[a-z0-9]+)$")]
    pub(super) platform: String,
    /// The tree digest.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub(super) tree: String,
    /// SHA-256 of the index that began the upload.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub(super) index: String,
    /// What it was built from, such as a commit.
    pub(super) source: Option<String>,
    /// Who built it from what; published beside it.
    #[schema(value_type = Option<Object>)]
    pub(super) provenance: Option<serde_json::Value>,
    /// What it is made of: the text of a CycloneDX or SPDX file; published beside it.
    pub(super) sbom: Option<String>,
    /// The app's role with this release in it, signed by its builder.
    pub(super) role: Option<String>,
}

/// A release that was handed in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HandedIn {
    /// Its number until it is registered; none: it is.
    pub(super) id: Option<i64>,
    /// Why it will not be registered.
    pub(super) refused: Option<String>,
}

/// A registered version.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReleaseAnswer {
    /// Its builds, by platform.
    platforms: BTreeMap<String, Build>,
    /// The version that the next role of the app has.
    next_role: u64,
    /// The index of the app's newest build, by platform, as it is called in `targets/`: what is alike need not be packed.
    newest: BTreeMap<String, String>,
}

/// A registered build.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Build {
    /// The tree digest.
    tree: String,
    /// SHA-256 of the index as served.
    index: String,
    /// Its length.
    size: u64,
}

/// A commit that is not taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NotTaken {
    commit: String,
    /// Why, for a person.
    why: String,
}

/// An environment.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EnvironmentAnswer {
    /// `git` or `push`.
    owner: String,
    /// Grows with every change that is published; 0: none is.
    serial: u64,
    /// The commit that it was published from, where it is owned by git.
    commit: String,
    /// The versions that it wants, by app.
    apps: BTreeMap<String, Vec<String>>,
    /// What waits to be published, the oldest first.
    queue: Vec<Waiting>,
    /// The head of its branch that was taken last, whether it changed anything here or not.
    taken: Option<String>,
    /// The head of its branch, where it is not taken until somebody acts.
    not_taken: Option<NotTaken>,
}

/// A push that waits.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Waiting {
    id: i64,
    app: String,
    version: String,
    /// For what, where that is known.
    reason: String,
}

/// What `requires` and `soak` are judged by.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SoakAnswer {
    /// Since when each environment is published with which trees: the publisher's record.
    #[schema(value_type = Object)]
    pub(super) soak: Soak,
    /// Environments that need not wait for a while, and why.
    #[schema(value_type = Vec<Object>)]
    pub(super) glass: Vec<Glass>,
}

/// A wish for a release.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct PushWish {
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,62}$")]
    pub(super) app: String,
    #[schema(pattern = "^[0-9a-z][0-9a-z._-]{0,63}$")]
    pub(super) version: String,
    /// Where it comes from, such as the address of a CI run.
    pub(super) pipeline: Option<String>,
}

/// A push that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PushTaken {
    pub(super) id: i64,
    /// How many wait in this environment, this one included.
    pub(super) queue: usize,
}

/// What became of a push.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PushAnswer {
    state: Pushed,
    /// For what it waits, or why it was refused.
    reason: String,
    /// The serial of its environment, when it is published.
    serial: Option<u64>,
}

/// What became of a push.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Pushed {
    Waiting,
    Published,
    Superseded,
    Refused,
}

/// Why a request was not done.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    text: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, text: String) -> Self {
        Self { status, text }
    }

    pub(super) fn ours(text: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text.to_owned())
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        use StatusCode as S;
        let status = match &refused {
            Refused::Token(Refusal::Scope { .. }) | Refused::Owner(_) => S::FORBIDDEN,
            Refused::Token(_) => S::UNAUTHORIZED,
            Refused::Nowhere(_) | Refused::Upload(UploadError::Unknown(_) | UploadError::NoEarlier(_)) => {
                S::NOT_FOUND
            }
            Refused::Conflict(_) => S::CONFLICT,
            Refused::Upload(UploadError::Limit { .. }) => S::PAYLOAD_TOO_LARGE,
            Refused::Upload(UploadError::Io { .. }) => S::INTERNAL_SERVER_ERROR,
            Refused::Upload(_) => S::BAD_REQUEST,
            Refused::Early => S::SERVICE_UNAVAILABLE,
            Refused::Store(_) | Refused::Published(_) | Refused::State(_) => S::INTERNAL_SERVER_ERROR,
        };
        let text = turn::chain(&refused);
        if status == S::INTERNAL_SERVER_ERROR {
            log::error!("a request of a pipeline failed: {text}");
            return Self::ours("the server failed; its journal says why");
        }
        Self { status, text }
    }
}

/// The answer when something is not done.
pub(super) fn failed(failure: &Failure) -> Response {
    let problem = Problem { error: failure.text.clone() };
    let mut response = super::answer(failure.status, serde_json::to_string(&problem).unwrap_or_default());
    match failure.status {
        StatusCode::UNAUTHORIZED => {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}

impl LackingAnswer {
    pub(super) fn of(lacking: Lacking) -> Self {
        let Lacking { tree, blocks, numbers, bytes, held } = lacking;
        Self { tree: tree.to_string(), blocks, lacking: ranges(numbers), bytes, held: ranges(held) }
    }
}

/// Rising numbers as ranges: first, and the one after the last.
fn ranges(numbers: Vec<u64>) -> Vec<[u64; 2]> {
    let mut ranges: Vec<[u64; 2]> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some([_, end]) if *end == number => *end += 1,
            _ => ranges.push([number, number + 1]),
        }
    }
    ranges
}

impl Build {
    fn of(build: &tidelock_protocol::desired::Build) -> Self {
        let tidelock_protocol::desired::Build { tree, index } = build;
        Self { tree: tree.to_string(), index: index.sha256.to_string(), size: index.length }
    }
}

impl ReleaseAnswer {
    pub(super) fn of(view: &ReleaseView) -> Self {
        let builds = view.builds.iter();
        let newest = view.newest.iter();
        Self {
            platforms: builds.map(|one| (one.platform.to_string(), Build::of(&one.stored.build()))).collect(),
            next_role: view.next_role,
            newest: newest.map(|one| (one.platform.to_string(), one.stored.index_file())).collect(),
        }
    }
}

impl EnvironmentAnswer {
    pub(super) fn of(view: EnvironmentView) -> Self {
        let EnvironmentView { owner, desired, taken, not_taken, queue } = view;
        let not_taken = not_taken.map(|turn::NotTaken { commit, why }| NotTaken { commit, why });
        let owner = match owner {
            Owner::Git => "git",
            Owner::Push => "push",
        };
        let apps = desired.iter().flat_map(|desired| &desired.apps).map(|(app, choices)| {
            let versions = choices.iter().map(|choice| choice.stable.version.to_string());
            (app.to_string(), versions.collect())
        });
        let apps = apps.collect();
        let waiting = queue.into_iter().map(|push| Waiting {
            id: push.id,
            app: push.push.app.to_string(),
            version: push.push.version.to_string(),
            reason: match push.state {
                PushState::Waiting(reason) => reason,
                _ => String::new(),
            },
        });
        Self {
            owner: owner.into(),
            serial: desired.as_ref().map_or(0, |desired| desired.serial),
            commit: desired.as_ref().map(|desired| desired.source.commit.clone()).unwrap_or_default(),
            apps,
            queue: waiting.collect(),
            taken,
            not_taken,
        }
    }
}

impl PushAnswer {
    /// A number is of one environment.
    pub(super) fn of(push: Push, environment: &EnvironmentName) -> Result<Self, Failure> {
        if push.push.environment != *environment {
            return Err(Refused::Nowhere(format!("{environment} has no push {}", push.id)).into());
        }
        Ok(match push.state {
            PushState::Waiting(reason) => Self { state: Pushed::Waiting, reason, serial: None },
            PushState::Refused(reason) => Self { state: Pushed::Refused, reason, serial: None },
            PushState::Superseded => Self { state: Pushed::Superseded, reason: String::new(), serial: None },
            PushState::Published(serial) => {
                Self { state: Pushed::Published, reason: String::new(), serial: Some(serial) }
            }
        })
    }
}
