//! The agent as a library: the rooms of the device's side. The binary `tidelock` is `main.rs`.
//!
//! Look → decide → do: `look` gathers, `decide` chooses and touches nothing, `io` touches and chooses nothing.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test sets its own stage"))]

pub mod cli;
pub mod config;
pub mod decide;
pub mod io;
pub mod look;
pub mod turn;

#[cfg(test)]
mod room;
