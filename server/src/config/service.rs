//! The service's own configuration file: the options of `serve`, one key each.
//!
//! Never here: what holds where it says nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::Problems;
use super::document::{self, Table, Value};

/// What a file says; everything that it does not say is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The fleet repository.
    pub fleet: Option<String>,
    /// The branch whose `fleet.toml` counts.
    pub branch: Option<String>,
    /// Directory of the private keys.
    pub keys: Option<PathBuf>,
    /// Directory to publish to.
    pub out: Option<PathBuf>,
    /// Directory for what the publisher remembers.
    pub state: Option<PathBuf>,
    /// Whether an unsynchronised clock is a refusal.
    pub require_sync: Option<bool>,
    /// Whether only signed commits are taken.
    pub require_signed_commits: Option<bool>,
    /// SSH keys whose signatures count.
    pub allowed_signers: Option<PathBuf>,
    /// OpenPGP keys whose signatures count.
    pub keyring: Option<PathBuf>,
    /// Address and port.
    pub listen: Option<SocketAddr>,
    /// How often the repository is looked at.
    pub poll: Option<Duration>,
    /// Certificate chain.
    pub tls_cert: Option<PathBuf>,
    /// Its private key.
    pub tls_key: Option<PathBuf>,
}

/// Reads the file at `path`, whose bytes these are; none when anything is wrong with it.
pub fn service(path: &str, bytes: &[u8], problems: &mut Problems) -> Option<Service> {
    document::read(path, bytes, problems, |file| {
        let pair = Service {
            tls_cert: absolute(file, "tls_cert"),
            tls_key: absolute(file, "tls_key"),
            ..read(file)
        };
        if pair.tls_cert.is_some() != pair.tls_key.is_some() {
            file.problem("`tls_cert` and `tls_key` go together: one of them is missing");
        }
        Some(pair)
    })
}

fn read(file: &Table<'_>) -> Service {
    Service {
        fleet: file.optional("fleet").and_then(|value| repository(&value)),
        branch: text(file, "branch"),
        keys: absolute(file, "keys"),
        out: absolute(file, "out"),
        state: absolute(file, "state"),
        require_sync: file.optional("require_sync").and_then(|value| value.flag()),
        require_signed_commits: file.optional("require_signed_commits").and_then(|value| value.flag()),
        allowed_signers: absolute(file, "allowed_signers"),
        keyring: absolute(file, "keyring"),
        listen: file.optional("listen").and_then(|value| address(&value)),
        poll: file.optional("poll").and_then(|value| value.pause()),
        tls_cert: None,
        tls_key: None,
    }
}

fn text(file: &Table<'_>, key: &'static str) -> Option<String> {
    file.optional(key)?.text("a name").map(str::to_owned)
}

/// A service begins in no particular directory.
fn absolute(file: &Table<'_>, key: &'static str) -> Option<PathBuf> {
    let value = file.optional(key)?;
    let path = PathBuf::from(value.text("a path")?);
    if !path.is_absolute() {
        value.problem("expected an absolute path");
    }
    Some(path)
}

/// A path, then an absolute one, or an address.
fn repository(value: &Value<'_>) -> Option<String> {
    let text = value.text("a path or an address")?;
    if !text.starts_with('/') && !text.contains(':') {
        value.problem("expected an absolute path, or an address such as https://git.example.org/fleet.git");
    }
    Some(text.to_owned())
}

fn address(value: &Value<'_>) -> Option<SocketAddr> {
    let found = SocketAddr::from_str(value.text("an address and port")?).ok();
    if found.is_none() {
        value.problem("expected an address and port, such as \"0.0.0.0:443\" or \"[::]:443\"");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        let mut problems = Problems::default();
        assert_eq!(service("s.toml", text.as_bytes(), &mut problems), None, "{text}");
        problems.lines()
    }

    #[test]
    fn the_example_says_everything_that_can_be_said() {
        let text = include_str!("../../../docs/server.example.toml");
        let mut problems = Problems::default();
        let said = service("server.example.toml", text.as_bytes(), &mut problems).unwrap();
        let Service {
            fleet, branch, keys, out, state, require_sync, listen, poll, tls_cert, tls_key, ..
        } = said.clone();
        assert!(
            said.require_signed_commits.is_some() && said.allowed_signers.is_some() && said.keyring.is_some()
        );
        assert!(fleet.is_some() && branch.is_some() && keys.is_some() && out.is_some() && state.is_some());
        assert!(require_sync.is_some() && listen.is_some() && tls_cert.is_some() && tls_key.is_some());
        assert_eq!(poll, Some(Duration::from_secs(30)));
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(service("s.toml", b"", &mut Problems::default()), Some(Service::default()));
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_with_its_line() {
        let text = "flet = \"/x\"\nkeys = \"keys\"\nlisten = \"443\"\npoll = \"0s\"\nrequire_sync = 1\ntls_cert = \"/c\"\n\
                    fleet = \"fleet\"\n";
        let said = wrong(text);
        for (line, words) in [
            (1, "unknown key `flet`; did you mean `fleet`?"),
            (2, "`keys`: expected an absolute path"),
            (3, "`listen`: expected an address and port"),
            (4, "`poll`: expected a span of time"),
            (5, "`require_sync`: expected true or false"),
            (7, "`fleet`: expected an absolute path, or an address"),
        ] {
            let has = |one: &str| one.contains(&format!("s.toml:{line}:")) && one.contains(words);
            assert!(said.lines().any(has), "{line}: {words}:\n{said}");
        }
        assert!(said.contains("`tls_cert` and `tls_key` go together"), "{said}");
    }

    #[test]
    fn a_file_that_is_no_toml_is_said_with_its_line() {
        assert!(wrong("keys = \"/k\"\nout =\n").contains("s.toml:2:"));
    }
}
