//! What this device is told by its owner: `config.toml` and its fragments, and where everything lies.
//!
//! Three stages: fragments (which files, in which order) → merged (every key with the value that counts) → settings
//! (types that cannot be wrong). Never here: what the environment wants (signed, `protocol::desired`) or what the
//! device remembers (`io/journal`).

#![allow(clippy::disallowed_methods, reason = "fragments are read here, and written nowhere")]

mod error;
mod fragments;
mod merged;
mod paths;
mod settings;
#[cfg(test)]
mod tests;

pub use error::{Error, Place, Unknown};
pub use fragments::{Fragment, before_any, read};
pub use merged::Merged;
pub use paths::Paths;
pub use settings::{ClientCertificate, Connection, Drift, Mode, Reuse, Settings, base_url, seconds};
