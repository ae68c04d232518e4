//! The hands of a turn: each step done with the values it carries, and what is remembered of it.
//!
//! Never here: a choice between steps.

use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;
use tidelock_protocol::release;

use super::{Error, Turn, in_words};
use crate::config::Mode;
use crate::decide::model::{
    Extent, File, Files, Memory, Outcome, Pass, Rechecked, Step, Trouble, TroubleKind, is_itself,
};
use crate::io::journal::Unreadable;
use crate::io::release::write_environment;
use crate::io::wake::Woken;
use crate::io::{activate, clock, disk, fetch, idle, launch, source};
use crate::look;

impl Turn<'_> {
    /// What earlier cuts left lying about: records that cannot be read, and what was being removed or put in place.
    pub(super) fn tidy_up(&self) -> Result<(), Error> {
        if self.site.settings.mode == Mode::Observe {
            return Ok(());
        }
        let paths = &self.site.paths;
        disk::sweep(&paths.trust())?;
        disk::sweep(&paths.apps())?;
        for app in look::apps(self.site)? {
            disk::sweep(&paths.app(&app))?;
            disk::sweep(&paths.releases(&app))?;
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
            Step::Index { app, tree, index, reuse } => self.index(&app, tree, index, reuse)?,
            Step::Fetch { app, tree, index, bundle, reuse } => {
                self.fetch(&app, tree, index, bundle, reuse)?
            }
            Step::Seal { app, setup, source: files } => {
                write_environment(lock, paths, &app, &setup)?;
                source::write(lock, paths, &app, &setup.tree, &files)?;
                disk::seal(&paths.staged(&app, &setup.tree), &paths.release(&app, &setup.tree))?;
            }
            Step::Stop { app, tree, timeout } => self.stop(&app, &tree, timeout)?,
            Step::Launch { .. } => {
                // A release that hands over did not end by itself, however seldom it came to rest before.
                if self.site.launched.tree.is_some() {
                    Self::was_of_use(self.site, lock)?;
                }
                return Err(Error::Launch(launch::become_launcher()));
            }
            // Whoever was tried need not be waited for any more.
            Step::Commit { app, .. } if is_itself(&app) => clock::alarm(None),
            Step::Start { app, tree, timeout } => self.start(&app, tree, timeout)?,
            Step::Await { app, tree, timeout } => self.await_start(&app, tree, timeout)?,
            Step::Reload { app, tree, timeout } => self.reload(&app, tree, timeout)?,
            Step::Revive { app, tree, timeout } => self.revive(&app, tree, timeout)?,
            Step::Probe { app, tree, check, started, timeout, if_passed, if_failed } => {
                let ended = self.probe(&app, &tree, &check, started, timeout)?;
                let passes = if ended.outcome == Outcome::Passed { if_passed } else { if_failed };
                self.say(&app, check, ended, passes);
                self.keep(&app, self.site.journal.running(&app).run)?;
            }
            Step::Point { app, tree } => activate::point(lock, paths, &app, &tree)?,
            Step::Unlink { app } => activate::unlink(lock, paths, &app)?,
            Step::Place { app, tree } => self.place(&app, tree.as_ref())?,
            Step::Inspect { app, tree, from, bytes } => self.inspect(&app, tree, from, bytes),
            Step::Recheck { app, tree, extent } => self.recheck(&app, tree, extent),
            Step::Heal { app, tree, source, others } => self.heal(&app, tree, source, &others)?,
            Step::Prune { app, tree } => disk::prune(&paths.release(&app, &tree))?,
            Step::Discard { app, tree } => disk::prune(&paths.staged(&app, &tree))?,
            Step::Erase { app, .. } => disk::remove_if_empty(&[paths.releases(&app), paths.app(&app)])?,
            Step::UnholdAll => self.site.journal.end_hold(None)?,
            Step::Note { app, settings } => {
                self.remember(&app, |running| running.settings = Some(settings))?
            }
            Step::Try { app, tried } => self.remember(&app, |running| running.tried = Some(tried))?,
            // A trial that passed did so with the settings that lie there.
            Step::Commit { app, .. } => self.remember(&app, |running| running.tried = None)?,
            // All that these do is in their records.
            Step::Open { .. }
            | Step::Count { .. }
            | Step::Back { .. }
            | Step::Refuse { .. }
            | Step::Defer { .. }
            | Step::Close { .. }
            | Step::Decline { .. }
            | Step::Forget { .. }
            | Step::Orphan { .. }
            | Step::Unhold { .. }
            | Step::Unpin { .. }
            | Step::Record { .. }
            | Step::Rest { .. } => {}
        }
        Ok(())
    }

    fn index(
        &mut self,
        app: &AppName,
        tree: Digest,
        index: File,
        reuse: Option<Digest>,
    ) -> Result<(), Error> {
        let paths = &self.site.paths;
        let (staged, running) = (paths.staged(app, &tree), reuse.map(|tree| paths.release(app, &tree)));
        let (index, running, share) = (signed(index), running.as_deref(), self.site.share());
        let found = match self.publisher.connect(self.site) {
            Ok(http) => self.wake.mortal(|| fetch::index(http, &index, &tree, &staged, running, share)),
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
        let share = self.site.share();
        let job =
            fetch::Job { index: &index, bundle: &bundle, tree: &tree, staging: &staging, running, share };
        let (http, wake) = (self.publisher.connect(self.site)?, self.wake);
        match wake.mortal(|| fetch::tree(http, &job, &|| wake.interrupts())) {
            Ok(report) => {
                let fetch::Report { bytes, requests, files, resumed, reused, spoilt, .. } = report;
                log::info!(
                    app = app.as_str();
                    "{app}: fetched {bytes} bytes in {requests} requests; of {files} files {reused} were here and \
                     {resumed} staged already"
                );
                self.memory(app).whole = Some(tree);
                if let Some(tree) = reuse.filter(|_| spoilt > 0) {
                    let first = vec!["seen when it was taken over".to_owned()];
                    self.memory(app).rechecked = Some(Rechecked { tree, differing: spoilt, first });
                }
            }
            Err(fetch::Error::Stopped) if self.wake.stopped() => return Err(Error::Stopped),
            // A person wrote a wish: it comes first, and the fetch is taken up again where it was.
            Err(fetch::Error::Stopped) => {}
            Err(error) => self.trouble(app, tree, &error)?,
        }
        Ok(())
    }

    /// The next piece of a pass over the live tree, at the disk's idle times.
    fn inspect(&mut self, app: &AppName, tree: Digest, from: Option<String>, bytes: u64) {
        let place = self.site.paths.release(app, &tree);
        let found = self.wake.mortal(|| idle::run(|| fetch::inspect(&place, &tree, from.as_deref(), bytes)));
        let found = found.unwrap_or(Err(fetch::Error::Thread("could not begin")));
        // Without a usable index nothing can be said for the tree, and that is a difference too.
        let piece = found.unwrap_or_else(|error| fetch::Piece {
            next: None,
            differing: 1,
            first: vec![in_words(&error)],
        });
        let at = clock::since_boot();
        let before = self.memory(app).pass.take().filter(|before| before.tree == tree && from.is_some());
        let mut pass = before.unwrap_or(Pass { tree, next: None, at, differing: 0, first: Vec::new() });
        pass.first.extend(piece.first);
        pass.first.truncate(fetch::FIRST);
        pass.differing += piece.differing;
        self.memory(app).pass = Some(Pass { next: piece.next, at, ..pass });
    }

    /// Hashes a tree that the link may move to.
    fn recheck(&mut self, app: &AppName, tree: Digest, extent: Extent) {
        let place = self.site.paths.release(app, &tree);
        let found = self.wake.mortal(|| fetch::recheck(&place, &tree, extent));
        // Without a usable index nothing can be said for the tree, and that is a difference too.
        let found =
            found.unwrap_or_else(|error| Rechecked { tree, differing: 1, first: vec![in_words(&error)] });
        if found.differing > 0 {
            log::warn!(
                app = app.as_str();
                "{app}: entries of tree {} that differ: {} ({})",
                tree.short(),
                found.differing,
                found.first.join(", ")
            );
        }
        self.memory(app).rechecked = Some(found);
    }

    fn heal(&mut self, app: &AppName, tree: Digest, source: Files, others: &[Digest]) -> Result<(), Error> {
        let paths = &self.site.paths;
        let (index, bundle) = (signed(source.index), signed(source.bundle));
        let (place, staging) = (paths.release(app, &tree), paths.mending(app, &tree));
        let others: Vec<_> = others.iter().map(|tree| paths.release(app, tree)).collect();
        let job = fetch::Mending {
            place: &place,
            tree: &tree,
            index: &index,
            bundle: &bundle,
            staging: &staging,
            others: &others,
        };
        let wake = self.wake;
        let http = match self.publisher.connect(self.site) {
            Ok(http) => http,
            Err(failure) => return self.put_off(app, tree, TroubleKind::Network, in_words(&failure)),
        };
        match wake.mortal(|| fetch::heal(http, &job, &|| wake.interrupts())) {
            Ok(fetch::Report { bytes, requests, files, .. }) => {
                log::warn!(
                    app = app.as_str();
                    "{app}: mended {files} files of tree {}, with {bytes} bytes in {requests} requests",
                    tree.short()
                );
                self.memory(app).mended = Some(tree);
                self.memory(app).rechecked = Some(Rechecked::right(tree));
            }
            Err(fetch::Error::Stopped) if self.wake.stopped() => return Err(Error::Stopped),
            Err(fetch::Error::Stopped) => {}
            Err(error) => self.trouble(app, tree, &error)?,
        }
        Ok(())
    }

    /// A fetch that failed is remembered, and shown to whoever asks why.
    fn trouble(&mut self, app: &AppName, tree: Digest, error: &fetch::Error) -> Result<(), Error> {
        self.put_off(app, tree, error.kind(), in_words(error))
    }

    fn put_off(
        &mut self,
        app: &AppName,
        tree: Digest,
        kind: TroubleKind,
        message: String,
    ) -> Result<(), Error> {
        log::warn!(app = app.as_str(); "{app}: {message}");
        let before = self.memory(app).trouble.take().filter(|before| before.tree == tree);
        let tries = before.map_or(1, |before| before.tries.saturating_add(1));
        let trouble = Trouble { tree, kind, message, tries, at: clock::since_boot() };
        self.memory(app).trouble = Some(trouble);
        self.keep(app, self.site.journal.running(app).run)
    }

    pub(super) fn memory(&mut self, app: &AppName) -> &mut Memory {
        self.memories.0.entry(app.clone()).or_default()
    }
}

/// A file as the wire names it.
fn signed(file: File) -> release::File {
    let File { name, length, sha256 } = file;
    release::File { name, length, sha256 }
}
