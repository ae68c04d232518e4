//! What time it is: the rule of the floor, for boards that boot in 1970 and for clocks that somebody moved.
//!
//! The floor comes from signatures and from the build, never from the system clock: a clock that was once wrong must not
//! be remembered. Never here: reading a clock (`io/clock`), keeping the floor (`io/refresh`).

use std::time::Duration;

use tidelock_protocol::time::{Now, Timestamp};

/// What the machine's clocks said at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The system's civil time, right or wrong.
    pub civil: Timestamp,
    /// Time since the machine booted.
    pub boot: Duration,
    /// Whether a time service has set the system's clock.
    pub synchronised: bool,
}

/// A point in time that has certainly passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// That point.
    pub at: Timestamp,
    /// Time since boot when it was learnt; zero when that was before this boot.
    pub learnt: Duration,
}

impl Floor {
    /// What is known without any signature: this program was built, at the latest, from a commit of that time.
    pub fn of_build() -> Self {
        let epoch = option_env!("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok()).unwrap_or(0);
        Self { at: Timestamp::from_unix(epoch), learnt: Duration::ZERO }
    }

    /// The later of the two.
    pub fn or_later(self, other: Self) -> Self {
        if other.at > self.at { other } else { self }
    }

    /// The time that a turn is judged by: a synchronised clock, but never before the floor; otherwise the floor and the
    /// time that has passed since it was learnt.
    pub fn now(self, reading: Reading) -> Now {
        let Reading { civil, boot, synchronised } = reading;
        let wall = if synchronised {
            civil.max(self.at)
        } else {
            // A clock that nobody keeps may be years ahead as well as behind: it is not asked at all.
            self.at.after(boot.saturating_sub(self.learnt))
        };
        Now { wall, boot, trusted: synchronised }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Floor = Floor { at: Timestamp::from_unix(1_000_000), learnt: Duration::from_secs(50) };

    fn wall(civil: i64, boot: u64, synchronised: bool) -> i64 {
        let civil = Timestamp::from_unix(civil);
        FLOOR.now(Reading { civil, boot: Duration::from_secs(boot), synchronised }).wall.unix()
    }

    #[test]
    fn a_synchronised_clock_counts_and_never_goes_below_the_floor() {
        assert_eq!(wall(2_000_000, 60, true), 2_000_000);
        assert_eq!(wall(10, 60, true), 1_000_000);
    }

    #[test]
    fn an_unsynchronised_clock_is_not_asked_whether_it_is_behind_or_ahead() {
        for civil in [0, 10, 1_000_005, 4_000_000_000] {
            assert_eq!(wall(civil, 50, false), 1_000_000);
            assert_eq!(wall(civil, 110, false), 1_000_060);
            assert_eq!(wall(civil, 40, false), 1_000_000, "a boot clock that went back adds nothing");
        }
    }

    #[test]
    fn the_later_floor_wins() {
        let later = Floor { at: Timestamp::from_unix(1_000_001), learnt: Duration::ZERO };
        assert_eq!(FLOOR.or_later(later), later);
        assert_eq!(later.or_later(FLOOR), later);
        // Heard again, the same word would set a clock that nobody keeps back to it.
        let again = Floor { learnt: Duration::from_secs(99), ..FLOOR };
        assert_eq!(FLOOR.or_later(again), FLOOR);
    }
}
