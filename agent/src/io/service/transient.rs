//! A command in a unit of its own: with the app's rights and the releases read-only, never in the agent's cgroup or
//! sandbox, and ended as a whole by systemd even when the agent is not there any more.
//!
//! Never here: which command, or when.

use std::path::PathBuf;
use std::time::Duration;

use super::{Ended, Job, Rest, systemd};
use crate::decide::model::Outcome;
use crate::io::clock;

/// The unit that a command gets.
#[derive(Clone, Debug)]
pub struct Transient {
    /// Its name. One that lives on is stopped by it; the others have a name that no other run has.
    pub name: String,
    /// Files `KEY=value` that systemd reads for it, so that no secret passes through the agent; the later one wins.
    pub settings: Vec<PathBuf>,
    /// What is read-only to it.
    pub state: PathBuf,
    /// What in there is not.
    pub data: PathBuf,
}

/// How much longer than the agent systemd waits before it ends a command by itself.
const MARGIN: Duration = Duration::from_secs(30);

impl Transient {
    /// The unit that what the start hook of `app` leaves running lives in.
    pub fn of_start(app: &str) -> String {
        format!("tidelock-hook-{app}.service")
    }

    /// A name that no other run of a command has in this boot.
    pub fn of_run(app: &str) -> String {
        format!("tidelock-run-{app}-{}.service", clock::since_boot().as_nanos())
    }

    /// Ends the unit with everything in it, and forgets how it ended.
    pub(super) fn end(&self) {
        systemd::end(&self.name);
    }

    /// How a command ended, with what systemd knows of it where only systemd heard it.
    pub(super) fn ended(&self, job: &Job<'_>, ended: Ended) -> Ended {
        match (job.rest, ended.outcome) {
            (Rest::LivesOn, Outcome::Failed) => {
                Ended::failed(format!("{}\n{}", ended.output, systemd::story(&[self.name.clone()].into())))
            }
            _ => ended,
        }
    }

    /// The call of `systemd-run` that runs the command of `job` in this unit.
    pub(super) fn command(&self, job: &Job<'_>) -> Vec<String> {
        let mut words = vec!["systemd-run".to_owned(), "--quiet".into(), format!("--unit={}", self.name)];
        let (seconds, path) = ((job.timeout + MARGIN).as_secs(), |path: &PathBuf| path.display().to_string());
        match job.rest {
            Rest::Ends => {
                words.extend(["--wait", "--pipe", "--collect", "--service-type=exec"].map(String::from));
                words.push(format!("--property=RuntimeMaxSec={seconds}"));
            }
            Rest::LivesOn => {
                words.extend(["--service-type=oneshot", "--remain-after-exit"].map(String::from));
                words.push(format!("--property=TimeoutStartSec={seconds}"));
            }
        }
        let mut set = |property: &str, value: String| words.push(format!("--property={property}={value}"));
        set("TimeoutStopSec", super::GRACE.as_secs().to_string());
        set("WorkingDirectory", path(&job.directory));
        set("ReadOnlyPaths", path(&self.state));
        set("ReadWritePaths", format!("-{}", path(&self.data)));
        self.settings.iter().for_each(|file| set("EnvironmentFile", format!("-{}", path(file))));
        job.user.iter().for_each(|user| set("User", user.name.clone()));
        let variables = job.environment.iter().map(|(key, value)| format!("--setenv={key}={value}"));
        words.extend(variables.collect::<Vec<_>>());
        words.push("--".into());
        let mut command = job.command.iter().cloned();
        // systemd-run looks for programs where it stands itself.
        let program = command.next().map(|program| match program.contains('/') {
            true => path(&job.directory.join(program)),
            false => program,
        });
        words.extend(program.into_iter().chain(command));
        words
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_command_gets_a_unit_with_the_rights_of_its_app() {
        let unit = Transient {
            name: "tidelock-run-web-1.service".into(),
            settings: vec!["/etc/tidelock/apps/web.env".into()],
            state: "/var/lib/tidelock".into(),
            data: "/var/lib/tidelock/apps/web/data".into(),
        };
        let command = ["bin/check".to_owned(), "--fast".into()];
        let job = |rest| Job {
            command: &command,
            directory: "/releases/x/tree".into(),
            environment: BTreeMap::from([("HOME".to_owned(), "/d".to_owned())]),
            user: None,
            timeout: Duration::from_secs(10),
            rest,
            unit: None,
        };
        let words = unit.command(&job(Rest::Ends));
        for word in [
            "--wait",
            "--pipe",
            "--unit=tidelock-run-web-1.service",
            "--property=RuntimeMaxSec=40",
            "--property=WorkingDirectory=/releases/x/tree",
            "--property=ReadOnlyPaths=/var/lib/tidelock",
            "--property=EnvironmentFile=-/etc/tidelock/apps/web.env",
            "--setenv=HOME=/d",
        ] {
            assert!(words.iter().any(|found| found == word), "{word}: {words:?}");
        }
        assert!(words.ends_with(&["--".into(), "/releases/x/tree/bin/check".into(), "--fast".into()]));
        let words = unit.command(&job(Rest::LivesOn));
        assert!(words.contains(&"--remain-after-exit".to_owned()) && !words.contains(&"--wait".to_owned()));
    }
}
