//! The tree of a release: its entries, their canonical listing, and the tree digest.
//!
//! Never here: where bytes stand in a bundle (`layout`, `index`) or on a disk (the agent's `io/fetch`).

use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, Hasher};
use crate::limits::{COMPONENT_BYTES, ENTRIES, FILE_BYTES, PATH_BYTES};

/// A path inside a tree: relative UTF-8, `/` between components, none of them empty, `.` or `..`, no control
/// characters. Ordered bytewise, as the listing is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(String);

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub path: TreePath,
    /// What stands there.
    pub kind: Kind,
}

/// What an entry is. There is nothing else in a tree: no owner, time, attribute, device or hard link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file.
    File(File),
    /// A symbolic link to this target, kept as it was written.
    Link(String),
}

/// The content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Whether it may be run.
    pub mode: Mode,
    /// Its length in bytes.
    pub size: u64,
    /// The digest of its bytes.
    pub sha256: Digest,
}

/// The one permission that a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `644` in the listing and the tar stream, 0444 on the device.
    Plain,
    /// `755` in the listing and the tar stream, 0555 on the device.
    Executable,
}

/// Why a listing is not that of a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A path that may not be in a tree.
    #[error("{path:?} cannot be a path of a tree: {rule}")]
    Path {
        /// The path, cut to a readable length.
        path: String,
        /// What it should be.
        rule: &'static str,
    },
    /// A line that is not in the format.
    #[error("{line:?} is not a line of a listing: {rule}")]
    Line {
        /// The line, cut to a readable length.
        line: String,
        /// What it should be.
        rule: &'static str,
    },
    /// Not strictly ascending.
    #[error(
        "{path} stands after {before}: paths must be strictly ascending, bytewise, and each may stand once"
    )]
    Order {
        /// The path that comes too late.
        path: TreePath,
        /// The path before it.
        before: TreePath,
    },
    /// An entry whose parent is a file, a link, or nothing.
    #[error("{path} has no directory to stand in: its parent must be listed before it, as a directory")]
    Orphan {
        /// The entry.
        path: TreePath,
    },
    /// A link that could lead out of the tree.
    #[error("the link {path} -> {target:?} is refused: {rule}")]
    Link {
        /// The link.
        path: TreePath,
        /// Where it points to.
        target: String,
        /// What a target must be.
        rule: &'static str,
    },
    /// One entry too many.
    #[error("the tree has more than {ENTRIES} entries")]
    TooMany,
}

/// A text cut for a message.
fn cut(text: &str) -> String {
    text.chars().take(160).collect()
}

impl TreePath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory it stands in; none at the top of the tree.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// Its last component.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.as_str(), |(_, name)| name)
    }
}

impl FromStr for TreePath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |rule| Err(Error::Path { path: cut(text), rule });
        if text.is_empty() || text.len() > PATH_BYTES {
            return refused("expected 1 to 4096 bytes");
        }
        if text.chars().any(char::is_control) {
            return refused("control characters are not allowed");
        }
        if text.split('/').any(|component| matches!(component, "" | "." | "..")) {
            return refused("expected a relative path without empty, `.` or `..` components");
        }
        if text.split('/').any(|component| component.len() > COMPONENT_BYTES) {
            return refused("a component may have at most 255 bytes");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The entries of one tree in their order: checks each against those before it, and digests its line.
#[derive(Clone, Default)]
pub struct Sequence {
    last: Option<TreePath>,
    /// A listed directory that may still get children, and the lengths of its prefixes (itself included) that are
    /// such directories too. Directories that may still get children are prefixes of each other, because paths
    /// ascend: this is all that must be remembered to know every parent.
    open: String,
    open_lengths: Vec<usize>,
    hasher: Hasher,
    count: u64,
}

impl Sequence {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next line (without its newline).
    ///
    /// # Errors
    /// A line that is not exactly what [`Sequence::write`] writes, or an entry that may not follow those before it.
    pub fn read(&mut self, line: &str) -> Result<Entry, Error> {
        let entry = parse(line)?;
        self.admit(&entry)?;
        self.digest(line);
        Ok(entry)
    }

    /// The line of the next entry (without its newline).
    ///
    /// # Errors
    /// An entry that may not follow those before it.
    pub fn write(&mut self, entry: &Entry) -> Result<String, Error> {
        self.admit(entry)?;
        let line = entry.to_string();
        self.digest(&line);
        Ok(line)
    }

    /// How many entries there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The tree digest: SHA-256 of the lines, newlines included.
    pub fn finish(self) -> Digest {
        self.hasher.finish()
    }

    fn digest(&mut self, line: &str) {
        self.hasher.update(line.as_bytes());
        self.hasher.update(b"\n");
    }

    fn admit(&mut self, entry: &Entry) -> Result<(), Error> {
        let path = &entry.path;
        if self.count == ENTRIES {
            return Err(Error::TooMany);
        }
        if let Some(before) = self.last.as_ref().filter(|last| *last >= path) {
            return Err(Error::Order { path: path.clone(), before: before.clone() });
        }
        // A directory stays open while its children can still come: `a`, `a-b`, `a/c` is the order of bytes.
        while let Some(&length) = self.open_lengths.last() {
            let next = path.0.as_bytes().get(length);
            if path.0.starts_with(&self.open[..length]) && next.is_some_and(|byte| *byte <= b'/') {
                break;
            }
            self.open_lengths.pop();
        }
        if path.parent().is_some_and(|parent| self.open_lengths.binary_search(&parent.len()).is_err()) {
            return Err(Error::Orphan { path: path.clone() });
        }
        match &entry.kind {
            Kind::Directory => {
                self.open.clone_from(&path.0);
                self.open_lengths.push(path.0.len());
            }
            Kind::File(file) if file.size > FILE_BYTES => {
                return Err(Error::Line {
                    line: cut(&entry.to_string()),
                    rule: "a file may have at most 64 GiB",
                });
            }
            Kind::File(_) => {}
            Kind::Link(target) => check_link(path, target)?,
        }
        self.last = Some(path.clone());
        self.count += 1;
        Ok(())
    }
}

/// Refuses a link that could lead out of the tree.
///
/// `..` may only open a target. Then its start is exact, for a parent is a true directory, and what follows only goes
/// down, through links of the same kind at most: no chain of links can climb out. (`a/../..` could, when `a` is a link.)
fn check_link(path: &TreePath, target: &str) -> Result<(), Error> {
    let refused = |rule| Err(Error::Link { path: path.clone(), target: cut(target), rule });
    if target.is_empty() || target.len() >= PATH_BYTES {
        return refused("expected 1 to 4095 bytes");
    }
    if target.chars().any(char::is_control) {
        return refused("control characters are not allowed");
    }
    if target.starts_with('/') {
        return refused("a target must be relative");
    }
    let steps = || target.split('/').filter(|step| !matches!(*step, "" | "."));
    let climbs = steps().take_while(|step| *step == "..").count();
    if climbs > path.0.matches('/').count() {
        return refused("a target must stay in the tree");
    }
    if steps().skip(climbs).any(|step| step == "..") {
        return refused("`..` may only stand at the start of a target");
    }
    Ok(())
}

impl fmt::Display for Entry {
    /// The entry's line in a listing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = Escaped(self.path.as_str());
        match &self.kind {
            Kind::Directory => write!(f, "d {path}"),
            Kind::File(File { mode, size, sha256 }) => {
                write!(f, "f {} {size} {sha256} {path}", mode.as_str())
            }
            Kind::Link(target) => write!(f, "l {} {path}", Escaped(target)),
        }
    }
}

