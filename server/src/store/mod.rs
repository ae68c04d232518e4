//! What the server remembers between turns and must not lose: tokens, releases that were handed in, pushes. SQLite, one
//! file; every statement of this program stands in this room.
//!
//! Never here: a judgement of what is stored, or anything that a device needs to stay safe.

mod handed;
mod pushes;
mod schema;
mod tokens;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use handed::{Handed, NewHanded};
pub use pushes::{NewPush, Push, PushState};
pub use tokens::{NewToken, Refusal, Scope, Token, Wants};

/// The file below the state directory.
const FILE: &str = "server.db";
/// How long another process may hold the file.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why something could not be stored or found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened.
    #[error("cannot open the store {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The directory cannot be made.
    #[error("cannot make the directory of the store {}", path.display())]
    Directory {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A newer program wrote the file.
    #[error("the store {} has schema {found}, this program knows {known}: run the newer tidelock-server", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// A statement failed.
    #[error("cannot {what} in the store")]
    Statement {
        /// What was being done.
        what: &'static str,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// A value that this program never writes.
    #[error("the store holds something unreadable: {0}")]
    Damaged(String),
    /// A name that is there already.
    #[error("there is a token {0:?} already: take another name, or revoke it and take another name")]
    NameTaken(String),
}

/// The store of one server. Each thread opens its own.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
}

impl Store {
    /// Opens the store of the state directory `state`, and makes or migrates it.
    ///
    /// # Errors
    /// The file cannot be opened, or a newer program wrote it.
    pub fn open(state: &Path) -> Result<Self, Error> {
        let path = state.join(FILE);
        std::fs::create_dir_all(state).map_err(|source| Error::Directory { path: path.clone(), source })?;
        let open = || -> Result<Connection, rusqlite::Error> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
            let connection = Connection::open_with_flags(&path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(PATIENCE)?;
            connection.pragma_update(None, "foreign_keys", true)?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            Ok(connection)
        };
        let mut connection = open().map_err(|source| Error::Open { path: path.clone(), source })?;
        schema::migrate(&mut connection, &path)?;
        Ok(Self { connection })
    }

    /// The store, if one was ever made: nothing is written otherwise.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn existing(state: &Path) -> Result<Option<Self>, Error> {
        if state.join(FILE).exists() { Self::open(state).map(Some) } else { Ok(None) }
    }
}

/// An error of a statement that was to `what`.
fn failed(what: &'static str) -> impl FnOnce(rusqlite::Error) -> Error {
    move |source| Error::Statement { what, source }
}

/// A stored text as the type that it was written from.
fn read<T: std::str::FromStr>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::Damaged(text.to_owned()))
}

#[cfg(test)]
mod tests;
