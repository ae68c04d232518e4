//! What a device and its publisher must agree on byte for byte, and nothing else.
//!
//! A line is admitted here only if both sides break when they read it differently: names, limits, the TUF verifier,
//! the desired state, the tree and its index. Never here: I/O, a clock, a private key, a policy.

pub mod canonical;
pub mod desired;
pub mod digest;
pub mod index;
pub mod keys;
pub mod layout;
pub mod limits;
pub mod names;
pub mod nearest;
pub mod recipe;
pub mod release;
pub mod roles;
pub mod time;
pub mod tree;
pub mod trust;
