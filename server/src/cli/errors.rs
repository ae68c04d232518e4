//! Errors at the edge: their exit codes.

use super::Exit;
use super::{init, promote, serving};
use crate::{git, keys, pipeline, publish, store, turn};

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
    /// `push` and `wait`
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    /// `token`
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A secret that cannot be made.
    #[error(transparent)]
    Keys(#[from] keys::Error),
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
            Self::Pipeline(pipeline::Error::NoToken) => Exit::Usage,
            Self::Pipeline(pipeline::Error::TimedOut(_)) => Exit::Timeout,
            Self::Pipeline(error) if error.is_refusal() => Exit::Refused,
            Self::Pipeline(_) | Self::Store(_) | Self::Keys(_) => Exit::Error,
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
