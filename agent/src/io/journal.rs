//! What the device remembers: small records, each one atomic write, one file per app and kind.
//!
//! Never here: what a record means. A record that cannot be read is told apart from one that is not there; who holds
//! the lock moves it aside.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidelock_protocol::names::AppName;
use tidelock_protocol::time::Timestamp;

use super::disk;
use super::lock::Lock;
use crate::config::Paths;
use crate::decide::model::{
    Begun, Committed, Drift, Heal, Hold, Orphan, Pin, Record, Refusal, Retry, Rollback, Run, Said, Setback,
    Trial, Tried, Trouble, Until,
};

mod envelope;
#[cfg(test)]
mod tests;

use envelope::{encode, failed, load};

/// A person's stop of the whole device: a record of no app.
const HOLD: &str = "hold.json";

/// Everything that is remembered of one app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// The open trial.
    pub trial: Option<Trial>,
    /// What passed, the newest first.
    pub committed: Vec<Committed>,
    /// What is refused, the newest first.
    pub refusals: Vec<Refusal>,
    /// The last trial without verdict.
    pub setback: Option<Setback>,
    /// A person's wish to go back.
    pub rollback: Option<Rollback>,
    /// A person's wish to try again.
    pub retry: Option<Retry>,
    /// That the environment wants it no more.
    pub orphan: Option<Orphan>,
    /// A person's stop.
    pub hold: Option<Hold>,
    /// A person's choice.
    pub pin: Option<Pin>,
    /// What the last whole pass over a live tree found.
    pub drift: Option<Drift>,
    /// A person's wish to have the live tree mended.
    pub heal: Option<Heal>,
    /// The records that are there and cannot be read.
    pub unreadable: Vec<Unreadable>,
}

/// A record that is there and cannot be read; it counts as not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// What runs of an app and what its hook and checks said last: kept for the time of one boot, and without fsync, since
/// a power cut stops everything that it tells of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// What runs.
    pub run: Run,
    /// What the start hook and the checks said since the last start.
    pub said: BTreeMap<String, Said>,
    /// What went wrong with the last fetch.
    #[serde(default)]
    pub trouble: Option<Trouble>,
    /// Whether unit files may be other ones than the service manager knows.
    #[serde(default)]
    pub untold: bool,
    /// With which of the device's settings it was started.
    #[serde(default)]
    pub settings: Option<String>,
    /// Those that were changed while it ran.
    #[serde(default)]
    pub tried: Option<Tried>,
    /// Of the agent itself: how often its committed release was begun in vain.
    #[serde(default)]
    pub begun: Option<Begun>,
}

/// What the agent last said, for whoever asks while it is at work or asleep; kept like [`Running`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// When the publisher was last asked, and what kept it from an answer.
    pub polled: Option<(Timestamp, Option<String>)>,
    /// Why each app is where it is.
    pub why: BTreeMap<AppName, ToldReason>,
}

/// A reason as it was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldReason {
    /// Its stable code.
    pub code: String,
    /// In words.
    pub text: String,
}

/// The journal of one device.
#[derive(Clone, Debug)]
pub struct Journal {
    records: PathBuf,
    running: PathBuf,
    boot: String,
}

impl Journal {
    /// The journal at its places.
    ///
    /// # Errors
    /// The kernel does not tell which boot this is.
    pub fn at(paths: &Paths) -> Result<Self, disk::Error> {
        let path = Path::new("/proc/sys/kernel/random/boot_id");
        let boot = std::fs::read_to_string(path).map_err(failed("read", path))?;
        Ok(Self { records: paths.journal(), running: paths.run(), boot: boot.trim().to_owned() })
    }

