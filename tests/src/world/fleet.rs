//! A fleet: its Git repository as a team edits it, and what its publisher makes of it.
//!
//! Never here: a device.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::Ran;
use crate::program::{find, output};
use crate::programs::Ours;

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
