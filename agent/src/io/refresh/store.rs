//! The trust store: the signed bytes last verified, one file per role as it was received, and one record beside them.
//!
//! `<role>.json` (percent-encoded), `desired` (the manifest's bytes), `walk` (the record of the last complete walk). All
//! bytes are verified again whenever they are used, so an altered file is no danger; a lost one is reported, because with
//! it goes the memory of versions that protects from old states.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidelock_protocol::digest::Digest;
use tidelock_protocol::roles::Envelope;
use tidelock_protocol::time::Timestamp;

use super::error::Failure;
use crate::decide::clock::Floor;
use crate::io::{clock, disk};

/// How the store was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// As the last walk left it.
    Known,
    /// There was none: the first turn after `join`.
    Begun,
    /// It grew from another root than the one in `/etc` now, and was begun again from that.
    Moved,
    /// It could not be read, and was begun again: what it remembered of versions is gone.
    Lost,
}

/// What a complete walk leaves behind, in one atomic record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    format: u32,
    /// SHA-256 of the root in `/etc` that all of this grew from.
    anchor: Digest,
    /// Entity tag of the timestamp's bytes with that digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<(String, Digest)>,
    /// SHA-256 of the timestamp's bytes that the walk led to: with other ones stored, a newer walk was cut before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) walked: Option<Digest>,
    /// When the newest root was last asked for with success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) full: Option<Timestamp>,
    /// SHA-256 of the manifest's bytes, and when it expires: what is still known while a newer walk is half done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) desired: Option<(Digest, Timestamp)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    floor: Option<FloorRecord>,
    /// The store was lost, and no walk has been completed since.
    #[serde(default)]
    pub(super) lost: bool,
    /// A person had it begun anew, and no walk has been completed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reset: Option<Reset>,
}

/// Who had trust begun anew, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// In that person's words.
    pub reason: String,
}

/// Why a store begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// There was nothing, or what was there grew from another root.
    Fresh,
    /// What was there could not be read.
    Lost,
    /// Somebody wanted it.
    Reset(Reset),
}

/// A floor of time, and at which moment of which boot it was learnt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FloorRecord {
    at: Timestamp,
    boot: Option<String>,
    seconds: u64,
}

impl Record {
    const FORMAT: u32 = 1;

    fn begin(anchor: Digest, why: Beginning) -> Self {
        let lost = why == Beginning::Lost;
        let reset = if let Beginning::Reset(reset) = why { Some(reset) } else { None };
        let (etag, walked, full) = (None, None, None);
        Self { format: Self::FORMAT, anchor, etag, walked, full, desired: None, floor: None, lost, reset }
    }

    /// The floor that signatures gave.
    pub(super) fn floor(&self) -> Option<Floor> {
        let FloorRecord { at, boot, seconds } = self.floor.as_ref()?;
        let this_boot = boot.is_some() && *boot == clock::boot_id();
        Some(Floor { at: *at, learnt: Duration::from_secs(if this_boot { *seconds } else { 0 }) })
    }

    /// Raises the floor to `at`, learnt now; it never falls here.
    pub(super) fn raise(&mut self, at: Timestamp, since_boot: Duration) {
        if self.floor.as_ref().is_none_or(|floor| floor.at < at) {
            self.floor = Some(FloorRecord { at, boot: clock::boot_id(), seconds: since_boot.as_secs() });
        }
    }

    pub(super) fn forget_floor(&mut self) {
        self.floor = None;
    }
}

/// The directory of the store.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    pub(super) record: Record,
}

impl Store {
    /// Opens the store in `directory`; `root` is the one in `/etc`, and `None` a store that stands for itself.
    pub(super) fn open(directory: &Path, root: Option<&[u8]>) -> Result<(Self, Found), Failure> {
        let (store, found) = Self::look(directory, root)?;
        if let Some(store) = store {
            return Ok((store, found));
        }
        let root = root.ok_or_else(|| Failure::NoTrust { directory: directory.to_owned() })?;
        let why = if found == Found::Lost { Beginning::Lost } else { Beginning::Fresh };
        Ok((Self::begin(directory, root, why)?, found))
    }

