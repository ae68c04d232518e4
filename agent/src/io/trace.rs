//! The record of durable effects that the crash suite replays. With the feature `trace`, which no shipped build has,
//! each effect is one line of the file that `TIDELOCK_TRACE` names: verb and paths, separated by tabs, bytes in hex.
//!
//! Never here: an effect.

use std::path::Path;

/// Notes `verb` on `paths`; nothing without the feature.
#[inline]
pub(crate) fn note(verb: &str, paths: &[&Path]) {
    #[cfg(feature = "trace")]
    append(verb, &paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>());
    #[cfg(not(feature = "trace"))]
    let _ = (verb, paths);
}

/// Notes that `bytes` were appended to `path`; nothing without the feature.
#[inline]
pub(crate) fn note_bytes(path: &Path, bytes: &[u8]) {
    #[cfg(feature = "trace")]
    append("write", &[path.display().to_string(), data_encoding::HEXLOWER.encode(bytes)]);
    #[cfg(not(feature = "trace"))]
    let _ = (path, bytes);
}

#[cfg(feature = "trace")]
fn append(verb: &str, words: &[String]) {
    use std::io::Write as _;
    let Some(path) = std::env::var_os("TIDELOCK_TRACE") else { return };
    let line = format!("{verb}\t{}\n", words.join("\t"));
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    // A trace that cannot be written is a suite without effects to replay, and that suite then fails.
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}
