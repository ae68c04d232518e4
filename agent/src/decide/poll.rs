//! When to ask again: spread over the fleet, later after failures, never in step with other devices.
//!
//! Never here: randomness (a seed comes in), a clock, the asking itself.

use std::time::Duration;

use tidelock_protocol::digest::Digest;

/// Longest time between two polls of a publisher that fails, unless the owner set a longer interval.
const LONGEST: Duration = Duration::from_secs(3600);
/// Longest `Retry-After` that is honoured.
const LONGEST_WORD: Duration = Duration::from_secs(24 * 3600);
/// Bounds of the first pause after a failure; an eighth of the interval in between.
const FIRST: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// How the last poll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// With an answer, news or none.
    Answered,
    /// Without.
    Failed {
        /// How often in a row, this one included.
        failures: u32,
        /// What the publisher asked for, by `Retry-After`.
        retry_after: Option<Duration>,
    },
}

/// A number that is this device's own and always the same, from its id.
pub fn seed(id: &str) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&Digest::of(id.as_bytes()).as_bytes()[..8]);
    u64::from_be_bytes(first)
}

/// What a device knows when its daemon begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knows {
    /// What its environment wants, from a poll before.
    Wish,
    /// Nothing: it has just joined, and somebody stands before it.
    Nothing,
}

/// How long to wait before the first poll of a process: a place in the interval that is the device's own, so that
/// devices that get power at the same moment do not ask at the same moment; not at all where nothing is known yet.
pub fn first(every: Duration, device: u64, knows: Knows) -> Duration {
    match knows {
        Knows::Wish => share(every, device),
        Knows::Nothing => Duration::ZERO,
    }
}

/// How long to wait from now (`boot` is the time since the machine booted) until the next poll.
///
/// Answered: until the device's own place in the next interval, so that an outage which all devices met leaves no
/// echo, and up to a twentieth later. Failed: a pause that doubles, from half of it to all of it by
/// `chance`; a `Retry-After` is a lower bound, and is spread over one interval more since all devices read the same.
pub fn pause(polled: Polled, every: Duration, boot: Duration, device: u64, chance: u64) -> Duration {
    match polled {
        Polled::Answered => {
            let place = share(every, device);
            let until = remainder(every + place - remainder(boot, every), every);
            // Two polls are never closer than half an interval: the place just ahead is then the next one but one.
            let until = if until < every / 2 { until + every } else { until };
            until + share(every / 20, chance)
        }
        Polled::Failed { failures, retry_after } => {
            let base = (every / 8).clamp(FIRST.0, FIRST.1);
            let own = backoff((base, LONGEST.max(every)), failures, chance);
            match retry_after {
                Some(asked) => own.max(asked.min(LONGEST_WORD) + share(every, chance)),
                None => own,
            }
        }
    }
}

/// A pause that doubles with each failure in a row (1: the first), from `first` up to `most`; half of it is fixed,
/// half is spread by `seed`.
pub fn backoff((first, most): (Duration, Duration), failures: u32, seed: u64) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let whole = doubled.min(most);
    let mixed = seed ^ u64::from(failures).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    whole / 2 + share(whole / 2, mixed.wrapping_mul(0xff51_afd7_ed55_8ccd))
}

/// The part of `whole` that `number` stands for, in [0, whole).
fn share(whole: Duration, number: u64) -> Duration {
    let millis = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX);
    let part = (u128::from(millis) * u128::from(number)) >> 64;
    Duration::from_millis(u64::try_from(part).unwrap_or(0))
}

