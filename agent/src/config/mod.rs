//! What this device is told by its owner: `config.toml` and its fragments, and where everything lies.
//!
//! Never here: what the environment wants (signed, `protocol::desired`) or what the device remembers (`io/journal`).

mod paths;
mod settings;

pub use paths::Paths;
pub use settings::{ClientCertificate, Connection};
