//! The hands: one file per thing touched. They choose nothing; a `Step` carries every value they need.
//!
//! Never here: a decision, a policy, a word for people.

#![allow(clippy::disallowed_methods, reason = "the hands are what the wall keeps everybody else from")]

pub mod activate;
pub mod adopt;
pub mod clock;
pub mod disk;
pub mod examine;
pub mod fetch;
pub mod http;
pub mod identity;
pub mod idle;
pub mod journal;
pub mod launch;
pub mod lock;
pub mod native_log;
pub mod notify;
pub mod probe;
pub mod refresh;
pub mod release;
pub mod service;
pub mod socket;
pub mod source;
mod trace;
pub mod units;
pub mod user;
pub mod wake;
