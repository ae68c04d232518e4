//! From TOML to a [`Recipe`]: every problem is noted, with its line.

use std::ops::{Range, RangeInclusive};

use toml::de::{DeTable, DeValue};

use super::{Activate, Check, Command, FORMAT, Hooks, Probe, Problem, Recipe, START};
use crate::limits::{RELEASE_BYTES, tuning as bounds};
use crate::names::LabelKey;
use crate::nearest::nearest;

/// Most checks, units or words of a command.
const MANY: usize = 64;

/// The recipe that `text` describes, or everything that is wrong with it, by line.
pub(super) fn recipe(text: &str) -> Result<Recipe, Vec<Problem>> {
    if text.len() as u64 > RELEASE_BYTES {
        return Err(vec![Problem { line: 1, message: format!("it is longer than {RELEASE_BYTES} bytes") }]);
    }
    let mut reader = Reader { text, problems: Vec::new() };
    let document = DeTable::parse(text).map_err(|error| {
        reader.problem(&error.span().unwrap_or_default(), error.message().to_owned());
        std::mem::take(&mut reader.problems)
    })?;
    let recipe = reader.recipe(document.get_ref());
    reader.problems.sort_by_key(|problem| problem.line);
    if reader.problems.is_empty() { Ok(recipe) } else { Err(reader.problems) }
}

/// Reads tables and collects problems; `None` is a value that is missing or was a problem.
struct Reader<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

/// A table and where it begins.
type Table<'a> = (&'a DeTable<'a>, Range<usize>);

