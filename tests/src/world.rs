//! A fleet and its devices, played by the real programs: a Git repository that is published, and a device below a root of
//! its own.
//!
//! Never here: what is expected of them; and nothing that the programs should do themselves.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::authority::Pair;
use crate::client::{Answer, Client};
use crate::program::{find, free_address, output, terminate, until};
use crate::programs::Ours;

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit code; −1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Self { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Itself, when it ended with 0.
    ///
    /// # Panics
    /// When it did not; with what it said.
    pub fn well(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    /// All that it said.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A fleet: its Git repository, its keys, and what it publishes.
#[derive(Clone, Debug)]
pub struct Fleet {
    directory: PathBuf,
    server: PathBuf,
    /// Where the publisher reads the repository; none: on this disk.
    url: Option<String>,
}

impl Fleet {
    /// Makes a fleet in `directory` with `tidelock-server init`.
    ///
    /// # Panics
    /// When the program fails.
    pub fn init(directory: &Path) -> Self {
        let server = Ours::Server.path();
        output(person(&mut Command::new(&server)).arg("init").arg(directory));
        Self { directory: directory.to_owned(), server, url: None }
    }

    /// From now on commits are pushed to `url`, and the publisher reads them there.
    ///
    /// # Panics
    /// When git fails.
    pub fn hosted_at(mut self, url: &str) -> Self {
        self.git(&["remote", "add", "origin", url]);
        self.url = Some(url.to_owned());
        self.push();
        self
    }

    /// Pushes the branch, where the repository is hosted elsewhere.
    ///
    /// # Panics
    /// When git fails.
    pub fn push(&self) {
        if self.url.is_some() {
            self.git(&["push", "--quiet", "origin", "HEAD"]);
        }
    }

    /// The repository that the team edits.
    pub fn repository(&self) -> PathBuf {
        self.directory.join("fleet")
    }

    /// Private keys, a directory per holder.
    pub fn keys(&self) -> PathBuf {
        self.directory.join("keys")
    }

    /// What is published.
    pub fn out(&self) -> PathBuf {
        self.directory.join("out")
    }

    /// What the publisher remembers.
    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Runs git in the repository; what it printed.
    ///
    /// # Panics
    /// When git fails.
    pub fn git(&self, arguments: &[&str]) -> String {
        let ran =
            output(person(&mut Command::new(find("git"))).current_dir(self.repository()).args(arguments));
        String::from_utf8_lossy(&ran.stdout).trim_end().to_owned()
    }

    /// Writes a file of the repository.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.repository().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    /// Commits everything as it lies there.
    ///
    /// # Panics
    /// When git fails.
    pub fn commit(&self, subject: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", subject]);
        self.push();
        self.git(&["rev-parse", "HEAD"])
    }

    /// Lets `staging` want these apps, each as it is at the newest commit, and nothing else; does not commit.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn want(&self, apps: &[&str]) {
        let lines: String = apps.iter().map(|app| format!("{app} = \"follow\"\n")).collect();
        self.write("environments/staging.toml", format!("[apps]\n{lines}"));
    }

    /// Adds the demo's web app under the name `app`, answering on `port`; does not commit.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn add_web_app(&self, app: &str, port: u16) {
        self.write(&format!("apps/{app}/app.toml"), format!("path = \"apps/{app}/tree\"\n"));
        let recipe = format!(
            "format = 1

[hooks]
start = [\"./bin/web\", \"start\"]
stop = [\"./bin/web\", \"stop\"]
timeout = 10

[[check]]
name = \"answers\"
http = \"http://127.0.0.1:{port}/health\"
interval = 1
deadline = 2
"
        );
        self.write(&format!("apps/{app}/tree/release.toml"), recipe);
        self.write(&format!("apps/{app}/tree/health.txt"), "good\n");
        self.write(&format!("apps/{app}/tree/page.txt"), "version 1\n");
        let program = self.repository().join(format!("apps/{app}/tree/bin/web"));
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::copy(Ours::DemoWeb.path(), program).unwrap();
    }

    /// Runs a command of `tidelock-server` on this fleet.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn server(&self, command: &str, more: &[&str]) -> Ran {
        Ran::of(&self.command(command).args(more).output().unwrap())
    }

    /// Publishes once.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn publish(&self) -> Ran {
        self.server("publish", &[])
    }

    /// A command of `tidelock-server` with the places of this fleet.
    pub fn command(&self, command: &str) -> Command {
        let mut program = Command::new(&self.server);
        program.arg(command);
        let repository = self.url.as_ref().map_or_else(|| self.repository().into(), OsString::from);
        program.arg("--fleet").arg(repository).arg("--keys").arg(self.keys());
        program.arg("--out").arg(self.out()).arg("--state").arg(self.state());
        program
    }

    /// SHA-256 of the first root: what a device is told to trust.
    ///
    /// # Panics
    /// When nothing is published yet.
    pub fn root_sha256(&self) -> String {
        let root = fs::read(self.out().join("metadata/1.root.json")).unwrap();
        data_encoding::HEXLOWER.encode(&Sha256::digest(root))
    }

    /// The published files of an app that end in `suffix` (`index`, `tar.gz`), the newest first.
    ///
    /// # Panics
    /// When the directory cannot be read.
    pub fn targets(&self, app: &str, suffix: &str) -> Vec<PathBuf> {
        let part = format!(".app.{app}.");
        let mut found: Vec<PathBuf> =
            fs::read_dir(self.out().join("targets")).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.retain(|path| {
            path.to_string_lossy().contains(&part) && path.to_string_lossy().ends_with(suffix)
        });
        found.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().modified().unwrap()));
        found
    }
}

