//! `serve`: what its configuration file says, and over it the command line.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::arguments::{BRANCH, Serve, Signatures};
use crate::config::{Problems, Service, service};
use crate::turn::Settings;

/// Where it is looked for when nobody names another.
const FILE: &str = "/etc/tidelock-server/config.toml";

/// Everything that `serve` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// What each turn is told.
    pub settings: Settings,
    /// Address and port.
    pub listen: SocketAddr,
    /// How often the fleet repository is looked at.
    pub poll: Duration,
    /// Certificate chain and key: HTTPS.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// Why it cannot be known what to serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What it says.
    #[error("{} cannot be used:\n{}", path.display(), problems.lines())]
    Problems {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong with it.
        problems: Problems,
    },
    /// What neither says.
    #[error("not said, neither on the command line nor in {}: {}", path.display(), missing.join(", "))]
    Missing {
        /// The file.
        path: PathBuf,
        /// The options.
        missing: Vec<&'static str>,
    },
}

/// What the command line says, and where it says nothing the file.
///
/// # Errors
/// A file that is named and not there, everything that is wrong with it at once, and what nobody says.
pub fn serving(arguments: &Serve) -> Result<Serving, Error> {
    let path = arguments.config.as_deref().unwrap_or(Path::new(FILE));
    let file = read(path, arguments.config.is_some())?;
    let Serve {
        fleet,
        branch,
        keys,
        out,
        state,
        require_sync,
        signatures,
        listen,
        poll,
        tls_cert,
        tls_key,
        ..
    } = arguments.clone();
    let signatures = Signatures {
        require_signed_commits: signatures.require_signed_commits
            || file.require_signed_commits.unwrap_or(false),
        allowed_signers: signatures.allowed_signers.or(file.allowed_signers),
        keyring: signatures.keyring.or(file.keyring),
    };
    let (fleet, keys) = (fleet.or(file.fleet), keys.or(file.keys));
    let (out, state) = (out.or(file.out), state.or(file.state));
    let said = [fleet.is_some(), keys.is_some(), out.is_some(), state.is_some()];
    let (Some(fleet), Some(keys), Some(out), Some(state)) = (fleet, keys, out, state) else {
        let names = ["fleet", "keys", "out", "state"].into_iter().zip(said);
        let missing = names.filter(|(_, said)| !said).map(|(name, _)| name).collect();
        return Err(Error::Missing { path: path.to_owned(), missing });
    };
    let settings = Settings {
        fleet,
        branch: branch.or(file.branch).unwrap_or_else(|| BRANCH.into()),
        keys,
        out,
        state,
        accept_rewrite: None,
        signers: signatures.signers(),
        require_sync: require_sync || file.require_sync.unwrap_or(false),
    };
    Ok(Serving {
        settings,
        listen: listen.or(file.listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
        poll: poll.or(file.poll).unwrap_or(Duration::from_secs(30)),
        // One pair or the other, never half of each.
        certificate: tls_cert.zip(tls_key).or(file.tls_cert.zip(file.tls_key)),
    })
}

fn read(path: &Path, is_named: bool) -> Result<Service, Error> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => return Ok(Service::default()),
        read => read.map_err(|source| Error::Read { path: path.to_owned(), source })?,
    };
    let mut problems = Problems::default();
    service(&path.to_string_lossy(), &bytes, &mut problems)
        .ok_or_else(|| Error::Problems { path: path.to_owned(), problems })
}