impl Reader<'_> {
    fn recipe(&mut self, table: &DeTable<'_>) -> Recipe {
        let top = (table, 0..0);
        self.known(&top, &["format", "user", "units", "activate", "state", "hooks", "check"]);
        match self.value(&top, "format", |value| number(value, &(0..=u32::MAX))) {
            Some(FORMAT) => {}
            Some(format) => {
                self.problem(&top.1, format!("`format` is {format}; this version reads format {FORMAT}"))
            }
            None if table.keys().any(|key| key.get_ref() == "format") => {}
            None => self.problem(&top.1, format!("`format = {FORMAT}` is missing")),
        }
        let user = self.value(&top, "user", |value| plain(value, "a user name", is_user));
        let units: Option<Vec<String>> = self.value(&top, "units", |value| list(value, unit));
        let activate = self.value(&top, "activate", |value| match text(value)? {
            "restart" => Ok(Activate::Restart),
            "reload" => Ok(Activate::Reload),
            _ => Err(wrong(value, "\"restart\" or \"reload\"")),
        });
        let state = self.value(&top, "state", |value| list(value, |value| text(value).map(str::to_owned)));
        let none = DeTable::new();
        let (hooks, places) = self.tables(&top, "hooks");
        let hooks = self.hooks(&(hooks.first().copied().unwrap_or(&none), places));
        let mut checks: Vec<Check> = Vec::new();
        let units = units.unwrap_or_default();
        if activate == Some(Activate::Reload) && units.is_empty() {
            self.problem(
                &top.1,
                "`activate = \"reload\"` needs `units`: only they can be told to reload".into(),
            );
        }
        let (tables, _) = self.tables(&top, "check");
        if tables.len() > MANY {
            self.problem(&top.1, format!("it has more than {MANY} checks"));
        }
        for table in tables {
            let first = table.keys().map(|key| key.span().start).min().unwrap_or(0);
            let place = (table, first..first);
            let Some(check) = self.check(&place) else { continue };
            if checks.iter().any(|other| other.name == check.name) {
                self.problem(&place.1, format!("a second check is called {}", check.name));
            }
            checks.push(check);
        }
        Recipe {
            user,
            units,
            activate: activate.unwrap_or(Activate::Restart),
            state: state.unwrap_or_default(),
            hooks,
            checks,
        }
    }

    fn hooks(&mut self, table: &Table<'_>) -> Hooks {
        self.known(table, &["start", "stop", "timeout"]);
        Hooks {
            start: self.value(table, "start", command),
            stop: self.value(table, "stop", command),
            timeout: self.number(table, "timeout", &bounds::TIMEOUT, 60),
        }
    }

    fn check(&mut self, table: &Table<'_>) -> Option<Check> {
        const URL: &str = "a URL such as \"http://127.0.0.1:8080/health\"";
        const ADDRESS: &str = "host:port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
        const QUESTIONS: [&str; 5] = ["http", "tcp", "command", "unit", "last-run"];
        const OTHERS: [&str; 5] = ["name", "grace", "interval", "deadline", "successes"];
        self.known(table, &[&QUESTIONS[..], &OTHERS].concat());
        let asked: Vec<&str> =
            QUESTIONS.into_iter().filter(|kind| table.0.keys().any(|key| key.get_ref() == kind)).collect();
        if asked.len() != 1 {
            self.problem(&table.1, "a check asks exactly one of http, tcp, command, unit, last-run".into());
        }
        let probe = match asked.first().copied().unwrap_or_default() {
            "http" => self.value(table, "http", |value| plain(value, URL, is_url)).map(Probe::Http),
            "tcp" => self.value(table, "tcp", |value| plain(value, ADDRESS, is_address)).map(Probe::Tcp),
            "command" => self.value(table, "command", command).map(Probe::Command),
            "unit" => self.value(table, "unit", unit).map(Probe::Unit),
            "last-run" => self
                .value(table, "last-run", |value| match unit(value)? {
                    timer if timer.ends_with(".timer") => Ok(timer),
                    _ => Err(wrong(value, "the name of a timer")),
                })
                .map(Probe::LastRun),
            _ => None,
        };
        let name = self.value(table, "name", |value| match text(value)?.parse::<LabelKey>() {
            Ok(name) if name.as_str() != START => Ok(name.to_string()),
            Ok(_) => Err(format!("`{START}` is what the start hook is called")),
            Err(_) => Err(wrong(value, "a name of [a-z0-9][a-z0-9-]{0,62}")),
        });
        if !table.0.keys().any(|key| key.get_ref() == "name") {
            self.problem(&table.1, "a check needs a `name`".into());
        }
        let grace = self.number(table, "grace", &bounds::GRACE, 0);
        let interval = self.number(table, "interval", &bounds::INTERVAL, 5);
        let deadline = self.number(table, "deadline", &bounds::DEADLINE, 60);
        let successes = self.number(table, "successes", &bounds::SUCCESSES, 1);
        Some(Check { name: name?, probe: probe?, grace, interval, deadline, successes })
    }

    /// Notes every key that is not one of `known`.
    fn known(&mut self, table: &Table<'_>, known: &[&str]) {
        for key in table.0.keys() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let hint = match nearest(name, known.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("known here: {}", known.join(", ")),
                };
                self.problem(&key.span(), format!("unknown key `{name}`; {hint}"));
            }
        }
    }

    fn value<T>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let (_, value) = table.0.iter().find(|(name, _)| name.get_ref() == key)?;
        match read(value.get_ref()) {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(&value.span(), format!("`{key}`: {message}"));
                None
            }
        }
    }

    fn number(&mut self, table: &Table<'_>, key: &str, bounds: &RangeInclusive<u32>, default: u32) -> u32 {
        self.value(table, key, |value| number(value, bounds)).unwrap_or(default)
    }

    /// The tables under `key`, as `[key]` or `[[key]]`, and where they begin.
    fn tables<'t>(&mut self, table: &Table<'t>, key: &str) -> (Vec<&'t DeTable<'t>>, Range<usize>) {
        let Some((_, value)) = table.0.iter().find(|(name, _)| name.get_ref() == key) else {
            return (Vec::new(), 0..0);
        };
        let inner =
            |value: &'t DeValue<'t>| if let DeValue::Table(table) = value { Some(table) } else { None };
        let found: Option<Vec<_>> = match (value.get_ref(), key) {
            (DeValue::Table(table), "hooks") => Some(vec![table]),
            (DeValue::Array(items), "check") => items.iter().map(|item| inner(item.get_ref())).collect(),
            _ => None,
        };
        if found.is_none() {
            let expected = if key == "hooks" { "a table `[hooks]`" } else { "tables `[[check]]`" };
            self.problem(&value.span(), format!("`{key}`: {}", wrong(value.get_ref(), expected)));
        }
        (found.unwrap_or_default(), value.span())
    }

    fn problem(&mut self, span: &Range<usize>, message: String) {
        let line = line_of(self.text.as_bytes().get(..span.start).unwrap_or_default());
        self.problems.push(Problem { line, message });
    }
}