    /// The store as it is; none unless it is [`Found::Known`]. Nothing is changed.
    pub(super) fn look(directory: &Path, root: Option<&[u8]>) -> Result<(Option<Self>, Found), Failure> {
        let recorded =
            read(&directory.join(RECORD))?.map(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        let anchor = root.map(Digest::of);
        Ok(match recorded {
            None if read(&directory.join("root.json"))?.is_none() => (None, Found::Begun),
            None | Some(None) => (None, Found::Lost),
            Some(Some(record)) if anchor.is_some_and(|anchor| anchor != record.anchor) => {
                (None, Found::Moved)
            }
            Some(Some(record)) if record.format != Record::FORMAT => (None, Found::Lost),
            Some(Some(record)) => {
                let store = Self { directory: directory.to_owned(), record };
                if store.is_whole()? { (Some(store), Found::Known) } else { (None, Found::Lost) }
            }
        })
    }

    /// Begins anew from `root`. A cut anywhere leaves a store that is begun anew once more: the record comes last.
    pub(super) fn begin(directory: &Path, root: &[u8], why: Beginning) -> Result<Self, Failure> {
        disk::create_directories(directory)?;
        let entries = std::fs::read_dir(directory).map_err(unreadable(directory))?;
        for entry in entries {
            let entry = entry.map_err(unreadable(directory))?;
            if entry.file_name() != RECORD && entry.path().is_file() {
                disk::remove(&entry.path())?;
            }
        }
        let record = Record::begin(Digest::of(root), why);
        let store = Self { directory: directory.to_owned(), record };
        store.save("root", root)?;
        store.write_record(&store.record)?;
        Ok(store)
    }

    /// The stored bytes of a role.
    pub(super) fn load(&self, role: &str) -> Result<Option<Vec<u8>>, Failure> {
        read(&self.file(role))
    }

    /// Stores the bytes of a role as received.
    pub(super) fn save(&self, role: &str, bytes: &[u8]) -> Result<(), Failure> {
        Ok(disk::replace(&self.file(role), bytes)?)
    }

    /// Where the manifest's bytes lie.
    pub(super) fn desired(&self) -> PathBuf {
        self.directory.join("desired")
    }

    /// Replaces the record, where that changes anything: an idle poll writes nothing.
    pub(super) fn keep(&mut self, record: Record) -> Result<(), Failure> {
        if record != self.record {
            self.write_record(&record)?;
            self.record = record;
        }
        Ok(())
    }

    fn write_record(&self, record: &Record) -> Result<(), Failure> {
        let path = self.directory.join(RECORD);
        let bytes = serde_json::to_vec(record)
            .map_err(|error| Failure::Read { path: path.clone(), source: std::io::Error::other(error) })?;
        Ok(disk::replace(&path, &bytes)?)
    }

    /// Whether nothing that a complete walk left is missing or cut off. Signatures are judged by the walk.
    fn is_whole(&self) -> Result<bool, Failure> {
        let needed: &[&str] = if self.record.full.is_some() {
            &["root", "timestamp", "snapshot", "targets"]
        } else {
            &["root"]
        };
        for role in needed {
            let bytes = self.load(role)?;
            if bytes.is_none_or(|bytes| serde_json::from_slice::<Envelope<'_>>(&bytes).is_err()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn file(&self, role: &str) -> PathBuf {
        self.directory.join(format!("{}.json", encoded(role)))
    }
}

/// The record's name; no role can have it, for theirs end in `.json`.
const RECORD: &str = "walk";

/// A name as one component of a path or URL: all but letters, digits, `-`, `.`, `_` and `~` percent-encoded.
pub(super) fn encoded(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The file's bytes; `None` when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path)(error)),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    move |source| Failure::Read { path: path.to_owned(), source }
}
