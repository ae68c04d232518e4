//! What may stand on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use tidelock_protocol::names::{AppName, EnvironmentName};

use crate::config;
use crate::git::Signers;
use crate::turn::Settings;

mod pipeline;

pub use pipeline::{Push, Speak, Token, Wait};

/// The branch that is read where none is named.
pub(super) const BRANCH: &str = "main";

/// Publishes the desired state of a fleet of devices from Git, as signed static files.
#[derive(Debug, Parser)]
#[command(name = "tidelock-server", version, propagate_version = true, after_help = EXITS)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXITS: &str = "Exit codes: 0 done, 1 error, 2 usage, 3 refused, 4 timeout, 5 busy, 6 pending (a signature is \
    missing), 10 something to act on.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a fleet: a Git repository with a sample app, and its keys.
    Init(Init),
    /// Publish what the fleet repository says now, once.
    Publish(Publish),
    /// Say everything that is wrong with a commit, for a pull request's check; exit code 1 when something is.
    Validate(Validate),
    /// Say what a commit changes for each environment, and what that costs a device.
    Plan(Plan),
    /// Have one environment want the very release that another one runs: the change in Git that says so.
    Promote(Promote),
    /// Pack a release where it was built, hand it in at the server, and move an environment that is owned by push.
    #[command(disable_version_flag = true)]
    Push(Push),
    /// Wait until an environment wants a release, or is published from a commit.
    Wait(Wait),
    /// Make, list and revoke the tokens of pipelines, on the server's own machine.
    #[command(subcommand)]
    Token(Token),
    /// Let an environment want, for a while, what the environment before it was not published with for long enough.
    BreakGlass(BreakGlass),
    /// Say what is published, what waits, and which glass is broken; exit code 10 when somebody should look.
    Status(Status),
    /// List what runs out when; exit code 10 when something does soon, or waits too long for a signature.
    Expiring(Expiring),
    /// Watch the fleet repository, publish, sign anew in time, and serve it all over HTTP or HTTPS.
    Serve(Serve),
}

/// `init`
#[derive(Debug, Args)]
pub struct Init {
    /// Where to make it: DIR/fleet and DIR/keys.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Who has which keys. solo: the publisher has all of them.
    #[arg(long, value_enum, default_value_t = Profile::Solo)]
    pub profile: Profile,
    /// An environment that pipelines move instead of commits; may stand twice.
    #[arg(long, value_name = "NAME", value_parser = ["staging", "prod"])]
    pub push: Vec<String>,
}

/// Who has which keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// The publisher has all of them.
    Solo,
}

/// Where everything is.
#[derive(Debug, Args)]
pub struct Place {
    /// The fleet repository: a path, or file://, http(s)://, ssh://, user@host:path.
    #[arg(long, value_name = "REPO")]
    pub fleet: String,
    /// The branch whose fleet.toml counts.
    #[arg(long, value_name = "NAME", default_value = BRANCH)]
    pub branch: String,
    /// Directory of the private keys.
    #[arg(long, value_name = "DIR")]
    pub keys: PathBuf,
    /// Directory to publish to: any static web server can serve it.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Directory for what the publisher remembers.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// Refuse to sign while this machine's clock is not synchronised, instead of warning.
    #[arg(long)]
    pub require_sync: bool,
    /// Whose commits are taken.
    #[command(flatten)]
    pub signatures: Signatures,
}

/// Whose commits are taken.
#[derive(Clone, Debug, Default, Args)]
pub struct Signatures {
    /// Take only commits that are signed by one of those below.
    #[arg(long)]
    pub require_signed_commits: bool,
    /// SSH keys and their owners, as ssh-keygen(1) reads ALLOWED SIGNERS.
    #[arg(long, value_name = "FILE")]
    pub allowed_signers: Option<PathBuf>,
    /// OpenPGP public keys, as `gpg --export` writes them.
    #[arg(long, value_name = "FILE")]
    pub keyring: Option<PathBuf>,
}

impl Signatures {
    /// As a turn takes them.
    pub(super) fn signers(&self) -> Option<Signers> {
        let Self { require_signed_commits, allowed_signers, keyring } = self.clone();
        require_signed_commits.then_some(Signers { allowed: allowed_signers, keyring })
    }
}

/// `publish`
#[derive(Debug, Args)]
pub struct Publish {
    /// Where everything is.
    #[command(flatten)]
    pub place: Place,
    /// Take a branch whose history was rewritten, and record why.
    #[arg(long, value_name = "REASON", value_parser = reason)]
    pub accept_rewrite: Option<String>,
}

/// Which commit to look at; no key is needed for it.
#[derive(Clone, Debug, Args)]
pub struct Look {
    /// The fleet repository: a path, or file://, http(s)://, ssh://, user@host:path.
    #[arg(long, value_name = "REPO", default_value = ".")]
    pub fleet: String,
    /// The branch whose fleet.toml counts.
    #[arg(long, value_name = "NAME", default_value = BRANCH)]
    pub branch: String,
    /// The commit that would be its head, as `git rev-parse` takes it [default: its head].
    #[arg(long, value_name = "COMMIT")]
    pub commit: Option<String>,
    /// What to compare with.
    #[command(flatten)]
    pub against: Against,
}

