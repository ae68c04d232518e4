//! The suites against real programs (nginx, git, strace, file systems, foreign TUF clients): `tests/run` runs them,
//! plain `cargo test` does not.

mod api;
mod e2e;
mod fetch_disks;
mod foreign;
mod kill;
mod packages;
mod power;
mod races;
mod remote;
mod rig;
mod server_service;
mod signed;
mod ssh;
mod systemd;
mod tars;
mod vm;
mod web_nginx;
