//! Pushes to environments: one line of those that wait per environment, and what became of the others.

use rusqlite::{OptionalExtension, Row, params};
use tidelock_protocol::names::{AppName, EnvironmentName, Version};
use tidelock_protocol::time::Timestamp;

use super::{Error, Store, failed, read};

const COLUMNS: &str = "id, environment, app, version, token, pipeline, at, state, reason, serial";

/// A push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Its number; a later push has a higher one.
    pub id: i64,
    /// What it is.
    pub push: NewPush,
    /// When it came.
    pub at: Timestamp,
    /// What became of it.
    pub state: PushState,
}

/// A push to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPush {
    /// The environment to move.
    pub environment: EnvironmentName,
    /// The app.
    pub app: AppName,
    /// The release that it shall want.
    pub version: Version,
    /// The token it came with.
    pub token: String,
    /// The pipeline, in its own words.
    pub pipeline: String,
}

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushState {
    /// It waits, and for what where that is known.
    Waiting(String),
    /// It is published, under this serial of its environment.
    Published(u64),
    /// A newer push of the same app came before its turn did.
    Superseded,
    /// It will not be published, and why.
    Refused(String),
}

impl Store {
    /// Keeps a push. One of the same app that still waits is superseded: the newest wins. The same one again, while it
    /// waits, changes nothing.
    ///
    /// # Errors
    /// The store fails.
    pub fn push(&mut self, new: &NewPush, now: Timestamp) -> Result<i64, Error> {
        const WHAT: &str = "keep a push";
        let waiting = self.waiting(&new.environment)?;
        let of_app = |one: &&Push| one.push.app == new.app;
        if let Some(last) = waiting.iter().rfind(of_app)
            && last.push.version == new.version
        {
            return Ok(last.id);
        }
        let transaction = self.connection.transaction().map_err(failed(WHAT))?;
        let NewPush { environment, app, version, token, pipeline } = new;
        let sql = "UPDATE pushes SET state = 'superseded', ended = ? WHERE environment = ? AND app = ? AND state = 'waiting'";
        let values = params![now.unix(), environment.as_str(), app.as_str()];
        transaction.execute(sql, values).map_err(failed(WHAT))?;
        let sql = "INSERT INTO pushes (environment, app, version, token, pipeline, at, state) VALUES (?, ?, ?, ?, ?, ?, 'waiting')";
        let values =
            params![environment.as_str(), app.as_str(), version.as_str(), token, pipeline, now.unix()];
        transaction.execute(sql, values).map_err(failed(WHAT))?;
        let id = transaction.last_insert_rowid();
        transaction.commit().map_err(failed(WHAT))?;
        Ok(id)
    }

    /// What waits for its turn in an environment, the oldest first.
    ///
    /// # Errors
    /// The store fails.
    pub fn waiting(&self, environment: &EnvironmentName) -> Result<Vec<Push>, Error> {
        const WHAT: &str = "list the pushes that wait";
        let sql =
            format!("SELECT {COLUMNS} FROM pushes WHERE environment = ? AND state = 'waiting' ORDER BY id");
        let mut statement = self.connection.prepare(&sql).map_err(failed(WHAT))?;
        let rows = statement.query_map([environment.as_str()], row).map_err(failed(WHAT))?;
        rows.map(|row| row.map_err(failed(WHAT))?.push()).collect()
    }

    /// Environments in which a push waits.
    ///
    /// # Errors
    /// The store fails.
    pub fn awaited(&self) -> Result<Vec<EnvironmentName>, Error> {
        const WHAT: &str = "list the environments that are pushed to";
        let sql = "SELECT DISTINCT environment FROM pushes WHERE state = 'waiting' ORDER BY environment";
        let mut statement = self.connection.prepare(sql).map_err(failed(WHAT))?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(failed(WHAT))?;
        rows.map(|row| read(&row.map_err(failed(WHAT))?)).collect()
    }

    /// A push by its number.
    ///
    /// # Errors
    /// The store fails.
    pub fn pushed(&self, id: i64) -> Result<Option<Push>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM pushes WHERE id = ?");
        let found =
            self.connection.query_row(&sql, [id], row).optional().map_err(failed("look for a push"))?;
        found.map(Raw::push).transpose()
    }

    /// When a push to this environment was published last.
    ///
    /// # Errors
    /// The store fails.
    pub fn last_published(&self, environment: &EnvironmentName) -> Result<Option<Timestamp>, Error> {
        let sql = "SELECT max(ended) FROM pushes WHERE environment = ? AND state = 'published'";
        let found =
            self.connection.query_row(sql, [environment.as_str()], |row| row.get::<_, Option<i64>>(0));
        Ok(found.map_err(failed("look for the last push"))?.map(Timestamp::from_unix))
    }

    /// Notes what became of a push.
    ///
    /// # Errors
    /// The store fails.
    pub fn settle_push(&self, id: i64, state: &PushState, now: Timestamp) -> Result<(), Error> {
        let (word, reason, serial) = match state {
            PushState::Waiting(reason) => ("waiting", reason.as_str(), None),
            PushState::Published(serial) => ("published", "", i64::try_from(*serial).ok()),
            PushState::Superseded => ("superseded", "", None),
            PushState::Refused(reason) => ("refused", reason.as_str(), None),
        };
        let ended = (word != "waiting").then_some(now.unix());
        let sql = "UPDATE pushes SET state = ?, reason = ?, serial = ?, ended = ? WHERE id = ? AND state = 'waiting'";
        let values = params![word, reason, serial, ended, id];
        self.connection.execute(sql, values).map(drop).map_err(failed("settle a push"))
    }
}

/// A row as it is stored.
struct Raw {
    id: i64,
    texts: [String; 7],
    at: i64,
    serial: Option<i64>,
}

fn row(row: &Row<'_>) -> Result<Raw, rusqlite::Error> {
    let texts = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(7)?, row.get(8)?];
    Ok(Raw { id: row.get(0)?, texts, at: row.get(6)?, serial: row.get(9)? })
}

impl Raw {
    fn push(self) -> Result<Push, Error> {
        let Self { id, texts: [environment, app, version, token, pipeline, state, reason], at, serial } =
            self;
        let (environment, app, version) = (read(&environment)?, read(&app)?, read(&version)?);
        let state = match state.as_str() {
            "waiting" => PushState::Waiting(reason),
            "published" => {
                PushState::Published(serial.and_then(|serial| u64::try_from(serial).ok()).unwrap_or(0))
            }
            "superseded" => PushState::Superseded,
            "refused" => PushState::Refused(reason),
            _ => return Err(Error::Damaged(state)),
        };
        let push = NewPush { environment, app, version, token, pipeline };
        Ok(Push { id, push, at: Timestamp::from_unix(at), state })
    }
}
