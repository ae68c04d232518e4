//! Signing an app's role where its releases are built: by a key file, or by a command that is asked for a signature.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tidelock_protocol::canonical;
use tidelock_protocol::keys::KeyId;
use tidelock_protocol::names::AppName;
use tidelock_protocol::roles::{Envelope, Signature, SpecVersion, Targets, TargetsType};

use super::http::Server;
use super::{Error, failed};
use crate::keys::Secret;
use crate::look;
use crate::publish::{Registration, next_counter};

/// How long such a signature lives.
const LIFE: Duration = Duration::from_secs(365 * 86_400);

/// Who signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// A private key in PEM.
    Key(PathBuf),
    /// A command: it reads the bytes to sign, and writes the key's id, a space and the signature, both in hex.
    Command(String),
}

impl Signer {
    /// A path of a file that exists, else a command.
    pub fn of(text: &str) -> Self {
        if Path::new(text).is_file() { Self::Key(text.into()) } else { Self::Command(text.to_owned()) }
    }

    /// The next role of the app with this release in it, on what the server publishes now.
    pub(super) fn role(
        &self,
        server: &Server,
        app: &AppName,
        registration: &Registration,
        next: u64,
    ) -> Result<String, Error> {
        let name = format!("app.{app}");
        let mut targets = published(server, &name)?;
        let counter = next_counter(app, &targets, &registration.version);
        targets.extend(registration.targets(app, counter));
        let role = Targets {
            kind: TargetsType::Is,
            spec_version: SpecVersion::default(),
            version: NonZeroU64::new(next).unwrap_or(NonZeroU64::MIN),
            expires: look::clock().now.after(LIFE),
            targets,
            delegations: None,
        };
        let broken =
            |source: serde_json::Error| Error::Signer { command: "JSON".into(), said: source.to_string() };
        let message = canonical::to_vec(&role).map_err(broken)?;
        let text = serde_json::to_string(&role).map_err(broken)?;
        let signed = serde_json::value::RawValue::from_string(text).map_err(broken)?;
        let envelope = Envelope { signatures: vec![self.sign(&message)?], signed: &signed };
        serde_json::to_string(&envelope).map_err(broken)
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, Error> {
        let command = match self {
            Self::Key(path) => return Ok(Secret::from_file(path)?.sign(message)),
            Self::Command(command) => command,
        };
        let wrong = |said: String| Error::Signer { command: command.clone(), said };
        let child = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|error| wrong(error.to_string()))?;
        let fed = child.stdin.take().map(|mut stdin| stdin.write_all(message));
        let output = child.wait_with_output().map_err(|error| wrong(error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if !output.status.success() {
            return Err(wrong(said));
        }
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let (keyid, sig) = text.split_once(' ').ok_or_else(|| wrong(format!("it wrote {text:?}")))?;
        let keyid: KeyId = serde_json::from_value(keyid.into()).map_err(|error| wrong(error.to_string()))?;
        // Last: a command that ends before it reads has something better to say, or whether this fails is a race.
        match fed {
            Some(Ok(())) => Ok(Signature { keyid, sig: sig.trim().to_owned() }),
            Some(Err(error)) => Err(wrong(format!("it did not read all that it was to sign: {error}"))),
            None => Err(wrong("it has no input".into())),
        }
    }
}

/// The targets of a role as it is published; none when it is not.
fn published(
    server: &Server,
    role: &str,
) -> Result<BTreeMap<String, tidelock_protocol::roles::Target>, Error> {
    let read = |path: String| -> Result<serde_json::Value, Error> {
        let bytes = server.file(&path)?.unwrap_or_default();
        serde_json::from_slice(&bytes).map_err(|error| failed("read", Path::new(&path))(error.into()))
    };
    let timestamp = read("metadata/timestamp.json".into())?;
    let version = &timestamp["signed"]["meta"]["snapshot.json"]["version"];
    let snapshot = read(format!("metadata/{version}.snapshot.json"))?;
    let version = &snapshot["signed"]["meta"][format!("{role}.json")]["version"];
    if version.is_null() {
        return Ok(BTreeMap::new());
    }
    let path = format!("metadata/{version}.{role}.json");
    let value = read(path.clone())?["signed"]["targets"].clone();
    serde_json::from_value(value).map_err(|error| failed("read", Path::new(&path))(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than a pipe takes, so that a command that does not read is always noticed.
    static LONG: [u8; 1 << 20] = [b' '; 1 << 20];

    fn refused(command: &str) -> String {
        match Signer::Command(command.to_owned()).sign(&LONG) {
            Err(error) => error.to_string(),
            Ok(signature) => panic!("{command} was taken for a signer: {signature:?}"),
        }
    }

    #[test]
    fn a_command_that_does_not_read_is_told_what_is_wrong_with_it() {
        assert!(refused("echo 1").ends_with("failed: it wrote \"1\""));
        assert!(refused("echo no >&2; false").ends_with("failed: no"));
        let all = format!("echo {} 00", "a".repeat(64));
        assert!(refused(&all).contains("did not read all"), "{}", refused(&all));
    }

    #[test]
    fn a_command_that_reads_signs() {
        let signer = Signer::Command(format!("cat >/dev/null; echo {} 00", "a".repeat(64)));
        assert_eq!(signer.sign(&LONG).unwrap().sig, "00");
    }
}
