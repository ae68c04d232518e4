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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::setup;

    #[test]
    fn what_went_wrong_is_trouble_and_what_takes_its_time_is_not() {
        let troubles = [Reason::Expired, Reason::Clock, Reason::Disagreed { wanted: setup("one") }];
        assert!(troubles.iter().all(Reason::is_trouble));
        let others = [Reason::NoManifest, Reason::Queued, Reason::Tidying, Reason::Synced(setup("one"))];
        assert!(!others.iter().any(Reason::is_trouble));
    }

    #[test]
    fn a_reason_that_is_about_a_release_names_it() {
        let one = setup("one");
        assert_eq!(Reason::Disagreed { wanted: one.clone() }.setup(), Some(&one));
        assert_eq!(Reason::Expired.setup(), None);
    }
}
