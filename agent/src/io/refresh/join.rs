//! The first root of a device: found among those that the publisher keeps, by the digest that a person brought.

use tidelock_protocol::digest::Digest;
use tidelock_protocol::limits;

use super::error::Failure;
use super::walk::whole;
use crate::io::http::Http;

/// Most roots that are looked at; one a year, or one a week for twenty years.
const ROOTS: u64 = 1024;

/// Walks 1.root.json, 2.root.json, … until one has the digest `wanted`: trust starts from there. What is between is not
/// judged; the digest alone says which one a person meant.
///
/// # Errors
/// No published root has it, or no answer.
pub fn find_root(http: &Http, wanted: &Digest) -> Result<Vec<u8>, Failure> {
    let mut last = 0;
    for version in 1..=ROOTS {
        let Some(bytes) = whole(http, &format!("metadata/{version}.root.json"), limits::ROOT_BYTES)? else {
            break;
        };
        if Digest::of(&bytes) == *wanted {
            return Ok(bytes);
        }
        last = version;
    }
    Err(Failure::NoSuchRoot { last, wanted: wanted.to_string() })
}
