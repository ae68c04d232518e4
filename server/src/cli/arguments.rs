//! What may stand on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::turn::Settings;

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
    #[arg(long, value_name = "NAME", default_value = "main")]
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

/// `serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// Where everything is.
    #[command(flatten)]
    pub place: Place,
    /// Address and port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// How often to look at the fleet repository, such as 30s.
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "30s")]
    pub poll: Duration,
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
        let Self { fleet, branch, keys, out, state, require_sync } = self;
        Settings {
            fleet: fleet.clone(),
            branch: branch.clone(),
            keys: keys.clone(),
            out: out.clone(),
            state: state.clone(),
            accept_rewrite,
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

/// A number and `s`, `m`, `h` or `d`, more than nothing and at most ten years.
fn span(text: &str) -> Result<Duration, String> {
    let unit = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|number| number.parse::<u64>().ok());
    let seconds = number.and_then(|number| number.checked_mul(unit));
    match seconds.filter(|seconds| (1..=3_650 * 86_400).contains(seconds)) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err("expected a number and s, m, h or d, such as 30s or 7d".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn spans_have_units_and_bounds() {
        assert_eq!(span("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "5", "0s", "-1s", "1w", "1.5h", "9999999d", "99999999999999999999s"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}
