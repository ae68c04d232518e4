//! The decisions of a device, and nothing else: values in, one step out.
//!
//! Never here: a clock (time is an argument), a file, a socket, a process, randomness (a seed is an argument).

pub mod clock;
pub mod model;
