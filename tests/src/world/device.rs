//! A device: the agent below a root of its own, and what lies there.
//!
//! Never here: what it should be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Fleet, Ran};
use crate::authority::Pair;
use crate::program::find;

/// A device below a root of its own.
#[derive(Clone, Debug)]
pub struct Device {
    root: PathBuf,
    agent: PathBuf,
    environment: BTreeMap<String, String>,
    is_machine: bool,
}

/// In a mount namespace of its own a process sees the device's root as the machine, and a systemd that runs it.
const MACHINE: &str = r#"
mount -t tmpfs machine /run && mkdir -p /run/systemd/system /run/etc /run/tidelock
cp -a /etc/. /run/etc && mkdir -p /run/etc/tidelock && mount --bind /run/etc /etc
mount -t tmpfs machine /var/lib && mkdir -p /var/lib/tidelock
mkdir -p "$0/etc/tidelock" "$0/var/lib/tidelock" "$0/run/tidelock"
for place in etc/tidelock var/lib/tidelock run/tidelock; do mount --bind "$0/$place" "/$place"; done
exec "$@"
"#;

impl Device {
    /// A device that knows nothing yet, and runs `agent`.
    ///
    /// # Panics
    /// When its directories cannot be made.
    pub fn new(root: &Path, agent: impl Into<PathBuf>) -> Self {
        for directory in ["etc/tidelock/apps", "etc/tidelock/config.d"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        Self { root: root.to_owned(), agent: agent.into(), environment: BTreeMap::new(), is_machine: false }
    }

    /// The same device, its agent run with a variable more in its environment.
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.environment.insert(key.to_owned(), value.into());
        self
    }

    /// The same device as a machine that systemd runs: the agent works without a root of its own, and does by default
    /// what it does there. Of systemd only the directory is there that says so: nothing of it can be asked. Takes root.
    pub fn as_machine(self) -> Self {
        Self { is_machine: true, ..self }
    }

    /// Its root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes a fragment of its configuration.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, name: &str, text: &str) {
        fs::write(self.root.join(format!("etc/tidelock/config.d/{name}.toml")), text).unwrap();
    }

    /// Has it trust the servers of an authority, and no others.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn trusts(&self, ca: &Path) {
        fs::copy(ca, self.root.join("etc/tidelock/ca.pem")).unwrap();
        self.configure("ca", "ca_file = \"/etc/tidelock/ca.pem\"\n");
    }

    /// Gives it a certificate of its own.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn carries(&self, pair: &Pair) {
        fs::copy(&pair.chain, self.root.join("etc/tidelock/client.pem")).unwrap();
        fs::copy(&pair.key, self.root.join("etc/tidelock/client.key")).unwrap();
        let (cert, key) = ("/etc/tidelock/client.pem", "/etc/tidelock/client.key");
        self.configure("client", &format!("client_cert = \"{cert}\"\nclient_key = \"{key}\"\n"));
    }

    /// Joins a fleet that is served at `url`.
    ///
    /// # Panics
    /// When it does not.
    pub fn join(&self, url: &str, fleet: &Fleet) {
        self.run(&["join", url, "--root-sha256", &fleet.root_sha256(), "--env", "staging"]).well();
    }

    /// The agent with this root, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = if self.is_machine {
            let mut command = Command::new(find("unshare"));
            command.args(["--mount", "--propagation", "private", "sh", "-ec", MACHINE]);
            command.arg(&self.root).arg(&self.agent);
            command
        } else {
            let mut command = Command::new(&self.agent);
            command.arg("--root").arg(&self.root);
            command
        };
        command.args(arguments).envs(&self.environment).stdin(Stdio::null());
        command
    }

    /// Runs a command of the agent to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().unwrap())
    }

    /// Runs a command of the agent to its end, altered by `how` before it starts.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run_altered(&self, arguments: &[&str], how: impl FnOnce(Command) -> Command) -> Ran {
        Ran::of(&how(self.command(arguments)).output().unwrap())
    }

    /// Turns until rest.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn update(&self) -> Ran {
        self.run(&["update"])
    }

    /// What `status --json` says.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn status(&self) -> serde_json::Value {
        let ran = self.run(&["status", "--json"]);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.said()))
    }

    /// Sync and health of one app, such as `Synced Healthy`.
    pub fn state(&self, app: &str) -> String {
        let status = self.status();
        let word = |key: &str| status["apps"][app][key].as_str().unwrap_or("none").to_owned();
        format!("{} {}", word("sync"), word("health"))
    }

    /// Everything of one app.
    pub fn app(&self, app: &str) -> PathBuf {
        self.root.join("var/lib/tidelock/apps").join(app)
    }

    /// The tree digest of the live release.
    pub fn live(&self, app: &str) -> Option<String> {
        let target = fs::read_link(self.app(app).join("current")).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    /// A file of the live release.
    pub fn live_file(&self, app: &str, path: &str) -> Option<Vec<u8>> {
        fs::read(self.app(app).join("current/tree").join(path)).ok()
    }
}
