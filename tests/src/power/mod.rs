//! Honest power cuts: a disk that forgets what was not flushed, what it does to a real run of a program, and every image
//! that a cut could have left.
//!
//! Never here: which program runs, and what must hold on its images.

mod disk;
mod fuse;
mod mounted;
pub mod nbd;
mod recording;

pub use disk::{Dice, Disk, Loss, Lost, Operation, Shared, shared};
pub use mounted::{Boots, Mounted, System};
pub use recording::{Cut, Recording};
