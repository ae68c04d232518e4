//! Tokens of pipelines: 256 random bits that are shown once and stored as their SHA-256, what they may do, until when.

use data_encoding::BASE64URL_NOPAD;
use rusqlite::{OptionalExtension, Row, params};
use sha2::{Digest, Sha256};
use tidelock_protocol::names::{AppName, EnvironmentName};
use tidelock_protocol::time::Timestamp;

use super::{Error, Store, failed, read};

/// How a token begins, so that scanners for secrets know one.
const PREFIX: &str = "tidelock_";
/// The last use is noted once in so many seconds: a write per request would cost more than it tells.
const NOTED: i64 = 60;

/// Names that a token is for; none: all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope<T>(pub Vec<T>);

/// A token as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What people call it.
    pub name: String,
    /// Apps whose releases it may hand in.
    pub apps: Scope<AppName>,
    /// Environments that it may move.
    pub environments: Scope<EnvironmentName>,
    /// When it was made.
    pub created: Timestamp,
    /// From then on it is worth nothing.
    pub expires: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
    /// When it was used last, to the minute.
    pub used: Option<Timestamp>,
}

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// What people call it.
    pub name: String,
    /// Apps whose releases it may hand in.
    pub apps: Scope<AppName>,
    /// Environments that it may move.
    pub environments: Scope<EnvironmentName>,
    /// From then on it is worth nothing.
    pub expires: Timestamp,
}

/// What somebody with a token wants to do.
#[derive(Clone, Copy, Debug)]
pub enum Wants<'a> {
    /// Look.
    Look,
    /// Hand in a release of this app.
    HandIn(&'a AppName),
    /// Move this app in this environment.
    Move(&'a EnvironmentName, &'a AppName),
}

/// Why a token does not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody knows it.
    #[error("this token is not known here")]
    Unknown,
    /// It was revoked.
    #[error("the token {name:?} was revoked at {at}")]
    Revoked {
        /// Its name.
        name: String,
        /// When.
        at: Timestamp,
    },
    /// It is over.
    #[error("the token {name:?} expired at {at}: make a new one with `tidelock-server token create`")]
    Expired {
        /// Its name.
        name: String,
        /// When.
        at: Timestamp,
    },
    /// It is for something else.
    #[error("the token {name:?} is not for {what}")]
    Scope {
        /// Its name.
        name: String,
        /// What it would have to be for.
        what: String,
    },
}

impl<T: Ord> Scope<T> {
    fn has(&self, name: &T) -> bool {
        self.0.is_empty() || self.0.contains(name)
    }
}

