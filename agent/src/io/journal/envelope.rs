//! A record as it lies in its file: with the number of its format, which later versions go by.
//!
//! Never here: what a record says, or where it lies.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::io::disk;

/// The format that this version writes, and the newest that it reads.
const FORMAT: u32 = 1;
/// No record is nearly as long: 32 refusals with the ends of their outputs.
const LIMIT: u64 = 4 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    format: u32,
    record: T,
}

pub(super) fn encode<T: Serialize>(record: &T, path: &Path) -> Result<Vec<u8>, disk::Error> {
    let bytes = serde_json::to_vec(&Envelope { format: FORMAT, record });
    bytes.map_err(io::Error::from).map_err(failed("write a record for", path))
}

/// The record at `path`; none where there is no file; what is wrong with it otherwise.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    #[derive(Deserialize)]
    struct Peek {
        format: u32,
    }
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| error.to_string())?,
    };
    let Peek { format } = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if format > FORMAT {
        return Err(format!("its format is {format}, and this agent reads formats up to {FORMAT}"));
    }
    let envelope: Envelope<T> = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    Ok(Some(envelope.record))
}

pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> disk::Error {
    move |source| disk::Error { what, path: path.to_owned(), source }
}
