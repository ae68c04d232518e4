//! The suites against real programs (nginx, git, strace, file systems, foreign TUF clients): `tests/run` runs them,
//! plain `cargo test` does not.

mod foreign;
mod rig;
mod web_nginx;
