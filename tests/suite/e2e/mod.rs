//! The whole path with the real programs: real git over smart HTTP, real nginx with TLS, small real disks, a bad network,
//! wrong clocks. What a device ends up with is compared with what was committed, byte for byte.

mod clocks;
mod commands;
mod cross;
mod disks;
mod doctor;
mod drift;
mod git;
mod links;
mod network;
mod orphans;
mod reasons;
mod site;
mod socket;
#[path = "../device/stage.rs"]
#[expect(dead_code, reason = "the fast suites use all of it")]
mod stage;
mod updates;
