//! systemd, asked through its own program: what it knows of units, and what it should do with them.
//!
//! Never here: which unit, when, or what an answer means.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::{Ended, Job, Rest, Stopped, run};
use crate::decide::model::Outcome;
use crate::io::clock;
use crate::io::user;
use crate::io::wake::{Wake, Woken};

/// Who starts apps on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervisor {
    /// systemd: units of releases, and everything else that runs in units of its own.
    Systemd,
    /// Whoever runs the agent: hooks alone, in process groups.
    Hooks,
}

/// A unit as systemd sees it at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// `loaded`, `not-found`, `masked`, …
    pub load: String,
    /// Of a service: `simple`, `oneshot`, `notify`, …
    pub kind: String,
    /// `active`, `inactive`, `failed`, …
    pub active: String,
    /// In more words: `running`, `exited`, `auto-restart`, …
    pub sub: String,
    /// How it ended last: `success`, `exit-code`, …
    pub result: String,
    /// How often systemd restarted it by itself since somebody started it.
    pub restarts: u32,
    /// Whether something is about to happen to it.
    pub has_job: bool,
    /// What it starts, of a timer or a socket.
    pub triggers: String,
    /// Time since boot when it last became active; zero: never.
    pub since: Duration,
    /// Time since boot when it last began to; zero: never.
    pub begun: Duration,
    /// Time since boot when its main process last ended; zero: never.
    pub exited: Duration,
}

const PROPERTIES: &str = "--property=Id,LoadState,Type,ActiveState,SubState,Result,NRestarts,Job,Triggers,\
                          ActiveEnterTimestampMonotonic,InactiveExitTimestampMonotonic,ExecMainExitTimestampMonotonic";
/// Where systemd keeps what is only of this boot.
const TRANSIENT: &str = "/run/systemd/transient";
/// How a unit ended that is not started any more, for it failed too often.
const START_LIMIT: &str = "start-limit-hit";
/// The one thing that is told without a unit.
const RELOAD: [&str; 1] = ["daemon-reload"];
/// How long systemd may take for what takes it no time.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is asked how far a start is.
const AGAIN: Duration = Duration::from_millis(500);

impl Supervisor {
    /// systemd where it runs this machine and obeys the agent, and the agent works on the machine itself. Whoever asks
    /// about what root's agent keeps in `state` sees it as that agent does.
    pub fn of(root: &Path, state: &Path) -> Self {
        let booted = Path::new("/run/systemd/system").is_dir();
        let roots = || state.metadata().map_or(user::is_root(), |found| found.uid() == 0);
        if booted && root == Path::new("/") && roots() { Self::Systemd } else { Self::Hooks }
    }
}

impl Shown {
    /// Whether it runs, is about to, or did what it was started for.
    pub fn is_alive(&self) -> bool {
        self.is_up() || self.is_busy()
    }

    /// Whether something is happening to it.
    pub fn is_busy(&self) -> bool {
        self.has_job || matches!(self.active.as_str(), "activating" | "deactivating")
    }

    /// Whether it runs, or did what it was started for.
    pub fn is_up(&self) -> bool {
        let ended_well = self.active == "inactive" && self.result == "success" && !self.exited.is_zero();
        let done = ended_well && self.kind == "oneshot";
        done || matches!(self.active.as_str(), "active" | "reloading" | "refreshing")
    }
}

/// What systemd knows of `units`, by their names; of a pattern every unit that it knows.
///
/// # Errors
/// It cannot be asked.
pub fn show(units: &BTreeSet<String>) -> io::Result<BTreeMap<String, Shown>> {
    if units.is_empty() {
        return Ok(BTreeMap::new());
    }
    let output = systemctl(&["show", PROPERTIES, "--"]).args(units).output()?;
    let now = clock_gettime(ClockId::Monotonic);
    let monotonic = Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0));
    // systemd counts no sleep; everything here does.
    let asleep = clock::since_boot().saturating_sub(monotonic);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(io::Error::other(format!("systemctl show: {said}")));
    }
    Ok(read(&String::from_utf8_lossy(&output.stdout), asleep))
}

/// Lets systemd read the unit files again.
///
/// # Errors
/// It did not; or the agent was asked to end.
pub fn read_again(wake: &Wake) -> Result<Ended, Stopped> {
    tell(&RELOAD, &BTreeSet::new(), PATIENCE, wake)
}

