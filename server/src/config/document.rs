//! Reading TOML with places: each value knows its line, each table knows which keys were asked of it.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use tidelock_protocol::nearest::nearest;

use super::{At, Place, Problems, span};

/// One file, and what is wrong with it.
pub(super) struct Document<'a> {
    file: &'a str,
    text: &'a str,
    problems: RefCell<Problems>,
}

/// A table of it.
pub(super) struct Table<'d> {
    document: &'d Document<'d>,
    table: &'d DeTable<'d>,
    span: Range<usize>,
    /// How messages call it; empty for the file itself.
    name: String,
    asked: RefCell<Vec<&'static str>>,
}

/// A value of it.
pub(super) struct Value<'d> {
    document: &'d Document<'d>,
    value: &'d DeValue<'d>,
    span: Range<usize>,
    /// How messages call it.
    name: String,
}

/// Reads the file at `path` with `read`, whose answer counts only when nothing was wrong.
pub(super) fn read<T>(
    path: &str,
    bytes: &[u8],
    problems: &mut Problems,
    read: impl FnOnce(&Table<'_>) -> Option<T>,
) -> Option<T> {
    let before = problems.0.len();
    read_some(path, bytes, problems, read).filter(|_| problems.0.len() == before)
}

/// The same, but what could be read beside the problems counts too: so that all that follows from it is looked at as well.
pub(super) fn read_some<T>(
    path: &str,
    bytes: &[u8],
    problems: &mut Problems,
    read: impl FnOnce(&Table<'_>) -> Option<T>,
) -> Option<T> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            problems.add(place(path, &bytes[..error.valid_up_to()]), "is not UTF-8");
            return None;
        }
    };
    let document = Document { file: path, text, problems: RefCell::default() };
    let (parsed, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        document.problem(error.span().unwrap_or_default(), error.message().to_owned());
    }
    // After a broken line anything else that seems wrong may be a consequence of it.
    let broken = !document.problems.borrow().0.is_empty();
    let value = if broken {
        None
    } else {
        let table = Table::new(&document, parsed.get_ref(), 0..0, String::new());
        let value = read(&table);
        table.finish();
        value
    };
    problems.0.append(&mut document.problems.into_inner().0);
    value
}

/// Where `before` of the file at `path` ends.
fn place(path: &str, before: &[u8]) -> Place {
    let last = before.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    let line = 1 + before.iter().filter(|b| **b == b'\n').count();
    Place { file: path.to_owned(), line, column: 1 + String::from_utf8_lossy(last).chars().count() }
}

impl Document<'_> {
    fn place(&self, span: &Range<usize>) -> Place {
        place(self.file, self.text.as_bytes().get(..span.start).unwrap_or_default())
    }

    fn problem(&self, span: Range<usize>, message: String) {
        self.problems.borrow_mut().add(self.place(&span), message);
    }
}

impl<'d> Table<'d> {
    fn new(document: &'d Document<'d>, table: &'d DeTable<'d>, span: Range<usize>, name: String) -> Self {
        Self { document, table, span, name, asked: RefCell::default() }
    }

    /// Where it begins.
    pub(super) fn place(&self) -> Place {
        self.document.place(&self.span)
    }

