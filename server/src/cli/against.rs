//! What a commit is compared with: a published directory on this machine, or what a server publishes.

use std::path::{Path, PathBuf};

use tidelock_protocol::desired::IndexTarget;

use super::Error;
use super::arguments::Against;
use super::pushing::token;
use crate::pipeline::{self, Server, Speaking};

/// What is published, as far as it is needed here.
pub(super) struct Compared {
    /// Its directory; none: nothing to compare with.
    pub(super) out: Option<PathBuf>,
    /// What is known of soaks; none: nothing.
    pub(super) state: Option<PathBuf>,
    server: Option<Server>,
}

impl Compared {
    /// Looks at the directory, or copies from the server what is needed to `scratch`.
    pub(super) fn with(against: &Against, scratch: &Path) -> Result<Self, Error> {
        let Against { out, state, server, token_file, ca_file } = against.clone();
        let Some(url) = server else { return Ok(Self { out, state, server: None }) };
        let token = token(token_file.as_deref())?.unwrap_or_default();
        let (out, state) = (scratch.join("out"), scratch.join("soaks"));
        let state = Some(state).filter(|_| !token.is_empty());
        let server = Server::new(&Speaking { url, token, ca_file })?;
        pipeline::mirror(&server, &out)?;
        if let Some(state) = &state {
            pipeline::soaks(&server, state)?;
        }
        Ok(Self { out: Some(out), state, server: Some(server) })
    }

    /// Copies a target that is asked for; from a directory there is nothing to copy.
    pub(super) fn bring(&self, file: &IndexTarget) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if let (Some(server), Some(out)) = (&self.server, &self.out) {
            pipeline::target_file(server, out, &file.sha256.to_string(), &file.name)?;
        }
        Ok(())
    }
}