/// Whoever commits, without asking the machine's own configuration.
fn person(command: &mut Command) -> &mut Command {
    let name = [("NAME", "Ada"), ("EMAIL", "ada@example.com")];
    for role in ["AUTHOR", "COMMITTER"] {
        command.envs(name.map(|(key, value)| (format!("GIT_{role}_{key}"), value)));
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1")
}

/// A device below a root of its own.
#[derive(Clone, Debug)]
pub struct Device {
    root: PathBuf,
    agent: PathBuf,
    environment: BTreeMap<String, String>,
}

impl Device {
    /// A device that knows nothing yet.
    ///
    /// # Panics
    /// When its directories cannot be made.
    pub fn new(root: &Path, agent: Ours) -> Self {
        let agent = agent.path();
        for directory in ["etc/tidelock/apps", "etc/tidelock/config.d"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        Self { root: root.to_owned(), agent, environment: BTreeMap::new() }
    }

    /// The same device, its agent run with a variable more in its environment.
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.environment.insert(key.to_owned(), value.into());
        self
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
        let mut command = Command::new(&self.agent);
        command.arg("--root").arg(&self.root).args(arguments).envs(&self.environment).stdin(Stdio::null());
        command
    }

    /// Runs a command of the agent to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().unwrap())
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

/// `tidelock run` on a device; ends on drop.
#[derive(Debug)]
pub struct Daemon(Child);

impl Daemon {
    /// Starts it; what it says goes to the file `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(device: &Device, log: &Path) -> Self {
        let log = fs::File::create(log).unwrap();
        let mut command = device.command(&["run"]);
        Self(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    /// Has it ask the server at once.
    ///
    /// # Panics
    /// When it has ended.
    pub fn poke(&self) {
        let id = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::USR1).unwrap();
    }

    /// Asks it to end.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn stop(mut self) {
        terminate(&mut self.0);
        let ended = self.0.wait().unwrap();
        // While it waits for the network, the signal itself ends it: as good an end as any.
        let well = ended.success() || ended.signal() == Some(15);
        assert!(well, "`tidelock run` did not end well when it was asked to: {ended}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        terminate(&mut self.0);
        drop(self.0.wait());
    }
}

/// A supervisor of one web app, beside the agent; ends on drop, its web process with it.
#[derive(Debug)]
pub struct Supervisor {
    child: Child,
    address: SocketAddr,
}

impl Supervisor {
    /// Starts one and tells `device` about it in the settings of `app`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(device: &Device, app: &str, address: SocketAddr) -> Self {
        let socket = device.root().join(format!("{app}.socket"));
        let settings = format!("SUPERVISOR={}\n", socket.display());
        fs::write(device.root().join(format!("etc/tidelock/apps/{app}.env")), settings).unwrap();
        // Where the agent is root, an app without a user of its own needs its owner's leave.
        device.configure(app, &format!("allow_root_apps = [\"{app}\"]\n"));
        let mut command = Command::new(Ours::DemoWeb.path());
        command.arg("supervise").arg(&socket).env("PORT", address.port().to_string());
        let child = command.stdin(Stdio::piped()).spawn().unwrap();
        let supervisor = Self { child, address };
        until("the supervisor listens", || socket.exists());
        supervisor
    }

    /// A free address for the web app.
    pub fn free_address() -> SocketAddr {
        free_address()
    }

    /// What the web process says at `/`; none when nothing answers.
    pub fn page(&self) -> Option<String> {
        self.ask("/")
    }

    /// The process id of the web process; none when nothing answers.
    pub fn web_id(&self) -> Option<u32> {
        self.ask("/pid")?.parse().ok()
    }

    fn ask(&self, path: &str) -> Option<String> {
        let answer: Answer = Client::connect(self.address, None).ok()?.get(path, &[]).ok()?;
        Some(String::from_utf8_lossy(&answer.body).trim_end().to_owned())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // The end of its input is its order to end.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// `tidelock-server serve`, watching a fleet; ends on drop.
#[derive(Debug)]
pub struct Serve {
    child: Child,
    url: String,
}

impl Serve {
    /// Starts it on a free port of 127.0.0.1; with a certificate by HTTPS.
    ///
    /// # Panics
    /// When it does not say its address.
    pub fn start(fleet: &Fleet, certificate: Option<&Pair>, log: &Path) -> Self {
        let mut command = fleet.command("serve");
        command.args(["--listen", "127.0.0.1:0", "--poll", "1s"]);
        if let Some(pair) = certificate {
            command.arg("--tls-cert").arg(&pair.chain).arg("--tls-key").arg(&pair.key);
        }
        let said = fs::File::create(log).unwrap();
        let mut child =
            command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let said = fs::read_to_string(log).unwrap();
            let url = said.split_whitespace().find(|word| word.starts_with("http"));
            if let Some(url) = url.filter(|_| said.contains('\n')) {
                let url = url.trim_end_matches(['/', '.', ',']).to_owned();
                return Self { child, url };
            }
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "serve does not start: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where it serves.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    ///
    /// # Panics
    /// When its URL holds no address.
    pub fn address(&self) -> SocketAddr {
        self.url.rsplit('/').next().unwrap().parse().unwrap()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and how it did.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn stop(mut self) -> Option<i32> {
        terminate(&mut self.child);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        terminate(&mut self.child);
        drop(self.child.wait());
    }
}

/// Says something at once, also into a pipe.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
