//! A unit file as lines that were understood: what is written for the service manager is made from these, so that it
//! reads exactly what was judged.
//!
//! Never here: what a line may say (`rules`).

use std::fmt;

/// Longest unit file, in bytes.
const LIMIT: usize = 64 * 1024;

/// One assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// `Unit`, `Service`, `Install`, …
    pub(super) section: String,
    pub(super) key: String,
    /// Of continued lines, all of them.
    pub(super) value: String,
}

impl Line {
    pub(super) fn new(section: &str, key: &str, value: impl fmt::Display) -> Self {
        Self { section: section.into(), key: key.into(), value: value.to_string() }
    }

    pub(super) fn is(&self, section: &str, key: &str) -> bool {
        self.section == section && self.key == key
    }
}

/// The lines of a unit file, by the rules of systemd.syntax(7): comments and what only other programs read (`X-…`) left
/// out, continued lines joined.
pub(super) fn parse(text: &str) -> Result<Vec<Line>, String> {
    if text.len() > LIMIT {
        return Err(format!("it is longer than {LIMIT} bytes"));
    }
    if text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) {
        return Err("it holds a control character".into());
    }
    let mut lines = Vec::new();
    let mut section = String::new();
    let mut joined = String::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        joined += line;
        if let Some(begun) = continued(&joined) {
            joined = begun;
            continue;
        }
        let whole = std::mem::take(&mut joined);
        let whole = whole.trim();
        let wrong = |what| Err(format!("line {}: {what}", number + 1));
        if let Some(name) = whole.strip_prefix('[') {
            match name.strip_suffix(']').filter(|name| !name.is_empty()) {
                Some(name) => section = name.to_owned(),
                None => return wrong("expected a section such as [Service]"),
            }
        } else if !whole.is_empty() {
            let Some((key, value)) = whole.split_once('=') else { return wrong("expected Key=value") };
            if section.is_empty() {
                return wrong("it stands in no section");
            }
            lines.push(Line::new(&section, key.trim(), value.trim()));
        }
    }
    if !joined.is_empty() {
        return Err("its last line is continued and ends".into());
    }
    lines.retain(|line| !line.section.starts_with("X-") && !line.key.starts_with("X-"));
    Ok(lines)
}

/// The line so far, where it ends in a backslash that nothing escapes.
fn continued(line: &str) -> Option<String> {
    let backslashes = line.len() - line.trim_end_matches('\\').len();
    (backslashes % 2 == 1).then(|| format!("{} ", &line[..line.len() - 1]))
}

/// The text of a unit file.
pub(super) fn render(lines: &[Line]) -> String {
    let mut text =
        "# Written by tidelock from the release that is live: changes belong into a drop-in.\n".to_owned();
    let mut section = "";
    for line in lines {
        if line.section != section {
            section = &line.section;
            text += &format!("\n[{section}]\n");
        }
        text += &format!("{}={}\n", line.key, line.value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_read_as_systemd_reads_it() {
        let text = "# a comment\n[Unit]\nDescription = a = b \n; another\n[Service]\nExecStart=/bin/sh -c \\\n# within\n   'a' \\\n  b\n\nX-Own=1\n[X-Other]\nKey=1\n[Service]\nUser=\n";
        let lines = parse(text).unwrap();
        assert_eq!(
            lines,
            [
                Line::new("Unit", "Description", "a = b"),
                Line::new("Service", "ExecStart", "/bin/sh -c     'a'    b"),
                Line::new("Service", "User", ""),
            ]
        );
        assert_eq!(parse(&render(&lines)).unwrap(), lines);
    }

    #[test]
    fn what_is_no_unit_is_refused_with_its_line() {
        for (text, said) in [
            ("ExecStart=/x", "line 1: it stands in no section"),
            ("[Unit\n", "line 1: expected a section"),
            ("[Unit]\nDescription\n", "line 2: expected Key=value"),
            ("[Unit]\nDescription=a\\", "is continued"),
            ("[Unit]\nDescription=\u{7}", "control character"),
        ] {
            let found = parse(text).unwrap_err();
            assert!(found.contains(said), "{found}");
        }
    }
}
