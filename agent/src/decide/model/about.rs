//! What a reason is about, for whoever logs it: a release, and whether something went wrong.
//!
//! Never here: the words of it (`reason`).

use super::{Reason, Setup};

impl Reason {
    /// Whether something went wrong, and not only takes its time or was wished for.
    pub const fn is_trouble(&self) -> bool {
        matches!(
            self,
            Self::AgentTooOld { .. }
                | Self::Platform { .. }
                | Self::Disagreed { .. }
                | Self::BelowFloor { .. }
                | Self::Expired
                | Self::Clock
                | Self::Refused(_)
                | Self::BackingOff { .. }
                | Self::Disk { .. }
                | Self::Unavailable { .. }
                | Self::Fetch { .. }
                | Self::GoingBack { .. }
                | Self::Drifted { .. }
                | Self::Down { .. }
                | Self::Degraded { .. }
        )
    }

    /// The release that it is about, where it is about one.
    pub const fn setup(&self) -> Option<&Setup> {
        match self {
            Self::Synced(setup)
            | Self::Installing(setup)
            | Self::Trying(setup)
            | Self::Restoring(setup)
            | Self::Disagreed { wanted: setup }
            | Self::BackingOff { setup, .. }
            | Self::GoingBack { from: setup, .. }
            | Self::Down { setup, .. }
            | Self::Settings(setup)
            | Self::Degraded { setup, .. } => Some(setup),
            Self::Refused(refusal) => Some(&refusal.setup),
            _ => None,
        }
    }
}
