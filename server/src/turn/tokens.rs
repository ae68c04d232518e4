//! Tokens made and revoked, each with its line of the audit.
//!
//! Never here: what a token may do (`store`).

use std::path::Path;

use tidelock_protocol::time::Timestamp;

use super::Error;
use super::audit::Audit;
use crate::store::{NewToken, Store};

/// Makes a token of these random bytes; its text, which nobody else ever sees: a token that is not in the audit is
/// nobody's.
///
/// # Errors
/// The name is taken, or store or audit cannot be written.
pub fn create_token(
    state: &Path,
    new: &NewToken,
    random: &[u8; 32],
    now: Timestamp,
) -> Result<String, Error> {
    let text = Store::open(state)?.create_token(new, random, now)?;
    Audit::of(state).token_created(new, now)?;
    Ok(text)
}

/// Revokes the token `name`; whether there was one to be revoked.
///
/// # Errors
/// Store or audit cannot be written.
pub fn revoke_token(state: &Path, name: &str, now: Timestamp) -> Result<bool, Error> {
    let was_one = Store::open(state)?.revoke_token(name, now)?;
    if was_one {
        Audit::of(state).token_revoked(name, now)?;
    }
    Ok(was_one)
}
