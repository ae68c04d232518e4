//! The hands for what runs: units placed, releases stopped and started, checks asked, and what is remembered of all that
//! for the time of one boot.
//!
//! Never here: a choice between steps.

use std::collections::BTreeSet;
use std::time::Duration;

use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;
use tidelock_protocol::recipe::{self, Probe};

use super::{Error, Turn, in_words};
use crate::decide::model::{Memory, Outcome, Recipe, Run, Said, is_itself};
use crate::io::journal::Running;
use crate::io::release::{self, Release};
use crate::io::service::{self, Ended, Rest, Stopped, Supervisor, Transient};
use crate::io::units::{self, Files};
use crate::io::{clock, disk, probe};

impl Turn<'_> {
    pub(super) fn place(&mut self, app: &AppName, tree: Option<&Digest>) -> Result<(), Error> {
        let site = self.site;
        let failed = |problem| {
            let path = site.paths.units();
            disk::Error { what: "place the units of an app in", path, source: std::io::Error::other(problem) }
        };
        let wanted = match tree {
            None => Files::new(),
            Some(tree) => Release::load(site.terms(), app, tree).map_err(failed)?.units,
        };
        let before = site.journal.running(app);
        site.journal.keep_running(self.lock, app, &Running { untold: true, ..before.clone() })?;
        if site.supervisor == Supervisor::Systemd {
            let gone = &units::all(&units::of(&units::found(&site.paths)?, app)) - &units::all(&wanted);
            // How they failed would be told of the machine for ever.
            service::forget(&gone);
        }
        if units::place(self.lock, &site.paths, app, &wanted)? || before.untold {
            let told = service::read_again(self.wake).map_err(|Stopped| Error::Stopped)?;
            if told.outcome == Outcome::Failed {
                return Err(failed(told.output).into());
            }
        }
        Ok(site.journal.keep_running(self.lock, app, &Running { untold: false, ..before })?)
    }

    pub(super) fn stop(&mut self, app: &AppName, tree: &Digest, timeout: Duration) -> Result<(), Error> {
        let begun = self.site.journal.running(app).run;
        self.begin(app)?;
        if let Run::Starting { .. } = begun {
            service::end_unit(&Transient::of_start(app.as_str()));
        }
        if self.site.supervisor == Supervisor::Systemd {
            let units = units::all(&units::of(&units::found(&self.site.paths)?, app));
            let stopped = service::stop(&units, timeout, self.wake).map_err(|Stopped| Error::Stopped)?;
            if stopped.outcome == Outcome::Failed {
                log::warn!(app = app.as_str(); "{app}: its units did not stop: {}", stopped.output);
            }
        }
        let hook = |recipe: &recipe::Recipe| recipe.hooks.stop.clone().map(Probe::Command);
        let ended = self.run_command(app, tree, Duration::ZERO, timeout, Rest::Ends, hook)?;
        // A stop hook that fails cannot keep a release alive.
        if let Some(Ended { outcome: Outcome::Failed, output }) = ended {
            log::warn!(app = app.as_str(); "{app}: the stop hook failed: {output}");
        }
        if self.site.supervisor == Supervisor::Systemd {
            service::end_unit(&Transient::of_start(app.as_str()));
        }
        self.keep(app, Run::Stopped)
    }

    pub(super) fn start(&mut self, app: &AppName, tree: Digest, timeout: Duration) -> Result<(), Error> {
        self.begin(app)?;
        let settings = release::settings(&self.site.paths, app);
        let goes_on = self.site.supervisor == Supervisor::Systemd;
        self.remember(app, |running| {
            running.settings = Some(settings);
            if goes_on {
                running.run = Run::Starting { tree };
            }
        })?;
        if let Ok(release) = Release::load(self.site.terms(), app, &tree) {
            release.make_data(self.lock)?;
        }
        let hook = |recipe: &recipe::Recipe| recipe.hooks.start.clone().map(Probe::Command);
        let ended = self.run_command(app, &tree, Duration::ZERO, timeout, Rest::LivesOn, hook)?;
        self.start_on(app, tree, timeout, ended)
    }

    /// Waits for the start hook that goes on in its unit; whoever began it is not there any more.
    pub(super) fn await_start(
        &mut self,
        app: &AppName,
        tree: Digest,
        timeout: Duration,
    ) -> Result<(), Error> {
        let release = Release::load(self.site.terms(), app, &tree);
        let ended = match release.is_ok_and(|release| release.recipe.hooks.start.is_some()) {
            true => Some(service::await_start(&Transient::of_start(app.as_str()), timeout, self.wake)),
            false => None,
        };
        let ended = ended.transpose().map_err(|Stopped| Error::Stopped)?;
        self.start_on(app, tree, timeout, ended)
    }

    /// What follows on the start hook, if there is one.
    fn start_on(
        &mut self,
        app: &AppName,
        tree: Digest,
        timeout: Duration,
        mut ended: Option<Ended>,
    ) -> Result<(), Error> {
        if ended.as_ref().is_none_or(|ended| ended.outcome == Outcome::Passed) {
            ended = self.start_units(app, timeout)?;
        }
        // What it had started by then is to be stopped.
        self.started(app, tree, ended, Run::Unclear)
    }

    /// Starts the units of an app that start with the device; the others are started by them.
    fn start_units(&self, app: &AppName, timeout: Duration) -> Result<Option<Ended>, Error> {
        let units = self.enabled(app)?;
        if units.is_empty() {
            return Ok(None);
        }
        service::start(&units, timeout, self.wake).map(Some).map_err(|Stopped| Error::Stopped)
    }

    fn enabled(&self, app: &AppName) -> Result<BTreeSet<String>, Error> {
        match self.site.supervisor {
            Supervisor::Hooks => Ok(BTreeSet::new()),
            Supervisor::Systemd => Ok(units::enabled(&units::of(&units::found(&self.site.paths)?, app))),
        }
    }

    pub(super) fn reload(&mut self, app: &AppName, tree: Digest, timeout: Duration) -> Result<(), Error> {
        self.begin(app)?;
        // A timer or a target has nothing to read.
        let services = self.enabled(app)?.into_iter().filter(|unit| unit.ends_with(".service")).collect();
        let ended = service::reload(&services, timeout, self.wake).map_err(|Stopped| Error::Stopped)?;
        self.started(app, tree, Some(ended), Run::Unclear)
    }

    pub(super) fn revive(&mut self, app: &AppName, tree: Digest, timeout: Duration) -> Result<(), Error> {
        let ended = self.start_units(app, timeout)?;
        self.started(app, tree, ended, Run::Started { tree, at: clock::since_boot() })
    }

    /// Changes what is remembered of an app for the time of this boot.
    pub(super) fn remember(&self, app: &AppName, change: impl FnOnce(&mut Running)) -> Result<(), Error> {
        let mut running = self.site.journal.running(app);
        change(&mut running);
        Ok(self.site.journal.keep_running(self.lock, app, &running)?)
    }

    /// Keeps how a start ended; `otherwise` is what runs after one that failed.
    fn started(
        &mut self,
        app: &AppName,
        tree: Digest,
        ended: Option<Ended>,
        otherwise: Run,
    ) -> Result<(), Error> {
        match ended {
            Some(ended) if ended.outcome == Outcome::Failed => {
                log::warn!(app = app.as_str(); "{app}: it does not start: {}", ended.output);
                self.say(app, Recipe::START.into(), ended, 0);
                self.keep(app, otherwise)
            }
            _ => self.keep(app, Run::Started { tree, at: clock::since_boot() }),
        }
    }

    pub(super) fn probe(
        &mut self,
        app: &AppName,
        tree: &Digest,
        check: &str,
        started: Duration,
        timeout: Duration,
    ) -> Result<Ended, Error> {
        if is_itself(app) && check == Recipe::POLL {
            return Ok(self.poll_as_check());
        }
        let asked = |recipe: &recipe::Recipe| {
            recipe.checks.iter().find(|one| one.name == check).map(|one| one.probe.clone())
        };
        let ended = self.run_command(app, tree, started, timeout, Rest::Ends, asked)?;
        Ok(ended.unwrap_or_else(|| Ended::failed("the release has no such check any more")))
    }

    /// Runs what `asked` takes from the recipe of a sealed release; none where the recipe has no such thing.
    fn run_command(
        &self,
        app: &AppName,
        tree: &Digest,
        started: Duration,
        timeout: Duration,
        rest: Rest,
        asked: impl FnOnce(&recipe::Recipe) -> Option<Probe>,
    ) -> Result<Option<Ended>, Error> {
        let release = Release::load(self.site.terms(), app, tree);
        let asked = release.and_then(|release| {
            let Some(asked) = asked(&release.recipe) else { return Ok(None) };
            let asked = release.on_device(asked);
            let job = release.job(&[], timeout, rest)?;
            release.make_data(self.lock).map_err(|error| in_words(&error))?;
            Ok(Some((asked, job)))
        });
        match asked {
            Ok(None) => Ok(None),
            Ok(Some((asked, job))) => {
                probe::run(&asked, job, started, self.wake).map(Some).map_err(|Stopped| Error::Stopped)
            }
            Err(problem) => Ok(Some(Ended::failed(problem))),
        }
    }

    /// A hook begins: from now until it returns nobody knows what runs.
    fn begin(&mut self, app: &AppName) -> Result<(), Error> {
        self.keep(app, Run::Unclear)
    }

    pub(super) fn say(&mut self, app: &AppName, name: String, ended: Ended, passes: u32) {
        let Ended { outcome, output } = ended;
        self.memory(app).said.insert(name, Said { outcome, passes, at: clock::since_boot(), output });
    }

    pub(super) fn keep(&mut self, app: &AppName, run: Run) -> Result<(), Error> {
        let Memory { said, trouble, .. } = self.memory(app).clone();
        let before = self.site.journal.running(app);
        Ok(self.site.journal.keep_running(self.lock, app, &Running { run, said, trouble, ..before })?)
    }
}