impl<T: ToString> Scope<T> {
    fn text(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

impl Store {
    /// Makes a token of these random bytes; its text, which is not stored and never shown again.
    ///
    /// # Errors
    /// The name is taken, or the store fails.
    pub fn create_token(&self, new: &NewToken, random: &[u8; 32], now: Timestamp) -> Result<String, Error> {
        const WHAT: &str = "make a token";
        if self.token(&new.name)?.is_some() {
            return Err(Error::NameTaken(new.name.clone()));
        }
        let text = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(random));
        let sql =
            "INSERT INTO tokens (name, hash, apps, environments, created, expires) VALUES (?, ?, ?, ?, ?, ?)";
        let NewToken { name, apps, environments, expires } = new;
        let values = params![name, hash(&text), apps.text(), environments.text(), now.unix(), expires.unix()];
        self.connection.execute(sql, values).map_err(failed(WHAT))?;
        Ok(text)
    }

    /// Every token, by name; the revoked and expired ones too.
    ///
    /// # Errors
    /// The store fails.
    pub fn tokens(&self) -> Result<Vec<Token>, Error> {
        const WHAT: &str = "list the tokens";
        let sql =
            "SELECT name, apps, environments, created, expires, revoked, used FROM tokens ORDER BY name";
        let mut statement = self.connection.prepare(sql).map_err(failed(WHAT))?;
        let rows = statement.query_map([], row).map_err(failed(WHAT))?;
        rows.map(|row| row.map_err(failed(WHAT))?.token()).collect()
    }

    fn token(&self, name: &str) -> Result<Option<Token>, Error> {
        Ok(self.tokens()?.into_iter().find(|token| token.name == name))
    }

    /// Revokes a token; whether there was one that was not revoked yet.
    ///
    /// # Errors
    /// The store fails.
    pub fn revoke_token(&self, name: &str, now: Timestamp) -> Result<bool, Error> {
        let sql = "UPDATE tokens SET revoked = ? WHERE name = ? AND revoked IS NULL";
        let changed =
            self.connection.execute(sql, params![now.unix(), name]).map_err(failed("revoke a token"))?;
        Ok(changed > 0)
    }

    /// The name of the token with this text, when it may do what its bearer wants.
    ///
    /// # Errors
    /// The store fails; what is refused is a value.
    pub fn admit(
        &self,
        text: &str,
        wants: Wants<'_>,
        now: Timestamp,
    ) -> Result<Result<String, Refusal>, Error> {
        const WHAT: &str = "look for a token";
        // Found by its hash: no comparison whose time would tell how much of a guess is right.
        let sql =
            "SELECT name, apps, environments, created, expires, revoked, used FROM tokens WHERE hash = ?";
        let found =
            self.connection.query_row(sql, params![hash(text)], row).optional().map_err(failed(WHAT))?;
        let Some(token) = found.map(RawToken::token).transpose()? else { return Ok(Err(Refusal::Unknown)) };
        let name = token.name.clone();
        if let Some(at) = token.revoked {
            return Ok(Err(Refusal::Revoked { name, at }));
        }
        if token.expires <= now {
            return Ok(Err(Refusal::Expired { name, at: token.expires }));
        }
        let (fits, what) = match wants {
            Wants::Look => (true, String::new()),
            Wants::HandIn(app) => (token.apps.has(app), format!("the app {app}")),
            Wants::Move(environment, app) if token.environments.has(environment) => {
                (token.apps.has(app), format!("the app {app}"))
            }
            Wants::Move(environment, _) => (false, format!("the environment {environment}")),
        };
        if !fits {
            return Ok(Err(Refusal::Scope { name, what }));
        }
        let sql = "UPDATE tokens SET used = ?1 WHERE name = ?2 AND (used IS NULL OR used < ?1 - ?3)";
        self.connection.execute(sql, params![now.unix(), name, NOTED]).map_err(failed(WHAT))?;
        Ok(Ok(name))
    }
}

fn hash(text: &str) -> Vec<u8> {
    Sha256::digest(text.as_bytes()).to_vec()
}

/// A row as it is stored.
struct RawToken {
    name: String,
    scopes: [String; 2],
    times: [i64; 2],
    maybe: [Option<i64>; 2],
}

fn row(row: &Row<'_>) -> Result<RawToken, rusqlite::Error> {
    Ok(RawToken {
        name: row.get(0)?,
        scopes: [row.get(1)?, row.get(2)?],
        times: [row.get(3)?, row.get(4)?],
        maybe: [row.get(5)?, row.get(6)?],
    })
}

impl RawToken {
    fn token(self) -> Result<Token, Error> {
        fn scope<T: std::str::FromStr>(text: &str) -> Result<Scope<T>, Error> {
            text.split(',').filter(|name| !name.is_empty()).map(read).collect::<Result<_, _>>().map(Scope)
        }
        let Self { name, scopes: [apps, environments], times: [created, expires], maybe: [revoked, used] } =
            self;
        Ok(Token {
            name,
            apps: scope(&apps)?,
            environments: scope(&environments)?,
            created: Timestamp::from_unix(created),
            expires: Timestamp::from_unix(expires),
            revoked: revoked.map(Timestamp::from_unix),
            used: used.map(Timestamp::from_unix),
        })
    }
}
