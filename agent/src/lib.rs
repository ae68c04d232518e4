//! The agent as a library: the rooms of the device's side. The binary `tidelock` is `main.rs`.
//!
//! Look → decide → do: `look` gathers, `decide` chooses and touches nothing, `io` touches and chooses nothing.

pub mod config;
pub mod decide;
pub mod io;
pub mod look;

#[cfg(test)]
mod room;