    /// Notes a problem with the table as a whole.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.document.problem(self.span.clone(), message.into());
    }

    /// The value of `key`, if it is there.
    pub(super) fn optional(&self, key: &'static str) -> Option<Value<'d>> {
        self.asked.borrow_mut().push(key);
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref().as_ref() == key)?;
        Some(self.value(key, value))
    }

    /// The value of `key`; a problem when it is not there.
    pub(super) fn required(&self, key: &'static str) -> Option<Value<'d>> {
        let value = self.optional(key);
        if value.is_none() {
            self.problem(format!("`{}` is missing", self.full(key)));
        }
        value
    }

    /// All values with keys that are names of the team's own, such as apps; `T` says what they must be.
    pub(super) fn named<T: FromStr>(&self) -> Vec<(At<T>, Value<'d>)>
    where
        T::Err: Display,
    {
        let mut found = Vec::new();
        for (key, value) in self.table {
            match key.get_ref().parse::<T>() {
                Ok(name) => found.push((
                    At { value: name, place: self.document.place(&key.span()) },
                    self.value(key.get_ref(), value),
                )),
                Err(error) => self.document.problem(key.span(), error.to_string()),
            }
        }
        found
    }

    /// A problem for every key that nobody asked for.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if !asked.contains(&name) {
                let meant = nearest(name, asked.iter().copied());
                let hint = meant.map_or_else(
                    || format!("known here: {}", asked.join(", ")),
                    |meant| format!("did you mean `{meant}`?"),
                );
                self.document.problem(key.span(), format!("unknown key `{}`; {hint}", self.full(name)));
            }
        }
    }

    fn value(&self, key: &str, value: &'d Spanned<DeValue<'d>>) -> Value<'d> {
        Value { document: self.document, value: value.get_ref(), span: value.span(), name: self.full(key) }
    }

    fn full(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

impl<'d> Value<'d> {
    /// Where it stands.
    pub(super) fn place(&self) -> Place {
        self.document.place(&self.span)
    }

    /// Notes a problem with it.
    pub(super) fn problem(&self, message: impl Display) {
        self.document.problem(self.span.clone(), format!("`{}`: {message}", self.name));
    }

    /// A string, if it is one; else a problem that says what was `expected`.
    pub(super) fn text(&self, expected: &str) -> Option<&'d str> {
        match self.value {
            DeValue::String(text) => Some(text),
            _ => self.wrong(expected),
        }
    }

    /// A string that is a `T`.
    pub(super) fn parsed<T: FromStr>(&self, expected: &str) -> Option<At<T>>
    where
        T::Err: Display,
    {
        match self.text(expected)?.parse() {
            Ok(value) => Some(At { value, place: self.place() }),
            Err(error) => {
                self.problem(error);
                None
            }
        }
    }

    /// A whole number from `least` to `most`.
    pub(super) fn number(&self, least: u64, most: u64) -> Option<u64> {
        let found = match self.value {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        };
        match found.filter(|number| (least..=most).contains(number)) {
            Some(number) => Some(number),
            None if most == u64::MAX => self.wrong(&format!("a whole number, at least {least}")),
            None => self.wrong(&format!("a whole number from {least} to {most}")),
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(flag) => Some(*flag),
            _ => self.wrong("true or false"),
        }
    }

    /// A [`span`] of time of at least a minute.
    pub(super) fn duration(&self) -> Option<Duration> {
        const EXPECTED: &str = "a span of time such as \"6h\" or \"365d\", from \"1m\" to \"3650d\"";
        let found = span(self.text(EXPECTED)?).filter(|span| span.as_secs() >= 60);
        found.or_else(|| self.wrong(EXPECTED))
    }

    /// A [`span`] of time of at least a second.
    pub(super) fn pause(&self) -> Option<Duration> {
        const EXPECTED: &str = "a span of time such as \"30s\" or \"5m\", from \"1s\" to \"3650d\"";
        span(self.text(EXPECTED)?).or_else(|| self.wrong(EXPECTED))
    }

    /// A table.
    pub(super) fn table(&self, expected: &str) -> Option<Table<'d>> {
        match self.value {
            DeValue::Table(table) => {
                Some(Table::new(self.document, table, self.span.clone(), self.name.clone()))
            }
            _ => self.wrong(expected),
        }
    }

    /// The items of an array, or the value itself where one may stand for a list of one.
    pub(super) fn items_or_self(&self) -> Vec<Value<'d>> {
        match self.value {
            DeValue::Array(items) => items
                .iter()
                .map(|item| Value {
                    document: self.document,
                    value: item.get_ref(),
                    span: item.span(),
                    name: self.name.clone(),
                })
                .collect(),
            _ => vec![Value {
                document: self.document,
                value: self.value,
                span: self.span.clone(),
                name: self.name.clone(),
            }],
        }
    }

    /// The items of an array.
    pub(super) fn items(&self, expected: &str) -> Option<Vec<Value<'d>>> {
        match self.value {
            DeValue::Array(_) => Some(self.items_or_self()),
            _ => self.wrong(expected),
        }
    }

    /// Whether it is a string.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.value, DeValue::String(_))
    }

    fn wrong<T>(&self, expected: &str) -> Option<T> {
        let found = match self.value {
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Datetime(_) => "a date".into(),
            DeValue::Array(_) => "an array".into(),
            DeValue::Table(_) => "a table".into(),
        };
        self.problem(format!("expected {expected}, found {found}"));
        None
    }
}
