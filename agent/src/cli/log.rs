//! The log on standard error: lines for a person, or, where that leads to the journal of systemd, entries with
//! priority and fields (`TIDELOCK_APP`, `TIDELOCK_RELEASE`, `TIDELOCK_REASON`).
//!
//! error: somebody must act. warn: something went wrong, and the agent deals with it. info: what it does. Never here, and
//! never in any message: tokens, keys, the machine-id, values of environment files.

use std::io::Write;

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::io::native_log::{self, NativeLog};

/// Where lines go.
enum Logger {
    /// To a person.
    Stderr,
    /// To the journal: natively where that works, as lines with a priority where it does not.
    Journal(Option<NativeLog>),
}

/// Begins to log.
pub(super) fn begin() {
    let logger = match native_log::is_stderr() {
        true => Logger::Journal(NativeLog::connect().ok()),
        false => Logger::Stderr,
    };
    // A second call, as tests make it, finds the first logger in place.
    let _ = log::set_logger(Box::leak(Box::new(logger)));
    log::set_max_level(LevelFilter::Info);
}

impl Log for Logger {
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
        let message = record.args().to_string();
        let begin = match self {
            Self::Journal(Some(journal)) if journal.send(priority, &message, &fields(record)).is_ok() => {
                return;
            }
            Self::Journal(_) => format!("<{priority}>"),
            Self::Stderr => word.to_owned(),
        };
        for line in message.lines() {
            // Nobody can be told that nobody listens.
            let _ = writeln!(std::io::stderr(), "{begin}{line}");
        }
    }

    fn flush(&self) {}
}

/// What an entry is about, by the names that `journalctl` finds it with.
fn fields(record: &Record<'_>) -> Vec<(String, String)> {
    struct Fields(Vec<(String, String)>);
    impl<'a> VisitSource<'a> for Fields {
        fn visit_pair(&mut self, key: Key<'a>, value: Value<'a>) -> Result<(), Error> {
            self.0.push((format!("TIDELOCK_{}", key.as_str().to_uppercase()), value.to_string()));
            Ok(())
        }
    }
    let mut fields = Fields(Vec::new());
    // This visitor never fails.
    let _ = record.key_values().visit(&mut fields);
    fields.0
}
