//! The hands of a turn: each step done with the values it carries, and what is remembered of it.
//!
//! Never here: a choice between steps.

use std::time::Duration;

use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;
use tidelock_protocol::recipe::{self, Probe};
use tidelock_protocol::release;

use super::{Error, Turn, in_words};
use crate::config::Mode;
use crate::decide::model::{File, Memory, Outcome, Recipe, Run, Said, Step, Trouble};
use crate::io::journal::{Running, Unreadable};
use crate::io::release::{Release, write_environment};
use crate::io::service::{Ended, Rest, Stopped};
use crate::io::wake::Woken;
use crate::io::{activate, clock, disk, fetch, probe};
use crate::look;

impl Turn<'_> {
    /// What earlier cuts left lying about: records that cannot be read, and trees that were being removed.
    pub(super) fn tidy_up(&self) -> Result<(), Error> {
        if self.site.settings.mode == Mode::Observe {
            return Ok(());
        }
        for app in look::apps(self.site)? {
            disk::sweep(&self.site.paths.releases(&app))?;
            for record in self.site.journal.read(&app).unreadable {
                self.set_aside(app.as_str(), &record)?;
            }
        }
        let mut unreadable = Vec::new();
        self.site.journal.hold(&mut unreadable);
        unreadable.iter().try_for_each(|record| self.set_aside("hold --all", record))
    }

    fn set_aside(&self, of: &str, record: &Unreadable) -> Result<(), Error> {
        let aside = self.site.journal.set_aside(self.lock, record)?;
        let (problem, place) = (&record.problem, aside.display());
        log::error!("{of}: a record cannot be read and counts as none: {problem} (moved to {place})");
        Ok(())
    }

    /// Does one step.
    pub(super) fn take(&mut self, step: Step) -> Result<(), Error> {
        let Some(app) = step.app().cloned() else { return self.act(step) };
        self.memory(&app).before(&step);
        for record in step.records() {
            self.site.journal.write(self.lock, &app, &record)?;
        }
        let done = step.clone();
        self.act(step)?;
        self.memory(&app).after(&done);
        Ok(())
    }

    /// What a step does besides its records.
    fn act(&mut self, step: Step) -> Result<(), Error> {
        let (paths, lock) = (&self.site.paths, self.lock);
        match step {
            Step::Wait { pause } => {
                let left = self.rhythm.as_ref().map_or(pause, |rhythm| rhythm.left());
                let pause = pause.min(left);
                if self.wake.pause(pause) == Woken::Stopped {
                    return Err(Error::Stopped);
                }
            }
            Step::Index { app, tree, index } => self.index(&app, tree, index)?,
            Step::Fetch { app, tree, index, bundle, reuse } => {
                self.fetch(&app, tree, index, bundle, reuse)?
            }
            Step::Seal { app, setup } => {
                write_environment(lock, paths, &app, &setup)?;
                disk::seal(&paths.staged(&app, &setup.tree), &paths.release(&app, &setup.tree))?;
            }
            Step::Stop { app, tree, timeout } => self.stop(&app, &tree, timeout)?,
            Step::Start { app, tree, timeout } => self.start(&app, tree, timeout)?,
            Step::Probe { app, tree, check, timeout, if_passed, if_failed } => {
                let ended = self.probe(&app, &tree, &check, timeout)?;
                let passes = if ended.outcome == Outcome::Passed { if_passed } else { if_failed };
                self.say(&app, check, ended, passes);
                self.keep(&app, self.site.journal.running(&app).run)?;
            }
            Step::Point { app, tree } => activate::point(lock, paths, &app, &tree)?,
            Step::Unlink { app } => activate::unlink(lock, paths, &app)?,
            Step::Prune { app, tree } => disk::prune(&paths.release(&app, &tree))?,
            Step::Discard { app, tree } => disk::prune(&paths.staged(&app, &tree))?,
            Step::UnholdAll => self.site.journal.end_hold(None)?,
            // All that these do is in their records.
            Step::Open { .. }
            | Step::Count { .. }
            | Step::Back { .. }
            | Step::Commit { .. }
            | Step::Refuse { .. }
            | Step::Defer { .. }
            | Step::Close { .. }
            | Step::Decline { .. }
            | Step::Forget { .. }
            | Step::Unhold { .. }
            | Step::Unpin { .. }
            | Step::Rest { .. } => {}
        }
        Ok(())
    }

    fn index(&mut self, app: &AppName, tree: Digest, index: File) -> Result<(), Error> {
        let staged = self.site.paths.staged(app, &tree);
        let found = match self.publisher.connect(self.site) {
            Ok(http) => self.wake.mortal(|| fetch::index(http, &signed(index), &tree, &staged)),
            Err(failure) => return Err(failure.into()),
        };
        match found {
            Ok(need) => self.memory(app).need = Some((tree, need)),
            Err(error) => self.trouble(app, tree, &error)?,
        }
        Ok(())
    }

    fn fetch(
        &mut self,
        app: &AppName,
        tree: Digest,
        index: File,
        bundle: File,
        reuse: Option<Digest>,
    ) -> Result<(), Error> {
        let paths = &self.site.paths;
        let (index, bundle, staging) = (signed(index), signed(bundle), paths.staged(app, &tree));
        let running = reuse.map(|tree| paths.release(app, &tree));
        let running = running.as_deref();
        let reuse = self.site.settings.reuse;
        let job =
            fetch::Job { index: &index, bundle: &bundle, tree: &tree, staging: &staging, running, reuse };
        let (http, wake) = (self.publisher.connect(self.site)?, self.wake);
        match wake.mortal(|| fetch::tree(http, &job, &|| wake.interrupts())) {
            Ok(report) => {
                let fetch::Report { bytes, requests, files, resumed, reused, .. } = report;
                log::info!(
                    "{app}: fetched {bytes} bytes in {requests} requests; of {files} files {reused} were here and \
                     {resumed} staged already"
                );
                self.memory(app).whole = Some(tree);
            }
            Err(fetch::Error::Stopped) if self.wake.stopped() => return Err(Error::Stopped),
            // A person wrote a wish: it comes first, and the fetch is taken up again where it was.
            Err(fetch::Error::Stopped) => {}
            Err(error) => self.trouble(app, tree, &error)?,
        }
        Ok(())
    }

    /// A fetch that failed is remembered, and shown to whoever asks why.
    fn trouble(&mut self, app: &AppName, tree: Digest, error: &fetch::Error) -> Result<(), Error> {
        let message = in_words(error);
        log::warn!("{app}: {message}");
        let before = self.memory(app).trouble.take().filter(|before| before.tree == tree);
        let tries = before.map_or(1, |before| before.tries.saturating_add(1));
        let trouble = Trouble { tree, kind: error.kind(), message, tries, at: clock::since_boot() };
        self.memory(app).trouble = Some(trouble);
        self.keep(app, self.site.journal.running(app).run)
    }

    fn stop(&mut self, app: &AppName, tree: &Digest, timeout: Duration) -> Result<(), Error> {
        self.begin(app)?;
        let hook = |recipe: &recipe::Recipe| recipe.hooks.stop.clone().map(Probe::Command);
        let ended = self.run_command(app, tree, timeout, Rest::Ends, hook)?;
        // A stop hook that fails cannot keep a release alive.
        if let Some(Ended { outcome: Outcome::Failed, output }) = ended {
            log::warn!("{app}: the stop hook failed: {output}");
        }
        self.keep(app, Run::Stopped)
    }

    fn start(&mut self, app: &AppName, tree: Digest, timeout: Duration) -> Result<(), Error> {
        self.begin(app)?;
        let hook = |recipe: &recipe::Recipe| recipe.hooks.start.clone().map(Probe::Command);
        match self.run_command(app, &tree, timeout, Rest::LivesOn, hook)? {
            Some(ended) if ended.outcome == Outcome::Failed => {
                log::warn!("{app}: the start hook failed: {}", ended.output);
                self.say(app, Recipe::START.into(), ended, 0);
                // What it had started by then is for the stop hook to end.
                self.keep(app, Run::Unclear)
            }
            _ => self.keep(app, Run::Started { tree, at: clock::since_boot() }),
        }
    }

    fn probe(
        &mut self,
        app: &AppName,
        tree: &Digest,
        check: &str,
        timeout: Duration,
    ) -> Result<Ended, Error> {
        let asked = |recipe: &recipe::Recipe| {
            recipe.checks.iter().find(|one| one.name == check).map(|one| one.probe.clone())
        };
        let ended = self.run_command(app, tree, timeout, Rest::Ends, asked)?;
        Ok(ended.unwrap_or_else(|| Ended::failed("the release has no such check any more")))
    }

    /// Runs what `asked` takes from the recipe of a sealed release; none where the recipe has no such thing.
    fn run_command(
        &self,
        app: &AppName,
        tree: &Digest,
        timeout: Duration,
        rest: Rest,
        asked: impl FnOnce(&recipe::Recipe) -> Option<Probe>,
    ) -> Result<Option<Ended>, Error> {
        let release = Release::load(&self.site.paths, &self.site.settings.root_apps, app, tree);
        let asked = release.and_then(|release| {
            let Some(asked) = asked(&release.recipe) else { return Ok(None) };
            let job = release.job(&[], timeout, rest)?;
            release.make_data(self.lock).map_err(|error| in_words(&error))?;
            Ok(Some((asked, job)))
        });
        match asked {
            Ok(None) => Ok(None),
            Ok(Some((asked, job))) => {
                probe::run(&asked, job, self.wake).map(Some).map_err(|Stopped| Error::Stopped)
            }
            Err(problem) => Ok(Some(Ended::failed(problem))),
        }
    }

    /// A hook begins: from now until it returns nobody knows what runs.
    fn begin(&mut self, app: &AppName) -> Result<(), Error> {
        self.keep(app, Run::Unclear)
    }

    fn say(&mut self, app: &AppName, name: String, ended: Ended, passes: u32) {
        let Ended { outcome, output } = ended;
        self.memory(app).said.insert(name, Said { outcome, passes, at: clock::since_boot(), output });
    }

    fn keep(&mut self, app: &AppName, run: Run) -> Result<(), Error> {
        let Memory { said, trouble, .. } = self.memory(app).clone();
        Ok(self.site.journal.keep_running(self.lock, app, &Running { run, said, trouble })?)
    }

    fn memory(&mut self, app: &AppName) -> &mut Memory {
        self.memories.0.entry(app.clone()).or_default()
    }
}

/// A file as the wire names it.
fn signed(file: File) -> release::File {
    let File { name, length, sha256 } = file;
    release::File { name, length, sha256 }
}
