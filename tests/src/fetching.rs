//! A publisher and a device that fetches from it, with a wire between them that can go bad.
//!
//! Never here: trust, decisions, or what is asserted.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidelock::config::Connection;
use tidelock::io::fetch::{self, Error, Job, Report, Share};
use tidelock::io::http::{Http, Pace};
use tidelock_protocol::time::{Now, Timestamp};

use crate::faults::Proxy;
use crate::release::{Made, Published};
use crate::scratch::Scratch;
use crate::served::Served;

/// A publisher behind a wire that can go bad, and a device's directories.
pub struct Fetching {
    /// Where everything of the test lies; `public` is what is served.
    pub scratch: Scratch,
    /// The wire.
    pub proxy: Proxy,
    /// The device's connection.
    pub http: Http,
    /// How the device takes over files.
    pub share: Share,
    devices: PathBuf,
    _served: Served,
}

impl Fetching {
    /// A publisher with nothing published, on a wire that is good.
    ///
    /// # Panics
    /// When the server cannot start.
    pub fn start() -> Self {
        let scratch = Scratch::new("fetch");
        let root = scratch.join("public");
        fs::create_dir_all(root.join("targets")).unwrap();
        let served = Served::start(&root, None).unwrap();
        let proxy = Proxy::before(served.address(), None);
        let connection = Connection { url: proxy.url(), ca_file: None, header_file: None, client: None };
        let now = Now { wall: Timestamp::from_unix(1_795_000_000), boot: Duration::ZERO, trusted: true };
        let pace = Pace { window: Duration::from_secs(2), bytes: 16, ..Pace::default() };
        let http = Http::new(&connection, now).unwrap().with_pace(pace);
        let devices = scratch.path().to_owned();
        Self { scratch, proxy, http, share: Share::Blocks, devices, _served: served }
    }

    /// The same, with the device's directories elsewhere: on a file system of its own.
    #[must_use]
    pub fn on(mut self, devices: &Path, share: Share) -> Self {
        (self.devices, self.share) = (devices.to_owned(), share);
        self
    }

    /// The same, where files are taken over as `share` says.
    #[must_use]
    pub fn sharing(mut self, share: Share) -> Self {
        self.share = share;
        self
    }

    /// Packs a tree and serves it.
    pub fn publish(&self, tree: &Made, name: &str) -> Published {
        tree.publish(&self.scratch.join("public"), name)
    }

    /// A release's directory on the device.
    pub fn staging(&self, name: &str) -> PathBuf {
        self.devices.join(name)
    }

    /// Fetches index and tree into the directory `to`.
    ///
    /// # Errors
    /// As the fetch room says.
    pub fn fetch(&self, files: &Published, to: &str, running: Option<&str>) -> Result<Report, Error> {
        self.fetch_until(files, to, running, &|| false)
    }

    /// The same, stopped as soon as `stop` says so.
    ///
    /// # Errors
    /// As the fetch room says.
    pub fn fetch_until(
        &self,
        files: &Published,
        to: &str,
        running: Option<&str>,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Report, Error> {
        let (staging, running) = (self.staging(to), running.map(|name| self.staging(name)));
        fetch::index(&self.http, &files.index, &files.tree, &staging, running.as_deref(), self.share)?;
        let job = Job {
            index: &files.index,
            bundle: &files.bundle,
            tree: &files.tree,
            staging: &staging,
            running: running.as_deref(),
            share: self.share,
        };
        fetch::tree(&self.http, &job, stop)
    }

    /// That `name` holds exactly `tree`, by our own eyes and by those of `verify`.
    ///
    /// # Panics
    /// At the first difference.
    pub fn assert_whole(&self, name: &str, tree: &Made, files: &Published) {
        tree.assert_is(&self.staging(name).join("tree"));
        assert_eq!(fetch::verify(&self.staging(name), &files.tree).unwrap(), []);
    }

    /// The ranges of the bundle that were asked for since the last question.
    pub fn ranges(&self) -> Vec<Option<String>> {
        let seen = self.proxy.take_seen();
        seen.into_iter().filter(|seen| seen.path.ends_with("tar.gz")).map(|seen| seen.range).collect()
    }
}