    /// The apps that have a record.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn apps(&self) -> Result<BTreeSet<AppName>, disk::Error> {
        let entries = match std::fs::read_dir(&self.records) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries.map_err(failed("list", &self.records))?,
        };
        let mut apps = BTreeSet::new();
        for entry in entries {
            let name = entry.map_err(failed("list", &self.records))?.file_name();
            let parts = name.to_str().and_then(|name| name.strip_suffix(".json")?.split_once('.'));
            apps.extend(parts.and_then(|(app, _)| app.parse().ok()));
        }
        Ok(apps)
    }

    /// Everything that is remembered of `app`.
    pub fn read(&self, app: &AppName) -> Records {
        let mut unreadable = Vec::new();
        Records {
            trial: self.one(app, "trial", &mut unreadable),
            committed: self.one(app, "committed", &mut unreadable).unwrap_or_default(),
            refusals: self.one(app, "refusals", &mut unreadable).unwrap_or_default(),
            setback: self.one(app, "setback", &mut unreadable),
            rollback: self.one(app, "rollback", &mut unreadable),
            retry: self.one(app, "retry", &mut unreadable),
            orphan: self.one(app, "orphan", &mut unreadable),
            hold: self.of_person(&self.file(app, "hold"), &mut unreadable, |hold: &mut Hold| &mut hold.until),
            pin: self.of_person(&self.file(app, "pin"), &mut unreadable, |pin: &mut Pin| &mut pin.until),
            drift: self.one(app, "drift", &mut unreadable),
            heal: self.one(app, "heal", &mut unreadable),
            unreadable,
        }
    }

    /// Removes every record of `app`.
    ///
    /// # Errors
    /// Whatever the system says; what is left is removed by the next call.
    pub fn forget(&self, _lock: &Lock, app: &AppName) -> Result<(), disk::Error> {
        for directory in [&self.records, &self.running] {
            let entries = match std::fs::read_dir(directory) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries.map_err(failed("list", directory))?,
            };
            for entry in entries {
                let entry = entry.map_err(failed("list", directory))?;
                if entry.file_name().to_string_lossy().starts_with(&format!("{app}.")) {
                    disk::remove(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Writes `record`, or removes it where it is empty; durable when this returns.
    ///
    /// # Errors
    /// Whatever the system says; the record is then the old one or the new one.
    pub fn write(&self, _lock: &Lock, app: &AppName, record: &Record) -> Result<(), disk::Error> {
        match record {
            Record::Trial(trial) => self.keep(app, "trial", trial.as_ref()),
            Record::Committed(list) => self.keep(app, "committed", some(list)),
            Record::Refusals(list) => self.keep(app, "refusals", some(list)),
            Record::Setback(setback) => self.keep(app, "setback", setback.as_ref()),
            Record::Rollback(intent) => self.keep(app, "rollback", intent.as_ref()),
            Record::Retry(intent) => self.keep(app, "retry", intent.as_ref()),
            Record::Orphan(orphan) => self.keep(app, "orphan", orphan.as_ref()),
            Record::Hold(hold) => self.keep_of_person(&self.file(app, "hold"), hold.as_ref()),
            Record::Pin(pin) => self.keep_of_person(&self.file(app, "pin"), pin.as_ref()),
            Record::Drift(drift) => self.keep(app, "drift", drift.as_ref()),
            Record::Heal(intent) => self.keep(app, "heal", intent.as_ref()),
        }
    }

    /// Writes a person's wish to go back; without the lock, whose holder it is told to.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn ask_rollback(&self, app: &AppName, intent: &Rollback) -> Result<(), disk::Error> {
        self.keep(app, "rollback", Some(intent))
    }

    /// Writes a person's wish to try again; without the lock, whose holder it is told to.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn ask_retry(&self, app: &AppName, intent: &Retry) -> Result<(), disk::Error> {
        self.keep(app, "retry", Some(intent))
    }

    /// A person's stop of the whole device; unreadable, it holds nothing and is told.
    pub fn hold(&self, unreadable: &mut Vec<Unreadable>) -> Option<Hold> {
        self.of_person(&self.records.join(HOLD), unreadable, |hold: &mut Hold| &mut hold.until)
    }

    /// Writes a person's stop of `app`, or of the whole device; without the lock, whose holder it is told to.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn ask_hold(&self, app: Option<&AppName>, hold: &Hold) -> Result<(), disk::Error> {
        self.keep_of_person(&self.hold_file(app), Some(hold))
    }

    /// Writes a person's choice for `app`; without the lock, whose holder it is told to.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn ask_pin(&self, app: &AppName, pin: &Pin) -> Result<(), disk::Error> {
        self.keep_of_person(&self.file(app, "pin"), Some(pin))
    }

    /// Ends a person's stop of `app`, or of the whole device; without the lock, whose holder hears of it.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn end_hold(&self, app: Option<&AppName>) -> Result<(), disk::Error> {
        disk::remove(&self.hold_file(app))
    }

    /// Ends a person's choice for `app`; without the lock, whose holder hears of it.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn end_pin(&self, app: &AppName) -> Result<(), disk::Error> {
        disk::remove(&self.file(app, "pin"))
    }

    fn hold_file(&self, app: Option<&AppName>) -> PathBuf {
        app.map_or_else(|| self.records.join(HOLD), |app| self.file(app, "hold"))
    }

    /// What a person set up until some time; the time since boot counts only in the boot that it was written in.
    fn of_person<T: DeserializeOwned>(
        &self,
        path: &Path,
        bad: &mut Vec<Unreadable>,
        until: fn(&mut T) -> &mut Until,
    ) -> Option<T> {
        let (boot, mut record) = read_or_say::<(String, T)>(path, bad)?;
        if boot != self.boot {
            until(&mut record).boot = None;
        }
        Some(record)
    }

    fn keep_of_person<T: Serialize>(&self, path: &Path, record: Option<&T>) -> Result<(), disk::Error> {
        let Some(record) = record else { return disk::remove(path) };
        disk::create_directories(&self.records)?;
        disk::replace(path, &encode(&(&self.boot, record), path)?)
    }

    /// Writes a person's wish to have the live tree mended; without the lock, whose holder it is told to.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn ask_heal(&self, app: &AppName, intent: &Heal) -> Result<(), disk::Error> {
        self.keep(app, "heal", Some(intent))
    }

    /// Moves a record that cannot be read out of the way, for a person to look at, and gives its new place.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn set_aside(&self, _lock: &Lock, record: &Unreadable) -> Result<PathBuf, disk::Error> {
        disk::set_aside(&record.path, ".unreadable")
    }

    /// What runs of `app` since this boot, as far as is known.
    pub fn running(&self, app: &AppName) -> Running {
        // Unreadable: something was begun in this boot, and nobody knows how it ended.
        let unclear = || Running { run: Run::Unclear, ..Running::default() };
        self.of_boot(&format!("{app}.running.json")).unwrap_or_else(|_| unclear())
    }

    /// Remembers what runs of `app`, for the time of this boot.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn keep_running(&self, _lock: &Lock, app: &AppName, running: &Running) -> Result<(), disk::Error> {
        self.keep_for_boot(&format!("{app}.running.json"), running)
    }

    /// What the agent last said in this boot.
    pub fn told(&self) -> Told {
        self.of_boot("told.json").unwrap_or_default()
    }

    /// Remembers what the agent says, for the time of this boot.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn keep_told(&self, _lock: &Lock, told: &Told) -> Result<(), disk::Error> {
        self.keep_for_boot("told.json", told)
    }

    /// Whether the guard was here in this boot.
    pub fn guarded(&self) -> bool {
        self.of_boot("guarded.json").unwrap_or_default()
    }

    /// Remembers that the guard was here, for the time of this boot.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn keep_guarded(&self, _lock: &Lock) -> Result<(), disk::Error> {
        self.keep_for_boot("guarded.json", &true)
    }

    fn of_boot<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, String> {
        let kept = load::<(String, T)>(&self.running.join(name))?;
        Ok(kept.filter(|(boot, _)| *boot == self.boot).map_or_else(T::default, |(_, kept)| kept))
    }

    fn keep_for_boot<T: Serialize>(&self, name: &str, record: &T) -> Result<(), disk::Error> {
        disk::create_directories(&self.running)?;
        let path = self.running.join(name);
        disk::replace_for_boot(&path, &encode(&(&self.boot, record), &path)?)
    }

    fn one<T: DeserializeOwned>(&self, app: &AppName, kind: &str, bad: &mut Vec<Unreadable>) -> Option<T> {
        read_or_say(&self.file(app, kind), bad)
    }

    fn keep<T: Serialize>(&self, app: &AppName, kind: &str, record: Option<&T>) -> Result<(), disk::Error> {
        let path = self.file(app, kind);
        let Some(record) = record else { return disk::remove(&path) };
        disk::create_directories(&self.records)?;
        disk::replace(&path, &encode(record, &path)?)
    }

    fn file(&self, app: &AppName, kind: &str) -> PathBuf {
        self.records.join(format!("{app}.{kind}.json"))
    }
}

/// Whether the record of this file name is a person's wish. One that is `gone` says something only where people take
/// it back themselves.
pub(super) fn is_intent(name: &str, gone: bool) -> bool {
    let stop = name == HOLD || name.ends_with(".hold.json") || name.ends_with(".pin.json");
    let wish = || [".rollback.json", ".retry.json", ".heal.json"].iter().any(|kind| name.ends_with(kind));
    stop || !gone && wish()
}

fn read_or_say<T: DeserializeOwned>(path: &Path, bad: &mut Vec<Unreadable>) -> Option<T> {
    match load(path) {
        Ok(record) => record,
        Err(problem) => {
            bad.push(Unreadable { path: path.to_owned(), problem });
            None
        }
    }
}

fn some<T>(list: &Vec<T>) -> Option<&Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}