/// What is published: a directory, or a server.
#[derive(Clone, Debug, Default, Args)]
pub struct Against {
    /// The published directory.
    #[arg(long, value_name = "DIR", conflicts_with = "server")]
    pub out: Option<PathBuf>,
    /// Its publisher's state directory, which knows how long releases have soaked.
    #[arg(long, value_name = "DIR", requires = "out")]
    pub state: Option<PathBuf>,
    /// The server, such as https://fleet.example.org; to a token it says as well how long releases have soaked.
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// A file with the token [default: the variable TIDELOCK_TOKEN].
    #[arg(long, value_name = "FILE", requires = "server")]
    pub token_file: Option<PathBuf>,
    /// Authorities to trust, PEM [default: the system's].
    #[arg(long, value_name = "FILE", requires = "server")]
    pub ca_file: Option<PathBuf>,
}

/// `validate`
#[derive(Debug, Args)]
pub struct Validate {
    /// Which commit.
    #[command(flatten)]
    pub look: Look,
    /// More than one app may be removed from an environment at once.
    #[arg(long)]
    pub allow_prune: bool,
}

/// `plan`
#[derive(Debug, Args)]
pub struct Plan {
    /// Which commit.
    #[command(flatten)]
    pub look: Look,
    /// Only this environment.
    #[arg(long, value_name = "NAME")]
    pub env: Option<EnvironmentName>,
    /// As JSON, for programs.
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
    /// As Markdown, for a comment on a pull request.
    #[arg(long)]
    pub markdown: bool,
}

/// `promote`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("published").required(true).args(["out", "server"])))]
pub struct Promote {
    /// The app.
    pub app: AppName,
    /// The environment that runs the release.
    #[arg(long, value_name = "NAME")]
    pub from: EnvironmentName,
    /// The environment that shall want it.
    #[arg(long, value_name = "NAME")]
    pub to: EnvironmentName,
    /// The fleet repository: a path, or file://, http(s)://, ssh://, user@host:path.
    #[arg(long, value_name = "REPO", default_value = ".")]
    pub fleet: String,
    /// The branch on which the change is made.
    #[arg(long, value_name = "NAME", default_value = BRANCH)]
    pub on: String,
    /// What says what is run.
    #[command(flatten)]
    pub against: Against,
    /// Commit the change to that branch instead of printing it; a remote repository is pushed to.
    #[arg(long)]
    pub commit: bool,
    /// Commit it to this new branch, for a pull request.
    #[arg(long, value_name = "NAME", conflicts_with = "commit")]
    pub branch: Option<String>,
}

/// `break-glass`
#[derive(Debug, Args)]
pub struct BreakGlass {
    /// The server's state directory.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// The environment that need not wait.
    #[arg(long, value_name = "NAME")]
    pub env: EnvironmentName,
    /// Who answers for it.
    #[arg(long, value_name = "NAME", value_parser = reason)]
    pub owner: String,
    /// Why; it stands in the audit for ever.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
    /// How long, at most a week.
    #[arg(long, value_name = "SPAN", value_parser = week)]
    pub expires: Duration,
}

/// `status`
#[derive(Debug, Args)]
pub struct Status {
    /// The published directory.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The state directory.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
}

/// `expiring`
#[derive(Debug, Args)]
pub struct Expiring {
    /// The published directory.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The state directory, to list what waits for signatures as well.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// What is soon, such as 30d, for every role [default: timestamp 3d, snapshot 10d, others 60d].
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub within: Option<Duration>,
    /// How long an environment may wait for a signature.
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "7d")]
    pub waiting: Duration,
}

/// `serve`; what is not said here is looked for in the configuration file.
#[derive(Clone, Debug, Default, Args)]
pub struct Serve {
    /// The service's configuration [default: /etc/tidelock-server/config.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The fleet repository: a path, or file://, http(s)://, ssh://, user@host:path.
    #[arg(long, value_name = "REPO")]
    pub fleet: Option<String>,
    /// The branch whose fleet.toml counts [default: main].
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,
    /// Directory of the private keys.
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// Directory to publish to: any static web server can serve it.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Directory for what the publisher remembers.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Refuse to sign while this machine's clock is not synchronised, instead of warning.
    #[arg(long)]
    pub require_sync: bool,
    /// Whose commits are taken.
    #[command(flatten)]
    pub signatures: Signatures,
    /// Address and port [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// How often to look at the fleet repository, such as 30s [default: 30s].
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub poll: Option<Duration>,
    /// Certificate chain (PEM): serve HTTPS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

impl Place {
    /// As a turn takes it.
    pub fn settings(&self, accept_rewrite: Option<String>) -> Settings {
        let Self { fleet, branch, keys, out, state, require_sync, signatures } = self;
        Settings {
            fleet: fleet.clone(),
            branch: branch.clone(),
            keys: keys.clone(),
            out: out.clone(),
            state: state.clone(),
            accept_rewrite,
            signers: signatures.signers(),
            require_sync: *require_sync,
        }
    }
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        Err("say why, for those who read the audit later".into())
    } else {
        Ok(text.to_owned())
    }
}

fn week(text: &str) -> Result<Duration, String> {
    let found = span(text)?;
    if found.as_secs() <= 7 * 86_400 {
        Ok(found)
    } else {
        Err("at most 7d: what lasts is a rule to be changed".into())
    }
}

fn span(text: &str) -> Result<Duration, String> {
    config::span(text).ok_or_else(|| "expected a number and s, m, h or d, such as 30s or 7d".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
