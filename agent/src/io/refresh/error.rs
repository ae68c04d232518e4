//! Why there is no news, by kind: unreachable is not expired is not unverified.

use std::path::PathBuf;
use std::time::Duration;

use tidelock_protocol::release::Disagreement;
use tidelock_protocol::{desired, trust};

use crate::io::{disk, http};

/// What kept a walk from its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No answer.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// The publisher does not have a file that its own metadata names, or no timestamp at all.
    #[error("the publisher has no {path}")]
    Missing {
        /// Where, below its base URL.
        path: String,
    },
    /// A web page came instead of metadata.
    #[error("{path} is a web page: a captive portal, a login page or a wrong address answers")]
    WebPage {
        /// What was asked.
        path: String,
    },
    /// An answer that is not believed.
    #[error("{path} is not believed")]
    Trust {
        /// What was asked.
        path: String,
        /// The rule that it breaks.
        #[source]
        source: trust::Error,
    },
    /// The delegations do not lead to a file that a tidelock repository has.
    #[error("no role that may do so names {name}")]
    Nowhere {
        /// The target.
        name: String,
    },
    /// A role that may not do so names it.
    #[error("{name} is named by role {found:?}, and not by {expected:?}")]
    WrongRole {
        /// The target.
        name: String,
        /// Who names it.
        found: String,
        /// Who should.
        expected: String,
    },
    /// Signed as it should be, and not to be applied.
    #[error("the desired state cannot be applied")]
    Desired(#[source] desired::Error),
    /// The environment and the app's role do not agree on a build.
    #[error("the wanted release is not taken")]
    Disagreement(#[source] Disagreement),
    /// This device's own disk.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A file of the trust store.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is no trusted root to begin from.
    #[error("there is no trusted root in {directory}: run `tidelock join` first")]
    NoTrust {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// `join`: no published root has the digest that was given.
    #[error("none of the roots 1 to {last} at the publisher has the SHA-256 {wanted}")]
    NoSuchRoot {
        /// The newest that was looked at.
        last: u64,
        /// The digest looked for.
        wanted: String,
    },
}

/// What a failure means for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Network or server: later it may work.
    Unreachable,
    /// Everything is in order but old: nothing new may be entered, and somebody may be holding news back.
    Expired,
    /// Something is wrong with what came: an attack, a broken mirror, a mistake of the publisher.
    Unverified,
    /// The publisher's parties do not agree; the device is well.
    Disagreed,
    /// This device's own disk or settings.
    Local,
}

impl Failure {
    /// What it means for a device.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Http(error) if error.kind().is_some() => Kind::Unreachable,
            Self::Missing { .. } | Self::WebPage { .. } => Kind::Unreachable,
            Self::Trust { source, .. } if source.is_expiry() => Kind::Expired,
            Self::Trust { .. } | Self::Nowhere { .. } | Self::WrongRole { .. } | Self::Desired(_) => {
                Kind::Unverified
            }
            Self::NoSuchRoot { .. } => Kind::Unverified,
            Self::Disagreement(_) => Kind::Disagreed,
            Self::Http(_) | Self::Disk(_) | Self::Read { .. } | Self::NoTrust { .. } => Kind::Local,
        }
    }

    /// Whether the publisher was there, and did not answer in time.
    pub fn is_timeout(&self) -> bool {
        let Self::Http(error) = self else { return false };
        matches!(error.kind(), Some(http::Kind::TimedOut | http::Kind::Slow))
    }

    /// How long the server asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Http(error) => error.retry_after(),
            _ => None,
        }
    }
}
