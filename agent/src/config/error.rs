//! What can be wrong with a configuration, said with file and line.

use std::fmt;
use std::path::PathBuf;

/// A line of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

/// A key that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The key, with the name of its table: `report.ulr`.
    pub key: String,
    /// The known key that is spelled most like it.
    pub nearest: Option<&'static str>,
    /// Where it stands.
    pub place: Place,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: unknown key `{}`", self.place, self.key)?;
        self.nearest.map_or(Ok(()), |nearest| write!(f, "; did you mean `{nearest}`?"))
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read.
    #[error("cannot read the configuration file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("{place}: {message}")]
    Toml {
        /// Where the parser stopped.
        place: Place,
        /// What it said.
        message: String,
    },
    /// A value that its key does not take.
    #[error("{place}: `{key}` is {found}: expected {expected}")]
    Value {
        /// Where it stands.
        place: Place,
        /// The key.
        key: String,
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: String,
    },
    /// Two keys that only make sense together.
    #[error("{place}: `{key}` needs `{other}` as well")]
    Alone {
        /// Where the one key stands.
        place: Place,
        /// The one key.
        key: &'static str,
        /// The one that is missing.
        other: &'static str,
    },
    /// A key without which there is nothing to do.
    #[error("`{key}` is set in no configuration file below {directory}: run `tidelock join` first")]
    Missing {
        /// The key.
        key: &'static str,
        /// Where people write them.
        directory: PathBuf,
    },
    /// Keys that nobody knows.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Unknown(Vec<Unknown>),
}
