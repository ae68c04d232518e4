//! The published tree over HTTP or HTTPS: the router page, and what a server of it is told.
//!
//! Never here: what is published or when (`publish`, `turn`). Whatever this room does, any static server can do: nothing
//! that keeps a device safe depends on it.

mod answer;
mod api;
mod body;
mod connections;
mod patience;
mod published;
mod range;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path as Segment, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use axum::routing::get;

use crate::turn::Desk;

pub use connections::Web;
pub use published::Published;

/// Every address that is answered. Two flat directories and nothing else: there is no listing, and no path to climb.
fn router(root: &Path, desk: Option<Desk>) -> Router {
    let files = Router::new()
        .route("/metadata/{name}", get(metadata))
        .route("/targets/{name}", get(target))
        .fallback(nothing_here)
        .with_state(Arc::from(root));
    match desk {
        Some(desk) => files.merge(api::router(desk)),
        None => files,
    }
}

async fn metadata(
    State(root): State<Arc<Path>>,
    method: Method,
    Segment(name): Segment<String>,
    asked: HeaderMap,
) -> Response {
    answer::to(root, &method, Published::metadata(&name), asked).await
}

async fn target(
    State(root): State<Arc<Path>>,
    method: Method,
    Segment(name): Segment<String>,
    asked: HeaderMap,
) -> Response {
    answer::to(root, &method, Published::target(&name), asked).await
}

async fn nothing_here() -> Response {
    answer::missing(None)
}

/// What to serve, where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory that holds `metadata/` and `targets/`; it may still be missing.
    pub root: PathBuf,
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// With it HTTPS, without it HTTP.
    pub certificate: Option<Certificate>,
    /// How much of this machine strangers may occupy.
    pub limits: Limits,
    /// Where pipelines hand things in; none: nothing is taken.
    pub desk: Option<Desk>,
}

/// A certificate chain and its key, both PEM; read again when the files change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The chain, the server's own certificate first.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How much of this machine strangers may occupy.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once. At the limit those that rest are closed, and new ones wait in the kernel's queue.
    pub connections: usize,
    /// From the first byte of a request (of a new connection: from its start, TLS included) to the end of its head.
    pub head: Duration,
    /// How long a connection may rest between two requests: longer than a device's poll interval, so that its
    /// connection is still there at the next poll.
    pub rest: Duration,
    /// How long a client may take nothing of an answer.
    pub stall: Duration,
    /// Slowest download that is served, in bytes per second, after a first minute.
    pub speed: u64,
    /// How long answers under way may take after the stop was asked for.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: connections::affordable(),
            head: Duration::from_secs(10),
            rest: Duration::from_secs(400),
            stall: Duration::from_secs(30),
            speed: 256,
            farewell: Duration::from_secs(10),
        }
    }
}

/// The server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error("cannot serve HTTPS")]
    Certificate(#[source] CertificateError),
}

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file is missing, unreadable or not PEM.
    #[error("cannot read {what} from {path}")]
    Read {
        /// Which of the two.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What was found.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// There is no certificate in the file.
    #[error("no certificate in {0}: expected a PEM chain, the server's own certificate first")]
    Empty(PathBuf),
    /// The key is of a kind that TLS here does not know, or belongs to another certificate.
    #[error("the key in {key} does not fit the certificate in {chain}")]
    Pair {
        /// The chain.
        chain: PathBuf,
        /// The key.
        key: PathBuf,
        /// What was found.
        #[source]
        source: rustls::Error,
    },
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}
