//! The machine's clocks: civil time, time since boot, and whether somebody keeps civil time right.
//!
//! Never here: what to make of them (the rule of the floor is `decide/clock`). Nothing else in the agent reads a clock.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tidelock_protocol::time::Timestamp;

use crate::decide::clock::Reading;

/// What the machine's clocks say at this moment.
pub fn read() -> Reading {
    let (civil, synchronised) = civil();
    Reading { civil, boot: since_boot(), synchronised }
}

/// Time since the machine booted, sleep included; it never jumps.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0)) * speed()
}

/// How long the system has to wait until `time` has passed.
pub fn wait(time: Duration) -> Duration {
    time / speed()
}

#[cfg(not(feature = "test-clock"))]
const fn speed() -> u32 {
    1
}

/// In suites time passes as many times faster as `TIDELOCK_TEST_SPEED` says: an hour's outage in seconds.
#[cfg(feature = "test-clock")]
fn speed() -> u32 {
    let told = std::env::var("TIDELOCK_TEST_SPEED").ok().and_then(|speed| speed.parse().ok());
    told.unwrap_or(1).max(1)
}

/// Has the kernel end this process after `time`, whatever program it runs by then; none: not any more.
#[expect(unsafe_code, reason = "alarm has no safe wrapper in rustix; one call with one number")]
pub fn alarm(time: Option<Duration>) {
    let seconds = time.map_or(0, |time| wait(time).as_secs().max(1));
    // SAFETY: it takes a number and touches no memory.
    unsafe { libc::alarm(u32::try_from(seconds).unwrap_or(u32::MAX)) };
}

/// What the kernel calls this boot; another one after every restart. `None` where it does not say.
pub fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

#[cfg(not(feature = "test-clock"))]
fn civil() -> (Timestamp, bool) {
    (system(), kernel_says_synchronised())
}

/// In suites the clock is a file with one line, such as `1970-01-01T00:00:10Z unsynchronised`; it may change while the
/// agent runs. Without it, or with anything else in it, the machine's clock counts.
#[cfg(feature = "test-clock")]
fn civil() -> (Timestamp, bool) {
    let line = std::env::var_os("TIDELOCK_TEST_CLOCK").and_then(|path| std::fs::read_to_string(path).ok());
    let told = line.as_deref().and_then(|line| {
        let (time, state) = line.trim().split_once(' ')?;
        Some((time.parse().ok()?, state == "synchronised"))
    });
    told.unwrap_or_else(|| (system(), kernel_says_synchronised()))
}

fn system() -> Timestamp {
    Timestamp::from_unix(clock_gettime(ClockId::Realtime).tv_sec)
}

/// Whether a time service (chrony, ntpd, timesyncd: any that tells the kernel) has set the clock: `adjtimex` without
/// `STA_UNSYNC`. A refusal of the call (a strict sandbox) reads as "no", which only makes the floor count.
#[expect(
    unsafe_code,
    reason = "adjtimex has no safe wrapper in rustix; one call, on a zeroed struct of our own"
)]
fn kernel_says_synchronised() -> bool {
    // SAFETY: `timex` is plain integers, for which all zeroes is a value; modes = 0 only reads. The pointer is to a
    // live, exclusively borrowed struct of the size that the call expects.
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        let state = libc::adjtimex(&raw mut timex);
        (state, timex.status)
    };
    state >= 0 && status & libc::STA_UNSYNC == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_of_this_machine_are_read() {
        let first = read();
        let second = read();
        assert!(first.civil > "2025-01-01T00:00:00Z".parse().unwrap());
        assert!(first.boot > Duration::ZERO);
        assert!(second.boot >= first.boot);
    }
}
