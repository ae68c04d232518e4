//! What the publisher sees at the start of a turn: the clock, the keys at hand, and what is published.
//!
//! Never here: a judgement of it. The one place of this program that asks for the time.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use tidelock_protocol::time::Timestamp;

use crate::keys::{self, Keyring};
use crate::publish::{self, Published};

/// The clock of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// What it says.
    pub now: Timestamp,
    /// Whether the kernel holds it to be synchronised.
    pub is_synchronised: bool,
}

/// What a turn is decided by, besides the fleet repository.
pub struct Seen {
    /// The keys at hand.
    pub keyring: Keyring,
    /// What is published.
    pub published: Published,
    /// The time of the turn; everything in it is judged by this.
    pub clock: Clock,
}

/// Looks at keys and repository; the caller holds the repository's lock.
///
/// # Errors
/// Keys that cannot be used, or a repository that is damaged.
pub fn look(keys: &Path, out: &Path) -> Result<Seen, Trouble> {
    let keyring = Keyring::read(keys).map_err(Trouble::Keys)?;
    let published = Published::read(out).map_err(Trouble::Published)?;
    Ok(Seen { keyring, published, clock: clock() })
}

/// What cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The keys.
    #[error("cannot use the keys")]
    Keys(#[source] keys::Error),
    /// The repository.
    #[error("cannot read what is published")]
    Published(#[source] publish::Error),
}

/// The clock, in whole seconds.
pub fn clock() -> Clock {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Clock { now: Timestamp::from_unix(seconds), is_synchronised: is_synchronised() }
}

#[expect(unsafe_code, reason = "adjtimex has no safe wrapper; it only fills the struct that it is given")]
fn is_synchronised() -> bool {
    let mut time = std::mem::MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all bytes zero is a valid `timex` that asks to change nothing, and the kernel writes within it.
    let state = unsafe { libc::adjtimex(time.as_mut_ptr()) };
    state >= 0 && state != libc::TIME_ERROR
}
