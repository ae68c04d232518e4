//! Reasons: stable codes for why an app is where it is, with the values that a person needs.
//!
//! Never here: a reason that nothing produces.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use tidelock_protocol::names::{AppName, Platform};
use tidelock_protocol::time::Timestamp;

use super::device::Space;
use super::records::{Cause, Hold, Pin, Refusal, Setup, Until};

/// Why every app is where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Why {
    /// One reason per app.
    pub apps: BTreeMap<AppName, Reason>,
}

/// Why an app is where it is, or moves; each with what it means, and then what a person does about it. The suite makes
/// `docs/reasons.md` of these words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It is what the environment wants, and committed.
    ///
    /// Nothing.
    Synced(Setup),
    /// No verified desired state is stored.
    ///
    /// Let the device poll once (`tidelock update`); if that fails, `tidelock doctor` says how far it came.
    NoManifest,
    /// The environment wants no such app on this device.
    ///
    /// Nothing; name it in `environments/<name>.toml`, or give the device the label that the app asks for.
    NotWanted,
    /// The environment wants it here no more: it is stopped, and could come back.
    ///
    /// Nothing, or name the app again: what is here comes back at once.
    Orphan {
        /// Since when.
        since: Timestamp,
        /// When it is deleted; none: the environment does not say that it should be.
        until: Option<Timestamp>,
    },
    /// The desired state needs words that this agent does not know.
    ///
    /// Update the agent; until then this app stays what it is.
    AgentTooOld {
        /// The words.
        unknown: BTreeSet<String>,
    },
    /// The wanted release has no build that runs here.
    ///
    /// Publish a build for this platform, or do not want the app here.
    Platform {
        /// This device's.
        own: Platform,
    },
    /// The environment and the app's role do not name the same index.
    ///
    /// Look whether environment and app were published together; publish again. Seen for long, somebody may be tampering.
    Disagreed {
        /// What the environment wants.
        wanted: Setup,
    },
    /// The wanted release was registered before the signed floor.
    ///
    /// Want a newer release, or lower the signed `floor` of the app.
    BelowFloor {
        /// Its counter.
        counter: u64,
        /// The lowest that may be entered.
        floor: u64,
    },
    /// The metadata expired: nothing new may be entered.
    ///
    /// Let the publisher sign anew; look whether the device gets what it signs. What runs goes on meanwhile.
    Expired,
    /// The metadata seems to have expired, but the clock is not synchronised.
    ///
    /// Let a time service set the clock (`tidelock doctor`), or let the publisher sign anew.
    Clock,
    /// It failed here, or a person went back from it.
    ///
    /// Publish a better release; for another try of this one raise `retry` in the environment, or run `tidelock retry`.
    Refused(Refusal),
    /// A person stopped it, or the whole device.
    ///
    /// Wait until it ends, or run `tidelock resume` once you have spoken with whoever holds it.
    Hold(Hold),
    /// A person keeps it on what it is.
    ///
    /// Wait until it ends, or run `tidelock resume` once you have spoken with whoever pinned it.
    Pin(Pin),
    /// The last trial gave no verdict: it is tried again later.
    ///
    /// Nothing; `tidelock why` shows what the checks said, `tidelock retry` does not wait.
    BackingOff {
        /// What is tried again.
        setup: Setup,
        /// How it ended.
        cause: Cause,
        /// How often in a row.
        tries: u32,
        /// From now.
        again: Duration,
    },
    /// There is not enough room.
    ///
    /// Make room, or set a smaller `keep`.
    Disk {
        /// What is needed.
        need: Space,
        /// What is there.
        free: Space,
    },
    /// The publisher does not have its files.
    ///
    /// Publish the release again, or want another one; look whether a mirror is behind.
    Unavailable {
        /// In the words of the error.
        message: String,
    },
    /// Fetching failed: network, wrong bytes, or a write.
    ///
    /// Nothing at first, it is tried again; `tidelock doctor` says how far the publisher is reached.
    Fetch {
        /// In the words of the error.
        message: String,
    },
    /// Another app is in trial: one at a time.
    ///
    /// Wait for minutes; `tidelock why` of the other app says how far it is.
    OtherTrial(AppName),
    /// Something can be done, and another app comes first.
    ///
    /// Wait.
    Queued,
    /// The agent only watches; this is what it would do.
    ///
    /// Set `mode = "apply"` when it should do so.
    Observe {
        /// The step, in words.
        would: String,
    },
    /// Files are fetched and sealed.
    ///
    /// Wait.
    Installing(Setup),
    /// It is in trial.
    ///
    /// Wait for its verdict; `tidelock rollback` ends it.
    Trying(Setup),
    /// It goes back from a trial.
    ///
    /// Wait; then read why in `tidelock why`.
    GoingBack {
        /// What it leaves.
        from: Setup,
        /// Why.
        cause: Cause,
    },
    /// The live tree is not what was signed, and it is left so for now.
    ///
    /// Look who writes there; `tidelock verify` names each file, `tidelock verify --heal` mends them.
    Drifted {
        /// Entries that differ.
        differing: u64,
        /// The first of them, in words.
        first: Vec<String>,
        /// Why it is not mended.
        left: Left,
    },
    /// What differs in the live tree is fetched again.
    ///
    /// Wait; seen often, look who writes there.
    Healing {
        /// Entries that differ.
        differing: u64,
    },
    /// The committed release is brought back: link, start or files.
    ///
    /// Wait; seen often, something on the device stops the app or removes its link.
    Restoring(Setup),
    /// The committed release does not start; it is tried again.
    ///
    /// Read what its start hook said in `tidelock why`, mend that, or want another release.
    Down {
        /// The release.
        setup: Setup,
        /// The end of what the start hook said.
        said: String,
        /// From now.
        again: Duration,
    },
    /// The device's settings for it were changed: it is restarted with them and checked.
    ///
    /// Wait.
    Settings(Setup),
    /// It fails its checks with the device's settings. Those are their owner's, and nothing is rolled back.
    ///
    /// Mend `/etc/tidelock/apps/<app>.env` or the credential; `tidelock why` says what the checks said.
    Degraded {
        /// The release.
        setup: Setup,
        /// What said so, and the end of it.
        said: String,
    },
    /// A person asked to go back, and there is nothing to leave or nothing to go back to.
    ///
    /// Want another release.
    NothingToGoBackTo,
    /// A person asked to try again.
    ///
    /// Wait.
    Retrying,
    /// What nothing needs is removed.
    ///
    /// Wait.
    Tidying,
}

