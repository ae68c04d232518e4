//! Third stage: settings, in types that cannot be wrong.
//!
//! Never here: which file said it (that is only in the errors), or a secret (those are read when they are used).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tidelock_protocol::names::{AppName, DeviceId, EnvironmentName, LabelKey};
use toml::Value;

use super::merged::{Entry, Merged};
use super::{Error, Paths};

/// What the owner of this device says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How the publisher is reached.
    pub connection: Connection,
    /// The one environment that this device belongs to.
    pub environment: EnvironmentName,
    /// The device's name where the owner gives it one; otherwise it is made from the machine's.
    pub id: Option<DeviceId>,
    /// Time between two polls.
    pub poll: Duration,
    /// Whether the agent acts on what it decides.
    pub mode: Mode,
    /// How files of the release that runs get into the next one.
    pub reuse: Reuse,
    /// Releases kept per app, the live one and the way back included.
    pub keep: usize,
    /// Apps whose units, hooks and checks may run as root.
    pub root_apps: BTreeSet<AppName>,
    /// Units besides its own that an app may name.
    pub units: BTreeSet<String>,
    /// What selectors see of this device.
    pub labels: BTreeMap<LabelKey, String>,
    /// Where reports go, if anywhere; without a trailing slash.
    pub report: Option<String>,
    /// When the live trees are hashed again without being asked, and what then happens.
    pub drift: Drift,
}

/// Whether the agent acts on what it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    Apply,
    /// It decides and reports the same, and changes nothing.
    Observe,
}

/// How files of the release that runs get into the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// By hard link, reflink or copy, the first that is safe here.
    Auto,
    /// By reflink or copy: no two releases ever share an inode.
    Copy,
}

/// When the live trees are hashed again without being asked, and what then happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Time between two rounds.
    pub every: Duration,
    /// Whether a difference is mended, or only reported.
    pub heal: bool,
}

/// How the publisher is reached. Secrets are read from their files when a connection is made, and never logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Base URL without a trailing slash; `metadata/` and `targets/` lie below it.
    pub url: String,
    /// Certificates to trust instead of the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// A file whose one line `Name: value` is sent with every request.
    pub header_file: Option<PathBuf>,
    /// This device's certificate chain and key, PEM.
    pub client: Option<ClientCertificate>,
}

/// A client certificate for the publisher's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
const POLL: RangeInclusive<u64> = 1..=7 * DAY;
const DRIFT: RangeInclusive<u64> = MINUTE..=365 * DAY;
/// The live release and the way back from it are always kept.
const KEEP: RangeInclusive<usize> = 2..=32;
const LABEL_LENGTH: usize = 128;

impl Settings {
    /// The settings that `merged` makes; file names in them lie below the root of `paths`.
    ///
    /// # Errors
    /// The first value that its key does not take, with its place, or a key that is missing.
    pub fn of(merged: &Merged, paths: &Paths) -> Result<Self, Error> {
        let missing = |key| Error::Missing { key, directory: paths.etc() };
        Ok(Self {
            connection: connection(merged, paths)?.ok_or_else(|| missing("url"))?,
            environment: merged.parsed("environment")?.ok_or_else(|| missing("environment"))?,
            id: merged.parsed("id")?,
            poll: merged.duration("poll", POLL)?.unwrap_or(Duration::from_secs(5 * MINUTE)),
            mode: merged.one_of("mode", [("apply", Mode::Apply), ("observe", Mode::Observe)])?,
            reuse: merged.one_of("reuse", [("auto", Reuse::Auto), ("copy", Reuse::Copy)])?,
            keep: merged.keep()?,
            root_apps: merged.list("allow_root_apps")?,
            units: merged.list::<UnitName>("allow_units")?.into_iter().map(|unit| unit.0).collect(),
            labels: merged.labels()?,
            report: merged.url("report.url")?,
            drift: Drift {
                every: merged.duration("drift.every", DRIFT)?.unwrap_or(Duration::from_secs(DAY)),
                heal: merged.truth("drift.heal")?.unwrap_or(true),
            },
        })
    }
}

/// How the publisher is reached, as far as `merged` says so already: `join` asks before there is an address.
///
/// # Errors
/// As [`Settings::of`].
fn connection(merged: &Merged, paths: &Paths) -> Result<Option<Connection>, Error> {
    let file = |key| merged.file(key, paths);
    let client = match (file("client_cert")?, file("client_key")?) {
        (Some(cert), Some(key)) => Some(ClientCertificate { cert, key }),
        (None, None) => None,
        (Some(_), None) => return Err(merged.alone("client_cert", "client_key")),
        (None, Some(_)) => return Err(merged.alone("client_key", "client_cert")),
    };
    let (ca_file, header_file) = (file("ca_file")?, file("header_file")?);
    Ok(merged.url("url")?.map(|url| Connection { url, ca_file, header_file, client }))
}

/// A base URL in the one form that is kept: http or https, a host, no credentials, no query, no trailing slash.
///
/// # Errors
/// What is wrong with it.
pub fn base_url(text: &str) -> Result<String, &'static str> {
    const EXPECTED: &str = "an http:// or https:// address without credentials, query or fragment";
    let (scheme, rest) = text.split_once("://").ok_or(EXPECTED)?;
    let authority = rest.split('/').next().unwrap_or_default();
    let clean = |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'\\' | b'"' | b'<' | b'>');
    if authority.contains('@') {
        return Err("an address without credentials: they go into the file that `header_file` names");
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let well_formed = matches!(scheme, "http" | "https") && !host.is_empty() && text.bytes().all(clean);
    if well_formed { Ok(text.trim_end_matches('/').to_owned()) } else { Err(EXPECTED) }
}

