//! Errors at the edge: their exit codes.

use super::Exit;
use super::{init, promote, serving};
use crate::{git, publish, turn};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `init`
    #[error(transparent)]
    Init(#[from] init::Error),
    /// `serve`
    #[error(transparent)]
    Serving(#[from] serving::Error),
    /// `promote`
    #[error(transparent)]
    Promote(#[from] promote::Error),
    /// A turn.
    #[error(transparent)]
    Turn(#[from] turn::Error),
    /// `expiring`
    #[error(transparent)]
    Published(#[from] publish::Error),
}

impl Error {
    /// What the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Serving(serving::Error::Missing { .. }) => Exit::Usage,
            Self::Init(_) | Self::Serving(_) | Self::Promote(_) => Exit::Error,
            Self::Published(error) | Self::Turn(turn::Error::Publish(error)) => match error {
                publish::Error::Busy { .. } => Exit::Busy,
                publish::Error::ClockBehind { .. } => Exit::Refused,
                _ => Exit::Error,
            },
            Self::Turn(
                turn::Error::ClockUnsynchronised { .. }
                | turn::Error::Rewritten { .. }
                | turn::Error::Unsigned { .. },
            ) => Exit::Refused,
            Self::Turn(turn::Error::Git(git::Error::TimedOut { .. })) => Exit::Timeout,
            Self::Turn(_) => Exit::Error,
        }
    }
}
