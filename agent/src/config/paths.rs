//! Where everything lies on a device, under one root that tests and image builds may move.

use std::path::{Path, PathBuf};

use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;

/// The places of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// The places under `root`; `/` on a device.
    pub fn under(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The root that they are under.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where `path`, absolute on the device, lies under this root.
    pub fn rooted(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// `/etc/tidelock`: what people write.
    pub fn etc(&self) -> PathBuf {
        self.root.join("etc/tidelock")
    }

    /// `/etc/tidelock/config.toml`
    pub fn config_file(&self) -> PathBuf {
        self.etc().join("config.toml")
    }

    /// `/etc/tidelock/apps/<app>.env`: this device's own settings for an app.
    pub fn app_env(&self, app: &AppName) -> PathBuf {
        self.etc().join("apps").join(format!("{app}.env"))
    }

    /// `/etc/tidelock/credentials/<app>/`: secrets of this device for an app, each a file.
    pub fn credentials(&self, app: &AppName) -> PathBuf {
        self.etc().join("credentials").join(app.as_str())
    }

    /// `/etc/systemd/system`: where the units of the releases are copied to.
    pub fn units(&self) -> PathBuf {
        self.root.join("etc/systemd/system")
    }

    /// `/etc/tidelock/root.json`: the root of trust that `join` wrote.
    pub fn root_json(&self) -> PathBuf {
        self.etc().join("root.json")
    }

    /// `/var/lib/tidelock`: what the agent writes.
    pub fn state(&self) -> PathBuf {
        self.root.join("var/lib/tidelock")
    }

    /// The signed bytes last verified, as received.
    pub fn trust(&self) -> PathBuf {
        self.state().join("trust")
    }

    /// Small atomic records: trials, committed, refusals, intents.
    pub fn journal(&self) -> PathBuf {
        self.state().join("journal")
    }

    /// `/run/tidelock`: what is true until the next boot.
    pub fn run(&self) -> PathBuf {
        self.root.join("run/tidelock")
    }

    /// The lock that is held for one turn.
    pub fn lock(&self) -> PathBuf {
        self.state().join("lock")
    }

    /// `/etc/machine-id`
    pub fn machine_id(&self) -> PathBuf {
        self.root.join("etc/machine-id")
    }

    /// What is kept of each app, one directory per app.
    pub fn apps(&self) -> PathBuf {
        self.state().join("apps")
    }

    /// Everything of one app.
    pub fn app(&self, app: &AppName) -> PathBuf {
        self.apps().join(app.as_str())
    }

    /// The releases of one app, each named by its tree digest.
    pub fn releases(&self, app: &AppName) -> PathBuf {
        self.app(app).join("releases")
    }

    /// One sealed release: `tree/`, `index`, `release.env`.
    pub fn release(&self, app: &AppName, tree: &Digest) -> PathBuf {
        self.releases(app).join(tree.to_string())
    }

    /// The files of one sealed release.
    pub fn tree(&self, app: &AppName, tree: &Digest) -> PathBuf {
        self.release(app, tree).join("tree")
    }

    /// A release that is being made: it gets the name of [`Paths::release`] only when it is whole and durable.
    pub fn staged(&self, app: &AppName, tree: &Digest) -> PathBuf {
        self.releases(app).join(format!("{tree}.part"))
    }

    /// What is made to mend a sealed release; removed with the mending, or by the next turn.
    pub fn mending(&self, app: &AppName, tree: &Digest) -> PathBuf {
        self.releases(app).join(format!("{tree}.heal"))
    }

    /// Where the files of a release came from, as they were signed.
    pub fn source(&self, app: &AppName, tree: &Digest) -> PathBuf {
        self.release(app, tree).join("source.json")
    }

    /// The symlink that names the release that is live.
    pub fn current(&self, app: &AppName) -> PathBuf {
        self.app(app).join("current")
    }

    /// The app's own data.
    pub fn data(&self, app: &AppName) -> PathBuf {
        self.app(app).join("data")
    }
}
