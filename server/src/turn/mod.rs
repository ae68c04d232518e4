//! One round of look → decide → do of the publisher, and the watch that runs one after the other.
//!
//! Never here: a rule of what is published (the pure rooms choose), or a word for people (`cli`).

mod watch;

pub use watch::{Said, watch};
