//! A world in miniature around one device: releases that pass, fail, hang or take the machine down; wishes, people, outages, cuts.
//!
//! The decisions are the agent's own; the disk forgets what was not synced. What the world can do is the specification
//! of what the agent must survive. Never here: what must hold (`crash::invariants`).

pub mod disk;
pub mod hands;
mod happen;
mod look;
mod state;

pub use happen::{Happening, MANY, Moved, hold, pin, until};
pub use look::NOW;
pub use state::{
    ALWAYS, Agent, Behaviour, Deferred, Fleet, Freedom, One, Stage, State, Terms, Wish, World, digest_of,
    name,
};