/// Starts `units` and waits until they are up, each by what its type means by that.
///
/// # Errors
/// The agent was asked to end.
pub fn start(units: &BTreeSet<String>, timeout: Duration, wake: &Wake) -> Result<Ended, Stopped> {
    let begin = || tell(&["start"], units, timeout, wake);
    let mut ended = begin()?;
    let limited = || show(units).is_ok_and(|all| all.values().any(|unit| unit.result == START_LIMIT));
    // What failed too often a while ago may be started again now.
    if ended.outcome == Outcome::Failed && limited() {
        tell(&["reset-failed"], units, PATIENCE, wake)?;
        ended = begin()?;
    }
    telling(ended, units)
}

/// Lets `units` read their files again.
///
/// # Errors
/// The agent was asked to end.
pub fn reload(units: &BTreeSet<String>, timeout: Duration, wake: &Wake) -> Result<Ended, Stopped> {
    telling(tell(&["reload-or-restart"], units, timeout, wake)?, units)
}

/// Stops `units` and waits until they are; what has not ended after `timeout` is killed.
///
/// # Errors
/// The agent was asked to end.
pub fn stop(units: &BTreeSet<String>, timeout: Duration, wake: &Wake) -> Result<Ended, Stopped> {
    let ended = tell(&["stop"], units, timeout, wake)?;
    if ended.outcome == Outcome::Passed {
        return Ok(ended);
    }
    tell(&["kill", "--signal=KILL"], units, PATIENCE, wake)?;
    tell(&["stop"], units, PATIENCE, wake)
}

/// Lets systemd start `unit`, and does not wait.
///
/// # Errors
/// It cannot be asked.
pub fn begin(unit: &str) -> io::Result<()> {
    quietly(&["start", "--no-block", "--", unit])
}

/// Ends the transient `unit` with everything that runs in it, if there is one, and forgets how it ended.
pub fn end(unit: &str) {
    // To ask for what is not there costs an app time in which it does not run.
    if is_there(unit) {
        // There is no other way on, and whoever has ended meanwhile is no error.
        let _ = quietly(&["stop", "--", unit]);
        forget(&BTreeSet::from([unit.to_owned()]));
    }
}

/// Whether there is a transient `unit`: it runs, or nobody has forgotten yet how it ended.
pub fn is_there(unit: &str) -> bool {
    Path::new(TRANSIENT).join(unit).exists()
}

/// Waits until what `unit` has to do before it is up is done; what takes longer than `timeout`, since it began, is ended.
///
/// # Errors
/// The agent was asked to end; the unit goes on.
pub fn await_start(unit: &str, timeout: Duration, wake: &Wake) -> Result<Ended, Stopped> {
    let units = BTreeSet::from([unit.to_owned()]);
    let mut deadline = clock::since_boot() + timeout;
    loop {
        // One that cannot be asked now is asked again.
        let shown = show(&units).ok().and_then(|all| all.into_values().next());
        if let Some(shown) = shown {
            if shown.is_up() {
                return Ok(Ended { outcome: Outcome::Passed, output: String::new() });
            }
            if !shown.is_busy() {
                return telling(
                    Ended::failed(format!("{unit} is {} ({})", shown.active, shown.result)),
                    &units,
                );
            }
            if !shown.begun.is_zero() {
                deadline = shown.begun + timeout;
            }
        }
        let left = deadline.saturating_sub(clock::since_boot());
        if left.is_zero() {
            let what = format!("did not end within {} s and was ended", timeout.as_secs());
            let ended = telling(Ended::failed(what), &units);
            end(unit);
            return ended;
        }
        if wake.wait(None, left.min(AGAIN)) == Woken::Stopped {
            return Err(Stopped);
        }
    }
}

/// Forgets how `units` ended.
pub fn forget(units: &BTreeSet<String>) {
    if !units.is_empty() {
        let words = ["reset-failed", "--"].into_iter().chain(units.iter().map(String::as_str));
        // Whoever has not failed, or is not known any more, is no error.
        let _ = quietly(&words.collect::<Vec<_>>());
    }
}

fn quietly(words: &[&str]) -> io::Result<()> {
    systemctl(words).stdout(Stdio::null()).stderr(Stdio::null()).status().map(drop)
}

/// The program, which tells the manager of the agent's own unit about its failures where it can.
fn systemctl(words: &[&str]) -> Command {
    let mut command = Command::new("systemctl");
    command.args(words).env_remove("NOTIFY_SOCKET").env("SYSTEMD_COLORS", "0").stdin(Stdio::null());
    command
}

/// What systemd says of units that are not as they should be, and the last lines of what they said.
pub fn story(units: &BTreeSet<String>) -> String {
    let output = systemctl(&["status", "--no-pager", "--full", "--lines=20", "--"]).args(units).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = super::plain(text.unwrap_or_default().trim());
    let begin = text
        .char_indices()
        .rev()
        .map(|(place, _)| place)
        .take_while(|place| text.len() - place <= super::OUTPUT);
    text[begin.last().unwrap_or(0)..].to_owned()
}

