//! What a turn hears from the publisher and says: to the log, to the service manager, to whoever asks later.
//!
//! Never here: a decision, or words of its own for a reason (`decide::model`).

use super::{Error, Turn, in_words};
use crate::decide::model::{Outcome, Reason, Step, Why};
use crate::io::journal::{Told, ToldReason};
use crate::io::notify;
use crate::io::refresh::Failure;
use crate::io::service::Ended;

impl Turn<'_> {
    /// Polls when it is time to: in the middle of a long trial too, since a newer wish ends it.
    pub(super) fn poll_if_due(&mut self) {
        let poked = self.wake.was_poked();
        if !self.rhythm.as_ref().is_some_and(|rhythm| poked || rhythm.left().is_zero()) {
            return;
        }
        let before = self.site.journal.told().polled.and_then(|(_, problem)| problem);
        let polled = self.poll();
        // A publisher that is away for a day is not worth a line per poll.
        match (before, polled.as_ref().err().map(|error| in_words(error))) {
            (before, Some(problem)) if before.as_ref() != Some(&problem) => log::warn!("{problem}"),
            (Some(before), None) => log::info!("the publisher answers again, after: {before}"),
            _ => {}
        }
        self.rhythm.iter_mut().for_each(|rhythm| rhythm.after(&polled));
    }

    /// Asks the publisher for news, and keeps how that went for whoever asks.
    ///
    /// # Errors
    /// Whatever kept it from being known whether there is any.
    pub fn poll(&mut self) -> Result<(), Failure> {
        let polled = self.wake.mortal(|| self.publisher.poll(self.site));
        let problem = polled.as_ref().err().map(|error| in_words(error));
        let mut told = self.site.journal.told();
        told.polled = Some((self.publisher.now().wall, problem));
        self.site.journal.keep_told(self.lock, &told)?;
        polled
    }

    /// A verified poll, as the check of whoever is this process.
    pub(super) fn poll_as_check(&mut self) -> Ended {
        match self.poll() {
            Ok(()) => Ended {
                outcome: Outcome::Passed,
                output: "the publisher answered, and all was verified".into(),
            },
            Err(failure) => Ended::failed(in_words(&failure)),
        }
    }

    /// Keeps why each app is where it is for whoever asks, and tells the service manager.
    pub(super) fn tell(&self, why: &Why) -> Result<(), Error> {
        let reason = |reason: &Reason| ToldReason { code: reason.code().into(), text: reason.to_string() };
        let why = why.apps.iter().map(|(app, one)| (app.clone(), reason(one))).collect();
        let before = self.site.journal.told();
        let news = before.why != why;
        let told = Told { why, ..before };
        notify::status(&status(&told));
        if news {
            self.site.journal.keep_told(self.lock, &told)?;
        }
        Ok(())
    }
}

/// Logs a step that is about to be taken, with what it is about and, where it is known, why.
pub(super) fn log(step: &Step, why: Option<&Why>) {
    let level = if matches!(step, Step::Wait { .. }) { log::Level::Debug } else { log::Level::Info };
    let Some(app) = step.app() else { return log::log!(level, "{step}") };
    match why.and_then(|why| why.apps.get(app)) {
        Some(reason) => log_reason(level, app.as_str(), reason, &step.to_string()),
        None => log::log!(level, app = app.as_str(); "{step}"),
    }
}

/// Logs the reasons that are others than `before`, at the end of a turn.
pub fn log_changes(before: &Why, why: &Why) {
    for (app, reason) in &why.apps {
        if before.apps.get(app).map(Reason::code) != Some(reason.code()) {
            let level = if reason.is_trouble() { log::Level::Warn } else { log::Level::Info };
            log_reason(level, app.as_str(), reason, &format!("{app}: {reason}"));
        }
    }
}

fn log_reason(level: log::Level, app: &str, reason: &Reason, words: &str) {
    match reason.setup() {
        Some(setup) => {
            let release = setup.to_string();
            log::log!(level, app, release = release.as_str(), reason = reason.code(); "{words}");
        }
        None => log::log!(level, app, reason = reason.code(); "{words}"),
    }
}

/// What the service manager shows: why each app is where it is, after whatever keeps the publisher from answering.
fn status(told: &Told) -> String {
    let silent = told.polled.as_ref().and_then(|(_, problem)| problem.as_ref());
    let silent = silent.map(|problem| format!("no word from the publisher ({problem})"));
    let apps = told.why.iter().map(|(app, reason)| format!("{app}: {}", reason.text));
    let words: Vec<String> = silent.into_iter().chain(apps).collect();
    if words.is_empty() { "no apps".into() } else { words.join("; ") }
}
