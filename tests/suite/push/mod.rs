//! Releases from pipelines: the real `push` against the real `serve`, with real tokens.

mod attacks;
mod owners;
mod parts;
mod pipelines;
mod releases;
mod signers;
mod soak;
mod walkthrough;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tidelock_tests::client::Client;
use tidelock_tests::program::until;
use tidelock_tests::programs::Ours;
use tidelock_tests::pushing::{Stage, tool};
use tidelock_tests::world::Ran;
