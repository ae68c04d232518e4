//! What pipelines say, and what is said of their tokens.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use tidelock_protocol::names::{AppName, EnvironmentName, Platform, Version};

use super::{BRANCH, span};

/// How to speak with the server.
#[derive(Clone, Debug, Args)]
pub struct Speak {
    /// The server's address, such as https://fleet.example.org.
    #[arg(long, value_name = "URL")]
    pub server: String,
    /// A file with the token [default: the variable TIDELOCK_TOKEN].
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Authorities to trust, PEM [default: the system's].
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// `push`
#[derive(Debug, Args)]
pub struct Push {
    /// Where to.
    #[command(flatten)]
    pub speak: Speak,
    /// The app.
    #[arg(long, value_name = "NAME")]
    pub app: AppName,
    /// The version; it means these files for ever.
    #[arg(long, value_name = "VERSION")]
    pub version: Version,
    /// What the files run on, such as linux-arm64, or any.
    #[arg(long, value_name = "PLATFORM", default_value = "any")]
    pub platform: Platform,
    /// The files: a directory, or a .tar.gz.
    pub path: PathBuf,
    /// The environment that shall want it: moved when it is owned by push, otherwise the commit is told that moves it.
    #[arg(long, value_name = "NAME")]
    pub env: Option<EnvironmentName>,
    /// What it was built from [default: the commit that the CI system names].
    #[arg(long, value_name = "COMMIT")]
    pub source: Option<String>,
    /// A JSON file that says who built it from what [default: what the CI system says].
    #[arg(long, value_name = "FILE")]
    pub provenance: Option<PathBuf>,
    /// A CycloneDX or SPDX file, published beside it.
    #[arg(long, value_name = "FILE")]
    pub sbom: Option<PathBuf>,
    /// Sign the app's role here: a key file, or a command that reads what to sign and writes key id and signature in hex.
    #[arg(long, value_name = "KEY")]
    pub signer: Option<String>,
    /// The fleet repository, for --commit.
    #[arg(long, value_name = "REPO")]
    pub fleet: Option<String>,
    /// The branch of it on which a commit is made.
    #[arg(long, value_name = "NAME", default_value = BRANCH)]
    pub on: String,
    /// For an environment that is owned by git: commit the release to that branch.
    #[arg(long, requires = "fleet")]
    pub commit: bool,
    /// Commit it to this new branch instead, for a pull request.
    #[arg(long, value_name = "NAME", requires = "fleet", conflicts_with = "commit")]
    pub branch: Option<String>,
    /// How long to wait until it is done.
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "10m")]
    pub timeout: Duration,
}

/// `wait`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("awaited").required(true).args(["release", "commit"])))]
pub struct Wait {
    /// Whom to ask.
    #[command(flatten)]
    pub speak: Speak,
    /// The environment.
    #[arg(long, value_name = "NAME")]
    pub env: EnvironmentName,
    /// The release that it shall want.
    #[arg(long, value_name = "APP@VERSION", value_parser = release)]
    pub release: Option<(AppName, Version)>,
    /// The commit that it shall be published from; at least twelve digits.
    #[arg(long, value_name = "COMMIT", value_parser = commit)]
    pub commit: Option<String>,
    /// Wait until this share of devices has committed it, in percent; needs reports.
    #[arg(long, value_name = "SHARE", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub committed: Option<u32>,
    /// How long.
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "10m")]
    pub timeout: Duration,
}

/// `token`
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make one; its text is printed this once.
    Create {
        /// The server's state directory.
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        /// What people call it.
        name: String,
        /// An app whose releases it may hand in and move; may stand several times [default: all].
        #[arg(long, value_name = "NAME")]
        app: Vec<AppName>,
        /// An environment that it may move; may stand several times [default: all].
        #[arg(long, value_name = "NAME")]
        env: Vec<EnvironmentName>,
        /// How long it is worth something.
        #[arg(long, value_name = "SPAN", value_parser = span)]
        expires: Duration,
    },
    /// List all: what they are for, until when, and when they were used last.
    List {
        /// The server's state directory.
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
    },
    /// Revoke one; it is worth nothing from now on.
    Revoke {
        /// The server's state directory.
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        /// Which.
        name: String,
    },
}

fn release(text: &str) -> Result<(AppName, Version), String> {
    let (app, version) = text.split_once('@').ok_or("expected APP@VERSION, such as web@1.4.2")?;
    let app = app.parse().map_err(|error: tidelock_protocol::names::NotAName| error.to_string())?;
    Ok((app, version.parse().map_err(|error: tidelock_protocol::names::NotAName| error.to_string())?))
}

fn commit(text: &str) -> Result<String, String> {
    let fits =
        (12..=64).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if fits {
        Ok(text.to_owned())
    } else {
        Err("expected 12 to 64 lower-case hex digits of a commit's id".into())
    }
}
