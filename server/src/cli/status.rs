//! `status`: what is published, what waits, and, before all else, which glass is broken.

use super::arguments::Status;
use super::{Error, Exit, say};
use crate::look;
use crate::publish::{Missing, PendingFiles, Published};
use crate::store::{PushState, Store};
use crate::turn;

/// The environments of a server, for people; exit code 10 when somebody should look.
///
/// # Errors
/// What is published, or the state, cannot be read.
pub fn status(arguments: &Status) -> Result<Exit, Error> {
    let Status { out, state } = arguments;
    let now = look::clock().now;
    let published = Published::read(out)?;
    let mut acts = false;
    for glass in turn::broken(state, now)? {
        acts = true;
        let turn::Glass { environment, owner, reason, since, expires } = glass;
        say(&format!(
            "BROKEN GLASS: {environment} waits for no other environment until {expires}; {owner} since {since}: {reason}"
        ));
    }
    let pending = PendingFiles::of(state).read()?;
    let store = Store::existing(state)?;
    for (environment, desired) in &published.desired {
        let source = &desired.source;
        let from = match (source.commit.get(..12), source.signer.as_str()) {
            (Some(commit), "") => format!("{commit} {:?} by {}", source.subject, source.author),
            (Some(commit), signer) => {
                format!("{commit} {:?} by {}, signed by {signer}", source.subject, source.author)
            }
            (None, _) => format!("{} by the token {:?} {}", source.subject, source.token, source.pipeline),
        };
        say(&format!("{environment}: serial {} from {}", desired.serial, from.trim_end()));
        for (app, choices) in &desired.apps {
            let versions: Vec<&str> = choices.iter().map(|choice| choice.stable.version.as_str()).collect();
            say(&format!("  {app} {}", versions.join(", ")));
        }
        if let Some(pending) = pending.get(environment) {
            acts = true;
            let lacking: Vec<String> = pending.missing.iter().map(Missing::to_string).collect();
            say(&format!("  pending since {}: {}", pending.since, lacking.join("; ")));
        }
        let waiting = store.as_ref().map(|store| store.waiting(environment)).transpose()?.unwrap_or_default();
        for push in waiting {
            let PushState::Waiting(reason) = push.state else { continue };
            let reason = if reason.is_empty() { "the next turn".to_owned() } else { reason };
            say(&format!(
                "  push {}: {} {} waits since {}: {reason}",
                push.id, push.push.app, push.push.version, push.at
            ));
        }
    }
    if published.desired.is_empty() {
        say(&format!("nothing is published in {}", out.display()));
    }
    Ok(if acts { Exit::Act } else { Exit::Done })
}
