//! What can go wrong with an answer, by kind: refused is not timed out is not a certificate.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::shown;

/// A question that got no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL of the settings cannot be used.
    #[error("cannot use {url} as the publisher's address: {reason}")]
    Address {
        /// The URL, without secrets.
        url: String,
        /// Why.
        reason: &'static str,
    },
    /// A file that the connection needs.
    #[error("cannot {what} {path}")]
    Setup {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What was found.
        #[source]
        source: io::Error,
    },
    /// The question itself.
    #[error("cannot get {url}: {kind}")]
    Get {
        /// What was asked, without secrets.
        url: String,
        /// What happened.
        kind: Kind,
        /// What the layer below said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// What happened to a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Kind {
    /// The host's name has no address now.
    #[error("the host's name cannot be resolved")]
    Host,
    /// Nobody listens there.
    #[error("the connection was refused")]
    Refused,
    /// A deadline passed.
    #[error("no answer in time")]
    TimedOut,
    /// Bytes came, too slowly to be worth waiting for.
    #[error("the answer came slower than the minimum speed")]
    Slow,
    /// No secure connection: certificates, mostly.
    #[error("no secure connection (TLS)")]
    Tls,
    /// The connection ended early.
    #[error("the connection ended before the answer did")]
    Cut,
    /// A status that is no answer.
    #[error("the server answered with status {code}")]
    Status {
        /// The status.
        code: u16,
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// A redirect that is not followed.
    #[error("{0}")]
    Redirect(&'static str),
    /// The body is encoded although plain bytes were asked for.
    #[error("the answer came as {0} although plain bytes were asked for: a proxy re-encodes; tell it not to")]
    Encoded(String),
    /// Another part than the one asked for.
    #[error("the server sent another part of the file than was asked for")]
    Range,
    /// More bytes than the limit.
    #[error("the answer is longer than {limit} bytes, which is the most that is read here")]
    TooLong {
        /// The limit.
        limit: u64,
    },
    /// Not HTTP, or headers without end.
    #[error("the answer is not proper HTTP")]
    Protocol,
    /// Another failure of the network.
    #[error("the network failed")]
    Network,
}

impl Error {
    pub(super) fn setup(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Setup { what, path: path.to_owned(), source }
    }

    pub(super) fn get(url: &str, kind: Kind) -> Self {
        Self::Get { url: shown(url), kind, source: None }
    }

    pub(super) fn from_ureq(url: &str, found: ureq::Error) -> Self {
        let kind = match &found {
            ureq::Error::Io(error) => of_io(error.kind()),
            ureq::Error::Timeout(_) => Kind::TimedOut,
            ureq::Error::HostNotFound => Kind::Host,
            ureq::Error::Other(inner) if inner.is::<Unresolved>() => Kind::Host,
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::TlsRequired => Kind::Tls,
            ureq::Error::Protocol(_)
            | ureq::Error::Http(_)
            | ureq::Error::BadUri(_)
            | ureq::Error::LargeResponseHeader(..)
            | ureq::Error::BodyStalled => Kind::Protocol,
            _ => Kind::Network,
        };
        Self::Get { url: shown(url), kind, source: Some(Box::new(found)) }
    }

    /// What a reader of a [`super::Body`] was told, with its kind.
    pub fn from_io(url: &str, error: io::Error) -> Self {
        let other = |error: io::Error| match error.downcast::<ureq::Error>() {
            Ok(found) => Self::from_ureq(url, found),
            Err(error) => {
                Self::Get { url: shown(url), kind: of_io(error.kind()), source: Some(Box::new(error)) }
            }
        };
        error.downcast::<Self>().unwrap_or_else(other)
    }

    /// What happened to the question; `None` where none was asked because the settings cannot be used.
    pub fn kind(&self) -> Option<&Kind> {
        match self {
            Self::Get { kind, .. } => Some(kind),
            Self::Address { .. } | Self::Setup { .. } => None,
        }
    }

    /// How long the server asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.kind()? {
            Kind::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A name that the system could not resolve.
#[derive(Debug, thiserror::Error)]
#[error("name resolution failed")]
pub(super) struct Unresolved(#[source] pub(super) io::Error);

fn of_io(kind: io::ErrorKind) -> Kind {
    match kind {
        io::ErrorKind::ConnectionRefused => Kind::Refused,
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Kind::TimedOut,
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => Kind::Cut,
        // rustls reports a peer that breaks the rules of TLS so.
        io::ErrorKind::InvalidData => Kind::Tls,
        _ => Kind::Network,
    }
}
