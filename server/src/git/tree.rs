//! Entries of a Git tree, as `git ls-tree -r -t -l -z` writes them.

use super::ObjectId;

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path below the tree, as bytes: Git does not care for encodings.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Its object: a blob, a tree, or a commit of another repository.
    pub id: ObjectId,
}

/// What an entry of a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file of `size` bytes.
    File {
        /// Its length in bytes.
        size: u64,
        /// Whether Git keeps the executable bit.
        executable: bool,
    },
    /// A symbolic link; the blob is its target.
    Link,
    /// A commit of another repository.
    Submodule,
}

/// One line `MODE TYPE ID SIZE<tab>PATH`; `None` when it is not one.
pub(super) fn parse(line: &[u8]) -> Option<Entry> {
    let tab = line.iter().position(|b| *b == b'\t')?;
    let head = std::str::from_utf8(&line[..tab]).ok()?;
    let mut fields = head.split_ascii_whitespace();
    let (mode, _, id, size) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let kind = match mode {
        "040000" => Kind::Directory,
        "120000" => Kind::Link,
        "160000" => Kind::Submodule,
        // Old repositories hold 100664 as well; only the owner's executable bit means anything to Git.
        "100644" | "100664" => Kind::File { size: size.parse().ok()?, executable: false },
        "100755" => Kind::File { size: size.parse().ok()?, executable: true },
        _ => return None,
    };
    Some(Entry { path: line[tab + 1..].to_vec(), kind, id: id.parse().ok()? })
}

/// Whether the line is of a file that the repository says is elsewhere.
pub(super) fn is_absent(line: &[u8]) -> bool {
    let tab = line.iter().position(|b| *b == b'\t').unwrap_or_default();
    line[..tab].ends_with(b" BAD")
}

/// The file of one line `MODE TYPE ID<tab>PATH`, if it is one of a file; `None` when it is no line.
pub(super) fn id_of_file(line: &[u8]) -> Option<Option<ObjectId>> {
    let tab = line.iter().position(|b| *b == b'\t')?;
    let mut fields = std::str::from_utf8(&line[..tab]).ok()?.split(' ');
    let (_, kind, id) = (fields.next()?, fields.next()?, fields.next()?);
    if kind == "blob" { id.parse().ok().map(Some) } else { Some(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_entry_is_read() {
        let id = "a".repeat(40);
        let read = |text: String| parse(text.as_bytes()).map(|entry| entry.kind);
        assert_eq!(read(format!("040000 tree {id}       -\tbin")), Some(Kind::Directory));
        assert_eq!(read(format!("120000 blob {id}       7\tl")), Some(Kind::Link));
        assert_eq!(read(format!("160000 commit {id}       -\tm")), Some(Kind::Submodule));
        let file = Some(Kind::File { size: 12, executable: true });
        assert_eq!(read(format!("100755 blob {id}      12\ta\tb c")), file);
        assert_eq!(read(format!("100000 blob {id}      12\ta")), None);
        assert_eq!(read("nonsense".into()), None);
    }
}
