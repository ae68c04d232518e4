//! `expiring`: what runs out when, as a table for people and an exit code for cron.

use super::arguments;
use super::{Error, Exit};
use crate::look;
use crate::publish::{Expiring, Missing, PendingFiles, Published, Within, expiring};

/// The table, and whether somebody must act.
pub(super) fn list(arguments: &arguments::Expiring) -> Result<(String, Exit), Error> {
    let now = look::clock().now;
    let published = Published::read(&arguments.out)?;
    let within = arguments.within.map_or(Within::Defaults, Within::Span);
    let roles = expiring(&published, now, within);
    let mut lines = Vec::new();
    let mut acts = roles.is_empty();
    if roles.is_empty() {
        lines.push(format!("nothing is published in {}", arguments.out.display()));
    }
    for Expiring { role, version, expires, is_soon } in &roles {
        let left = expires.since(now).as_secs() / 86_400;
        let note = match is_soon {
            true if *expires <= now => "  EXPIRED",
            true => "  SOON",
            false => "",
        };
        acts |= is_soon;
        lines.push(format!("{expires}  {left:>4} days  {role} {version}{note}"));
    }
    let pending = arguments.state.as_ref().map(|state| PendingFiles::of(state).read()).transpose()?;
    for (environment, pending) in pending.iter().flatten() {
        let is_long = now.since(pending.since) >= arguments.waiting;
        acts |= is_long;
        let lacking: Vec<String> = pending.missing.iter().map(Missing::to_string).collect();
        let note = if is_long { "  TOO LONG" } else { "" };
        lines.push(format!("pending since {}: {environment}: {}{note}", pending.since, lacking.join("; ")));
    }
    Ok((lines.join("\n"), if acts { Exit::Act } else { Exit::Done }))
}
