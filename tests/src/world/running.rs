//! What runs beside a test: the agent's daemon, an app's supervisor, the publisher's server. Each ends on drop.
//!
//! Never here: commands that end by themselves.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Device, Fleet};
use crate::authority::Pair;
use crate::client::{Answer, Client};
use crate::program::{free_address, terminate, until};
use crate::programs::Ours;

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

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Asks it to end.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn stop(mut self) {
        terminate(&mut self.0);
        let ended = self.0.wait().unwrap();
        assert!(ended.success(), "`tidelock run` did not end well when it was asked to: {ended}");
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
