//! Errors at the edge: the chain as one text, and the exit code.

use super::Exit;
use super::init;
use crate::{git, publish, turn};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `init`
    #[error(transparent)]
    Init(#[from] init::Error),
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
            Self::Init(_) => Exit::Error,
            Self::Published(error) | Self::Turn(turn::Error::Publish(error)) => match error {
                publish::Error::Busy { .. } => Exit::Busy,
                publish::Error::ClockBehind { .. } => Exit::Refused,
                _ => Exit::Error,
            },
            Self::Turn(turn::Error::ClockUnsynchronised { .. } | turn::Error::Rewritten { .. }) => {
                Exit::Refused
            }
            Self::Turn(turn::Error::Git(git::Error::TimedOut { .. })) => Exit::Timeout,
            Self::Turn(_) => Exit::Error,
        }
    }
}

/// An error with its causes, on one line where each is one.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