/// Seconds of a text such as `90s`, `5m`, `6h` or `1d`.
pub fn seconds(text: &str) -> Option<u64> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => MINUTE,
        b'h' => 60 * MINUTE,
        b'd' => DAY,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| plain)?.checked_mul(unit)
}

/// A unit of systemd by its name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct UnitName(String);

impl FromStr for UnitName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kinds = ["service", "socket", "timer", "path", "target", "mount"];
        let plain = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
        let known =
            text.rsplit_once('.').is_some_and(|(stem, kind)| !stem.is_empty() && kinds.contains(&kind));
        if known && text.len() <= 255 && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a unit name such as `web.service`".into())
        }
    }
}

impl Merged {
    pub(super) fn wrong(key: &str, entry: &Entry, expected: impl ToString) -> Error {
        let found = entry.value.to_string().chars().take(120).collect();
        Error::Value {
            place: entry.place.clone(),
            key: key.to_owned(),
            found,
            expected: expected.to_string(),
        }
    }

    fn alone(&self, key: &'static str, other: &'static str) -> Error {
        match self.entries.get(key) {
            Some(entry) => Error::Alone { place: entry.place.clone(), key, other },
            None => Error::Missing { key, directory: PathBuf::new() },
        }
    }

    /// The value of `key`, read by `read`, which says what it expects where it gives none.
    fn read<T>(&self, key: &str, read: impl FnOnce(&Value) -> Result<T, String>) -> Result<Option<T>, Error> {
        let Some(entry) = self.entries.get(key) else { return Ok(None) };
        read(&entry.value).map(Some).map_err(|expected| Self::wrong(key, entry, expected))
    }

    fn parsed<T: FromStr<Err: ToString>>(&self, key: &str) -> Result<Option<T>, Error> {
        self.read(key, parse)
    }

    fn url(&self, key: &str) -> Result<Option<String>, Error> {
        self.read(key, |value| base_url(text(value)?).map_err(str::to_owned))
    }

    fn truth(&self, key: &str) -> Result<Option<bool>, Error> {
        self.read(key, |value| value.as_bool().ok_or_else(|| "true or false".into()))
    }

    fn file(&self, key: &str, paths: &Paths) -> Result<Option<PathBuf>, Error> {
        self.read(key, |value| {
            let path = Path::new(text(value)?);
            if path.is_absolute() { Ok(paths.rooted(path)) } else { Err("an absolute file name".into()) }
        })
    }

    fn duration(&self, key: &str, bounds: RangeInclusive<u64>) -> Result<Option<Duration>, Error> {
        self.read(key, |value| {
            let found = value.as_str().and_then(seconds).filter(|seconds| bounds.contains(seconds));
            let (least, most) = (bounds.start(), bounds.end() / DAY);
            let expected =
                format!("a time such as \"90s\", \"5m\", \"6h\" or \"1d\", from {least}s to {most}d");
            found.map(Duration::from_secs).ok_or(expected)
        })
    }

    /// The one of `words` that stands there; the first where none does.
    fn one_of<T: Copy, const N: usize>(&self, key: &str, words: [(&str, T); N]) -> Result<T, Error> {
        let found = self.read(key, |value| {
            let word = words.iter().find(|(word, _)| value.as_str() == Some(word));
            let names: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            word.map(|(_, meaning)| *meaning).ok_or_else(|| names.join(" or "))
        })?;
        Ok(found.unwrap_or(words[0].1))
    }

    fn keep(&self) -> Result<usize, Error> {
        let found = self.read("keep", |value| {
            let number = value.as_integer().and_then(|number| usize::try_from(number).ok());
            let expected = || format!("a number from {} to {}", KEEP.start(), KEEP.end());
            number.filter(|number| KEEP.contains(number)).ok_or_else(expected)
        })?;
        Ok(found.unwrap_or(*KEEP.start()))
    }

    fn list<T: FromStr<Err: ToString> + Ord>(&self, key: &str) -> Result<BTreeSet<T>, Error> {
        let found = self.read(key, |value| {
            let items = value.as_array().ok_or("a list, such as [\"web\"]")?;
            items.iter().map(parse).collect::<Result<BTreeSet<T>, String>>()
        })?;
        Ok(found.unwrap_or_default())
    }

    fn labels(&self) -> Result<BTreeMap<LabelKey, String>, Error> {
        let mut labels = BTreeMap::new();
        let below =
            self.entries.iter().filter_map(|(key, entry)| Some((key.strip_prefix("labels.")?, entry)));
        for (key, entry) in below {
            let parsed = key.parse().map_err(|error| Self::wrong(key, entry, error))?;
            let value = label(&entry.value).map_err(|expected| Self::wrong(key, entry, expected))?;
            labels.insert(parsed, value);
        }
        Ok(labels)
    }
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "a text in quotes".into())
}

fn parse<T: FromStr<Err: ToString>>(value: &Value) -> Result<T, String> {
    text(value)?.parse().map_err(|error: T::Err| error.to_string())
}

fn label(value: &Value) -> Result<String, String> {
    let found = value.as_str().filter(|text| text.len() <= LABEL_LENGTH && !text.contains(char::is_control));
    found
        .map(str::to_owned)
        .ok_or_else(|| format!("a text of at most {LABEL_LENGTH} bytes without control characters"))
}