/// Why a live tree that differs is not mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Left {
    /// The owner wants to be told only.
    Unasked,
    /// It was mended as often as it may be in a day.
    Often,
    /// Nothing says where its files came from.
    Sourceless,
}

impl Reason {
    /// The stable code: label of metrics, member of reports, what people search for.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Synced(_) => "synced",
            Self::NoManifest => "no-manifest",
            Self::NotWanted => "not-wanted",
            Self::Orphan { .. } => "orphan",
            Self::AgentTooOld { .. } => "agent-too-old",
            Self::Platform { .. } => "platform",
            Self::Disagreed { .. } => "disagreed",
            Self::BelowFloor { .. } => "below-floor",
            Self::Expired => "expired",
            Self::Clock => "clock",
            Self::Refused(_) => "refused",
            Self::Hold(_) => "hold",
            Self::Pin(_) => "pin",
            Self::BackingOff { .. } => "backing-off",
            Self::Disk { .. } => "disk",
            Self::Unavailable { .. } => "unavailable",
            Self::Fetch { .. } => "fetch",
            Self::OtherTrial(_) => "other-trial",
            Self::Queued => "queued",
            Self::Observe { .. } => "observe",
            Self::Installing(_) => "installing",
            Self::Trying(_) => "trying",
            Self::GoingBack { .. } => "going-back",
            Self::Drifted { .. } => "drifted",
            Self::Healing { .. } => "healing",
            Self::Restoring(_) => "restoring",
            Self::Down { .. } => "down",
            Self::Settings(_) => "settings",
            Self::Degraded { .. } => "degraded",
            Self::NothingToGoBackTo => "nothing-to-go-back-to",
            Self::Retrying => "retrying",
            Self::Tidying => "tidying",
        }
    }

    /// When it ends by itself, where a person said so.
    pub const fn until(&self) -> Option<Until> {
        match self {
            Self::Hold(hold) => Some(hold.until),
            Self::Pin(pin) => Some(pin.until),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Synced(setup) => write!(f, "{setup} is wanted and committed"),
            Self::NoManifest => f.write_str("no verified desired state is here yet"),
            Self::NotWanted => f.write_str("the environment does not want this app here; it is left alone"),
            Self::Orphan { since, until: Some(until) } => {
                write!(f, "the environment wants it here no more: stopped since {since}, deleted after {until}")
            }
            Self::Orphan { since, until: None } => {
                write!(f, "the environment wants it here no more: stopped since {since}, its releases are kept")
            }
            Self::AgentTooOld { unknown } => {
                let words: Vec<&str> = unknown.iter().map(String::as_str).collect();
                write!(f, "the desired state needs {}, which this agent does not know: update it", words.join(", "))
            }
            Self::Platform { own } => write!(f, "the wanted release has no build for {own}"),
            Self::Disagreed { wanted } => {
                write!(f, "the environment wants {wanted}, but the app's role does not name the same index")
            }
            Self::BelowFloor { counter, floor } => {
                write!(f, "the wanted release is number {counter}, below the signed floor {floor}")
            }
            Self::Expired => f.write_str("the metadata has expired; nothing new is entered"),
            Self::Clock => {
                f.write_str("the metadata seems to have expired, but the clock is not synchronised; nothing new is entered")
            }
            Self::Refused(refusal) => write!(f, "{} is refused since {}: {}", refusal.setup, refusal.at, refusal.ground),
            Self::Hold(Hold { owner, reason, until }) => {
                write!(f, "{owner} holds it until {}: {reason}", until.wall)
            }
            Self::Pin(Pin { setup, owner, reason, until }) => {
                write!(f, "{owner} keeps it on {setup} until {}: {reason}", until.wall)
            }
            Self::BackingOff { setup, cause, tries, again } => write!(
                f,
                "{setup} is tried again in {} s: {cause} ({tries} without verdict)",
                again.as_secs()
            ),
            Self::Disk { need, free } => write!(
                f,
                "not enough room: {} bytes and {} inodes are needed, {} and {} are free",
                need.bytes, need.inodes, free.bytes, free.inodes
            ),
            Self::Unavailable { message } => write!(f, "the publisher does not have the files: {message}"),
            Self::Fetch { message } => write!(f, "fetching failed: {message}"),
            Self::OtherTrial(other) => write!(f, "{other} is in trial, and only one app may be"),
            Self::Queued => f.write_str("another app comes first"),
            Self::Observe { would } => write!(f, "only watching; would {would}"),
            Self::Installing(setup) => write!(f, "{setup} is being installed"),
            Self::Trying(setup) => write!(f, "{setup} is in trial"),
            Self::GoingBack { from, cause } => write!(f, "going back from {from}: {cause}"),
            Self::Drifted { differing, first, left } => {
                write!(f, "entries of the live tree that are not as they were signed: {differing} ({}); {left}", first.join(", "))
            }
            Self::Healing { differing } => {
                write!(f, "entries of the live tree that are not as they were signed, and are mended: {differing}")
            }
            Self::Restoring(setup) => write!(f, "{setup} was committed here and is brought back"),
            Self::Down { setup, said, again } => {
                write!(f, "{setup} does not start, tried again in {} s: {said}", again.as_secs())
            }
            Self::Settings(setup) => write!(f, "{setup} is restarted and checked with this device's changed settings"),
            Self::Degraded { setup, said } => {
                write!(f, "{setup} fails with this device's settings, which are its owner's to mend: {said}")
            }
            Self::NothingToGoBackTo => f.write_str("there is nothing to go back to"),
            Self::Retrying => f.write_str("refusals and back-off are forgotten, as asked"),
            Self::Tidying => f.write_str("removing what nothing needs"),
        }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unasked => "they are mended only when asked (`verify --heal`)",
            Self::Often => "it was mended as often as it may be in a day: something keeps writing there",
            Self::Sourceless => "nothing here says where its files came from: the next release replaces it",
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (app, reason)) in self.apps.iter().enumerate() {
            let line = if place == 0 { "" } else { "\n" };
            write!(f, "{line}{app}: {}: {reason}", reason.code())?;
        }
        Ok(())
    }
}
