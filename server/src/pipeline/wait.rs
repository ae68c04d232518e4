//! Waiting until an environment is published from a commit, or wants a release.

use std::time::{Duration, Instant};

use serde::Deserialize;
use tidelock_protocol::names::{AppName, EnvironmentName, Version};

use super::Error;
use super::http::Server;

/// Between two questions.
const PAUSE: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The environment wants this release.
    Release(AppName, Version),
    /// The environment is published from this commit, or took it although it changed nothing there; at least twelve digits.
    Commit(String),
}

/// A wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The environment.
    pub environment: EnvironmentName,
    /// For what.
    pub awaited: Awaited,
    /// The share of devices that must have committed it.
    pub committed: Option<u32>,
    /// How long.
    pub timeout: Duration,
}

#[derive(Deserialize)]
struct Environment {
    serial: u64,
    commit: String,
    apps: std::collections::BTreeMap<String, Vec<String>>,
    queue: Vec<Queued>,
    /// An older server says neither.
    #[serde(default)]
    taken: Option<String>,
    #[serde(default)]
    not_taken: Option<NotTaken>,
}

#[derive(Deserialize)]
struct NotTaken {
    commit: String,
    why: String,
}

#[derive(Deserialize)]
struct Queued {
    app: String,
    version: String,
    reason: String,
}

/// Waits; the serial under which it is published.
///
/// # Errors
/// It is refused, it took too long, or nothing is known of what devices committed.
pub fn wait(server: &Server, waiting: &Waiting) -> Result<u64, Error> {
    let until = Instant::now() + waiting.timeout;
    loop {
        let asked = server.get::<Environment>(&format!("environments/{}", waiting.environment));
        let state = match asked {
            Ok(environment) if environment.has(&waiting.awaited) => {
                return match waiting.committed {
                    Some(_) => Err(Error::NoReports),
                    None => Ok(environment.serial),
                };
            }
            Ok(environment) => match environment.refuses(&waiting.awaited) {
                Some(why) => {
                    return Err(Error::Refused(format!("{} does not take it: {why}", waiting.environment)));
                }
                None => environment.state(),
            },
            Err(error @ (Error::Unreachable { .. } | Error::Answered { status: 502..=504, .. })) => {
                error.to_string()
            }
            Err(error) => return Err(error),
        };
        if Instant::now() >= until {
            let within = waiting.timeout.as_secs();
            return Err(Error::TimedOut(format!(
                "{} is not there within {within} s: {state}",
                waiting.environment
            )));
        }
        std::thread::sleep(PAUSE.min(until.saturating_duration_since(Instant::now())));
    }
}

impl Environment {
    fn has(&self, awaited: &Awaited) -> bool {
        match awaited {
            Awaited::Release(app, version) => {
                let wanted = self.apps.get(app.as_str());
                wanted.is_some_and(|versions| versions.iter().any(|one| one == version.as_str()))
            }
            Awaited::Commit(commit) => {
                let taken = self.taken.as_deref().unwrap_or_default();
                commit.len() >= 12 && [&self.commit, taken].iter().any(|one| one.starts_with(commit.as_str()))
            }
        }
    }

    /// Why the commit that is awaited is never published unless somebody acts.
    fn refuses(&self, awaited: &Awaited) -> Option<&str> {
        let Awaited::Commit(awaited) = awaited else { return None };
        let NotTaken { commit, why } = self.not_taken.as_ref()?;
        (awaited.len() >= 12 && commit.starts_with(awaited.as_str())).then_some(why)
    }

    fn state(&self) -> String {
        let waits = self.queue.iter().map(|one| format!("{} {} waits {}", one.app, one.version, one.reason));
        let waits: Vec<String> = waits.collect();
        let commit = if self.commit.is_empty() { "no commit" } else { &self.commit };
        format!("it has serial {} from {commit}; {}", self.serial, waits.join(", "))
            .trim_end_matches("; ")
            .to_owned()
    }
}