/// A failure with what systemd knows of it.
fn telling(ended: Ended, units: &BTreeSet<String>) -> Result<Ended, Stopped> {
    Ok(match ended.outcome {
        Outcome::Passed => ended,
        Outcome::Failed => Ended::failed(format!("{}\n{}", ended.output, story(units))),
    })
}

fn tell(words: &[&str], units: &BTreeSet<String>, timeout: Duration, wake: &Wake) -> Result<Ended, Stopped> {
    if units.is_empty() && words != RELOAD {
        return Ok(Ended { outcome: Outcome::Passed, output: String::new() });
    }
    let words = ["systemctl"].iter().chain(words).map(|word| (*word).to_owned());
    let command: Vec<String> = words.chain(units.iter().cloned()).collect();
    let (directory, environment) = ("/".into(), BTreeMap::new());
    let (rest, unit) = (Rest::Ends, None);
    run(&Job { command: &command, directory, environment, user: None, timeout, rest, unit }, wake)
}

/// Reads what `systemctl show` says: `Key=value` lines, an empty one between two units.
fn read(text: &str, asleep: Duration) -> BTreeMap<String, Shown> {
    let time = |value: &str| match value.parse() {
        Ok(0) | Err(_) => Duration::ZERO,
        Ok(microseconds) => Duration::from_micros(microseconds) + asleep,
    };
    let unit = |block: &str| {
        let mut name = None;
        let mut shown = Shown::default();
        for (key, value) in block.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "Id" => name = Some(value.to_owned()),
                "LoadState" => value.clone_into(&mut shown.load),
                "Type" => value.clone_into(&mut shown.kind),
                "ActiveState" => value.clone_into(&mut shown.active),
                "SubState" => value.clone_into(&mut shown.sub),
                "Result" => value.clone_into(&mut shown.result),
                "NRestarts" => shown.restarts = value.parse().unwrap_or(0),
                "Job" => shown.has_job = !matches!(value, "" | "0"),
                "Triggers" => value.clone_into(&mut shown.triggers),
                "ActiveEnterTimestampMonotonic" => shown.since = time(value),
                "InactiveExitTimestampMonotonic" => shown.begun = time(value),
                "ExecMainExitTimestampMonotonic" => shown.exited = time(value),
                _ => {}
            }
        }
        name.map(|name| (name, shown))
    };
    text.split("\n\n").filter_map(unit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_as_systemctl_shows_them() {
        let text = "Result=success\nNRestarts=2\nExecMainExitTimestampMonotonic=0\nId=a.service\nTriggers=\nLoadState=loaded\nActiveState=active\nSubState=running\nActiveEnterTimestampMonotonic=5000000\nJob=12\n\nTriggers=a.service\nId=a.timer\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n";
        let found = read(text, Duration::from_secs(7));
        assert_eq!(found.len(), 2);
        let service = &found["a.service"];
        assert_eq!((service.restarts, service.has_job, service.since), (2, true, Duration::from_secs(12)));
        assert_eq!(service.exited, Duration::ZERO);
        assert_eq!((service.load.as_str(), service.sub.as_str()), ("loaded", "running"));
        assert_eq!(found["a.timer"].triggers, "a.service");
        assert!(service.is_alive() && !found["a.timer"].is_alive());
        assert!(read("", Duration::ZERO).is_empty());
    }

    #[test]
    fn a_unit_is_alive_while_it_runs_and_after_it_did_its_work() {
        let unit = |active: &str, result: &str, exited| Shown {
            active: active.into(),
            kind: "oneshot".into(),
            result: result.into(),
            exited: Duration::from_secs(exited),
            ..Shown::default()
        };
        assert!(unit("active", "success", 0).is_alive());
        assert!(unit("activating", "exit-code", 3).is_alive());
        assert!(unit("inactive", "success", 3).is_alive(), "a oneshot that ended well");
        assert!(!unit("inactive", "success", 0).is_alive(), "nobody started it");
        let stopped = Shown { kind: "simple".into(), ..unit("inactive", "success", 3) };
        assert!(!stopped.is_alive(), "somebody stopped it");
        assert!(!unit("inactive", "exit-code", 3).is_alive());
        assert!(!unit("failed", "exit-code", 3).is_alive());
        assert!(Shown { has_job: true, ..unit("inactive", "success", 0) }.is_alive());
    }

    #[test]
    fn another_root_has_no_service_manager() {
        assert_eq!(Supervisor::of(Path::new("/nowhere"), Path::new("/")), Supervisor::Hooks);
    }
}
