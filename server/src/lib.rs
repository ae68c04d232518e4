//! The publisher as a library: the rooms of the server's side. The binary `tidelock-server` is `main.rs`.
//!
//! Look → decide → do: `look` gathers, the pure rooms (`git::pick`, `publish::order`) choose, `turn` has it done.

pub mod bundle;
pub mod cli;
pub mod config;
pub mod git;
pub mod keys;
pub mod look;
pub mod pipeline;
pub mod publish;
pub mod store;
pub mod turn;
pub mod web;
