//! The tables, and how an older file becomes a newer one: migrations are only ever added.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{Error, failed};

/// Each brings the file from the schema of its place to the next.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE tokens (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        hash BLOB NOT NULL UNIQUE,
        apps TEXT NOT NULL,
        environments TEXT NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        revoked INTEGER,
        used INTEGER
    ) STRICT;
    CREATE TABLE handed (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        app TEXT NOT NULL,
        version TEXT NOT NULL,
        platform TEXT NOT NULL,
        tree TEXT NOT NULL,
        idx TEXT NOT NULL,
        source TEXT NOT NULL,
        provenance TEXT,
        sbom TEXT,
        role TEXT,
        token TEXT NOT NULL,
        at INTEGER NOT NULL,
        refused TEXT
    ) STRICT;
    CREATE TABLE pushes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        environment TEXT NOT NULL,
        app TEXT NOT NULL,
        version TEXT NOT NULL,
        token TEXT NOT NULL,
        pipeline TEXT NOT NULL,
        at INTEGER NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        serial INTEGER,
        ended INTEGER
    ) STRICT;
    CREATE INDEX pushes_waiting ON pushes (environment, state);
"];

/// Brings the file to the newest schema, all or nothing.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    const WHAT: &str = "make the tables";
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    let version = |connection: &Connection| {
        connection.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0)).map_err(failed(WHAT))
    };
    if version(connection)? == known {
        return Ok(());
    }
    // Another process may be at it: who comes second finds it done.
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed(WHAT))?;
    let found = version(&transaction)?;
    if found > known {
        return Err(Error::Newer { path: path.to_owned(), found, known });
    }
    for (place, migration) in MIGRATIONS.iter().enumerate().skip(usize::try_from(found).unwrap_or(usize::MAX))
    {
        transaction.execute_batch(migration).map_err(failed(WHAT))?;
        let next = u32::try_from(place + 1).unwrap_or(u32::MAX);
        transaction.pragma_update(None, "user_version", next).map_err(failed(WHAT))?;
    }
    transaction.commit().map_err(failed(WHAT))
}
