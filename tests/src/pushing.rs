//! A server that pipelines push to, and the real `push`.
//!
//! Never here: what is expected of them.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::client::Client;
use crate::program::{free_address, terminate, until};
use crate::programs::Ours;
use crate::publisher::Room;
use crate::world::Ran;

/// A server whose environment `staging` is owned by push, and that takes releases of the app `web`.
pub struct Stage {
    pub room: Room,
    pub address: SocketAddr,
    pub token: String,
    server: Option<Child>,
}

impl Stage {
    pub fn new(name: &str) -> Self {
        Self::with(name, "")
    }

    /// With more lines for `[environments.staging]`.
    pub fn with(name: &str, more: &str) -> Self {
        let room = Room::new(name);
        let rules = fs::read_to_string(room.fleet.repository().join("fleet.toml")).unwrap();
        let staging = "[environments.staging]\nowner = \"git\"\n";
        let pushed = format!("[environments.staging]\nowner = \"push\"\n{more}");
        room.fleet.write("fleet.toml", rules.replace(staging, &pushed));
        room.fleet.git(&["rm", "--quiet", "environments/staging.toml"]);
        room.fleet.write("apps/web/app.toml", "");
        room.fleet.commit("staging is owned by push");
        let mut stage = Self { room, address: free_address(), token: String::new(), server: None };
        stage.token = stage.create("ci", &["--app", "web", "--env", "staging", "--expires", "1d"]);
        stage
    }

    /// Starts `serve`, once the first publish is done.
    pub fn serving(mut self) -> Self {
        self.start();
        self
    }

    pub fn start(&mut self) {
        let log = fs::File::create(self.room.scratch.join("serve.log")).unwrap();
        let mut command = self.serve();
        command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null());
        self.server = Some(command.spawn().unwrap());
        let timestamp = self.room.fleet.out().join("metadata/timestamp.json");
        until("it publishes", || timestamp.exists() && Client::connect(self.address, None).is_ok());
        // It answers before its first turn has ended, and says so.
        until("it knows its fleet", || self.ask("GET", "environments/prod", &self.token, "").0 != 503);
    }

    /// What `start` runs.
    pub fn serve(&self) -> Command {
        let mut command = self.room.fleet.command("serve");
        command.arg("--listen").arg(self.address.to_string()).args(["--poll", "1s"]);
        command
    }

    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            terminate(&mut server);
            drop(server.wait());
        }
    }

    pub fn said(&self) -> String {
        fs::read_to_string(self.room.scratch.join("serve.log")).unwrap_or_default()
    }

    /// Makes a token; its text.
    pub fn create(&self, name: &str, more: &[&str]) -> String {
        let state = self.room.fleet.state();
        let state = state.to_str().unwrap();
        let ran = tool(&[&["token", "create", "--state", state, name], more].concat(), "").well();
        ran.stdout.trim().to_owned()
    }

    /// Writes the files of a release; its directory.
    pub fn build(&self, name: &str, greeting: &str) -> PathBuf {
        let directory = self.room.scratch.join(name);
        fs::create_dir_all(directory.join("data")).unwrap();
        let recipe = "format = 1\nuser = \"nobody\"\n[hooks]\nstart = [\"true\"]\nstop = [\"true\"]\n";
        fs::write(directory.join("release.toml"), recipe).unwrap();
        fs::write(directory.join("greeting"), greeting).unwrap();
        let noise: Vec<u8> = (0..700_000_u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes())
            .collect();
        fs::write(directory.join("data/blob"), noise).unwrap();
        directory
    }

    /// Runs `push` of these files.
    pub fn push(&self, version: &str, path: &Path, more: &[&str]) -> Ran {
        self.push_as(&self.token, version, path, more)
    }

    pub fn push_as(&self, token: &str, version: &str, path: &Path, more: &[&str]) -> Ran {
        Ran::of(&self.pushing(token, version, path, more).output().unwrap())
    }

    pub fn pushing(&self, token: &str, version: &str, path: &Path, more: &[&str]) -> Command {
        let url = format!("http://{}", self.address);
        let mut command = Command::new(Ours::Server.path());
        command.args(["push", "--server", &url, "--app", "web", "--version", version]).arg(path).args(more);
        command.env("TIDELOCK_TOKEN", token).env("GITHUB_SHA", "5eed").env_remove("GITHUB_REPOSITORY");
        command
    }

    /// Sends a request by hand; status and body.
    pub fn ask(&self, method: &str, path: &str, token: &str, body: impl AsRef<[u8]>) -> (u16, String) {
        let mut client = Client::connect(self.address, None).unwrap();
        let length = body.as_ref().len();
        let head = format!(
            "{method} /api/v1/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n"
        );
        client.write_all(head.as_bytes()).unwrap();
        // A server that will not have it may answer and close before it has it all.
        let _ = client.write_all(body.as_ref());
        let answer = client.send("").unwrap();
        (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs the server's program.
pub fn tool(arguments: &[&str], token: &str) -> Ran {
    Ran::of(&Command::new(Ours::Server.path()).args(arguments).env("TIDELOCK_TOKEN", token).output().unwrap())
}
