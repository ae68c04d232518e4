//! The program: a log, a command, and the one place where the chain of an error is printed.
//!
//! Never here: anything that a command does.

use std::process::ExitCode;

use tidelock::cli;

fn main() -> ExitCode {
    cli::main(std::env::args_os().skip(1))
}
