//! The log on standard error: lines for a person, or with the priorities that the journal of systemd reads.
//!
//! error: somebody must act. warn: something went wrong, and the agent deals with it. info: what it does. debug: what it
//! sees. Never here, and never in any message: tokens, keys, the machine-id, values of environment files.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Stderr {
    journal: bool,
}

/// Begins to log; `verbose`: debug as well.
pub(super) fn begin(verbose: bool) {
    let logger = Box::leak(Box::new(Stderr { journal: std::env::var_os("JOURNAL_STREAM").is_some() }));
    // A second call, as tests make it, finds the first logger in place.
    let _ = log::set_logger(logger);
    log::set_max_level(if verbose { LevelFilter::Debug } else { LevelFilter::Info });
}

impl Log for Stderr {
    /// Only our own: what libraries log may hold headers.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tidelock") && metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (priority, word) = match record.level() {
            Level::Error => (3, "error: "),
            Level::Warn => (4, "warning: "),
            Level::Info => (6, ""),
            Level::Debug | Level::Trace => (7, "debug: "),
        };
        for line in record.args().to_string().lines() {
            // Nobody can be told that nobody listens.
            let _ = if self.journal {
                writeln!(std::io::stderr(), "<{priority}>{line}")
            } else {
                writeln!(std::io::stderr(), "{word}{line}")
            };
        }
    }

    fn flush(&self) {}
}