fn remainder(time: Duration, every: Duration) -> Duration {
    let millis = time.as_millis() % every.as_millis().max(1);
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(300);

    fn devices() -> impl Iterator<Item = u64> {
        (0..2_000).map(|number| seed(&format!("device {number}")))
    }

    fn failed(failures: u32, retry_after: Option<u64>, chance: u64) -> Duration {
        let retry_after = retry_after.map(Duration::from_secs);
        pause(Polled::Failed { failures, retry_after }, EVERY, Duration::ZERO, 0, chance)
    }

    #[test]
    fn devices_that_boot_together_spread_over_the_interval() {
        let mut tenths = [0; 10];
        for device in devices() {
            let tenth = first(EVERY, device, Knows::Wish).as_secs() / 30;
            tenths[usize::try_from(tenth).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (140..260).contains(count)), "{tenths:?}");
        let place = || first(EVERY, seed("a"), Knows::Wish);
        assert_eq!(place(), place(), "a place is kept");
        assert!(devices().all(|device| first(EVERY, device, Knows::Nothing).is_zero()));
    }

    #[test]
    fn after_an_outage_each_device_is_back_at_its_own_place() {
        for device in devices() {
            for boot in [0, 1, 150, 299, 300, 12_345].map(Duration::from_secs) {
                let wait = pause(Polled::Answered, EVERY, boot, device, 0);
                assert!(wait >= EVERY / 2 && wait <= EVERY + EVERY / 2, "{wait:?}");
                let into = (boot + wait).as_millis() % EVERY.as_millis();
                assert_eq!(into, first(EVERY, device, Knows::Wish).as_millis());
                let late = pause(Polled::Answered, EVERY, boot, device, u64::MAX);
                assert!(late > wait && late <= wait + EVERY / 20);
            }
        }
    }

    #[test]
    fn half_an_interval_is_far_enough_from_the_last_poll() {
        for device in devices() {
            let half_before = first(EVERY, device, Knows::Wish) + EVERY / 2;
            assert_eq!(pause(Polled::Answered, EVERY, half_before, device, 0), EVERY / 2);
        }
    }

    #[test]
    fn devices_that_differ_in_one_bit_do_not_wait_alike() {
        for bit in 0..64 {
            assert_ne!(failed(7, None, 0), failed(7, None, 1 << bit), "bit {bit}");
            assert_ne!(failed(7, None, u64::MAX), failed(7, None, !(1 << bit)), "bit {bit}");
        }
    }

    #[test]
    fn failures_wait_longer_each_time_up_to_a_bound_and_not_in_step() {
        let whole = |failures: u32| Duration::from_millis(37_500) * 2_u32.pow(failures - 1);
        for failures in 1..=6 {
            let waits: Vec<Duration> = devices().map(|chance| failed(failures, None, chance)).collect();
            let (least, most) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
            assert!(
                least >= whole(failures) / 2 && most <= whole(failures),
                "{failures}: {least:?} {most:?}"
            );
            assert!(most - least > whole(failures) / 3, "{failures}: they echo");
        }
        for failures in [8, 31, 32, 33, 34, u32::MAX] {
            let wait = failed(failures, None, 7);
            assert!(wait >= LONGEST / 2 && wait <= LONGEST, "{failures}: {wait:?}");
        }
    }

    #[test]
    fn what_the_publisher_asks_for_is_a_lower_bound_within_a_day() {
        for chance in devices() {
            let wait = failed(1, Some(600), chance);
            assert!(wait >= Duration::from_secs(600) && wait < Duration::from_secs(600) + EVERY);
            assert!(failed(1, Some(u64::MAX), chance) < LONGEST_WORD + EVERY);
        }
        assert!(failed(7, Some(1), 0) >= LONGEST / 3, "it shortens nothing");
        assert!(failed(1, Some(86_400), 0) >= Duration::from_secs(86_400), "a whole day is honoured");
        assert!(failed(1, Some(600), u64::MAX) - failed(1, Some(600), 0) > EVERY / 2, "they echo");
    }

    #[test]
    fn the_first_pause_fits_the_interval() {
        let of = |every| {
            let polled = Polled::Failed { failures: 1, retry_after: None };
            pause(polled, Duration::from_secs(every), Duration::ZERO, 0, u64::MAX)
        };
        assert!(of(8) <= Duration::from_secs(5) && of(8) > Duration::from_secs(2));
        assert!(of(86_400) <= Duration::from_secs(60) && of(86_400) >= Duration::from_secs(30));
    }
}
