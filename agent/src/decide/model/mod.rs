//! What is decided about: the device as it was looked at, the records it keeps, the steps it may take, the reasons.
//!
//! Never here: a decision.

mod about;
mod device;
mod goal;
mod launch;
mod memory;
mod reason;
mod records;
mod said;
mod step;
#[cfg(test)]
mod tests;
mod words;
mod written;

pub use device::{
    App, Care, Check, Device, Mode, Process, Recipe, Run, Settings, Space, Starter, Tried, Units, is_itself,
};
pub use goal::{File, Files, Goal, Offer, Want, Wanted};
pub use launch::{Begun, Launch};
pub use memory::{Memory, Pass, Rechecked};
pub use reason::{Left, Reason, Why};
pub use records::{
    Cause, Committed, Drift, Ground, Heal, Hold, Orphan, Phase, Pin, Refusal, Retry, Rollback, Setback,
    Setup, Trial, Until,
};
pub use said::{Outcome, Said, Trouble, TroubleKind};
pub use step::{Extent, Step};
pub use written::Record;
