//! The decisions of a device, and nothing else: values in, one step out.
//!
//! ```text
//!                    retry: forget · rollback, nowhere to go: decline · tidy: prune, discard
//!                      ┌─┐
//!                    ┌─┴─▼────────────────────────── rest ──────────────────────────────────┐
//!                    │ restore (stop, point, place, start) what was committed               │
//!                    │ index → fetch → seal what is wanted                                  │
//!                    └──┬───────────────▲───────────────────────────▲───────────────────┬───┘
//!      open the trial   │               │ commit                    │ refuse            │ rollback by hand
//!      of what is wanted▼               │ (close, if it was)        │ defer             │
//!                    ┌─ trial ──────────┴──────────┐                │ close             │
//!                    │ stop → point → place →      │    ┌─ back ────┴──────────────┐    │
//!                    │ count → start → probe       ├───►│ stop → point back (or     │◄───┘
//!                    └─────────────────────────────┘    │ unlink) → place → start…  │
//!          a check or the start fails, all starts used, └───────────────────────────┘
//!          superseded, files gone, rollback by hand
//! ```
//!
//! Each arrow is one record, durable before anything that it announces is done; each word in a box is one step. The
//! function is asked again after every step and every crash, so a box is left only by its record.
//!
//! Never here: a clock (time is an argument), a file, a socket, a process, randomness (a seed is an argument).

mod back;
mod boot;
mod checks;
pub mod clock;
mod drift;
mod entry;
mod itself;
pub mod model;
mod next;
mod orphan;
pub mod poll;
mod rest;
mod settings;
#[cfg(test)]
mod tests;
mod trial;
pub mod want;

pub use back::REFUSALS;
pub use boot::at_boot;
pub use itself::{at_launch, is_in_vain, to_launch};
pub use next::next;
pub use trial::STARTS;
