//! `validate` and `plan`: what a commit would mean, for the person or pipeline that asks before it is taken.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::against::Compared;
use super::arguments::{Look, Plan, Validate};
use super::{Error, Exit, say};
use crate::bundle::Cost;
use crate::config::Problems;
use crate::turn::{self, AppChange, Changes, Proposal};

/// A directory of this process alone, gone with it.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("tidelock-server-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind in a directory for temporary files harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Everything that is wrong with a commit, and an exit code for a pull request's check.
///
/// # Errors
/// It could not be looked for.
pub fn validate(arguments: &Validate) -> Result<Exit, Error> {
    let scratch = Scratch::new();
    let (asked, _) = asked(&arguments.look, &scratch.0, arguments.allow_prune)?;
    match turn::validate(&asked) {
        Ok(()) => {
            say(&format!("{} is fine{}", called(&asked), compared(&asked)));
            Ok(Exit::Done)
        }
        Err(turn::Error::Problems(problems)) => {
            let Problems(list) = &problems;
            let count = if list.len() == 1 { "1 problem".into() } else { format!("{} problems", list.len()) };
            say(&format!("{count} in {}{}:\n{}", called(&asked), compared(&asked), problems.lines()));
            Ok(Exit::Error)
        }
        Err(error) => Err(error.into()),
    }
}

/// What a commit changes for each environment.
///
/// # Errors
/// Whatever is wrong with it, and trees that cannot be packed.
pub fn plan(arguments: &Plan) -> Result<Exit, Error> {
    let scratch = Scratch::new();
    let (asked, compared) = asked(&arguments.look, &scratch.0, true)?;
    let mut changes = turn::changes(&asked, &|file| compared.bring(file))?;
    if let Some(environment) = &arguments.env {
        changes.retain(|change| change.environment == *environment);
    }
    if arguments.json {
        say(&json!({ "format": 1, "environments": changes }).to_string());
    } else {
        say(if arguments.markdown { markdown(&changes) } else { text(&changes) }.trim_end());
    }
    Ok(Exit::Done)
}

fn asked(look: &Look, scratch: &Path, may_prune: bool) -> Result<(Proposal, Compared), Error> {
    let Look { fleet, branch, commit, against } = look.clone();
    let compared = Compared::with(&against, scratch)?;
    let (out, state) = (compared.out.clone(), compared.state.clone());
    let scratch = scratch.to_owned();
    Ok((Proposal { fleet, branch, commit, out, state, scratch, may_prune }, compared))
}

fn called(asked: &Proposal) -> String {
    format!("{} of {}", asked.commit.as_ref().unwrap_or(&asked.branch), asked.fleet)
}

fn compared(asked: &Proposal) -> &'static str {
    match (&asked.out, &asked.state) {
        (None, _) => " (without --out or --server, not compared with what is registered and published)",
        (_, None) => " (without --state or a token, not asked how long releases have soaked)",
        _ => "",
    }
}

fn text(changes: &[Changes]) -> String {
    let mut text = String::new();
    for Changes { environment, apps, is_rewritten, commit } in changes {
        let commit = commit.get(..12).unwrap_or(commit);
        let rewritten = if *is_rewritten { ", which does not descend from what is published" } else { "" };
        let _ = match apps.len() {
            0 => writeln!(text, "{environment}: nothing changes{rewritten}"),
            1 => writeln!(text, "{environment}: 1 change from {commit}{rewritten}"),
            n => writeln!(text, "{environment}: {n} changes from {commit}{rewritten}"),
        };
        for change in apps {
            let _ = writeln!(text, "  {}{}: {}", change.app, devices(change), versions(change));
            for (platform, cost) in &change.platforms {
                let _ = writeln!(
                    text,
                    "    {platform}: {}; a device fetches {} and writes {}",
                    files(cost),
                    bytes(cost.fetch),
                    bytes(cost.write)
                );
            }
        }
    }
    text
}

fn markdown(changes: &[Changes]) -> String {
    let mut text = String::new();
    for Changes { environment, apps, is_rewritten, .. } in changes {
        let _ = writeln!(text, "### {environment}\n");
        if *is_rewritten {
            let _ = writeln!(text, "**The commit does not descend from what is published.**\n");
        }
        if apps.is_empty() {
            let _ = writeln!(text, "Nothing changes.\n");
            continue;
        }
        text.push_str("| app | release | platform | files | a device fetches | and writes |\n|---|---|---|---|---|---|\n");
        for change in apps {
            let app = cell(&format!("{}{}", change.app, devices(change)));
            let release = cell(&versions(change));
            if change.platforms.is_empty() {
                let _ = writeln!(text, "| {app} | {release} | | | | |");
            }
            for (platform, cost) in &change.platforms {
                let (files, fetch, write) = (files(cost), bytes(cost.fetch), bytes(cost.write));
                let _ = writeln!(text, "| {app} | {release} | {platform} | {files} | {fetch} | {write} |");
            }
        }
        text.push('\n');
    }
    text
}

/// What people wrote into a label must not end a cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn devices(change: &AppChange) -> String {
    if change.devices.is_empty() { String::new() } else { format!(" ({})", change.devices.join(", ")) }
}

fn versions(change: &AppChange) -> String {
    match (&change.from, &change.to) {
        (Some(from), Some(to)) if from == to => format!("{to}, with other numbers"),
        (Some(from), Some(to)) => {
            format!("{from} → {to}{}", if change.is_tuned { ", with other numbers" } else { "" })
        }
        (None, Some(to)) => format!("{to}, new here"),
        (Some(from), None) => format!("{from} → not wanted any more"),
        (None, None) => String::new(),
    }
}

fn files(cost: &Cost) -> String {
    format!("{} added, {} changed, {} removed", cost.added, cost.changed, cost.removed)
}

fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fitting = UNITS.into_iter().find(|(size, _)| count >= *size);
    fitting.map_or_else(
        || format!("{count} B"),
        |(size, unit)| format!("{}.{} {unit}", count / size, count % size * 10 / size),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_said_for_people() {
        assert_eq!(
            (bytes(0), bytes(1536), bytes(5 << 30)),
            ("0 B".into(), "1.5 KiB".into(), "5.0 GiB".into())
        );
    }

    #[test]
    fn a_label_cannot_end_a_cell() {
        assert_eq!(cell("a|b<script>"), "a\\|b&lt;script>");
    }
}
