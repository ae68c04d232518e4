//! Releases that were handed in and are not published yet; their files lie beside the store.

use rusqlite::{Row, params};
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::{AppName, Platform, Version};
use tidelock_protocol::time::Timestamp;

use super::{Error, Store, failed, read};

const COLUMNS: &str = "id, app, version, platform, tree, idx, source, provenance, sbom, role, token, refused";

/// A release that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    /// Its number here; later ones have higher ones.
    pub id: i64,
    /// What it is.
    pub release: NewHanded,
    /// Why it will not be published; none: it waits for the next turn.
    pub refused: Option<String>,
}

/// A release to be handed in; its index and bundle lie with the uploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHanded {
    /// The app.
    pub app: AppName,
    /// The version.
    pub version: Version,
    /// What the bundle runs on.
    pub platform: Platform,
    /// The tree digest.
    pub tree: Digest,
    /// SHA-256 of the index as served: the upload's name.
    pub index: Digest,
    /// What it was made from, such as a commit.
    pub source: String,
    /// Who built it from what: a JSON text that is published beside it.
    pub provenance: Option<String>,
    /// What it is made of: a JSON text that is published beside it.
    pub sbom: Option<String>,
    /// The app's role as its builder signed it, naming this release.
    pub role: Option<String>,
    /// The token it came with.
    pub token: String,
}

impl Store {
    /// Keeps a release for the next turn; the same one again changes nothing.
    ///
    /// # Errors
    /// The store fails.
    pub fn hand_in(&self, new: &NewHanded, now: Timestamp) -> Result<i64, Error> {
        const WHAT: &str = "keep a release";
        let same = |one: &&Handed| {
            one.refused.is_none() && NewHanded { token: new.token.clone(), ..one.release.clone() } == *new
        };
        if let Some(known) = self.handed()?.iter().find(same) {
            return Ok(known.id);
        }
        let sql = "INSERT INTO handed (app, version, platform, tree, idx, source, provenance, sbom, role, token, at) \
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let NewHanded { app, version, platform, tree, index, source, provenance, sbom, role, token } = new;
        let values = params![
            app.as_str(),
            version.as_str(),
            platform.as_str(),
            tree.to_string(),
            index.to_string(),
            source,
            provenance,
            sbom,
            role,
            token,
            now.unix()
        ];
        self.connection.execute(sql, values).map_err(failed(WHAT))?;
        Ok(self.connection.last_insert_rowid())
    }

    /// What waits for the next turn, in the order it came.
    ///
    /// # Errors
    /// The store fails.
    pub fn handed(&self) -> Result<Vec<Handed>, Error> {
        self.handed_where("WHERE refused IS NULL ORDER BY id", &[])
    }

    /// What was handed in and refused, or waits, under this number.
    ///
    /// # Errors
    /// The store fails.
    pub fn handed_in(&self, id: i64) -> Result<Option<Handed>, Error> {
        Ok(self.handed_where("WHERE id = ?", &[id])?.pop())
    }

    /// It is published: nothing of it is kept here.
    ///
    /// # Errors
    /// The store fails.
    pub fn published_handed(&self, id: i64) -> Result<(), Error> {
        self.connection
            .execute("DELETE FROM handed WHERE id = ?", [id])
            .map(drop)
            .map_err(failed("forget a release"))
    }

    /// It is not taken, and why.
    ///
    /// # Errors
    /// The store fails.
    pub fn refuse_handed(&self, id: i64, reason: &str) -> Result<(), Error> {
        let sql = "UPDATE handed SET refused = ? WHERE id = ?";
        self.connection.execute(sql, params![reason, id]).map(drop).map_err(failed("refuse a release"))
    }

    fn handed_where(&self, rest: &str, values: &[i64]) -> Result<Vec<Handed>, Error> {
        const WHAT: &str = "list the releases that were handed in";
        let mut statement =
            self.connection.prepare(&format!("SELECT {COLUMNS} FROM handed {rest}")).map_err(failed(WHAT))?;
        let rows = statement.query_map(rusqlite::params_from_iter(values), texts).map_err(failed(WHAT))?;
        rows.map(|row| handed(row.map_err(failed(WHAT))?)).collect()
    }
}

type Texts = (i64, [String; 7], [Option<String>; 4]);

fn texts(row: &Row<'_>) -> Result<Texts, rusqlite::Error> {
    let must = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?, row.get(10)?];
    Ok((row.get(0)?, must, [row.get(7)?, row.get(8)?, row.get(9)?, row.get(11)?]))
}

fn handed((id, must, may): Texts) -> Result<Handed, Error> {
    let [app, version, platform, tree, index, source, token] = must;
    let [provenance, sbom, role, refused] = may;
    let release = NewHanded {
        app: read(&app)?,
        version: read(&version)?,
        platform: read(&platform)?,
        tree: read(&tree)?,
        index: read(&index)?,
        source,
        provenance,
        sbom,
        role,
        token,
    };
    Ok(Handed { id, release, refused })
}
