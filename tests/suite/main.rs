//! The fast suites: `cargo test` runs them all. Those that need the real system stand in `system.rs`.

mod attack;
mod attack_index;
mod commands;
mod crash;
mod demo_web;
mod device;
mod fetch;
mod golden;
mod publish;
mod push;
mod reasons;
mod tidy;
mod trust;
mod web;
