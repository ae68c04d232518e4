//! A fleet and its devices, played by the real programs: a Git repository that is published, and a device below a root of
//! its own.
//!
//! Never here: what is expected of them; and nothing that the programs should do themselves.

mod device;
mod fleet;
mod running;

use std::io::Write;
use std::process::Output;

pub use device::Device;
pub use fleet::Fleet;
pub use running::{Daemon, Serve, Supervisor};

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit code; −1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Ran {
    /// How a command with this output did.
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Self { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Itself, when it ended with 0.
    ///
    /// # Panics
    /// When it did not; with what it said.
    pub fn well(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    /// All that it said.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Says something at once, also into a pipe.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