impl Mode {
    /// `644` or `755`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "644",
            Self::Executable => "755",
        }
    }
}

fn parse(line: &str) -> Result<Entry, Error> {
    const RULE: &str = "expected `d PATH`, `f 644|755 SIZE SHA256 PATH` or `l TARGET PATH`";
    let refused = |rule| Error::Line { line: cut(line), rule };
    let mut fields = line.split(' ');
    let mut field = || fields.next().ok_or_else(|| refused(RULE));
    let kind = match field()? {
        "d" => Kind::Directory,
        "f" => {
            let mode = match field()? {
                "644" => Mode::Plain,
                "755" => Mode::Executable,
                _ => return Err(refused("a file's mode is 644 or 755")),
            };
            let size = number(field()?).ok_or_else(|| refused("a size is a plain decimal number"))?;
            let sha256 = field()?.parse().map_err(|_| refused("a digest is 64 lower-case hex digits"))?;
            Kind::File(File { mode, size, sha256 })
        }
        "l" => Kind::Link(unescape(field()?).map_err(refused)?),
        _ => return Err(refused(RULE)),
    };
    let path = unescape(field()?).map_err(refused)?.parse()?;
    if fields.next().is_some() {
        return Err(refused(RULE));
    }
    Ok(Entry { path, kind })
}

/// A decimal number in its one spelling: no sign, no leading zero.
pub(crate) fn number(text: &str) -> Option<u64> {
    let plain = text == "0" || text.bytes().next().is_some_and(|first| first != b'0' && first != b'+');
    if plain { text.parse().ok() } else { None }
}

/// Bytes that would end a field or a line, and the escape itself.
fn must_escape(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f || byte == b'%'
}

/// Writes a text with the bytes of [`must_escape`] as `%` and two upper-case hex digits.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        // What is escaped is ASCII, so a cut before and after it is a cut between characters.
        while let Some(at) = rest.bytes().position(must_escape) {
            write!(f, "{}%{:02X}", &rest[..at], rest.as_bytes()[at])?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

/// The inverse of [`Escaped`]; refuses every other spelling.
fn unescape(field: &str) -> Result<String, &'static str> {
    const RULE: &str =
        "exactly the bytes up to 0x20, 0x7f and `%` are escaped, as `%` and two upper-case hex digits";
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.bytes().position(must_escape) {
        let digits = rest.as_bytes()[at..].get(1..3).filter(|_| rest.as_bytes()[at] == b'%').ok_or(RULE)?;
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'A'..=b'F' => Ok(byte - b'A' + 10),
            _ => Err(RULE),
        };
        let byte = digit(digits[0])? * 16 + digit(digits[1])?;
        if !must_escape(byte) {
            return Err(RULE);
        }
        text.push_str(&rest[..at]);
        text.push(char::from(byte));
        rest = &rest[at + 3..];
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests;