/// The line that begins after `before`, counted from 1.
fn line_of(before: &[u8]) -> usize {
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

fn wrong(value: &DeValue<'_>, expected: &str) -> String {
    let found = match value {
        DeValue::String(text) => format!("{:?}", text.chars().take(80).collect::<String>()),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "an array".into(),
        DeValue::Table(_) => "a table".into(),
    };
    format!("expected {expected}, found {found}")
}

fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    if let DeValue::String(text) = value { Ok(text) } else { Err(wrong(value, "a string")) }
}

/// A text that `fits`.
fn plain(value: &DeValue<'_>, expected: &str, fits: fn(&str) -> bool) -> Result<String, String> {
    let found = text(value)?;
    if fits(found) { Ok(found.to_owned()) } else { Err(wrong(value, expected)) }
}

fn number(value: &DeValue<'_>, bounds: &RangeInclusive<u32>) -> Result<u32, String> {
    let found = match value {
        DeValue::Integer(integer) => u32::from_str_radix(integer.as_str(), integer.radix()).ok(),
        _ => None,
    };
    found
        .filter(|number| bounds.contains(number))
        .ok_or_else(|| wrong(value, &format!("a whole number from {} to {}", bounds.start(), bounds.end())))
}

fn list<T>(value: &DeValue<'_>, item: fn(&DeValue<'_>) -> Result<T, String>) -> Result<Vec<T>, String> {
    match value {
        DeValue::Array(items) if items.len() <= MANY => {
            items.iter().map(|value| item(value.get_ref())).collect()
        }
        _ => Err(wrong(value, &format!("an array of at most {MANY} strings"))),
    }
}

fn unit(value: &DeValue<'_>) -> Result<String, String> {
    plain(value, "the name of a unit, such as \"web.service\"", is_unit)
}

fn command(value: &DeValue<'_>) -> Result<Command, String> {
    const EXPECTED: &str = "a program and its arguments, or a string for the shell, without NUL";
    let word = |value: &DeValue<'_>| plain(value, "a word without NUL", |word| !word.contains('\0'));
    let command = match value {
        DeValue::Array(_) => Command::Words(list(value, word)?),
        _ => Command::Shell(plain(value, EXPECTED, |text| !text.trim().is_empty() && !text.contains('\0'))?),
    };
    if matches!(&command, Command::Words(words) if words.first().is_none_or(String::is_empty)) {
        return Err(wrong(value, EXPECTED));
    }
    match command.in_tree() {
        Some(Err(error)) => Err(error.to_string()),
        _ => Ok(command),
    }
}

/// `host:port`, IPv6 in brackets.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse().is_ok_and(|port: u16| port > 0);
    is_port && is_host(host)
}

/// A name, an IPv4 address, or an IPv6 address in brackets; whether it is one shows when it is used.
fn is_host(text: &str) -> bool {
    let ipv6 = |b: u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.');
    let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.contains(':') && inner.bytes().all(ipv6),
        None => (1..=253).contains(&text.len()) && text.bytes().all(name),
    }
}

fn is_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        return false;
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let host = &rest[..end];
    (is_host(host) || is_address(host))
        && text.len() <= 2048
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

fn is_unit(text: &str) -> bool {
    const KINDS: [&str; 5] = ["service", "socket", "timer", "path", "target"];
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'@');
    let Some((stem, kind)) = text.rsplit_once('.') else { return false };
    !stem.is_empty()
        && !stem.starts_with('.')
        && text.len() <= 200
        && KINDS.contains(&kind)
        && text.bytes().all(plain)
}

fn is_user(text: &str) -> bool {
    let first = |b: u8| b.is_ascii_lowercase() || b == b'_';
    let inner = |b: u8| first(b) || b.is_ascii_digit() || b == b'-';
    text.len() <= 32 && text.bytes().next().is_some_and(first) && text.bytes().all(inner)
}
